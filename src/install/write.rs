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

/// How files come out of unpacked wheels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Files {
    /// As copies.
    Copied,
    /// As hard links where the file system allows: for a tree of the cache, in which whoever edits a file writes
    /// it anew beside and renames it.
    Linked,
}

/// Writes `plan` into the folder `dest`, which is made if need be and in which none of the plan's files may be
/// yet. Every file is hashed on its way. `jobs` changes the time only.
///
/// Nothing is undone on an error: `dest` is meant to be a temporary folder that is renamed when all is done.
pub fn write(
    plan: &SitePlan,
    dest: &Path,
    files: Files,
    jobs: NonZeroUsize,
    reporter: &dyn Reporter,
) -> Result<(), InstallError> {
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
            .try_for_each(|(path, placed)| write_file(&dest.join(path), placed, files))
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

/// Whether a file has exactly these permissions.
fn has_mode(path: &Path, mode: u32) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o7777 == mode)
}

fn write_file(path: &Path, placed: &Placed, files: Files) -> Result<(), InstallError> {
    let mode = if placed.executable { 0o755 } else { 0o644 };
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
            if files == Files::Linked && has_mode(from, mode) && fs::hard_link(from, path).is_ok() {
                return Ok(());
            }
            &copied
        }
    };
    create(path, mode, bytes).map_err(|source| InstallError::Write { path: path.to_owned(), source })
}

/// The mode is set again because `open` takes the umask away from it.
fn create(path: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.set_permissions(fs::Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::install::testing::{TestWheel, layout, open_all};
    use crate::install::{DirectUrl, Wheel, plan, record_bytecode, refresh_records};
    use crate::report::Silent;
    use crate::tree;
    use std::collections::BTreeMap;

    fn jobs(count: usize) -> NonZeroUsize {
        NonZeroUsize::new(count).unwrap()
    }

    fn wheels() -> (tempfile::TempDir, Vec<Wheel>) {
        let many =
            (0..40).fold(TestWheel::new("a", "1"), |wheel, n| wheel.file(&format!("a/{n}.py"), format!("x = {n}\n")));
        let b = TestWheel::new("b", "1").file("b.py", "").info("entry_points.txt", "[console_scripts]\nb = b:main\n");
        open_all(vec![many.file("a/odd, name \"x\".txt", ""), b])
    }

    /// Every path with its content or its link's text.
    fn contents(root: &Path) -> BTreeMap<String, Vec<u8>> {
        let read = |node: tree::Node| {
            let path = root.join(&node.path);
            let content = match node.kind {
                tree::Kind::Dir => Vec::new(),
                tree::Kind::Link { target } => target.into_os_string().into_encoded_bytes(),
                tree::Kind::File { executable, .. } => [fs::read(path).unwrap(), vec![u8::from(executable)]].concat(),
            };
            (node.path.display().to_string(), content)
        };
        tree::walk(root).unwrap().into_iter().map(read).collect()
    }

    #[test]
    fn job_counts_change_nothing() {
        let (_folder, wheels) = wheels();
        let plan = plan(&wheels, &layout(), &BTreeMap::new()).unwrap();
        let dest = tempfile::tempdir().unwrap();
        for count in [1, 2, 7] {
            let files = if count == 1 { Files::Copied } else { Files::Linked };
            write(&plan, &dest.path().join(count.to_string()), files, jobs(count), &Silent).unwrap();
        }
        let first = contents(&dest.path().join("1"));
        assert_eq!(first["bin/python"], b"python3.14");
        assert_eq!(first["bin/b"].last(), Some(&1));
        assert_eq!(first, contents(&dest.path().join("2")));
        assert_eq!(first, contents(&dest.path().join("7")));
    }

    #[test]
    fn nothing_is_overwritten() {
        let (_folder, wheels) = wheels();
        let plan = plan(&wheels, &layout(), &BTreeMap::new()).unwrap();
        let dest = tempfile::tempdir().unwrap();
        let victim = dest.path().join("victim");
        fs::write(&victim, "kept").unwrap();
        fs::create_dir(dest.path().join("bin")).unwrap();
        symlink(&victim, dest.path().join("bin/b")).unwrap();
        assert!(matches!(write(&plan, dest.path(), Files::Copied, jobs(2), &Silent), Err(InstallError::Write { .. })));
        assert_eq!(fs::read(victim).unwrap(), b"kept");
    }

    #[test]
    fn a_damaged_cache_is_seen() {
        let (folder, wheels) = wheels();
        fs::write(folder.path().join("0/a/7.py"), "x = 8\n").unwrap();
        let plan = plan(&wheels, &layout(), &BTreeMap::new()).unwrap();
        let dest = tempfile::tempdir().unwrap();
        let error = write(&plan, dest.path(), Files::Copied, jobs(2), &Silent).unwrap_err();
        assert!(matches!(error, InstallError::Changed { path, .. } if path.ends_with("0/a/7.py")));
    }

    #[test]
    fn records_follow_edits_and_bytecode() {
        let (_folder, wheels) = wheels();
        let layout = layout();
        let plan = plan(&wheels, &layout, &BTreeMap::new()).unwrap();
        let dest = tempfile::tempdir().unwrap();
        write(&plan, dest.path(), Files::Copied, jobs(2), &Silent).unwrap();
        let site = dest.path().join(layout.site_packages());
        let before = fs::read_to_string(site.join("a-1.dist-info/RECORD")).unwrap();
        assert!(before.contains("\"a/odd, name \"\"x\"\".txt\",sha256="));
        fs::write(site.join("a/3.py"), "changed").unwrap();
        fs::write(dest.path().join("bin/b"), "changed").unwrap();
        let changed =
            ["bin/b", "lib/python3.14/site-packages/a/3.py", "lib/python3.14/site-packages/a/4.py", "elsewhere"];
        let changed: BTreeSet<String> = changed.map(str::to_owned).into();
        assert_eq!(refresh_records(dest.path(), &layout, &changed, jobs(2)).unwrap(), 2);
        assert_eq!(refresh_records(dest.path(), &layout, &changed, jobs(2)).unwrap(), 0);
        let row = "a/3.py,sha256=1n4ulEmUSWyNjsdu7Qz58JZ5RI1YS1Mr6_lBhSo39e0,7\n";
        let after = fs::read_to_string(site.join("a-1.dist-info/RECORD")).unwrap();
        assert_eq!(
            after.replace(row, ""),
            before.lines().filter(|l| !l.starts_with("a/3.py")).fold(String::new(), |t, l| t + l + "\n")
        );

        fs::create_dir(site.join("a/__pycache__")).unwrap();
        fs::write(site.join("a/__pycache__/3.cpython-314.pyc"), "").unwrap();
        assert_eq!(record_bytecode(dest.path(), &layout).unwrap(), 1);
        assert_eq!(record_bytecode(dest.path(), &layout).unwrap(), 0);
        let after = fs::read_to_string(site.join("a-1.dist-info/RECORD")).unwrap();
        assert!(after.contains("\na/__pycache__/3.cpython-314.pyc,,\n"));
    }

    #[test]
    fn direct_urls_are_written_and_listed() {
        let (_folder, mut wheels) = wheels();
        let url = "https://git.invalid/b.git".parse().unwrap();
        let direct = DirectUrl::Git { url, requested: None, commit: "0".repeat(40), subdirectory: None };
        wheels[1].direct_url = Some(direct.clone());
        let plan = plan(&wheels, &layout(), &BTreeMap::new()).unwrap();
        let path = "lib/python3.14/site-packages/b-1.dist-info/direct_url.json";
        assert_eq!(plan.files[path].content, Content::Bytes(direct.json().into_bytes()));
        let Content::Bytes(record) = &plan.files["lib/python3.14/site-packages/b-1.dist-info/RECORD"].content else {
            panic!()
        };
        assert!(String::from_utf8_lossy(record).contains("b-1.dist-info/direct_url.json,sha256="));
    }

    #[test]
    fn installed_records_that_leave_the_tree_are_refused() {
        let dest = tempfile::tempdir().unwrap();
        let folder = dest.path().join("lib/python3.14/site-packages/a-1.dist-info");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("RECORD"), "../../../../etc/passwd,sha256=x,1\n").unwrap();
        let changed = BTreeSet::from(["x".to_owned()]);
        let error = refresh_records(dest.path(), &layout(), &changed, jobs(1)).unwrap_err();
        assert!(matches!(error, InstallError::Installed { .. }));
    }
}
