//! The NAR format (Nix manual, "Nix Archive"): a tree as one canonical stream of bytes.
//!
//! A NAR knows names, contents, link targets and the owner's execute bit, nothing else: no times, no owners.
//! Its hash is therefore the identity of a tree.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};

use crate::digest::{Hasher, Sha256};
use crate::tree::{Kind, Node};

/// Writes a NAR from nodes that come in the order of [`Path`]'s `Ord` (folders before what they hold,
/// siblings by their bytes). The first node is the root, with an empty path.
pub struct Encoder<W> {
    out: W,
    /// Names of the open folders below the root; `None` until the root was seen.
    open: Option<Vec<OsString>>,
    /// Whether the root is a folder, and so has to be closed.
    folder: bool,
    /// What files are read into.
    buffer: Vec<u8>,
}

/// Bytes that are read at once.
const BUFFER: usize = 64 << 10;

impl<W: Write> Encoder<W> {
    /// Begins an archive.
    pub fn new(out: W) -> io::Result<Self> {
        let mut encoder = Self { out, open: None, folder: false, buffer: vec![0; BUFFER] };
        encoder.text(b"nix-archive-1")?;
        Ok(encoder)
    }

    /// A folder; what it holds comes next.
    pub fn folder(&mut self, path: &Path) -> io::Result<()> {
        self.begin(path)?;
        self.words(&[b"(", b"type", b"directory"])?;
        match &mut self.open {
            Some(open) => open.extend(path.file_name().map(OsStr::to_owned)),
            None => {
                self.open = Some(Vec::new());
                self.folder = true;
            }
        }
        Ok(())
    }

    /// A symbolic link.
    pub fn link(&mut self, path: &Path, target: &Path) -> io::Result<()> {
        self.begin(path)?;
        self.words(&[b"(", b"type", b"symlink", b"target", target.as_os_str().as_bytes(), b")"])?;
        self.end(path)
    }

    /// A file of exactly `size` bytes; other sizes are an error.
    pub fn file(&mut self, path: &Path, executable: bool, size: u64, mut contents: impl Read) -> io::Result<()> {
        self.begin(path)?;
        self.words(&[b"(", b"type", b"regular"])?;
        if executable {
            self.words(&[b"executable", b""])?;
        }
        self.text(b"contents")?;
        self.out.write_all(&size.to_le_bytes())?;
        let mut copied = 0;
        while copied <= size {
            // One byte more than there should be: a file gives less than that only at its end.
            let wanted = usize::try_from(size - copied).map_or(BUFFER, |rest| BUFFER.min(rest.saturating_add(1)));
            let count = match contents.read(&mut self.buffer[..wanted]) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.out.write_all(&self.buffer[..count])?;
            copied += count as u64;
            if count == 0 || count < wanted && copied == size {
                break;
            }
        }
        if copied != size {
            let problem = format!("`{}` changed while it was read: expected {size} bytes", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
        }
        self.pad(size)?;
        self.text(b")")?;
        self.end(path)
    }

    /// Closes what is open and gives the writer back.
    pub fn finish(mut self) -> io::Result<W> {
        self.close_to(0)?;
        if self.folder {
            self.text(b")")?;
        }
        Ok(self.out)
    }

    fn begin(&mut self, path: &Path) -> io::Result<()> {
        let names: Vec<&OsStr> = path
            .components()
            .map(|part| match part {
                Component::Normal(name) => Ok(name),
                _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "a path that is not relative and plain")),
            })
            .collect::<Result<_, _>>()?;
        let Some((name, parents)) = names.split_last() else { return Ok(()) };
        let shared =
            self.open.iter().flatten().zip(parents).take_while(|(open, parent)| open.as_os_str() == **parent).count();
        if shared != parents.len() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a node came before its folder"));
        }
        self.close_to(shared)?;
        self.words(&[b"entry", b"(", b"name", name.as_bytes(), b"node"])
    }

    /// Ends a node that holds no others.
    fn end(&mut self, path: &Path) -> io::Result<()> {
        if path.as_os_str().is_empty() { Ok(()) } else { self.text(b")") }
    }

    fn close_to(&mut self, depth: usize) -> io::Result<()> {
        while self.open.as_ref().is_some_and(|open| open.len() > depth) {
            self.words(&[b")", b")"])?;
            if let Some(open) = &mut self.open {
                open.pop();
            }
        }
        Ok(())
    }

    fn words(&mut self, words: &[&[u8]]) -> io::Result<()> {
        words.iter().try_for_each(|word| self.text(word))
    }

    fn text(&mut self, bytes: &[u8]) -> io::Result<()> {
        let size = bytes.len() as u64;
        self.out.write_all(&size.to_le_bytes())?;
        self.out.write_all(bytes)?;
        self.pad(size)
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let rest = usize::try_from(size.wrapping_neg() % 8).unwrap_or(0);
        self.out.write_all(&[0; 8][..rest])
    }
}

/// Makes an encoder that only hashes.
pub fn hasher() -> io::Result<Encoder<Hasher<io::Sink>>> {
    Encoder::new(Hasher::new(io::sink()))
}

/// The hash and the size in bytes of the archive that a hashing encoder saw.
pub fn finish(encoder: Encoder<Hasher<io::Sink>>) -> io::Result<(Sha256, u64)> {
    let (_, digest, size) = encoder.finish()?.finish();
    Ok((digest, size))
}

/// The NAR hash of the folder `root`, as far as it is made of `nodes`, in any order.
///
/// # Errors
/// A file that cannot be read, or two nodes of one name.
pub fn hash(root: &Path, mut nodes: Vec<Node>) -> io::Result<Sha256> {
    // A NAR lists folders depth first: `a/b` before `a-b`. No name has a zero.
    let depth_first = |&byte: &u8| if byte == b'/' { 0 } else { byte };
    nodes.sort_by_cached_key(|node| node.path.as_os_str().as_bytes().iter().map(depth_first).collect::<Vec<u8>>());
    let mut encoder = hasher()?;
    encoder.folder(Path::new(""))?;
    for node in &nodes {
        match &node.kind {
            Kind::Dir => encoder.folder(&node.path)?,
            Kind::Link { target } => encoder.link(&node.path, target)?,
            Kind::File { size, executable } => {
                encoder.file(&node.path, *executable, *size, File::open(root.join(&node.path))?)?;
            }
        }
    }
    finish(encoder).map(|(hash, _)| hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(build: impl FnOnce(&mut Encoder<Hasher<io::Sink>>)) -> String {
        let mut encoder = hasher().unwrap();
        build(&mut encoder);
        finish(encoder).unwrap().0.hex()
    }

    #[test]
    fn encodes_one_file_to_the_letter() {
        let mut encoder = Encoder::new(Vec::new()).unwrap();
        encoder.file(Path::new(""), true, 3, &b"abc"[..]).unwrap();
        let bytes = encoder.finish().unwrap();
        let word = |text: &str| {
            let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
            bytes.extend(text.as_bytes());
            bytes.resize(bytes.len().next_multiple_of(8), 0);
            bytes
        };
        let words = ["nix-archive-1", "(", "type", "regular", "executable", "", "contents", "abc", ")"];
        assert_eq!(bytes, words.map(word).concat());
    }

    #[test]
    fn nested_folders_open_and_close() {
        let mut encoder = Encoder::new(Vec::new()).unwrap();
        encoder.folder(Path::new("")).unwrap();
        encoder.folder(Path::new("a")).unwrap();
        encoder.file(Path::new("a/x"), false, 0, io::empty()).unwrap();
        encoder.folder(Path::new("a/y")).unwrap();
        encoder.link(Path::new("a-b"), Path::new("a")).unwrap();
        let bytes = encoder.finish().unwrap();
        let opened = bytes.chunks(8).filter(|chunk| *chunk == b"(\0\0\0\0\0\0\0").count();
        let closed = bytes.chunks(8).filter(|chunk| *chunk == b")\0\0\0\0\0\0\0").count();
        assert_eq!((opened, closed), (9, 9));
    }

    #[test]
    fn refuses_wrong_sizes_and_orders() {
        let mut encoder = hasher().unwrap();
        encoder.folder(Path::new("")).unwrap();
        assert!(encoder.file(Path::new("a/x"), false, 0, io::empty()).is_err());
        assert!(encoder.file(Path::new("a"), false, 2, &b"abc"[..]).is_err());
        let mut encoder = hasher().unwrap();
        assert!(encoder.file(Path::new(""), false, 4, &b"abc"[..]).is_err());
    }

    #[test]
    fn names_and_modes_matter() {
        let file = |name: &'static str, executable| {
            hex(move |nar| {
                nar.folder(Path::new("")).unwrap();
                nar.file(Path::new(name), executable, 1, &b"x"[..]).unwrap();
            })
        };
        assert_ne!(file("a", false), file("b", false));
        assert_ne!(file("a", false), file("a", true));
        assert_eq!(file("a", true), file("a", true));
    }
}
