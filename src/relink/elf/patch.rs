//! Edits files where they lie: only what changes is written.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::parts::Image as Sparse;
use super::{Edits, ElfError, Image, edit_parts, is_elf, journal};

/// What to write over a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// Offset and bytes, sorted.
    writes: Vec<(u64, Vec<u8>)>,
    /// Size of the edited file.
    size: u64,
}

impl Patch {
    /// How `edits` change the ELF file; `None` where it is in the wanted state already. Reads headers and
    /// tables only, whatever the size of the file.
    pub fn plan(file: &File, edits: &Edits) -> io::Result<Result<Option<Self>, ElfError>> {
        let image = if edits.rename.is_empty() && edits.unversioned.is_empty() {
            Sparse::read(file)?
        } else {
            // New names change relocations.
            Sparse::read_whole(file)?
        };
        Ok(Self::of(&image, edits))
    }

    /// Likewise from anything that can fill a buffer with the bytes at an offset; files of at most `small` bytes
    /// are read whole.
    pub fn plan_with(
        size: usize,
        small: usize,
        read: &mut dyn FnMut(&mut [u8], usize) -> io::Result<()>,
        edits: &Edits,
    ) -> io::Result<Result<Option<Self>, ElfError>> {
        Ok(Self::of(&Sparse::load(size, small, read)?, edits))
    }

    fn of(image: &Sparse, edits: &Edits) -> Result<Option<Self>, ElfError> {
        let (bytes, parts) = (&image.bytes, &image.parts);
        let Some(made) = edit_parts(bytes, parts, edits)? else { return Ok(None) };
        let mut writes: Vec<(u64, Vec<u8>)> = journal::differences(bytes, &made, parts)
            .into_iter()
            .map(|(start, end)| (start as u64, made[start..end].to_vec()))
            .collect();
        if made.len() > bytes.len() {
            writes.push((bytes.len() as u64, made[bytes.len()..].to_vec()));
        }
        Ok(Some(Self { writes, size: made.len() as u64 }))
    }

    /// Writes it. What is new goes first, behind the end of the file where nobody looks; the headers, which make it
    /// known, last.
    pub fn write(&self, file: &File) -> io::Result<()> {
        for (at, bytes) in self.writes.iter().rev() {
            file.write_all_at(bytes, *at)?;
        }
        if file.metadata()?.len() != self.size {
            file.set_len(self.size)?;
        }
        Ok(())
    }

    /// The edited bytes.
    pub fn apply(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        let size = usize::try_from(self.size).unwrap_or(usize::MAX);
        bytes.resize(size, 0);
        for (at, new) in &self.writes {
            if let Some(place) = usize::try_from(*at).ok().and_then(|at| bytes.get_mut(at..at + new.len())) {
                place.copy_from_slice(new);
            }
        }
        bytes
    }
}

/// [`Image::read`] of a file, of which only headers and tables are read.
pub fn read_image(file: &File) -> io::Result<Result<Option<Image>, ElfError>> {
    let mut magic = [0; 4];
    if file.metadata()?.len() < 52 || file.read_exact_at(&mut magic, 0).is_err() || !is_elf(&magic) {
        return Ok(Ok(None));
    }
    Ok(Image::read(&Sparse::read(file)?.bytes))
}
