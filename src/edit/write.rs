//! Changes become files.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::Change;
use crate::explain::{ExitCode, Explain};
use crate::rewrite::{Failed, Ready, put};

/// Why changes could not be written. Nothing was, unless it says so.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// A file could not be read or written.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// `read` or `write`.
        doing: &'static str,
        /// Which.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file is not what the change was planned for.
    #[error("{} changed while it was edited", path.display())]
    Changed {
        /// Which.
        path: PathBuf,
    },
    /// A file is to be made where something is already.
    #[error("{} is there already", path.display())]
    Exists {
        /// Which.
        path: PathBuf,
    },
    /// Something else than a file or folder is in the way.
    #[error("{} is {found}; expected {expected}", path.display())]
    InTheWay {
        /// Which.
        path: PathBuf,
        /// What should be there.
        expected: &'static str,
        /// What is there.
        found: &'static str,
    },
    /// A path that leaves the tree.
    #[error("the path {} leaves the tree", path.display())]
    Leaves {
        /// Which.
        path: PathBuf,
    },
}

impl Explain for EditError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Changed { .. } => Some("nothing was written; run the command again".to_owned()),
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => Some("free some room".to_owned()),
            _ => None,
        }
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => ExitCode::Machine,
            _ => ExitCode::Failed,
        }
    }
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> EditError + use<> {
    let path = path.to_owned();
    move |source| EditError::Io { doing, path, source }
}

/// Writes every file beside its place first, then lets all of them take it. An error leaves everything as it was:
/// the temporary files, and the folders made for new ones, go away.
pub(super) fn all<'a>(root: &Path, changes: impl Iterator<Item = (&'a PathBuf, &'a Change)>) -> Result<(), EditError> {
    let mut folders = Folders::default();
    let mut ready = Vec::new();
    for (path, change) in changes {
        ready.push(beside(root, path, change, &mut folders)?);
    }
    put(ready).map_err(|Failed { doing, path, source }| EditError::Io { doing, path, source })?;
    folders.keep();
    Ok(())
}

/// The new contents in a temporary file beside their place.
fn beside(root: &Path, path: &Path, change: &Change, folders: &mut Folders) -> Result<Ready, EditError> {
    let place = root.join(path);
    if path.components().any(|part| matches!(part, std::path::Component::ParentDir)) {
        return Err(EditError::Leaves { path: path.to_owned() });
    }
    let mut old = None;
    let mode = match &change.before {
        Some(before) => {
            let metadata = fs::symlink_metadata(&place).map_err(io_error("read", &place))?;
            if !metadata.is_file() {
                let found = if metadata.is_symlink() { "a link" } else { "no file" };
                return Err(EditError::InTheWay { path: place, expected: "a file", found });
            }
            if fs::read(&place).map_err(io_error("read", &place))? != *before {
                return Err(EditError::Changed { path: place });
            }
            let mode = metadata.permissions().mode() & 0o7777;
            old = Some(metadata);
            change.executable.map_or(mode, |executable| if executable { mode | 0o111 } else { mode & !0o111 })
        }
        None if fs::symlink_metadata(&place).is_ok() => return Err(EditError::Exists { path: place }),
        None if change.executable == Some(true) => 0o755,
        None => 0o644,
    };
    let folder = place.parent().unwrap_or(Path::new("/"));
    if change.before.is_none() {
        folders.make(root, folder)?;
    }
    let finish = |file: &fs::File| file.set_permissions(fs::Permissions::from_mode(mode));
    Ready::contents(&place, &change.after.bytes, old.as_ref(), finish).map_err(io_error("write", &place))
}

/// Folders that were made for new files; they go away with it unless they are kept.
#[derive(Default)]
struct Folders {
    made: Vec<PathBuf>,
}

impl Folders {
    /// Makes `folder`, which lies in `root`, where it is missing. No link on the way is followed.
    fn make(&mut self, root: &Path, folder: &Path) -> Result<(), EditError> {
        if let Ok(inside) = folder.strip_prefix(root) {
            let mut here = root.to_owned();
            for part in inside.components() {
                here.push(part);
                match fs::symlink_metadata(&here) {
                    Ok(metadata) if metadata.is_dir() => {}
                    Ok(metadata) => {
                        let found = if metadata.is_symlink() { "a link" } else { "a file" };
                        return Err(EditError::InTheWay { path: here, expected: "a folder", found });
                    }
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        fs::create_dir(&here).map_err(io_error("write", &here))?;
                        self.made.push(here.clone());
                        let mode = fs::Permissions::from_mode(0o755);
                        fs::set_permissions(&here, mode).map_err(io_error("write", &here))?;
                    }
                    Err(error) => return Err(io_error("read", &here)(error)),
                }
            }
        }
        Ok(())
    }

    fn keep(mut self) {
        self.made.clear();
    }
}

impl Drop for Folders {
    fn drop(&mut self) {
        for folder in self.made.iter().rev() {
            // One that has something in it by now stays.
            let _ = fs::remove_dir(folder);
        }
    }
}
