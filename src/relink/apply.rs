//! Writes what was decided.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::elf::{self, Edits, Image, Interpreter};
use super::library::Library;
use super::resolve::Resolution;
use super::scan::Scan;
use super::{Job, LIBDIR, RelinkError, RelinkReport, read};
use crate::inputs::Runtime;
use crate::runtime::seal;

/// Everything that was decided about a tree.
pub(super) struct Decided {
    pub(super) scan: Scan,
    pub(super) resolution: Resolution,
    /// What programs get; `None` where they keep theirs.
    pub(super) interpreter: Option<Interpreter>,
}

/// What happens to one file.
struct Work<'d> {
    path: &'d Path,
    edits: Edits,
    task: Task<'d>,
}

enum Task<'d> {
    /// A library of the inputs is copied here.
    Copy(&'d Library),
    /// A file of the tree is edited; `true` where it is sealed too.
    Edit(bool),
    /// The same happens to another link of the file.
    Twin(&'d Path),
}

impl Decided {
    /// What was decided, as data. Which bytes change is a guess until they are written.
    pub(super) fn report(&self) -> RelinkReport {
        let resolution = &self.resolution;
        let changes = |(path, image): &(&PathBuf, &Image)| !self.is_copy(path) && self.changes(path, image);
        RelinkReport {
            files: self.scan.images.len() as u64,
            changed: self.scan.images.iter().filter(changes).map(|(path, _)| path.clone()).collect(),
            copied: resolution.copies.iter().map(|(name, library)| (name.clone(), library.path.clone())).collect(),
            links: resolution.links.clone(),
            bytes: 0,
            skipped: self.scan.skipped.clone(),
            missing: resolution.missing.iter().cloned().collect(),
            ignored: resolution.ignored.iter().cloned().collect(),
            notes: resolution.notes.clone(),
            linked: resolution.linked.clone(),
        }
    }

    /// Writes it.
    pub(super) fn apply(&self, job: &Job<'_>, jobs: NonZeroUsize) -> Result<RelinkReport, RelinkError> {
        let libdir = job.tree.join(LIBDIR);
        if !self.resolution.copies.is_empty() || !self.resolution.links.is_empty() {
            fs::create_dir_all(&libdir).map_err(|source| RelinkError::Io { path: libdir.clone(), source })?;
        }
        let (twins, work): (Vec<_>, Vec<_>) =
            self.work(job).into_iter().partition(|work| matches!(work.task, Task::Twin(_)));
        let do_all = |work: &[Work<'_>]| {
            super::parallel(jobs, || {
                work.par_iter().map(|work| work.run(job)).collect::<Result<Vec<_>, RelinkError>>()
            })?
        };
        let mut written: BTreeMap<&Path, Written> = BTreeMap::new();
        for work in [&work, &twins] {
            written.extend(work.iter().map(|work| work.path).zip(do_all(work)?));
        }
        for (name, target) in &self.resolution.links {
            link(target, &libdir.join(name))?;
        }
        let mut report = RelinkReport { changed: Vec::new(), ..self.report() };
        for (path, written) in written {
            match written {
                Written::Copy(size) => report.bytes += size,
                Written::Tree(true) => report.changed.push(path.to_owned()),
                Written::Tree(false) => {}
            }
        }
        Ok(report)
    }

    /// What is to be done, for every file that may change.
    fn work(&self, job: &Job<'_>) -> Vec<Work<'_>> {
        let seals = job.supply.runtime == Runtime::Copied;
        let mut all: BTreeMap<&Path, Work<'_>> = BTreeMap::new();
        // Names of one file that are edited, by the first of its names.
        let mut names: BTreeMap<&Path, Vec<&Path>> = BTreeMap::new();
        for (path, image) in &self.scan.images {
            let edits = self.edits(path, image);
            let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
            let seal = seals && self.resolution.openers.contains(path);
            let first = self.scan.twins.get(path).unwrap_or(path);
            let same =
                |work: &&Work<'_>| work.edits == edits && matches!(work.task, Task::Edit(sealed) if sealed == seal);
            let earlier = names.get(first.as_path()).into_iter().flatten();
            let twin = earlier.filter_map(|name| all.get(name)).find(same).map(|work| work.path);
            let task = match (self.resolution.copies.get(&*name), twin) {
                (Some(library), _) if self.is_copy(path) => Task::Copy(library),
                _ if !seal && !self.changes(path, image) => continue,
                (_, Some(twin)) => Task::Twin(twin),
                _ => Task::Edit(seal),
            };
            names.entry(first).or_default().push(path);
            all.insert(path, Work { path, edits, task });
        }
        all.into_values().collect()
    }

    fn edits(&self, path: &Path, image: &Image) -> Edits {
        Edits {
            interpreter: self.interpreter.clone().filter(|_| image.interpreter.is_some()),
            search: self.resolution.search.get(path).cloned(),
            ..Edits::default()
        }
    }

    /// Whether a file can differ from what it is to become. The room of an interpreter is seen in its bytes only.
    fn changes(&self, path: &Path, image: &Image) -> bool {
        let interpreter = self.interpreter.is_some() && image.interpreter.is_some();
        interpreter || self.resolution.search.get(path).is_some_and(|search| *search != image.search)
    }

    fn is_copy(&self, path: &Path) -> bool {
        let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        path.parent() == Some(Path::new(LIBDIR)) && self.resolution.copies.contains_key(&*name)
    }
}

enum Written {
    /// Size in bytes.
    Copy(u64),
    /// Whether it changed.
    Tree(bool),
}

impl Work<'_> {
    fn run(&self, job: &Job<'_>) -> Result<Written, RelinkError> {
        let path = job.tree.join(self.path);
        match self.task {
            Task::Copy(library) => copy(library, &path, &self.edits).map(Written::Copy),
            Task::Edit(seal) => rewrite(&path, &self.edits, seal, job.in_place).map(Written::Tree),
            Task::Twin(first) => relink_twin(&job.tree.join(first), &path).map(Written::Tree),
        }
    }
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
fn rewrite(path: &Path, edits: &Edits, seals: bool, in_place: bool) -> Result<bool, RelinkError> {
    if in_place
        && !seals
        && let Some(changed) = patch(path, edits)?
    {
        return Ok(changed);
    }
    let mut bytes = read(path)?;
    let sealed = seals && seal::seal_opener(&mut bytes) > 0;
    let edited = elf::edit(&bytes, edits).map_err(|source| RelinkError::Elf { path: path.to_owned(), source })?;
    let Some(edited) = edited.or(sealed.then_some(bytes)) else { return Ok(false) };
    let metadata = fs::metadata(path).map_err(|source| RelinkError::Io { path: path.to_owned(), source })?;
    write(path, &edited, metadata.permissions().mode() & 0o777)?;
    Ok(true)
}

/// Writes only what differs into the file, and says whether anything did; `None` where it has to be written anew: it
/// may be a cache's too, or be locked against writers.
fn patch(path: &Path, edits: &Edits) -> Result<Option<bool>, RelinkError> {
    let io = |source| RelinkError::Io { path: path.to_owned(), source };
    let file = fs::File::open(path).map_err(io)?;
    let plan = elf::Patch::plan(&file, edits).map_err(io)?;
    let Some(patch) = plan.map_err(|source| RelinkError::Elf { path: path.to_owned(), source })? else {
        return Ok(Some(false));
    };
    let shared = file.metadata().map_err(io)?.nlink() > 1;
    match fs::OpenOptions::new().write(true).open(path) {
        Ok(file) if !shared => patch.write(&file).map(|()| Some(true)).map_err(io),
        _ => Ok(None),
    }
}

/// Makes `path` a link of the file `first` again, which was edited; says whether it was another.
fn relink_twin(first: &Path, path: &Path) -> Result<bool, RelinkError> {
    let error = |source| RelinkError::Io { path: path.to_owned(), source };
    let inode = |path: &Path| fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()));
    if inode(first).map_err(error)? == inode(path).map_err(error)? {
        return Ok(false);
    }
    let folder = tempfile::Builder::new().prefix(".akb-").tempdir_in(path.parent().unwrap_or(path)).map_err(error)?;
    let beside = folder.path().join("link");
    fs::hard_link(first, &beside).map_err(error)?;
    fs::rename(&beside, path).map_err(error)?;
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
