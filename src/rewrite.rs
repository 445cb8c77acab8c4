//! Gives files of a finished tree other contents: never half, with mode and time as they were, hard links kept, and
//! with what their packages' `RECORD` says of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, FileTimes, Metadata};
use std::io::{self, Write as _};
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};

use rayon::prelude::*;

use crate::digest::Sha256;
use crate::install::record::{self, Row};
use crate::tree::{self, TreeError};

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

fn temporary() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".akb-");
    builder
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Gives a file other contents under the same name, mode and time. Other names of it (hard links) keep the old ones.
pub(crate) fn file(path: &Path, bytes: &[u8]) -> Result<(), Failed> {
    let error = failed("write", path);
    let metadata = fs::metadata(path).map_err(&error)?;
    let mut file = temporary().tempfile_in(folder(path)).map_err(&error)?;
    file.write_all(bytes).map_err(&error)?;
    keep(file.as_file(), &metadata).map_err(&error)?;
    file.persist(path).map(drop).map_err(|failed| error(failed.error))
}

fn keep(file: &File, metadata: &Metadata) -> io::Result<()> {
    file.set_times(FileTimes::new().set_modified(metadata.modified()?))?;
    file.set_permissions(metadata.permissions())
}

/// Makes `path` another name of `known`, which holds `bytes`.
pub(crate) fn hard_link(known: &Path, path: &Path, bytes: &[u8]) -> Result<(), Failed> {
    match temporary().make_in(folder(path), |temporary| fs::hard_link(known, temporary)) {
        Ok(made) => made.into_temp_path().persist(path).map_err(|error| failed("write", path)(error.error)),
        // Not every file system has them.
        Err(_) => file(path, bytes),
    }
}

/// Gives a symbolic link another target.
pub(crate) fn link(target: &Path, path: &Path) -> Result<(), Failed> {
    let error = failed("write", path);
    let made = temporary().make_in(folder(path), |temporary| symlink(target, temporary)).map_err(&error)?;
    made.into_temp_path().persist(path).map_err(|failed| error(failed.error))
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

/// Gives the rows of changed files (paths in the tree) their hash and size as they are now, in every `RECORD` of the
/// tree, whatever its layout is. `RECORD` files that change are added to `changed`.
pub(crate) fn records(tree: &Path, changed: &mut BTreeSet<PathBuf>) -> Result<(), RecordsFailed> {
    if changed.is_empty() || !tree.is_dir() {
        return Ok(());
    }
    records_and(tree, changed, |_| false)
}

/// Likewise, and rows with another size than their file has, where it `may` have changed earlier.
pub(crate) fn records_and(
    tree: &Path,
    changed: &mut BTreeSet<PathBuf>,
    may: impl Fn(&Path) -> bool + Sync,
) -> Result<(), RecordsFailed> {
    let wanted = |file: &Path, row: &Row| {
        let other = || fs::metadata(tree.join(file)).is_ok_and(|now| now.len().to_string() != row.size);
        changed.contains(file) || may(file) && other()
    };
    let found: Vec<(PathBuf, BTreeSet<PathBuf>)> = tree::walk(tree)?
        .into_par_iter()
        .filter(|node| is_record(&node.path))
        .map(|node| Ok((node.path.clone(), listed(tree, &node.path, &wanted)?)))
        .collect::<Result<_, Failed>>()?;
    let listed: BTreeSet<&PathBuf> = found.iter().flat_map(|(_, files)| files).collect();
    let measure = |path: &PathBuf| {
        let place = tree.join(path);
        let measured = File::open(&place).and_then(Sha256::of_reader).map_err(failed("read", &place))?;
        Ok((path.clone(), measured))
    };
    let measured: BTreeMap<PathBuf, (Sha256, u64)> =
        listed.into_par_iter().map(measure).collect::<Result<_, Failed>>()?;
    for (path, _) in found.into_iter().filter(|(_, files)| !files.is_empty()) {
        let place = tree.join(&path);
        let old = fs::read(&place).map_err(failed("read", &place))?;
        let new =
            record::with_hashes(&old, |row| resolve(site(&path), row).and_then(|file| measured.get(&file)).copied());
        if new != old {
            file(&place, &new)?;
            changed.insert(path);
        }
    }
    Ok(())
}

/// The files of those rows of a `RECORD` that are wanted; none where it cannot be understood.
fn listed(tree: &Path, path: &Path, wanted: &impl Fn(&Path, &Row) -> bool) -> Result<BTreeSet<PathBuf>, Failed> {
    let place = tree.join(path);
    let bytes = fs::read(&place).map_err(failed("read", &place))?;
    let rows = std::str::from_utf8(&bytes).ok().and_then(|text| record::parse(text).ok()).unwrap_or_default();
    let rows = rows.iter().filter(|row| !row.hash.is_empty());
    let files = rows.filter_map(|row| Some((resolve(site(path), &row.path)?, row)));
    Ok(files.filter(|(file, row)| wanted(file, row)).map(|(file, _)| file).collect())
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
