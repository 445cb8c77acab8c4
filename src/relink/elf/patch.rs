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
    /// known, last. Where there is no room for it, the file is as it was.
    pub fn write(&self, file: &File) -> io::Result<()> {
        let size = file.metadata()?.len();
        for (at, bytes) in self.writes.iter().rev() {
            if let Err(error) = file.write_all_at(bytes, *at) {
                if *at >= size {
                    file.set_len(size)?;
                }
                return Err(error);
            }
        }
        if size.max(self.writes.last().map_or(0, |(at, bytes)| at + bytes.len() as u64)) != self.size {
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

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::relink::elf::sample::Sample;
    use crate::relink::elf::{SearchPath, SearchTag, edit, pristine};

    fn runpath(text: &str) -> Edits {
        let path = SearchPath { tag: SearchTag::Runpath, text: text.to_owned() };
        Edits { search: Some(Some(path)), ..Edits::default() }
    }

    /// The file with the edit, and how many bytes were read for it.
    fn planned(bytes: &[u8], edits: &Edits) -> (Vec<u8>, usize) {
        let mut count = 0;
        let mut read = |into: &mut [u8], at: usize| {
            count += into.len();
            into.copy_from_slice(&bytes[at..at + into.len()]);
            Ok(())
        };
        let patch = Patch::plan_with(bytes.len(), 0, &mut read, edits).unwrap().unwrap();
        (patch.map_or_else(|| bytes.to_vec(), |patch| patch.apply(bytes.to_vec())), count)
    }

    #[test]
    fn reads_little_and_writes_the_same() {
        for (wide, little, spare, stuck) in
            [(true, true, 2, false), (true, false, 0, false), (false, true, 0, true), (false, false, 1, true)]
        {
            let sample = Sample { wide, little, spare, stuck, constants: vec![7; 200_000], ..Sample::default() };
            let bytes = sample.make();
            let (long, longer) = (runpath(&"/abc".repeat(50)), runpath(&"/abcdef".repeat(90)));
            let (first, count) = planned(&bytes, &long);
            assert_eq!(first, edit(&bytes, &long).unwrap().unwrap());
            assert!(count < 50_000, "{count} bytes were read");
            let (second, count) = planned(&first, &longer);
            assert_eq!(second, edit(&first, &longer).unwrap().unwrap());
            assert!(count < 50_000, "{count} bytes were read");
            assert_eq!(planned(&second, &longer).0, second);
            assert_eq!(pristine(&second).unwrap(), bytes);
            let back = Edits { search: Some(None), ..Edits::default() };
            assert_eq!(planned(&second, &back).0, bytes);
        }
    }

    #[test]
    fn writes_over_a_file() {
        let bytes = Sample { constants: vec![7; 100_000], ..Sample::default() }.make();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        for edits in [runpath("/some/folder"), runpath("/x"), Edits { search: Some(None), ..Edits::default() }] {
            Patch::plan(&file, &edits).unwrap().unwrap().unwrap().write(&file).unwrap();
            let mut written = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
            file.read_exact_at(&mut written, 0).unwrap();
            assert_eq!(written, edit(&bytes, &edits).unwrap().unwrap_or_else(|| bytes.clone()));
            assert_eq!(Image::read(&written), read_image(&file).unwrap());
            assert!(Patch::plan(&file, &edits).unwrap().unwrap().is_none());
        }
    }
}
