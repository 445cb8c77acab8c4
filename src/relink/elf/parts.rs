//! Which parts of a file an edit looks at: most of a large one is code and data that nobody need read, copy or
//! compare.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use goblin::container::Ctx;
use goblin::elf::dynamic::{DT_GNU_HASH, DT_HASH, DT_STRTAB, DT_SYMTAB, DT_VERDEF, DT_VERNEED, DT_VERSYM, Dynamic};
use goblin::elf::program_header::{PT_DYNAMIC, PT_GNU_PROPERTY, PT_INTERP, PT_NOTE, ProgramHeader};
use goblin::elf::section_header::{
    SHT_DYNAMIC, SHT_DYNSYM, SHT_GNU_HASH, SHT_GNU_VERDEF, SHT_GNU_VERNEED, SHT_GNU_VERSYM, SHT_HASH, SHT_NOTE,
    SHT_STRTAB, SHT_SYMTAB, SectionHeader,
};
use goblin::elf::{Elf, Header};

use super::{file, journal};

/// Sections whose contents decide an edit, or move with it.
const SECTIONS: [u32; 10] = [
    SHT_DYNAMIC,
    SHT_DYNSYM,
    SHT_STRTAB,
    SHT_SYMTAB,
    SHT_HASH,
    SHT_GNU_HASH,
    SHT_GNU_VERSYM,
    SHT_GNU_VERNEED,
    SHT_GNU_VERDEF,
    SHT_NOTE,
];
/// Likewise the segments.
const SEGMENTS: [u32; 4] = [PT_DYNAMIC, PT_INTERP, PT_NOTE, PT_GNU_PROPERTY];
/// What the dynamic section points to; where that is described by no section, the whole file is read.
const POINTERS: [u64; 7] = [DT_STRTAB, DT_SYMTAB, DT_HASH, DT_GNU_HASH, DT_VERSYM, DT_VERNEED, DT_VERDEF];
/// Files up to this size are read whole.
const SMALL: usize = 32 << 10;
/// Read at either end in any case: headers, and whether there is a journal.
const END: usize = 4 << 10;
/// Program headers that an edit may add: the new segment, a stack, a note.
const ADDED: u64 = 3;
/// Parts nearer than this are read at once.
const GAP: usize = 4 << 10;

/// Sorted ranges of a file that do not touch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parts(Vec<Range<usize>>);

impl Parts {
    /// All of a file.
    pub(super) fn whole(length: usize) -> Self {
        Self(all(length))
    }

    /// Those of them that lie below `length`.
    fn below(&self, length: usize) -> impl Iterator<Item = Range<usize>> {
        self.0.iter().map(move |part| part.start.min(length)..part.end.min(length)).filter(|part| !part.is_empty())
    }

    /// The parts of `bytes` at their places among `length` zeros.
    pub(super) fn copy(&self, bytes: &[u8], length: usize) -> Vec<u8> {
        if let [part] = self.0.as_slice()
            && *part == (0..bytes.len())
            && length <= bytes.len()
        {
            return bytes[..length].to_vec();
        }
        let mut copy = zeros(length);
        for part in self.below(length.min(bytes.len())) {
            copy[part.clone()].copy_from_slice(&bytes[part]);
        }
        copy
    }

    /// The parts that lie in both, to be compared.
    pub(super) fn pairs<'a>(&self, a: &'a [u8], b: &'a [u8]) -> impl Iterator<Item = (usize, &'a [u8], &'a [u8])> {
        self.below(a.len().min(b.len())).map(|part| (part.start, &a[part.clone()], &b[part]))
    }

    /// Whether two files are equal that differ in these parts, and behind the end of the shorter one, at most.
    pub(super) fn equal(&self, a: &[u8], b: &[u8]) -> bool {
        a.len() == b.len() && self.pairs(a, b).all(|(_, a, b)| a == b)
    }

    fn has(&self, at: usize) -> bool {
        self.0.iter().any(|part| part.contains(&at))
    }
}

/// A file of which these parts were read; the rest is zero.
pub(super) struct Image {
    pub(super) bytes: Vec<u8>,
    pub(super) parts: Parts,
}

impl Image {
    /// Reads what an edit looks at.
    pub(super) fn read(file: &File) -> io::Result<Self> {
        let length = usize::try_from(file.metadata()?.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        Self::load(length, SMALL, &mut |into, at| file.read_exact_at(into, at as u64))
    }

    /// Reads all of a file.
    pub(super) fn read_whole(file: &File) -> io::Result<Self> {
        let length = usize::try_from(file.metadata()?.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        Self::load(length, usize::MAX, &mut |into, at| file.read_exact_at(into, at as u64))
    }

    /// Reads what an edit looks at from anything that can fill a buffer with the bytes at an offset.
    pub(super) fn load(
        length: usize,
        small: usize,
        read: &mut dyn FnMut(&mut [u8], usize) -> io::Result<()>,
    ) -> io::Result<Self> {
        let mut image = Self { bytes: zeros(length), parts: Parts(Vec::new()) };
        if length <= small {
            image.need(all(length), read)?;
            return Ok(image);
        }
        image.need(vec![0..END.min(length), length.saturating_sub(END)..length], read)?;
        let described = image.described(read)? && image.described_before(read)?;
        if !described {
            image.need(all(length), read)?;
        }
        Ok(image)
    }

    /// Reads what headers and dynamic section describe; `false` where they do not describe enough.
    fn described(&mut self, read: &mut dyn FnMut(&mut [u8], usize) -> io::Result<()>) -> io::Result<bool> {
        let Some(tables) = tables(&self.bytes) else { return Ok(false) };
        self.need(tables, read)?;
        let Some(contents) = contents(&self.bytes) else { return Ok(false) };
        self.need(contents, read)?;
        Ok(points_into(&self.bytes, &self.parts))
    }

    /// Reads what the file described before it was edited.
    fn described_before(&mut self, read: &mut dyn FnMut(&mut [u8], usize) -> io::Result<()>) -> io::Result<bool> {
        let Some(grown) = journal::grown(&self.bytes) else { return Ok(true) };
        self.need(vec![grown], read)?;
        let Some((pristine, unseen)) = journal::undo(&self.bytes, &self.parts) else { return Ok(true) };
        // New names change relocations.
        if !unseen.renamed.is_empty() || !unseen.unversioned.is_empty() {
            return Ok(false);
        }
        let Some(mut parts) = tables(&pristine) else { return Ok(false) };
        let Some(contents) = contents(&pristine) else { return Ok(false) };
        parts.extend(contents);
        self.need(parts, read)?;
        let Some((pristine, _)) = journal::undo(&self.bytes, &self.parts) else { return Ok(false) };
        Ok(points_into(&pristine, &self.parts))
    }

    /// Reads what of the ranges was not read yet.
    fn need(
        &mut self,
        ranges: Vec<Range<usize>>,
        read: &mut dyn FnMut(&mut [u8], usize) -> io::Result<()>,
    ) -> io::Result<()> {
        let length = self.bytes.len();
        let old = std::mem::take(&mut self.parts.0);
        let mut all: Vec<Range<usize>> = ranges.into_iter().map(|range| range.start..range.end.min(length)).collect();
        all.extend(old.iter().cloned());
        all.retain(|range| !range.is_empty());
        all.sort_unstable_by_key(|range| (range.start, range.end));
        for range in all {
            match self.parts.0.last_mut() {
                Some(last) if range.start <= last.end.saturating_add(GAP) => last.end = last.end.max(range.end),
                _ => self.parts.0.push(range),
            }
        }
        for part in &self.parts.0 {
            let mut at = part.start;
            for done in old.iter().filter(|done| part.start <= done.start && done.end <= part.end) {
                if at < done.start {
                    read(&mut self.bytes[at..done.start], at)?;
                }
                at = done.end;
            }
            if at < part.end {
                read(&mut self.bytes[at..part.end], at)?;
            }
        }
        Ok(())
    }
}

/// Zeros that cost nothing until they are touched: an allocator gets a block beyond any size that it keeps free
/// (64 MiB in glibc) from the kernel, which makes it page by page, and fills smaller ones itself.
fn zeros(length: usize) -> Vec<u8> {
    const LAZY: usize = 80 << 20;
    const CHEAP: usize = 64 << 10;
    let mut zeros = vec![0; if length < CHEAP { length } else { length.max(LAZY) }];
    zeros.truncate(length);
    zeros
}

fn all(length: usize) -> Vec<Range<usize>> {
    std::iter::once(0..length).collect()
}

fn header(bytes: &[u8]) -> Option<(Header, Ctx)> {
    let header = Elf::parse_header(bytes).ok()?;
    let ctx = Ctx::new(header.container().ok()?, header.endianness().ok()?);
    Some((header, ctx))
}

/// Where the tables of program and section headers lie, with room for the entries that an edit may add.
fn tables(bytes: &[u8]) -> Option<Vec<Range<usize>>> {
    let (header, _) = header(bytes)?;
    let table = |at: u64, size: u16, count: u16| range(at, u64::from(size) * (u64::from(count) + ADDED));
    // Without sections, nothing says how large the tables of the dynamic section are.
    if header.e_shnum == 0 || header.e_phnum == 0 {
        return None;
    }
    Some(vec![
        table(header.e_phoff, header.e_phentsize, header.e_phnum)?,
        table(header.e_shoff, header.e_shentsize, header.e_shnum)?,
        // Where the section headers end the file, a journal ends before them.
        range(header.e_shoff.saturating_sub(journal::FOOTER as u64), journal::FOOTER as u64)?,
    ])
}

/// Where the sections and segments lie that matter.
fn contents(bytes: &[u8]) -> Option<Vec<Range<usize>>> {
    let (header, ctx) = header(bytes)?;
    let at = |offset: u64| usize::try_from(offset).ok();
    let segments = ProgramHeader::parse(bytes, at(header.e_phoff)?, header.e_phnum.into(), ctx).ok()?;
    let sections = SectionHeader::parse(bytes, at(header.e_shoff)?, header.e_shnum.into(), ctx).ok()?;
    let segments = segments.iter().filter(|segment| SEGMENTS.contains(&segment.p_type));
    let sections = sections.iter().filter(|section| SECTIONS.contains(&section.sh_type));
    let segments = segments.map(|segment| range(segment.p_offset, segment.p_filesz));
    segments.chain(sections.map(|section| range(section.sh_offset, section.sh_size))).collect()
}

/// Whether all that the dynamic section points to lies in the parts.
fn points_into(bytes: &[u8], parts: &Parts) -> bool {
    let Some((header, ctx)) = header(bytes) else { return false };
    let Ok(table) = usize::try_from(header.e_phoff) else { return false };
    let Ok(segments) = ProgramHeader::parse(bytes, table, header.e_phnum.into(), ctx) else { return false };
    match Dynamic::parse(bytes, &segments, ctx) {
        Ok(Some(dynamic)) => dynamic.dyns.iter().filter(|entry| POINTERS.contains(&entry.d_tag)).all(|entry| {
            let at = file::offset_in(&segments, entry.d_val).ok().and_then(|at| usize::try_from(at).ok());
            at.is_some_and(|at| parts.has(at))
        }),
        Ok(None) => true,
        Err(_) => false,
    }
}

fn range(start: u64, size: u64) -> Option<Range<usize>> {
    let start = usize::try_from(start).ok()?;
    Some(start..start.checked_add(usize::try_from(size).ok()?)?)
}
