//! Where a library is found: beside those that need it, in the inputs, anywhere in the tree.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::RelinkError;
use super::elf::{Image, SearchTag};
use super::folder::{in_tree, is_nameable, relative};
use super::job::is_libc;
use super::library::Library;
use super::missing::Reason;
use super::report::How;
use super::resolve::{Asker, Hit, Resolver, lacks};
use super::scan::Kinship;
use crate::inputs::Runtime;

/// How far to look for a library.
#[derive(Clone, Copy)]
enum Reach {
    /// In the file's own search path, in what it inherits, and in its folder.
    Own,
    /// In the tree's library folder, and in the inputs.
    Inputs,
    /// In all of the tree: packages that bundle libraries for each other.
    Tree,
}

impl Resolver<'_> {
    /// The first file of this name that will do: in the file's own search path or folder, in the inputs, anywhere
    /// else in the tree.
    pub(super) fn find(&mut self, asker: &Asker<'_>, name: &str, how: How) -> Result<Result<Hit, Reason>, RelinkError> {
        // A process has one C library, and that is the dynamic linker's.
        let order = if is_libc(name) {
            [Reach::Inputs, Reach::Own, Reach::Tree]
        } else {
            [Reach::Own, Reach::Inputs, Reach::Tree]
        };
        let mut reason = None;
        for reach in order {
            for folder in self.folders(reach, asker, name, how)? {
                let Some(file) = self.file(&folder, name) else { continue };
                let here = asker.path.parent().unwrap_or(Path::new(""));
                let nameable = is_nameable(here, &folder);
                let unnameable = || (!nameable).then(|| Reason::Unnameable { found: file.clone() });
                match self.objection(asker.image, name, &file).or_else(unnameable) {
                    None => return Ok(Ok(Hit { name: name.to_owned(), folder, file })),
                    Some(objection) => drop(reason.get_or_insert(objection)),
                }
            }
        }
        let absent = if how == How::Linked { Reason::NotFound } else { Reason::NotFoundByName };
        let other =
            self.libraries.unsuitable(name, Kinship::of(asker.image))?.map(|found| Reason::Unsuitable { found });
        Ok(Err(reason.or(other).unwrap_or(absent)))
    }

    /// Why a file that was found will not do.
    fn objection(&self, image: &Image, name: &str, file: &Path) -> Option<Reason> {
        let found = self.image(file)?;
        if Kinship::of(image).refuses(found).is_some() {
            return Some(Reason::Unsuitable { found: file.to_owned() });
        }
        lacks(found, image, name).map(|lacks| Reason::Versions { found: file.to_owned(), lacks })
    }

    /// Folders to look in, the preferred one first.
    fn folders(&mut self, reach: Reach, asker: &Asker<'_>, name: &str, how: How) -> Result<Vec<PathBuf>, RelinkError> {
        match reach {
            Reach::Own => {
                let own = asker.kept.iter().map(|(folder, _)| folder.clone());
                let inherited = self.inherited.get(asker.path).into_iter().flatten().cloned();
                Ok(own.chain(inherited).chain(asker.path.parent().map(Path::to_owned)).collect())
            }
            Reach::Inputs if self.scan.find(&self.libdir, name).is_some() => Ok(vec![self.libdir.clone()]),
            Reach::Inputs => Ok(self.draw(asker, name, how)?.into_iter().collect()),
            Reach::Tree if self.is_copy(asker.path) => Ok(Vec::new()),
            Reach::Tree => Ok(self.elsewhere(asker, name)),
        }
    }

    /// All folders of the tree that have a suitable file of this name, those nearest to who asks first.
    fn elsewhere(&mut self, asker: &Asker<'_>, name: &str) -> Vec<PathBuf> {
        let who = Kinship::of(asker.image);
        let suits = |file: &Path| self.image(file).is_some_and(|image| who.refuses(image).is_none());
        let folders = self.scan.folders.get(name).into_iter().flatten();
        let mut folders: Vec<PathBuf> =
            folders.filter(|folder| self.scan.find(folder, name).is_some_and(|file| suits(file))).cloned().collect();
        if folders.is_empty() {
            return self.by_header(asker, name).into_iter().collect();
        }
        let shared =
            |folder: &Path| folder.components().zip(asker.path.components()).take_while(|(a, b)| a == b).count();
        folders.sort_by_cached_key(|folder| (Reverse(shared(folder)), folder.components().count(), folder.clone()));
        let files: BTreeSet<PathBuf> = folders.iter().filter_map(|folder| self.file(folder, name)).collect();
        if files.len() > 1 {
            let all: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
            let all = all.join(", ");
            let path = asker.path.display();
            self.result
                .notes
                .insert(format!("{path} needs {name}, which is in {all}: the first that will do is taken"));
        }
        folders
    }

    /// A library of the tree that has the name in its header only: it gets a link of that name.
    fn by_header(&mut self, asker: &Asker<'_>, name: &str) -> Option<PathBuf> {
        let files = self.scan.sonames.get(name)?;
        let file = files.iter().find(|file| self.objection(asker.image, name, file).is_none())?.clone();
        self.result.links.insert(name.to_owned(), PathBuf::from(relative(&self.libdir, &file)));
        self.scan.name(&self.libdir.join(name), &file);
        Some(self.libdir.clone())
    }

    /// Takes a library from the inputs, if they have it, and gives the folder where it is found from now on.
    fn draw(&mut self, asker: &Asker<'_>, name: &str, how: How) -> Result<Option<PathBuf>, RelinkError> {
        if self.owners.listed(&self.job.rules.ignore, asker.path, name) {
            return Ok(None);
        }
        let who = Kinship::of(asker.image);
        let first = self.search_in_inputs(asker.path);
        let mut library = self.libraries.find(name, &first, who)?;
        if library.is_none() && how == How::Opened {
            library = self.libraries.versioned(name, who)?;
        }
        let Some(mut library) = library else { return Ok(None) };
        // `libx.so` beside headers is for linkers. What runs is to refer to the library itself, where that is elsewhere.
        if self.job.supply.runtime == Runtime::Referenced
            && library.name != name
            && let Some(itself) = self.libraries.find(&library.name, &first, who)?
            && itself.path.parent() != library.path.parent()
        {
            library = itself;
        }
        Ok(match self.job.supply.runtime {
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
            self.scan.images.insert(file.clone(), Image::clone(&library.image));
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

    /// Whether a library is to be had without a copy: what is merely suggested is not worth one.
    pub(super) fn has_for_nothing(&mut self, asker: &Asker<'_>, name: &str) -> Result<bool, RelinkError> {
        let refers = self.job.supply.runtime == Runtime::Referenced;
        if self.is_copy(asker.path) {
            return Ok(false);
        }
        let own = self.folders(Reach::Own, asker, name, How::Noted)?;
        let found = |file: PathBuf| self.objection(asker.image, name, &file).is_none();
        if own.iter().any(|folder| self.file(folder, name).is_some_and(found)) {
            return Ok(true);
        }
        Ok(refers && self.libraries.find(name, &[], Kinship::of(asker.image))?.is_some())
    }

    /// The library of this name in a folder of the tree or of the inputs.
    pub(super) fn file(&self, folder: &Path, name: &str) -> Option<PathBuf> {
        let outside = || Some(folder.join(name)).filter(|file| self.outside.contains_key(file));
        self.scan.find(folder, name).cloned().or_else(outside)
    }

    pub(super) fn image(&self, file: &Path) -> Option<&Image> {
        self.scan.images.get(file).or_else(|| self.outside.get(file).map(|image| &**image))
    }

    /// A copy's search path as it was in the inputs.
    fn search_in_inputs(&self, path: &Path) -> Vec<PathBuf> {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let Some(library) = self.result.copies.get(&name).filter(|_| self.is_copy(path)) else { return Vec::new() };
        library.search_folders()
    }

    /// Finds out which folders files inherit: a `DT_RPATH` counts for all that is loaded because of its file, as far
    /// as that has no `DT_RUNPATH`.
    pub(super) fn inherit(&mut self) {
        let mut inherited: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
        for (parent, image) in &self.scan.images {
            let handed: Vec<PathBuf> = match &image.search {
                Some(search) if search.tag == SearchTag::Rpath => {
                    image.search_folders().filter_map(|text| in_tree(parent, text)).collect()
                }
                _ => continue,
            };
            let mut seen = BTreeSet::from([parent]);
            let mut open = vec![(parent, image)];
            while let Some((path, image)) = open.pop() {
                let own = image.search_folders().filter_map(|text| in_tree(path, text));
                let folders: Vec<PathBuf> = own.chain(handed.iter().cloned()).collect();
                for name in &image.needed {
                    let Some(child) = folders.iter().find_map(|folder| self.scan.find(folder, name)) else { continue };
                    let Some(image) = self.scan.images.get(child) else { continue };
                    let deaf = image.search.as_ref().is_some_and(|search| search.tag == SearchTag::Runpath);
                    if deaf || !seen.insert(child) {
                        continue;
                    }
                    let list = inherited.entry(child.clone()).or_default();
                    list.extend(handed.iter().filter(|folder| !list.contains(folder)).cloned().collect::<Vec<_>>());
                    open.push((child, image));
                }
            }
        }
        self.inherited = inherited;
    }
}
