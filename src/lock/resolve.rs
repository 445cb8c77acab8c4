//! Which packages build a package: a resolver for build requirements.
//!
//! `uv.lock` does not lock what a source distribution needs to be built. Each one gets a resolution of its own,
//! as its build environment is its own; the project's own locked versions are preferred, so that a package that
//! links against another at build time (xmlsec against lxml's libxml2) meets the one that is installed.
//!
//! The world is behind [`Source`]; the same world gives the same answer.

use std::collections::BTreeMap;
use std::fmt;

use pep440_rs::Version;
use pep508_rs::MarkerEnvironment;

use crate::digest::Sha256;
use crate::explain::{ExitCode, Explain};
use crate::lock::markers;
use crate::lock::tags::Tags;
use crate::plan::FileId;
use crate::request::Target;

mod candidates;
mod conflict;
mod provider;
pub(crate) mod requirement;
#[cfg(test)]
pub(crate) mod tests;

pub use requirement::NotARequirement;

/// What the resolver asks of the world. Answers for one name must not change during a resolution.
pub trait Source {
    /// All files that the index offers for a project (normalised name); empty where it does not know it.
    ///
    /// # Errors
    /// Whatever keeps the index from answering.
    fn offers(&self, name: &str) -> Result<Vec<Offer>, Failed>;

    /// The requirements (`Requires-Dist`) of a file or of one of the project's own packages.
    ///
    /// # Errors
    /// [`Failed`] where nobody answers; an answer that cannot be used is [`Requires::Unusable`].
    fn requires(&self, name: &str, choice: &Choice) -> Result<Requires, Failed>;
}

/// A file that an index offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// File name.
    pub file: String,
    /// Its hash; a file without one cannot be locked.
    pub sha256: Option<Sha256>,
    /// Bytes.
    pub size: Option<u64>,
    /// `Requires-Python`.
    pub requires_python: Option<String>,
    /// Withdrawn by its authors (PEP 592).
    pub yanked: bool,
    /// When it was uploaded (RFC 3339), where the index says so (PEP 700).
    pub uploaded: Option<String>,
}

/// The requirements of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requires {
    /// As its metadata have them (PEP 508).
    Known(Vec<String>),
    /// Its metadata cannot be used, for this reason: the next version is tried.
    Unusable(String),
}

/// What keeps a source from answering.
pub type Failed = Box<dyn Explain + Send + Sync>;

/// One of the project's own packages: chosen before any other version of its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    /// As the lock spells it; `None` where it is dynamic.
    pub version: Option<String>,
    /// Whether other versions may come from an index. Not for packages that come from git or this machine:
    /// the index's package of the same name may be a stranger.
    pub from_index: bool,
}

/// What every resolution of a lock shares.
pub struct World<'a> {
    /// Where files come from.
    pub source: &'a dyn Source,
    /// Interpreter and platform that build.
    pub target: &'a Target,
    /// The project's own packages by normalised name.
    pub own: &'a BTreeMap<String, Own>,
    /// Versions that the project's lock has of packages that it does not install here: preferred too.
    pub preferred: &'a BTreeMap<String, String>,
    /// Files that were uploaded later count as absent (RFC 3339).
    pub exclude_newer: Option<&'a str>,
}

/// What was chosen for a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The project's own package of this version.
    Own(String),
    /// A file of the index.
    File(FileId),
}

/// A package of a build environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Its version.
    pub version: Version,
    /// What it is.
    pub choice: Choice,
}

/// A build environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolution {
    /// By normalised name.
    pub packages: BTreeMap<String, Chosen>,
    /// What a person should know, such as a locked version that does not fit.
    pub notes: Vec<String>,
}

/// Requirements that cannot be met.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// A text that is no requirement.
    #[error("build requirement of {package}: {error}")]
    Requirement {
        /// What is built.
        package: String,
        /// What is wrong.
        error: NotARequirement,
    },
    /// A requirement that names an address.
    #[error("{package} requires `{requirement}` to be built: an address cannot be locked by name")]
    Address {
        /// What is built.
        package: String,
        /// The requirement.
        requirement: String,
    },
    /// No choice of versions fits.
    #[error("no set of packages can build {package}: {explanation}")]
    Conflict {
        /// What is built.
        package: String,
        /// Why, in sentences.
        explanation: String,
    },
    /// One of the project's own packages, of which nobody knows the version, is required.
    #[error("{package} requires {name} to be built, a package of this project whose version only its build tells")]
    DynamicOwn {
        /// What is built.
        package: String,
        /// The project's package.
        name: String,
    },
    /// The search took more steps than any real one.
    #[error("gave up finding packages that build {package} after {steps} steps")]
    TooHard {
        /// What is built.
        package: String,
        /// How many.
        steps: u32,
    },
    /// The index did not answer.
    #[error("{0}")]
    Source(Failed),
}

impl Explain for ResolveError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Requirement { package, .. } => {
                Some(format!("replace it: [package.{package}] version = \"…\", or path = \"…\" with a mended copy"))
            }
            Self::Address { package, requirement } => {
                let name = requirement.split(|c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c)).next()?;
                Some(format!("lock it in the project (`uv add --dev {name}`), or replace {package} in akb.toml"))
            }
            Self::Conflict { package, .. } | Self::TooHard { package, .. } => Some(format!(
                "narrow the choice: [package.{package}] build-requires = [\"…==…\"], or another version of it"
            )),
            Self::DynamicOwn { name, .. } => Some(format!("give {name} a static version in its pyproject.toml")),
            Self::Source(failed) => failed.hint(),
        }
    }

    fn output(&self) -> Option<&str> {
        match self {
            Self::Source(failed) => failed.output(),
            _ => None,
        }
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Source(failed) => failed.exit_code(),
            _ => ExitCode::Failed,
        }
    }
}

/// Finds the packages that `requirements` (PEP 508) need, all that they need included. `package` is what they
/// build, for messages.
///
/// The newest versions that fit are chosen: final releases before pre-releases, the project's own and preferred
/// versions before all; of one version the wheel that fits best, else the source distribution. Yanked files count
/// only where a requirement says exactly their version.
///
/// # Errors
/// Requirements that exclude each other, with the reason in sentences, and failures of the source.
pub fn resolve(world: &World<'_>, package: &str, requirements: &[String]) -> Result<Resolution, ResolveError> {
    provider::solve(world, package, requirements)
}

/// The best of `offers` for exactly `version` of `name`, yanked or not, and the versions that there are for the
/// target, newest first (at most ten).
pub(crate) fn choose(
    world: &World<'_>,
    name: &str,
    version: &str,
    offers: Vec<Offer>,
) -> (Option<FileId>, Vec<String>) {
    let found = candidates::candidates(&Setting::new(world, name), name, offers, None);
    let offered = found.versions.keys().rev().take(10).map(ToString::to_string).collect();
    let wanted = version.parse::<Version>().ok();
    let choice = wanted.and_then(|version| found.versions.get(&version).map(|candidate| candidate.choice.clone()));
    let file = match choice {
        Some(Choice::File(file)) => Some(file),
        Some(Choice::Own(_)) | None => None,
    };
    (file, offered)
}

/// What does not change during a resolution.
struct Setting<'a> {
    world: &'a World<'a>,
    package: &'a str,
    environment: MarkerEnvironment,
    tags: Tags,
    python: Version,
}

impl<'a> Setting<'a> {
    fn new(world: &'a World<'a>, package: &'a str) -> Self {
        let python = world.target.python;
        let parts = [Some(python.major), Some(python.minor), python.patch];
        Self {
            world,
            package,
            environment: markers::environment(world.target),
            tags: Tags::of(world.target),
            python: Version::new(parts.into_iter().flatten().map(u64::from)),
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(version) => write!(f, "the project's own {version}"),
            Self::File(file) => f.write_str(&file.name),
        }
    }
}
