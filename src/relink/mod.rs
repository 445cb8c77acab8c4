//! Makes a tree find its libraries: sets interpreter and search path of every program and library, so that each
//! finds what it needs in the tree and, for what the tree lacks, in copies from the inputs or in the inputs
//! themselves ([`Runtime`]). [`check`](fn@check) reads a finished tree again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{self, File};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use crate::inputs::Runtime;
use crate::report::Reporter;
use crate::rewrite::{self, Failed, RecordsFailed};

mod apply;
mod check;
pub mod elf;
mod error;
mod find;
mod folder;
pub mod glob;
mod job;
mod library;
mod missing;
mod outside;
mod owner;
mod probe;
mod remedy;
mod report;
mod resolve;
mod scan;
mod standalone;

pub use check::{Finding, Linker, Outcome, Premises, check};
pub use error::RelinkError;
pub use job::{Job, Rules, Supply};
pub use missing::{Missing, Reason, debian_package, nix_package, problems};
pub use remedy::Remedy;
pub use report::{How, Linked, Need, RelinkReport};
pub use standalone::Prefixes;

use apply::Decided;
use elf::Interpreter;
use library::{Libraries, Library};
use resolve::{Resolution, Resolver};
use scan::{Kinship, Scan};

/// Where copied libraries and the dynamic linker lie in a tree.
pub const LIBDIR: &str = "runtime/lib";

/// Size of `PT_INTERP` in a canonical tree: a tree can be placed wherever the path of its dynamic linker and a
/// NUL fit.
pub const INTERPRETER_SLOT: usize = 256;

/// Libraries that the copied libraries themselves open by name, and cannot do without: (library, opened name).
/// The C library ends a process whose thread is cancelled when it finds no `libgcc_s.so.1`.
const OPENED: &[(&str, &str)] = &[("libc.so.6", "libgcc_s.so.1")];

/// Relinks a tree. What it writes depends on the tree and the inputs, not on `jobs`.
///
/// # Errors
/// [`RelinkError::Missing`] names everything that is missing, before anything is written.
pub fn relink(job: &Job<'_>, jobs: NonZeroUsize, reporter: &dyn Reporter) -> Result<RelinkReport, RelinkError> {
    let decided = decide(job, jobs, reporter)?;
    if decided.resolution.missing.is_empty() {
        return decided.apply(job, jobs);
    }
    Err(RelinkError::Missing { report: Box::new(with_owners(job, &decided)?) })
}

/// What [`relink`] would do, without doing it: all that is missing is in the report.
pub fn plan(job: &Job<'_>, jobs: NonZeroUsize, reporter: &dyn Reporter) -> Result<RelinkReport, RelinkError> {
    with_owners(job, &decide(job, jobs, reporter)?)
}

/// A report that says which packages files belong to.
fn with_owners(job: &Job<'_>, decided: &Decided) -> Result<RelinkReport, RelinkError> {
    let mut report = decided.report();
    let owners = owner::Owners::read(job.tree, &decided.scan)?;
    let owner = |file: &Path| owners.of(file).map(str::to_owned);
    for missing in report.missing.iter_mut().chain(&mut report.ignored) {
        missing.package = owner(&missing.file);
    }
    for (file, linked) in &mut report.linked {
        linked.package = owner(file);
    }
    Ok(report)
}

/// Gives the rows of files that relinking changed their hash and size as they are now, in every `RECORD` of the tree,
/// whatever its layout is; those too that an earlier run changed and was stopped. All these files are read.
pub fn refresh_records(tree: &Path, report: &RelinkReport, jobs: NonZeroUsize) -> Result<(), RelinkError> {
    let failed = |failed: Failed| RelinkError::Io { path: failed.path, source: failed.source };
    let changed: BTreeSet<&Path> = report.changed.iter().map(PathBuf::as_path).collect();
    let place = |path: &Path| changed.contains(path).then(|| tree.join(path));
    let records = parallel(jobs, || rewrite::records_and(tree, place, |path| report.linked.contains_key(path)))?;
    let records = records.map_err(|error| match error {
        RecordsFailed::Tree(error) => error.into(),
        RecordsFailed::File(error) => failed(error),
    })?;
    rewrite::put(records.into_values().collect()).map_err(failed)
}

fn decide(job: &Job<'_>, jobs: NonZeroUsize, reporter: &dyn Reporter) -> Result<Decided, RelinkError> {
    let mut libraries = Libraries::new(job.supply);
    let loaders = loaders(job, &mut libraries)?;
    let (scan, loader) = match <[Library; 1]>::try_from(loaders) {
        Ok([loader]) => (scan::scan(job.tree, Some(Kinship::of(&loader.image)), jobs)?, Some(loader)),
        Err(loaders) => {
            let mut scan = scan::scan(job.tree, None, jobs)?;
            let loader = usual(loaders, &scan);
            if let Some(who) = loader.as_ref().map(|loader| Kinship::of(&loader.image)).or_else(|| scan.usual()) {
                scan.restrict(who);
            }
            (scan, loader)
        }
    };
    let owners = job.owners(&scan)?;
    for name in owners.unused(job.rules, &scan) {
        let hint = "correct the name, or remove it from akb.toml".to_owned();
        reporter.warn(format!("`{name}` names no program or library of the tree"), Some(hint));
    }
    let interpreter = loader.as_ref().map(|loader| wanted_interpreter(job, loader)).transpose()?;
    let (scan, mut resolution) = resolve(job, scan, owners, libraries, loader)?;
    for note in &resolution.notes {
        reporter.note(note.clone());
    }
    if let Some((message, hint)) = resolution.lost.clone() {
        reporter.warn(message.clone(), Some(hint));
        resolution.notes.insert(message);
    }
    Ok(Decided { scan, resolution, interpreter })
}

/// The dynamic linkers of the inputs.
fn loaders(job: &Job<'_>, libraries: &mut Libraries<'_>) -> Result<Vec<Library>, RelinkError> {
    let inputs = || job.supply.description.to_owned();
    let absent = |path: &PathBuf| RelinkError::NoInterpreter { path: path.clone(), inputs: inputs() };
    job.supply.interpreters.iter().map(|path| libraries.at(path)?.ok_or_else(|| absent(path))).collect()
}

/// The dynamic linker for most files; the first of several.
fn usual(loaders: Vec<Library>, scan: &Scan) -> Option<Library> {
    let files = |loader: &Library| {
        let who = Kinship::of(&loader.image);
        scan.images.values().filter(|image| who.refuses(image).is_none()).count()
    };
    loaders.into_iter().rev().max_by_key(files)
}

/// The interpreter that the tree's programs get.
fn wanted_interpreter(job: &Job<'_>, loader: &Library) -> Result<Interpreter, RelinkError> {
    let path = match job.supply.runtime {
        Runtime::Copied => job.prefix.join(LIBDIR).join(&loader.name),
        Runtime::Referenced => loader.path.clone(),
    };
    // What does not lie below the prefix stays the same wherever the tree is placed.
    let slot = path.starts_with(job.prefix).then_some(INTERPRETER_SLOT);
    let path = path.to_string_lossy().into_owned();
    if slot.is_some_and(|slot| path.len() >= slot) {
        return Err(RelinkError::PrefixTooLong { found: path.len() });
    }
    Ok(Interpreter { path, slot })
}

/// The dynamic linker that a program names; `None` where it names none.
pub fn interpreter_of(program: &Path) -> Result<Option<PathBuf>, RelinkError> {
    let file = File::open(program).map_err(|source| RelinkError::Io { path: program.to_owned(), source })?;
    Ok(match probe::probe(&file) {
        Ok(probe::Probed::Image(image)) => image.interpreter.map(PathBuf::from),
        _ => None,
    })
}

/// Library folders of the inputs that the dynamic linker searches by itself: it names them.
fn default_folders(job: &Job<'_>, loader: &Library) -> Result<BTreeSet<PathBuf>, RelinkError> {
    if job.supply.runtime == Runtime::Copied {
        return Ok(BTreeSet::new());
    }
    let bytes = read(&loader.file)?;
    let folders = job.supply.libraries.iter().map(PathBuf::as_path).chain(loader.path.parent());
    Ok(folders.filter(|folder| names_folder(&bytes, folder)).map(Path::to_owned).collect())
}

/// Whether a dynamic linker has a folder among those that it searches: each ends in a slash.
fn names_folder(loader: &[u8], folder: &Path) -> bool {
    let text = [folder.as_os_str().as_encoded_bytes(), b"/\0"].concat();
    memchr::memmem::find(loader, &text).is_some()
}

fn resolve<'a>(
    job: &'a Job<'a>,
    scan: Scan,
    owners: owner::Owners,
    libraries: Libraries<'a>,
    loader: Option<Library>,
) -> Result<(Scan, Resolution), RelinkError> {
    let libdir = PathBuf::from(LIBDIR);
    let copies = job.supply.runtime == Runtime::Copied;
    let opened = OPENED.iter().filter(|_| copies);
    let mut resolver = Resolver {
        job,
        owners,
        scan,
        libraries,
        outside: BTreeMap::new(),
        loader: None,
        default: loader.as_ref().map(|loader| default_folders(job, loader)).transpose()?.unwrap_or_default(),
        opened: opened.map(|(library, name)| (libdir.join(library), vec![(*name).to_owned()])).collect(),
        libdir,
        inherited: BTreeMap::new(),
        result: Resolution::default(),
        queue: VecDeque::new(),
    };
    if let Some(loader) = loader {
        let file = if copies { resolver.libdir.join(&loader.name) } else { loader.path.clone() };
        resolver.loader = Some((loader.name.clone(), file.clone()));
        if copies {
            resolver.take(&loader.name.clone(), loader);
        } else {
            resolver.outside.insert(file, loader.image);
        }
    }
    resolver.run()
}

fn read(path: &Path) -> Result<Vec<u8>, RelinkError> {
    fs::read(path).map_err(|source| RelinkError::Io { path: path.to_owned(), source })
}

/// Runs `work` on as many threads as there are jobs.
fn parallel<T: Send>(jobs: NonZeroUsize, work: impl FnOnce() -> T + Send) -> Result<T, RelinkError> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(jobs.get()).build();
    Ok(pool.map_err(|error| RelinkError::Threads(error.to_string()))?.install(work))
}

#[cfg(test)]
mod tests;
