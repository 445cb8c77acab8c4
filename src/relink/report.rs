//! What relinking decided and did, as data.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::Serialize;

use super::Missing;

/// What relinking did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RelinkReport {
    /// Number of programs and libraries, copies included.
    pub files: u64,
    /// Files of the tree whose bytes change, relative to it, sorted. Copies are not among them.
    pub changed: Vec<PathBuf>,
    /// Copied libraries, by name, with where they came from as the sandbox sees it.
    pub copied: BTreeMap<String, PathBuf>,
    /// Links beside them, with what they lead to.
    pub links: BTreeMap<String, PathBuf>,
    /// Size of the copies in bytes.
    pub bytes: u64,
    /// ELF files that were left as they are, with the reason.
    pub skipped: BTreeMap<PathBuf, String>,
    /// What is not there and must be.
    pub missing: Vec<Missing>,
    /// What is not there and may be so.
    pub ignored: Vec<Missing>,
    /// What a person should know: libraries of one name in several places, for example.
    pub notes: BTreeSet<String>,
    /// Each program and library.
    pub linked: BTreeMap<PathBuf, Linked>,
}

impl RelinkReport {
    /// Entries of search paths that satisfied nothing and were dropped, by file.
    pub fn dropped(&self) -> impl Iterator<Item = (&PathBuf, &[String])> {
        self.linked
            .iter()
            .filter(|(_, linked)| !linked.dropped.is_empty())
            .map(|(path, linked)| (path, &*linked.dropped))
    }
}

/// How one file finds its libraries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Linked {
    /// The package that it belongs to, where that was looked up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    /// What it needs, in its own order.
    pub needs: Vec<Need>,
    /// Its search path.
    pub search: Option<String>,
    /// Entries of the search path that it had before and that satisfied nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<String>,
}

/// A library that a file needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Need {
    /// The name that it asks for.
    pub soname: String,
    /// How it asks.
    pub how: How,
    /// Symbol versions that it needs of it.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub versions: BTreeSet<String>,
    /// What it gets: relative to the tree, or absolute outside of it. `None` where the dynamic linker finds it by
    /// itself, or where it is missing.
    pub found: Option<PathBuf>,
}

/// How a library is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// A `DT_NEEDED` entry.
    Linked,
    /// The program calls `dlopen` with the name: a rule says so.
    Opened,
    /// The file says in `.note.dlopen` that it opens it.
    Noted,
}
