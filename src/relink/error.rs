//! Why a tree could not be relinked.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use super::elf::ElfError;
use super::missing::{Missing, problems};
use super::remedy::Remedy;
use super::{INTERPRETER_SLOT, RelinkReport};
use crate::explain::{ExitCode, Explain};
use crate::runtime::seal;
use crate::tree::TreeError;

/// Why a tree could not be relinked.
#[derive(Debug, thiserror::Error)]
pub enum RelinkError {
    /// Libraries are not there. All of them at once.
    #[error("{} not resolved:{}", count(&.report.missing), lines(&.report.missing))]
    Missing {
        /// Everything that was decided; nothing of it was done.
        report: Box<RelinkReport>,
    },
    /// The inputs have no dynamic linker where they say.
    #[error("the inputs ({inputs}) have no dynamic linker at {}", path.display())]
    NoInterpreter {
        /// As the sandbox sees it.
        path: PathBuf,
        /// Their description.
        inputs: String,
    },
    /// The path of the dynamic linker does not fit.
    #[error("the path of the dynamic linker has {found} bytes; expected at most {}", INTERPRETER_SLOT - 1)]
    PrefixTooLong {
        /// Its length.
        found: usize,
    },
    /// A file could not be edited.
    #[error("{}: {source}", path.display())]
    Elf {
        /// Which.
        path: PathBuf,
        /// Why.
        source: ElfError,
    },
    /// A copied library would open files of the host.
    #[error("{}: {source}", path.display())]
    Seal {
        /// Which, as the sandbox sees it.
        path: PathBuf,
        /// Why.
        source: seal::SealError,
    },
    /// A folder could not be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Threads could not be started.
    #[error("cannot start threads: {0}")]
    Threads(String),
}

/// Most lines of one message.
const SHOWN: usize = 40;

fn count(missing: &[Missing]) -> String {
    let sonames: BTreeSet<&str> = missing.iter().map(|missing| &*missing.soname).collect();
    match sonames.len() {
        1 => "one library was".to_owned(),
        many => format!("{many} libraries were"),
    }
}

fn lines(missing: &[Missing]) -> String {
    let problems = problems(missing);
    let mut text: String = problems.iter().take(SHOWN).map(|problem| format!("\n  {problem}")).collect();
    if problems.len() > SHOWN {
        text.push_str(&format!("\n  … and {} more", problems.len() - SHOWN));
    }
    text
}

impl Explain for RelinkError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { report } => Some(Remedy::Recipe.hint(&report.missing)),
            Self::NoInterpreter { .. } => Some("add the C library's package (Debian: libc6) to the inputs".to_owned()),
            Self::PrefixTooLong { .. } => Some("choose a shorter folder".to_owned()),
            Self::Seal { .. } => Some(
                "the library differs from Debian's build of it: take the inputs from Debian, or report it as a bug of akb".to_owned(),
            ),
            Self::Tree(error) => error.hint(),
            Self::Io { path, source } => io_hint(path, source.kind()),
            Self::Elf { .. } | Self::Threads(_) => None,
        }
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Tree(error) => error.exit_code(),
            Self::Missing { .. } => ExitCode::Build,
            _ => ExitCode::Failed,
        }
    }
}

fn io_hint(path: &Path, kind: io::ErrorKind) -> Option<String> {
    let again = "then run it again";
    match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(format!("make room, {again}")),
        io::ErrorKind::PermissionDenied => {
            let folder = path.parent().unwrap_or(path);
            Some(format!("make it yours, or writable for you: chmod -R u+w {}; {again}", folder.display()))
        }
        _ => None,
    }
}
