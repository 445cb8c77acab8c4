//! Files of a site that are in each other's way, found before anything is written.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::layout::Layout;

/// Files of a site that are in each other's way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Collision {
    /// Several packages have the same path with different contents.
    Content {
        /// In the tree.
        path: String,
        /// The packages, sorted; one package may be there twice.
        packages: Vec<String>,
    },
    /// One package has a file where another has a folder.
    FileAndFolder {
        /// In the tree.
        path: String,
        /// The package with the file.
        file_of: String,
        /// The package with the folder.
        folder_of: String,
    },
    /// A path that is akb's own: the interpreter, `pyvenv.cfg`, the runtime, the receipt.
    Reserved {
        /// In the tree.
        path: String,
        /// The package that has it.
        package: String,
    },
}

impl Collision {
    fn path(&self) -> &str {
        match self {
            Self::Content { path, .. } | Self::FileAndFolder { path, .. } | Self::Reserved { path, .. } => path,
        }
    }

    /// The line of a recipe that would decide it, if one can.
    pub(super) fn recipe_line(&self) -> Option<String> {
        let Self::Content { path, packages } = self else { return None };
        let path = path.split_once("/site-packages/").map_or(path.as_str(), |(_, below)| below);
        let decidable = packages.iter().any(|package| *package != packages[0]) && !path.contains(".dist-info/");
        decidable.then(|| format!("{path:?} = {:?}", packages[0]))
    }
}

impl fmt::Display for Collision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Content { path, packages } => {
                write!(f, "{path}: different contents from {}", packages.join(" and "))
            }
            Self::FileAndFolder { path, file_of, folder_of } => {
                write!(f, "{path}: a file of {file_of} and a folder of {folder_of}")
            }
            Self::Reserved { path, package } => write!(f, "{path}: from {package}, but this path is akb's own"),
        }
    }
}

/// Sorts by path for the message.
pub(super) fn sorted(mut collisions: Vec<Collision>) -> Vec<Collision> {
    collisions.sort_by(|a, b| a.path().cmp(b.path()).then_with(|| a.cmp(b)));
    collisions.dedup();
    collisions
}

/// Collisions of one package's path with what is akb's own.
pub(super) fn reserved(layout: &Layout, links: &BTreeMap<String, String>, path: &str) -> bool {
    let top = path.split('/').next().unwrap_or(path);
    let inside = |folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
    Layout::RESERVED.contains(&top)
        || links.keys().any(|link| path == link || inside(link))
        || layout.folders().iter().any(|folder| folder == path)
}

/// Paths that are a file of one package and a folder of another. `owners` has the package of every file.
pub(super) fn files_and_folders(owners: &BTreeMap<String, String>) -> Vec<Collision> {
    let mut collisions = Vec::new();
    for (below, folder_of) in owners {
        for folder in ancestors(below) {
            if let Some(file_of) = owners.get(folder) {
                collisions.push(Collision::FileAndFolder {
                    path: folder.to_owned(),
                    file_of: file_of.clone(),
                    folder_of: folder_of.clone(),
                });
            }
        }
    }
    collisions
}

/// Groups of paths, files or folders, that are one on a file system that ignores case. Only the topmost
/// difference of each is named.
pub(super) fn differing_in_case<'a>(paths: impl Iterator<Item = &'a str>) -> Vec<Vec<&'a str>> {
    let mut all: BTreeSet<&str> = BTreeSet::new();
    for path in paths {
        all.insert(path);
        all.extend(ancestors(path));
    }
    let mut groups: BTreeMap<(&str, String), Vec<&str>> = BTreeMap::new();
    for path in all {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        groups.entry((folder, name.to_lowercase())).or_default().push(path);
    }
    groups.into_values().filter(|group| group.len() > 1).collect()
}

fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(end, _)| &path[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_differences_are_named_once() {
        let groups = differing_in_case(["A/x", "a/x", "a/y", "b/C", "b/c", "b/d"].into_iter());
        assert_eq!(groups, [vec!["A", "a"], vec!["b/C", "b/c"]]);
    }

    #[test]
    fn what_is_akbs_own_is_reserved() {
        let layout = Layout::canonical("3.14".parse().unwrap());
        let links = layout.links();
        for path in [
            "bin/python",
            "bin/python3",
            "bin/python3.14",
            "bin/python/x",
            "pyvenv.cfg",
            "akb-receipt.json",
            "runtime",
            "runtime/lib/x",
            "lib",
            "bin",
            "lib/python3.14",
            "lib/python3.14/site-packages",
        ] {
            assert!(reserved(&layout, &links, path), "{path}");
        }
        for path in [
            "bin/python3.14-config",
            "bin/pip",
            "lib/python3.14/x",
            "runtimes",
            "lib/python3.14/site-packages/runtime/x",
        ] {
            assert!(!reserved(&layout, &links, path), "{path}");
        }
    }
}
