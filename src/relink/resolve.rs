//! Which file needs which library, and where it is found. Decides; changes nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use super::elf::{Image, Priority, SearchPath, SearchTag};
use super::library::{Libraries, Library};
use super::missing::{Missing, Reason};
use super::scan::{Scan, join};
use super::{LIBC, RelinkError, origin};
use crate::inputs::Runtime;

/// What [`Resolver::run`] decided.
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
    pub(super) notes: Vec<String>,
}

/// Works through the files of a tree and the libraries that they draw in.
pub(super) struct Resolver<'a> {
    /// The tree; copies join it as they are decided.
    pub(super) scan: Scan,
    /// Where copies come from; `None` where the tree must do by itself.
    pub(super) libraries: Option<Libraries<'a>>,
    /// Whether they are copied or referred to.
    pub(super) runtime: Runtime,
    /// What is not in the tree and was found, by its path, which is absolute.
    pub(super) outside: BTreeMap<PathBuf, Image>,
    /// Where copies go, relative to the tree.
    pub(super) libdir: PathBuf,
    /// File name of the dynamic linker, which every process has loaded.
    pub(super) loader: String,
    /// Where it is: below the tree, or absolute.
    pub(super) loader_file: PathBuf,
    /// Folders that it searches by itself.
    pub(super) default: BTreeSet<PathBuf>,
    /// Names that files open at run time, by file.
    pub(super) dlopen: BTreeMap<PathBuf, Vec<String>>,
    /// Patterns of what may be missing: `SONAME`, or `FILE:SONAME`.
    pub(super) ignore: &'a [String],
    /// What was decided so far.
    pub(super) result: Resolution,
    pub(super) queue: VecDeque<PathBuf>,
}

/// How a library is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    /// A `DT_NEEDED` entry.
    Linked,
    /// The program calls `dlopen` with the name.
    ByName,
}

/// How far to look for a library.
#[derive(Clone, Copy)]
enum Reach {
    /// In the file's own search path and folder.
    Own,
    /// In the tree's library folder, and in the inputs.
    Copies,
    /// In all of the tree: packages that bundle libraries for each other.
    Tree,
}

/// A need and the library that answers it. What is absolute is not in the tree.
struct Hit {
    name: String,
    folder: PathBuf,
    file: PathBuf,
}

impl Resolver<'_> {
    /// Decides for every file of the tree, then for every copy that this brings, until nothing is new.
    pub(super) fn run(mut self) -> Result<(Scan, Resolution), RelinkError> {
        let tree: Vec<PathBuf> = self.scan.images.keys().cloned().collect();
        self.queue.extend(tree);
        let mut done = BTreeSet::new();
        while let Some(path) = self.queue.pop_front() {
            if done.insert(path.clone()) {
                self.decide(&path)?;
            }
        }
        Ok((self.scan, self.result))
    }

    fn decide(&mut self, path: &Path) -> Result<(), RelinkError> {
        let Some(image) = self.scan.images.get(path).cloned() else { return Ok(()) };
        let kept = self.kept(path, &image);
        let mut hits = Vec::new();
        for name in &image.needed {
            hits.extend(self.need(path, &image, &kept, name, How::Linked)?);
        }
        for name in self.dlopen.get(path).cloned().unwrap_or_default() {
            hits.extend(self.need(path, &image, &kept, &name, How::ByName)?);
        }
        for note in &image.dlopen {
            hits.extend(self.note(path, &image, &kept, &note.soname, note.priority)?);
        }
        let mut folders: Vec<(PathBuf, Option<String>)> =
            kept.into_iter().map(|(folder, text)| (folder, Some(text))).collect();
        for hit in &hits {
            if !folders.iter().any(|(folder, _)| *folder == hit.folder) && !self.is_default(hit) {
                folders.push((hit.folder.clone(), None));
            }
        }
        let folders = self.ordered(path, folders, &hits);
        let here = path.parent().unwrap_or(Path::new(""));
        let texts: Vec<String> =
            folders.into_iter().map(|(folder, text)| text.unwrap_or_else(|| entry(here, &folder))).collect();
        let tag = match &image.search {
            // Without the tag, what it loads would no longer inherit these folders.
            Some(search) if !self.is_copy(path) => search.tag,
            _ => SearchTag::Runpath,
        };
        let search = (!texts.is_empty()).then(|| SearchPath { tag, text: texts.join(":") });
        self.result.search.insert(path.to_owned(), search);
        Ok(())
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

    /// Finds one library and says where, or records that it is missing. Nothing for the dynamic linker.
    fn need(
        &mut self,
        path: &Path,
        image: &Image,
        kept: &[(PathBuf, String)],
        name: &str,
        how: How,
    ) -> Result<Option<Hit>, RelinkError> {
        if name == self.loader {
            if let Some(lacks) = self.image(&self.loader_file).and_then(|found| lacks(found, image, name)) {
                self.miss(path, name, Reason::Versions { found: self.loader_file.clone(), lacks });
            }
            return Ok(None);
        }
        if name.contains('/') || name.is_empty() {
            self.miss(path, name, Reason::Path);
            return Ok(None);
        }
        match self.find(path, image, kept, name, how)? {
            Ok(hit) => Ok(Some(hit)),
            Err(reason) => {
                self.miss(path, name, reason);
                Ok(None)
            }
        }
    }

    /// The first file of this name that will do: in the file's own search path or folder, among the copies from
    /// the inputs, anywhere else in the tree.
    fn find(
        &mut self,
        path: &Path,
        image: &Image,
        kept: &[(PathBuf, String)],
        name: &str,
        how: How,
    ) -> Result<Result<Hit, Reason>, RelinkError> {
        let mut reason = None;
        for reach in [Reach::Own, Reach::Copies, Reach::Tree] {
            for folder in self.folders(reach, path, kept, name, how)? {
                let Some(file) = self.file(&folder, name) else { continue };
                match self.image(&file).and_then(|found| lacks(found, image, name)) {
                    None => return Ok(Ok(Hit { name: name.to_owned(), folder, file })),
                    Some(lacks) => drop(reason.get_or_insert(Reason::Versions { found: file, lacks })),
                }
            }
        }
        let absent = if how == How::ByName { Reason::NotFoundByName } else { Reason::NotFound };
        Ok(Err(reason.unwrap_or(absent)))
    }

    /// Folders of the tree to look in, the preferred one first.
    fn folders(
        &mut self,
        reach: Reach,
        path: &Path,
        kept: &[(PathBuf, String)],
        name: &str,
        how: How,
    ) -> Result<Vec<PathBuf>, RelinkError> {
        match reach {
            Reach::Own => {
                let own = kept.iter().map(|(folder, _)| folder.clone());
                Ok(own.chain(path.parent().map(Path::to_owned)).collect())
            }
            Reach::Copies if self.scan.find(&self.libdir, name).is_some() => Ok(vec![self.libdir.clone()]),
            Reach::Copies => Ok(self.from_inputs(path, name, how)?.into_iter().collect()),
            Reach::Tree if self.is_copy(path) => Ok(Vec::new()),
            Reach::Tree => Ok(self.elsewhere(path, name)),
        }
    }

    /// All folders that have a file of this name, those nearest to the top first.
    fn elsewhere(&mut self, path: &Path, name: &str) -> Vec<PathBuf> {
        let names = self.scan.names.iter().filter(|(_, names)| names.contains_key(name));
        let mut folders: Vec<PathBuf> = names.map(|(folder, _)| folder.clone()).collect();
        folders.sort_by_key(|folder| (folder.components().count(), folder.clone()));
        if folders.len() > 1 {
            let all: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
            let all = all.join(", ");
            self.result
                .notes
                .push(format!("{} needs {name}, which is in {all}: the first that will do is taken", path.display()));
        }
        folders
    }

    /// Takes a library from the inputs, if they have it, and gives the folder where it is found from now on.
    fn from_inputs(&mut self, path: &Path, name: &str, how: How) -> Result<Option<PathBuf>, RelinkError> {
        let first = self.search_in_inputs(path);
        let Some(libraries) = &mut self.libraries else { return Ok(None) };
        let mut library = libraries.find(name, &first)?;
        if library.is_none() && how == How::ByName {
            library = libraries.versioned(name)?;
        }
        let Some(library) = library else { return Ok(None) };
        Ok(match self.runtime {
            Runtime::Copied => {
                self.take(name, library);
                Some(self.libdir.clone())
            }
            Runtime::Referenced => self.refer(name, library),
        })
    }

    /// Makes a library of the inputs part of the tree, under its soname and under the name that asked for it.
    pub(super) fn take(&mut self, name: &str, library: Library) {
        let file = self.libdir.join(&library.name);
        if library.name != name {
            self.result.links.insert(name.to_owned(), PathBuf::from(&library.name));
        }
        if !self.scan.images.contains_key(&file) {
            self.scan.images.insert(file.clone(), library.image.clone());
            self.scan.name(&file, &file);
            self.queue.push_back(file.clone());
            self.result.copies.insert(library.name.clone(), library);
        }
        self.scan.name(&self.libdir.join(name), &file);
    }

    /// Refers to a library of the inputs where it is. The dynamic linker looks for file names only: a library
    /// that has the name in its header alone gets a link in the tree.
    fn refer(&mut self, name: &str, library: Library) -> Option<PathBuf> {
        let folder = library.path.parent()?.to_owned();
        let named = library.path.file_name().is_some_and(|file| file == name);
        self.outside.insert(library.path.clone(), library.image);
        if named {
            return Some(folder);
        }
        self.result.links.insert(name.to_owned(), library.path.clone());
        self.scan.name(&self.libdir.join(name), &library.path);
        Some(self.libdir.clone())
    }

    /// The library of this name in a folder of the tree or of the inputs.
    fn file(&self, folder: &Path, name: &str) -> Option<PathBuf> {
        let outside = || Some(folder.join(name)).filter(|file| self.outside.contains_key(file));
        self.scan.find(folder, name).cloned().or_else(outside)
    }

    fn image(&self, file: &Path) -> Option<&Image> {
        self.scan.images.get(file).or_else(|| self.outside.get(file))
    }

    /// Whether the dynamic linker finds a library by itself.
    fn is_default(&self, hit: &Hit) -> bool {
        self.default.contains(&hit.folder) && LIBC.iter().any(|pattern| super::glob::matches(pattern, &hit.name))
    }

    /// A copy's search path as it was in the inputs.
    fn search_in_inputs(&self, path: &Path) -> Vec<PathBuf> {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let Some(library) = self.result.copies.get(&name).filter(|_| self.is_copy(path)) else { return Vec::new() };
        let here = library.path.parent().unwrap_or(Path::new("/"));
        let expand = |text: &str| {
            let text = text.replace("${ORIGIN}", "$ORIGIN").replace("$ORIGIN", &here.to_string_lossy());
            (text.starts_with('/') && !text.contains('$')).then(|| PathBuf::from(text))
        };
        library.image.search_folders().filter_map(expand).collect()
    }

    /// A library that a file says it opens: any one of `names` will do.
    fn note(
        &mut self,
        path: &Path,
        image: &Image,
        kept: &[(PathBuf, String)],
        names: &[String],
        priority: Priority,
    ) -> Result<Option<Hit>, RelinkError> {
        if priority == Priority::Suggested {
            return Ok(None);
        }
        for name in names.iter().filter(|name| !name.contains('/')) {
            if let Ok(hit) = self.find(path, image, kept, name, How::Linked)? {
                return Ok(Some(hit));
            }
        }
        let Some(first) = names.first() else { return Ok(None) };
        if priority == Priority::Required {
            self.miss(path, first, Reason::NotFoundByName);
        } else {
            self.result.notes.push(format!("{} can make use of {first}, which is not there", path.display()));
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
        let missing = Missing { soname: name.to_owned(), file: path.to_owned(), reason };
        let list = if missing.is_ignored(self.ignore) { &mut self.result.ignored } else { &mut self.result.missing };
        list.insert(missing);
    }

    fn is_copy(&self, path: &Path) -> bool {
        path.parent() == Some(&self.libdir)
            && path.file_name().is_some_and(|name| self.result.copies.contains_key(&*name.to_string_lossy()))
    }
}

/// The folder of the tree that an entry of a search path means, for a file at `path`; `None` for folders
/// outside of it, for the working folder, and for other tokens than `$ORIGIN`.
pub(super) fn in_tree(path: &Path, text: &str) -> Option<PathBuf> {
    let rest = text.strip_prefix("$ORIGIN").or_else(|| text.strip_prefix("${ORIGIN}"))?;
    if !(rest.is_empty() || rest.starts_with('/')) || rest.contains('$') {
        return None;
    }
    join(path.parent()?, Path::new(rest.trim_start_matches('/')))
}

/// A folder as an entry of the search path of a file in the folder `from` of the tree.
fn entry(from: &Path, folder: &Path) -> String {
    if folder.is_absolute() { folder.to_string_lossy().into_owned() } else { origin(from, folder) }
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
