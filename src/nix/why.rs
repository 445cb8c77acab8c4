//! What keeps a store path alive, and why.
//!
//! References are computed as Nix does when it registers a build's output: a path refers to another one where the hash
//! of that stands in its contents, names or links. No database is needed, so it works for any store's folder. Paths that
//! were registered with fewer references (`unsafeDiscardReferences`, sources) show more here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::store::{Store, StorePath, StorePathError};
use crate::explain::{ExitCode, Explain};
use crate::references::{self, Encoding, Found, Needles, ReferencesError};
use crate::relink::glob;
use crate::tree::{self, Kind, TreeError};

/// Why a closure could not be computed.
#[derive(Debug, thiserror::Error)]
pub enum WhyError {
    /// The result is nothing in the store.
    #[error(transparent)]
    Path(#[from] StorePathError),
    /// A folder could not be listed.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// References could not be looked for.
    #[error(transparent)]
    References(#[from] ReferencesError),
    /// A link could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// It names several paths of the closure.
    #[error("`{text}` may be any of {}", paths.join(", "))]
    Ambiguous {
        /// What was asked for.
        text: String,
        /// What it may be.
        paths: Vec<String>,
    },
}

impl Explain for WhyError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Path(error) => error.hint(),
            Self::Tree(error) => error.hint(),
            Self::References(error) => error.hint(),
            Self::Ambiguous { .. } => Some("give the whole store path".to_owned()),
            Self::Io { .. } => None,
        }
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Path(error) => error.exit_code(),
            Self::References(error) => error.exit_code(),
            Self::Ambiguous { .. } => ExitCode::Usage,
            Self::Tree(_) | Self::Io { .. } => ExitCode::Failed,
        }
    }
}

/// A store path, all that it refers to, and all that these refer to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Closure {
    /// Where it begins.
    pub root: StorePath,
    /// Everything, the root too.
    pub members: BTreeMap<StorePath, Member>,
}

/// A store path in a closure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Member {
    /// Bytes of its files.
    pub size: u64,
    /// What it refers to, and where. Itself is left out.
    pub references: BTreeMap<StorePath, Vec<Found>>,
    /// Those that refer to it directly.
    pub kept_by: BTreeSet<StorePath>,
}

/// From the root to a path: each refers to the next.
pub type Chain = Vec<StorePath>;

/// What `result` is in the store: a path in it, or a link to one, as `nix-build` makes them.
pub fn resolve(result: &Path, store: &Store) -> Result<StorePath, WhyError> {
    let mut path = result.to_owned();
    for _ in 0..40 {
        let parsed = store.parse(&path);
        match (parsed, tree::kind(&path)) {
            (Ok((parsed, _)), _) => return Ok(parsed),
            (Err(_), Ok(Kind::Link { target })) => path = path.parent().unwrap_or(Path::new("/")).join(target),
            (Err(error), _) => {
                // A folder above may be a link.
                let real = fs::canonicalize(&path).map_err(|source| WhyError::Io { path, source })?;
                return store.parse(&real).map(|(parsed, _)| parsed).map_err(|_| error.into());
            }
        }
    }
    let problem = "it is a link that leads to itself".to_owned();
    Err(StorePathError { text: result.display().to_string(), problem }.into())
}

/// The closure of `root`, each path of it read once. `jobs` changes the time only.
pub fn closure(root: &StorePath, store: &Store, jobs: NonZeroUsize) -> Result<Closure, WhyError> {
    let known = store.list()?;
    let needles = Needles::default().words(store.words(&known));
    let mut members: BTreeMap<StorePath, Member> = BTreeMap::new();
    let mut open = VecDeque::from([root.clone()]);
    while let Some(path) = open.pop_front() {
        if members.contains_key(&path) {
            continue;
        }
        let member = member(&path, store, &needles, jobs)?;
        open.extend(member.references.keys().cloned());
        members.insert(path, member);
    }
    let edges: Vec<(StorePath, StorePath)> = members
        .iter()
        .flat_map(|(from, member)| member.references.keys().map(|to| (to.clone(), from.clone())))
        .collect();
    for (to, from) in edges {
        members.entry(to).or_default().kept_by.insert(from);
    }
    Ok(Closure { root: root.clone(), members })
}

fn member(path: &StorePath, store: &Store, needles: &Needles, jobs: NonZeroUsize) -> Result<Member, WhyError> {
    let real = store.real(path);
    let (found, size) = if let Kind::Link { target } = tree::kind(&real)? {
        (link(&target, store, needles, jobs)?, 0)
    } else {
        let scan = references::scan(&real, needles, jobs)?;
        (scan.found, scan.bytes)
    };
    let mut member = Member { size, ..Member::default() };
    // Nix sees neither what is compressed nor UTF-16.
    for one in found.into_iter().filter(|one| one.member.is_none() && one.encoding == Encoding::Bytes) {
        let (to, _) = store.parse(Path::new(&one.needle))?;
        if to != *path {
            member.references.entry(to).or_default().push(one);
        }
    }
    Ok(member)
}

/// A store path may be a link itself: it is looked for as if it were in a folder.
fn link(target: &Path, store: &Store, needles: &Needles, jobs: NonZeroUsize) -> Result<Vec<Found>, WhyError> {
    let io_error = |source| WhyError::Io { path: store.folder.clone(), source };
    let folder = tempfile::tempdir().map_err(io_error)?;
    std::os::unix::fs::symlink(target, folder.path().join("link")).map_err(io_error)?;
    let mut found = references::scan(folder.path(), needles, jobs)?.found;
    for one in &mut found {
        one.path = PathBuf::new();
    }
    Ok(found)
}

impl Closure {
    /// Bytes of all files.
    pub fn size(&self) -> u64 {
        self.members.values().map(|member| member.size).sum()
    }

    /// The path that a person means: a store path, its last component, its hash, or its name, which may be a glob.
    /// `None` where there is no such in the closure.
    pub fn find(&self, text: &str, store: &Store) -> Result<Option<&StorePath>, WhyError> {
        let exact = store.parse(Path::new(text)).ok().map(|(path, _)| path);
        let is_meant = |path: &&StorePath| match &exact {
            Some(exact) => *path == exact,
            None => path.as_str() == text || path.hash() == text || glob::matches(text, path.name()),
        };
        let found: Vec<&StorePath> = self.members.keys().filter(is_meant).collect();
        match found.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(one)),
            several => {
                let paths = several.iter().map(|path| store.path(path).display().to_string()).collect();
                Err(WhyError::Ambiguous { text: text.to_owned(), paths })
            }
        }
    }

    /// The shortest chain to `to`; of several, the first by the order of the paths.
    pub fn chain(&self, to: &StorePath) -> Option<Chain> {
        let mut before: BTreeMap<&StorePath, &StorePath> = BTreeMap::new();
        let mut open = VecDeque::from([&self.root]);
        while let Some(path) = open.pop_front() {
            if path == to {
                let mut chain = vec![path.clone()];
                let mut at = path;
                while let Some(previous) = before.get(at).filter(|_| *at != self.root) {
                    chain.push((*previous).clone());
                    at = previous;
                }
                chain.reverse();
                return Some(chain);
            }
            for next in self.members.get(path).into_iter().flat_map(|member| member.references.keys()) {
                if *next != self.root && !before.contains_key(next) {
                    before.insert(next, path);
                    open.push_back(next);
                }
            }
        }
        None
    }

    /// The chain for a person: each path, where it names the next one, and how to cut each link.
    pub fn explain(&self, to: &StorePath, store: &Store) -> String {
        /// Places shown of each link.
        const SHOWN: usize = 6;
        let Some(chain) = self.chain(to) else {
            return format!("{} does not keep {} alive\n", store.path(&self.root).display(), store.path(to).display());
        };
        let mut text = format!("{}\n", store.path(&self.root).display());
        let mut advice = BTreeSet::new();
        for (depth, pair) in chain.windows(2).enumerate() {
            let [from, next] = pair else { continue };
            let found = self.members.get(from).and_then(|member| member.references.get(next));
            let indent = "  ".repeat(depth + 1);
            let _ = writeln!(text, "{indent}→ {}", store.path(next).display());
            let found = found.map(Vec::as_slice).unwrap_or_default();
            advice.extend(found.iter().map(|one| one.place.advice(false)));
            for one in found.iter().take(SHOWN) {
                let count = if one.count > 1 { format!(", {} times", one.count) } else { String::new() };
                let path = if one.path.as_os_str().is_empty() { Path::new(".") } else { &one.path };
                let place = format!("{}  {} at {}{count}", path.display(), one.place, one.offset);
                let _ = writeln!(text, "{indent}    {place}  `{}`", one.context);
            }
            if found.len() > SHOWN {
                let _ = writeln!(text, "{indent}    and {} more places", found.len() - SHOWN);
            }
        }
        let last = chain.len().checked_sub(2).and_then(|index| chain.get(index));
        let others = self.members.get(to).map(|member| &member.kept_by).into_iter().flatten();
        let others: Vec<String> =
            others.filter(|path| Some(*path) != last).map(|path| store.path(path).display().to_string()).collect();
        if !others.is_empty() {
            let _ = writeln!(text, "also kept by:\n  {}", others.join("\n  "));
        }
        if !advice.is_empty() {
            let lines: Vec<&str> = advice.into_iter().collect();
            let _ = writeln!(text, "to cut it:\n  {}", lines.join("\n  "));
        }
        text
    }

    /// The closure for a person: size, path, and who keeps each, the largest first.
    pub fn table(&self, store: &Store) -> String {
        let mut rows: Vec<(&StorePath, &Member)> = self.members.iter().collect();
        rows.sort_by(|a, b| b.1.size.cmp(&a.1.size).then_with(|| a.0.cmp(b.0)));
        let mut text = String::new();
        for (path, member) in rows {
            let names: Vec<&str> = member.kept_by.iter().map(StorePath::name).collect();
            let keepers =
                if *path == self.root { "the result".to_owned() } else { format!("kept by {}", names.join(", ")) };
            let _ = writeln!(text, "{:>14}  {}  {keepers}", member.size, store.path(path).display());
        }
        let _ = writeln!(text, "{:>14}  {} paths", self.size(), self.members.len());
        text
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn path(digit: char, name: &str) -> StorePath {
        StorePath::new(&format!("{}-{name}", digit.to_string().repeat(32))).unwrap()
    }

    struct Fixture {
        folder: tempfile::TempDir,
        store: Store,
    }

    /// app → lib → data, app → tool → lib, link → app, stray.
    fn fixture() -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().join("nix/store");
        fs::create_dir_all(&real).unwrap();
        let store = Store::at(Path::new(super::super::store::DEFAULT), folder.path());
        let put = |path: &StorePath, file: &str, text: &str| {
            let file = store.real(path).join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        let [app, tool, lib, data, stray] = [('1', "app"), ('2', "tool"), ('3', "lib"), ('4', "data"), ('5', "stray")]
            .map(|(digit, name)| path(digit, name));
        let text = |path: &StorePath| store.path(path).display().to_string();
        put(&app, "bin/run", &format!("#!{}/bin/sh\nuse {}\nand {}\n", text(&tool), text(&lib), text(&app)));
        put(&tool, "doc", &format!("see {}", lib.hash()));
        put(&lib, "a", "none");
        symlink(store.path(&data).join("x"), store.real(&lib).join("b")).unwrap();
        fs::write(store.real(&data), "data").unwrap();
        put(&stray, "x", &text(&app));
        symlink(store.path(&app), store.real(&path('6', "link"))).unwrap();
        Fixture { folder, store }
    }

    fn names(chain: &[StorePath]) -> Vec<&str> {
        chain.iter().map(StorePath::name).collect()
    }

    #[test]
    fn follows_references_to_their_end() {
        let fixture = fixture();
        let result = fixture.folder.path().join("result");
        symlink(fixture.store.path(&path('1', "app")), &result).unwrap();
        let root = resolve(&result, &fixture.store).unwrap();
        let closure = closure(&root, &fixture.store, NonZeroUsize::MIN).unwrap();
        assert_eq!(names(&closure.members.keys().cloned().collect::<Vec<_>>()), ["app", "tool", "lib", "data"]);
        assert_eq!(names(&closure.chain(&path('4', "data")).unwrap()), ["app", "lib", "data"]);
        assert_eq!(names(&closure.chain(&root).unwrap()), ["app"]);
        assert_eq!(closure.chain(&path('5', "stray")), None);
        let lib = &closure.members[&path('3', "lib")];
        assert_eq!(names(&lib.kept_by.iter().cloned().collect::<Vec<_>>()), ["app", "tool"]);
        let linked = super::closure(&path('6', "link"), &fixture.store, NonZeroUsize::MIN).unwrap();
        assert_eq!(linked.members.len(), 5);
    }

    #[test]
    fn explains_each_link_of_the_chain() {
        let fixture = fixture();
        let closure = closure(&path('1', "app"), &fixture.store, NonZeroUsize::MIN).unwrap();
        let data = closure.find("data", &fixture.store).unwrap().unwrap();
        insta::assert_snapshot!(closure.explain(data, &fixture.store), @r"
        /nix/store/11111111111111111111111111111111-app
          → /nix/store/33333333333333333333333333333333-lib
              bin/run  line 2 at 73  `use /nix/store/33333333333333333333333333333333-lib`
            → /nix/store/44444444444444444444444444444444-data
                b  link target at 11  `/nix/store/44444444444444444444444444444444-data/x`
        to cut it:
          make the link relative, or remove it
          overwrite it: akb references --replace
        ");
        let table = closure.table(&fixture.store);
        let rows: Vec<&str> = table.lines().map(str::trim_start).collect();
        let row = |size: u64, path: StorePath, keepers: &str| format!("{size}  /nix/store/{path}  {keepers}");
        let expected = [
            row(162, path('1', "app"), "the result"),
            row(36, path('2', "tool"), "kept by app"),
            row(4, path('3', "lib"), "kept by app, tool"),
            row(4, path('4', "data"), "kept by lib"),
            "206  4 paths".to_owned(),
        ];
        assert_eq!(rows, expected);
    }

    #[test]
    fn finds_what_is_meant() {
        let fixture = fixture();
        let closure = closure(&path('1', "app"), &fixture.store, NonZeroUsize::MIN).unwrap();
        let lib = path('3', "lib");
        for text in ["lib", "l*", lib.hash(), lib.as_str(), &format!("/nix/store/{lib}/a")] {
            assert_eq!(closure.find(text, &fixture.store).unwrap(), Some(&lib), "{text}");
        }
        assert_eq!(closure.find("stray", &fixture.store).unwrap(), None);
        assert!(matches!(closure.find("*", &fixture.store), Err(WhyError::Ambiguous { .. })));
        let error = resolve(Path::new("/usr"), &fixture.store).unwrap_err();
        assert_eq!(error.to_string(), "`/usr` is no store path: it is not in /nix/store");
    }
}
