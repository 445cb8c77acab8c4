//! Edits of files: planned in memory, shown as a diff, and only then written, all of them or none.
//!
//! Whoever changes files of a tree plans [`Change`]s and hands them to [`Changes::apply`], the one place that
//! writes: a file is written anew beside and takes the old one's place, so that a hard link to a cache is broken
//! and never written through, and a link is never followed.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Serialize;

mod diff;
mod write;

pub use write::EditError;

/// Bytes in which some places say the tree's own prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text {
    /// All of them.
    pub bytes: Vec<u8>,
    /// Where the prefix begins, ascending.
    pub prefixes: Vec<usize>,
}

impl Text {
    /// Appends bytes that say nothing of the prefix.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Appends the prefix.
    pub fn push_prefix(&mut self, prefix: &[u8]) {
        self.prefixes.push(self.bytes.len());
        self.bytes.extend_from_slice(prefix);
    }

    /// Appends another text.
    pub fn append(&mut self, other: &Self) {
        let start = self.bytes.len();
        self.prefixes.extend(other.prefixes.iter().map(|offset| start + offset));
        self.bytes.extend_from_slice(&other.bytes);
    }
}

impl From<Vec<u8>> for Text {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, prefixes: Vec::new() }
    }
}

/// One place of a file that becomes something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// The bytes that go.
    pub range: Range<usize>,
    /// What comes in their place.
    pub with: Text,
    /// Whose edit it is: an index of the caller's.
    pub by: usize,
}

/// Two edits that both want the same bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// The edit that begins first.
    pub first: usize,
    /// The other.
    pub second: usize,
    /// Where they meet.
    pub offset: usize,
}

/// What becomes of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its bytes now; `None` where there is no file yet.
    pub before: Option<Vec<u8>>,
    /// Its bytes then.
    pub after: Text,
    /// Whether it may be executed from now on; `None` keeps its mode.
    pub executable: Option<bool>,
}

impl Change {
    /// `before` with all of `edits`, which come in any order.
    ///
    /// # Errors
    /// Two edits that overlap, or two insertions at one place: their order would decide.
    pub fn edited(before: Vec<u8>, mut edits: Vec<Edit>) -> Result<Self, Overlap> {
        edits.sort_by_key(|edit| (edit.range.start, edit.range.end, edit.by));
        for pair in edits.windows(2) {
            let (first, second) = (&pair[0], &pair[1]);
            if second.range.start < first.range.end || second.range == first.range {
                return Err(Overlap { first: first.by, second: second.by, offset: second.range.start });
            }
        }
        let mut after = Text::default();
        let mut done = 0;
        for edit in &edits {
            after.push(&before[done..edit.range.start]);
            after.append(&edit.with);
            done = edit.range.end;
        }
        after.push(&before[done..]);
        Ok(Self { before: Some(before), after, executable: None })
    }

    /// Whether nothing is written: the file has these bytes.
    pub fn is_nothing(&self) -> bool {
        self.before.as_ref() == Some(&self.after.bytes) && self.executable.is_none()
    }
}

/// What becomes of the files of a tree, by their paths in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes(pub BTreeMap<PathBuf, Change>);

/// One changed file in numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The file.
    pub path: PathBuf,
    /// Bytes now; `None` where there is no file yet.
    pub before: Option<usize>,
    /// Bytes then.
    pub after: usize,
}

impl Changes {
    /// The changed files, sorted.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().filter(|(_, change)| !change.is_nothing()).map(|(path, _)| path.as_path())
    }

    /// The changed files in numbers, sorted.
    pub fn summaries(&self) -> Vec<Summary> {
        let changed = self.0.iter().filter(|(_, change)| !change.is_nothing());
        changed
            .map(|(path, change)| Summary {
                path: path.clone(),
                before: change.before.as_ref().map(Vec::len),
                after: change.after.bytes.len(),
            })
            .collect()
    }

    /// All changes as one unified diff that `patch -p1` and `git apply` take. Binary files are only named.
    pub fn diff(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (path, change) in self.0.iter().filter(|(_, change)| !change.is_nothing()) {
            diff::write(&mut out, path, change);
        }
        out
    }

    /// Writes all changes into the tree `root`, or none of them where one cannot be written.
    ///
    /// # Errors
    /// A file that is not what it was when the change was planned; a link in the way; what the system says.
    pub fn apply(&self, root: &Path) -> Result<(), EditError> {
        write::all(root, self.0.iter().filter(|(_, change)| !change.is_nothing()))
    }
}

/// Whether these bytes are no text: a NUL is in them.
pub fn is_binary(bytes: &[u8]) -> bool {
    memchr::memchr(0, bytes).is_some()
}

#[cfg(test)]
mod tests;
