//! The only writer of unpacking: files, folders and links below one folder, or nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, FileTimes, OpenOptions, Permissions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::Entry;
use super::error::{Fault, Reason, refuse};
use crate::digest::Hasher;
use crate::tree;

/// Writes below a folder and takes all of it back when it is dropped before [`Folder::finish`].
pub(super) struct Folder {
    root: PathBuf,
    /// Folders that are known to be folders.
    known: BTreeSet<String>,
    /// What was made, in that order.
    made: Vec<PathBuf>,
    /// Links are made last, so that nothing is ever written through one.
    links: Vec<(String, PathBuf)>,
    /// By path.
    entries: BTreeMap<String, Entry>,
    buffer: Vec<u8>,
}

impl Folder {
    /// Opens `root`, making it where it does not exist.
    pub(super) fn open(root: &Path) -> Result<Self, Fault> {
        let mut folder = Self {
            root: root.to_owned(),
            known: BTreeSet::new(),
            made: Vec::new(),
            links: Vec::new(),
            entries: BTreeMap::new(),
            buffer: vec![0; 128 << 10],
        };
        folder.make("")?;
        Ok(folder)
    }

    fn at(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.root.clone() } else { self.root.join(path) }
    }

    /// A folder and all above it.
    pub(super) fn folder(&mut self, path: &str) -> Result<(), Fault> {
        if self.known.contains(path) {
            return Ok(());
        }
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.folder(parent)?;
        }
        self.make(path)
    }

    fn make(&mut self, path: &str) -> Result<(), Fault> {
        let at = self.at(path);
        match fs::create_dir(&at) {
            Ok(()) => {
                self.made.push(at.clone());
                fs::set_permissions(&at, Permissions::from_mode(0o755)).map_err(|source| write_fault(&at, source))?;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match tree::kind(&at) {
                Ok(tree::Kind::Dir) => {}
                Ok(tree::Kind::Link { .. }) if !path.is_empty() => {
                    return refuse(path, Reason::ThroughLink { link: path.to_owned() });
                }
                _ => return refuse(path, Reason::Exists),
            },
            Err(source) => return Err(write_fault(&at, source)),
        }
        self.known.insert(path.to_owned());
        Ok(())
    }

    fn parent(&mut self, path: &str) -> Result<(), Fault> {
        path.rsplit_once('/').map_or(Ok(()), |(parent, _)| self.folder(parent))
    }

    /// A file with all that `content` gives, which must be `size` bytes.
    pub(super) fn file(
        &mut self,
        path: &str,
        size: u64,
        executable: bool,
        content: &mut dyn Read,
    ) -> Result<(), Fault> {
        self.parent(path)?;
        let at = self.at(path);
        let file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&at) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return refuse(path, Reason::Exists),
            Err(source) => return Err(write_fault(&at, source)),
        };
        self.made.push(at.clone());
        let mut hasher = Hasher::new(file);
        self.copy(path, size, content, &mut hasher)?;
        let (file, sha256, size) = hasher.finish();
        seal(&file, executable).map_err(|source| write_fault(&at, source))?;
        self.entries.insert(path.to_owned(), Entry { path: path.to_owned(), size, executable, sha256 });
        Ok(())
    }

    fn copy(&mut self, path: &str, size: u64, content: &mut dyn Read, to: &mut Hasher<File>) -> Result<(), Fault> {
        let mut left = size;
        loop {
            let count = match content.read(&mut self.buffer) {
                Ok(0) if left == 0 => return Ok(()),
                Ok(0) => return refuse(path, Reason::Truncated),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Fault::from(error).at(path)),
            };
            let Some(rest) = u64::try_from(count).ok().and_then(|count| left.checked_sub(count)) else {
                return refuse(path, Reason::Corrupt { what: format!("it has more than the {size} bytes declared") });
            };
            left = rest;
            to.write_all(&self.buffer[..count]).map_err(|source| write_fault(&self.root.join(path), source))?;
        }
    }

    /// Another name for the file `target`, which was written before.
    pub(super) fn hard_link(&mut self, path: &str, target: &str) -> Result<(), Fault> {
        self.parent(path)?;
        let (from, at) = (self.at(target), self.at(path));
        match fs::hard_link(&from, &at) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return refuse(path, Reason::Exists),
            // Not every file system has them.
            Err(_) => copy_file(&from, &at).map_err(|source| write_fault(&at, source))?,
        }
        self.made.push(at);
        if let Some(entry) = self.entries.get(target) {
            let entry = Entry { path: path.to_owned(), ..entry.clone() };
            self.entries.insert(path.to_owned(), entry);
        }
        Ok(())
    }

    /// A symbolic link, made by [`Folder::finish`].
    pub(super) fn link(&mut self, path: &str, target: PathBuf) {
        self.links.push((path.to_owned(), target));
    }

    /// Makes the links and keeps all; the files, sorted by path.
    pub(super) fn finish(mut self) -> Result<Vec<Entry>, Fault> {
        for (path, target) in std::mem::take(&mut self.links) {
            self.parent(&path)?;
            let at = self.at(&path);
            match symlink(&target, &at) {
                Ok(()) => self.made.push(at),
                // Two packages may ship the same link.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    if fs::read_link(&at).ok().as_ref() != Some(&target) {
                        return refuse(&path, Reason::Exists);
                    }
                }
                Err(source) => return Err(write_fault(&at, source)),
            }
        }
        self.made.clear();
        Ok(std::mem::take(&mut self.entries).into_values().collect())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        for path in self.made.iter().rev() {
            // A folder that another archive uses by now stays.
            let _ = if path.is_dir() && !path.is_symlink() { fs::remove_dir(path) } else { fs::remove_file(path) };
        }
    }
}

/// Unpacks with `work` into a temporary folder beside `dest` and moves it there when all went well, so that
/// `dest` is never half there. `dest` must not exist or be empty.
pub(super) fn staged<T>(
    dest: &Path,
    work: impl FnOnce(&mut Folder) -> Result<T, Fault>,
) -> Result<(T, Vec<Entry>), Staged> {
    let write = |source| Staged::Fault(write_fault(dest, source));
    match fs::symlink_metadata(dest) {
        Ok(metadata) if metadata.is_dir() => match tree::list(dest) {
            Ok(names) if names.is_empty() => {}
            _ => return Err(Staged::Occupied),
        },
        Ok(_) => return Err(Staged::Occupied),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(write(error)),
    }
    let parent = dest.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(write)?;
    let temporary = tempfile::Builder::new().prefix(".unpack-").tempdir_in(parent).map_err(write)?;
    let inner = temporary.path().join("tree");
    let mut folder = Folder::open(&inner).map_err(Staged::Fault)?;
    let value = work(&mut folder).map_err(Staged::Fault)?;
    let entries = folder.finish().map_err(Staged::Fault)?;
    fs::rename(&inner, dest).map_err(write)?;
    Ok((value, entries))
}

/// Why nothing was staged.
pub(super) enum Staged {
    Fault(Fault),
    Occupied,
}

impl Staged {
    pub(super) fn in_archive(self, archive: &Path, dest: &Path) -> super::UnpackError {
        match self {
            Self::Fault(fault) => fault.in_archive(archive),
            Self::Occupied => super::UnpackError::Occupied { archive: archive.to_owned(), dest: dest.to_owned() },
        }
    }
}

fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = File::open(from)?;
    let mut copy = OpenOptions::new().write(true).create_new(true).open(to)?;
    io::copy(&mut source, &mut copy)?;
    seal(&copy, source.metadata()?.permissions().mode() & 0o100 != 0)
}

/// Mode and time of a file that is complete. All files get one time, so that no build sees which is newer.
fn seal(file: &File, executable: bool) -> io::Result<()> {
    /// 1980-01-02 00:00 UTC: ZIP archives, hence wheels, can have it in every time zone.
    const TIME: Duration = Duration::from_hours(24 * (365 * 10 + 3));
    file.set_times(FileTimes::new().set_modified(SystemTime::UNIX_EPOCH + TIME))?;
    file.set_permissions(Permissions::from_mode(if executable { 0o755 } else { 0o644 }))
}

fn write_fault(path: &Path, source: io::Error) -> Fault {
    Fault::Write { path: path.to_owned(), source }
}
