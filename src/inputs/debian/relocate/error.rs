//! What can go wrong when an unpacked tree is made to run from elsewhere.

use std::io;
use std::path::PathBuf;

use crate::explain::{ExitCode, Explain};
use crate::relink::elf::ElfError;
use crate::runtime::seal::SealError;
use crate::tree::TreeError;

/// A tree of Debian packages could not be relocated.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum RelocateError {
    #[error("`{}` cannot be where packages run from: {reason}", path.display())]
    Place { path: PathBuf, reason: &'static str },
    #[error("{} is not an empty folder", path.display())]
    NotEmpty { path: PathBuf },
    #[error("{} has no UTF-8 name", path.display())]
    Name { path: PathBuf },
    #[error("the packages have no {missing}")]
    Missing { missing: String },
    #[error("`{first}` and `{second}` would both become `{dest}`")]
    Collision { dest: String, first: String, second: String },
    #[error("`{path}`: {source}")]
    Elf { path: String, source: ElfError },
    #[error("`{path}`: {source}")]
    Seal { path: String, source: SealError },
    #[error("`{path}` would begin with a line of {length} bytes, more than the {limit} that Linux reads")]
    Shebang { path: String, length: usize, limit: usize },
    #[error("`{path}` of the runtime would name the development files at byte {offset}")]
    NamesDev { path: String, offset: usize },
    #[error(transparent)]
    Tree(#[from] TreeError),
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot start threads: {0}")]
    Threads(String),
}

impl Explain for RelocateError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Place { .. } => Some("name an absolute path of letters, digits and `/._+-`".into()),
            Self::NotEmpty { path } => Some(format!("name a folder that does not exist, or: rm -r {}", path.display())),
            Self::Missing { missing } => Some(format!("add the package with {missing} to the packages")),
            Self::Collision { .. } => Some("leave one of the two packages out: `-name` in [inputs] packages".into()),
            Self::Shebang { .. } => Some("choose a shorter path".into()),
            Self::Tree(error) => error.hint(),
            Self::Write { .. } => Some("free some space, or choose another folder".into()),
            Self::Name { .. }
            | Self::Elf { .. }
            | Self::Seal { .. }
            | Self::NamesDev { .. }
            | Self::Read { .. }
            | Self::Threads(_) => None,
        }
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Place { .. } | Self::NotEmpty { .. } | Self::Missing { .. } | Self::Collision { .. } => {
                ExitCode::Usage
            }
            Self::Tree(error) => error.exit_code(),
            Self::Read { .. } | Self::Write { .. } | Self::Threads(_) => ExitCode::Machine,
            _ => ExitCode::Failed,
        }
    }
}
