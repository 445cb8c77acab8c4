//! The root of a sandbox: mounted, filled, sealed.

use std::ffi::CStr;

use nix::libc::{self, c_int, c_long};

use super::Prepared;
use super::calls::{check, check_value, errno, mount, result, unless_exists, write_file};
use super::message::{Done, Failed, Phase};
use crate::sandbox::layout::{Access, Step};

/// Where the old root and its `/proc` are while the new root is made.
const OLD_ROOT: &CStr = c"/.old";
const OLD_PROC: &CStr = c"/.proc";
/// Folders that machines have, and where `/proc` is when the new root is mounted there.
const PLACES: [(&CStr, &CStr); 4] =
    [(c"/tmp", c"/tmp/.proc"), (c"/run", c"/run/.proc"), (c"/var", c"/var/.proc"), (c"/dev", c"/dev/.proc")];
/// An empty root in memory. The old one stays reachable until [`seal`].
pub(super) fn change_root() -> Done {
    let flags = libc::MS_NOSUID | libc::MS_NODEV;
    // SAFETY: C strings and null pointers, where mount takes them.
    unsafe {
        let proc = check_value(libc::open(c"/proc".as_ptr(), libc::O_PATH | libc::O_CLOEXEC), Phase::Root)?;
        make_private()?;
        // Any folder will do as the place of the new root; what it hides was opened before.
        let exists = |place: &&(&CStr, &CStr)| libc::access(place.0.as_ptr(), libc::F_OK) == 0;
        let (place, old_proc) = PLACES.iter().find(exists).copied().unwrap_or(PLACES[0]);
        check(mount(Some(c"tmpfs"), place, Some(c"tmpfs"), flags, Some(c"mode=0755")), Phase::Root)?;
        check(libc::mkdir(old_proc.as_ptr(), 0o700), Phase::Root)?;
        check(libc::fchdir(proc), Phase::Root)?;
        check(mount(Some(c"."), old_proc, None, libc::MS_BIND | libc::MS_REC, None), Phase::Root)?;
        libc::close(proc);
        check(libc::chdir(place.as_ptr()), Phase::Root)?;
        check(libc::mkdir(c".old".as_ptr(), 0o700), Phase::Root)?;
        if libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".old".as_ptr()) != 0 {
            // The root of an initial ramdisk cannot be pivoted: cover it instead.
            check(mount(Some(c"."), c"/", None, libc::MS_MOVE, None), Phase::Root)?;
            check(libc::chroot(c".".as_ptr()), Phase::Root)?;
        }
        check(libc::chdir(c"/".as_ptr()), Phase::Root)
    }
}

/// No mount of ours may show outside.
fn make_private() -> Done {
    let private = || {
        // SAFETY: C strings and null pointers, where mount takes them.
        let returned = unsafe { mount(None, c"/", None, libc::MS_REC | libc::MS_PRIVATE, None) };
        check(returned, Phase::Root)
    };
    match private() {
        // In a chroot "/" is no mount, and the mount that it is in cannot be named from there.
        Err(Failed { errno: libc::EINVAL, .. }) => leave_chroot().and_then(|()| private()),
        result => result,
    }
}

/// Goes to the root of the mount namespace, which root may. Nothing is read there; it is gone after [`seal`].
fn leave_chroot() -> Done {
    // SAFETY: C strings and our own descriptor.
    unsafe {
        let root = check_value(libc::open(c"/".as_ptr(), libc::O_PATH | libc::O_CLOEXEC), Phase::Root)?;
        check(libc::chroot(c"/proc".as_ptr()), Phase::Root)?;
        check(libc::fchdir(root), Phase::Root)?;
        libc::close(root);
        // At the top, `..` stays there.
        for _ in 0..4096 {
            check(libc::chdir(c"..".as_ptr()), Phase::Root)?;
        }
        check(libc::chroot(c".".as_ptr()), Phase::Root)
    }
}

pub(super) fn make(step: &Step, source: c_int) -> Result<(), c_int> {
    // SAFETY: C strings that live as long as the step.
    unsafe {
        match step {
            Step::Folder { at, mode } => unless_exists(libc::mkdir(at.as_ptr(), *mode)),
            Step::Link { to, at } => unless_exists(libc::symlink(to.as_ptr(), at.as_ptr())),
            Step::File { at, text } => match write_file(at, text, true) {
                // Inside a bound folder: where it exists, it serves.
                Err(libc::EROFS | libc::EACCES) if libc::access(at.as_ptr(), libc::F_OK) == 0 => Ok(()),
                result => result,
            },
            Step::Bind { at, access, .. } => bind(source, at, *access),
            Step::Scratch { at } => {
                let flags = libc::MS_NOSUID | libc::MS_NODEV;
                result(mount(Some(c"tmpfs"), at, Some(c"tmpfs"), flags, Some(c"mode=1777")))
            }
            Step::Proc { at } => proc(at),
        }
    }
}

/// A write to /proc/sys as root of this machine must fail, though that root is user 1000 here: hence read-only.
fn proc(at: &CStr) -> Result<(), c_int> {
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC | libc::MS_RDONLY;
    // SAFETY: C strings.
    unsafe {
        if mount(Some(c"proc"), at, Some(c"proc"), flags, None) == 0 {
            return Ok(());
        }
        // Where parts of /proc are covered (containers, Nix's sandbox) the kernel refuses a new one: show the old.
        result(mount(Some(OLD_PROC), at, None, libc::MS_BIND | libc::MS_REC, None))?;
        restrict(at, libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV)
    }
}

fn bind(source: c_int, at: &CStr, access: Access) -> Result<(), c_int> {
    let mut path = [0_u8; 48];
    let from = source_path(source, &mut path).ok_or(libc::EBADF)?;
    // SAFETY: C strings. Recursive, because mounts below that were inherited may not be uncovered.
    unsafe {
        result(mount(Some(from), at, None, libc::MS_BIND | libc::MS_REC, None))?;
        match access {
            Access::ReadOnly => {
                restrict(at, libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV)
            }
            Access::Writable => restrict(at, libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV),
            Access::Device => restrict(at, libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC),
        }
    }
}

/// `/.proc/self/fd/N`, written into `buffer`.
fn source_path(fd: c_int, buffer: &mut [u8; 48]) -> Option<&CStr> {
    const PREFIX: &[u8] = b"/.proc/self/fd/";
    buffer.get_mut(..PREFIX.len())?.copy_from_slice(PREFIX);
    let mut digits = [0_u8; 12];
    let mut rest = u32::try_from(fd).ok()?;
    let mut count = 0;
    loop {
        *digits.get_mut(count)? = b'0' + u8::try_from(rest % 10).ok()?;
        count += 1;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    for (place, digit) in buffer.get_mut(PREFIX.len()..)?.iter_mut().zip(digits.get(..count)?.iter().rev()) {
        *place = *digit;
    }
    CStr::from_bytes_until_nul(buffer).ok()
}

/// Adds mount attributes to `at` and all below it.
///
/// # Safety
/// Only system calls; `at` is a mount of this namespace.
unsafe fn restrict(at: &CStr, attributes: u64) -> Result<(), c_int> {
    // SAFETY: a plain struct of numbers, and its size.
    unsafe {
        let mut attr: libc::mount_attr = std::mem::zeroed();
        attr.attr_set = attributes;
        let size = size_of::<libc::mount_attr>();
        let flags = c_long::from(libc::AT_RECURSIVE);
        let dir = c_long::from(libc::AT_FDCWD);
        if libc::syscall(libc::SYS_mount_setattr, dir, at.as_ptr(), flags, &raw const attr, size) == 0 {
            return Ok(());
        }
        if errno() != libc::ENOSYS {
            return Err(errno());
        }
        // Before Linux 5.12. The old call sets all flags, and those that the mount came with are locked.
        let mut now: libc::statvfs = std::mem::zeroed();
        result(libc::statvfs(at.as_ptr(), &raw mut now))?;
        let kept = libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC | libc::MS_NOATIME;
        let flags = (now.f_flag & kept) | attributes | libc::MS_REMOUNT | libc::MS_BIND;
        result(mount(None, at, None, flags, None))
    }
}

/// Lets go of the old root and makes the new one read-only.
pub(super) fn seal(prepared: &Prepared) -> Done {
    // SAFETY: C strings and our own descriptors.
    unsafe {
        check(libc::umount2(OLD_PROC.as_ptr(), libc::MNT_DETACH), Phase::Seal)?;
        check(libc::rmdir(OLD_PROC.as_ptr()), Phase::Seal)?;
        // After MS_MOVE there is nothing here.
        libc::umount2(OLD_ROOT.as_ptr(), libc::MNT_DETACH);
        check(libc::rmdir(OLD_ROOT.as_ptr()), Phase::Seal)?;
        for fd in &prepared.sources {
            if *fd >= 0 {
                libc::close(*fd);
            }
        }
        let flags = libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV;
        check(mount(None, c"/", None, flags, None), Phase::Seal)
    }
}
