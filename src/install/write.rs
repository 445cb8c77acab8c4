//! A planned site becomes files.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::num::NonZeroUsize;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};

use super::error::InstallError;
use super::plan::{Content, Placed, SitePlan};
use crate::digest::Sha256;
use crate::report::Reporter;

/// Writes `plan` into the folder `dest`, which is made if need be and in which none of the plan's files may be
/// yet. Files are copied, never linked, and every copy is hashed on its way. `jobs` changes the time only.
///
/// Nothing is undone on an error: `dest` is meant to be a temporary folder that is renamed when all is done.
pub fn write(plan: &SitePlan, dest: &Path, jobs: NonZeroUsize, reporter: &dyn Reporter) -> Result<(), InstallError> {
    for warning in &plan.warnings {
        reporter.warn(warning.clone(), None);
    }
    for note in &plan.notes {
        reporter.note(note.clone());
    }
    make_folders(plan, dest)?;
    threads(jobs)?.install(|| {
        plan.files
            .iter()
            .collect::<Vec<_>>()
            .into_par_iter()
            .try_for_each(|(path, placed)| write_file(&dest.join(path), placed))
    })?;
    for (path, target) in &plan.links {
        let path = dest.join(path);
        symlink(target, &path).map_err(|source| InstallError::Write { path, source })?;
    }
    Ok(())
}

/// Threads that are gone when it is dropped.
pub(super) fn threads(jobs: NonZeroUsize) -> Result<rayon::ThreadPool, InstallError> {
    let jobs = jobs.get();
    rayon::ThreadPoolBuilder::new()
        .num_threads(jobs)
        .build()
        .map_err(|error| InstallError::Threads { jobs, reason: error.to_string() })
}

fn make_folders(plan: &SitePlan, dest: &Path) -> Result<(), InstallError> {
    let paths = plan.files.keys().chain(plan.links.keys());
    let mut folders: BTreeSet<&str> =
        paths.filter_map(|path| path.rsplit_once('/')).map(|(folder, _)| folder).collect();
    folders.insert("");
    for folder in folders {
        let path = dest.join(folder);
        fs::create_dir_all(&path).map_err(|source| InstallError::Write { path, source })?;
    }
    Ok(())
}

fn write_file(path: &Path, placed: &Placed) -> Result<(), InstallError> {
    let copied;
    let bytes = match &placed.content {
        Content::Bytes(bytes) => bytes,
        Content::Copy(from) => {
            copied = fs::read(from).map_err(|source| InstallError::Read { path: from.clone(), source })?;
            let found = Sha256::of(&copied);
            if found != placed.sha256 {
                let (expected, found) = (placed.sha256.to_string(), found.to_string());
                return Err(InstallError::Changed { path: from.clone(), expected, found });
            }
            &copied
        }
    };
    let mode = if placed.executable { 0o755 } else { 0o644 };
    create(path, mode, bytes).map_err(|source| InstallError::Write { path: path.to_owned(), source })
}

/// The mode is set again because `open` takes the umask away from it.
fn create(path: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.set_permissions(fs::Permissions::from_mode(mode))
}
