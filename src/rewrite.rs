//! Gives files of a finished tree other contents: never half, with mode and time as they were, hard links kept, and
//! with what their packages' `RECORD` says of them.

use std::collections::BTreeMap;
use std::fs::{self, File, FileTimes, Metadata};
use std::io;
use std::path::{Component, Path, PathBuf};

use crate::digest::Sha256;
use crate::install::record;
use crate::tree::{self, TreeError};

mod ready;

pub(crate) use ready::{Ready, put};

/// A file that could not be read or written.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) doing: &'static str,
    pub(crate) path: PathBuf,
    pub(crate) source: io::Error,
}

fn failed(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> Failed {
    move |source| Failed { doing, path: path.to_owned(), source }
}

/// Other contents for a file under the same name, mode and time. Other names of it (hard links) keep the old ones.
pub(crate) fn file(path: &Path, bytes: &[u8]) -> Result<Ready, Failed> {
    let error = failed("write", path);
    let metadata = fs::symlink_metadata(path).map_err(&error)?;
    Ready::contents(path, bytes, Some(&metadata), |file| keep(file, &metadata)).map_err(error)
}

fn keep(file: &File, metadata: &Metadata) -> io::Result<()> {
    file.set_permissions(metadata.permissions())?;
    file.set_times(FileTimes::new().set_modified(metadata.modified()?))
}

/// Another name of `known`, which holds `bytes`, in the place of `path`.
pub(crate) fn hard_link(known: &Ready, path: &Path, bytes: &[u8]) -> Result<Ready, Failed> {
    // Not every file system has them.
    Ready::hard_link(known, path).or_else(|_| file(path, bytes))
}

/// Another target for a symbolic link.
pub(crate) fn link(target: &Path, path: &Path) -> Result<Ready, Failed> {
    Ready::link(path, target).map_err(failed("write", path))
}

/// Why `RECORD` files could not be brought up to date.
#[derive(Debug)]
pub(crate) enum RecordsFailed {
    Tree(TreeError),
    File(Failed),
}

impl From<TreeError> for RecordsFailed {
    fn from(error: TreeError) -> Self {
        Self::Tree(error)
    }
}

impl From<Failed> for RecordsFailed {
    fn from(error: Failed) -> Self {
        Self::File(error)
    }
}

/// New contents for every `RECORD` of the tree, whatever its layout is, that lists changed files: with their hash and
/// size. `changed` says where the contents of a changed file are, of which it gets the path in the tree.
pub(crate) fn records(
    tree: &Path,
    changed: &dyn Fn(&Path) -> Option<PathBuf>,
) -> Result<BTreeMap<PathBuf, Ready>, RecordsFailed> {
    let mut fresh = BTreeMap::new();
    if !tree.is_dir() {
        return Ok(fresh);
    }
    for node in tree::walk(tree)?.into_iter().filter(|node| is_record(&node.path)) {
        let site = node.path.parent().and_then(Path::parent).unwrap_or(Path::new(""));
        let place = tree.join(&node.path);
        // One that was edited itself is read as it will be.
        let source = changed(&node.path).unwrap_or_else(|| place.clone());
        let old = fs::read(&source).map_err(failed("read", &source))?;
        let mut problem = None;
        let mut any = false;
        let new = record::with_hashes(&old, |row| {
            let path = changed(&resolve(site, row)?)?;
            any = true;
            match File::open(&path).and_then(Sha256::of_reader) {
                Ok(measured) => Some(measured),
                Err(source) => {
                    problem = Some(failed("read", &path)(source));
                    None
                }
            }
        });
        if let Some(problem) = problem {
            return Err(problem.into());
        }
        if any && new != old {
            fresh.insert(node.path, file(&place, &new)?);
        }
    }
    Ok(fresh)
}

fn is_record(path: &Path) -> bool {
    let info = path.parent().and_then(Path::extension);
    path.file_name().is_some_and(|name| name == "RECORD") && info.is_some_and(|info| info == "dist-info")
}

/// The path in the tree that a row names.
fn resolve(site: &Path, row: &str) -> Option<PathBuf> {
    let mut path = site.to_owned();
    for component in Path::new(row).components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::ParentDir if path.pop() => {}
            Component::CurDir => {}
            _ => return None,
        }
    }
    Some(path)
}
