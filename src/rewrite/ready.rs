//! New files that lie ready beside their places, and take them together or not at all.

use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, fchown, symlink};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use tempfile::TempPath;

use super::Failed;

/// A file or link beside the place that it is to take. It goes away with this unless it is put there.
#[derive(Debug)]
pub(crate) struct Ready {
    made: TempPath,
    place: PathBuf,
    /// Whether something is there now.
    replaces: bool,
}

fn temporary() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".akb-");
    builder
}

pub(super) fn folder(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

impl Ready {
    /// Contents for the file that is at `place`, of which `old` tells the owner; `finish` gives it its mode.
    pub(crate) fn contents(
        place: &Path,
        bytes: &[u8],
        old: Option<&Metadata>,
        finish: impl FnOnce(&File) -> io::Result<()>,
    ) -> io::Result<Self> {
        let mut file = temporary().permissions(private()).tempfile_in(folder(place))?;
        file.as_file_mut().write_all(bytes)?;
        if let Some(old) = old {
            keep_owner(file.as_file(), old);
        }
        finish(file.as_file())?;
        // Not kept open: a tree may have more files than a process can open.
        Ok(Self { made: file.into_temp_path(), place: place.to_owned(), replaces: old.is_some() })
    }

    /// Another name of what lies ready in `other`, where the file system has such names.
    pub(crate) fn hard_link(other: &Self, place: &Path) -> io::Result<Self> {
        let made = temporary().make_in(folder(place), |path| fs::hard_link(&other.made, path))?;
        Ok(Self { made: made.into_temp_path(), place: place.to_owned(), replaces: true })
    }

    /// A symbolic link for the one that is at `place`.
    pub(crate) fn link(place: &Path, target: &Path) -> io::Result<Self> {
        let made = temporary().make_in(folder(place), |path| symlink(target, path))?;
        Ok(Self { made: made.into_temp_path(), place: place.to_owned(), replaces: true })
    }

    /// Where the new contents are until they are put in their place.
    pub(crate) fn beside(&self) -> &Path {
        &self.made
    }

    /// Takes the place. What was there lies beside it then, if it could be kept.
    fn put(self) -> io::Result<Put> {
        if !self.replaces {
            return match self.made.persist_noclobber(&self.place) {
                Ok(()) => Ok(Put { old: Old::Nothing, place: self.place }),
                Err(error) => Err(error.error),
            };
        }
        match renameat2(AT_FDCWD, &*self.made, AT_FDCWD, &self.place, RenameFlags::RENAME_EXCHANGE) {
            Ok(()) => Ok(Put { old: Old::Beside(self.made), place: self.place }),
            // Not every file system can exchange two names.
            Err(Errno::EINVAL | Errno::ENOSYS) => match self.made.persist(&self.place) {
                Ok(()) => Ok(Put { old: Old::Lost, place: self.place }),
                Err(error) => Err(error.error),
            },
            Err(error) => Err(error.into()),
        }
    }
}

fn private() -> Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o600)
}

/// A file of another user stays that user's, where that can be had: only root may give files away.
fn keep_owner(file: &File, old: &Metadata) {
    if file.metadata().is_ok_and(|new| (new.uid(), new.gid()) != (old.uid(), old.gid())) {
        let _ = fchown(file, Some(old.uid()), Some(old.gid()));
    }
}

/// A place that was taken.
struct Put {
    old: Old,
    place: PathBuf,
}

enum Old {
    Nothing,
    Beside(TempPath),
    Lost,
}

impl Put {
    fn undo(&self) -> bool {
        match &self.old {
            Old::Nothing => fs::remove_file(&self.place).is_ok(),
            Old::Beside(old) => fs::rename(old, &self.place).is_ok(),
            Old::Lost => false,
        }
    }
}

/// Lets all of them take their places. Where one cannot, those that did give theirs back.
pub(crate) fn put(all: Vec<Ready>) -> Result<(), Failed> {
    let mut done: Vec<Put> = Vec::with_capacity(all.len());
    for ready in all {
        let path = ready.place.clone();
        match ready.put() {
            Ok(put) => done.push(put),
            Err(source) => {
                let taken: Vec<&Put> = done.iter().rev().filter(|put| !put.undo()).collect();
                return Err(Failed { doing: "write", path, source: with_taken(source, &taken) });
            }
        }
    }
    Ok(())
}

/// Says which places could not be given back.
fn with_taken(source: io::Error, taken: &[&Put]) -> io::Error {
    match taken.last() {
        None => source,
        Some(first) => {
            let text = format!("{source}; {} files are written already, {} first", taken.len(), first.place.display());
            io::Error::new(source.kind(), text)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::super::file;
    use super::*;

    #[test]
    fn those_that_took_their_places_give_them_back_where_one_cannot() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["a", "b", "c"] {
            fs::write(path(name), "old").unwrap();
        }
        fs::hard_link(path("a"), path("other")).unwrap();
        let inode = fs::metadata(path("a")).unwrap().ino();
        let new = Ready::contents(&path("new"), b"new", None, |_| Ok(())).unwrap();
        let mut ready = vec![new];
        ready.extend(["a", "b", "c"].map(|name| file(&path(name), b"new").unwrap()));
        fs::remove_file(path("b")).unwrap();
        let failed = put(ready).unwrap_err();
        assert_eq!((failed.path, failed.source.kind()), (path("b"), io::ErrorKind::NotFound));
        let names: Vec<_> = crate::tree::list(folder.path()).unwrap();
        assert_eq!(names, ["a", "c", "other"].map(path));
        assert_eq!(fs::read_to_string(path("a")).unwrap(), "old");
        assert_eq!(fs::metadata(path("a")).unwrap().ino(), inode);
    }

    /// Only root may give files away, so only root can try.
    #[test]
    fn a_file_stays_its_owners() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "old").unwrap();
        let other = if std::os::unix::fs::chown(&path, Some(4242), Some(4243)).is_ok() {
            4242
        } else {
            fs::metadata(&path).unwrap().uid()
        };
        put(vec![file(&path, b"new").unwrap()]).unwrap();
        assert_eq!((fs::metadata(&path).unwrap().uid(), fs::read(&path).unwrap()), (other, b"new".to_vec()));
    }
}
