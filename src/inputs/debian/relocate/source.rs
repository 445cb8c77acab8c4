//! The unpacked tree as it is: names, links, and what the dynamic linker would read from its files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::error::RelocateError;
use crate::relink::elf::{self, Image};
use crate::tree::{self, Kind};

/// As many links as Linux follows before it says ELOOP.
const MAX_LINKS: usize = 40;

/// Folders of a system whose `/usr` is merged, which are links into it.
const MERGED: [&str; 4] = ["bin", "lib", "lib64", "sbin"];

/// An unpacked tree. Names are relative to its root, such as `usr/bin/cc`.
pub(super) struct Source {
    root: PathBuf,
    /// Files and links.
    pub(super) nodes: BTreeMap<String, Kind>,
    folders: BTreeSet<String>,
    /// Programs and libraries.
    pub(super) images: BTreeMap<String, Image>,
    /// Those of them that are compilers to whoever calls them: drivers of GCC.
    pub(super) drivers: BTreeSet<String>,
}

/// The name of a spec that only drivers of GCC have.
const DRIVERS_MARK: &[u8] = b"startfile_prefix_spec";

impl Source {
    /// Reads names and the ELF files among them, on the threads of the pool that it is called in.
    pub(super) fn read(root: &Path) -> Result<Self, RelocateError> {
        let (mut nodes, mut folders) = (BTreeMap::new(), BTreeSet::new());
        for node in tree::walk(root)? {
            let name = node.path.into_os_string().into_string();
            let name = name.map_err(|path| RelocateError::Name { path: root.join(path) })?;
            match node.kind {
                Kind::Dir => drop(folders.insert(name)),
                kind => drop(nodes.insert(name, kind)),
            }
        }
        let (images, drivers) = (BTreeMap::new(), BTreeSet::new());
        let mut source = Self { root: root.to_owned(), nodes, folders, images, drivers };
        let files: Vec<&String> =
            source.nodes.iter().filter(|(_, kind)| matches!(kind, Kind::File { .. })).map(|(name, _)| name).collect();
        let images: Result<Vec<_>, RelocateError> =
            files.into_par_iter().map(|name| Ok((name.clone(), source.image(name)?))).collect();
        for (name, image) in images? {
            let Some((image, is_driver)) = image else { continue };
            if is_driver {
                source.drivers.insert(name.clone());
            }
            source.images.insert(name, image);
        }
        Ok(source)
    }

    /// What the dynamic linker would read from a file, and whether it is a compiler's driver.
    fn image(&self, name: &str) -> Result<Option<(Image, bool)>, RelocateError> {
        let path = self.path(name);
        let failed = |source| RelocateError::Read { path: path.clone(), source };
        let mut file = File::open(&path).map_err(failed)?;
        let mut magic = [0; 4];
        match file.read_exact(&mut magic) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            result => result.map_err(failed)?,
        }
        if !elf::is_elf(&magic) {
            return Ok(None);
        }
        let bytes = self.bytes(name)?;
        let image = Image::read(&bytes).map_err(|source| RelocateError::Elf { path: name.to_owned(), source })?;
        let is_driver = || name.starts_with("usr/bin/") && memchr::memmem::find(&bytes, DRIVERS_MARK).is_some();
        Ok(image.map(|image| (image, is_driver())))
    }

    /// Where a name is on this machine.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The contents of a file.
    pub(super) fn bytes(&self, name: &str) -> Result<Vec<u8>, RelocateError> {
        let path = self.path(name);
        fs::read(&path).map_err(|source| RelocateError::Read { path, source })
    }

    /// Whether there is a folder of this name.
    pub(super) fn is_folder(&self, name: &str) -> bool {
        self.folders.contains(name)
    }

    /// Files and links below a folder.
    pub(super) fn below<'a>(&'a self, folder: &str) -> impl Iterator<Item = (&'a String, &'a Kind)> {
        let start = format!("{folder}/");
        let end = format!("{folder}0");
        self.nodes.range(start..end)
    }

    /// The name that `path` (absolute or relative to `folder`) has once links among its folders are followed; the
    /// last part is not. `None` where it leads out of the tree.
    pub(super) fn name(&self, folder: &str, path: &str) -> Option<String> {
        let mut parts: Vec<String> = if path.starts_with('/') { Vec::new() } else { split(folder) };
        let mut pending: Vec<String> = split(path).into_iter().rev().collect();
        let mut links = 0;
        while let Some(part) = pending.pop() {
            if part == ".." {
                parts.pop()?;
                continue;
            }
            if parts.is_empty() && MERGED.contains(&part.as_str()) {
                parts.push("usr".to_owned());
            }
            parts.push(part);
            if pending.is_empty() {
                break;
            }
            if let Some(Kind::Link { target }) = self.nodes.get(&parts.join("/")) {
                links += 1;
                if links > MAX_LINKS {
                    return None;
                }
                let target = target.to_str()?;
                parts.pop();
                if target.starts_with('/') {
                    parts.clear();
                }
                pending.extend(split(target).into_iter().rev());
            }
        }
        Some(parts.join("/"))
    }

    /// The file or folder that a name leads to in the end.
    pub(super) fn follow(&self, name: &str) -> Option<String> {
        let mut name = name.to_owned();
        for _ in 0..MAX_LINKS {
            match self.nodes.get(&name) {
                Some(Kind::Link { target }) => name = self.name(parent(&name), target.to_str()?)?,
                Some(_) => return Some(name),
                None => return self.is_folder(&name).then_some(name),
            }
        }
        None
    }
}

/// The folder that a name lies in; empty at the root.
pub(super) fn parent(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// The last part of a name.
pub(super) fn base(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(_, base)| base)
}

fn split(path: &str) -> Vec<String> {
    path.split('/').filter(|part| !part.is_empty() && *part != ".").map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn follows_links_inside_the_tree_only() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("usr/lib/t/krb5")).unwrap();
        fs::write(root.path().join("usr/lib/t/libk.so.3.1"), "x").unwrap();
        symlink("libk.so.3.1", root.path().join("usr/lib/t/libk.so.3")).unwrap();
        symlink("t/krb5", root.path().join("usr/lib/k")).unwrap();
        symlink("/etc/elsewhere", root.path().join("usr/lib/out")).unwrap();
        symlink("loop", root.path().join("usr/lib/loop")).unwrap();
        let source = Source::read(root.path()).unwrap();
        assert_eq!(source.name("usr/lib/k", "../libk.so.3").as_deref(), Some("usr/lib/libk.so.3"));
        assert_eq!(source.name("usr/bin", "/lib/k/../libk.so.3").as_deref(), Some("usr/lib/t/libk.so.3"));
        assert_eq!(source.follow("usr/lib/t/libk.so.3").as_deref(), Some("usr/lib/t/libk.so.3.1"));
        assert_eq!(source.follow("usr/lib/k").as_deref(), Some("usr/lib/t/krb5"));
        assert_eq!(source.follow("usr/lib/out"), None);
        assert_eq!(source.follow("usr/lib/loop"), None);
        assert_eq!(source.name("usr", "../../../etc/passwd"), None);
    }
}
