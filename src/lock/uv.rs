//! The lock of uv: `uv.lock`, version 1.
//!
//! uv promises that later revisions of version 1 stay readable, so keys that are not known here are passed
//! over. What the plan needs is checked; what only uv needs to renew the lock is not read.

use std::collections::{BTreeMap, BTreeSet};

use pep440_rs::VersionSpecifiers;

use crate::explain::{ExitCode, Explain};
use crate::lock::markers::Marker;
use crate::lock::names::WheelName;

mod convert;
mod source;
mod wire;

pub use source::{GitSource, Place, Source};

/// Longest lock that is read, in bytes. Locks with a thousand packages have about two million.
const LONGEST: usize = 64 << 20;

/// The version of the format that is understood.
const VERSION: u64 = 1;

/// A lock of uv with every reference between its packages resolved.
#[derive(Clone, Debug)]
pub struct UvLock {
    /// Pythons that the lock was made for.
    pub requires_python: VersionSpecifiers,
    /// Environments that the lock was limited to (`tool.uv.environments`); empty: no limit.
    pub supported: Vec<Marker>,
    /// Sets of which at most one item may be active (`tool.uv.conflicts`).
    pub conflicts: Vec<Vec<ConflictItem>>,
    /// Names of the workspace's members. One, where the project is no workspace; none for a script.
    pub members: BTreeSet<String>,
    /// Requirements of no member, such as those of a script (PEP 723).
    pub requirements: Vec<Requirement>,
    /// Dependency groups of a workspace root that is no project.
    pub groups: BTreeMap<String, Vec<Requirement>>,
    /// Packages, in the lock's order.
    pub packages: Vec<LockedPackage>,
}

/// One package of a lock.
#[derive(Clone, Debug)]
pub struct LockedPackage {
    /// Normalised name.
    pub name: String,
    /// Version as the lock spells it; `None` where it is dynamic.
    pub version: Option<String>,
    /// Where it comes from.
    pub source: Source,
    /// The forks of the resolution that it belongs to; empty: all.
    pub forks: Vec<Marker>,
    /// What it needs.
    pub dependencies: Vec<Dependency>,
    /// What its extras need besides, by normalised name.
    pub extras: BTreeMap<String, Vec<Dependency>>,
    /// Its dependency groups (PEP 735), by normalised name.
    pub groups: BTreeMap<String, Vec<Dependency>>,
    /// Its source distribution.
    pub sdist: Option<LockedFile>,
    /// Its wheels.
    pub wheels: Vec<(WheelName, LockedFile)>,
}

/// A reference from one package to another.
#[derive(Clone, Debug)]
pub struct Dependency {
    /// Index in [`UvLock::packages`].
    pub package: usize,
    /// Normalised names of the extras that are asked for.
    pub extras: BTreeSet<String>,
    /// When it holds; `None`: always.
    pub marker: Option<Marker>,
}

/// A requirement that belongs to no package of the lock.
#[derive(Clone, Debug)]
pub struct Requirement {
    /// Normalised name.
    pub name: String,
    /// Normalised names of the extras that are asked for.
    pub extras: BTreeSet<String>,
    /// When it holds; `None`: always.
    pub marker: Option<Marker>,
}

/// A file of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockedFile {
    /// File name, no folder.
    pub name: String,
    /// Where it is.
    pub place: Place,
    /// Hash with its algorithm, such as `sha256:…`; locks may use others for files that are never chosen.
    pub hash: Option<String>,
    /// Bytes.
    pub size: Option<u64>,
}

/// Something that cannot be active together with its peers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConflictItem {
    /// Normalised name of the package.
    pub package: String,
    /// What of it.
    pub part: Part,
}

/// A part of a package that can be switched on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Its dependencies themselves.
    Project,
    /// An extra.
    Extra(String),
    /// A dependency group.
    Group(String),
}

/// A lock that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UvLockError {
    /// It is no TOML, or a value has the wrong type.
    #[error("`{path}` is not a lock of uv: {reason}")]
    Syntax {
        /// The lock.
        path: String,
        /// Where and what.
        reason: String,
    },
    /// A version of the format that does not exist yet.
    #[error("`{path}` has version {found} of the format, expected {VERSION}")]
    Version {
        /// The lock.
        path: String,
        /// Its version.
        found: u64,
    },
    /// A value that makes no sense.
    #[error("`{path}`: {place}: {reason}")]
    Value {
        /// The lock.
        path: String,
        /// The package or table.
        place: String,
        /// What is expected and found.
        reason: String,
    },
}

impl Explain for UvLockError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Version { .. } => "a newer akb may read it; or make the lock with an older uv".into(),
            Self::Syntax { .. } | Self::Value { .. } => "make the lock anew with `uv lock`".into(),
        })
    }

    fn exit_code(&self) -> ExitCode {
        ExitCode::Usage
    }
}

impl UvLock {
    /// Reads a lock; `path` is only for messages.
    pub fn parse(text: &str, path: &str) -> Result<Self, UvLockError> {
        let syntax = |reason: String| UvLockError::Syntax { path: path.into(), reason };
        if text.len() > LONGEST {
            return Err(syntax(format!("it is longer than {LONGEST} bytes")));
        }
        // The version first: a later one may have other types.
        let head: wire::Head = toml::from_str(text).map_err(|error| syntax(error.to_string()))?;
        if head.version != VERSION {
            return Err(UvLockError::Version { path: path.into(), found: head.version });
        }
        let lock: wire::Lock = toml::from_str(text).map_err(|error| syntax(error.to_string()))?;
        let value = |(place, reason)| UvLockError::Value { path: path.into(), place, reason };
        convert::lock(lock).map_err(value)
    }

    /// All packages of a name: several where the resolution forked.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a LockedPackage> {
        self.packages.iter().filter(move |package| package.name == name)
    }

    /// The package whose sources are the lock's own folder.
    pub fn root(&self) -> Option<&LockedPackage> {
        self.packages
            .iter()
            .find(|package| package.source.folder().is_some_and(|folder| folder == "." || folder.is_empty()))
    }
}

impl ConflictItem {
    /// The name under which uv writes it into markers, as the value of `extra`.
    pub fn encoded(&self) -> String {
        let (length, package) = (self.package.len(), &self.package);
        match &self.part {
            Part::Project => format!("project-{length}-{package}"),
            Part::Extra(extra) => format!("extra-{length}-{package}-{extra}"),
            Part::Group(group) => format!("group-{length}-{package}-{group}"),
        }
    }
}

impl std::fmt::Display for ConflictItem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.part {
            Part::Project => write!(f, "`{}`", self.package),
            Part::Extra(extra) => write!(f, "extra `{extra}` of `{}`", self.package),
            Part::Group(group) => write!(f, "group `{group}` of `{}`", self.package),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        UvLock::parse(text, "uv.lock").unwrap_err().to_string()
    }

    fn package(rest: &str) -> String {
        format!("version = 1\nrequires-python = '>=3.9'\n[[package]]\nname = 'foo'\n{rest}")
    }

    #[test]
    fn later_versions_are_refused_later_revisions_are_not() {
        assert_eq!(error("version = 2\n[new]\n"), "`uv.lock` has version 2 of the format, expected 1");
        let later = "version = 1\nrevision = 99\nrequires-python = '>=3.9'\n[news]\nx = 1\n";
        assert!(UvLock::parse(later, "uv.lock").is_ok());
    }

    #[test]
    fn says_where_a_wrong_value_is() {
        let registry = "source = { registry = 'https://index.invalid/simple' }\n";
        for (text, part) in [
            ("version = 'x'".to_owned(), "is not a lock of uv"),
            ("version = 1".to_owned(), "missing field `requires-python`"),
            ("version = 1\nrequires-python = 'new'".to_owned(), "requires-python"),
            (package("source = {}"), "package `foo`: its source is of no known kind"),
            (package("source = { path = 'a', git = 'b' }"), "package `foo`"),
            (package(&format!("version = 'x y'\n{registry}")), "package `foo`"),
            (
                package(&format!("{registry}dependencies = [{{ name = 'bar' }}]")),
                "depends on `bar`, which the lock does not have",
            ),
            (
                package(&format!("{registry}dependencies = [{{ name = 'foo', version = '2' }}]")),
                "version or source of `foo`",
            ),
            (
                package(&format!("{registry}dependencies = [{{ name = 'foo', marker = 'x' }}]")),
                "not an environment marker",
            ),
            (package(&format!("{registry}wheels = [{{ url = 'https://files.invalid/' }}]")), "the name of a file"),
            (
                package(&format!("{registry}wheels = [{{ url = 'https://files.invalid/bar-1-py3-none-any.whl' }}]")),
                "of another package",
            ),
            (
                package(&format!(
                    "version = '2'\n{registry}wheels = [{{ url = 'https://files.invalid/foo-1-py3-none-any.whl' }}]"
                )),
                "or version",
            ),
            (
                package(&format!("{registry}wheels = [{{ url = 'https://files.invalid/foo.whl', size = -1 }}]")),
                "is not a lock of uv",
            ),
            (package(&format!("{registry}[[package]]\nname = 'Foo'\n{registry}")), "there twice"),
        ] {
            let error = error(&text);
            assert!(error.contains(part), "{part:?} in {error:?}");
        }
    }

    #[test]
    fn many_forks_are_refused_in_time() {
        let one = |version: usize| {
            format!("[[package]]\nname = 'foo'\nversion = '{version}'\nsource = {{ registry = 'a' }}\n")
        };
        let many: String = (0..2000).map(one).collect();
        assert!(error(&format!("version = 1\nrequires-python = '>=3.9'\n{many}")).contains("more than 256"));
    }

    #[test]
    fn conflicts_are_encoded_as_uv_does() {
        let item = |part| ConflictItem { package: "my-app".into(), part }.encoded();
        assert_eq!(item(Part::Extra("x".into())), "extra-6-my-app-x");
        assert_eq!(item(Part::Group("g".into())), "group-6-my-app-g");
        assert_eq!(item(Part::Project), "project-6-my-app");
    }
}
