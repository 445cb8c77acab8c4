//! Store paths: `STORE/HASH-NAME`.

use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use serde::{Serialize, Serializer};

use crate::explain::{ExitCode, Explain};
use crate::references::{Class, Literal, Needles, Pattern, Words};
use crate::tree;

/// Where the store is unless something else is said.
pub const DEFAULT: &str = "/nix/store";
/// Nix's own base 32: the letters `e`, `o`, `u` and `t` are left out.
const ALPHABET: &[u8] = b"0123456789abcdfghijklmnpqrsvwxyz";
/// Characters of the hash part.
pub const HASH_LENGTH: usize = 32;
/// Characters of a name.
const NAME: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-._?=";
/// The longest name.
const NAME_LENGTH: usize = 211;

/// A store: what its paths begin with, and the folder where they really are.
///
/// The two differ for a private store: `nix build --store DIR` makes paths that say `/nix/store` in `DIR/nix/store`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// As it is written in files.
    pub prefix: PathBuf,
    /// On this machine.
    pub folder: PathBuf,
}

/// The name of something in a store, without the store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StorePath {
    text: String,
}

/// Why a text names nothing in a store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no store path: {problem}")]
pub struct StorePathError {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub problem: String,
}

impl Explain for StorePathError {
    fn hint(&self) -> Option<String> {
        Some(format!("store paths look like {DEFAULT}/{}-name", "0".repeat(HASH_LENGTH)))
    }

    fn exit_code(&self) -> ExitCode {
        ExitCode::Usage
    }
}

impl StorePath {
    /// Reads `HASH-NAME`.
    pub fn new(text: &str) -> Result<Self, StorePathError> {
        match flaw(text) {
            None => Ok(Self { text: text.to_owned() }),
            Some(problem) => Err(StorePathError { text: text.to_owned(), problem }),
        }
    }

    /// The 32 characters by which it is found in files.
    pub fn hash(&self) -> &str {
        self.text.split_at_checked(HASH_LENGTH).map_or("", |(hash, _)| hash)
    }

    /// What follows the hash.
    pub fn name(&self) -> &str {
        self.text.get(HASH_LENGTH + 1..).unwrap_or_default()
    }

    /// Hash and name.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for StorePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for StorePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

fn flaw(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let Some((hash, rest)) = bytes.split_at_checked(HASH_LENGTH) else {
        return Some(format!("expected a hash of {HASH_LENGTH} characters, found {}", bytes.len()));
    };
    if let Some(&byte) = hash.iter().find(|byte| !ALPHABET.contains(byte)) {
        return Some(format!("`{}` cannot be in a hash", byte.escape_ascii()));
    }
    let Some(name) = rest.strip_prefix(b"-") else {
        return Some("no `-` follows the hash".to_owned());
    };
    let dots = name.strip_prefix(b"..").or_else(|| name.strip_prefix(b"."));
    match name.iter().find(|byte| !NAME.contains(byte)) {
        _ if name.is_empty() => Some("it has no name".to_owned()),
        _ if name.len() > NAME_LENGTH => Some(format!("its name is longer than {NAME_LENGTH} characters")),
        _ if dots.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"-")) => {
            Some("its name begins like a folder's own".to_owned())
        }
        Some(byte) => Some(format!("`{}` cannot be in a name", byte.escape_ascii())),
        None => None,
    }
}

impl Default for Store {
    fn default() -> Self {
        Self { prefix: DEFAULT.into(), folder: DEFAULT.into() }
    }
}

impl Store {
    /// The store whose paths begin with `prefix` and that is in `folder`, or in the folder of that name below it, as
    /// private stores have it.
    pub fn at(prefix: &Path, folder: &Path) -> Self {
        let inner = prefix.strip_prefix("/").map_or_else(|_| folder.to_owned(), |inner| folder.join(inner));
        let folder = if inner.is_dir() { inner } else { folder.to_owned() };
        Self { prefix: prefix.to_owned(), folder }
    }

    /// The store in a folder of which nothing else is known: a private one where it is called like the usual one or
    /// holds a folder that is, otherwise a store whose paths begin with that folder.
    pub fn of_folder(folder: &Path) -> Self {
        let usual = Path::new(DEFAULT);
        let store = Self::at(usual, folder);
        let is_private = store.folder != folder || DEFAULT.strip_prefix('/').is_some_and(|name| folder.ends_with(name));
        if is_private { store } else { Self { prefix: folder.to_owned(), folder: folder.to_owned() } }
    }

    /// How a path of this store is written.
    pub fn path(&self, path: &StorePath) -> PathBuf {
        self.prefix.join(path.as_str())
    }

    /// Where it is on this machine.
    pub fn real(&self, path: &StorePath) -> PathBuf {
        self.folder.join(path.as_str())
    }

    /// What a path names in the store, and the path inside of that.
    pub fn parse(&self, path: &Path) -> Result<(StorePath, PathBuf), StorePathError> {
        let error = |problem: String| StorePathError { text: path.display().to_string(), problem };
        let inner = path.strip_prefix(&self.prefix).or_else(|_| path.strip_prefix(&self.folder));
        let inner = inner.map_err(|_| error(format!("it is not in {}", self.prefix.display())))?;
        let mut parts = inner.components();
        let first = match parts.next() {
            Some(Component::Normal(first)) => first.to_str().ok_or_else(|| error("it is not text".to_owned()))?,
            _ => return Err(error("it is the store itself".to_owned())),
        };
        if parts.clone().any(|part| part == Component::ParentDir) {
            return Err(error("it leads through `..`".to_owned()));
        }
        let parsed = StorePath::new(first).map_err(|flaw| error(flaw.problem))?;
        Ok((parsed, parts.as_path().to_owned()))
    }

    /// All that is in the store now, sorted. Locks, temporary files and the like are passed over.
    pub fn list(&self) -> Result<Vec<StorePath>, tree::TreeError> {
        let names = tree::list(&self.folder)?;
        let parse = |path: &PathBuf| StorePath::new(path.file_name()?.to_str()?).ok();
        Ok(names.iter().filter_map(parse).filter(|path| !path.name().ends_with(".lock")).collect())
    }

    /// Whatever looks like a path in this store, known or not.
    pub fn pattern(&self) -> Pattern {
        let mut prefix = self.prefix.as_os_str().as_bytes().to_vec();
        prefix.push(b'/');
        let (alphabet, tail) = (Class::of(ALPHABET), Class::of(NAME));
        Pattern { prefix, alphabet, length: HASH_LENGTH, tail, most: NAME_LENGTH + 1 }
    }

    /// The hashes of these paths, which Nix takes for references wherever they stand. A hit is told as the whole path.
    pub fn words<'a>(&self, paths: impl IntoIterator<Item = &'a StorePath>) -> Words {
        let word = |path: &StorePath| (path.hash().as_bytes().to_vec(), self.path(path).display().to_string());
        Words::new(Class::of(ALPHABET), HASH_LENGTH, paths.into_iter().map(word))
    }

    /// One path; a replacement overwrites its hash only.
    pub fn literal(&self, path: &StorePath) -> Literal {
        let bytes = self.path(path).as_os_str().as_bytes().to_vec();
        let start = bytes.len() - path.as_str().len();
        Literal { bytes, hidden: start..start + HASH_LENGTH }
    }

    /// Everything that Nix could take for a reference: all paths of this store, by their form and, as far as `known`
    /// names them, by their hash alone.
    pub fn needles<'a>(&self, known: impl IntoIterator<Item = &'a StorePath>) -> Needles {
        Needles::default().pattern(self.pattern()).words(self.words(known))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::num::NonZeroUsize;

    use proptest::prelude::*;

    use super::*;
    use crate::references;

    const HASH: &str = "s66mzxpvicwk07gjbjfw9izjfa797vsw";

    #[test]
    fn reads_what_nix_writes() {
        let store = Store::default();
        let (path, inner) = store.parse(Path::new(&format!("/nix/store/{HASH}-hello-2.12.1/bin/hello"))).unwrap();
        assert_eq!((path.hash(), path.name()), (HASH, "hello-2.12.1"));
        assert_eq!(inner, Path::new("bin/hello"));
        assert_eq!(store.path(&path), Path::new(&format!("/nix/store/{HASH}-hello-2.12.1")));
    }

    #[test]
    fn refuses_what_nix_would_not_write() {
        let long = "n".repeat(NAME_LENGTH + 1);
        for (text, problem) in [
            (format!("/nix/store/{}-x", &HASH[1..]), "`-` cannot be in a hash"),
            (format!("/nix/store/e{}-x", &HASH[1..]), "`e` cannot be in a hash"),
            (format!("/nix/store/{HASH}"), "no `-` follows the hash"),
            (format!("/nix/store/{HASH}-"), "it has no name"),
            (format!("/nix/store/{HASH}-{long}"), "its name is longer than 211 characters"),
            (format!("/nix/store/{HASH}-a b"), "` ` cannot be in a name"),
            (format!("/nix/store/{HASH}-.."), "its name begins like a folder's own"),
            (format!("/nix/store/{HASH}-a/../b"), "it leads through `..`"),
            ("/nix/store".to_owned(), "it is the store itself"),
            (format!("/usr/{HASH}-x"), "it is not in /nix/store"),
            ("/nix/store/short".to_owned(), "expected a hash of 32 characters, found 5"),
        ] {
            let error = Store::default().parse(Path::new(&text)).unwrap_err();
            assert_eq!(error.problem, problem, "{text}");
        }
    }

    #[test]
    fn private_stores_have_a_folder_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Store::at(DEFAULT.as_ref(), folder.path()).folder, folder.path());
        let inner = folder.path().join("nix/store");
        for name in [format!("{HASH}-b"), format!("{HASH}-a"), ".links".into(), format!("{HASH}-b.lock")] {
            fs::create_dir_all(inner.join(name)).unwrap();
        }
        let store = Store::at(DEFAULT.as_ref(), folder.path());
        assert_eq!(store.folder, inner);
        let names: Vec<String> = store.list().unwrap().iter().map(|path| path.name().to_owned()).collect();
        assert_eq!(names, ["a", "b"]);
        for path in [folder.path(), &inner] {
            assert_eq!(Store::of_folder(path), store);
        }
        let other = Store::of_folder(Path::new("/opt/shop"));
        assert_eq!((other.prefix, other.folder), (PathBuf::from("/opt/shop"), PathBuf::from("/opt/shop")));
        assert_eq!(Store::of_folder(Path::new(DEFAULT)), Store::default());
        let (path, _) = store.parse(&inner.join(format!("{HASH}-a/x"))).unwrap();
        assert_eq!((path.name(), store.real(&path)), ("a", inner.join(format!("{HASH}-a"))));
    }

    #[test]
    fn references_are_found_and_overwritten_as_nix_would() {
        let tree = tempfile::tempdir().unwrap();
        let known = StorePath::new(&format!("{HASH}-known")).unwrap();
        let unknown = format!("/nix/store/{}-other", HASH.replace('s', "1"));
        fs::write(tree.path().join("f"), format!("{HASH} {unknown} /nix/store/{}-e", "e".repeat(32))).unwrap();
        let store = Store::default();
        let jobs = NonZeroUsize::MIN;
        let found = references::scan(tree.path(), &store.needles([&known]), jobs).unwrap().found;
        let needles: Vec<&str> = found.iter().map(|found| found.needle.as_str()).collect();
        assert_eq!(needles, [&format!("/nix/store/{HASH}-known"), &unknown]);
        let policy = references::Policy::default();
        references::replace(tree.path(), &store.needles([&known]), &policy, jobs, &crate::report::Silent).unwrap();
        let e = "e".repeat(32);
        let expected = format!("{e} /nix/store/{e}-other /nix/store/{e}-e");
        assert_eq!(fs::read_to_string(tree.path().join("f")).unwrap(), expected);
        let literal = store.literal(&known);
        assert_eq!(&literal.bytes[literal.hidden], HASH.as_bytes());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,50}") {
            if let Ok(path) = StorePath::new(&text) {
                prop_assert_eq!(path.as_str(), &text);
                prop_assert_eq!(format!("{}-{}", path.hash(), path.name()), text);
            }
        }

        #[test]
        fn names_come_back(name in "[a-zA-Z0-9+_?=][a-zA-Z0-9+._?=-]{0,40}") {
            let path = StorePath::new(&format!("{HASH}-{name}")).unwrap();
            prop_assert_eq!(path.name(), name);
        }
    }
}
