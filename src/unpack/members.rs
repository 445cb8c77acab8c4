//! All names of an archive, so that no two of them mean the same place.

use std::collections::BTreeMap;

use unicode_normalization::UnicodeNormalization as _;

use super::error::Reason;

/// What a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    Link,
}

/// Which names are one and the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alike {
    /// Equal bytes.
    Bytes,
    /// Equal but for how Unicode characters are composed: to a person they are one name.
    Composition,
    /// Equal but for that and for case: on other file systems they are one name.
    Case,
}

/// The names so far.
pub(super) struct Members {
    /// By the folded name: the name itself and what it is.
    names: BTreeMap<String, (String, Kind)>,
    alike: Alike,
}

impl Members {
    /// Names that are `alike` collide.
    pub(super) fn new(alike: Alike) -> Self {
        Self { names: BTreeMap::new(), alike }
    }

    /// Takes the name and its folders, or says what it collides with. Folders may come again.
    pub(super) fn add(&mut self, path: &str, kind: Kind) -> Result<(), Reason> {
        for (end, _) in path.match_indices('/') {
            self.add_one(&path[..end], Kind::Folder, true)?;
        }
        self.add_one(path, kind, false)
    }

    fn add_one(&mut self, path: &str, kind: Kind, parent: bool) -> Result<(), Reason> {
        let key = self.alike.key(path);
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
        let key = self.alike.key(path);
        self.names.get(&key).filter(|(name, _)| name == path).map(|(_, kind)| *kind)
    }
}

impl Alike {
    /// What names that are alike have in common.
    fn key(self, path: &str) -> String {
        match self {
            Self::Bytes => path.to_owned(),
            Self::Composition if path.is_ascii() => path.to_owned(),
            Self::Composition => path.nfc().collect(),
            Self::Case if path.is_ascii() => path.to_ascii_lowercase(),
            Self::Case => path.nfd().flat_map(char::to_lowercase).nfc().collect(),
        }
    }
}
