//! The two processes of a sandbox: pid 1, and the program.

use std::os::fd::{AsRawFd as _, RawFd};
use std::ptr::{null, null_mut};

use nix::libc::{self, c_char, c_int, c_long, c_ulong};

use super::calls::{check, check_value, errno, exit, failed, number, write_file};
use super::message::{Done, Failed, Message, Phase};
use super::root::{change_root, make, seal};
use super::{ChildFds, GID, Prepared, UID, clone};
use crate::sandbox::layout::Step;

const HOSTNAME: &[u8] = b"akb";
const STATUS_FD: c_int = 3;
const LIFE_FD: c_int = 4;

/// Pid 1 of the sandbox.
pub(super) fn run(prepared: &mut Prepared, fds: &ChildFds<'_>, argv: &[*const c_char], env: &[*const c_char]) -> ! {
    let result = streams(fds).and_then(|()| set_up(prepared)).and_then(|()| {
        // SAFETY: as in `spawn`.
        match unsafe { clone(libc::SIGCHLD) } {
            -1 => Err(failed(Phase::Fork)),
            0 => {
                if let Err(failed) = execute(prepared, argv, env) {
                    tell(&failed);
                }
                exit(127)
            }
            pid => {
                reap_until(pid);
                Ok(())
            }
        }
    });
    if let Err(failed) = result {
        tell(&failed);
    }
    exit(0)
}

fn set_up(prepared: &mut Prepared) -> Done {
    identity_maps(prepared)?;
    open_sources(prepared)?;
    change_root()?;
    for (index, step) in prepared.steps.iter().enumerate() {
        let source = prepared.sources.get(index).copied().unwrap_or(-1);
        make(step, source).map_err(|errno| Failed { phase: Phase::MakeStep, step: number(index), errno })?;
    }
    seal(prepared)?;
    loopback()?;
    // SAFETY: pointer and length of a constant; prctl takes plain numbers.
    unsafe {
        check(libc::sethostname(HOSTNAME.as_ptr().cast(), HOSTNAME.len()), Phase::Hostname)?;
        // What runs inside must not read this process, a copy of akb.
        check(libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0), Phase::Limits)
    }
}

/// Puts the five descriptors at 0 to 4 and closes all others; then makes sure that akb still lives.
fn streams(fds: &ChildFds<'_>) -> Done {
    let given = [fds.stdin, fds.stdout, fds.stderr, fds.status, fds.life].map(|fd| fd.as_raw_fd());
    let mut high: [RawFd; 5] = [-1; 5];
    // SAFETY: descriptors only; `high` is above all targets, so that no dup2 hits one still needed.
    unsafe {
        for (from, to) in given.iter().zip(&mut high) {
            *to = check_value(libc::fcntl(*from, libc::F_DUPFD, 16), Phase::Streams)?;
        }
        for (target, from) in (0..).zip(high) {
            check(libc::dup2(from, target), Phase::Streams)?;
        }
        for own in [STATUS_FD, LIFE_FD] {
            check(libc::fcntl(own, libc::F_SETFD, libc::FD_CLOEXEC), Phase::Streams)?;
        }
        close_from(LIFE_FD + 1);
        check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0), Phase::Streams)?;
        let mut life = libc::pollfd { fd: LIFE_FD, events: 0, revents: 0 };
        if libc::poll(&raw mut life, 1, 0) != 0 {
            exit(0);
        }
        // Away from the terminal's signals. Not a session of its own: the scheduler weighs sessions alike, whatever
        // their `nice`.
        libc::setpgid(0, 0);
        libc::umask(0o022);
    }
    Ok(())
}

/// # Safety
/// No descriptor from `first` on may be in use.
unsafe fn close_from(first: c_int) {
    // SAFETY: plain numbers.
    unsafe {
        if libc::syscall(libc::SYS_close_range, c_long::from(first), c_long::from(c_int::MAX), 0 as c_long) == 0 {
            return;
        }
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        let end = c_int::try_from(limit.rlim_cur).unwrap_or(65_536).min(1 << 20);
        for fd in first..end {
            libc::close(fd);
        }
    }
}

fn identity_maps(prepared: &Prepared) -> Done {
    let Some([uid_map, gid_map]) = &prepared.maps else { return Ok(()) };
    write_file(c"/proc/self/setgroups", b"deny", false)
        .and_then(|()| write_file(c"/proc/self/uid_map", uid_map.as_bytes(), false))
        .and_then(|()| write_file(c"/proc/self/gid_map", gid_map.as_bytes(), false))
        .map_err(|errno| Failed { phase: Phase::Maps, step: 0, errno })
}

/// Opens what is bound before the old root goes out of sight: its links must be followed there.
fn open_sources(prepared: &mut Prepared) -> Done {
    let Prepared { steps, sources, .. } = prepared;
    for (index, (step, slot)) in steps.iter().zip(sources).enumerate() {
        if let Step::Bind { from, .. } = step {
            // SAFETY: `from` is a C string.
            let fd = unsafe { libc::open(from.as_ptr(), libc::O_PATH | libc::O_CLOEXEC) };
            *slot = if fd < 0 { return Err(Failed { step: number(index), ..failed(Phase::OpenSource) }) } else { fd };
        }
    }
    Ok(())
}

/// Some backends bind a port of localhost.
fn loopback() -> Done {
    // SAFETY: ifreq is plain bytes; the socket is ours.
    unsafe {
        let socket =
            check_value(libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0), Phase::Network)?;
        let mut request: libc::ifreq = std::mem::zeroed();
        for (place, byte) in request.ifr_name.iter_mut().zip(b"lo") {
            *place = c_char::from_ne_bytes([*byte]);
        }
        check(libc::ioctl(socket, libc::SIOCGIFFLAGS, &raw mut request), Phase::Network)?;
        request.ifr_ifru.ifru_flags |= 1; // IFF_UP
        check(libc::ioctl(socket, libc::SIOCSIFFLAGS, &raw mut request), Phase::Network)?;
        libc::close(socket);
    }
    Ok(())
}

/// Becomes the program; returns only if that fails.
fn execute(prepared: &Prepared, argv: &[*const c_char], env: &[*const c_char]) -> Done {
    // SAFETY: plain numbers, and null-terminated arrays of C strings that live until the end.
    unsafe {
        if prepared.maps.is_none() {
            // Raw calls: glibc's would ask threads that are not here.
            let (uid, gid) = (c_long::from(UID), c_long::from(GID));
            check(libc::syscall(libc::SYS_setgroups, 0 as c_long, null::<libc::gid_t>()), Phase::Identity)?;
            check(libc::syscall(libc::SYS_setresgid, gid, gid, gid), Phase::Identity)?;
            check(libc::syscall(libc::SYS_setresuid, uid, uid, uid), Phase::Identity)?;
        }
        check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), Phase::Limits)?;
        limit(libc::RLIMIT_CORE, 0)?;
        limit(libc::RLIMIT_STACK, 8 << 20)?;
        limit(libc::RLIMIT_NOFILE, 4096)?;
        // Where a seccomp filter forbids it, addresses stay random; no sane build looks at them.
        libc::personality(c_ulong::try_from(libc::ADDR_NO_RANDOMIZE).unwrap_or(0));
        // Zero is SIG_DFL. The raw call, because glibc's refuses the two signals that it uses itself.
        let default = [0_u64; 8];
        for signal in 1..=64 as c_long {
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), null::<u64>(), size_of::<u64>());
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, null_mut());
        check(libc::chdir(prepared.cwd.as_ptr()), Phase::Cwd)?;
        libc::execve(prepared.program.as_ptr(), argv.as_ptr(), env.as_ptr());
    }
    Err(failed(Phase::Execute))
}

/// Sets the soft limit, within the hard one.
fn limit(resource: libc::__rlimit_resource_t, soft: libc::rlim_t) -> Done {
    // SAFETY: a local struct.
    unsafe {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        check(libc::getrlimit(resource, &raw mut limit), Phase::Limits)?;
        limit.rlim_cur = soft.min(limit.rlim_max);
        check(libc::setrlimit(resource, &raw const limit), Phase::Limits)
    }
}

/// Reaps orphans until the program ends, and tells how it did.
fn reap_until(program: c_long) {
    let mut status = 0;
    loop {
        // SAFETY: a local.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, 0) };
        if c_long::from(pid) == program {
            send(&Message::bytes(Phase::Ended, 0, status));
            return;
        }
        if pid < 0 && errno() != libc::EINTR {
            return;
        }
    }
}

fn tell(failed: &Failed) {
    send(&Message::bytes(failed.phase, failed.step, failed.errno));
}

fn send(bytes: &[u8; Message::SIZE]) {
    // SAFETY: a live buffer and its length. Short enough for a pipe to take it whole.
    unsafe { libc::write(STATUS_FD, bytes.as_ptr().cast(), bytes.len()) };
}
