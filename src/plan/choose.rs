//! The file of a package for a target.

use std::cmp::Reverse;

use super::error::{Fault, PlanError};
use super::{FileId, Origin, Project, RemoteFile};
use crate::digest::Sha256;
use crate::lock::names::{SdistName, WheelName, file_name};
use crate::lock::tags::Tags;
use crate::lock::uv::{GitSource, LockedFile, LockedPackage, Place, Source};
use crate::request::Target;

/// What a choice depends on besides the package.
struct Rules<'a> {
    tags: &'a Tags,
    target: &'a Target,
    no_binary: bool,
    no_build: bool,
}

pub(super) fn origin(
    package: &LockedPackage,
    tags: &Tags,
    project: &Project,
    target: &Target,
) -> Result<Origin, PlanError> {
    let (no_binary, no_build) = (project.no_binary.covers(&package.name), project.no_build.covers(&package.name));
    let rules = Rules { tags, target, no_binary, no_build };
    match &package.source {
        Source::Virtual(path) => Ok(Origin::Virtual { path: path.clone() }),
        // As in uv, the rule is about other people's sources, not about the workspace's own.
        Source::Directory(_) | Source::Git(_) if no_build => Err(rules.no_file(package)),
        Source::Directory(path) => Ok(Origin::Directory { path: path.clone() }),
        Source::Editable(path) => Ok(Origin::Editable { path: path.clone() }),
        Source::Git(git) => revision(package, git),
        Source::Registry(_) | Source::Url { .. } | Source::Path(_) => rules.file(package),
    }
}

fn revision(package: &LockedPackage, git: &GitSource) -> Result<Origin, PlanError> {
    let unsupported = |what| Err(PlanError::Unsupported { name: package.name.clone(), what });
    if git.lfs {
        return unsupported("a git repository with LFS");
    }
    if git.path.is_some() {
        return unsupported("an archive inside a git repository");
    }
    Ok(Origin::Git {
        repository: git.repository.clone(),
        revision: git.revision.clone(),
        subdirectory: git.subdirectory.clone(),
    })
}

impl Rules<'_> {
    fn file(&self, package: &LockedPackage) -> Result<Origin, PlanError> {
        if !self.no_binary
            && let Some(file) = self.wheel(&package.wheels)
        {
            return located(package, file, Origin::Wheel);
        }
        // A path to an sdist needs no table of its own in the lock; its name says what it is.
        let implied = match &package.source {
            Source::Path(path) if package.sdist.is_none() => {
                file_name(path).filter(|name| SdistName::suffix(name).is_some())
            }
            _ => None,
        };
        let implied = implied.map(|name| LockedFile { name, place: Place::Source, hash: None, size: None });
        match package.sdist.as_ref().or(implied.as_ref()) {
            Some(file) if !self.no_build => located(package, file, Origin::Sdist),
            _ => Err(self.no_file(package)),
        }
    }

    /// The best tag; then the highest build tag; then, so that nothing is left to chance, the name.
    fn wheel<'a>(&self, wheels: &'a [(WheelName, LockedFile)]) -> Option<&'a LockedFile> {
        let ranked = wheels.iter().filter_map(|(name, file)| Some((self.tags.rank(name)?, Reverse(&name.build), file)));
        ranked.min_by_key(|(rank, build, file)| (*rank, *build, &file.name)).map(|(.., file)| file)
    }

    fn no_file(&self, package: &LockedPackage) -> PlanError {
        let wheels: Vec<_> = package.wheels.iter().map(|(_, file)| file.name.clone()).collect();
        let (target, wanted) = (format!("Python {} on {}", self.target.python, self.target.platform), self.tags.best());
        let fault = match (self.no_binary, self.no_build) {
            (true, true) => Fault::Neither,
            (true, false) => Fault::NoBinary,
            (false, true) => Fault::NoBuild { target, wanted, wheels },
            (false, false) if wheels.is_empty() => Fault::Nothing,
            (false, false) => Fault::NoWheel { target, wanted, wheels },
        };
        let version = package.version.clone().unwrap_or_default();
        PlanError::NoFile { name: package.name.clone(), version, fault: Box::new(fault) }
    }
}

/// A chosen file with its place: what lies on this machine is a path, all else is fetched.
fn located(package: &LockedPackage, file: &LockedFile, remote: fn(RemoteFile) -> Origin) -> Result<Origin, PlanError> {
    let address = |text: &String| RemoteFile::is_address(text).then(|| text.clone());
    let (url, index, subdirectory) = match (&package.source, &file.place) {
        (Source::Path(path), _) => return local(package, file, path.clone()),
        (Source::Registry(Place::Path(folder)), Place::Path(path)) => {
            return local(package, file, format!("{}/{path}", folder.trim_end_matches('/')));
        }
        (Source::Url { url, subdirectory }, _) => (address(url), None, subdirectory.clone()),
        (Source::Registry(index), place) => {
            let part = |place: &Place| match place {
                Place::Url(url) => address(url),
                Place::Path(_) | Place::Source => None,
            };
            (part(place), part(index), None)
        }
        (_, Place::Url(url)) => (address(url), None, None),
        _ => (None, None, None),
    };
    let sha256 = sha256(package, file)?.ok_or_else(|| wrong_hash(package, file))?;
    let file = FileId { name: file.name.clone(), size: file.size, sha256 };
    Ok(remote(RemoteFile { file, url, index, subdirectory }))
}

fn local(package: &LockedPackage, file: &LockedFile, path: String) -> Result<Origin, PlanError> {
    Ok(Origin::Path { path, sha256: sha256(package, file)? })
}

/// The hash, if there is one; weaker kinds are refused.
fn sha256(package: &LockedPackage, file: &LockedFile) -> Result<Option<Sha256>, PlanError> {
    let hash = file.hash.as_deref();
    hash.map(|hash| {
        hash.strip_prefix("sha256:").and_then(|hex| hex.parse().ok()).ok_or_else(|| wrong_hash(package, file))
    })
    .transpose()
}

fn wrong_hash(package: &LockedPackage, file: &LockedFile) -> PlanError {
    PlanError::Hash { name: package.name.clone(), file: file.name.clone(), found: file.hash.clone() }
}
