//! Runs a program where it sees only what it was given. [`Spec`] is data; `enter` is the only unsafe code.
//!
//! The program runs in user, mount, pid, network, ipc, uts and (where there are) cgroup namespaces of its own, as user
//! 1000 and group 100, on a host named `akb`, with a loopback interface and nothing else. Its root holds the view,
//! a `/proc` and a `/dev` with the harmless devices, and is read-only but for `/tmp`, `/dev/shm` and what
//! the [`Spec`] lets it write. Where user namespaces are forbidden, root goes without one: the program then runs as the
//! real user 1000, and what it may write belongs to that user for the time.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::explain::{ExitCode, Explain};
use crate::inputs::View;

mod capture;
mod diagnose;
mod enter;
mod layout;
mod supervise;

use enter::{Message, Phase, Prepared};
use supervise::End;

/// What a sandboxed program sees and gets. Nothing else of this machine reaches it.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Read-only folders and links of its root (see [`crate::inputs::Inputs::view`]).
    pub view: Vec<View>,
    /// Folders of this machine that it may write: (on this machine, in the sandbox).
    pub writable: Vec<(PathBuf, PathBuf)>,
    /// Its whole environment.
    pub env: BTreeMap<String, String>,
    /// Its working folder, in the sandbox.
    pub cwd: PathBuf,
    /// Program (absolute, in the sandbox) and arguments.
    pub argv: Vec<String>,
    /// What it reads on standard input.
    pub stdin: Vec<u8>,
    /// Wall time after which it is killed.
    pub time_limit: Duration,
}

/// Which of a child's streams a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// How a sandboxed program ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Exit code; 128 plus the signal where one ended it.
    pub status: i32,
    /// Both streams, in the order of arrival. Of more than 64 MiB the middle is left out, and said so.
    pub output: String,
    /// CPU time of it and its children.
    pub cpu: Duration,
    /// Peak resident memory of the largest process, in bytes; at least what akb itself held when it started it.
    pub peak_memory: u64,
}

/// Why a program could not be run in a sandbox. That it ran and failed is no error here: see [`Outcome::status`].
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The kernel, its settings or a container forbid namespaces.
    #[error("this machine forbids the sandbox: {what}: {source}")]
    NoNamespaces {
        /// What was refused.
        what: String,
        /// As the kernel said it.
        source: io::Error,
        /// The setting that changes it.
        hint: String,
    },
    /// What should be shown in the sandbox is not there.
    #[error("cannot show {} in the sandbox as {}: {source}", path.display(), at.display())]
    Source {
        /// On this machine.
        path: PathBuf,
        /// In the sandbox.
        at: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A name of the sandbox that is not absolute, or has `..` in it.
    #[error("expected an absolute path without `..` for a name in the sandbox, found `{}`", path.display())]
    NotAbsolute {
        /// The path.
        path: PathBuf,
    },
    /// A NUL byte in a path, an argument or a variable.
    #[error("expected a text without NUL bytes, found `{}`", text.escape_debug())]
    Nul {
        /// The text.
        text: String,
    },
    /// The program cannot be executed.
    #[error("cannot execute {program} in the sandbox: {source}")]
    Program {
        /// As the sandbox sees it.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// The sandbox could not be set up.
    #[error("cannot set up the sandbox: {what}: {source}")]
    Setup {
        /// Which part.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// It ran longer than it may.
    #[error("{program} was stopped after its time limit of {} seconds", limit.as_secs_f64())]
    TimeLimit {
        /// As the sandbox sees it.
        program: String,
        /// The limit.
        limit: Duration,
        /// All it wrote until then.
        output: String,
    },
    /// The sandbox was killed from outside.
    #[error("{program} was killed from outside")]
    Killed {
        /// As the sandbox sees it.
        program: String,
        /// All it wrote until then.
        output: String,
    },
    /// Pipes or memory on this side.
    #[error("cannot watch the sandbox: {0}")]
    Io(#[from] io::Error),
}

impl Explain for SandboxError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NoNamespaces { hint, .. } => Some(hint.clone()),
            Self::Killed { .. } => {
                Some("most often the machine ran out of memory: try fewer jobs (`-j1`) or less `--memory`".to_owned())
            }
            Self::Program { .. } => Some("`akb inputs` shows what the inputs hold".to_owned()),
            _ => None,
        }
    }

    fn output(&self) -> Option<&str> {
        match self {
            Self::TimeLimit { output, .. } | Self::Killed { output, .. } => Some(output),
            _ => None,
        }
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::NoNamespaces { .. } | Self::Setup { .. } | Self::Killed { .. } | Self::Io(_) => ExitCode::Machine,
            Self::TimeLimit { .. } => ExitCode::Build,
            _ => ExitCode::Failed,
        }
    }
}

/// Runs the program of `spec` to its end; `on_line` gets each line of its output as it comes.
///
/// The calling thread blocks. If akb dies, so does the program with all that it started; if `on_line` panics, too.
pub fn run(spec: &Spec, on_line: &mut dyn FnMut(Stream, &str)) -> Result<Outcome, SandboxError> {
    let first = attempt(spec, true, on_line);
    let Err(SandboxError::NoNamespaces { what, source, hint }) = first else { return first };
    let refused = |second: Option<SandboxError>| {
        let what =
            second.map_or(what.clone(), |second| format!("without a user namespace, {second}; with one, {what}"));
        Err(SandboxError::NoNamespaces { what, source, hint })
    };
    if !nix::unistd::geteuid().is_root() {
        return refused(None);
    }
    // Root by name only, as in some containers, can do without no more than others.
    let lent = match Lent::to_sandbox_user(spec) {
        Ok(lent) => lent,
        Err(second) => return refused(Some(second)),
    };
    let result = attempt(spec, false, on_line);
    lent.take_back()?;
    match result {
        Err(second @ (SandboxError::NoNamespaces { .. } | SandboxError::Setup { .. })) => refused(Some(second)),
        result => result,
    }
}

fn attempt(
    spec: &Spec,
    own_user_namespace: bool,
    on_line: &mut dyn FnMut(Stream, &str),
) -> Result<Outcome, SandboxError> {
    let program = spec.argv.first().cloned().unwrap_or_default();
    let prepared = prepare(spec, own_user_namespace)?;
    let (prepared, end) = supervise::watch(prepared, &spec.stdin, spec.time_limit, on_line)?;
    match end {
        End::Ended(outcome) => Ok(outcome),
        End::TimeLimit(output) => Err(SandboxError::TimeLimit { program, limit: spec.time_limit, output }),
        End::Lost(output) => Err(SandboxError::Killed { program, output }),
        End::NotCloned(source) => Err(forbidden("making namespaces".to_owned(), source)),
        End::NotEntered(message) => Err(not_entered(&message, &prepared, spec, program)),
    }
}

fn prepare(spec: &Spec, own_user_namespace: bool) -> Result<Prepared, SandboxError> {
    let text = |text: String| CString::new(text.clone()).map_err(|_| SandboxError::Nul { text });
    let argv = spec.argv.iter().cloned().map(text).collect::<Result<_, _>>()?;
    let env = spec.env.iter().map(|(name, value)| text(format!("{name}={value}"))).collect::<Result<_, _>>()?;
    let cwd = text(spec.cwd.to_string_lossy().into_owned())?;
    Ok(Prepared::new(layout::steps(spec)?, argv, env, cwd, own_user_namespace)?)
}

fn not_entered(message: &Message, prepared: &Prepared, spec: &Spec, program: String) -> SandboxError {
    let source = io::Error::from_raw_os_error(message.value);
    let step = prepared.steps().get(message.step);
    let what = match (message.phase, step) {
        (Phase::OpenSource | Phase::MakeStep, Some(step)) => {
            format!("{} ({})", message.phase.what(), step.at().to_string_lossy())
        }
        (Phase::Cwd, _) => format!("{} ({})", message.phase.what(), spec.cwd.display()),
        _ => message.phase.what().to_owned(),
    };
    let refused = matches!(source.kind(), io::ErrorKind::PermissionDenied);
    match message.phase {
        Phase::Execute => SandboxError::Program { program, source },
        // The first things that need the new namespaces' privileges: AppArmor grants namespaces without any.
        Phase::Maps | Phase::Root | Phase::Network if refused => forbidden(what, source),
        _ => SandboxError::Setup { what, source },
    }
}

fn forbidden(what: String, source: io::Error) -> SandboxError {
    let hint = diagnose::hint(Path::new("/"), nix::unistd::geteuid().is_root());
    SandboxError::NoNamespaces { what, source, hint }
}

/// Writable folders that belong to the sandbox's user while it runs without a user namespace.
struct Lent<'a> {
    spec: &'a Spec,
}

impl<'a> Lent<'a> {
    fn to_sandbox_user(spec: &'a Spec) -> Result<Self, SandboxError> {
        own(spec, enter::UID, enter::GID)?;
        Ok(Self { spec })
    }

    fn take_back(self) -> Result<(), SandboxError> {
        own(self.spec, nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw())
    }
}

fn own(spec: &Spec, uid: u32, gid: u32) -> Result<(), SandboxError> {
    for (folder, _) in &spec.writable {
        own_tree(folder, uid, gid).map_err(|source| SandboxError::Setup {
            what: format!("changing the owner of {}", folder.display()),
            source,
        })?;
    }
    Ok(())
}

fn own_tree(path: &Path, uid: u32, gid: u32) -> io::Result<()> {
    std::os::unix::fs::lchown(path, Some(uid), Some(gid))?;
    if std::fs::symlink_metadata(path)?.is_dir() {
        #[expect(clippy::disallowed_methods, reason = "order does not matter to an owner")]
        for entry in std::fs::read_dir(path)? {
            own_tree(&entry?.path(), uid, gid)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
