//! Whether a sidecar lock still says what the plan says, and a plan from a sidecar lock alone.

use std::collections::BTreeMap;
use std::fmt;

use super::{Content, LocalKind, Locked, Sidecar};
use crate::digest::Sha256;
use crate::explain::{ExitCode, Explain};
use crate::plan::{FileId, Origin, Package, Plan, RemoteFile};
use crate::recipe::Pending;

/// A sidecar lock that does not fit what is to be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Drift {
    /// Made for another interpreter or platform.
    #[error(
        "akb.lock is for Python {locked_python} on {locked_platform}, this build is for Python {python} on {platform}"
    )]
    Target {
        /// Of the lock.
        locked_python: String,
        /// Of the lock.
        locked_platform: String,
        /// Of the build.
        python: String,
        /// Of the build.
        platform: String,
    },
    /// Packages differ.
    #[error("akb.lock is not up to date: {}", listing(.0))]
    Packages(
        /// At least one, sorted by name.
        Vec<Difference>,
    ),
    /// The packages are the same, but what decides their build requirements or inputs changed.
    #[error("akb.lock is not up to date: uv.lock or the recipe changed since it was made")]
    Source {
        /// Digest that the lock keeps.
        locked: Sha256,
        /// Digest of what is there now.
        found: Sha256,
    },
    /// Something that is built has no build environment in the lock.
    #[error("akb.lock has no build requirements for {name}")]
    NoBuild {
        /// Normalised name.
        name: String,
    },
    /// The lock alone does not say where its sources are.
    #[error("akb.lock alone does not say where {name} is ({kind})")]
    NoAddress {
        /// Normalised name.
        name: String,
        /// What it is.
        kind: &'static str,
    },
}

/// How one package differs between a plan and a sidecar lock.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// Normalised name.
    pub name: String,
    /// What the lock has, such as `6.0.1 (lxml-6.0.1.tar.gz)`; `None` where it lacks the package.
    pub locked: Option<String>,
    /// What the plan has; `None` where the plan lacks it.
    pub planned: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.locked, &self.planned) {
            (None, Some(planned)) => write!(f, "{} {planned} is missing", self.name),
            (Some(locked), None) => write!(f, "{} {locked} is no longer needed", self.name),
            (locked, planned) => {
                let word = |side: &Option<String>| side.clone().unwrap_or_default();
                write!(f, "{} is {} there and {} here", self.name, word(locked), word(planned))
            }
        }
    }
}

fn listing(differences: &[Difference]) -> String {
    const SHOWN: usize = 8;
    let mut lines: Vec<String> = differences.iter().take(SHOWN).map(ToString::to_string).collect();
    if let Some(more) = differences.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        lines.push(format!("and {more} more"));
    }
    lines.join("; ")
}

impl Explain for Drift {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoAddress { .. } => "build the folder that has its uv.lock: `akb build DIR`".to_owned(),
            Self::Target { python, locked_python, locked_platform, .. } => {
                format!(
                    "run `akb lock DIR --python {python}`, or build for the lock's target, {locked_python} on {locked_platform}"
                )
            }
            _ => "run `akb lock DIR`; `akb lock DIR --check` shows what would change".to_owned(),
        })
    }

    fn exit_code(&self) -> ExitCode {
        ExitCode::Usage
    }
}

impl Sidecar {
    /// Whether this lock covers `plan`, with recipe applied and complete, made from sources of digest `source`
    /// ([`super::source_digest`]).
    ///
    /// # Errors
    /// All packages that differ, in one error.
    pub fn check_against(&self, plan: &Plan, source: Option<Sha256>) -> Result<(), Drift> {
        let (ours, theirs) = (&self.target, &plan.target);
        let same_python = (ours.python.major, ours.python.minor) == (theirs.python.major, theirs.python.minor);
        if !same_python || ours.platform != theirs.platform {
            return Err(Drift::Target {
                locked_python: ours.python.to_string(),
                locked_platform: ours.platform.to_string(),
                python: theirs.python.to_string(),
                platform: theirs.platform.to_string(),
            });
        }
        let differences = self.differences(plan);
        if !differences.is_empty() {
            return Err(Drift::Packages(differences));
        }
        if let Some(found) = source.filter(|found| *found != self.source) {
            return Err(Drift::Source { locked: self.source, found });
        }
        let built = |locked: &&Locked| is_built(&locked.content) && locked.build.is_none();
        let all = self.packages.iter().chain(&self.builds);
        all.into_iter().find(built).map_or(Ok(()), |locked| Err(Drift::NoBuild { name: locked.name.clone() }))
    }

    /// The packages that differ between `plan` and this lock, sorted by name.
    pub fn differences(&self, plan: &Plan) -> Vec<Difference> {
        let locked: BTreeMap<&str, &Locked> =
            self.packages.iter().map(|locked| (locked.name.as_str(), locked)).collect();
        let planned: BTreeMap<&str, &Package> =
            plan.packages.iter().map(|package| (package.name.as_str(), package)).collect();
        let mut names: Vec<&str> = locked.keys().chain(planned.keys()).copied().collect();
        names.sort_unstable();
        names.dedup();
        let differs = |name: &str| {
            let (ours, theirs) = (locked.get(name), planned.get(name));
            if let (Some(ours), Some(theirs)) = (ours, theirs)
                && same(ours, theirs)
            {
                return None;
            }
            Some(Difference {
                name: name.to_owned(),
                locked: ours.map(|locked| describe_locked(locked)),
                planned: theirs.map(|package| describe_planned(package)),
            })
        };
        names.into_iter().filter_map(differs).collect()
    }

    /// What this lock says of a package that the recipe takes from the index.
    pub fn origin_of(&self, pending: &Pending) -> Option<Origin> {
        let locked =
            self.package(&pending.name).filter(|locked| locked.version.as_deref() == Some(&pending.version))?;
        let file = locked.content.file()?;
        let wanted = pending.file.as_ref().is_none_or(|name| *name == file.name)
            && !(pending.from_source && matches!(locked.content, Content::Wheel(_)));
        wanted.then(|| origin(locked)).flatten()
    }

    /// The plan of this lock alone, for locks that come without a `uv.lock`.
    ///
    /// # Errors
    /// Git and local sources: their addresses are not in it.
    pub fn plan(&self) -> Result<Plan, Drift> {
        let package = |locked: &Locked| {
            let no_address = || Drift::NoAddress { name: locked.name.clone(), kind: locked.content.kind() };
            let origin = origin(locked).ok_or_else(no_address)?;
            Ok(Package { name: locked.name.clone(), version: locked.version.clone(), origin })
        };
        let packages = self.packages.iter().map(package).collect::<Result<_, _>>()?;
        Ok(Plan { target: self.target.clone(), packages })
    }

    /// As much of the plan as this lock alone tells: local packages are missing, and git ones have no address.
    pub fn partial_plan(&self) -> Plan {
        let git = |locked: &Locked| match &locked.content {
            Content::Git { revision, subdirectory, .. } => Some(Origin::Git {
                repository: String::new(),
                revision: revision.clone(),
                subdirectory: subdirectory.clone(),
            }),
            _ => None,
        };
        let package = |locked: &Locked| {
            let origin = origin(locked).or_else(|| git(locked))?;
            Some(Package { name: locked.name.clone(), version: locked.version.clone(), origin })
        };
        Plan { target: self.target.clone(), packages: self.packages.iter().filter_map(package).collect() }
    }
}

/// Whether a package is compiled: it needs a build environment.
pub(super) fn is_built(content: &Content) -> bool {
    match content {
        Content::Sdist { .. } | Content::Git { .. } => true,
        Content::Local { kind } => matches!(kind, LocalKind::Directory | LocalKind::Editable),
        Content::Wheel(_) => false,
    }
}

fn origin(locked: &Locked) -> Option<Origin> {
    let remote = |file: &FileId, subdirectory: Option<String>| RemoteFile {
        file: file.clone(),
        url: None,
        index: None,
        subdirectory,
    };
    match &locked.content {
        Content::Wheel(file) => Some(Origin::Wheel(remote(file, None))),
        Content::Sdist { file, subdirectory } => Some(Origin::Sdist(remote(file, subdirectory.clone()))),
        Content::Git { .. } | Content::Local { .. } => None,
    }
}

fn same(locked: &Locked, package: &Package) -> bool {
    let same_file = |ours: &FileId, theirs: &FileId| {
        ours.name == theirs.name
            && ours.sha256 == theirs.sha256
            && ours.size.zip(theirs.size).is_none_or(|(ours, theirs)| ours == theirs)
    };
    let same_version = locked.version == package.version || package.version.is_none();
    same_version
        && match (&locked.content, &package.origin) {
            (Content::Wheel(ours), Origin::Wheel(theirs)) => same_file(ours, &theirs.file),
            (Content::Sdist { file, subdirectory }, Origin::Sdist(theirs)) => {
                same_file(file, &theirs.file) && *subdirectory == theirs.subdirectory
            }
            (
                Content::Git { revision, subdirectory, .. },
                Origin::Git { revision: planned, subdirectory: folder, .. },
            ) => revision == planned && subdirectory == folder,
            (Content::Local { kind }, origin) => kind.name() == origin.kind(),
            _ => false,
        }
}

fn describe_locked(locked: &Locked) -> String {
    let what = match &locked.content {
        Content::Wheel(file) | Content::Sdist { file, .. } => describe_file(file),
        Content::Git { revision, .. } => format!("git {revision}"),
        Content::Local { kind } => kind.name().to_owned(),
    };
    describe(locked.version.as_deref(), &what)
}

fn describe_planned(package: &Package) -> String {
    let what = match &package.origin {
        Origin::Wheel(remote) | Origin::Sdist(remote) => describe_file(&remote.file),
        Origin::Git { revision, .. } => format!("git {revision}"),
        other => other.kind().to_owned(),
    };
    describe(package.version.as_deref(), &what)
}

/// Enough of the hash to tell two files of one name apart.
fn describe_file(file: &FileId) -> String {
    let hex = file.sha256.hex();
    format!("{} {}…", file.name, hex.get(..12).unwrap_or(&hex))
}

fn describe(version: Option<&str>, what: &str) -> String {
    version.map_or_else(|| format!("({what})"), |version| format!("{version} ({what})"))
}
