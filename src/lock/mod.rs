//! Locks: text becomes a lock.
//!
//! One file for each lock format; what they share is [`names`] (package and file names), [`tags`]
//! (which wheels run on a target) and [`markers`] (which dependencies hold on it). [`project`] is what the
//! project's own files add to a lock. [`resolve`] finds what builds a package, [`mod@make`] writes it down in
//! akb's own lock, the [`sidecar`].

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::explain::{ExitCode, Explain};
pub use make::MakeError;
use project::{Project, ProjectError};
use uv::{UvLock, UvLockError};

pub mod make;
pub mod markers;
pub mod metadata;
pub mod names;
pub mod project;
pub mod resolve;
pub mod sidecar;
pub mod tags;
pub mod uv;

/// Whether a file is a wheel, by its name.
pub(crate) fn is_wheel(file: &str) -> bool {
    Path::new(file).extension().is_some_and(|extension| extension == "whl")
}

/// More bytes than any parser takes.
const LONGEST_FILE: u64 = 65 << 20;

/// A folder whose lock cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// There is no lock.
    #[error("there is no `uv.lock` in `{folder}`")]
    Missing {
        /// The folder.
        folder: PathBuf,
    },
    /// A file could not be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The lock is wrong.
    #[error(transparent)]
    Uv(#[from] UvLockError),
    /// A file of the project is wrong.
    #[error(transparent)]
    Project(#[from] ProjectError),
}

impl Explain for LockError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { .. } => {
                Some("name the folder that holds `uv.lock`, or make it there with `uv lock`".into())
            }
            Self::Read { .. } => None,
            Self::Uv(error) => error.hint(),
            Self::Project(error) => error.hint(),
        }
    }

    fn exit_code(&self) -> ExitCode {
        ExitCode::Usage
    }
}

/// Reads the lock of a project's folder, and what `pyproject.toml` and `uv.toml` beside it say.
pub fn open(folder: &Path) -> Result<(UvLock, Project), LockError> {
    let read = |name: &str| read(&folder.join(name));
    let (text, path) = read("uv.lock")?.ok_or_else(|| LockError::Missing { folder: folder.into() })?;
    let lock = UvLock::parse(&text, &path)?;
    let (pyproject, uv) = (read("pyproject.toml")?, read("uv.toml")?);
    let project = Project::parse(
        pyproject.as_ref().map(|(text, path)| (text.as_str(), path.as_str())),
        uv.as_ref().map(|(text, path)| (text.as_str(), path.as_str())),
    )?;
    Ok((lock, project))
}

/// Text and name of a file; `None` if there is none. What is longer than any lock is cut off, which its
/// reader then refuses.
fn read(path: &Path) -> Result<Option<(String, String)>, LockError> {
    let mut text = String::new();
    let file = File::open(path).and_then(|file| file.take(LONGEST_FILE).read_to_string(&mut text));
    match file {
        Ok(_) => Ok(Some((text, path.display().to_string()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(LockError::Read { path: path.into(), source }),
    }
}
