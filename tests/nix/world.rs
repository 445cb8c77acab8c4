//! A project with its locks, and expressions about it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::harness::{Outcome, base};

/// akb, static: what a derivation's builder has to be.
pub(crate) const AKB: &str = env!("CARGO_BIN_EXE_akb");

/// `tests/projects/small`, copied and locked.
pub(crate) struct World {
    folder: tempfile::TempDir,
}

static LOCKED: Mutex<Weak<World>> = Mutex::new(Weak::new());

impl World {
    /// The project, locked once for all tests that run at the same time. It is not to be changed.
    pub(crate) fn small() -> Arc<Self> {
        let mut locked = LOCKED.lock().unwrap_or_else(PoisonError::into_inner);
        locked.upgrade().unwrap_or_else(|| {
            let world = Arc::new(Self::copy(&repository("tests/projects")));
            world.lock();
            *locked = Arc::downgrade(&world);
            world
        })
    }

    /// A copy of one's own, to be changed.
    pub(crate) fn own(&self) -> Self {
        Self::copy(self.folder.path())
    }

    fn copy(from: &Path) -> Self {
        let world = Self { folder: tempfile::tempdir_in(base()).unwrap() };
        copy(&from.join("small"), &world.project());
        world
    }

    /// The project's folder.
    pub(crate) fn project(&self) -> PathBuf {
        self.folder.path().join("small")
    }

    /// A new place beside it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs `akb lock`.
    pub(crate) fn lock(&self) {
        self.akb(&["lock", "small"]).ok();
    }

    /// Runs akb on this machine, with a cache that the tests share.
    pub(crate) fn akb(&self, arguments: &[&str]) -> Outcome {
        let mut command = Command::new(AKB);
        command.args(arguments).arg("--cache").arg(base().join("cache")).current_dir(self.folder.path());
        Outcome::of(&command.output().unwrap())
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.project().join(name)).unwrap()
    }

    /// Replaces what is there once in a file of the project.
    #[track_caller]
    pub(crate) fn replace(&self, name: &str, old: &str, new: &str) {
        let text = self.read(name);
        assert_eq!(text.matches(old).count(), 1, "{old} in {name}");
        fs::write(self.project().join(name), text.replace(old, new)).unwrap();
    }

    /// An expression over `akb`, the functions, and `p`, the project.
    pub(crate) fn expression(&self, tail: &str) -> String {
        let functions = repository("nix");
        let (functions, project) = (functions.display(), self.project().display().to_string());
        format!(
            "let akb = import {functions} {{ akb = {AKB}; }}; \
             p = {{ src = {project}; {} }}; in {tail}",
            certificates()
        )
    }
}

/// The certificates that this machine trusts, as an attribute. Nix 2.8 shows none to builders.
pub(crate) fn certificates() -> String {
    let named = ["NIX_SSL_CERT_FILE", "SSL_CERT_FILE"].into_iter().filter_map(std::env::var_os).map(PathBuf::from);
    let file = named.filter(|file| file.is_file()).find_map(|file| fs::canonicalize(file).ok());
    file.map(|file| format!("caBundle = {};", file.display())).unwrap_or_default()
}

/// A place in the repository.
pub(crate) fn repository(name: &str) -> PathBuf {
    fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap().join(name)
}

pub(crate) fn copy(from: &Path, to: &Path) {
    if from.is_file() {
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
        return;
    }
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        copy(&entry.path(), &to.join(entry.file_name()));
    }
}
