//! A real Nix for tests, from the packages of a Debian suite: unpacked by akb, run by its own loader, with a store of
//! its own. Neither root nor an installed Nix is needed, and no file of this machine is changed.
//!
//! Builds run in Nix's sandbox, which never falls back to none: as another user than root it needs user namespaces,
//! and a machine without them fails these tests with Nix's own words.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use akb::inputs::debian::address;

/// A version of Nix, and the Debian suite that has it.
pub(crate) struct Version {
    /// What `nix --version` has to say.
    pub(crate) nix: &'static str,
    suite: &'static str,
    /// The suite's Python, which `akb inputs` brings along.
    python: &'static str,
}

/// The oldest that is still widely used, and one of today.
pub(crate) const OLD: Version = Version { nix: "2.8", suite: "bookworm", python: "3.11" };
pub(crate) const NEW: Version = Version { nix: "2.26", suite: "trixie", python: "3.13" };

/// Nix with a store. Tests of one version that run at the same time share it; the last one clears it away.
pub(crate) struct Nix {
    version: &'static Version,
    usr: PathBuf,
    folder: PathBuf,
}

/// How a command of Nix ended.
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    /// Standard error, without colours: where builders' logs are.
    pub(crate) log: String,
}

static OPEN: Mutex<[Weak<Nix>; 2]> = Mutex::new([Weak::new(), Weak::new()]);

impl Nix {
    pub(crate) fn old() -> Arc<Self> {
        Self::open(0, &OLD)
    }

    pub(crate) fn new() -> Arc<Self> {
        Self::open(1, &NEW)
    }

    fn open(place: usize, version: &'static Version) -> Arc<Self> {
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(nix) = open[place].upgrade() {
            return nix;
        }
        let usr = install(version);
        let name = format!("store-{}-", version.nix);
        let folder = tempfile::Builder::new().prefix(&name).tempdir_in(base()).unwrap().keep();
        let nix = Self { version, usr, folder };
        fs::create_dir(nix.folder.join("home")).unwrap();
        write_script(&nix.folder.join("hook"), &nix.hook());
        let said = nix.run("nix", &["--version"]).ok();
        assert!(said.contains(&format!("(Nix) {}.", version.nix)), "expected Nix {}, found {said}", version.nix);
        let nix = Arc::new(nix);
        open[place] = Arc::downgrade(&nix);
        nix
    }

    /// Nix starts its build hook by a name that must be a program, by default /proc/self/exe, which is the loader
    /// here. 2.8 knows it by its name, later versions by their first argument.
    fn hook(&self) -> String {
        let (name, argument) = if self.is_old() { ("build-remote", "") } else { ("nix", " __build-remote") };
        let start = [self.loader(), "--library-path".into(), self.libraries(), "--argv0".into(), name.into()];
        format!("#!/bin/sh\nexec {} {}{argument} \"$@\"\n", start.join(" "), self.program())
    }

    pub(crate) fn is_old(&self) -> bool {
        self.version.nix == OLD.nix
    }

    fn libraries(&self) -> String {
        self.usr.join(format!("lib/{}-linux-gnu", std::env::consts::ARCH)).display().to_string()
    }

    fn loader(&self) -> String {
        let name = if cfg!(target_arch = "x86_64") { "ld-linux-x86-64.so.2" } else { "ld-linux-aarch64.so.1" };
        format!("{}/{name}", self.libraries())
    }

    fn program(&self) -> String {
        self.usr.join("bin/nix").display().to_string()
    }

    /// `tool`, such as `nix-build`, ready to be given arguments.
    pub(crate) fn command(&self, tool: &str) -> Command {
        let mut command = Command::new(self.loader());
        command.args(["--library-path", &self.libraries(), "--argv0", tool, &self.program()]);
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if (name.starts_with("NIX_") && name != "NIX_SSL_CERT_FILE") || name.starts_with("XDG_") {
                command.env_remove(&*name);
            }
        }
        let hook = self.folder.join("hook");
        let config = format!(
            "build-hook = {}\nstore = {}\nsubstituters =\nbuild-users-group =\nsandbox = true\n\
             sandbox-fallback = false\nsandbox-paths =\nexperimental-features = nix-command flakes\n\
             flake-registry =\nmax-jobs = 2\nconnect-timeout = 20\n",
            hook.display(),
            self.folder.join("store").display()
        );
        command
            .env("NIX_CONFIG", config)
            .env("NIX_CONF_DIR", "/nonexistent")
            .env("NIX_USER_CONF_FILES", "/dev/null")
            .env("HOME", self.folder.join("home"))
            .env("TMPDIR", std::env::temp_dir());
        if std::env::var_os("AKB_DEBIAN_MIRROR").is_none()
            && let Some(archive) = address::hosts_archive(Path::new("/"))
        {
            command.env("AKB_DEBIAN_MIRROR", archive);
        }
        command
    }

    pub(crate) fn run(&self, tool: &str, arguments: &[&str]) -> Outcome {
        Outcome::of(&self.command(tool).args(arguments).output().unwrap())
    }

    /// Builds what a Nix expression gives.
    pub(crate) fn build(&self, expression: &str) -> Outcome {
        self.build_with(expression, &[])
    }

    pub(crate) fn build_with(&self, expression: &str, arguments: &[&str]) -> Outcome {
        let arguments = [&["--no-out-link", "-E", expression], arguments].concat();
        self.run("nix-build", &arguments)
    }

    /// The store paths of a build that has to succeed.
    pub(crate) fn built(&self, expression: &str) -> Vec<String> {
        self.build(expression).ok().lines().map(str::to_owned).collect()
    }

    /// Builds again and compares.
    pub(crate) fn check(&self, expression: &str) -> Outcome {
        self.build_with(expression, &["--check"])
    }

    /// What a Nix expression gives; derivations are their output's path.
    pub(crate) fn eval(&self, expression: &str) -> serde_json::Value {
        let arguments = ["--eval", "--strict", "--json", "--read-write-mode", "-E", expression];
        serde_json::from_str(&self.run("nix-instantiate", &arguments).ok()).unwrap()
    }

    /// How the evaluation of an expression fails.
    pub(crate) fn eval_fails(&self, expression: &str) -> String {
        let outcome = self.run("nix-instantiate", &["--eval", "--strict", "--json", "-E", expression]);
        assert_ne!(outcome.code, Some(0), "{expression} gives {}", outcome.out);
        outcome.log
    }

    /// Where a store path lies on this machine.
    pub(crate) fn path(&self, store_path: &str) -> PathBuf {
        self.folder.join("store").join(store_path.trim().trim_start_matches('/'))
    }

    /// `nix-store --query WHAT PATH`, sorted.
    pub(crate) fn query(&self, what: &str, store_path: &str) -> Vec<String> {
        let said = self.run("nix-store", &["--query", what, store_path]).ok();
        let mut paths: Vec<_> = said.lines().map(str::to_owned).collect();
        paths.sort();
        paths
    }
}

impl Drop for Nix {
    fn drop(&mut self) {
        clear(&self.folder);
    }
}

impl Outcome {
    pub(crate) fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), out: text(&output.stdout), log: plain(&text(&output.stderr)) }
    }

    /// Standard output of what has to succeed.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{}\n{}", self.out, self.log);
        self.out
    }

    /// The log of what has to end with `code`.
    #[track_caller]
    pub(crate) fn fails(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{}\n{}", self.out, self.log);
        self.log
    }
}

/// Where unpacked suites and stores lie.
pub(crate) fn base() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("nix");
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// The `usr` folder of the suite's Nix. A second run asks nothing of the network.
fn install(version: &Version) -> PathBuf {
    let note = base().join(version.suite);
    let known = fs::read_to_string(&note).map(PathBuf::from).ok();
    if let Some(usr) = known.filter(|usr| usr.join("bin/nix").exists()) {
        return usr;
    }
    let cache = base().join("cache");
    let output = Command::new(env!("CARGO_BIN_EXE_akb"))
        .args(["inputs", "--unpack", "--suite", version.suite, "--python", version.python, "--cache"])
        .arg(&cache)
        .args(["--", "nix-bin", "-perl"])
        .output()
        .unwrap();
    let outcome = Outcome::of(&output);
    assert_eq!(outcome.code, Some(0), "no Nix {} to test with: akb inputs says\n{}", version.nix, outcome.log);
    let usr = outcome.out.lines().rev().find(|line| line.ends_with("/usr")).unwrap();
    let new = tempfile::NamedTempFile::new_in(base()).unwrap();
    fs::write(new.path(), usr).unwrap();
    new.persist(&note).unwrap();
    PathBuf::from(usr)
}

fn write_script(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Removes a folder with a store, whose folders are read-only.
fn clear(folder: &Path) {
    let _ = Command::new("chmod").args(["-R", "u+w"]).arg(folder).output();
    let _ = fs::remove_dir_all(folder);
}

/// `text` without escape sequences.
fn plain(text: &str) -> String {
    let mut parts = text.split('\u{1b}');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out += part.split_once(|c: char| c.is_ascii_alphabetic()).map_or("", |(_, rest)| rest);
    }
    out
}
