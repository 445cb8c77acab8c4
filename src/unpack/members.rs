//! All names of an archive, so that no two of them mean the same place.

use std::collections::BTreeMap;

use unicode_normalization::{UnicodeNormalization as _, is_nfc};

use super::error::Reason;

/// What a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    Link,
}

/// The names so far.
pub(super) struct Members {
    /// By the folded name: the name itself and what it is.
    names: BTreeMap<String, (String, Kind)>,
    fold: bool,
}

impl Members {
    /// `fold`: names that differ only by case or Unicode normalisation collide too.
    pub(super) fn new(fold: bool) -> Self {
        Self { names: BTreeMap::new(), fold }
    }

    /// Takes the name and its folders, or says what it collides with. Folders may come again.
    pub(super) fn add(&mut self, path: &str, kind: Kind) -> Result<(), Reason> {
        for (end, _) in path.match_indices('/') {
            self.add_one(&path[..end], Kind::Folder, true)?;
        }
        self.add_one(path, kind, false)
    }

    fn add_one(&mut self, path: &str, kind: Kind, parent: bool) -> Result<(), Reason> {
        let key = if self.fold { fold(path) } else { path.to_owned() };
        let Some((other, other_kind)) = self.names.get(&key) else {
            self.names.insert(key, (path.to_owned(), kind));
            return Ok(());
        };
        if other != path {
            let same = other.nfc().eq(path.nfc());
            let other = other.clone();
            return Err(if same { Reason::NormalisationCollision { other } } else { Reason::CaseCollision { other } });
        }
        match (other_kind, kind) {
            (Kind::Folder, Kind::Folder) => Ok(()),
            (Kind::Link, Kind::Folder) if parent => Err(Reason::ThroughLink { link: path.to_owned() }),
            (Kind::Folder, _) | (_, Kind::Folder) => Err(Reason::FileAndFolder { other: path.to_owned() }),
            _ => Err(Reason::Duplicate),
        }
    }

    /// What `path` is, exactly as it is written.
    pub(super) fn kind(&self, path: &str) -> Option<Kind> {
        let key = if self.fold { fold(path) } else { path.to_owned() };
        self.names.get(&key).filter(|(name, _)| name == path).map(|(_, kind)| *kind)
    }
}

/// The name as file systems that ignore case and composition see it.
fn fold(path: &str) -> String {
    if path.is_ascii() {
        return path.to_ascii_lowercase();
    }
    let lower: String = path.nfd().flat_map(char::to_lowercase).collect();
    if is_nfc(&lower) { lower } else { lower.nfc().collect() }
}
