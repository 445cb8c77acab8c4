//! Source distributions become wheels: PEP 517 hooks, called by the embedded `python-shim`, in a [`crate::sandbox`].
//!
//! A build sees the inputs, its own sources, its locked build requirements and nothing else, at the same paths on every
//! machine:
//!
//! | in the sandbox | what |
//! |---|---|
//! | `/akb/build/NAME-VERSION` | a copy of the sources, all times the same; the working folder |
//! | `/akb/build/env` | a virtual environment of the build requirements, read-only |
//! | `/akb/build/shim` | `python-shim` and the configuration of setuptools, read-only |
//! | `/akb/build/out` | the wheel, and the shim's answer |
//!
//! What is built is kept in the cache under a key of all that it may depend on (`key`).

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::cache::Cache;
use crate::digest::Sha256;
use crate::inputs::Inputs;
use crate::report::Reporter;
use crate::request::Settings;

mod backend;
mod build;
mod cause;
mod environment;
mod error;
mod flags;
mod key;
mod progress;
mod project;
mod schedule;
mod source;

pub use cause::Cause;
pub use error::{Failed, WheelError};
pub use key::rules;
pub use project::{BuildSystem, build_system, id_of};
pub use source::{NOT_SOURCES, identity};

/// The parent of all that a build sees of its own, in the sandbox. No result may name it.
pub const BUILD_ROOT: &str = "/akb/build";

/// A package at a version, as locks name it; the version is absent where only a build tells it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Id {
    /// Normalised name.
    pub name: String,
    /// Version, as the lock spells it.
    pub version: Option<String>,
}

/// One source distribution, or other source tree, that becomes a wheel.
#[derive(Clone, Debug)]
pub struct Job {
    /// What it is; the wheel must say the same.
    pub id: Id,
    /// The folder with its `pyproject.toml` or `setup.py`, on this machine. It is copied, never written.
    pub source: PathBuf,
    /// Folder inside `source` that holds the project, where it is not `source` itself.
    pub subdirectory: Option<String>,
    /// Names of files and folders in `source` that are not sources, and that `identity` does not cover.
    pub without: &'static [&'static str],
    /// Hash of what `source` was unpacked from, or of the tree itself (NAR).
    pub identity: Sha256,
    /// Its build environment, whole (requirements of requirements too).
    pub requires: Vec<Requirement>,
    /// What the recipe adds.
    pub native: Native,
}

/// One member of a build environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// A verified wheel on this machine.
    Wheel {
        /// Its name as a wheel, whatever the name of the file on this machine.
        file: String,
        /// Where it is.
        path: PathBuf,
        /// Its hash.
        sha256: Sha256,
    },
    /// What another job of the same build makes.
    Built(Id),
}

/// What a recipe adds to a build.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Native {
    /// C and C++ compiler flags, after the interpreter's own.
    pub cflags: Vec<String>,
    /// Preprocessor flags.
    pub cppflags: Vec<String>,
    /// Linker flags, after the interpreter's own.
    pub ldflags: Vec<String>,
    /// Variables of its environment. They win over akb's.
    pub env: BTreeMap<String, String>,
    /// Config settings of PEP 517; a name that was said several times has several values.
    pub config_settings: BTreeMap<String, Vec<String>>,
}

/// A wheel that was built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// In the cache.
    pub wheel: PathBuf,
    /// Its file name.
    pub file: String,
    /// Its hash, taken anew from the file.
    pub sha256: Sha256,
    /// Whether it was in the cache already.
    pub cached: bool,
    /// CPU time that its build took, when it was built.
    pub cpu: Duration,
    /// Memory in bytes of its largest process, when it was built.
    pub peak_memory: u64,
}

/// Where builds happen.
#[derive(Clone, Copy)]
pub struct Workshop<'a> {
    /// Interpreter, compilers, libraries.
    pub inputs: &'a Inputs,
    /// Job count and memory.
    pub settings: &'a Settings,
    /// Where results are kept, and all that is temporary.
    pub cache: &'a Cache,
    /// Told what happens.
    pub reporter: &'a dyn Reporter,
}

/// Builds all jobs, or takes them from the cache: the most expensive first, a job after those that it requires.
///
/// What is built does not depend on how many run at once. After a failure nothing new is started, what runs may end (and
/// is then in the cache), and of several failures the first by name is the one that is returned. `there` has wheels
/// that jobs may require and that were built before; they are in the answer too.
pub fn build_all(
    jobs: &[Job],
    there: BTreeMap<Id, Built>,
    workshop: Workshop<'_>,
) -> Result<BTreeMap<Id, Built>, WheelError> {
    schedule::build_all(jobs, there, workshop)
}

/// What the backend wants beyond the static requirements, in [`Job::requires`], to build a wheel
/// (`get_requires_for_build_wheel`), as PEP 508 texts in its order. The answer is kept in the cache.
pub fn requires(job: &Job, built: &BTreeMap<Id, Built>, workshop: Workshop<'_>) -> Result<Vec<String>, WheelError> {
    build::requires(job, built, workshop)
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        self.version.as_ref().map_or(Ok(()), |version| write!(f, " {version}"))
    }
}

impl Id {
    /// The name of its folder in the sandbox. Names are normalised and versions PEP 440, or [`WheelError::Name`].
    fn folder(&self) -> Result<String, WheelError> {
        let folder = match &self.version {
            Some(version) => format!("{}-{version}", self.name),
            None => self.name.clone(),
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.+!".contains(c);
        let reserved = ["env", "shim", "out"].contains(&folder.as_str());
        if folder.is_empty() || folder.starts_with('.') || !folder.chars().all(plain) {
            return Err(WheelError::Name { found: folder });
        }
        Ok(if reserved { format!("{folder}-source") } else { folder })
    }
}

#[cfg(test)]
mod tests;
