//! Edits files where they lie: read, edit, check, and only then put in place.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::num::NonZeroUsize;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::{Edits, ElfError, Patch, pristine};
use crate::explain::{ExitCode, Explain};

/// Why a file could not be edited where it lies.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The result could not be written; the old file is as it was.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// It is no ELF file, or cannot be edited as asked.
    #[error("{}: {source}", path.display())]
    Elf {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: ElfError,
    },
}

impl Explain for FileError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Elf { path, source: ElfError::NoInterpreter } => {
                Some(format!("see what the file is: file {}; only programs have an interpreter", path.display()))
            }
            Self::Elf { source: ElfError::NoDynamic, .. } => {
                Some("leave the file out: what is linked statically loads no libraries".to_owned())
            }
            Self::Elf { path, source: ElfError::Malformed(_) } => {
                Some(format!("see how much of the file is sound: readelf --all --wide {}", path.display()))
            }
            Self::Elf { path, source: ElfError::Check(_) } => {
                Some(format!("the file is as it was; please report this with a copy of {}", path.display()))
            }
            Self::Elf { source: ElfError::Text { .. } | ElfError::Unsupported(_), .. } | Self::Read { .. } => None,
            Self::Write { path, source } => {
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
                let folder = folder.display();
                Some(match source.kind() {
                    io::ErrorKind::NotFound => format!("make the folder first: mkdir -p {folder}"),
                    io::ErrorKind::IsADirectory => format!("name a file: {}", path.join("NAME").display()),
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                        format!("make room, see how much there is: df -h {folder}")
                    }
                    _ => format!("make the folder writable, or name another file: chmod u+w {folder}"),
                })
            }
        }
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Write { .. } => ExitCode::Machine,
            Self::Elf { source: ElfError::Text { .. }, .. } => ExitCode::Usage,
            Self::Read { .. } | Self::Elf { .. } => ExitCode::Failed,
        }
    }
}

/// The bytes of a file.
pub fn read_file(path: &Path) -> Result<Vec<u8>, FileError> {
    fs::read(path).map_err(|source| FileError::Read { path: path.to_owned(), source })
}

/// Edits the file at `path`, whose symbolic links are followed; `false` where it is in the wanted state already:
/// then it is not touched. Only headers and tables are read, whatever the size of the file.
///
/// The new file replaces the old one at once, with its permissions. A file with more than one hard link stays
/// one: what changes is written over it.
pub fn edit_file(path: &Path, edits: &Edits) -> Result<bool, FileError> {
    edit_with(path, edits, |file, patch| {
        let metadata = file.metadata()?;
        if metadata.nlink() > 1 {
            return patch.write(&File::options().write(true).open(path)?);
        }
        replace(&fs::canonicalize(path)?, Some(metadata.permissions()), |new| {
            io::copy(&mut &*file, &mut &*new)?;
            patch.write(new)
        })
    })
}

/// Likewise, but what changes is written over the file: the rest is neither read nor copied. Not for a file that
/// somebody runs or reads at this moment; one that cannot be opened to be written is replaced.
pub fn edit_in_place(path: &Path, edits: &Edits) -> Result<bool, FileError> {
    match File::options().write(true).open(path) {
        Ok(target) => edit_with(path, edits, |_, patch| patch.write(&target)),
        Err(_) => edit_file(path, edits),
    }
}

fn edit_with(
    path: &Path,
    edits: &Edits,
    write: impl FnOnce(&File, &Patch) -> io::Result<()>,
) -> Result<bool, FileError> {
    let reading = |source| FileError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(reading)?;
    let planned = Patch::plan(&file, edits).map_err(reading)?;
    let Some(patch) = planned.map_err(|source| FileError::Elf { path: path.to_owned(), source })? else {
        return Ok(false);
    };
    write(&file, &patch).map_err(|source| FileError::Write { path: path.to_owned(), source })?;
    Ok(true)
}

/// Does `work` on every file, several at once; gives the results in the order of `paths`.
pub fn each_file<T: Send>(
    paths: &[PathBuf],
    jobs: NonZeroUsize,
    work: impl Fn(&Path) -> Result<T, FileError> + Sync,
) -> Vec<Result<T, FileError>> {
    let all = || paths.par_iter().map(|path| work(path)).collect();
    match rayon::ThreadPoolBuilder::new().num_threads(jobs.get()).build() {
        Ok(pool) => pool.install(all),
        // Without threads of its own the work is done by this one.
        Err(_) => paths.iter().map(|path| work(path)).collect(),
    }
}

/// Brings back the bytes that the file at `path` had before akb edited it; `false` where it is as it was.
pub fn undo_file(path: &Path) -> Result<bool, FileError> {
    let bytes = read_file(path)?;
    let old = pristine(&bytes).map_err(|source| FileError::Elf { path: path.to_owned(), source })?;
    if old == bytes {
        return Ok(false);
    }
    write_file(path, &old)?;
    Ok(true)
}

/// Puts `bytes` into the place of `path`, whose symbolic links are followed. What is there keeps its permissions;
/// a new file may be read and executed by whom the umask lets.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let error = |source| FileError::Write { path: path.to_owned(), source };
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let old = match fs::metadata(&target) {
        Ok(metadata) => Some(metadata),
        Err(source) if source.kind() == io::ErrorKind::NotFound => None,
        Err(source) => return Err(error(source)),
    };
    // A device or pipe cannot be replaced; neither can a file with another name, which would be left behind.
    if old.as_ref().is_some_and(|old| !old.is_file() || old.nlink() > 1) {
        return File::create(&target).and_then(|mut file| file.write_all(bytes)).map_err(error);
    }
    replace(&target, old.map(|old| old.permissions()), |mut file| file.write_all(bytes)).map_err(error)
}

/// Puts a new file into the place of `target`.
fn replace(
    target: &Path,
    permissions: Option<fs::Permissions>,
    write: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let new = fs::Permissions::from_mode(0o777);
    let file = tempfile::Builder::new().prefix(".akb-").permissions(new).tempfile_in(folder)?;
    write(file.as_file())?;
    if let Some(permissions) = permissions {
        file.as_file().set_permissions(permissions)?;
    }
    file.persist(target)?;
    Ok(())
}
