//! What can go wrong with inputs from Debian.

use std::io;
use std::path::PathBuf;

use super::Pin;
use super::address::NotAnArchive;
use super::closure::ClosureError;
use super::index::BadIndex;
use super::release::BadRelease;
use super::signed::SignatureError;
use crate::cache::CacheError;
use crate::explain::{ExitCode, Explain};
use crate::net::NetError;
use crate::request::PythonVersion;
use crate::tree::TreeError;
use crate::unpack::UnpackError;

/// Inputs from Debian could not be resolved or made.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum DebianError {
    #[error(transparent)]
    Address(#[from] NotAnArchive),
    #[error("`{0}` is no name of a suite")]
    SuiteName(String),
    #[error("the archive has no suite `{suite}`: {source}")]
    NoSuite { suite: String, source: Box<NetError> },
    #[error("the index of suite `{suite}` is refused: {source}")]
    Signature { suite: String, source: SignatureError },
    #[error("the index of suite `{suite}` cannot be read: {source}")]
    Release { suite: String, source: BadRelease },
    #[error("asked for suite `{asked}`, the archive gave the index of `{suite}` (`{codename}`)")]
    OtherSuite { asked: String, suite: String, codename: String },
    #[error("the index of suite `{suite}` expired {}", ago(*.days))]
    Expired { suite: String, days: u64 },
    #[error("suite `{suite}` has no packages for {architecture}")]
    NoArchitecture { suite: String, architecture: String },
    #[error("no package python{} in {}", .python.short(), .suites.join(", "))]
    NoPython { python: PythonVersion, suites: Vec<String> },
    #[error("the packages of suite `{suite}` cannot be read: {problem}")]
    Index { suite: String, problem: String },
    #[error("suite `{suite}`: {source}")]
    Closure { suite: String, source: Box<ClosureError> },
    #[error(transparent)]
    Net(#[from] NetError),
    #[error("the archive no longer has {}", names(.pins))]
    Gone { pins: Vec<Pin> },
    #[error("offline, and the cache lacks {}", .missing.join(", "))]
    Offline { missing: Vec<String> },
    #[error("package {package}: {source}")]
    Unpack { package: String, source: Box<UnpackError> },
    #[error("{file} is {found}, the pin says {expected}")]
    OtherPackage { file: String, expected: String, found: String },
    #[error("package {package}: `{file}` is no path in an archive's pool")]
    Path { package: String, file: String },
    #[error("the pinned packages have no {missing}")]
    Incomplete { missing: String },
    #[error("version `{version}` of {package} cannot be read")]
    Version { package: String, version: String },
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error(transparent)]
    Tree(#[from] TreeError),
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

impl DebianError {
    pub(super) fn index(suite: &str, source: &BadIndex) -> Self {
        Self::Index { suite: suite.to_owned(), problem: source.to_string() }
    }
}

fn ago(days: u64) -> String {
    match days {
        0 => "today".to_owned(),
        1 => "yesterday".to_owned(),
        _ => format!("{days} days ago"),
    }
}

fn names(pins: &[Pin]) -> String {
    const SHOWN: usize = 3;
    let mut names: Vec<_> = pins.iter().take(SHOWN).map(|pin| format!("{} {}", pin.package, pin.version)).collect();
    if pins.len() > SHOWN {
        names.push(format!("{} more", pins.len() - SHOWN));
    }
    names.join(", ")
}

impl Explain for DebianError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Address(_) => Some("name it with --debian-mirror https://HOST/debian, or AKB_DEBIAN_MIRROR".into()),
            Self::SuiteName(_) | Self::NoSuite { .. } | Self::OtherSuite { .. } => {
                Some("name a suite of the archive in akb.toml: [inputs] suite = \"testing\"".into())
            }
            Self::Signature { source: SignatureError::Untrusted { .. }, .. } => Some(
                "if this archive signs with keys of its own, name them: --keyring FILE; else use another mirror: --debian-mirror URL"
                    .into(),
            ),
            Self::Signature { .. } | Self::Release { .. } | Self::Index { .. } => {
                Some("the mirror, or something on the way to it, changes its files: use another one, --debian-mirror URL".into())
            }
            Self::Expired { .. } => Some(
                "use a mirror that is up to date (--debian-mirror URL) and check this machine's clock; without --locked this is a warning"
                    .into(),
            ),
            Self::NoArchitecture { .. } => Some("use a mirror that carries this architecture: --debian-mirror URL".into()),
            Self::NoPython { .. } => Some(
                "ask for another Python with --python, or name a suite that has it in akb.toml: [inputs] suite = \"…\"".into(),
            ),
            Self::Closure { source, .. } => closure_hint(source),
            Self::Gone { .. } => Some(
                "refresh the pins with `akb lock`; without --locked, `akb build` does so itself".into(),
            ),
            Self::Offline { .. } => Some("run the same once without --offline".into()),
            Self::OtherPackage { .. } | Self::Path { .. } | Self::Version { .. } => {
                Some("refresh the pins with `akb lock`".into())
            }
            Self::Incomplete { missing } => {
                Some(format!("add {missing} to [inputs] packages in akb.toml, then run `akb lock`"))
            }
            // The client's own hints name options of Python's indexes.
            Self::Net(error) if error.is_integrity() => Some(
                "do not use this file; fetch from another mirror: --debian-mirror URL; nothing of it was kept".into(),
            ),
            Self::Net(NetError::Connect { .. } | NetError::Timeout { .. }) => Some(
                "check the network, or name a mirror with --debian-mirror URL or AKB_DEBIAN_MIRROR; finished and partial downloads are kept, so run the same again".into(),
            ),
            Self::Net(error) => error.hint(),
            Self::Unpack { source, .. } => source.hint(),
            Self::Cache(error) => error.hint(),
            Self::Tree(error) => error.hint(),
            Self::Write { .. } => Some("free some space, or put the cache elsewhere with --cache DIR".into()),
        }
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Address(_)
            | Self::SuiteName(_)
            | Self::NoPython { .. }
            | Self::Incomplete { .. }
            | Self::Closure { .. } => ExitCode::Usage,
            Self::Signature { .. }
            | Self::Release { .. }
            | Self::OtherSuite { .. }
            | Self::Expired { .. }
            | Self::Index { .. }
            | Self::OtherPackage { .. }
            | Self::Path { .. }
            | Self::Version { .. } => ExitCode::Integrity,
            Self::NoSuite { .. } | Self::NoArchitecture { .. } | Self::Gone { .. } | Self::Offline { .. } => {
                ExitCode::Network
            }
            Self::Net(error) => error.exit_code(),
            Self::Unpack { source, .. } => source.exit_code(),
            Self::Cache(error) => error.exit_code(),
            Self::Tree(error) => error.exit_code(),
            Self::Write { .. } => ExitCode::Machine,
        }
    }
}

fn closure_hint(error: &ClosureError) -> Option<String> {
    match error {
        ClosureError::Unknown { similar, .. } if !similar.is_empty() => {
            Some(format!("did you mean {}? ([inputs] packages in akb.toml)", similar.join(" or ")))
        }
        ClosureError::Unknown { name, .. } | ClosureError::Unmet { relation: name, .. } => Some(format!(
            "the suite may be in transition: try again later, name another suite, or leave {name} out in akb.toml"
        )),
        ClosureError::Conflict { left, right, .. } => {
            Some(format!("keep only one of {left} and {right} in [inputs] packages in akb.toml"))
        }
        ClosureError::Wish(_) => Some("write a package's name, such as \"libxml2-dev\", in [inputs] packages".into()),
        ClosureError::Relation { .. } | ClosureError::Index(_) => None,
    }
}
