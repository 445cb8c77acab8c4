//! The ELF files of a tree.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::RelinkError;
use super::elf::{Image, Machine};
use super::folder::join;
use super::probe::{ProbeError, Probed, probe};
use crate::tree::{self, Kind};

/// What the dynamic linker could load in a tree. All paths are relative to it.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Programs and libraries for the tree's machine.
    pub(super) images: BTreeMap<PathBuf, Image>,
    /// Names in each folder that lead to one of `images`, links included.
    pub(super) names: BTreeMap<PathBuf, BTreeMap<String, PathBuf>>,
    /// The folders of each name.
    pub(super) folders: BTreeMap<String, BTreeSet<PathBuf>>,
    /// Libraries by the name in their header.
    pub(super) sonames: BTreeMap<String, BTreeSet<PathBuf>>,
    /// For files with several hard links in the tree, the first of them.
    pub(super) twins: BTreeMap<PathBuf, PathBuf>,
    /// The lists of installed packages.
    pub(super) records: Vec<PathBuf>,
    /// ELF files that are left as they are, with the reason.
    pub(super) skipped: BTreeMap<PathBuf, String>,
}

/// Reads all ELF files of a tree; for `machine` only, if it is known. Links are followed inside of the tree only.
pub(super) fn scan(tree: &Path, machine: Option<Kinship>, jobs: NonZeroUsize) -> Result<Scan, RelinkError> {
    let nodes = tree::walk(tree)?;
    let files: Vec<&PathBuf> = nodes
        .iter()
        .filter(|node| matches!(node.kind, Kind::File { size, .. } if size >= 52))
        .map(|node| &node.path)
        .collect();
    let found =
        super::parallel(jobs, || files.par_iter().map(|path| look(tree, path)).collect::<Result<Vec<_>, _>>())??;
    let is_record = |path: &&PathBuf| {
        path.ends_with("RECORD") && path.parent().is_some_and(|info| info.extension().is_some_and(|e| e == "dist-info"))
    };
    let mut scan = Scan { records: files.iter().copied().filter(is_record).cloned().collect(), ..Scan::default() };
    let mut first: BTreeMap<(u64, u64), &PathBuf> = BTreeMap::new();
    for (path, look) in files.into_iter().zip(found) {
        let (image, inode) = match look {
            Look::Other => continue,
            Look::Data(reason) => {
                scan.skipped.insert(path.clone(), reason);
                continue;
            }
            Look::Image(image, inode) => (image, inode),
        };
        if let Some(inode) = inode {
            let first = first.entry(inode).or_insert(path);
            if *first != path {
                scan.twins.insert(path.clone(), (*first).clone());
            }
        }
        if let Some(soname) = &image.soname {
            scan.sonames.entry(soname.clone()).or_default().insert(path.clone());
        }
        scan.images.insert(path.clone(), *image);
    }
    scan.name_all(&nodes);
    if let Some(machine) = machine {
        scan.restrict(machine);
    }
    Ok(scan)
}

impl Scan {
    fn name_all(&mut self, nodes: &[tree::Node]) {
        let links: BTreeMap<&Path, &Path> = nodes
            .iter()
            .filter_map(|node| match &node.kind {
                Kind::Link { target } => Some((node.path.as_path(), target.as_path())),
                _ => None,
            })
            .collect();
        let paths: Vec<PathBuf> = self.images.keys().cloned().collect();
        for path in &paths {
            self.name(path, path);
        }
        for link in links.keys() {
            if let Some(path) = follow(&links, link).filter(|path| self.images.contains_key(path)) {
                self.name(link, &path);
            }
        }
    }

    /// What most files are made for.
    pub(super) fn usual(&self) -> Option<Kinship> {
        let mut machines: BTreeMap<Machine, usize> = BTreeMap::new();
        for image in self.images.values() {
            *machines.entry(image.machine).or_default() += 1;
        }
        let machine = machines.into_iter().rev().max_by_key(|(_, files)| *files)?.0;
        let images = || self.images.values().filter(|image| image.machine == machine);
        let files = |library| images().filter(|image| c_library(image) == Some(library)).count();
        let c_library = match files(CLibrary::Gnu).cmp(&files(CLibrary::Musl)) {
            Ordering::Greater => Some(CLibrary::Gnu),
            Ordering::Less => Some(CLibrary::Musl),
            Ordering::Equal => None,
        };
        Some(Kinship { machine, c_library })
    }

    /// Leaves out what cannot be loaded together with `who`.
    pub(super) fn restrict(&mut self, who: Kinship) {
        let others = self.images.extract_if(.., |_, image| who.refuses(image).is_some());
        let reason = |image: &Image| who.refuses(image).unwrap_or_default().to_owned();
        self.skipped.extend(others.map(|(path, image)| (path, reason(&image))));
        let images = &self.images;
        for names in self.names.values_mut() {
            names.retain(|_, file| images.contains_key(file));
        }
        self.names.retain(|_, names| !names.is_empty());
        let names = &self.names;
        self.folders.retain(|name, folders| {
            folders.retain(|folder| names.get(folder).is_some_and(|names| names.contains_key(name)));
            !folders.is_empty()
        });
        for files in self.sonames.values_mut() {
            files.retain(|file| images.contains_key(file));
        }
        self.twins.retain(|path, first| images.contains_key(path) && images.contains_key(first));
    }

    /// Makes a file known under a path.
    pub(super) fn name(&mut self, path: &Path, file: &Path) {
        if let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) {
            self.names.entry(folder.to_owned()).or_default().insert(name.to_owned(), file.to_owned());
            self.folders.entry(name.to_owned()).or_default().insert(folder.to_owned());
        }
    }

    /// The library of this name in a folder.
    pub(super) fn find(&self, folder: &Path, name: &str) -> Option<&PathBuf> {
        self.names.get(folder)?.get(name)
    }
}

/// C libraries, of which a process can have one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CLibrary {
    Gnu,
    Musl,
}

/// The C library that a file is made for; `None` where nothing in it tells.
pub(super) fn c_library(image: &Image) -> Option<CLibrary> {
    let musl = |name: &str| name == "libc.so" || name.starts_with("libc.musl-") || name.starts_with("ld-musl-");
    let interpreter = image.interpreter.as_deref().and_then(|path| path.rsplit('/').next());
    let mut names = image.needed.iter().map(String::as_str).chain(interpreter).chain(image.soname.as_deref());
    if names.clone().any(musl) {
        return Some(CLibrary::Musl);
    }
    let gnu = names.any(|name| name == "libc.so.6" || name.starts_with("ld-linux"));
    (gnu || image.needs.contains_key("libc.so.6")).then_some(CLibrary::Gnu)
}

/// What files must have in common to be loaded into one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kinship {
    pub(super) machine: Machine,
    pub(super) c_library: Option<CLibrary>,
}

impl Kinship {
    pub(super) fn of(image: &Image) -> Self {
        Self { machine: image.machine, c_library: c_library(image) }
    }

    /// Why a file cannot be loaded into the same process.
    pub(super) fn refuses(self, image: &Image) -> Option<&'static str> {
        if self.machine != image.machine {
            return Some("it is for another machine");
        }
        match (self.c_library, c_library(image)) {
            (Some(mine), Some(other)) if mine != other => Some("it is for another C library"),
            _ => None,
        }
    }
}

enum Look {
    Other,
    Data(String),
    /// With device and inode, if it has several names.
    Image(Box<Image>, Option<(u64, u64)>),
}

fn look(tree: &Path, path: &Path) -> Result<Look, RelinkError> {
    let path = tree.join(path);
    let error = |source| RelinkError::Io { path: path.clone(), source };
    let file = File::open(&path).map_err(error)?;
    match probe(&file) {
        Ok(Probed::Other) => Ok(Look::Other),
        Ok(Probed::Data) => Ok(Look::Data(
            "the dynamic linker does not load it: an object file, static, or debug information".to_owned(),
        )),
        Ok(Probed::Image(image)) => {
            let metadata = file.metadata().map_err(error)?;
            Ok(Look::Image(image, (metadata.nlink() > 1).then(|| (metadata.dev(), metadata.ino()))))
        }
        // A wheel may carry broken files as test data; what Python cannot load needs no libraries.
        Err(ProbeError::Elf(error)) => Ok(Look::Data(error.to_string())),
        Err(ProbeError::Io(source)) => Err(error(source)),
    }
}

/// Where a link leads, inside the tree. Links to folders on the way are not followed.
fn follow(links: &BTreeMap<&Path, &Path>, link: &Path) -> Option<PathBuf> {
    let mut path = link.to_owned();
    for _ in 0..40 {
        let Some(target) = links.get(path.as_path()) else { return Some(path) };
        path = join(path.parent()?, target)?;
    }
    None
}
