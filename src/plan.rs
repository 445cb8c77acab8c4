//! What a build will do, as data: no I/O, the same for everyone who reads the same locks.

use serde::{Deserialize, Serialize};

use crate::digest::Sha256;
use crate::lock::tags::Tags;
use crate::lock::uv::UvLock;
use crate::request::{PythonVersion, Target};

mod choose;
mod error;
mod select;
#[cfg(test)]
mod tests;

pub use crate::lock::project::Project;
pub use error::{Fault, PlanError};
pub use select::{Choice, Roots, Selection};

/// The packages of a lock that hold for one target, sorted by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The interpreter and platform it was made for.
    pub target: Target,
    /// One per name, sorted by it.
    pub packages: Vec<Package>,
}

/// One chosen package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// Normalised name (PEP 503).
    pub name: String,
    /// Version as the lock spells it; `None` where it is dynamic.
    pub version: Option<String>,
    /// Where it comes from.
    pub origin: Origin,
}

/// Where a package comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Origin {
    /// A wheel from an index or an address.
    Wheel(RemoteFile),
    /// A source distribution from an index or an address.
    Sdist(RemoteFile),
    /// A revision of a git repository.
    Git {
        /// Repository, without revision or credentials.
        repository: String,
        /// Full object name of the commit.
        revision: String,
        /// Folder inside the repository.
        subdirectory: Option<String>,
    },
    /// An archive on this machine, relative to the lock's folder; a wheel or an sdist by its name.
    Path {
        /// Path as the lock spells it.
        path: String,
        /// Its hash, where the lock has one.
        sha256: Option<Sha256>,
    },
    /// A source folder, installed as a copy.
    Directory {
        /// Path as the lock spells it.
        path: String,
    },
    /// A source folder of the workspace, in a development install a link to the sources.
    Editable {
        /// Path as the lock spells it.
        path: String,
    },
    /// A workspace member that is not a package: only its dependencies count.
    Virtual {
        /// Path as the lock spells it.
        path: String,
    },
}

/// A file that is fetched by name and hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteFile {
    /// Name, size and hash.
    #[serde(flatten)]
    pub file: FileId,
    /// The address that the lock names. `None` for files of an index whose lock names none.
    pub url: Option<String>,
    /// The index that the lock names.
    pub index: Option<String>,
    /// Folder inside the archive that holds the project (sdists from an address).
    pub subdirectory: Option<String>,
}

/// A file by name, size and hash: all that akb's own data say of a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FileId {
    /// File name, no folder.
    #[serde(rename = "file")]
    pub name: String,
    /// Bytes, where the lock says so.
    pub size: Option<u64>,
    /// Hash of the whole file.
    pub sha256: Sha256,
}

/// Chooses what of a lock holds for `target`, and the file of each package: wheels that run there, the best
/// of them first, else the source distribution.
///
/// Where only the minor version of Python is known, markers see the lowest patch level that the project
/// allows.
pub fn plan(lock: &UvLock, project: &Project, target: &Target, selection: &Selection) -> Result<Plan, PlanError> {
    let exact = allowed(lock, project, target)?;
    let chosen = select::select(lock, project, target, &exact, selection)?;
    let tags = Tags::of(target);
    let mut packages = Vec::with_capacity(chosen.len());
    for package in chosen {
        let origin = choose::origin(package, &tags, project, target)?;
        packages.push(Package { name: package.name.clone(), version: package.version.clone(), origin });
    }
    Ok(Plan { target: target.clone(), packages })
}

/// The one minor version of Python 3 that lock and project allow; `None` if they allow several.
pub fn only_python(lock: &UvLock, project: &Project) -> Option<PythonVersion> {
    let minors = (0..=u8::MAX).map(|minor| PythonVersion { major: 3, minor, patch: None });
    let mut fitting = minors.filter(|python| allowed_patch(lock, project, *python).is_some());
    let first = fitting.next()?;
    fitting.next().is_none().then_some(first)
}

/// The target with a patch level that lock and project allow; the lowest where none is said.
pub fn allowed(lock: &UvLock, project: &Project, target: &Target) -> Result<Target, PlanError> {
    let patch = allowed_patch(lock, project, target.python).ok_or_else(|| {
        let name = project.name.clone().or_else(|| lock.root().map(|package| package.name.clone()));
        let requires = project.requires_python.as_ref().unwrap_or(&lock.requires_python);
        PlanError::Python { project: name, requires: requires.to_string(), python: target.python.to_string() }
    })?;
    let python = PythonVersion { patch: Some(patch), ..target.python };
    Ok(Target { python, platform: target.platform })
}

/// The patch level of `python`, or the lowest that lock and project allow where none is said.
fn allowed_patch(lock: &UvLock, project: &Project, python: PythonVersion) -> Option<u8> {
    let mut patches = python.patch.map_or(0..=u8::MAX, |patch| patch..=patch);
    patches.find(|patch| {
        let version = pep440_rs::Version::new([python.major, python.minor, *patch].map(u64::from));
        let mut requirements = std::iter::once(&lock.requires_python).chain(&project.requires_python);
        requirements.all(|requirement| requirement.contains(&version))
    })
}

impl RemoteFile {
    /// Whether a lock's address can be the address of anything: locks without addresses use names under
    /// `.invalid`, which RFC 2606 sets aside.
    pub fn is_address(text: &str) -> bool {
        let host = url::Url::parse(text).ok().and_then(|url| url.host_str().map(str::to_ascii_lowercase));
        host.is_none_or(|host| host.trim_end_matches('.').rsplit('.').next() != Some("invalid"))
    }
}

impl Package {
    /// Name and hash of its file, where it has one.
    pub fn file(&self) -> (Option<&str>, Option<Sha256>) {
        match &self.origin {
            Origin::Wheel(remote) | Origin::Sdist(remote) => (Some(&remote.file.name), Some(remote.file.sha256)),
            Origin::Path { path, sha256 } => (path.rsplit('/').next(), *sha256),
            Origin::Git { .. } | Origin::Directory { .. } | Origin::Editable { .. } | Origin::Virtual { .. } => {
                (None, None)
            }
        }
    }
}

impl Origin {
    /// The word for it in `akb plan --format tsv`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Wheel(_) => "wheel",
            Self::Sdist(_) => "sdist",
            Self::Git { .. } => "git",
            Self::Path { .. } => "path",
            Self::Directory { .. } => "directory",
            Self::Editable { .. } => "editable",
            Self::Virtual { .. } => "virtual",
        }
    }
}
