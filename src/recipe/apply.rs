//! A recipe over a plan: packages taken from elsewhere than the lock says.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{PackageRecipe, Recipe, nearest};
use crate::digest::Sha256;
use crate::explain::{ExitCode, Explain};
use crate::lock;
use crate::plan::{FileId, Origin, Package, Plan, RemoteFile};

/// A plan with the recipe's replacements in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The plan, without the packages that are pending.
    pub plan: Plan,
    /// Packages whose file only the index or the sidecar lock can name, sorted by name.
    pub pending: Vec<Pending>,
}

/// A package of which the recipe says a version, and the file is still to be found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// Normalised name.
    pub name: String,
    /// Exactly this version.
    pub version: String,
    /// Exactly this file of it, where the recipe says so.
    pub file: Option<String>,
    /// A source distribution, no wheel.
    pub from_source: bool,
}

/// A recipe that does not fit the lock.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// It replaces a package that the lock does not have.
    #[error("the recipe replaces `{name}`, which the lock does not have")]
    Unknown {
        /// The name.
        name: String,
        /// What was probably meant.
        meant: Option<String>,
    },
    /// It wants a package from source whose lock entry is not a file of an index.
    #[error("the recipe wants `{name}` from source, but the lock has no version for it")]
    NoVersion {
        /// The name.
        name: String,
    },
}

impl Explain for ApplyError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unknown { meant: Some(meant), .. } => format!("did you mean [package.{meant}]?"),
            Self::Unknown { name, .. } => {
                format!("add it to the project (`uv add {name}`) or remove [package.{name}] from the recipe")
            }
            Self::NoVersion { name } => format!("say which: [package.{name}] version = \"…\""),
        })
    }

    fn exit_code(&self) -> ExitCode {
        ExitCode::Usage
    }
}

impl Recipe {
    /// Replaces packages of `plan` as the recipe says. `locked` are all names of the lock, also those that
    /// the plan leaves out: replacing one of them is fine and changes nothing here.
    ///
    /// The dependencies stay those of the lock.
    ///
    /// # Errors
    /// A replacement for a package that is in neither.
    pub fn apply(&self, mut plan: Plan, locked: &BTreeSet<String>) -> Result<Applied, ApplyError> {
        let known = |name: &str| locked.contains(name) || plan.packages.iter().any(|package| package.name == name);
        if let Some(name) =
            self.package.iter().find(|(name, said)| said.replaces() && !known(name)).map(|(name, _)| name)
        {
            let names =
                locked.iter().map(String::as_str).chain(plan.packages.iter().map(|package| package.name.as_str()));
            let meant = nearest::nearest(name, names).map(str::to_owned);
            return Err(ApplyError::Unknown { name: name.clone(), meant });
        }
        let mut pending = Vec::new();
        let mut packages = Vec::with_capacity(plan.packages.len());
        for package in std::mem::take(&mut plan.packages) {
            match self.package(&package.name) {
                Some(said) => match replaced(package, said)? {
                    Replaced::Known(package) => packages.push(package),
                    Replaced::Pending(package) => pending.push(package),
                },
                None => packages.push(package),
            }
        }
        plan.packages = packages;
        Ok(Applied { plan, pending })
    }
}

enum Replaced {
    Known(Package),
    Pending(Pending),
}

fn replaced(package: Package, said: &PackageRecipe) -> Result<Replaced, ApplyError> {
    let Package { name, version, origin } = package;
    let known = |version, origin| Ok(Replaced::Known(Package { name: name.clone(), version, origin }));
    if let (Some(repository), Some(revision)) = (&said.git, &said.rev) {
        return known(
            None,
            Origin::Git {
                repository: repository.clone(),
                revision: revision.to_ascii_lowercase(),
                subdirectory: said.subdirectory.clone(),
            },
        );
    }
    if let Some(path) = &said.path {
        let path = path.clone();
        return known(
            None,
            if is_archive(&path) { Origin::Path { path, sha256: None } } else { Origin::Directory { path } },
        );
    }
    match (&said.version, &said.file, said.sha256) {
        (Some(version), Some(file), Some(sha256)) => known(Some(version.clone()), file_origin(file, sha256)),
        (Some(version), file, _) => Ok(Replaced::Pending(Pending {
            name,
            version: version.clone(),
            file: file.clone(),
            from_source: said.from_source,
        })),
        (None, ..) if said.from_source && matches!(origin, Origin::Wheel(_)) => {
            let version = version.ok_or_else(|| ApplyError::NoVersion { name: name.clone() })?;
            Ok(Replaced::Pending(Pending { name, version, file: None, from_source: true }))
        }
        _ => known(version, origin),
    }
}

fn is_archive(path: &str) -> bool {
    const ENDINGS: [&str; 6] = [".whl", ".tar.gz", ".tgz", ".zip", ".tar.bz2", ".tar.xz"];
    let lower = path.to_ascii_lowercase();
    ENDINGS.iter().any(|ending| lower.ends_with(ending))
}

fn file_origin(name: &str, sha256: Sha256) -> Origin {
    let file = FileId { name: name.to_owned(), size: None, sha256 };
    let remote = RemoteFile { file, url: None, index: None, subdirectory: None };
    if lock::is_wheel(name) { Origin::Wheel(remote) } else { Origin::Sdist(remote) }
}

impl Applied {
    /// The whole plan, with what `find` says for each pending package.
    ///
    /// # Errors
    /// The first error of `find`.
    pub fn complete<E>(self, mut find: impl FnMut(&Pending) -> Result<Origin, E>) -> Result<Plan, E> {
        let mut plan = self.plan;
        for pending in self.pending {
            let origin = find(&pending)?;
            plan.packages.push(Package { name: pending.name, version: Some(pending.version), origin });
        }
        plan.packages.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(plan)
    }
}
