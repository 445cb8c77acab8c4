//! A cache that several processes may use at once: files by their hash, folders by the hash of what made them.
//!
//! ```text
//! ROOT/v1/files/ab/abcd…        a whole file, named by its SHA-256, read-only
//! ROOT/v1/partial/abcd…         an unfinished download, locked by whoever works on it
//! ROOT/v1/folders/KIND/abcd…    a finished folder; .abcd….part beside it while it is being made
//! ROOT/v1/locks/KIND-abcd…      held while a folder is being made
//! ROOT/v1/texts/KIND/abcd…      small texts by the hash of their key, each behind its own checksum
//! ROOT/v1/tmp/                  files that are being written, each locked by its writer
//! ```
//! Whether leftovers are stale is told by their locks, which the kernel drops with the process that held
//! them, and never by a clock. Files are synced before they get their name; folders are not (they can be
//! made again from files), so what is read from one is to be checked by its reader (`RECORD`).

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::NamedTempFile;

use crate::digest::Sha256;
use crate::explain::{ExitCode, Explain};

/// A cache folder. Cheap to clone; all methods may be called from any thread.
#[derive(Clone, Debug)]
pub struct Cache {
    root: Arc<Path>,
}

/// The cache could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {path}: {source}")]
pub struct CacheError {
    /// What was tried, as a verb.
    pub action: &'static str,
    /// On which file or folder.
    pub path: PathBuf,
    /// Why it failed.
    pub source: io::Error,
}

impl Explain for CacheError {
    fn hint(&self) -> Option<String> {
        match self.source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(
                "free some space there, or put the cache elsewhere with --cache DIR; then run the same again".into(),
            ),
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Some("give this user the folder, or put the cache elsewhere with --cache DIR".into())
            }
            _ => None,
        }
    }

    fn exit_code(&self) -> ExitCode {
        ExitCode::Machine
    }
}

trait At<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, CacheError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, CacheError> {
        self.map_err(|source| CacheError { action, path: path.to_owned(), source })
    }
}

/// An unfinished download that only this holder may write; its bytes are unverified.
#[derive(Debug)]
pub struct Partial {
    /// Open for reading and writing, at its start, locked.
    pub file: File,
    path: PathBuf,
}

impl Partial {
    /// Removes the bytes: they were wrong, or nobody will go on with them.
    pub fn discard(self) {
        drop(fs::remove_file(&self.path));
    }
}

impl Cache {
    /// Opens the cache at `root`, makes it if need be, and removes what killed processes left behind.
    pub fn open(root: &Path) -> Result<Self, CacheError> {
        let versioned = root.join("v1");
        for folder in ["files", "partial", "folders", "locks", "texts", "tmp"] {
            let path = versioned.join(folder);
            fs::create_dir_all(&path).at("create the cache folder", &path)?;
        }
        let tag = root.join("CACHEDIR.TAG");
        if !tag.exists() {
            // Backup tools skip folders that carry this signature (bford.info/cachedir).
            fs::write(&tag, "Signature: 8a477f597d28d172789f06886806bc55\n").at("write", &tag)?;
        }
        let cache = Self { root: versioned.into() };
        cache.sweep();
        Ok(cache)
    }

    /// The folder that all files and folders of this cache lie in, on one file system.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The file with this hash, if the cache has it. It was verified when it was inserted.
    pub fn file(&self, sha256: &Sha256) -> Option<PathBuf> {
        let path = self.file_path(sha256);
        path.is_file().then_some(path)
    }

    /// Takes a file that lies elsewhere, and stays there unchanged, by a link to it. The caller has hashed it.
    pub fn link_file(&self, from: &Path, sha256: &Sha256) -> Result<PathBuf, CacheError> {
        let path = self.file_path(sha256);
        make_parent(&path)?;
        match std::os::unix::fs::symlink(from, &path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => result.at("write", &path)?,
        }
        Ok(path)
    }

    /// An empty temporary file on the cache's file system, for [`Cache::insert_file`].
    pub fn temp_file(&self) -> Result<NamedTempFile, CacheError> {
        let folder = self.root.join("tmp");
        // Shared, so that no sweep sees the file between its creation and its lock.
        let guard = self.guard()?;
        guard.lock_shared().at("lock", &folder)?;
        let temp = NamedTempFile::new_in(&folder).at("create a file in", &folder)?;
        temp.as_file().lock().at("lock", temp.path())?;
        Ok(temp)
    }

    /// Gives `file`, which the caller has hashed, its place. Another process may have been faster: then
    /// that one's stays, since both hold the same bytes.
    pub fn insert_file(&self, file: NamedTempFile, sha256: &Sha256) -> Result<PathBuf, CacheError> {
        let path = self.file_path(sha256);
        seal(file.as_file(), file.path())?;
        make_parent(&path)?;
        file.persist(&path).map_err(|error| error.error).at("write", &path)?;
        Ok(path)
    }

    /// Starts or goes on with the download of a file. `None`: somebody else is at it now; look again
    /// later, first with [`Cache::file`].
    pub fn partial(&self, sha256: &Sha256) -> Result<Option<Partial>, CacheError> {
        let path = self.root.join("partial").join(sha256.hex());
        loop {
            let file = open_lock(&path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error).at("lock", &path),
            }
            if still_at(&file, &path) {
                return Ok(Some(Partial { file, path }));
            }
        }
    }

    /// Gives a finished download, which the caller has hashed, its place.
    pub fn insert_partial(&self, partial: Partial, sha256: &Sha256) -> Result<PathBuf, CacheError> {
        let path = self.file_path(sha256);
        seal(&partial.file, &partial.path)?;
        make_parent(&path)?;
        fs::rename(&partial.path, &path).at("write", &path)?;
        // Only now may another have it.
        drop(partial);
        Ok(path)
    }

    /// The finished folder of this kind and key, if there is one.
    pub fn folder(&self, kind: &str, key: &Sha256) -> Option<PathBuf> {
        let path = self.folder_path(kind, key);
        path.is_dir().then_some(path)
    }

    /// The folder of this kind and key; if there is none, `build` fills an empty one.
    ///
    /// Of several processes or threads that want the same folder one works and the others wait. What
    /// `build` leaves when it fails, or is killed, is removed. `build` must not ask for its own key.
    pub fn build_folder<E: From<CacheError>>(
        &self,
        kind: &str,
        key: &Sha256,
        build: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<PathBuf, E> {
        if let Some(path) = self.folder(kind, key) {
            return Ok(path);
        }
        let path = self.folder_path(kind, key);
        make_parent(&path)?;
        let lock = Lock::wait(self.lock_path(kind, key))?;
        if path.is_dir() {
            return Ok(path);
        }
        let part = part_of(&path);
        remove_tree(&part).at("remove", &part)?;
        fs::create_dir(&part).at("create", &part)?;
        if let Err(error) = build(&part) {
            drop(remove_tree(&part));
            return Err(error);
        }
        fs::rename(&part, &path).at("rename to", &path)?;
        drop(lock);
        Ok(path)
    }

    /// A small text that was kept under this key; `None` also where its checksum does not match.
    pub fn text(&self, kind: &str, key: &str) -> Option<String> {
        let stored = fs::read_to_string(self.text_path(kind, key)).ok()?;
        let (checksum, text) = stored.split_once('\n')?;
        (checksum == Sha256::of(text.as_bytes()).hex()).then(|| text.to_owned())
    }

    /// Keeps a small text under a key, replacing what was there.
    pub fn put_text(&self, kind: &str, key: &str, text: &str) -> Result<(), CacheError> {
        let path = self.text_path(kind, key);
        make_parent(&path)?;
        let mut temp = self.temp_file()?;
        let checksum = Sha256::of(text.as_bytes()).hex();
        write!(temp, "{checksum}\n{text}").at("write", temp.path())?;
        temp.persist(&path).map_err(|error| error.error).at("write", &path)?;
        Ok(())
    }

    /// Removes temporaries whose owner is gone. Failing to is no error: the next run tries again.
    fn sweep(&self) {
        if let Ok(guard) = self.guard()
            && guard.try_lock().is_ok()
        {
            for path in entries(&self.root.join("tmp")) {
                if path.file_name() != Some(OsStr::new(GUARD)) && File::open(&path).is_ok_and(|f| f.try_lock().is_ok())
                {
                    drop(fs::remove_file(path));
                }
            }
        }
        for kind in entries(&self.root.join("folders")) {
            for part in entries(&kind) {
                if let (Some(kind), Some(key)) = (kind.file_name().and_then(OsStr::to_str), key_of_part(&part))
                    && let Some(_lock) = Lock::attempt(self.lock_path(kind, &key))
                {
                    drop(remove_tree(&part));
                }
            }
        }
    }

    fn guard(&self) -> Result<File, CacheError> {
        open_lock(&self.root.join("tmp").join(GUARD))
    }

    fn file_path(&self, sha256: &Sha256) -> PathBuf {
        let hex = sha256.hex();
        self.root.join("files").join(&hex[..2]).join(hex)
    }

    fn folder_path(&self, kind: &str, key: &Sha256) -> PathBuf {
        self.root.join("folders").join(kind).join(key.hex())
    }

    fn lock_path(&self, kind: &str, key: &Sha256) -> PathBuf {
        self.root.join("locks").join(format!("{kind}-{}", key.hex()))
    }

    fn text_path(&self, kind: &str, key: &str) -> PathBuf {
        self.root.join("texts").join(kind).join(Sha256::of(key.as_bytes()).hex())
    }
}

const GUARD: &str = ".guard";

/// An exclusive lock by name; the lock file goes when it is released.
struct Lock {
    _file: File,
    path: PathBuf,
}

impl Lock {
    fn wait(path: PathBuf) -> Result<Self, CacheError> {
        loop {
            let file = open_lock(&path)?;
            file.lock().at("lock", &path)?;
            if still_at(&file, &path) {
                return Ok(Self { _file: file, path });
            }
        }
    }

    fn attempt(path: PathBuf) -> Option<Self> {
        let file = open_lock(&path).ok()?;
        let ours = file.try_lock().is_ok() && still_at(&file, &path);
        // Not `then_some`: a lock that is not ours must not be made, since dropping it removes the file.
        ours.then(|| Self { _file: file, path })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Still locked here: whoever waits on this file finds it gone from its path and opens a new one.
        drop(fs::remove_file(&self.path));
    }
}

fn open_lock(path: &Path) -> Result<File, CacheError> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).at("open", path)
}

/// Whether `path` still names the file that was locked, and not a later one.
fn still_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(held), Ok(named)) => held.dev() == named.dev() && held.ino() == named.ino(),
        _ => false,
    }
}

fn seal(file: &File, path: &Path) -> Result<(), CacheError> {
    file.set_permissions(Permissions::from_mode(0o444)).at("make read-only", path)?;
    file.sync_all().at("write", path)
}

fn make_parent(path: &Path) -> Result<(), CacheError> {
    path.parent().map_or(Ok(()), |parent| fs::create_dir_all(parent).at("create", parent))
}

fn part_of(path: &Path) -> PathBuf {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    path.with_file_name(format!(".{name}.part"))
}

fn key_of_part(path: &Path) -> Option<Sha256> {
    path.file_name()?.to_str()?.strip_prefix('.')?.strip_suffix(".part")?.parse().ok()
}

#[expect(clippy::disallowed_methods, reason = "only removes: no order reaches an output")]
fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// Removes a tree that may hold folders without write permission. A tree that is not there is fine.
fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            make_writable(path)?;
            fs::remove_dir_all(path)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn make_writable(folder: &Path) -> io::Result<()> {
    fs::set_permissions(folder, Permissions::from_mode(0o700))?;
    entries(folder).iter().filter(|path| path.is_dir() && !path.is_symlink()).try_for_each(|path| make_writable(path))
}

#[cfg(test)]
mod tests;
