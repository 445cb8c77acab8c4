//! What to relink, from what, and by which rules.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::glob;
use crate::inputs::{Inputs, Runtime, View};
use crate::recipe::Recipe;

/// Libraries that belong to the dynamic linker, as patterns of their names.
const LIBC: &[&str] = &[
    "ld-*.so.*",
    "ld64.so.*",
    "ld.so.*",
    "libc.so.6",
    "libm.so.6",
    "libmvec.so.1",
    "libdl.so.2",
    "libpthread.so.0",
    "librt.so.1",
    "libresolv.so.2",
    "libutil.so.1",
    "libanl.so.1",
    "libnsl.so.1",
    "libBrokenLocale.so.1",
    "libthread_db.so.1",
    "libnss_*.so.2",
    "libc.so",
    "libc.musl-*.so.1",
];

/// Whether a library comes with the dynamic linker.
pub(super) fn is_libc(name: &str) -> bool {
    LIBC.iter().any(|pattern| glob::matches(pattern, name))
}

/// What to relink.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// The tree; it is changed.
    pub tree: &'a Path,
    /// Where the tree says that it lies: `/akb`.
    pub prefix: &'a Path,
    /// Where libraries come from.
    pub supply: Supply<'a>,
    /// What nobody can read off the files.
    pub rules: &'a Rules,
    /// Whether files with one link are written into, instead of written anew beside and renamed. Faster; an
    /// interruption leaves files that are neither old nor new.
    pub in_place: bool,
}

/// The libraries that a tree can draw on. Paths are those that the sandbox sees.
#[derive(Clone, Copy, Debug)]
pub struct Supply<'a> {
    /// How they lie on this machine.
    pub view: &'a [View],
    /// Folders with shared libraries, in search order.
    pub libraries: &'a [PathBuf],
    /// Dynamic linkers: programs get the one for most files of the tree. Without one they keep theirs, and it finds
    /// the C library by itself.
    pub interpreters: &'a [PathBuf],
    /// Whether libraries are copied into the tree, or referred to where they are.
    pub runtime: Runtime,
    /// What they are, for messages.
    pub description: &'a str,
}

impl<'a> Supply<'a> {
    /// The libraries of inputs.
    pub fn of(inputs: &'a Inputs) -> Self {
        Self {
            view: &inputs.view,
            libraries: &inputs.libraries,
            interpreters: std::slice::from_ref(&inputs.interpreter),
            runtime: inputs.runtime,
            description: &inputs.description,
        }
    }

    pub(super) fn locate(&self, path: &Path) -> Option<PathBuf> {
        View::locate(self.view, path)
    }
}

/// What a person says about the linking of a tree. Files are named by a package, by a pattern of file names, or, with
/// a slash in it, by a pattern of paths below the tree or below its site-packages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rules {
    /// Libraries that files open by name at run time, by files.
    pub dlopen: BTreeMap<String, Vec<String>>,
    /// Libraries that may be missing and are never taken from the inputs, as patterns `SONAME` or `FILES:SONAME`.
    pub ignore: Vec<String>,
    /// Libraries that are used where they are, and may be missing; patterns alike.
    pub optional: Vec<String>,
    /// Folders that end search paths whatever they hold, by files; `$ORIGIN` is the file's own folder.
    pub runpath: BTreeMap<String, Vec<String>>,
    /// Whether search paths name the C library's folder, even if the dynamic linker knows it.
    pub keep_libc: bool,
}

impl Rules {
    /// The rules of a recipe.
    pub fn of(recipe: &Recipe) -> Self {
        let packages = recipe.package.iter().filter(|(_, package)| !package.dlopen.is_empty());
        Self {
            dlopen: packages.map(|(name, package)| (name.clone(), package.dlopen.clone())).collect(),
            ignore: recipe.relink.ignore.clone(),
            optional: recipe.relink.optional.clone(),
            runpath: recipe.relink.runpath.clone(),
            keep_libc: recipe.relink.keep_libc,
        }
    }

    /// Patterns of all that may be missing.
    pub fn may_be_missing(&self) -> Vec<String> {
        [self.ignore.clone(), self.optional.clone()].concat()
    }

    pub(super) fn name_packages(&self) -> bool {
        let patterns = self.ignore.iter().chain(&self.optional).any(|pattern| pattern.contains(':'));
        patterns || !self.dlopen.is_empty() || !self.runpath.is_empty()
    }
}
