//! What each file's search path becomes. Decides; changes nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::elf::{DlopenNote, Image, Priority, SearchPath, SearchTag};
use super::folder::{entry, in_tree};
use super::job::is_libc;
use super::library::{Libraries, Library};
use super::missing::{Missing, Reason};
use super::owner::Owners;
use super::report::{How, Linked, Need};
use super::scan::Scan;
use super::{Job, RelinkError};

/// What was decided.
#[derive(Debug, Default)]
pub(super) struct Resolution {
    /// The search path that each file should have.
    pub(super) search: BTreeMap<PathBuf, Option<SearchPath>>,
    /// Libraries of the inputs to copy, by the name of the copy.
    pub(super) copies: BTreeMap<String, Library>,
    /// Links beside them: name and what it leads to.
    pub(super) links: BTreeMap<String, PathBuf>,
    /// Files that open libraries by name.
    pub(super) openers: BTreeSet<PathBuf>,
    /// What is not there.
    pub(super) missing: BTreeSet<Missing>,
    /// What is not there and may be so.
    pub(super) ignored: BTreeSet<Missing>,
    /// What a person should know.
    pub(super) notes: BTreeSet<String>,
    /// Libraries of the inputs that do not find theirs: what to say, and the next step.
    pub(super) lost: Option<(String, String)>,
    /// How each file finds its libraries.
    pub(super) linked: BTreeMap<PathBuf, Linked>,
}

/// Works through the files of a tree and the libraries that they draw in.
pub(super) struct Resolver<'a> {
    pub(super) job: &'a Job<'a>,
    pub(super) owners: Owners,
    /// The tree; copies join it as they are decided.
    pub(super) scan: Scan,
    pub(super) libraries: Libraries<'a>,
    /// What is not in the tree and was found, by its path, which is absolute.
    pub(super) outside: BTreeMap<PathBuf, Arc<Image>>,
    /// Where copies go, relative to the tree.
    pub(super) libdir: PathBuf,
    /// The dynamic linker, which every process has loaded: its file name, and where it is.
    pub(super) loader: Option<(String, PathBuf)>,
    /// Folders that it searches by itself.
    pub(super) default: BTreeSet<PathBuf>,
    /// Names that files open at run time, by file, beyond those of the rules.
    pub(super) opened: BTreeMap<PathBuf, Vec<String>>,
    /// Folders that files inherit from those that load them (`DT_RPATH`).
    pub(super) inherited: BTreeMap<PathBuf, Vec<PathBuf>>,
    pub(super) result: Resolution,
    pub(super) queue: VecDeque<PathBuf>,
}

/// A need and the library that answers it. What is absolute is not in the tree.
#[derive(Debug)]
pub(super) struct Hit {
    pub(super) name: String,
    pub(super) folder: PathBuf,
    pub(super) file: PathBuf,
}

/// A file that asks, and the folders that it looks in now.
pub(super) struct Asker<'b> {
    pub(super) path: &'b Path,
    pub(super) image: &'b Image,
    pub(super) kept: &'b [(PathBuf, String)],
}

impl Resolver<'_> {
    /// Decides for every file of the tree, then for every copy that this brings, until nothing is new.
    pub(super) fn run(mut self) -> Result<(Scan, Resolution), RelinkError> {
        self.inherit();
        let tree: Vec<PathBuf> = self.scan.images.keys().cloned().collect();
        self.queue.extend(tree);
        let mut done = BTreeSet::new();
        while let Some(path) = self.queue.pop_front() {
            if done.insert(path.clone()) {
                self.decide(&path)?;
            }
        }
        self.result.notes.extend(self.libraries.collisions());
        self.look_outside()?;
        Ok((self.scan, self.result))
    }

    fn decide(&mut self, path: &Path) -> Result<(), RelinkError> {
        let Some(image) = self.scan.images.get(path).cloned() else { return Ok(()) };
        let kept = self.kept(path, &image);
        let (needs, hits) = self.needs(&Asker { path, image: &image, kept: &kept })?;
        let mut folders: Vec<(PathBuf, Option<String>)> = Vec::new();
        for (folder, text) in kept {
            if hits.iter().any(|hit| hit.folder == folder) || self.names_any_of(path, &folder)? {
                folders.push((folder, Some(text)));
            }
        }
        // Its own search path, or one less in the file that loads it, must not hide them.
        for folder in self.inherited.get(path).into_iter().flatten() {
            if !folders.iter().any(|(known, _)| known == folder) && self.names_any_of(path, folder)? {
                folders.push((folder.clone(), None));
            }
        }
        for hit in &hits {
            if !folders.iter().any(|(folder, _)| *folder == hit.folder) && !self.is_default(&image, hit) {
                folders.push((hit.folder.clone(), None));
            }
        }
        let folders = self.ordered(path, folders, &hits);
        let here = path.parent().unwrap_or(Path::new(""));
        let mut texts: Vec<String> =
            folders.into_iter().map(|(folder, text)| text.unwrap_or_else(|| entry(here, &folder))).collect();
        for text in self.owners.values(&self.job.rules.runpath, path) {
            if !texts.iter().any(|known| known == text) {
                texts.push(text.to_owned());
            }
        }
        let tag = match &image.search {
            // Without the tag, what it loads would no longer inherit these folders.
            Some(search) if !self.is_copy(path) => search.tag,
            _ => SearchTag::Runpath,
        };
        let search = (!texts.is_empty()).then(|| SearchPath { tag, text: texts.join(":") });
        let old = image.search_folders().filter(|_| !self.is_copy(path));
        let linked = Linked {
            package: self.owners.of(path).map(str::to_owned),
            needs,
            dropped: old
                .filter(|old| !texts.iter().any(|text| same_folder(path, text, old)))
                .map(str::to_owned)
                .collect(),
            search: search.as_ref().map(|search| search.text.clone()),
        };
        self.result.linked.insert(path.to_owned(), linked);
        self.result.search.insert(path.to_owned(), search);
        Ok(())
    }

    /// Answers everything that a file asks for.
    fn needs(&mut self, asker: &Asker<'_>) -> Result<(Vec<Need>, Vec<Hit>), RelinkError> {
        let (mut needs, mut hits) = (Vec::new(), Vec::new());
        let by_rule = self.owners.values(&self.job.rules.dlopen, asker.path);
        let mut opened: Vec<String> = by_rule.into_iter().map(str::to_owned).collect();
        opened.extend(self.opened.get(asker.path).cloned().unwrap_or_default());
        if !opened.is_empty() {
            self.result.openers.insert(asker.path.to_owned());
        }
        let linked = asker.image.needed.iter().map(|name| (name, How::Linked));
        for (name, how) in linked.chain(opened.iter().map(|name| (name, How::Opened))) {
            let hit = self.need(asker, name, how)?;
            needs.push(need(asker.image, name, how, hit.as_ref()));
            hits.extend(hit);
        }
        for note in &asker.image.dlopen {
            let Some(first) = note.soname.first() else { continue };
            let hit = self.note(asker, note)?;
            let name = hit.as_ref().map_or(first, |hit| &hit.name);
            needs.push(need(asker.image, name, How::Noted, hit.as_ref()));
            hits.extend(hit);
        }
        Ok((needs, hits))
    }

    /// Folders of the file's own search path that lie in the tree and hold libraries, with their spelling.
    fn kept(&self, path: &Path, image: &Image) -> Vec<(PathBuf, String)> {
        if self.is_copy(path) {
            return Vec::new();
        }
        let mut kept: Vec<(PathBuf, String)> = Vec::new();
        for text in image.search_folders() {
            let Some(folder) = in_tree(path, text) else { continue };
            if self.scan.names.contains_key(&folder) && !kept.iter().any(|(known, _)| *known == folder) {
                kept.push((folder, text.to_owned()));
            }
        }
        kept
    }

    /// Whether a file names a library of a folder somewhere, and so may open it.
    fn names_any_of(&self, path: &Path, folder: &Path) -> Result<bool, RelinkError> {
        names_any(&self.job.tree.join(path), &stems(path, self.scan.names.get(folder)))
    }

    /// Finds one library and says where, or records that it is missing. Nothing for what the dynamic linker has.
    fn need(&mut self, asker: &Asker<'_>, name: &str, how: How) -> Result<Option<Hit>, RelinkError> {
        if let Some((loader, file)) = &self.loader
            && loader == name
        {
            if let Some(lacks) = self.image(file).and_then(|found| lacks(found, asker.image, name)) {
                let found = file.clone();
                self.miss(asker.path, name, Reason::Versions { found, lacks });
            }
            return Ok(None);
        }
        if name.contains('/') || name.is_empty() {
            self.miss(asker.path, name, Reason::Path);
            return Ok(None);
        }
        match self.find(asker, name, how)? {
            Ok(hit) => Ok(Some(hit)),
            // Programs keep a dynamic linker that is not known here.
            Err(_) if self.loader.is_none() && is_libc(name) => Ok(None),
            Err(reason) => {
                self.miss(asker.path, name, reason);
                Ok(None)
            }
        }
    }

    /// A library that a file says it opens: any one of its names will do.
    fn note(&mut self, asker: &Asker<'_>, note: &DlopenNote) -> Result<Option<Hit>, RelinkError> {
        for name in note.soname.iter().filter(|name| !name.is_empty() && !name.contains('/')) {
            if note.priority == Priority::Suggested && !self.has_for_nothing(asker, name)? {
                continue;
            }
            if let Ok(hit) = self.find(asker, name, How::Noted)? {
                return Ok(Some(hit));
            }
        }
        let Some(first) = note.soname.first() else { return Ok(None) };
        match note.priority {
            Priority::Required => self.miss(asker.path, first, Reason::NotFoundByName),
            Priority::Recommended => {
                let note = format!("{} can make use of {first}, which is not there", asker.path.display());
                self.result.notes.insert(note);
            }
            Priority::Suggested => {}
        }
        Ok(None)
    }

    /// Orders folders so that each need finds its own library first, and else leaves the order alone.
    fn ordered(
        &mut self,
        path: &Path,
        folders: Vec<(PathBuf, Option<String>)>,
        hits: &[Hit],
    ) -> Vec<(PathBuf, Option<String>)> {
        // A folder must wait for those that answer a need which it would answer wrongly.
        let waits = |folder: &Path, other: &Path| {
            hits.iter().any(|hit| {
                hit.folder == other
                    && hit.folder != folder
                    && self.file(folder, &hit.name).is_some_and(|file| file != hit.file)
            })
        };
        let mut rest = folders;
        let mut ordered: Vec<(PathBuf, Option<String>)> = Vec::new();
        while !rest.is_empty() {
            let free = rest.iter().position(|(folder, _)| !rest.iter().any(|(other, _)| waits(folder, other)));
            ordered.push(rest.remove(free.unwrap_or(0)));
        }
        let wrong: Vec<(String, PathBuf, PathBuf)> = hits
            .iter()
            .filter_map(|hit| {
                let first = ordered.iter().find_map(|(folder, _)| self.file(folder, &hit.name))?;
                (first != hit.file).then(|| (hit.name.clone(), hit.file.clone(), first))
            })
            .collect();
        for (name, wanted, found) in wrong {
            self.miss(path, &name, Reason::Conflict { wanted, found });
        }
        ordered
    }

    fn miss(&mut self, path: &Path, name: &str, reason: Reason) {
        let missing = Missing::new(name, path, self.owners.of(path), reason);
        let allowed = self.owners.listed(&self.job.rules.may_be_missing(), path, name);
        let list = if allowed { &mut self.result.ignored } else { &mut self.result.missing };
        list.insert(missing);
    }

    /// Whether the dynamic linker finds a library by itself.
    fn is_default(&self, image: &Image, hit: &Hit) -> bool {
        let known = self.default.contains(&hit.folder) && !image.no_default_lib;
        known && is_libc(&hit.name) && !self.job.rules.keep_libc
    }

    pub(super) fn is_copy(&self, path: &Path) -> bool {
        path.parent() == Some(&self.libdir)
            && path.file_name().is_some_and(|name| self.result.copies.contains_key(&*name.to_string_lossy()))
    }
}

/// Whether two entries of a file's search path mean the same folder.
fn same_folder(path: &Path, a: &str, b: &str) -> bool {
    a == b || in_tree(path, a).is_some_and(|folder| in_tree(path, b) == Some(folder))
}

fn need(image: &Image, name: &str, how: How, hit: Option<&Hit>) -> Need {
    let versions = image.needs.get(name).into_iter().flatten().map(|version| version.name.clone()).collect();
    Need { soname: name.to_owned(), how, versions, found: hit.map(|hit| hit.file.clone()) }
}

/// How programs name the libraries of a folder, at the least: `libfoo` for `libfoo.so.1`. Not the file at `path`.
pub(super) fn stems<'n>(path: &Path, names: Option<&'n BTreeMap<String, PathBuf>>) -> BTreeSet<&'n str> {
    let others = names.into_iter().flatten().filter(|(_, file)| *file != path);
    let stems = others.filter_map(|(name, _)| name.split(".so").next());
    // Extension modules are opened by their whole path.
    stems.filter(|stem| stem.starts_with(STEM) && stem.len() > 4).collect()
}

/// How all stems begin.
const STEM: &str = "lib";

/// Whether a file has one of the stems somewhere. It may be large: it is read in pieces, and no further than needed.
pub(super) fn names_any(path: &Path, stems: &BTreeSet<&str>) -> Result<bool, RelinkError> {
    const PIECE: usize = 1 << 18;
    let Some(longest) = stems.iter().map(|stem| stem.len()).max() else { return Ok(false) };
    let io = |source| RelinkError::Io { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(io)?;
    let begin = memchr::memmem::Finder::new(STEM);
    let mut piece = Vec::with_capacity(PIECE + longest);
    loop {
        let before = piece.len();
        Read::by_ref(&mut file).take(PIECE as u64).read_to_end(&mut piece).map_err(io)?;
        let named = |at: usize| stems.iter().any(|stem| piece[at..].starts_with(stem.as_bytes()));
        if begin.find_iter(&piece).any(named) {
            return Ok(true);
        }
        if piece.len() == before {
            return Ok(false);
        }
        // A name may go on in the next piece.
        piece.drain(..piece.len().saturating_sub(longest - 1));
    }
}

/// Versions that a file needs of the library `name`, and that the one that was found does not define.
pub(super) fn lacks(found: &Image, image: &Image, name: &str) -> Option<BTreeSet<String>> {
    // The dynamic linker takes a library without any versions for any version.
    if found.defines.is_empty() {
        return None;
    }
    let needs = image.needs.get(name).into_iter().flatten().filter(|version| !version.weak);
    let lacks: BTreeSet<String> =
        needs.map(|version| version.name.clone()).filter(|version| !found.defines.contains(version)).collect();
    (!lacks.is_empty()).then_some(lacks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_names_across_pieces() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for at in (0..40).map(|back| (1 << 18) - back).chain([0, 10, 700_000]) {
            let mut bytes = vec![b'l'; at];
            bytes.extend(b"libplug");
            std::fs::write(&path, &bytes).unwrap();
            assert!(names_any(&path, &BTreeSet::from(["libother-and-longer", "libplug"])).unwrap(), "{at}");
            assert!(!names_any(&path, &BTreeSet::from(["libplug-in"])).unwrap(), "{at}");
        }
        assert!(!names_any(&path, &BTreeSet::new()).unwrap());
    }
}
