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

#[cfg(test)]
mod tests {
    use super::*;

    fn add(members: &mut Members, path: &str, kind: Kind) -> Result<(), Reason> {
        members.add(path, kind)
    }

    #[test]
    fn folders_may_come_again_and_nothing_else() {
        let mut members = Members::new(Alike::Bytes);
        for kind in [Kind::Folder, Kind::Folder] {
            assert_eq!(add(&mut members, "a/b", kind), Ok(()));
        }
        assert_eq!(add(&mut members, "a/b/c", Kind::File), Ok(()));
        assert_eq!(add(&mut members, "a/b/c", Kind::File), Err(Reason::Duplicate));
        assert_eq!(add(&mut members, "a/b/c", Kind::Link), Err(Reason::Duplicate));
        assert_eq!(add(&mut members, "a", Kind::File), Err(Reason::FileAndFolder { other: "a".into() }));
        assert_eq!(members.kind("a/b"), Some(Kind::Folder));
    }

    #[test]
    fn alike_is_as_strict_as_it_is_told() {
        let composed = "a/\u{e9}";
        let decomposed = "a/e\u{301}";
        let pair = |alike, one: &str, two: &str| {
            let mut members = Members::new(alike);
            add(&mut members, one, Kind::File).and_then(|()| add(&mut members, two, Kind::File))
        };
        assert_eq!(pair(Alike::Bytes, composed, decomposed), Ok(()));
        for alike in [Alike::Composition, Alike::Case] {
            let other = composed.to_owned();
            assert_eq!(pair(alike, composed, decomposed), Err(Reason::NormalisationCollision { other }));
        }
        assert_eq!(pair(Alike::Composition, "A/x", "a/x"), Ok(()));
        assert_eq!(pair(Alike::Case, "A/x", "a/y"), Err(Reason::CaseCollision { other: "A".into() }));
        assert_eq!(pair(Alike::Case, "\u{c9}", "e\u{301}"), Err(Reason::CaseCollision { other: "\u{c9}".into() }));
    }
}
