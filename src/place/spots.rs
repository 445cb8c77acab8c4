//! The places in a tree that say where it is.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::{PREFIX, PlaceError, SPOTS, head, io_error, texts};
use crate::digest::Sha256;
use crate::install::record;
use crate::relink::elf::interpreter_slot;
use crate::tree::{Kind, Node};

/// Most bytes of a folder's name: what is left of the 256 bytes that PT_INTERP is given, and of the
/// 256 bytes that Linux reads of a `#!` line, once the longest name inside the tree is added.
pub(super) const LONGEST: usize = 210;

/// Bytes of a file that are read to see whether it is a script or a program.
const HEAD: u64 = 4096;

/// What in one file depends on the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Spot {
    /// PT_INTERP, in a slot of its own that is filled up with NUL bytes.
    Interpreter(Range<usize>),
    /// The first line, `#!PREFIX/…`.
    Shebang,
    /// The line `home = PREFIX/…` of `pyvenv.cfg`.
    Home,
    /// Places that [`SPOTS`] lists, as offsets in the canonical bytes.
    Text(Vec<usize>),
    /// Hash and size of the scripts (paths from the top of the tree) that this RECORD lists.
    Record(Vec<PathBuf>),
}

/// The places of one tree that depend on its folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spots(BTreeMap<PathBuf, Spot>);

impl Spots {
    /// Finds them in a tree that was made for the folder `prefix`.
    pub fn find(tree: &Path, nodes: &[Node], prefix: &Path) -> Result<Self, PlaceError> {
        let mut spots = BTreeMap::new();
        let mut records = Vec::new();
        let mut listed = listed(tree, nodes)?;
        for node in nodes {
            let Kind::File { executable, .. } = node.kind else { continue };
            if node.path == Path::new("pyvenv.cfg") {
                spots.insert(node.path.clone(), Spot::Home);
            } else if is_record(&node.path) {
                records.push(node.path.clone());
            } else if (executable || node.path.starts_with("runtime/lib") && is_library(&node.path))
                && let Some(spot) = look(&tree.join(&node.path), prefix)?
            {
                match (listed.get_mut(&node.path), &spot) {
                    (Some(offsets), Spot::Shebang) if offsets.first() != Some(&2) => offsets.insert(0, 2),
                    (Some(_), Spot::Shebang) => {}
                    _ => drop(spots.insert(node.path.clone(), spot)),
                }
            }
        }
        let files = nodes.iter().filter(|node| matches!(node.kind, Kind::File { .. }));
        for path in files.map(|node| &node.path) {
            if let Some(offsets) = listed.remove(path).filter(|_| !spots.contains_key(path)) {
                spots.insert(path.clone(), Spot::Text(offsets));
            }
        }
        for path in records {
            let text = read(&tree.join(&path))?;
            let site = path.parent().and_then(Path::parent).unwrap_or(Path::new(""));
            let rows: Vec<PathBuf> = record::paths(&text)
                .filter_map(|row| resolve(site, &row))
                .filter(|row| spots.contains_key(row))
                .collect();
            if !rows.is_empty() {
                spots.insert(path, Spot::Record(rows));
            }
        }
        Ok(Self(spots))
    }

    /// The contents of all these files with `to` in the place of `from`. A file that does not say what a tree made
    /// for `from` says is left as it is.
    pub fn rewrite(&self, tree: &Path, from: &Path, to: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>, PlaceError> {
        let mut files = BTreeMap::new();
        let (from, to) = (from.as_os_str().as_bytes(), to.as_os_str().as_bytes());
        let plain = texts::is_plain(Path::new(std::ffi::OsStr::from_bytes(to)));
        if let Some((path, _)) = self.0.iter().find(|(_, spot)| !plain && matches!(spot, Spot::Text(_))) {
            let folder = Path::new(std::ffi::OsStr::from_bytes(to)).to_owned();
            return Err(PlaceError::Unquoted { path: folder, file: path.clone() });
        }
        let direct = |spot: &&Spot| !matches!(spot, Spot::Record(_));
        for (path, spot) in self.0.iter().filter(|(_, spot)| direct(spot)) {
            let bytes = read(&tree.join(path))?;
            let rewritten = match spot {
                Spot::Interpreter(slot) => interpreter(&bytes, slot, from, to),
                Spot::Shebang => replace_at(&bytes, 2, from, to),
                Spot::Home => home(&bytes, from, to),
                Spot::Text(offsets) => match texts::rewrite(&bytes, offsets, Path::new(PREFIX), from, to) {
                    Ok(bytes) => Some(bytes),
                    Err(offset) => {
                        let expected = String::from_utf8_lossy(from).into_owned();
                        return Err(PlaceError::Spot { path: path.clone(), offset, expected });
                    }
                },
                Spot::Record(_) => None,
            };
            files.insert(path.clone(), rewritten.unwrap_or(bytes));
        }
        for (path, spot) in &self.0 {
            let Spot::Record(rows) = spot else { continue };
            let site = path.parent().and_then(Path::parent).unwrap_or(Path::new(""));
            let bytes = read(&tree.join(path))?;
            let rewritten = record::with_hashes(&bytes, |row| {
                let script = files.get(&resolve(site, row).filter(|row| rows.contains(row))?)?;
                Some((Sha256::of(script), script.len() as u64))
            });
            files.insert(path.clone(), rewritten);
        }
        Ok(files)
    }
}

/// What the tree's own list says; nothing where there is none, or none of akb's: it is a part of what is hashed.
fn listed(tree: &Path, nodes: &[Node]) -> Result<BTreeMap<PathBuf, Vec<usize>>, PlaceError> {
    let here = |node: &&Node| {
        node.path == Path::new(SPOTS) && matches!(node.kind, Kind::File { size, .. } if size <= texts::LARGEST)
    };
    match nodes.iter().find(here) {
        Some(node) => Ok(texts::parse(&read(&tree.join(&node.path))?).unwrap_or_default()),
        None => Ok(BTreeMap::new()),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, PlaceError> {
    fs::read(path).map_err(io_error("read", path))
}

fn is_record(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "RECORD")
        && path.parent().and_then(Path::extension).is_some_and(|extension| extension == "dist-info")
}

fn is_library(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_bytes().windows(3).any(|part| part == b".so"))
}

fn look(path: &Path, prefix: &Path) -> Result<Option<Spot>, PlaceError> {
    let prefix = prefix.as_os_str().as_bytes();
    let bytes = head(path, HEAD)?;
    if bytes.strip_prefix(b"#!").and_then(|rest| rest.strip_prefix(prefix)).is_some_and(|rest| rest.starts_with(b"/")) {
        return Ok(Some(Spot::Shebang));
    }
    if !bytes.starts_with(b"\x7fELF") {
        return Ok(None);
    }
    let bytes = read(path)?;
    Ok(interpreter_slot(&bytes)
        .filter(|slot| bytes.get(slot.clone()).is_some_and(|text| text.starts_with(&[prefix, b"/"].concat())))
        .map(Spot::Interpreter))
}

/// `row` of a RECORD in `site`, as a path from the top of the tree; `None` if it leaves it.
fn resolve(site: &Path, row: &str) -> Option<PathBuf> {
    let mut path = site.to_owned();
    for part in row.split('/') {
        match part {
            ".." => {
                if !path.pop() {
                    return None;
                }
            }
            "" | "." => return None,
            name => path.push(name),
        }
    }
    Some(path)
}

fn interpreter(bytes: &[u8], slot: &Range<usize>, from: &[u8], to: &[u8]) -> Option<Vec<u8>> {
    let old = bytes.get(slot.clone())?;
    let end = old.iter().position(|byte| *byte == 0)?;
    if old[end..].iter().any(|byte| *byte != 0) {
        return None;
    }
    let mut new = [to, old[..end].strip_prefix(from)?].concat();
    if new.len() >= old.len() {
        return None;
    }
    new.resize(old.len(), 0);
    let mut out = bytes.to_vec();
    out.get_mut(slot.clone())?.copy_from_slice(&new);
    Some(out)
}

fn home(bytes: &[u8], from: &[u8], to: &[u8]) -> Option<Vec<u8>> {
    let line = b"home = ";
    let start = bytes.split_inclusive(|byte| *byte == b'\n').scan(0, |offset, text| {
        let here = *offset;
        *offset += text.len();
        Some((here, text))
    });
    let (offset, _) = start.into_iter().find(|(_, text)| text.starts_with(line))?;
    replace_at(bytes, offset + line.len(), from, to)
}

fn replace_at(bytes: &[u8], offset: usize, from: &[u8], to: &[u8]) -> Option<Vec<u8>> {
    let rest = bytes.get(offset..)?.strip_prefix(from)?;
    Some([&bytes[..offset], to, rest].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn home_changes_its_own_line_only() {
        let text = b"version = 3.14.8\nhome = /akb/runtime/bin\nother = /akb\n";
        let placed = home(text, b"/akb", b"/srv/app").unwrap();
        assert_eq!(placed, b"version = 3.14.8\nhome = /srv/app/runtime/bin\nother = /akb\n");
        assert_eq!(home(&placed, b"/srv/app", b"/akb").unwrap(), text);
        assert_eq!(home(b"home = /usr/bin\n", b"/akb", b"/x"), None);
    }

    #[test]
    fn interpreter_keeps_the_size_of_its_slot() {
        let bytes = b"head/akb/ld.so\0\0\0\0\0\0\0\0tail".to_vec();
        let placed = interpreter(&bytes, &(4..22), b"/akb", b"/srv/app").unwrap();
        assert_eq!(placed, b"head/srv/app/ld.so\0\0\0\0tail");
        assert_eq!(interpreter(&placed, &(4..22), b"/srv/app", b"/akb").unwrap(), bytes);
        assert_eq!(interpreter(&bytes, &(4..22), b"/akb", b"/much/too/long/a/name"), None);
        assert_eq!(interpreter(b"head/akb/ld.so\0x\0", &(4..17), b"/akb", b"/a"), None);
    }

    #[test]
    fn rows_resolve_inside_the_tree() {
        let site = Path::new("lib/python3.14/site-packages");
        assert_eq!(resolve(site, "../../../bin/x"), Some(PathBuf::from("bin/x")));
        assert_eq!(resolve(site, "../../../../bin/x"), None);
        assert_eq!(resolve(site, "/bin/x"), None);
    }
}
