//! Gives files of a finished tree other contents: never half, with mode and time as they were, hard links kept, and
//! with what their packages' `RECORD` says of them.

use std::collections::BTreeMap;
use std::fs::{self, File, FileTimes, Metadata};
use std::io;
use std::path::{Component, Path, PathBuf};

use rayon::prelude::*;

use crate::digest::Sha256;
use crate::install::record::{self, Row};
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
    changed: impl Fn(&Path) -> Option<PathBuf> + Sync,
) -> Result<BTreeMap<PathBuf, Ready>, RecordsFailed> {
    records_and(tree, changed, |_| false)
}

/// Likewise, and rows with another size than their file has, where it `may` have changed earlier.
pub(crate) fn records_and(
    tree: &Path,
    changed: impl Fn(&Path) -> Option<PathBuf> + Sync,
    may: impl Fn(&Path) -> bool + Sync,
) -> Result<BTreeMap<PathBuf, Ready>, RecordsFailed> {
    if !tree.is_dir() {
        return Ok(BTreeMap::new());
    }
    let other = |place: &PathBuf, row: &Row| fs::metadata(place).is_ok_and(|now| now.len().to_string() != row.size);
    let contents = |file: &Path, row: &Row| {
        let earlier = || Some(tree.join(file)).filter(|place| may(file) && other(place, row));
        changed(file).or_else(earlier)
    };
    // One that was edited itself is read as it will be.
    let read = |record: &Path| {
        let source = changed(record).unwrap_or_else(|| tree.join(record));
        fs::read(&source).map_err(failed("read", &source))
    };
    let found: Vec<(PathBuf, Contents)> = tree::walk(tree)?
        .into_par_iter()
        .filter(|node| is_record(&node.path))
        .map(|node| Ok((node.path.clone(), listed(&read(&node.path)?, &node.path, &contents))))
        .collect::<Result<_, Failed>>()?;
    let all: Contents = found.iter().flat_map(|(_, files)| files.clone()).collect();
    let measure = |(path, source): (PathBuf, PathBuf)| {
        let measured = File::open(&source).and_then(Sha256::of_reader).map_err(failed("read", &source))?;
        Ok((path, measured))
    };
    let measured: BTreeMap<PathBuf, (Sha256, u64)> = all.into_par_iter().map(measure).collect::<Result<_, Failed>>()?;
    let mut fresh = BTreeMap::new();
    for (path, _) in found.into_iter().filter(|(_, files)| !files.is_empty()) {
        let old = read(&path)?;
        let new =
            record::with_hashes(&old, |row| resolve(site(&path), row).and_then(|file| measured.get(&file)).copied());
        if new != old {
            let ready = file(&tree.join(&path), &new)?;
            fresh.insert(path, ready);
        }
    }
    Ok(fresh)
}

/// Files, and where their contents are.
type Contents = BTreeMap<PathBuf, PathBuf>;

/// Those files of a `RECORD` that have `contents` to be measured; none where it cannot be understood.
fn listed(record: &[u8], path: &Path, contents: &impl Fn(&Path, &Row) -> Option<PathBuf>) -> Contents {
    let rows = std::str::from_utf8(record).ok().and_then(|text| record::parse(text).ok()).unwrap_or_default();
    let rows = rows.iter().filter(|row| !row.hash.is_empty());
    let file = |row: &Row| {
        let file = resolve(site(path), &row.path)?;
        contents(&file, row).map(|contents| (file, contents))
    };
    rows.filter_map(file).collect()
}

/// The folder that a `RECORD` is about.
fn site(record: &Path) -> &Path {
    record.parent().and_then(Path::parent).unwrap_or(Path::new(""))
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
