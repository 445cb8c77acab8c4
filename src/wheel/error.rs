//! Why a wheel could not be built.

use std::io;
use std::path::{Path, PathBuf};

use super::{Cause, Id};
use crate::cache::CacheError;
use crate::explain::{ExitCode, Explain};
use crate::inputs::Runtime;
use crate::sandbox::SandboxError;
use crate::tree::TreeError;

/// Why a wheel could not be built.
#[derive(Debug, thiserror::Error)]
pub enum WheelError {
    /// The backend, or a compiler that it started, failed.
    #[error("{} does not build: {}", .0.package, .0.cause)]
    Failed(Box<Failed>),
    /// `pyproject.toml` cannot be used.
    #[error("cannot use {}: {message}", path.display())]
    Project {
        /// The file.
        path: PathBuf,
        /// Why.
        message: String,
    },
    /// The backend made no wheel, several, or another one.
    #[error("{package}: expected {expected}, found {found}")]
    Wheel {
        /// Which.
        package: Id,
        /// What should have been made.
        expected: String,
        /// What was.
        found: String,
    },
    /// A name or version that is none.
    #[error("expected the name and version of a package, found `{}`", found.escape_debug())]
    Name {
        /// The text.
        found: String,
    },
    /// A build requirement that nothing in this build provides.
    #[error("{package} needs {requirement} to be built, and no job makes that")]
    Unknown {
        /// Which.
        package: Id,
        /// What it requires.
        requirement: Id,
    },
    /// The same package twice in one build.
    #[error("{package} is there twice")]
    Twice {
        /// Which.
        package: Id,
    },
    /// Packages that need each other to be built.
    #[error("these packages need each other to be built: {}", packages.iter().map(Id::to_string).collect::<Vec<_>>().join(", "))]
    Cycle {
        /// All of the cycle, and what waits for it.
        packages: Vec<Id>,
    },
    /// A wheel of a build environment cannot be used.
    #[error("cannot install {file} for the build of {package}: {message}")]
    Requirement {
        /// What is built.
        package: Id,
        /// The wheel.
        file: String,
        /// Why.
        message: String,
    },
    /// The sandbox failed, or what ran in it took too long.
    #[error("{package}: {source}")]
    Sandbox {
        /// What was built.
        package: String,
        /// Why.
        #[source]
        source: SandboxError,
    },
    /// The interpreter's own flags could not be read.
    #[error("{} cannot tell its compiler flags: {message}", python.display())]
    Interpreter {
        /// As the sandbox sees it.
        python: PathBuf,
        /// Why.
        message: String,
        /// What it wrote.
        output: String,
    },
    /// A folder could not be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The cache failed.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// A file could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

/// A build that ran and failed.
#[derive(Debug)]
pub struct Failed {
    /// Which package.
    pub package: Id,
    /// What its output says about why.
    pub cause: Cause,
    /// Of the inputs that it was built with.
    pub runtime: Runtime,
    /// All that it wrote.
    pub output: String,
    /// A file with the same.
    pub log: PathBuf,
}

impl Explain for WheelError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Failed(failed) => {
                let next =
                    failed.cause.hint(&failed.package.name, failed.runtime).map(|next| next + "\n").unwrap_or_default();
                Some(format!("{next}its whole output is in {}", failed.log.display()))
            }
            Self::Sandbox { source, .. } => source.hint(),
            Self::Tree(error) => error.hint(),
            Self::Cache(error) => error.hint(),
            Self::Unknown { .. } | Self::Cycle { .. } => {
                Some("`akb lock` works out the build requirements anew".to_owned())
            }
            Self::Wheel { .. } => {
                Some("the lock and the sources disagree: `uv lock` in the project, then `akb lock`".to_owned())
            }
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some("free some space there, or put the cache elsewhere with --cache DIR".to_owned())
            }
            _ => None,
        }
    }

    fn output(&self) -> Option<&str> {
        match self {
            Self::Failed(failed) => Some(&failed.output),
            Self::Interpreter { output, .. } => Some(output),
            Self::Sandbox { source, .. } => source.output(),
            _ => None,
        }
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Failed(failed) if failed.cause == Cause::Memory => ExitCode::Machine,
            Self::Io { .. } => ExitCode::Machine,
            Self::Sandbox { source, .. } => source.exit_code(),
            Self::Cache(error) => error.exit_code(),
            Self::Tree(error) => error.exit_code(),
            _ => ExitCode::Build,
        }
    }
}

/// Says what was tried on which path when that fails.
pub(super) trait At<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, WheelError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, WheelError> {
        self.map_err(|source| WheelError::Io { action, path: path.to_owned(), source })
    }
}
