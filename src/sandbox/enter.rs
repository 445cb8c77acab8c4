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

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::ptr::{null, null_mut};

use nix::libc::{self, c_char, c_int, c_long, c_ulong};

use super::layout::{Access, Step};

/// Who the program is inside, for root and ordinary users alike; the same as in Nix's sandbox.
pub(super) const UID: u32 = 1000;
/// See [`UID`].
pub(super) const GID: u32 = 100;

const HOSTNAME: &[u8] = b"akb";
/// Where the old root and its `/proc` are while the new root is made.
const OLD_ROOT: &CStr = c"/.old";
const OLD_PROC: &CStr = c"/.proc";
/// Folders that machines have, and where `/proc` is when the new root is mounted there.
const PLACES: [(&CStr, &CStr); 4] =
    [(c"/tmp", c"/tmp/.proc"), (c"/run", c"/run/.proc"), (c"/var", c"/var/.proc"), (c"/dev", c"/dev/.proc")];
const STATUS_FD: c_int = 3;
const LIFE_FD: c_int = 4;

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

/// Which part of the child's work failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Phase {
    Streams = 1,
    Maps = 2,
    Root = 3,
    OpenSource = 4,
    MakeStep = 5,
    Seal = 6,
    Network = 7,
    Hostname = 8,
    Fork = 9,
    Identity = 10,
    Limits = 11,
    Cwd = 12,
    Execute = 13,
    /// Not a failure: the program ended, and `errno` is its wait status.
    Ended = 14,
}

impl Phase {
    const ALL: [Self; 14] = [
        Self::Streams,
        Self::Maps,
        Self::Root,
        Self::OpenSource,
        Self::MakeStep,
        Self::Seal,
        Self::Network,
        Self::Hostname,
        Self::Fork,
        Self::Identity,
        Self::Limits,
        Self::Cwd,
        Self::Execute,
        Self::Ended,
    ];

    /// What it does, for messages.
    pub(super) fn what(self) -> &'static str {
        match self {
            Self::Streams => "passing on its streams",
            Self::Maps => "mapping its user and group",
            Self::Root => "mounting its root",
            Self::OpenSource => "opening a folder for it",
            Self::MakeStep => "making a name in its root",
            Self::Seal => "making its root read-only",
            Self::Network => "bringing up its loopback interface",
            Self::Hostname => "setting its host name",
            Self::Fork => "starting its first process",
            Self::Identity => "taking its user and group",
            Self::Limits => "setting its limits",
            Self::Cwd => "entering its working folder",
            Self::Execute | Self::Ended => "executing its program",
        }
    }
}

/// What the child tells: a failed phase, or the end of the program.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message {
    pub(super) phase: Phase,
    /// Index of the step, for [`Phase::OpenSource`] and [`Phase::MakeStep`].
    pub(super) step: usize,
    /// `errno`, or the wait status for [`Phase::Ended`].
    pub(super) value: c_int,
}

impl Message {
    /// Size on the pipe.
    pub(super) const SIZE: usize = 12;

    fn bytes(phase: Phase, step: u32, value: c_int) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[..4].copy_from_slice(&(phase as u32).to_ne_bytes());
        bytes[4..8].copy_from_slice(&step.to_ne_bytes());
        bytes[8..].copy_from_slice(&value.to_ne_bytes());
        bytes
    }

    /// Reads what the child wrote; `None` if it is not a message.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| bytes.get(at..at + 4)?.try_into().ok();
        let code = u32::from_ne_bytes(word(0)?);
        let phase = Phase::ALL.into_iter().find(|phase| *phase as u32 == code)?;
        let step = usize::try_from(u32::from_ne_bytes(word(4)?)).ok()?;
        Some(Self { phase, step, value: c_int::from_ne_bytes(word(8)?) })
    }
}

/// A failure in the child; `step` as in [`Message`].
struct Failed {
    phase: Phase,
    step: u32,
    errno: c_int,
}

type Done = Result<(), Failed>;

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
            0 => child(&mut prepared, fds, &argv, &env),
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

/// Pid 1 of the sandbox.
fn child(prepared: &mut Prepared, fds: &ChildFds<'_>, argv: &[*const c_char], env: &[*const c_char]) -> ! {
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

/// An empty root in memory. The old one stays reachable until [`seal`].
fn change_root() -> Done {
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

fn make(step: &Step, source: c_int) -> Result<(), c_int> {
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
fn seal(prepared: &Prepared) -> Done {
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

fn write_file(path: &CStr, text: &[u8], create: bool) -> Result<(), c_int> {
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

unsafe fn mount(from: Option<&CStr>, at: &CStr, kind: Option<&CStr>, flags: c_ulong, data: Option<&CStr>) -> c_int {
    let pointer = |text: Option<&CStr>| text.map_or(null(), CStr::as_ptr);
    // SAFETY: C strings or null.
    unsafe { libc::mount(pointer(from), at.as_ptr(), pointer(kind), flags, pointer(data).cast()) }
}

fn unless_exists(returned: c_int) -> Result<(), c_int> {
    match result(returned) {
        Err(libc::EEXIST) => Ok(()),
        other => other,
    }
}

fn result(returned: c_int) -> Result<(), c_int> {
    if returned < 0 { Err(errno()) } else { Ok(()) }
}

fn check<T: PartialOrd + From<i8>>(returned: T, phase: Phase) -> Done {
    check_value(returned, phase).map(|_| ())
}

fn check_value<T: PartialOrd + From<i8>>(returned: T, phase: Phase) -> Result<T, Failed> {
    if returned < T::from(0) { Err(failed(phase)) } else { Ok(returned) }
}

fn failed(phase: Phase) -> Failed {
    Failed { phase, step: 0, errno: errno() }
}

fn errno() -> c_int {
    nix::errno::Errno::last_raw()
}

/// Steps are few; a number that does not fit only makes a message less exact.
fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

fn exit(code: c_int) -> ! {
    // SAFETY: no handlers, no destructors.
    unsafe { libc::_exit(code) }
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
