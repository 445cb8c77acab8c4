//! What a command may look at: settings, environment, and the way to speak to the person.
//!
//! The environment, the clock and the machine's size are read here and nowhere else.

use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use akb::nix::Attributes;
use akb::report::Reporter;
use akb::request::Settings;

use crate::failure::Failure;
use crate::render::Renderer;

/// Options that every command takes.
#[derive(clap::Args, Debug, Clone)]
pub(crate) struct Globals {
    /// How many downloads, compilers and writers run at once [default: the number of CPUs]
    #[arg(short, long, global = true, value_name = "N", help_heading = "Global options")]
    jobs: Option<NonZeroUsize>,
    /// Folder for downloads, built wheels and input trees [default: $XDG_CACHE_HOME/akb or ~/.cache/akb]
    #[arg(long, global = true, value_name = "DIR", env = "AKB_CACHE", help_heading = "Global options")]
    cache: Option<PathBuf>,
    /// Use no network: everything must be in the cache
    #[arg(long, global = true, help_heading = "Global options")]
    offline: bool,
    /// Say only what went wrong
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Global options")]
    quiet: bool,
    /// Say more; twice for every line that compilers print
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Global options")]
    verbose: u8,
    /// Write events to standard error as JSON, one object a line
    #[arg(long, global = true, help_heading = "Global options")]
    json: bool,
}

/// What a command may look at.
pub(crate) struct Context {
    /// Knobs that never change what is made.
    pub(crate) settings: Settings,
    /// Whether events and results are wanted as JSON.
    pub(crate) json: bool,
    /// Whether only failures are to be shown.
    pub(crate) quiet: bool,
    renderer: Renderer,
}

impl Context {
    pub(crate) fn new(globals: &Globals) -> Result<Self, Failure> {
        let cache = match &globals.cache {
            Some(folder) => folder.clone(),
            None => default_cache()?,
        };
        Ok(Self {
            settings: Settings {
                jobs: globals.jobs.unwrap_or_else(cpus),
                memory: available_memory(),
                cache: absolute(&cache)?,
                offline: globals.offline,
            },
            json: globals.json,
            quiet: globals.quiet,
            renderer: Renderer::new(
                globals.json,
                globals.quiet,
                globals.verbose,
                // A derivation's builder sees a pseudo-terminal, which is Nix's log.
                env("NIX_BUILD_TOP").is_some(),
            ),
        })
    }

    /// For a derivation: everything below its build folder, as many jobs as Nix grants.
    pub(crate) fn for_nix(attributes: &Attributes<'_>, offline: bool) -> Self {
        let settings = Settings {
            jobs: attributes.cores(cpus()),
            memory: available_memory(),
            cache: attributes.top.join("akb-cache"),
            offline,
        };
        let protocol = env("NIX_LOG_FD").is_some();
        Self { settings, json: false, quiet: false, renderer: Renderer::nix(protocol) }
    }

    /// Where progress goes.
    pub(crate) fn reporter(&self) -> &dyn Reporter {
        &self.renderer
    }

    /// A variable of the environment; empty counts as absent.
    #[expect(clippy::unused_self, reason = "the environment is a part of the context")]
    pub(crate) fn env(&self, name: &str) -> Option<String> {
        env(name)
    }

    /// A variable of the environment as it is; empty is a value too.
    #[expect(clippy::unused_self, reason = "the environment is a part of the context")]
    #[expect(clippy::disallowed_methods, reason = "a room that reads the environment")]
    pub(crate) fn env_bytes(&self, name: &OsStr) -> Option<OsString> {
        std::env::var_os(name)
    }

    /// The user's home folder.
    pub(crate) fn home(&self) -> Option<PathBuf> {
        self.env("HOME").map(PathBuf::from)
    }

    /// The clock, for what has a date by nature: the validity of an archive's index.
    #[expect(clippy::unused_self, reason = "the clock is a part of the context")]
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    pub(crate) fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    /// Writes a result to standard output. A closed pipe is no error: `akb plan | head` is a fair use.
    pub(crate) fn print(&self, text: &str) {
        self.print_bytes(text.as_bytes());
    }

    /// The same for what may be no UTF-8: a diff of such files.
    pub(crate) fn print_bytes(&self, bytes: &[u8]) {
        self.renderer.suspend(|| {
            let mut out = std::io::stdout().lock();
            let _ = out.write_all(bytes).and_then(|()| out.flush());
        });
    }

    /// Shows a failure.
    pub(crate) fn fail(&self, failure: &Failure) {
        self.renderer.fail(failure);
    }
}

/// `path` from the root of the file system.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| Failure::io("find", path, &error))
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub(crate) fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn default_cache() -> Result<PathBuf, Failure> {
    if let Some(folder) = env("XDG_CACHE_HOME") {
        return Ok(PathBuf::from(folder).join("akb"));
    }
    let home = env("HOME").ok_or_else(|| {
        Failure::usage("no folder for the cache: neither HOME nor XDG_CACHE_HOME is set", "name one with --cache DIR")
    })?;
    Ok(PathBuf::from(home).join(".cache/akb"))
}

#[expect(clippy::disallowed_methods, reason = "the one place that counts CPUs")]
fn cpus() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// Memory in bytes that is free now, or what the cgroup leaves of it.
fn available_memory() -> u64 {
    const FALLBACK: u64 = 2 << 30;
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let free = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        number(line.trim_end_matches("kB")).map(|kib| kib * 1024)
    });
    let read = |name: &str| std::fs::read_to_string(Path::new("/sys/fs/cgroup").join(name)).ok();
    let limit = read("memory.max").and_then(|text| number(&text));
    let used = read("memory.current").and_then(|text| number(&text)).unwrap_or(0);
    let left = limit.map(|limit| limit.saturating_sub(used));
    free.into_iter().chain(left).min().unwrap_or(FALLBACK)
}
