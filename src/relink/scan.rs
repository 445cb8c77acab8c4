//! The ELF files of a tree.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;
use std::num::NonZeroUsize;
use std::path::{Component, Path, PathBuf};

use rayon::prelude::*;

use super::RelinkError;
use super::elf::{Image, Machine, read_image};
use crate::tree::{self, Kind};

/// What the dynamic linker could load in a tree. All paths are relative to it.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Programs and libraries for the tree's machine.
    pub(super) images: BTreeMap<PathBuf, Image>,
    /// Names in each folder that lead to one of `images`, links included.
    pub(super) names: BTreeMap<PathBuf, BTreeMap<String, PathBuf>>,
    /// ELF files that are left as they are, with the reason.
    pub(super) skipped: BTreeMap<PathBuf, String>,
}

/// Reads all ELF files of a tree. Links are followed inside of it only; a file with several hard links is
/// read under each of its names, since each place has a search path of its own.
pub(super) fn scan(tree: &Path, machine: Machine, jobs: NonZeroUsize) -> Result<Scan, RelinkError> {
    let nodes = tree::walk(tree)?;
    let files: Vec<&PathBuf> = nodes
        .iter()
        .filter(|node| matches!(node.kind, Kind::File { size, .. } if size >= 52))
        .map(|node| &node.path)
        .collect();
    let found =
        super::parallel(jobs, || files.par_iter().map(|path| look(tree, path)).collect::<Result<Vec<_>, _>>())??;
    let mut scan = Scan::default();
    for (path, look) in files.into_iter().zip(found) {
        match look {
            Look::Other => {}
            Look::Data(reason) => drop(scan.skipped.insert(path.clone(), reason)),
            Look::Image(image) if image.machine != machine => {
                scan.skipped.insert(path.clone(), "it is for another machine".to_owned());
            }
            Look::Image(image) => drop(scan.images.insert(path.clone(), *image)),
        }
    }
    let links: BTreeMap<&Path, &Path> = nodes
        .iter()
        .filter_map(|node| match &node.kind {
            Kind::Link { target } => Some((node.path.as_path(), target.as_path())),
            _ => None,
        })
        .collect();
    let paths: BTreeSet<PathBuf> = scan.images.keys().cloned().collect();
    for path in &paths {
        scan.name(path, path);
    }
    for link in links.keys() {
        if let Some(path) = follow(&links, link).filter(|path| paths.contains(path)) {
            scan.name(link, &path);
        }
    }
    Ok(scan)
}

impl Scan {
    /// Makes a file known under a path.
    pub(super) fn name(&mut self, path: &Path, file: &Path) {
        if let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) {
            self.names.entry(folder.to_owned()).or_default().insert(name.to_owned(), file.to_owned());
        }
    }

    /// The library of this name in a folder.
    pub(super) fn find(&self, folder: &Path, name: &str) -> Option<&PathBuf> {
        self.names.get(folder)?.get(name)
    }
}

enum Look {
    Other,
    Data(String),
    Image(Box<Image>),
}

fn look(tree: &Path, path: &Path) -> Result<Look, RelinkError> {
    let path = tree.join(path);
    let error = |source| RelinkError::Io { path: path.clone(), source };
    let mut magic = [0; 4];
    let mut file = File::open(&path).map_err(error)?;
    file.read_exact(&mut magic).map_err(error)?;
    if !super::elf::is_elf(&magic) {
        return Ok(Look::Other);
    }
    Ok(match read_image(&file).map_err(error)? {
        Ok(Some(image)) => Look::Image(Box::new(image)),
        Ok(None) => {
            Look::Data("the dynamic linker does not load it: an object file, static, or debug information".to_owned())
        }
        // A wheel may carry broken files as test data; what Python cannot load needs no libraries.
        Err(error) => Look::Data(error.to_string()),
    })
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

/// `relative` as seen from `folder`, both inside the tree; `None` where it leads out of it.
pub(super) fn join(folder: &Path, relative: &Path) -> Option<PathBuf> {
    let mut path = folder.to_owned();
    for component in relative.components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => {
                if !path.pop() {
                    return None;
                }
            }
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(path)
}
