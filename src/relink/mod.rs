//! Makes a tree find its libraries: sets interpreter and search path of every program and library, so that each
//! finds what it needs in the tree and, for what the tree lacks, in copies from the inputs or in the inputs
//! themselves ([`Runtime`]). [`check`](fn@check) reads a finished tree again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::io::{self, Write as _};
use std::num::NonZeroUsize;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

use rayon::prelude::*;

use crate::explain::{ExitCode, Explain};
use crate::inputs::{Inputs, Runtime};
use crate::report::Reporter;
use crate::runtime::seal;
use crate::tree::TreeError;

mod check;
pub mod elf;
pub mod glob;
mod library;
mod missing;
mod owner;
mod probe;
mod resolve;
mod scan;

pub use check::{Finding, Outcome, Premises, check};
pub use missing::{Missing, Reason, debian_package};

use elf::{Edits, ElfError, Interpreter, Machine, Patch};
use library::{Libraries, Library};
use resolve::{Resolution, Resolver};
use scan::Scan;

/// Where copied libraries and the dynamic linker lie in a tree.
pub const LIBDIR: &str = "runtime/lib";

/// Size of `PT_INTERP` in a canonical tree: a tree can be placed wherever the path of its dynamic linker and a
/// NUL fit.
pub const INTERPRETER_SLOT: usize = 256;

/// Libraries that the copied libraries themselves open by name, and cannot do without: (library, opened name).
/// The C library ends a process whose thread is cancelled when it finds no `libgcc_s.so.1`.
const OPENED: &[(&str, &str)] = &[("libc.so.6", "libgcc_s.so.1")];

/// Libraries that belong to the dynamic linker, as patterns of their names.
const LIBC: &[&str] = &[
    "ld-*.so.*",
    "ld64.so.*",
    "libc.so.6",
    "libm.so.6",
    "libmvec.so.1",
    "libdl.so.2",
    "libpthread.so.0",
    "librt.so.1",
    "libresolv.so.2",
    "libutil.so.1",
    "libanl.so.1",
    "libBrokenLocale.so.1",
    "libthread_db.so.1",
    "libnss_*.so.2",
    "libc.so",
    "libc.musl-*.so.1",
];

/// What to relink.
#[derive(Clone, Debug)]
pub struct Job<'a> {
    /// The tree; it is changed.
    pub tree: &'a Path,
    /// Where the tree says that it lies: `/akb`.
    pub prefix: &'a Path,
    /// The folder with the packages, relative to the tree.
    pub site: &'a Path,
    /// Where libraries come from: copied into the tree, or referred to where they are.
    pub inputs: &'a Inputs,
    /// Names that files open at run time: by the name of a package, or by a pattern of paths below the tree or
    /// below `site` (with a slash or a star in it).
    pub dlopen: &'a BTreeMap<String, Vec<String>>,
    /// Patterns of sonames that may be missing, `SONAME` or `FILE:SONAME`.
    pub ignore: &'a [String],
}

/// What relinking did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelinkReport {
    /// Number of programs and libraries, copies included.
    pub files: u64,
    /// Files of the tree whose bytes changed, relative to it, sorted. Copies are not among them.
    pub changed: Vec<PathBuf>,
    /// Copied libraries, by name, with where they came from as the sandbox sees it.
    pub copied: BTreeMap<String, PathBuf>,
    /// Links beside them, with what they lead to.
    pub links: BTreeMap<String, PathBuf>,
    /// Size of the copies in bytes.
    pub bytes: u64,
    /// ELF files that were left as they are, with the reason.
    pub skipped: BTreeMap<PathBuf, String>,
    /// What is not there and may be so.
    pub ignored: Vec<Missing>,
}

/// Why a tree could not be relinked.
#[derive(Debug, thiserror::Error)]
pub enum RelinkError {
    /// Libraries are not there. All of them at once.
    #[error("{} not resolved:{}", count(missing), lines(missing))]
    Missing {
        /// Which, for which file.
        missing: Vec<Missing>,
    },
    /// The inputs have no dynamic linker where they say.
    #[error("the inputs ({inputs}) have no dynamic linker at {}", path.display())]
    NoInterpreter {
        /// As the sandbox sees it.
        path: PathBuf,
        /// Their description.
        inputs: String,
    },
    /// The path of the dynamic linker does not fit.
    #[error("the path of the dynamic linker has {found} bytes; expected at most {}", INTERPRETER_SLOT - 1)]
    PrefixTooLong {
        /// Its length.
        found: usize,
    },
    /// A file could not be edited.
    #[error("{}: {source}", path.display())]
    Elf {
        /// Which.
        path: PathBuf,
        /// Why.
        source: ElfError,
    },
    /// A copied library would open files of the host.
    #[error("{}: {source}", path.display())]
    Seal {
        /// Which, as the sandbox sees it.
        path: PathBuf,
        /// Why.
        source: seal::SealError,
    },
    /// A folder could not be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Threads could not be started.
    #[error("cannot start threads: {0}")]
    Threads(String),
}

fn count(missing: &[Missing]) -> String {
    if missing.len() == 1 { "one library was".to_owned() } else { format!("{} libraries were", missing.len()) }
}

fn lines(missing: &[Missing]) -> String {
    missing.iter().flat_map(|missing| ["\n  ".to_owned(), missing.to_string()]).collect()
}

impl Explain for RelinkError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { missing } => Some(missing_hint(missing)),
            Self::NoInterpreter { .. } => Some("add the C library's package (Debian: libc6) to the inputs".to_owned()),
            Self::PrefixTooLong { .. } => Some("choose a shorter folder".to_owned()),
            Self::Seal { .. } => Some(
                "the library differs from Debian's build of it: take the inputs from Debian, or report it as a bug of akb".to_owned(),
            ),
            Self::Tree(error) => error.hint(),
            Self::Elf { .. } | Self::Io { .. } | Self::Threads(_) => None,
        }
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Tree(error) => error.exit_code(),
            Self::Missing { .. } => ExitCode::Build,
            _ => ExitCode::Failed,
        }
    }
}

fn missing_hint(missing: &[Missing]) -> String {
    let absent = missing.iter().filter(|missing| matches!(missing.reason, Reason::NotFound | Reason::NotFoundByName));
    let mut sonames: Vec<&str> = absent.map(|missing| missing.soname.as_str()).collect();
    sonames.sort_unstable();
    sonames.dedup();
    if sonames.is_empty() {
        return "use a newer suite for the inputs, or build the package from source".to_owned();
    }
    let packages: Vec<String> = sonames.iter().map(|soname| debian_package(soname)).collect();
    let quoted = |names: &[String]| names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
    let sonames: Vec<String> = sonames.into_iter().map(str::to_owned).collect();
    format!(
        "write in akb.toml: [inputs] packages = [{}] (a guess by Debian's naming rule); \
         or, if nothing uses it: [relink] ignore = [{}]",
        quoted(&packages),
        quoted(&sonames)
    )
}

/// The dynamic linker that a program names; `None` where it names none.
pub fn interpreter_of(program: &Path) -> Result<Option<PathBuf>, RelinkError> {
    let bytes = read(program)?;
    Ok(elf::Image::read(&bytes).ok().flatten().and_then(|image| image.interpreter).map(PathBuf::from))
}

/// Relinks a tree. What it writes depends on the tree and the inputs, not on `jobs`.
pub fn relink(job: &Job<'_>, jobs: NonZeroUsize, reporter: &dyn Reporter) -> Result<RelinkReport, RelinkError> {
    let interpreter = &job.inputs.interpreter;
    let absent = || RelinkError::NoInterpreter { path: interpreter.clone(), inputs: job.inputs.description.clone() };
    let bytes = read(&job.inputs.locate(interpreter).ok_or_else(absent)?)?;
    let machine = Machine::of(&bytes).ok_or_else(absent)?;
    let mut libraries = Libraries::new(job.inputs, machine);
    let loader = libraries.at(interpreter)?.ok_or_else(absent)?;
    let wanted = wanted_interpreter(job, &loader)?;

    let scan = scan::scan(job.tree, machine, jobs)?;
    let (dlopen, unused) = owner::opened(job, &scan)?;
    for name in unused {
        let hint = "correct the name, or remove its `dlopen` from akb.toml".to_owned();
        reporter.warn(format!("`{name}` names no program or library that could open others by name"), Some(hint));
    }
    let (scan, resolution) = resolve(job, scan, libraries, loader, default_folders(job.inputs, &bytes), dlopen)?;
    for note in &resolution.notes {
        reporter.note(note.clone());
    }
    if !resolution.missing.is_empty() {
        return Err(RelinkError::Missing { missing: resolution.missing.into_iter().collect() });
    }
    apply(job, &scan, &resolution, &wanted, jobs)
}

/// The interpreter that the tree's programs get.
fn wanted_interpreter(job: &Job<'_>, loader: &Library) -> Result<Interpreter, RelinkError> {
    let path = match job.inputs.runtime {
        Runtime::Copied => job.prefix.join(LIBDIR).join(&loader.name),
        Runtime::Referenced => job.inputs.interpreter.clone(),
    };
    // What does not lie below the prefix stays the same wherever the tree is placed.
    let slot = path.starts_with(job.prefix).then_some(INTERPRETER_SLOT);
    let path = path.to_string_lossy().into_owned();
    if slot.is_some_and(|slot| path.len() >= slot) {
        return Err(RelinkError::PrefixTooLong { found: path.len() });
    }
    Ok(Interpreter { path, slot })
}

/// Library folders of the inputs that the dynamic linker `loader` searches by itself: it names them, each with a
/// slash at its end.
fn default_folders(inputs: &Inputs, loader: &[u8]) -> BTreeSet<PathBuf> {
    match inputs.runtime {
        Runtime::Copied => BTreeSet::new(),
        Runtime::Referenced => inputs.libraries.iter().filter(|folder| names_folder(loader, folder)).cloned().collect(),
    }
}

fn names_folder(loader: &[u8], folder: &Path) -> bool {
    let text = [folder.as_os_str().as_encoded_bytes(), b"/\0"].concat();
    memchr::memmem::find(loader, &text).is_some()
}

fn resolve<'a>(
    job: &Job<'a>,
    scan: Scan,
    libraries: Libraries<'a>,
    loader: Library,
    default: BTreeSet<PathBuf>,
    mut dlopen: BTreeMap<PathBuf, Vec<String>>,
) -> Result<(Scan, Resolution), RelinkError> {
    let libdir = PathBuf::from(LIBDIR);
    let runtime = job.inputs.runtime;
    for (library, opened) in OPENED.iter().filter(|_| runtime == Runtime::Copied) {
        dlopen.entry(libdir.join(library)).or_default().push((*opened).to_owned());
    }
    let openers = dlopen.keys().cloned().collect();
    let loader_file = match runtime {
        Runtime::Copied => libdir.join(&loader.name),
        Runtime::Referenced => loader.path.clone(),
    };
    let mut resolver = Resolver {
        scan,
        libraries: Some(libraries),
        runtime,
        outside: BTreeMap::new(),
        libdir,
        loader: loader.name.clone(),
        loader_file: loader_file.clone(),
        default,
        dlopen,
        ignore: job.ignore,
        result: Resolution { openers, ..Resolution::default() },
        queue: VecDeque::new(),
    };
    match runtime {
        Runtime::Copied => resolver.take(&loader.name.clone(), loader),
        Runtime::Referenced => drop(resolver.outside.insert(loader_file, loader.image)),
    }
    resolver.run()
}

/// Writes what was decided.
fn apply(
    job: &Job<'_>,
    scan: &Scan,
    resolution: &Resolution,
    interpreter: &Interpreter,
    jobs: NonZeroUsize,
) -> Result<RelinkReport, RelinkError> {
    let tree = job.tree;
    let libdir = tree.join(LIBDIR);
    if !resolution.copies.is_empty() || !resolution.links.is_empty() {
        fs::create_dir_all(&libdir).map_err(|source| RelinkError::Io { path: libdir.clone(), source })?;
    }
    let seals = job.inputs.runtime == Runtime::Copied;
    let work: Vec<_> = scan.images.iter().collect();
    let copies = &resolution.copies;
    let results = parallel(jobs, || {
        work.par_iter()
            .map(|(path, image)| {
                let edits = Edits {
                    interpreter: image.interpreter.as_ref().map(|_| interpreter.clone()),
                    search: resolution.search.get(*path).cloned(),
                    ..Edits::default()
                };
                let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                match copies.get(&name).filter(|_| path.parent() == Some(Path::new(LIBDIR))) {
                    Some(library) => copy(library, &tree.join(path), &edits).map(Written::Copy),
                    None => {
                        let opener = seals && resolution.openers.contains(*path);
                        rewrite(&tree.join(path), &edits, opener).map(Written::Tree)
                    }
                }
            })
            .collect::<Result<Vec<_>, RelinkError>>()
    })??;
    for (name, target) in &resolution.links {
        link(target, &libdir.join(name))?;
    }
    let mut report = RelinkReport {
        files: work.len() as u64,
        copied: copies.iter().map(|(name, library)| (name.clone(), library.path.clone())).collect(),
        links: resolution.links.clone(),
        skipped: scan.skipped.clone(),
        ignored: resolution.ignored.iter().cloned().collect(),
        ..RelinkReport::default()
    };
    for ((path, _), written) in work.into_iter().zip(results) {
        match written {
            Written::Copy(size) => report.bytes += size,
            Written::Tree(true) => report.changed.push(path.clone()),
            Written::Tree(false) => {}
        }
    }
    Ok(report)
}

enum Written {
    /// Size in bytes.
    Copy(u64),
    /// Whether it changed.
    Tree(bool),
}

/// Puts a sealed and edited copy of a library into the tree.
fn copy(library: &Library, to: &Path, edits: &Edits) -> Result<u64, RelinkError> {
    let elf = |source| RelinkError::Elf { path: library.file.clone(), source };
    let mut bytes = read(&library.file)?;
    seal::seal(&library.name, &mut bytes).map_err(|source| RelinkError::Seal { path: library.path.clone(), source })?;
    let bytes = elf::edit(&bytes, edits).map_err(elf)?.unwrap_or(bytes);
    // The kernel wants to execute the dynamic linker; no other library is run.
    let loader = library.image.needed.is_empty() && library.name.starts_with("ld");
    write(to, &bytes, if loader { 0o755 } else { 0o644 })?;
    Ok(bytes.len() as u64)
}

/// Edits a file of the tree, sealed if it opens libraries by name; says whether it changed.
fn rewrite(path: &Path, edits: &Edits, opener: bool) -> Result<bool, RelinkError> {
    if opener {
        return replace(path, edits, opener);
    }
    let io = |source| RelinkError::Io { path: path.to_owned(), source };
    let file = fs::File::open(path).map_err(io)?;
    let plan = Patch::plan(&file, edits).map_err(io)?;
    let Some(patch) = plan.map_err(|source| RelinkError::Elf { path: path.to_owned(), source })? else {
        return Ok(false);
    };
    let shared = file.metadata().map_err(io)?.nlink() > 1;
    match fs::OpenOptions::new().write(true).open(path) {
        Ok(file) if !shared => patch.write(&file).map(|()| true).map_err(io),
        // It may be a cache's too, or be locked against writers.
        _ => replace(path, edits, opener),
    }
}

/// Likewise by a new file in its place.
fn replace(path: &Path, edits: &Edits, opener: bool) -> Result<bool, RelinkError> {
    let mut bytes = read(path)?;
    let sealed = opener && seal::seal_opener(&mut bytes) > 0;
    let edited = elf::edit(&bytes, edits).map_err(|source| RelinkError::Elf { path: path.to_owned(), source })?;
    let Some(edited) = edited.or(sealed.then_some(bytes)) else { return Ok(false) };
    let metadata = fs::metadata(path).map_err(|source| RelinkError::Io { path: path.to_owned(), source })?;
    write(path, &edited, metadata.permissions().mode() & 0o777)?;
    Ok(true)
}

/// Writes a new file and renames it over the old one, which may be hardlinked into a cache.
fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), RelinkError> {
    let error = |source| RelinkError::Io { path: path.to_owned(), source };
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".akb-").tempfile_in(folder).map_err(error)?;
    file.write_all(bytes).map_err(error)?;
    file.as_file().set_permissions(fs::Permissions::from_mode(mode)).map_err(error)?;
    file.persist(path).map_err(|failed| error(failed.error))?;
    Ok(())
}

fn link(target: &Path, path: &Path) -> Result<(), RelinkError> {
    let error = |source| RelinkError::Io { path: path.to_owned(), source };
    match fs::read_link(path) {
        Ok(text) if text == target => return Ok(()),
        Ok(_) => fs::remove_file(path).map_err(error)?,
        Err(_) => {}
    }
    std::os::unix::fs::symlink(target, path).map_err(error)
}

fn read(path: &Path) -> Result<Vec<u8>, RelinkError> {
    fs::read(path).map_err(|source| RelinkError::Io { path: path.to_owned(), source })
}

/// Runs `work` on as many threads as there are jobs.
fn parallel<T: Send>(jobs: NonZeroUsize, work: impl FnOnce() -> T + Send) -> Result<T, RelinkError> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(jobs.get()).build();
    Ok(pool.map_err(|error| RelinkError::Threads(error.to_string()))?.install(work))
}

/// `to` as an entry of the search path of a file in `from`; both relative to the tree.
fn origin(from: &Path, to: &Path) -> String {
    let from: Vec<Component<'_>> = from.components().collect();
    let to: Vec<Component<'_>> = to.components().collect();
    let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let mut text = "$ORIGIN".to_owned();
    for _ in shared..from.len() {
        text.push_str("/..");
    }
    for name in &to[shared..] {
        text.push('/');
        text.push_str(&name.as_os_str().to_string_lossy());
    }
    text
}

#[cfg(test)]
mod tests;
