//! Puts a canonical tree where it will run, and recognises one that was put.
//!
//! A finished tree says where it is in four kinds of places: PT_INTERP of programs, `#!` lines, `pyvenv.cfg`,
//! and the RECORD rows of the scripts among them. Where substitutions wrote the folder into other files, the tree
//! itself has the list of these places, [`SPOTS`]. In the canonical tree all of these say [`PREFIX`]; its NAR
//! hash is the identity of a build. [`place`] copies it with these places changed to the real folder; [`identify`]
//! reads a placed tree as if they were changed back, so that the hash depends on no folder.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use serde::{Deserialize, Serialize};

use crate::digest::Sha256;
use crate::explain::{ExitCode, Explain};
use crate::nar;
use crate::relink::Rules;
use crate::tree::{self, Kind, Node, TreeError};

mod spots;
pub(crate) mod texts;

pub use spots::Spots;

/// What every absolute reference of a canonical tree to itself begins with.
pub const PREFIX: &str = "/akb";

/// The receipt's file name. It lies at the top of a placed tree and is no part of its identity.
pub const RECEIPT: &str = "akb-receipt.json";

/// The list of places in text files that name the tree's folder. A part of the tree and of its identity; there only
/// if substitutions made such places.
pub const SPOTS: &str = "akb-spots";

/// Modification time of everything in a placed tree, in seconds since 1970, as in a Nix store.
const MTIME: i64 = 1;

/// Bytes of a file up to which it travels to its writer in memory.
const SMALL: u64 = 1 << 17;

/// What a placed tree tells about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Format, 1.
    pub version: u32,
    /// What was built, such as `authentik-deps@2026.2.0`.
    pub name: String,
    /// The folder that the tree was placed for.
    pub prefix: PathBuf,
    /// NAR hash of the canonical tree.
    pub hash: Sha256,
    /// Bytes of its NAR.
    pub nar_size: u64,
    /// Where Python and the libraries came from.
    pub inputs: String,
    /// Modules that are not imported by `verify`, each with the reason.
    pub skip_import: BTreeMap<String, String>,
    /// By which rules the tree was relinked.
    #[serde(default)]
    pub rules: Rules,
    /// Folders outside of the tree that it may refer to; none for a tree that brings everything along.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outside: Vec<PathBuf>,
}

/// The identity of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// NAR hash of the canonical tree.
    pub hash: Sha256,
    /// Bytes of that NAR.
    pub nar_size: u64,
    /// Number of files and links.
    pub files: u64,
}

/// Why a tree could not be placed or identified.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The tree could not be walked.
    #[error(transparent)]
    Tree(#[from] TreeError),
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
    /// The folder's name does not fit where it has to be written.
    #[error(
        "the folder `{}` has a name of {found} bytes; expected at most {expected}, the room that programs keep for it",
        path.display()
    )]
    TooLong {
        /// The folder.
        path: PathBuf,
        /// Most bytes.
        expected: usize,
        /// Its bytes.
        found: usize,
    },
    /// The folder's name cannot stand in a `#!` line.
    #[error("the folder `{}` has white space or a control character in its name", path.display())]
    Unspeakable {
        /// The folder.
        path: PathBuf,
    },
    /// The folder's name would have to be quoted in a file that names it.
    #[error("the folder `{}` cannot be named in {} as it is: a character in it has a meaning of its own", path.display(), file.display())]
    Unquoted {
        /// The folder.
        path: PathBuf,
        /// The file in the tree.
        file: PathBuf,
    },
    /// A file does not name the folder where the tree's own list says that it does.
    #[error("{}: expected `{expected}` at offset {offset}, as {SPOTS} says; found something else", path.display())]
    Spot {
        /// The file in the tree.
        path: PathBuf,
        /// Where, in bytes.
        offset: usize,
        /// The folder.
        expected: String,
    },
    /// Something that akb did not make is there.
    #[error("`{}` is there already and has no {RECEIPT}", path.display())]
    Occupied {
        /// The folder.
        path: PathBuf,
    },
    /// The tree is not what it was when it was built.
    #[error("`{}` has the hash {found}; expected {expected}", path.display())]
    Changed {
        /// The tree.
        path: PathBuf,
        /// Its hash when it was built.
        expected: Sha256,
        /// Its hash now.
        found: Sha256,
    },
    /// There is no receipt, or it is not one.
    #[error("`{}` cannot be read as a receipt: {reason}", path.display())]
    Receipt {
        /// The receipt.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl Explain for PlaceError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some("free some room, or name another disk with --out DIR, then run the same command again".to_owned())
            }
            Self::TooLong { .. } => Some("name a shorter folder with --out DIR".to_owned()),
            Self::Unspeakable { .. } | Self::Unquoted { .. } => Some("name another folder with --out DIR".to_owned()),
            Self::Occupied { path } => {
                Some(format!("move it away (mv {0} {0}.old), or name another folder with --out DIR", path.display()))
            }
            Self::Changed { .. } | Self::Spot { .. } => {
                Some("build it again; `akb verify` says which files differ from RECORD".to_owned())
            }
            Self::Receipt { .. } => Some("name a folder that `akb build` made".to_owned()),
            Self::Tree(error) => error.hint(),
            Self::Io { .. } => None,
        }
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => ExitCode::Machine,
            Self::Changed { .. } | Self::Spot { .. } => ExitCode::Integrity,
            Self::TooLong { .. }
            | Self::Unspeakable { .. }
            | Self::Unquoted { .. }
            | Self::Occupied { .. }
            | Self::Receipt { .. } => ExitCode::Usage,
            _ => ExitCode::Failed,
        }
    }
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PlaceError + use<> {
    let path = path.to_owned();
    move |source| PlaceError::Io { doing, path, source }
}

/// Copies the canonical tree `from` to the folder `to` (absolute), for which it then is ready to run.
///
/// The copy is made beside `to` and takes its place at once. An older tree there is replaced only if akb made it.
/// All bytes are hashed on their way: with `expected` given, a tree of another hash is refused.
pub fn place(
    from: &Path,
    to: &Path,
    expected: Option<Sha256>,
    receipt: impl FnOnce(&Identity) -> Receipt,
    jobs: NonZeroUsize,
) -> Result<Identity, PlaceError> {
    replace(from, Path::new(PREFIX), to, expected, receipt, jobs)
}

/// Like [`place`], for a tree `from` that was placed for the folder `prefix`.
pub fn replace(
    from: &Path,
    prefix: &Path,
    to: &Path,
    expected: Option<Sha256>,
    receipt: impl FnOnce(&Identity) -> Receipt,
    jobs: NonZeroUsize,
) -> Result<Identity, PlaceError> {
    check_name(to)?;
    check_free(to)?;
    let parent = to.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(parent).map_err(io_error("write", parent))?;
    let name = to.file_name().unwrap_or_default().to_string_lossy();
    let beside = tempfile::Builder::new()
        .prefix(&format!(".{name}.akb-"))
        .permissions(fs::Permissions::from_mode(0o755))
        .tempdir_in(parent)
        .map_err(io_error("write", parent))?;
    let _alive = claim(beside.path());
    remove_abandoned(parent, &name);
    let identity = copy(from, prefix, beside.path(), to, jobs)?;
    if let Some(expected) = expected.filter(|expected| *expected != identity.hash) {
        return Err(PlaceError::Changed { path: from.to_owned(), expected, found: identity.hash });
    }
    write_receipt(beside.path(), &receipt(&identity))?;
    finish_folders(beside.path())?;
    exchange(&beside.keep(), to)?;
    Ok(identity)
}

/// Holds a lock on the folder as long as this process lives.
fn claim(folder: &Path) -> Option<nix::fcntl::Flock<fs::File>> {
    let folder = fs::File::open(folder).ok()?;
    nix::fcntl::Flock::lock(folder, nix::fcntl::FlockArg::LockExclusiveNonblock).ok()
}

/// Removes what killed processes left beside a tree: copies that nobody holds a lock on. Whatever cannot be
/// removed does no harm.
fn remove_abandoned(parent: &Path, name: &str) {
    let prefix = format!(".{name}.akb-");
    for path in tree::list(parent).unwrap_or_default() {
        let ours = path.file_name().is_some_and(|name| name.as_bytes().starts_with(prefix.as_bytes()));
        if ours && claim(&path).is_some() {
            let _ = fs::remove_dir_all(&path);
        }
    }
}

/// Reads the receipt of the placed tree `tree`.
pub fn receipt(tree: &Path) -> Result<Receipt, PlaceError> {
    let path = tree.join(RECEIPT);
    let wrong = |reason: String| PlaceError::Receipt { path: path.clone(), reason };
    let text = fs::read_to_string(&path).map_err(|error| wrong(error.to_string()))?;
    let receipt: Receipt = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    if receipt.version == 1 { Ok(receipt) } else { Err(wrong(format!("its version is {}", receipt.version))) }
}

/// The identity of a tree that was placed for the folder `prefix` ([`PREFIX`] for a canonical one).
///
/// Nothing of the receipt is believed: the places that depend on the folder are found anew, and only where they
/// say exactly what [`place`] would have written do they count as unchanged.
pub fn identify(tree: &Path, prefix: &Path) -> Result<Identity, PlaceError> {
    let nodes = nodes(tree)?;
    let spots = Spots::find(tree, &nodes, prefix)?;
    let canonical = spots.rewrite(tree, prefix, Path::new(PREFIX))?;
    hash(tree, &nodes, &canonical, &mut |_, _| Ok(()))
}

/// Walks in NAR order, without the receipt.
fn nodes(tree: &Path) -> Result<Vec<Node>, PlaceError> {
    let mut nodes = tree::walk(tree)?;
    nodes.retain(|node| node.path != Path::new(RECEIPT));
    // A NAR lists folders depth first: `a/b` before `a-b`.
    nodes.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(nodes)
}

/// What a writer has to do.
enum Task {
    Bytes(PathBuf, bool, Vec<u8>),
    Copy(PathBuf, bool),
}

/// Hears of a file that may be written now, with its contents where they are small.
type Tell<'a> = dyn FnMut(&Node, Option<Vec<u8>>) -> Result<(), PlaceError> + 'a;

/// Hashes a tree in order while `tell` hears of each file that may be written now. `instead` has the contents of
/// files that are not to be read from the tree.
fn hash(
    tree: &Path,
    nodes: &[Node],
    instead: &BTreeMap<PathBuf, Vec<u8>>,
    tell: &mut Tell<'_>,
) -> Result<Identity, PlaceError> {
    let broken = io_error("read", tree);
    let mut encoder = match nar::hasher().and_then(|mut encoder| encoder.folder(Path::new("")).map(|()| encoder)) {
        Ok(encoder) => encoder,
        Err(error) => return Err(broken(error)),
    };
    let mut files = 0;
    for node in nodes {
        let path = tree.join(&node.path);
        let failed = io_error("read", &path);
        match &node.kind {
            Kind::Dir => encoder.folder(&node.path).map_err(failed)?,
            Kind::Link { target } => {
                files += 1;
                encoder.link(&node.path, target).map_err(failed)?;
                tell(node, None)?;
            }
            Kind::File { size, executable } => {
                files += 1;
                if let Some(bytes) = instead.get(&node.path) {
                    encoder.file(&node.path, *executable, bytes.len() as u64, bytes.as_slice()).map_err(failed)?;
                    tell(node, None)?;
                } else if *size <= SMALL {
                    let bytes = fs::read(&path).map_err(io_error("read", &path))?;
                    encoder.file(&node.path, *executable, *size, bytes.as_slice()).map_err(failed)?;
                    tell(node, Some(bytes))?;
                } else {
                    let file = fs::File::open(&path).map_err(io_error("read", &path))?;
                    encoder.file(&node.path, *executable, *size, file).map_err(failed)?;
                    tell(node, None)?;
                }
            }
        }
    }
    let (hash, nar_size) = nar::finish(encoder).map_err(io_error("read", tree))?;
    Ok(Identity { hash, nar_size, files })
}

/// Writes the tree `from`, placed for `prefix`, to the folder `into` so that it runs in `to`, and hashes it as if it
/// were canonical.
fn copy(from: &Path, prefix: &Path, into: &Path, to: &Path, jobs: NonZeroUsize) -> Result<Identity, PlaceError> {
    let nodes = nodes(from)?;
    let spots = Spots::find(from, &nodes, prefix)?;
    let canonical = spots.rewrite(from, prefix, Path::new(PREFIX))?;
    let mut placed = spots.rewrite(from, prefix, to)?;
    for node in nodes.iter().filter(|node| node.kind == Kind::Dir) {
        let path = into.join(&node.path);
        fs::create_dir(&path).map_err(io_error("write", &path))?;
    }
    std::thread::scope(|scope| {
        let mut writers = Vec::new();
        let mut queues = Vec::new();
        for _ in 0..jobs.get().min(8) {
            // Bounded, and so is the memory: at most this many small files wait.
            let (queue, tasks) = mpsc::sync_channel::<Task>(128);
            queues.push(queue);
            writers.push(scope.spawn(move || tasks.iter().try_for_each(|task| write(from, into, task))));
        }
        // Files of one folder go to one writer: two would wait for each other at the folder.
        let mut next = 0;
        let mut folder = PathBuf::new();
        let mut dispatch = |path: &Path, task| {
            let parent = path.parent().unwrap_or(Path::new(""));
            if parent != folder {
                parent.clone_into(&mut folder);
                next = (next + 1) % queues.len();
            }
            // A writer hangs up only after an error of its own, which is reported below.
            let _ = queues[next].send(task);
        };
        let result = hash(from, &nodes, &canonical, &mut |node, bytes| {
            match &node.kind {
                Kind::Link { target } => {
                    let path = into.join(&node.path);
                    symlink(target, &path).map_err(io_error("write", &path))?;
                    stamp_link(&path)?;
                }
                Kind::File { executable, .. } => {
                    let task = match (placed.remove(&node.path), bytes) {
                        (Some(bytes), _) | (None, Some(bytes)) => Task::Bytes(node.path.clone(), *executable, bytes),
                        (None, None) => Task::Copy(node.path.clone(), *executable),
                    };
                    dispatch(&node.path, task);
                }
                Kind::Dir => {}
            }
            Ok(())
        });
        // The writers end when nothing more can come.
        drop(queues);
        for writer in writers {
            match writer.join() {
                Ok(outcome) => outcome?,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        result
    })
}

fn write(from: &Path, into: &Path, task: Task) -> Result<(), PlaceError> {
    let (name, executable, bytes) = match task {
        Task::Bytes(name, executable, bytes) => (name, executable, Some(bytes)),
        Task::Copy(name, executable) => (name, executable, None),
    };
    let path = into.join(&name);
    let failed = || io_error("write", &path);
    let mode = if executable { 0o755 } else { 0o644 };
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&path).map_err(failed())?;
    match bytes {
        Some(bytes) => file.write_all(&bytes).map_err(failed())?,
        None => {
            let source = from.join(&name);
            let mut source = fs::File::open(&source).map_err(io_error("read", &source))?;
            io::copy(&mut source, &mut file).map_err(failed())?;
        }
    }
    // The umask may have taken bits away.
    file.set_permissions(fs::Permissions::from_mode(mode)).map_err(failed())?;
    stamp(&file).map_err(failed())
}

fn stamp(file: &fs::File) -> io::Result<()> {
    let time = nix::sys::time::TimeSpec::new(MTIME, 0);
    nix::sys::stat::futimens(file, &time, &time).map_err(io::Error::from)
}

fn stamp_link(path: &Path) -> Result<(), PlaceError> {
    let time = nix::sys::time::TimeSpec::new(MTIME, 0);
    let flag = nix::sys::stat::UtimensatFlags::NoFollowSymlink;
    nix::sys::stat::utimensat(nix::fcntl::AT_FDCWD, path, &time, &time, flag)
        .map_err(|error| io_error("write", path)(error.into()))
}

/// Folders get their times last, when nothing is written into them any more.
fn finish_folders(into: &Path) -> Result<(), PlaceError> {
    let nodes = tree::walk(into)?;
    let folders = nodes.iter().rev().filter(|node| node.kind == Kind::Dir).map(|node| into.join(&node.path));
    for path in folders.chain([into.to_owned()]) {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).map_err(io_error("write", &path))?;
        fs::File::open(&path).and_then(|folder| stamp(&folder)).map_err(io_error("write", &path))?;
    }
    Ok(())
}

fn write_receipt(into: &Path, receipt: &Receipt) -> Result<(), PlaceError> {
    let path = into.join(RECEIPT);
    let failed = |error: serde_json::Error| io_error("write", &path)(error.into());
    let mut text = serde_json::to_string_pretty(receipt).map_err(failed)?;
    text.push('\n');
    fs::write(&path, text).map_err(io_error("write", &path))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).map_err(io_error("write", &path))?;
    fs::File::open(&path).and_then(|file| stamp(&file)).map_err(io_error("write", &path))
}

/// Gives the finished folder `made` the name `to`; what stood there before goes away after that.
fn exchange(made: &Path, to: &Path) -> Result<(), PlaceError> {
    use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
    let outcome = match fs::symlink_metadata(to) {
        Err(_) => fs::rename(made, to),
        Ok(metadata) if metadata.is_symlink() || metadata.is_file() => {
            fs::remove_file(to).and_then(|()| fs::rename(made, to))
        }
        Ok(_) => match renameat2(AT_FDCWD, made, AT_FDCWD, to, RenameFlags::RENAME_EXCHANGE) {
            Ok(()) => fs::remove_dir_all(made),
            // Not every file system can exchange; then there is a moment without the folder.
            Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOSYS) => {
                let old = made.with_extension("old");
                fs::rename(to, &old).and_then(|()| fs::rename(made, to)).and_then(|()| fs::remove_dir_all(&old))
            }
            Err(error) => Err(error.into()),
        },
    };
    outcome.map_err(|error| {
        let _ = fs::remove_dir_all(made);
        io_error("write", to)(error)
    })
}

/// Whether a tree may be placed at `to`: nothing is there, or an older tree of akb's.
pub fn check_free(to: &Path) -> Result<(), PlaceError> {
    let free = match fs::symlink_metadata(to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) => return Err(io_error("read", to)(error)),
        Ok(metadata) if metadata.is_dir() => {
            to.join(RECEIPT).is_file() || tree::list(to).is_ok_and(|names| names.is_empty())
        }
        Ok(_) => false,
    };
    if free { Ok(()) } else { Err(PlaceError::Occupied { path: to.to_owned() }) }
}

/// Whether programs and scripts can name the folder `to`.
pub fn check_name(to: &Path) -> Result<(), PlaceError> {
    let bytes = to.as_os_str().as_bytes();
    if bytes.iter().any(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control()) {
        return Err(PlaceError::Unspeakable { path: to.to_owned() });
    }
    if bytes.len() > spots::LONGEST {
        return Err(PlaceError::TooLong { path: to.to_owned(), expected: spots::LONGEST, found: bytes.len() });
    }
    Ok(())
}

/// The first bytes of a file, at most `most`.
fn head(path: &Path, most: u64) -> Result<Vec<u8>, PlaceError> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(io_error("read", path))?;
    file.take(most).read_to_end(&mut bytes).map_err(io_error("read", path))?;
    Ok(bytes)
}
