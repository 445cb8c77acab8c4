//! Which file goes where: to the runtime or to the development files, and under which name.
//!
//! Both get the layout of a prefix. The multiarch folder of libraries becomes `lib` itself (with a link of its name
//! that leads back, since compilers and scripts know it), `lib64` and `sbin` become `lib` and `bin`. Headers keep
//! their multiarch folder, which compilers look into by themselves; those of Python are part of the runtime, where
//! Python expects them.

use std::collections::{BTreeMap, BTreeSet};

use super::error::RelocateError;
use super::libraries;
use super::source::{Source, base, parent};
use crate::runtime;
use crate::tree::Kind;

/// One of the two results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    /// What finished programs need while they run.
    Runtime,
    /// What is needed to make them.
    Dev,
}

/// Where a name of the source goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Spot {
    pub(super) side: Side,
    /// Relative to the prefix.
    pub(super) dest: String,
}

/// Why something of the source is in neither result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dropped {
    /// Tests of Python's standard library and the like.
    Useless,
    /// A link to something that no package of the tree has.
    Dangling,
    /// Settings of a whole system.
    Settings,
}

/// The plan for a whole tree.
pub(super) struct Layout<'a> {
    pub(super) source: &'a Source,
    pub(super) triplet: &'a str,
    /// By source name: all that is kept.
    pub(super) spots: BTreeMap<String, Spot>,
    /// Folders of the results.
    folders: BTreeSet<(Side, String)>,
    pub(super) dropped: BTreeMap<String, Dropped>,
}

/// Folders of libraries that hold development files, although there are shared objects in them.
const DEV_FOLDERS: [&str; 15] = [
    "audit",
    "bfd-plugins",
    "compat-ld",
    "gcc",
    "gcc-cross",
    "git-core",
    "go",
    "gprofng",
    "ldscripts",
    "perl",
    "perl-base",
    "perl5",
    "python3",
    "ruby",
    "rustlib",
];

/// Folders without shared objects that libraries read while they run.
const DATA_FOLDERS: [&str; 2] = ["locale", "terminfo"];
/// The same below `share`.
const SHARED_DATA: [&str; 2] = ["terminfo", "zoneinfo"];

impl<'a> Layout<'a> {
    /// Plans the tree for the interpreter `python` (`3.14`) on a machine with the multiarch `triplet`.
    pub(super) fn plan(source: &'a Source, triplet: &'a str, python: &str) -> Result<Self, RelocateError> {
        let libraries = libraries::runtime(source, |name| side(source, triplet, python, name));
        let mut layout =
            Self { source, triplet, spots: BTreeMap::new(), folders: BTreeSet::new(), dropped: BTreeMap::new() };
        for (name, kind) in &source.nodes {
            let side = match libraries.get(name) {
                Some(side) => Ok(*side),
                None => side(source, triplet, python, name),
            };
            let side = match (side, kind) {
                (Ok(_), Kind::Link { .. }) if source.follow(name).is_none() => Err(Dropped::Dangling),
                (side, _) => side,
            };
            match side {
                Ok(side) => drop(layout.spots.insert(name.clone(), Spot { side, dest: dest(triplet, name) })),
                Err(why) => drop(layout.dropped.insert(name.clone(), why)),
            }
        }
        layout.settle()?;
        Ok(layout)
    }

    /// Leaves of names that become one the file, not the links to it; everything else must have its own.
    fn settle(&mut self) -> Result<(), RelocateError> {
        let mut owners: BTreeMap<Spot, String> = BTreeMap::new();
        let mut gone = Vec::new();
        for (name, spot) in &self.spots {
            let Some(other) = owners.get(spot).cloned() else {
                owners.insert(spot.clone(), name.clone());
                continue;
            };
            let same = self.source.follow(name) == self.source.follow(&other);
            let is_link = |name: &str| matches!(self.source.nodes.get(name), Some(Kind::Link { .. }));
            // Debian's header for all machines includes the one of this machine, by a path of the other prefix.
            let wrapped = |inner: &str, outer: &str| inner == outer.replacen("include/", &self.headers(), 1);
            if same && is_link(name) || wrapped(&other, name) {
                gone.push(name.clone());
            } else if same && is_link(&other) || wrapped(name, &other) {
                gone.push(other);
                owners.insert(spot.clone(), name.clone());
            } else {
                let (dest, second) = (spot.dest.clone(), name.clone());
                return Err(RelocateError::Collision { dest, first: other, second });
            }
        }
        for name in &gone {
            self.spots.remove(name);
        }
        for spot in self.spots.values() {
            let mut folder = parent(&spot.dest);
            while !folder.is_empty() {
                self.folders.insert((spot.side, folder.to_owned()));
                folder = parent(folder);
            }
        }
        Ok(())
    }

    fn headers(&self) -> String {
        format!("include/{}/", self.triplet)
    }

    /// Where a file, link or folder of the source went; a folder that both results have is that of the side `near`.
    pub(super) fn find(&self, name: &str, near: Side) -> Option<Spot> {
        let name = name.trim_end_matches('/');
        if let Some(spot) = self.spots.get(name) {
            return Some(spot.clone());
        }
        if !self.source.is_folder(name) && !self.source.nodes.contains_key(name) {
            return None;
        }
        let dest = self.dest(name);
        let far = if near == Side::Dev { Side::Runtime } else { Side::Dev };
        let has = |side| self.folders.contains(&(side, dest.clone()));
        match [near, far].into_iter().find(|&side| has(side)) {
            Some(side) => Some(Spot { side, dest }),
            // A link that gave way to the file of the same name.
            None => self.spots.values().find(|spot| spot.dest == dest).cloned(),
        }
    }

    /// The folders of one result, sorted; its own is not among them.
    pub(super) fn folders(&self, side: Side) -> impl Iterator<Item = &str> {
        self.folders.iter().filter(move |(other, _)| *other == side).map(|(_, folder)| folder.as_str())
    }

    /// The name below a prefix of what Debian has at `name`, be it there or not.
    pub(super) fn dest(&self, name: &str) -> String {
        dest(self.triplet, name)
    }

    /// Whether some file of the results has this name.
    pub(super) fn has(&self, side: Side, wanted: &str) -> bool {
        self.spots.values().any(|spot| spot.side == side && spot.dest == wanted)
    }
}

/// The name below a prefix.
fn dest(triplet: &str, name: &str) -> String {
    let name = name.strip_prefix("usr").unwrap_or(name).trim_start_matches('/');
    let python = |rest: &str| rest.starts_with("python");
    for (from, to) in [("lib64", "lib"), ("sbin", "bin"), (&format!("lib/{triplet}"), "lib")] {
        match name.strip_prefix(from) {
            Some("") => return to.to_owned(),
            Some(rest) if rest.starts_with('/') => return format!("{to}{rest}"),
            _ => {}
        }
    }
    match name.strip_prefix(&format!("include/{triplet}/")) {
        Some(rest) if python(rest) => format!("include/{rest}"),
        _ => name.to_owned(),
    }
}

/// The side of what is no library among others.
fn side(source: &Source, triplet: &str, python: &str, name: &str) -> Result<Side, Dropped> {
    let Some(name_below) = name.strip_prefix("usr/") else { return Err(Dropped::Settings) };
    let dest = dest(triplet, name_below);
    let python = format!("python{python}");
    let (top, rest) = dest.split_once('/').unwrap_or((&dest, ""));
    let (first, inner) = rest.split_once('/').unwrap_or((rest, ""));
    match top {
        "bin" if rest == python || rest == "python3" && source.follow(name).is_some_and(|to| base(&to) == python) => {
            Ok(Side::Runtime)
        }
        "include" if first.starts_with(&python) => Ok(Side::Runtime),
        "share" if SHARED_DATA.contains(&first) => Ok(Side::Runtime),
        "lib" if first == python && inner.starts_with("config-") => Ok(Side::Dev),
        "lib" if first == python && runtime::is_left_out(inner.as_ref()) => Err(Dropped::Useless),
        "lib" if first == python => Ok(Side::Runtime),
        "lib" if !inner.is_empty() => Ok(side_of_folder(source, name, &dest, first)),
        _ => Ok(Side::Dev),
    }
}

/// Plug-ins and data of libraries lie in folders beside them.
fn side_of_folder(source: &Source, name: &str, dest: &str, folder: &str) -> Side {
    if DATA_FOLDERS.contains(&folder) {
        return Side::Runtime;
    }
    if DEV_FOLDERS.contains(&folder) || [".a", ".la", ".h", ".pc"].iter().any(|end| name.ends_with(end)) {
        return Side::Dev;
    }
    let depth = dest.split('/').count() - 2;
    let top = (0..depth).fold(name, |name, _| parent(name));
    let mut images = source.below(top).filter_map(|(name, _)| source.images.get(name)).peekable();
    let plugins = images.peek().is_some() && images.all(|image| image.interpreter.is_none());
    if plugins { Side::Runtime } else { Side::Dev }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merges_the_folders_of_libraries() {
        let dest = |name| dest("x86_64-linux-gnu", name);
        assert_eq!(dest("usr/lib/x86_64-linux-gnu/pkgconfig/a.pc"), "lib/pkgconfig/a.pc");
        assert_eq!(dest("usr/lib64/ld-linux-x86-64.so.2"), "lib/ld-linux-x86-64.so.2");
        assert_eq!(dest("usr/sbin/zic"), "bin/zic");
        assert_eq!(dest("usr/lib/x86_64-linux-gnux32/a"), "lib/x86_64-linux-gnux32/a");
        assert_eq!(dest("usr/include/x86_64-linux-gnu/sys/cdefs.h"), "include/x86_64-linux-gnu/sys/cdefs.h");
        assert_eq!(dest("usr/include/x86_64-linux-gnu/python3.14/pyconfig.h"), "include/python3.14/pyconfig.h");
        assert_eq!(dest("usr"), "");
    }
}
