//! Shared libraries of the inputs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::elf::Image;
use super::probe::{ProbeError, Probed, probe};
use super::scan::Kinship;
use super::{RelinkError, Supply};
use crate::tree;

/// A library of the inputs.
#[derive(Clone, Debug)]
pub(super) struct Library {
    /// As the sandbox sees it, links not resolved.
    pub(super) path: PathBuf,
    /// On this machine, links resolved.
    pub(super) file: PathBuf,
    /// What the dynamic linker would read.
    pub(super) image: Arc<Image>,
    /// The name of its copy: its soname.
    pub(super) name: String,
}

impl Library {
    /// Its own search path, where it lies.
    pub(super) fn search_folders(&self) -> Vec<PathBuf> {
        let here = self.path.parent().unwrap_or(Path::new("/"));
        let expand = |text: &str| {
            let text = text.replace("${ORIGIN}", "$ORIGIN").replace("$ORIGIN", &here.to_string_lossy());
            (text.starts_with('/') && !text.contains('$')).then(|| PathBuf::from(text))
        };
        self.image.search_folders().filter_map(expand).collect()
    }
}

/// Finds libraries in the inputs, by file name and by the name in their header.
pub(super) struct Libraries<'a> {
    supply: Supply<'a>,
    found: BTreeMap<PathBuf, Option<Library>>,
    /// Folders that have a file of a name, in search order.
    folders: Option<BTreeMap<String, Vec<PathBuf>>>,
    /// Files of folders in them: alternatives and plug-ins.
    deeper: Option<Vec<PathBuf>>,
    /// Names that several folders have, with those folders; said once each.
    collisions: BTreeMap<String, Vec<PathBuf>>,
}

impl<'a> Libraries<'a> {
    pub(super) fn new(supply: Supply<'a>) -> Self {
        Self { supply, found: BTreeMap::new(), folders: None, deeper: None, collisions: BTreeMap::new() }
    }

    /// The library that a program that needs `name` would get: in the `first` folders, then in those of the
    /// inputs by file name, then by soname.
    pub(super) fn find(&mut self, name: &str, first: &[PathBuf], who: Kinship) -> Result<Option<Library>, RelinkError> {
        if let Some(library) = self.first(first, name, who)? {
            return Ok(Some(library));
        }
        let folders = self.folders()?.get(name).cloned().unwrap_or_default();
        let mut hits: Vec<Library> = Vec::new();
        for folder in folders {
            if let Some(library) = self.suiting(&folder.join(name), who)?
                && hits.iter().all(|hit| hit.file != library.file)
            {
                hits.push(library);
            }
        }
        if hits.is_empty() {
            hits = self.by_soname(name, &|soname| soname == name, who)?;
        }
        if hits.len() > 1 {
            self.collisions.insert(name.to_owned(), hits.iter().map(|hit| hit.path.clone()).collect());
        }
        Ok(hits.into_iter().next())
    }

    /// The first library of this name in folders.
    pub(super) fn first(
        &mut self,
        folders: &[PathBuf],
        name: &str,
        who: Kinship,
    ) -> Result<Option<Library>, RelinkError> {
        for folder in folders {
            if let Some(library) = self.suiting(&folder.join(name), who)? {
                return Ok(Some(library));
            }
        }
        Ok(None)
    }

    /// The one library whose soname is `name` and a version: what a development package would link to.
    pub(super) fn versioned(&mut self, name: &str, who: Kinship) -> Result<Option<Library>, RelinkError> {
        let prefix = format!("{name}.");
        let mut candidates = self.by_soname(name, &|soname| soname.starts_with(&prefix), who)?;
        candidates.dedup_by(|a, b| a.name == b.name);
        Ok(if candidates.len() == 1 { candidates.pop() } else { None })
    }

    /// A file of this name that `who` cannot load.
    pub(super) fn unsuitable(&mut self, name: &str, who: Kinship) -> Result<Option<PathBuf>, RelinkError> {
        for folder in self.folders()?.get(name).cloned().unwrap_or_default() {
            let library = self.at(&folder.join(name))?;
            if let Some(library) = library.filter(|library| who.refuses(&library.image).is_some()) {
                return Ok(Some(library.path));
            }
        }
        Ok(None)
    }

    /// What has several candidates: a sentence each.
    pub(super) fn collisions(&self) -> BTreeSet<String> {
        let sentence = |(name, paths): (&String, &Vec<PathBuf>)| {
            let all: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
            format!("the inputs have {name} at {}: the first is taken", all.join(", "))
        };
        self.collisions.iter().map(sentence).collect()
    }

    fn suiting(&mut self, path: &Path, who: Kinship) -> Result<Option<Library>, RelinkError> {
        Ok(self.at(path)?.filter(|library| who.refuses(&library.image).is_none()))
    }

    /// The library at a path of the sandbox.
    pub(super) fn at(&mut self, path: &Path) -> Result<Option<Library>, RelinkError> {
        if let Some(known) = self.found.get(path) {
            return Ok(known.clone());
        }
        let library = self.read(path)?;
        self.found.insert(path.to_owned(), library.clone());
        Ok(library)
    }

    fn read(&self, path: &Path) -> Result<Option<Library>, RelinkError> {
        let Some(file) = self.supply.locate(path).filter(|file| file.is_file()) else { return Ok(None) };
        let io = |source| RelinkError::Io { path: file.clone(), source };
        // Linker scripts have the names of libraries too.
        let image: Arc<Image> = match probe(&File::open(&file).map_err(io)?) {
            Ok(Probed::Image(image)) => Arc::from(image),
            Ok(Probed::Other | Probed::Data) => return Ok(None),
            Err(ProbeError::Elf(source)) => return Err(RelinkError::Elf { path: file, source }),
            Err(ProbeError::Io(source)) => return Err(io(source)),
        };
        let plain = |name: &&String| !name.is_empty() && !name.contains('/');
        let asked = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let name = image.soname.as_ref().filter(plain).cloned().unwrap_or(asked);
        Ok(Some(Library { path: path.to_owned(), file, image, name }))
    }

    /// Libraries whose soname is accepted, sorted by it. Looks only at files whose names begin alike.
    fn by_soname(
        &mut self,
        name: &str,
        accept: &dyn Fn(&str) -> bool,
        who: Kinship,
    ) -> Result<Vec<Library>, RelinkError> {
        let stem = name.split(".so").next().unwrap_or(name).to_owned();
        let alike = |path: &&PathBuf| path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(&stem));
        let mut candidates: Vec<PathBuf> = self.deeper()?.iter().filter(alike).cloned().collect();
        for (file, folders) in self.folders()?.range(stem.clone()..).take_while(|(file, _)| file.starts_with(&stem)) {
            candidates.extend(folders.iter().map(|folder| folder.join(file)));
        }
        let mut accepted: Vec<Library> = Vec::new();
        for path in candidates {
            let library = self.suiting(&path, who)?;
            accepted.extend(library.filter(|library| library.image.soname.as_deref().is_some_and(accept)));
        }
        // A link's name differs from its file's.
        let own = |library: &Library| library.path.file_name() != library.file.file_name();
        accepted.sort_by(|a, b| (&a.name, own(a), &a.path).cmp(&(&b.name, own(b), &b.path)));
        let mut files = BTreeSet::new();
        accepted.retain(|library| files.insert(library.file.clone()));
        Ok(accepted)
    }

    /// The folders of each library's name.
    fn folders(&mut self) -> Result<&BTreeMap<String, Vec<PathBuf>>, RelinkError> {
        if self.folders.is_none() {
            let mut index: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
            for folder in self.supply.libraries {
                for name in self.names(folder)?.into_iter().filter(|name| is_library(name)) {
                    let folders = index.entry(name).or_default();
                    if !folders.contains(folder) {
                        folders.push(folder.clone());
                    }
                }
            }
            self.folders = Some(index);
        }
        Ok(self.folders.get_or_insert_default())
    }

    fn deeper(&mut self) -> Result<&[PathBuf], RelinkError> {
        if self.deeper.is_none() {
            let mut files = Vec::new();
            for folder in self.supply.libraries {
                for inner in self.names(folder)?.into_iter().filter(|name| !is_library(name)) {
                    let inner = folder.join(inner);
                    let names = self.names(&inner)?.into_iter().filter(|name| is_library(name));
                    files.extend(names.map(|name| inner.join(name)));
                }
            }
            self.deeper = Some(files);
        }
        Ok(self.deeper.as_deref().unwrap_or_default())
    }

    /// What lies directly in a folder of the sandbox, sorted; nothing where it is no folder.
    fn names(&self, folder: &Path) -> Result<Vec<String>, RelinkError> {
        let Some(located) = self.supply.locate(folder).filter(|located| located.is_dir()) else {
            return Ok(Vec::new());
        };
        let paths = tree::list(&located)?;
        let name = |path: PathBuf| path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        Ok(paths.into_iter().filter_map(name).collect())
    }
}

fn is_library(name: &str) -> bool {
    name.contains(".so") || name.starts_with("ld-")
}
