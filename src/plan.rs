//! What a build will do, as data: no I/O, the same for everyone who reads the same locks.

use serde::{Deserialize, Serialize};

use crate::digest::Sha256;
use crate::request::Target;

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
