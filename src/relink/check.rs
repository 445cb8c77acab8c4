//! Reads a finished tree again: does every program and library find what it needs, in the tree and nowhere else?

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use super::elf::{Image, Machine};
use super::missing::{Missing, Reason};
use super::resolve::{in_tree, lacks};
use super::scan::{self, Scan};
use super::{LIBDIR, RelinkError, names_folder, read};
use crate::runtime::seal;
use crate::tree;

/// What was looked at, and what is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Number of programs and libraries.
    pub files: u64,
    /// What is wrong, sorted.
    pub findings: Vec<Finding>,
}

/// Something that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Relative to the tree.
    pub path: PathBuf,
    /// What was expected and what was found.
    pub problem: String,
}

/// What a tree is checked against.
#[derive(Clone, Copy, Debug)]
pub struct Premises<'a> {
    /// Where the tree lies, or will lie.
    pub prefix: &'a Path,
    /// Patterns of sonames that may be missing, `SONAME` or `FILE:SONAME`.
    pub ignore: &'a [String],
    /// For a tree that refers to libraries outside of it: the dynamic linker.
    pub interpreter: Option<&'a Path>,
    /// Folders outside of the tree below which search paths may lead, as they are on this machine.
    pub outside: &'a [PathBuf],
}

impl Premises<'_> {
    fn believes(&self, folder: &Path) -> bool {
        let plain = folder.components().all(|part| part != std::path::Component::ParentDir);
        plain && self.outside.iter().any(|believed| folder.starts_with(believed))
    }
}

/// Checks the ELF files of a tree.
pub fn check(tree: &Path, premises: &Premises<'_>, jobs: NonZeroUsize) -> Result<Outcome, RelinkError> {
    let Some(loader) = loader(tree, premises)? else {
        let problem = "there is no dynamic linker".to_owned();
        let path = premises.interpreter.map_or_else(|| PathBuf::from(LIBDIR), Path::to_owned);
        return Ok(Outcome { files: 0, findings: vec![Finding { path, problem }] });
    };
    let scan = scan::scan(tree, loader.machine, jobs)?;
    let mut findings = Vec::new();
    for (path, image) in &scan.images {
        let problems = outside(path, image, &loader.path, &scan, premises);
        findings.extend(problems.into_iter().map(|problem| Finding { path: path.clone(), problem }));
    }
    for path in scan.images.keys().filter(|path| path.parent() == Some(Path::new(LIBDIR))) {
        let open = seal::open_paths(&read(&tree.join(path))?);
        let problem = |open: &String| Finding { path: path.clone(), problem: format!("names `{open}` of the host") };
        findings.extend(open.iter().map(problem));
    }
    findings.extend(unresolved(&scan, &loader, premises)?);
    let files = scan.images.len() as u64;
    findings.sort();
    findings.dedup();
    Ok(Outcome { files, findings })
}

/// The dynamic linker of a tree.
struct Loader {
    /// What programs should name as theirs.
    path: PathBuf,
    name: String,
    machine: Machine,
    bytes: Vec<u8>,
}

/// The dynamic linker outside that is named, or the program in the tree's library folder that looks like one.
fn loader(tree: &Path, premises: &Premises<'_>) -> Result<Option<Loader>, RelinkError> {
    let candidates = match premises.interpreter {
        Some(path) => vec![path.to_owned()],
        None => tree::list(&tree.join(LIBDIR)).unwrap_or_default(),
    };
    for file in candidates.iter().filter(|file| file.is_file()) {
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let is_loader = ["ld-", "ld.so", "ld64.so"].iter().any(|start| name.starts_with(start));
        if !is_loader {
            continue;
        }
        let bytes = read(file)?;
        if let Some(machine) = Machine::of(&bytes) {
            let path = premises.interpreter.map_or_else(|| premises.prefix.join(LIBDIR).join(&name), Path::to_owned);
            return Ok(Some(Loader { path, name, machine, bytes }));
        }
    }
    Ok(None)
}

/// Texts that lead out of the tree, or to nothing.
fn outside(path: &Path, image: &Image, interpreter: &Path, scan: &Scan, premises: &Premises<'_>) -> Vec<String> {
    let mut problems = Vec::new();
    if let Some(found) = image.interpreter.as_ref().filter(|found| Path::new(found) != interpreter) {
        problems.push(format!("its interpreter is `{found}`; expected `{}`", interpreter.display()));
    }
    for text in image.search.iter().flat_map(|search| search.text.split(':')) {
        match in_tree(path, text) {
            None if premises.believes(Path::new(text)) => {}
            None => problems.push(format!("its search path has `{text}`, which is not in the tree")),
            Some(folder) if !scan.names.contains_key(&folder) => {
                problems.push(format!("its search path has `{text}`, which holds no library"));
            }
            Some(_) => {}
        }
    }
    for name in image.needed.iter().chain(&image.soname).filter(|name| name.contains('/')) {
        problems.push(format!("names `{name}`; expected a name without a slash"));
    }
    problems
}

/// Follows every need as the dynamic linker would: each file's own search path must do, whoever loads it.
fn unresolved(scan: &Scan, loader: &Loader, premises: &Premises<'_>) -> Result<Vec<Finding>, RelinkError> {
    let mut believed = Believed { premises, machine: loader.machine, known: BTreeMap::new() };
    // The dynamic linker searches its own folder, if it knows it by this name.
    let default = loader.path.parent().filter(|folder| names_folder(&loader.bytes, folder));
    let mut findings = Vec::new();
    for (path, image) in &scan.images {
        for name in image.needed.iter().filter(|name| !name.contains('/') && **name != loader.name) {
            let inside = |text: &str| scan.find(&in_tree(path, text)?, name).cloned();
            let mut found = None;
            for text in image.search_folders().map(Path::new).chain(default) {
                found = match text.to_str().and_then(inside) {
                    Some(file) => scan.images.get(&file).cloned().map(|image| (file, image)),
                    None => believed.library(text, name)?,
                };
                if found.is_some() {
                    break;
                }
            }
            let reason = match found {
                None => Reason::NotFound,
                Some((found, library)) => match lacks(&library, image, name) {
                    Some(lacks) => Reason::Versions { found, lacks },
                    None => continue,
                },
            };
            let missing = Missing { soname: name.clone(), file: path.clone(), reason };
            if !missing.is_ignored(premises.ignore) {
                findings.push(Finding { path: path.clone(), problem: missing.problem() });
            }
        }
    }
    Ok(findings)
}

/// Libraries in folders outside of the tree.
struct Believed<'a> {
    premises: &'a Premises<'a>,
    machine: Machine,
    known: BTreeMap<PathBuf, Option<Image>>,
}

impl Believed<'_> {
    fn library(&mut self, folder: &Path, name: &str) -> Result<Option<(PathBuf, Image)>, RelinkError> {
        if !self.premises.believes(folder) {
            return Ok(None);
        }
        let path = folder.join(name);
        let image = match self.known.get(&path) {
            Some(known) => known.clone(),
            None => {
                let image = if path.is_file() { Image::read(&read(&path)?).ok().flatten() } else { None };
                let image = image.filter(|image| image.machine == self.machine);
                self.known.insert(path.clone(), image.clone());
                image
            }
        };
        Ok(image.map(|image| (path, image)))
    }
}
