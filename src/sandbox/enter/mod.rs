//! The only unsafe code: makes a process in namespaces of its own and runs a program in it.
//!
//! akb has many threads, and a process that is cloned from it has only one: any lock that another thread
//! held (that of `malloc`, for one) stays locked in it for ever. So all that needs memory is prepared before, in
//! [`Prepared`], and the child makes plain system calls on it until it executes the program. Nothing in
//! `child` and below may allocate, panic or call what glibc does across threads (`setuid`, `fork`).
//!
//! Two processes are made. The first is pid 1 of the new pid namespace: it builds the root, starts the program,
//! reaps what is orphaned, tells how the program ended and exits; the kernel then kills all that is left.
//! It dies with akb (`PR_SET_PDEATHSIG`).
#![expect(unsafe_code, reason = "clone, mount and execve have no safe form between fork and exec")]

mod calls;
mod child;
mod message;
mod root;

use std::ffi::CString;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::ptr::null;

use nix::libc::{self, c_char, c_int, c_long};

use super::layout::Step;
pub(super) use message::{Message, Phase};

/// Who the program is inside, for root and ordinary users alike; the same as in Nix's sandbox.
pub(super) const UID: u32 = 1000;
/// See [`UID`].
pub(super) const GID: u32 = 100;

/// All that the child needs, in memory that it only reads (but for `sources`).
pub(super) struct Prepared {
    steps: Vec<Step>,
    /// One slot per step, for the opened `from` of a bind.
    sources: Vec<c_int>,
    maps: Option<[CString; 2]>,
    program: CString,
    argv: Vec<CString>,
    env: Vec<CString>,
    cwd: CString,
}

/// Ends of pipes that the child takes.
pub(super) struct ChildFds<'a> {
    pub(super) stdin: BorrowedFd<'a>,
    pub(super) stdout: BorrowedFd<'a>,
    pub(super) stderr: BorrowedFd<'a>,
    /// Where a [`Message`] is written.
    pub(super) status: BorrowedFd<'a>,
    /// Closed on the other side when akb is gone.
    pub(super) life: BorrowedFd<'a>,
}

impl Prepared {
    /// `own_user_namespace` is false only for real root where user namespaces are forbidden.
    pub(super) fn new(
        steps: Vec<Step>,
        argv: Vec<CString>,
        env: Vec<CString>,
        cwd: CString,
        own_user_namespace: bool,
    ) -> io::Result<Self> {
        let program = argv.first().cloned().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let sources = vec![-1; steps.len()];
        let maps = if own_user_namespace {
            let uid = nix::unistd::geteuid();
            let gid = nix::unistd::getegid();
            Some([CString::new(format!("{UID} {uid} 1\n"))?, CString::new(format!("{GID} {gid} 1\n"))?])
        } else {
            None
        };
        Ok(Self { steps, sources, maps, program, argv, env, cwd })
    }

    /// The steps, to explain a [`Message`].
    pub(super) fn steps(&self) -> &[Step] {
        &self.steps
    }
}

/// A child that is killed and reaped at the latest when this is dropped.
pub(super) struct Child {
    pid: libc::pid_t,
    reaped: bool,
}

impl Child {
    /// Kills it and, with it, all that runs in its pid namespace.
    pub(super) fn kill(&self) {
        if !self.reaped {
            // SAFETY: it was not waited for, so that its pid is still its own.
            unsafe { libc::kill(self.pid, libc::SIGKILL) };
        }
    }

    /// Waits for its end; the resources that it and its descendants used.
    pub(super) fn wait(mut self) -> io::Result<libc::rusage> {
        self.reap()
    }

    fn reap(&mut self) -> io::Result<libc::rusage> {
        // SAFETY: rusage is plain numbers, for which zero is a value.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        let mut status = 0;
        loop {
            // SAFETY: both pointers are to live locals.
            if unsafe { libc::wait4(self.pid, &raw mut status, 0, &raw mut usage) } == self.pid {
                self.reaped = true;
                return Ok(usage);
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                self.reaped = true;
                return Err(error);
            }
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.reaped {
            self.kill();
            let _ = self.reap();
        }
    }
}

/// Makes the child. The error is that of `clone`: it says whether this machine allows namespaces.
pub(super) fn spawn(mut prepared: Prepared, fds: &ChildFds<'_>) -> (Prepared, io::Result<Child>) {
    let argv = pointers(&prepared.argv);
    let env = pointers(&prepared.env);
    let user = if prepared.maps.is_some() { libc::CLONE_NEWUSER } else { 0 };
    let needed = user
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::SIGCHLD;
    // A kernel without cgroup namespaces shows the cgroup's name in /proc/self/cgroup, and that is all.
    for flags in [needed | libc::CLONE_NEWCGROUP, needed] {
        // SAFETY: without CLONE_VM this is fork; the child keeps to the rules of this module.
        match unsafe { clone(flags) } {
            0 => child::run(&mut prepared, fds, &argv, &env),
            -1 => {}
            pid => {
                return (
                    prepared,
                    libc::pid_t::try_from(pid).map_err(io::Error::other).map(|pid| Child { pid, reaped: false }),
                );
            }
        }
    }
    let error = io::Error::last_os_error();
    (prepared, Err(error))
}

fn pointers(texts: &[CString]) -> Vec<*const c_char> {
    texts.iter().map(|text| text.as_ptr()).chain([null()]).collect()
}

/// `clone` without a stack of its own, as raw as it gets: no handlers of glibc run.
unsafe fn clone(flags: c_int) -> c_long {
    let flags = c_long::from(flags);
    if cfg!(target_arch = "s390x") {
        // SAFETY: as for the caller.
        unsafe { libc::syscall(libc::SYS_clone, 0 as c_long, flags, 0 as c_long, 0 as c_long, 0 as c_long) }
    } else {
        // SAFETY: as for the caller.
        unsafe { libc::syscall(libc::SYS_clone, flags, 0 as c_long, 0 as c_long, 0 as c_long, 0 as c_long) }
    }
}

/// A file in memory with `bytes`, at its start: a standard input that needs no writer.
pub(super) fn in_memory(bytes: &[u8]) -> io::Result<OwnedFd> {
    use std::io::{Seek as _, Write as _};
    let fd = nix::sys::memfd::memfd_create(c"stdin", nix::sys::memfd::MFdFlags::MFD_CLOEXEC)?;
    let mut file = std::fs::File::from(fd);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}
