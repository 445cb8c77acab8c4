//! System calls and what becomes of their errors.

use std::ffi::CStr;
use std::ptr::null;

use nix::libc::{self, c_int, c_ulong};

use super::message::{Done, Failed, Phase};

pub(super) fn write_file(path: &CStr, text: &[u8], create: bool) -> Result<(), c_int> {
    let flags = libc::O_WRONLY | libc::O_CLOEXEC | if create { libc::O_CREAT } else { 0 };
    // SAFETY: a C string, a live buffer.
    unsafe {
        let fd = libc::open(path.as_ptr(), flags, 0o644 as libc::c_uint);
        result(fd)?;
        let written = libc::write(fd, text.as_ptr().cast(), text.len());
        let error = errno();
        libc::close(fd);
        if usize::try_from(written) == Ok(text.len()) { Ok(()) } else { Err(error) }
    }
}

pub(super) unsafe fn mount(
    from: Option<&CStr>,
    at: &CStr,
    kind: Option<&CStr>,
    flags: c_ulong,
    data: Option<&CStr>,
) -> c_int {
    let pointer = |text: Option<&CStr>| text.map_or(null(), CStr::as_ptr);
    // SAFETY: C strings or null.
    unsafe { libc::mount(pointer(from), at.as_ptr(), pointer(kind), flags, pointer(data).cast()) }
}

pub(super) fn unless_exists(returned: c_int) -> Result<(), c_int> {
    match result(returned) {
        Err(libc::EEXIST) => Ok(()),
        other => other,
    }
}

pub(super) fn result(returned: c_int) -> Result<(), c_int> {
    if returned < 0 { Err(errno()) } else { Ok(()) }
}

pub(super) fn check<T: PartialOrd + From<i8>>(returned: T, phase: Phase) -> Done {
    check_value(returned, phase).map(|_| ())
}

pub(super) fn check_value<T: PartialOrd + From<i8>>(returned: T, phase: Phase) -> Result<T, Failed> {
    if returned < T::from(0) { Err(failed(phase)) } else { Ok(returned) }
}

pub(super) fn failed(phase: Phase) -> Failed {
    Failed { phase, step: 0, errno: errno() }
}

pub(super) fn errno() -> c_int {
    nix::errno::Errno::last_raw()
}

/// Steps are few; a number that does not fit only makes a message less exact.
pub(super) fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

pub(super) fn exit(code: c_int) -> ! {
    // SAFETY: no handlers, no destructors.
    unsafe { libc::_exit(code) }
}
