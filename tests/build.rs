//! `akb build` on real wheels and real source distributions: the whole way, as a person goes it.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test fails by panicking, and may look around")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A machine of its own: an empty home, its own cache, a copy of a project.
struct World {
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A copy of a project of `tests/projects`.
    fn project(&self, name: &str) -> PathBuf {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/projects").join(name);
        let to = self.path(name);
        copy(&from, &to);
        to
    }

    fn akb(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_akb"))
            .args(arguments)
            .env("HOME", self.path("home"))
            .env_remove("XDG_CACHE_HOME")
            .env_remove("AKB_CACHE")
            .current_dir(self.folder.path())
            .output()
            .unwrap()
    }

    /// Runs akb, which has to succeed, and gives its standard output.
    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.akb(arguments);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "akb {arguments:?} ended with {}\n{out}{err}", output.status);
        out
    }

    /// Runs akb, which has to end with `code`, and gives its standard error.
    fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.akb(arguments);
        let err = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "akb {arguments:?}\n{}{err}", text(&output.stdout));
        assert!(err.contains("error:"), "{err}");
        err
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// What a program of a tree prints, which has to succeed, with an empty environment and from another folder.
fn run(tree: &Path, program: &str, arguments: &[&str]) -> String {
    let output = Command::new(tree.join(program)).args(arguments).env_clear().current_dir("/").output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}\n{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

fn hash(tree: &Path) -> String {
    let receipt = fs::read_to_string(tree.join("akb-receipt.json")).unwrap();
    let receipt: serde_json::Value = serde_json::from_str(&receipt).unwrap();
    receipt["hash"].as_str().unwrap().to_owned()
}

/// Sources of the legacy kind (docopt) and with C code (markupsafe), wheels with scripts and without.
#[test]
fn a_project_becomes_a_tree_that_runs_and_is_the_same_everywhere() {
    let world = World::new();
    let project = world.project("small");
    let first = world.path("first");
    world.ok(&["build", "small", "--out", "first"]);
    assert!(project.join("akb.lock").is_file());
    let script = "import sys, docopt, wcwidth, markupsafe._speedups as fast; print(sys.prefix, fast.__name__)";
    let printed = run(&first, "bin/python", &["-c", script]);
    assert_eq!(printed, format!("{} markupsafe._speedups\n", first.display()));
    assert!(!run(&first, "bin/pyjoke", &[]).is_empty());

    // Another folder and one job, everything compiled again: the same hash.
    let cold = World::new();
    let again = cold.project("small");
    fs::copy(project.join("akb.lock"), again.join("akb.lock")).unwrap();
    cold.ok(&["build", "small", "--locked", "--jobs", "1", "--out", "deep/down/second"]);
    let second = cold.path("deep/down/second");
    assert_eq!(hash(&first), hash(&second));

    // The cache's tree: the same again, and no network.
    world.ok(&["build", "small", "--locked", "--offline", "--out", "third"]);
    assert_eq!(hash(&first), hash(&world.path("third")));

    // What is there is replaced as a whole, and verify finds nothing wrong.
    world.ok(&["build", "small", "--offline", "--out", "first"]);
    let report = world.ok(&["verify", "first"]);
    assert!(report.contains("imports  ok"), "{report}");
}

#[test]
fn a_tree_that_was_moved_is_told_and_mended() {
    let world = World::new();
    world.project("small");
    world.ok(&["build", "small", "--out", "here"]);
    let before = hash(&world.path("here"));
    fs::rename(world.path("here"), world.path("there")).unwrap();
    let told = world.akb(&["verify", "there", "--no-imports"]);
    assert_eq!(told.status.code(), Some(6), "{}", text(&told.stderr));
    assert!(text(&told.stdout).contains("akb place"), "{}", text(&told.stdout));
    world.ok(&["place", "there"]);
    assert_eq!(hash(&world.path("there")), before);
    assert!(!run(&world.path("there"), "bin/pyjoke", &[]).is_empty());
    // A copy elsewhere, with a much longer name, leaves the first as it is.
    let long = "a-folder-with-a-name-that-is-much-longer-than-the-one-before";
    world.ok(&["place", "there", long]);
    assert!(!run(&world.path(long), "bin/pyjoke", &[]).is_empty());
    assert!(!run(&world.path("there"), "bin/pyjoke", &[]).is_empty());
}

#[test]
fn verify_finds_what_was_changed() {
    let world = World::new();
    world.project("small");
    world.ok(&["build", "small", "--out", "tree"]);
    let site = world.path("tree/lib/python3.14/site-packages");
    let mut source = fs::read(site.join("docopt.py")).unwrap();
    source.push(b'\n');
    fs::write(site.join("docopt.py"), source).unwrap();
    fs::write(site.join("stray.py"), "raise ImportError('no')\n").unwrap();
    let output = world.akb(&["verify", "tree"]);
    assert_eq!(output.status.code(), Some(6));
    let report = text(&output.stdout);
    assert!(report.contains("identity  1 wrong"), "{report}");
    assert!(report.contains("docopt.py: expected sha256="), "{report}");
    assert!(report.contains("stray.py"), "{report}");
}

#[test]
fn without_bytecode_there_is_none() {
    let world = World::new();
    world.project("small");
    world.ok(&["build", "small", "--no-bytecode", "--out", "tree"]);
    let caches = Command::new("find").arg(world.path("tree")).args(["-name", "*.pyc"]).output().unwrap();
    assert_eq!(text(&caches.stdout), "");
    assert!(!run(&world.path("tree"), "bin/pyjoke", &[]).is_empty());
}

#[test]
fn wrong_uses_are_told_with_a_next_step() {
    let world = World::new();
    let project = world.project("small");

    let missing = world.fails(2, &["build", "small", "--locked"]);
    assert!(missing.contains("akb.lock` does not exist") && missing.contains("akb lock"), "{missing}");

    let nothing = world.fails(2, &["build", "nowhere"]);
    assert!(nothing.contains("uv.lock") && nothing.contains("hint:"), "{nothing}");

    let unknown = world.fails(2, &["build", "authentik-deps@2026.2.1"]);
    assert!(unknown.contains("authentik-deps@2026.2.0"), "{unknown}");

    let python = world.fails(2, &["build", "small", "--python", "3.9"]);
    assert!(python.contains("3.11") && python.contains("hint:"), "{python}");

    fs::create_dir(world.path("mine")).unwrap();
    fs::write(world.path("mine/file"), "mine").unwrap();
    let occupied = world.fails(2, &["build", "small", "--out", "mine"]);
    assert!(occupied.contains("is there already") && occupied.contains("--out"), "{occupied}");
    assert_eq!(fs::read_to_string(world.path("mine/file")).unwrap(), "mine");

    fs::write(project.join("akb.toml"), "[package.docopt]\ncflag = [\"-O3\"]\n").unwrap();
    let recipe = world.fails(2, &["build", "small"]);
    assert!(recipe.contains("cflag") && recipe.contains("cflags"), "{recipe}");

    fs::remove_file(project.join("akb.toml")).unwrap();
    let offline = world.fails(4, &["build", "small", "--python", "3.14", "--offline"]);
    assert!(offline.contains("hint:"), "{offline}");
}
