//! The sidecar lock, `akb.lock`: what `uv.lock` leaves open. The files chosen for one target, what builds the
//! ones that are source, and the packages that inputs come from; names, sizes and hashes, no address.
//!
//! A build that has one takes nothing that is not in it.

use std::collections::BTreeMap;
use std::path::Path;

use crate::digest::Sha256;
use crate::inputs::debian::Pin;
use crate::plan::FileId;
use crate::recipe::Provider;
use crate::request::Target;

mod check;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub use check::{Difference, Drift};
pub use read::SidecarError;

/// The version of the format that this akb reads and writes.
pub const VERSION: u32 = 1;

/// A sidecar lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sidecar {
    /// Digest of what it was made from: [`source_digest`].
    pub source: Sha256,
    /// The interpreter and platform that its files were chosen for.
    pub target: Target,
    /// NAR hash of the fetch output, the folder of all [`Sidecar::files`] by name. `None` where git sources
    /// belong to it, which are no files; local sources are not fetched.
    pub fetch_hash: Option<Sha256>,
    /// NAR hash of the folder of the pinned input packages' files, by base name. `None` without pins, and in locks
    /// of an akb that did not write it.
    pub inputs_hash: Option<Sha256>,
    /// What is installed, sorted by name.
    pub packages: Vec<Locked>,
    /// What only builds, sorted by name and version.
    pub builds: Vec<Locked>,
    /// The packages that Python, compilers and libraries come from. `None` for the host's.
    pub inputs: Option<InputPins>,
}

/// One package of a sidecar lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locked {
    /// Normalised name.
    pub name: String,
    /// Version; `None` where only a build tells it.
    pub version: Option<String>,
    /// What it is.
    pub content: Content,
    /// Its build environment, whole: the packages that are installed to build it, sorted. `None` for what is
    /// not built.
    pub build: Option<Vec<Reference>>,
}

/// What a locked package is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A wheel.
    Wheel(FileId),
    /// A source distribution.
    Sdist {
        /// The archive.
        file: FileId,
        /// Folder inside the archive that holds the project.
        subdirectory: Option<String>,
    },
    /// A revision of a git repository; its address is in `uv.lock` or the recipe.
    Git {
        /// Full object name of the commit.
        revision: String,
        /// NAR hash of the checked-out tree (without `.git`).
        tree: Sha256,
        /// Folder inside the repository.
        subdirectory: Option<String>,
    },
    /// An archive or folder of the project's own. `uv.lock` or the recipe says where, nobody says its hash.
    Local {
        /// `path`, `directory`, `editable` or `virtual`.
        kind: LocalKind,
    },
}

/// Kinds of local packages, by their names in `uv.lock`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum LocalKind {
    Path,
    Directory,
    Editable,
    Virtual,
}

/// Names one entry of a sidecar lock: of its packages first, else of its builds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// Normalised name.
    pub name: String,
    /// Version; `None` where the entry has none.
    pub version: Option<String>,
}

/// Pinned input packages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputPins {
    /// Who gives them.
    pub provider: Provider,
    /// The suite that they were resolved in.
    pub suite: String,
    /// Sorted by name.
    pub packages: Vec<Pin>,
}

/// The digest that a lock keeps of what it was made from: the text of `uv.lock` and what matters of the recipe.
pub fn source_digest(uv_lock: &str, recipe: &crate::recipe::Recipe) -> Sha256 {
    Sha256::of(format!("{}\n{}\n", Sha256::of(uv_lock.as_bytes()), recipe.lock_digest()).as_bytes())
}

impl Sidecar {
    /// Reads `akb.lock`; `path` is for messages only.
    ///
    /// # Errors
    /// Text that is not TOML, another version of the format, unknown keys, and every value that `akb lock` would
    /// not have written: file names with folders, sizes beyond reason, references to nothing, cycles.
    pub fn parse(text: &str, path: &Path) -> Result<Self, SidecarError> {
        read::parse(text, path)
    }

    /// The text of `akb.lock`: the same for equal locks, entries sorted.
    pub fn to_toml(&self) -> String {
        write::write(self)
    }

    /// The entry that a reference names.
    pub fn find(&self, reference: &Reference) -> Option<&Locked> {
        let names = |locked: &&Locked| locked.name == reference.name && locked.version == reference.version;
        self.packages.iter().find(names).or_else(|| self.builds.iter().find(names))
    }

    /// The entry of an installed package.
    pub fn package(&self, name: &str) -> Option<&Locked> {
        self.packages.iter().find(|locked| locked.name == name)
    }

    /// All files that a build fetches, by name.
    pub fn files(&self) -> BTreeMap<&str, &FileId> {
        let files = self.packages.iter().chain(&self.builds).filter_map(|locked| locked.content.file());
        files.map(|file| (file.name.as_str(), file)).collect()
    }
}

impl Locked {
    /// The reference that names it.
    pub fn reference(&self) -> Reference {
        Reference { name: self.name.clone(), version: self.version.clone() }
    }
}

impl Content {
    /// The word for it in the lock.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Wheel(_) => "wheel",
            Self::Sdist { .. } => "sdist",
            Self::Git { .. } => "git",
            Self::Local { kind } => kind.name(),
        }
    }

    /// The file that is fetched for it, if it is one.
    pub fn file(&self) -> Option<&FileId> {
        match self {
            Self::Wheel(file) | Self::Sdist { file, .. } => Some(file),
            Self::Git { .. } | Self::Local { .. } => None,
        }
    }
}

impl LocalKind {
    const ALL: [Self; 4] = [Self::Path, Self::Directory, Self::Editable, Self::Virtual];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Directory => "directory",
            Self::Editable => "editable",
            Self::Virtual => "virtual",
        }
    }
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)?;
        self.version.as_ref().map_or(Ok(()), |version| write!(f, " {version}"))
    }
}
