//! References: which paths a tree names, where, and how they are removed.
//!
//! One pass looks for any number of needles in contents, file names and link targets; also where a search for plain
//! bytes does not see them: in compressed members of archives and in UTF-16. Every hit is told with its place (the line
//! of a text, the section of an ELF file, an entry of its RUNPATH, bytecode, a member of an archive), since that
//! decides what can be done about it.
//!
//! [`replace`](fn@replace) overwrites what was found with as many bytes, as `remove-references-to` does, keeps hashes of bytecode
//! and RECORD true, and refuses what cannot be overwritten. Afterwards [`scan`](fn@scan) finds nothing.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

mod archive;
mod bytecode;
mod error;
mod needles;
mod place;
mod replace;
mod scan;
mod search;
mod sections;
mod table;
#[cfg(test)]
mod testing;
mod words;

pub use error::ReferencesError;
pub use needles::{Class, Literal, Needles, Pattern, SHORTEST, Words};
pub use place::Place;
pub use replace::{Policy, Replaced, replace};
pub use scan::scan;
pub use table::table;

/// A needle in one place, however often it is there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Found {
    /// The file or link, relative to the tree; empty where the tree is a file.
    #[serde(serialize_with = "lossy")]
    pub path: PathBuf,
    /// The member of the archive that it is in, as `inner.zip!file` where archives are nested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// Where the first one begins: in the file, the member, the name or the link's target.
    pub offset: u64,
    /// What is there.
    #[serde(flatten)]
    pub place: Place,
    /// The needle: a literal, what a word stands for, or the text that has the form.
    pub needle: String,
    /// How often it is in this place.
    pub count: u64,
    /// How its characters are stored.
    pub encoding: Encoding,
    /// What stands around it, for a person.
    pub context: String,
    /// Other names of the same file (hard links).
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "lossy_list")]
    pub also: Vec<PathBuf>,
}

/// How the characters of a needle are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encoding {
    /// As they are.
    Bytes,
    /// As UTF-16, which a search for plain bytes does not see.
    #[serde(rename = "utf-16")]
    Utf16,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, offset, place, needle, count, .. } = self;
        f.write_str(&shown(path, self.member.as_deref()))?;
        write!(f, " at {offset}, {place}: {needle}")?;
        if self.encoding == Encoding::Utf16 {
            f.write_str(" in UTF-16")?;
        }
        if *count > 1 { write!(f, " ({count} times)") } else { Ok(()) }
    }
}

/// A file or member that could not be looked into as far as its kind suggests; its own bytes were searched.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Unread {
    /// The file, relative to the tree.
    #[serde(serialize_with = "lossy")]
    pub path: PathBuf,
    /// The member.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// Why not.
    pub reason: String,
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} was not looked into: {}", shown(&self.path, self.member.as_deref()), self.reason)
    }
}

/// What one pass over a tree found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Scan {
    /// All hits, sorted by path, member and offset.
    pub found: Vec<Found>,
    /// What was not looked into.
    pub unread: Vec<Unread>,
    /// Names in the tree: files, folders and links.
    pub names: u64,
    /// Bytes of all files.
    pub bytes: u64,
}

impl Scan {
    /// What a filter forbids, as the error that says so.
    pub fn forbid(self, tree: &Path, filter: &Filter) -> Result<Self, ReferencesError> {
        let found: Vec<Found> = self.found.iter().filter(|found| filter.forbids(found)).cloned().collect();
        if found.is_empty() { Ok(self) } else { Err(ReferencesError::Left { tree: tree.to_owned(), found }) }
    }
}

/// Which references may be there. The default forbids all.
///
/// The lists hold globs (`*`, `?`, `**`); one that names a needle matches all of it or its last path component.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Needles that may be there.
    pub allow: Vec<String>,
    /// Files (paths in the tree) that may hold any.
    pub allow_in: Vec<String>,
    /// Needles that may not be there, whatever else is allowed. Where `allow` and `allow_in` are empty, all others may.
    pub deny: Vec<String>,
}

impl Filter {
    /// Whether something that was found must not be there.
    pub fn forbids(&self, found: &Found) -> bool {
        let glob = crate::relink::glob::matches;
        let last = found.needle.rsplit('/').next().unwrap_or_default();
        let names = |pattern: &String| glob(pattern, &found.needle) || glob(pattern, last);
        if self.deny.iter().any(names) {
            return true;
        }
        let path = found.path.to_string_lossy();
        let allowed = self.allow.iter().any(names) || self.allow_in.iter().any(|pattern| glob(pattern, &path));
        let others_may = !self.deny.is_empty() && self.allow.is_empty() && self.allow_in.is_empty();
        !allowed && !others_may
    }
}

/// A file and member as a person is told. Names are made by others: what controls a terminal is escaped.
fn shown(path: &Path, member: Option<&str>) -> String {
    let name = path.display().to_string();
    let mut text = String::with_capacity(name.len());
    for c in name.chars().chain(member.into_iter().flat_map(|member| std::iter::once('!').chain(member.chars()))) {
        if c.is_control() { text.extend(c.escape_default()) } else { text.push(c) }
    }
    text
}

fn lossy<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

fn lossy_list<S: Serializer>(paths: &[PathBuf], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(paths.iter().map(|path| path.display().to_string()))
}
