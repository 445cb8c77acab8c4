//! Strips the files of a tree.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Serialize;

use super::{Options, Outcome, Stripped, split, strip};
use crate::explain::{ExitCode, Explain};
use crate::relink::elf;
use crate::report::Reporter;
use crate::rewrite::{self, Failed, RecordsFailed};
use crate::tree::{self, Kind, TreeError};

/// Why a tree could not be stripped.
#[derive(Debug, thiserror::Error)]
pub enum StripError {
    /// It could not be listed.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A file could not be read or written.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was done.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file for debuggers of another program is where one is to be made.
    #[error("cannot strip {}: {} is there already, for another program", program.display(), path.display())]
    Taken {
        /// The file for debuggers.
        path: PathBuf,
        /// What is to be stripped.
        program: PathBuf,
    },
    /// No threads.
    #[error("cannot start threads: {0}")]
    Threads(String),
}

impl From<Failed> for StripError {
    fn from(Failed { doing, path, source }: Failed) -> Self {
        Self::Io { doing, path, source }
    }
}

impl From<RecordsFailed> for StripError {
    fn from(failed: RecordsFailed) -> Self {
        match failed {
            RecordsFailed::Tree(error) => error.into(),
            RecordsFailed::File(failed) => failed.into(),
        }
    }
}

impl Explain for StripError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Tree(error) => error.hint(),
            Self::Taken { .. } => Some("name another folder with --debug, one for each tree".to_owned()),
            Self::Io { .. } | Self::Threads(_) => None,
        }
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Tree(error) => error.exit_code(),
            Self::Io { .. } | Self::Taken { .. } => ExitCode::Failed,
            Self::Threads(_) => ExitCode::Machine,
        }
    }
}

/// What was stripped. All paths are relative to the tree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// ELF files that were looked at.
    pub files: u64,
    /// Files with other bytes now, the `RECORD` files that list them too.
    pub changed: BTreeSet<PathBuf>,
    /// Bytes that went.
    pub saved: u64,
    /// ELF files that were left alone, and why.
    pub left: BTreeMap<PathBuf, String>,
    /// Files for debuggers that were made, relative to their folder, and what each belongs to.
    pub debug: BTreeMap<PathBuf, PathBuf>,
}

/// Strips all ELF programs and libraries of `tree` (a folder or a file). Object files and archives of them are left
/// alone. With `debug`, what debuggers need goes to files in that folder: `lib/debug/.build-id/AB/CDEF.debug` where the
/// linker gave a build id that no other file has, `lib/debug/PATH.debug` otherwise. The result does not depend on `jobs`.
pub fn tree(
    tree: &Path,
    options: Options,
    debug: Option<&Path>,
    jobs: NonZeroUsize,
    reporter: &dyn Reporter,
) -> Result<Report, StripError> {
    // A link to a file stays one.
    let tree = &if tree.is_file() {
        fs::canonicalize(tree).map_err(|error| io_error("read", tree, error))?
    } else {
        tree.to_owned()
    };
    let files = files(tree)?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(jobs.get()).build();
    let pool = pool.map_err(|error| StripError::Threads(error.to_string()))?;
    let targets = match debug {
        Some(_) => {
            let places: Vec<_> = files.keys().map(|path| (path.clone(), place_of(tree, path))).collect();
            pool.install(|| split::targets(&places)).map_err(|error| io_error("read", tree, error))?
        }
        None => BTreeMap::new(),
    };
    let one = |(path, others): (&PathBuf, &Vec<PathBuf>)| {
        let split = debug.and_then(|folder| Some((folder, targets.get(path)?)));
        file(tree, path, others, options, split)
    };
    let results: Vec<_> = pool.install(|| files.par_iter().map(one).collect());
    let mut report = Report::default();
    let mut failed = None;
    for ((path, others), result) in files.iter().zip(results) {
        let result = match result {
            Ok(None) => continue,
            Ok(Some(result)) => result,
            Err(error) => {
                failed.get_or_insert(error);
                continue;
            }
        };
        report.files += 1;
        match result {
            Done::Unchanged => {}
            Done::Left(reason) => {
                let shown = if path.as_os_str().is_empty() { tree } else { path };
                reporter.note(format!("{} is left alone: {reason}", shown.display()));
                report.left.insert(path.clone(), reason);
            }
            Done::Stripped { saved, debug } => {
                report.saved += saved;
                report.changed.extend(others.iter().chain([path]).cloned());
                report.debug.extend(debug.map(|file| (file, path.clone())));
            }
        }
    }
    // Where one file failed, too: the others are stripped.
    let place = |path: &Path| report.changed.contains(path).then(|| tree.join(path));
    let records = pool.install(|| rewrite::records(tree, place))?;
    report.changed.extend(records.keys().cloned());
    rewrite::put(records.into_values().collect())?;
    failed.map_or(Ok(report), Err)
}

/// The files of the tree and the other names of each (hard links).
fn files(tree: &Path) -> Result<BTreeMap<PathBuf, Vec<PathBuf>>, StripError> {
    if tree.is_file() {
        return Ok(BTreeMap::from([(PathBuf::new(), Vec::new())]));
    }
    let mut files: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
    let mut first: BTreeMap<(u64, u64), PathBuf> = BTreeMap::new();
    for node in tree::walk(tree)? {
        if !matches!(node.kind, Kind::File { size, .. } if size > 64) {
            continue;
        }
        let place = tree.join(&node.path);
        let metadata = fs::symlink_metadata(&place).map_err(|error| io_error("read", &place, error))?;
        if metadata.nlink() > 1 {
            let known = first.entry((metadata.dev(), metadata.ino())).or_insert_with(|| node.path.clone());
            if *known != node.path {
                files.entry(known.clone()).or_default().push(node.path);
                continue;
            }
        }
        files.insert(node.path, Vec::new());
    }
    Ok(files)
}

fn place_of(tree: &Path, path: &Path) -> PathBuf {
    if path.as_os_str().is_empty() { tree.to_owned() } else { tree.join(path) }
}

fn io_error(doing: &'static str, path: &Path, source: io::Error) -> StripError {
    StripError::Io { doing, path: path.to_owned(), source }
}

/// What became of a file.
enum Done {
    Unchanged,
    Left(String),
    Stripped { saved: u64, debug: Option<PathBuf> },
}

fn file(
    tree: &Path,
    path: &Path,
    others: &[PathBuf],
    options: Options,
    split: Option<(&Path, &PathBuf)>,
) -> Result<Option<Done>, StripError> {
    let place = place_of(tree, path);
    if !begins_as_elf(&place).map_err(|error| io_error("read", &place, error))? {
        return Ok(None);
    }
    let bytes = fs::read(&place).map_err(|error| io_error("read", &place, error))?;
    let name = split.and_then(|(_, target)| target.file_name()).map(|name| name.to_string_lossy().into_owned());
    let Stripped { bytes: fresh, debug } = match strip(&bytes, options, name.as_deref()) {
        Outcome::Unchanged => return Ok(Some(Done::Unchanged)),
        Outcome::Left(reason) => return Ok(Some(Done::Left(reason))),
        Outcome::Stripped(stripped) => stripped,
    };
    // First the debug file: what was stripped cannot be had again.
    if let (Some((folder, target)), Some(debug)) = (split, &debug) {
        let path = folder.join(target);
        split::write(&path, debug).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => StripError::Taken { path, program: place.clone() },
            _ => io_error("write", &path, error),
        })?;
    }
    let made = debug.and_then(|_| split.map(|(_, target)| target.clone()));
    let mut ready = vec![rewrite::file(&place, &fresh)?];
    for other in others {
        ready.push(rewrite::hard_link(&ready[0], &tree.join(other), &fresh)?);
    }
    rewrite::put(ready)?;
    let saved = (bytes.len() as u64).saturating_sub(fresh.len() as u64);
    Ok(Some(Done::Stripped { saved, debug: made }))
}

pub(super) fn begins_as_elf(path: &Path) -> io::Result<bool> {
    let mut start = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(fs::File::open(path)?, 4), &mut start)?;
    Ok(elf::is_elf(&start))
}
