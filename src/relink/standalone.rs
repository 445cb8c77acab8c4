//! Libraries of any folders, for trees that akb did not make.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::probe::{Probed, probe};
use super::scan::Kinship;
use super::{RelinkError, Supply};
use crate::inputs::{Runtime, View};
use crate::tree;

/// Folders of a prefix that can hold libraries, and folders with one more below them: `lib/x86_64-linux-gnu`.
const FOLDERS: [(&str, bool); 6] =
    [("lib", true), ("lib64", false), ("usr/lib", true), ("usr/lib64", false), ("lib32", false), ("", false)];

/// Libraries of prefixes where they lie, to refer to.
#[derive(Clone, Debug)]
pub struct Prefixes {
    view: Vec<View>,
    libraries: Vec<PathBuf>,
    interpreters: Vec<PathBuf>,
}

impl Prefixes {
    /// Looks for libraries in absolute folders: in their `lib`, `lib64` and folders alike, or in themselves. The
    /// dynamic linker is `interpreter`, or one that they hold.
    ///
    /// # Errors
    /// Where a folder cannot be read.
    pub fn new(prefixes: &[PathBuf], interpreter: Option<PathBuf>) -> Result<Self, RelinkError> {
        let mut libraries: Vec<PathBuf> = Vec::new();
        let mut interpreters: Vec<PathBuf> = Vec::new();
        for prefix in prefixes {
            for (folder, deeper) in FOLDERS {
                let folder = if folder.is_empty() { prefix.clone() } else { prefix.join(folder) };
                let mut folders = vec![folder.clone()];
                if deeper && folder.is_dir() {
                    folders.extend(tree::list(&folder)?.into_iter().filter(|inner| is_multiarch(inner)));
                }
                for folder in folders.into_iter().filter(|folder| folder.is_dir()) {
                    let names: Vec<PathBuf> =
                        tree::list(&folder)?.into_iter().filter(|path| is_library(path)).collect();
                    if names.is_empty() || libraries.contains(&folder) {
                        continue;
                    }
                    interpreters.extend(names.into_iter().filter(|path| is_linker(path)));
                    libraries.push(folder);
                }
            }
        }
        // The first of those that serve the same files.
        let mut kinds: Vec<Kinship> = Vec::new();
        interpreters.retain(|path| {
            let new = kinship(path).filter(|kind| !kinds.contains(kind));
            kinds.extend(new);
            new.is_some()
        });
        if let Some(interpreter) = interpreter {
            // The C library lies beside its dynamic linker.
            libraries.extend(
                interpreter
                    .parent()
                    .filter(|folder| !libraries.iter().any(|known| known == folder))
                    .map(Path::to_owned),
            );
            interpreters = vec![interpreter];
        }
        let view = vec![View::Bind { from: "/".into(), at: "/".into() }];
        Ok(Self { view, libraries, interpreters })
    }

    /// What a tree can draw on.
    pub fn supply(&self) -> Supply<'_> {
        Supply {
            view: &self.view,
            libraries: &self.libraries,
            interpreters: &self.interpreters,
            runtime: Runtime::Referenced,
            description: "the named folders",
        }
    }
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

fn is_multiarch(path: &Path) -> bool {
    name(path).contains("-linux-")
}

fn is_library(path: &Path) -> bool {
    name(path).contains(".so")
}

fn is_linker(path: &Path) -> bool {
    ["ld-linux", "ld-musl-", "ld64.so.", "ld.so."].iter().any(|start| name(path).starts_with(start))
}

/// What a dynamic linker loads.
fn kinship(path: &Path) -> Option<Kinship> {
    match probe(&File::open(path).ok()?) {
        Ok(Probed::Image(image)) => Some(Kinship::of(&image)),
        _ => None,
    }
}
