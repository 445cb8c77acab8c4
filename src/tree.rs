//! A sorted walk over a folder: the one place that lists folders, so that no order of a file system
//! reaches an output.

use std::fs::{self, FileType, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::explain::{ExitCode, Explain};

/// Folders below each other that a walk follows; deeper trees are refused.
pub const DEPTH: usize = 128;

/// One name in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Relative to the walk's root; any bytes that the file system allows.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
}

/// What a name in a tree is. Nothing else can be in one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File {
        /// In bytes.
        size: u64,
        /// Whether the owner may execute it.
        executable: bool,
    },
    /// A folder; what is in it follows as nodes of its own.
    Dir,
    /// A symbolic link, not followed.
    Link {
        /// Its text.
        target: PathBuf,
    },
}

/// Why a walk ended.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// A folder, file or link could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A socket, device or pipe.
    #[error("{} is a {found}; expected only files, folders and links", path.display())]
    Special {
        /// Which.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// Folders are nested too deeply.
    #[error("{} lies deeper than {DEPTH} folders", path.display())]
    TooDeep {
        /// The first folder beyond the limit.
        path: PathBuf,
    },
}

impl Explain for TreeError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Read { .. } => None,
            Self::Special { path, .. } => Some(format!("remove it: rm {}", path.display())),
            Self::TooDeep { .. } => Some("look for a folder that contains itself".to_owned()),
        }
    }

    fn exit_code(&self) -> ExitCode {
        ExitCode::Failed
    }
}

/// All that is below `root`, sorted by the bytes of the relative paths; `root` itself is not in it.
///
/// Links are never followed, except that `root` itself may be one. The order is that of the whole path's
/// bytes, so `a-b` comes before `a/b`.
pub fn walk(root: &Path) -> Result<Vec<Node>, TreeError> {
    let mut nodes = Vec::new();
    let mut folders = vec![(PathBuf::new(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        let place = if folder.as_os_str().is_empty() { root.to_owned() } else { root.join(&folder) };
        for entry in entries(&place)? {
            let path = folder.join(entry.file_name());
            // Asked of the folder, which spares the way from the root.
            let metadata = entry.metadata().map_err(|source| TreeError::Read { path: root.join(&path), source })?;
            let kind = kind_of(&root.join(&path), &metadata)?;
            if kind == Kind::Dir {
                if depth + 1 >= DEPTH {
                    return Err(TreeError::TooDeep { path: root.join(path) });
                }
                folders.push((path.clone(), depth + 1));
            }
            nodes.push(Node { path, kind });
        }
    }
    nodes.sort_unstable_by(|a, b| a.path.as_os_str().as_bytes().cmp(b.path.as_os_str().as_bytes()));
    Ok(nodes)
}

/// What lies directly in `folder`, sorted by the bytes of the names: `folder` joined with each.
pub fn list(folder: &Path) -> Result<Vec<PathBuf>, TreeError> {
    let mut paths: Vec<PathBuf> = entries(folder)?.into_iter().map(|entry| entry.path()).collect();
    paths.sort_unstable_by(|a, b| a.as_os_str().as_bytes().cmp(b.as_os_str().as_bytes()));
    Ok(paths)
}

#[expect(clippy::disallowed_methods, reason = "this is the room that lists folders; `walk` and `list` sort")]
fn entries(folder: &Path) -> Result<Vec<fs::DirEntry>, TreeError> {
    let entries = fs::read_dir(folder).and_then(Iterator::collect);
    entries.map_err(|source| TreeError::Read { path: folder.to_owned(), source })
}

/// What `path` is, links not followed.
pub fn kind(path: &Path) -> Result<Kind, TreeError> {
    let read = |source| TreeError::Read { path: path.to_owned(), source };
    kind_of(path, &fs::symlink_metadata(path).map_err(read)?)
}

fn kind_of(path: &Path, metadata: &Metadata) -> Result<Kind, TreeError> {
    let read = |source| TreeError::Read { path: path.to_owned(), source };
    let file_type = metadata.file_type();
    if file_type.is_dir() {
        Ok(Kind::Dir)
    } else if file_type.is_file() {
        Ok(Kind::File { size: metadata.len(), executable: is_executable(metadata) })
    } else if file_type.is_symlink() {
        Ok(Kind::Link { target: fs::read_link(path).map_err(read)? })
    } else {
        Err(TreeError::Special { path: path.to_owned(), found: special(file_type) })
    }
}

fn is_executable(metadata: &Metadata) -> bool {
    metadata.permissions().mode() & 0o100 != 0
}

fn special(file_type: FileType) -> &'static str {
    if file_type.is_socket() {
        "socket"
    } else if file_type.is_fifo() {
        "named pipe"
    } else if file_type.is_block_device() {
        "block device"
    } else if file_type.is_char_device() {
        "character device"
    } else {
        "file of an unknown kind"
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn sorts_by_the_bytes_of_whole_paths() {
        let root = tempfile::tempdir().unwrap();
        for folder in ["a", "b/c"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        for file in ["a/z", "a-b", "B", "b/c/d", "ä"] {
            fs::write(root.path().join(file), "x").unwrap();
        }
        let odd = OsStr::from_bytes(b"\xff");
        fs::write(root.path().join(odd), "").unwrap();
        let nodes = walk(root.path()).unwrap();
        let paths: Vec<&OsStr> = nodes.iter().map(|node| node.path.as_os_str()).collect();
        let expected = ["B", "a", "a-b", "a/z", "b", "b/c", "b/c/d", "ä"].map(OsStr::new);
        assert_eq!(paths, [&expected[..], &[odd]].concat());
    }

    #[test]
    fn tells_kinds_and_follows_no_link() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("run");
        fs::write(&file, "abc").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        symlink("/", root.path().join("up")).unwrap();
        let kinds: Vec<Kind> = walk(root.path()).unwrap().into_iter().map(|node| node.kind).collect();
        assert_eq!(kinds, [Kind::File { size: 3, executable: true }, Kind::Link { target: "/".into() }]);
    }

    #[test]
    fn refuses_what_is_no_file() {
        let root = tempfile::tempdir().unwrap();
        let _socket = UnixListener::bind(root.path().join("s")).unwrap();
        let error = walk(root.path()).unwrap_err();
        assert!(matches!(error, TreeError::Special { found: "socket", .. }), "{error}");
    }

    #[test]
    fn refuses_endless_depth() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("d/".repeat(DEPTH - 1))).unwrap();
        assert_eq!(walk(root.path()).unwrap().len(), DEPTH - 1);
        fs::create_dir_all(root.path().join("d/".repeat(DEPTH))).unwrap();
        assert!(matches!(walk(root.path()), Err(TreeError::TooDeep { .. })));
    }
}
