//! Shared libraries of the inputs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::elf::{Image, Machine};
use super::{RelinkError, read};
use crate::inputs::Inputs;
use crate::tree::{self, Kind};

/// A library of the inputs.
#[derive(Clone, Debug)]
pub(super) struct Library {
    /// As the sandbox sees it, links not resolved.
    pub(super) path: PathBuf,
    /// On this machine, links resolved.
    pub(super) file: PathBuf,
    /// What the dynamic linker would read.
    pub(super) image: Image,
    /// The name of its copy: its soname.
    pub(super) name: String,
}

/// Finds libraries in the inputs.
pub(super) struct Libraries<'a> {
    inputs: &'a Inputs,
    machine: Machine,
    found: BTreeMap<PathBuf, Option<Library>>,
    files: Option<Vec<PathBuf>>,
}

impl<'a> Libraries<'a> {
    pub(super) fn new(inputs: &'a Inputs, machine: Machine) -> Self {
        Self { inputs, machine, found: BTreeMap::new(), files: None }
    }

    /// The library that a program that needs `name` would get: in the `first` folders, then in those of the
    /// inputs by file name, then by soname.
    pub(super) fn find(&mut self, name: &str, first: &[PathBuf]) -> Result<Option<Library>, RelinkError> {
        let folders: Vec<PathBuf> = first.iter().chain(&self.inputs.libraries).cloned().collect();
        for folder in folders {
            if let Some(library) = self.at(&folder.join(name))? {
                return Ok(Some(library));
            }
        }
        let exact = |soname: &str| soname == name;
        Ok(self.by_soname(name, &exact)?.into_iter().next())
    }

    /// The one library whose soname is `name` and a version: what a development package would link to.
    pub(super) fn versioned(&mut self, name: &str) -> Result<Option<Library>, RelinkError> {
        let prefix = format!("{name}.");
        let mut candidates = self.by_soname(name, &|soname| soname.starts_with(&prefix))?;
        candidates.dedup_by(|a, b| a.name == b.name);
        Ok(if candidates.len() == 1 { candidates.pop() } else { None })
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
        let Some(file) = self.inputs.locate(path).filter(|file| file.is_file()) else { return Ok(None) };
        let bytes = read(&file)?;
        // Linker scripts have the names of libraries too.
        let image = Image::read(&bytes).map_err(|source| RelinkError::Elf { path: file.clone(), source })?;
        let Some(image) = image.filter(|image| image.machine == self.machine) else { return Ok(None) };
        let plain = |name: &&String| !name.is_empty() && !name.contains('/');
        let asked = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let name = image.soname.as_ref().filter(plain).cloned().unwrap_or(asked);
        Ok(Some(Library { path: path.to_owned(), file, image, name }))
    }

    /// Libraries whose soname is accepted, sorted by it. Looks only at files whose names begin alike.
    fn by_soname(&mut self, name: &str, accept: &dyn Fn(&str) -> bool) -> Result<Vec<Library>, RelinkError> {
        let stem = name.split(".so").next().unwrap_or(name).to_owned();
        let begins = |path: &&PathBuf| {
            let file = path.file_name().map(|file| file.to_string_lossy().into_owned()).unwrap_or_default();
            file.starts_with(&stem) && file.contains(".so")
        };
        let candidates: Vec<PathBuf> = self.files()?.iter().filter(begins).cloned().collect();
        let mut accepted = Vec::new();
        for path in candidates {
            accepted.extend(self.at(&path)?.filter(|library| library.image.soname.as_deref().is_some_and(accept)));
        }
        accepted.sort_by(|a, b| (&a.name, &a.path).cmp(&(&b.name, &b.path)));
        Ok(accepted)
    }

    /// All regular files of the library folders, as the sandbox sees them.
    fn files(&mut self) -> Result<&[PathBuf], RelinkError> {
        if self.files.is_none() {
            let mut files = Vec::new();
            for folder in &self.inputs.libraries {
                let Some(located) = self.inputs.locate(folder).filter(|located| located.is_dir()) else { continue };
                for node in tree::walk(&located)? {
                    if matches!(node.kind, Kind::File { .. }) {
                        files.push(folder.join(node.path));
                    }
                }
            }
            self.files = Some(files);
        }
        Ok(self.files.as_deref().unwrap_or_default())
    }
}
