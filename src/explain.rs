//! What every error of akb can tell a person beyond its message.

/// An error with a next step.
///
/// The message (`Display`) names what failed, on which file or package, what was expected and what was
/// found: lower case, no full stop. The hint is the exact next step: the line for `akb.toml`, the
/// Debian package or Nix attribute, the command to run.
pub trait Explain: std::error::Error {
    /// The exact next step, if there is one.
    fn hint(&self) -> Option<String> {
        None
    }

    /// The output of a child process that failed, whole, as it was captured.
    fn output(&self) -> Option<&str> {
        None
    }

    /// The exit code that a command ends with because of this error.
    fn exit_code(&self) -> ExitCode {
        ExitCode::Failed
    }
}

/// Exit codes of the `akb` command; `--help` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// The work could not be done.
    Failed = 1,
    /// The command line or a file of the user's (recipe, lock) is wrong.
    Usage = 2,
    /// Bytes were not the expected ones: a hash, a signature, a hostile archive.
    Integrity = 3,
    /// The network, or an index, did not give what was asked.
    Network = 4,
    /// A compiler or build backend failed.
    Build = 5,
    /// `verify` or `audit` found something.
    Finding = 6,
    /// This machine lacks something: namespaces, disk, memory.
    Machine = 7,
}
