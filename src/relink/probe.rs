//! Reads of a file only what the dynamic linker would: a few kilobytes, whatever its size.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use goblin::container::Ctx;
use goblin::elf::dynamic::{
    DF_1_NODEFLIB, DT_FLAGS_1, DT_NEEDED, DT_NULL, DT_RPATH, DT_RUNPATH, DT_SONAME, DT_STRSZ, DT_STRTAB, DT_VERDEF,
    DT_VERDEFNUM, DT_VERNEED, DT_VERNEEDNUM, Dyn,
};
use goblin::elf::header::{EI_OSABI, ELFOSABI_LINUX, ELFOSABI_NONE, ET_DYN, ET_EXEC};
use goblin::elf::program_header::{PT_DYNAMIC, PT_INTERP, PT_LOAD, PT_NOTE, ProgramHeader};
use goblin::elf::section_header::{SHT_GNU_VERDEF, SHT_GNU_VERNEED, SHT_NOBITS, SHT_NOTE, SectionHeader};
use goblin::elf::{Elf, Header};
use scroll::ctx::{SizeWith as _, TryFromCtx};
use scroll::{Endian, Pread as _};

use super::elf::{DlopenNote, ElfError, Image, Machine, SearchPath, SearchTag, Version, is_elf};

/// Most bytes of one table, and of all strings that are read one by one.
const TABLE: u64 = 1 << 20;
/// The smallest page of any machine.
const PAGE: u64 = 4096;
/// Bytes read at once for one string.
const STRING: u64 = 256;
/// String tables up to this size are read whole.
const STRINGS: u64 = 1 << 14;
/// Owner and type of the notes of `.note.dlopen`.
const DLOPEN_OWNER: &[u8] = b"FDO\0";
const DLOPEN_TYPE: u32 = 0x407c_0c0a;
/// `VER_FLG_WEAK`.
const WEAK: u16 = 2;

/// What a file is.
#[derive(Debug)]
pub(super) enum Probed {
    /// Not an ELF file.
    Other,
    /// An ELF file that the dynamic linker does not load: an object file, a static program, debug information kept
    /// apart, a program of another system.
    Data,
    /// A program or library.
    Image(Box<Image>),
}

/// Why a file could not be probed.
#[derive(Debug)]
pub(super) enum ProbeError {
    Io(io::Error),
    Elf(ElfError),
}

impl From<io::Error> for ProbeError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<ElfError> for ProbeError {
    fn from(error: ElfError) -> Self {
        Self::Elf(error)
    }
}

impl From<scroll::Error> for ProbeError {
    fn from(error: scroll::Error) -> Self {
        Self::Elf(error.into())
    }
}

impl From<goblin::error::Error> for ProbeError {
    fn from(error: goblin::error::Error) -> Self {
        Self::Elf(error.into())
    }
}

fn malformed(what: &str) -> ProbeError {
    ProbeError::Elf(ElfError::Malformed(what.to_owned()))
}

/// Reads a program or library.
pub(super) fn probe(file: &File) -> Result<Probed, ProbeError> {
    let mut magic = [0; 4];
    match file.read_exact_at(&mut magic, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Probed::Other),
        result => result?,
    }
    if !is_elf(&magic) {
        return Ok(Probed::Other);
    }
    let size = file.metadata()?.len();
    let head = Window { file, size }.read(0, size.min(4096))?;
    let header = Elf::parse_header(&head)?;
    let system = header.e_ident[EI_OSABI];
    if ![ET_DYN, ET_EXEC].contains(&header.e_type) || ![ELFOSABI_NONE, ELFOSABI_LINUX].contains(&system) {
        return Ok(Probed::Data);
    }
    let Some(machine) = Machine::of(&head) else { return Ok(Probed::Data) };
    let reader = Reader::new(Window { file, size }, &header)?;
    reader.image(machine).map(|image| image.map_or(Probed::Data, |image| Probed::Image(Box::new(image))))
}

/// A file of which parts are read.
struct Window<'a> {
    file: &'a File,
    size: u64,
}

impl Window<'_> {
    fn read(&self, offset: u64, size: u64) -> Result<Vec<u8>, ProbeError> {
        let end = offset.checked_add(size).filter(|&end| end <= self.size);
        if end.is_none() || size > TABLE.max(STRINGS) {
            return Err(malformed("a table lies outside of the file or is too large"));
        }
        let mut bytes = vec![0; usize::try_from(size).map_err(|_| malformed("a table is too large"))?];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }
}

struct Reader<'a> {
    window: Window<'a>,
    ctx: Ctx,
    segments: Vec<ProgramHeader>,
    sections: Vec<SectionHeader>,
}

impl<'a> Reader<'a> {
    fn new(window: Window<'a>, header: &Header) -> Result<Self, ProbeError> {
        let ctx = Ctx::new(header.container()?, header.endianness()?);
        let size = ProgramHeader::size_with(&ctx);
        if usize::from(header.e_phentsize) != size && header.e_phnum > 0 {
            return Err(malformed("its program header table has an odd shape"));
        }
        let segments = window.table(header.e_phoff, header.e_phnum, size, ctx)?;
        let size = SectionHeader::size_with(&ctx);
        // The dynamic linker reads no sections: a file may be without.
        let sections = if usize::from(header.e_shentsize) == size {
            window.table(header.e_shoff, header.e_shnum, size, ctx).unwrap_or_default()
        } else {
            Vec::new()
        };
        Ok(Self { window, ctx, segments, sections })
    }

    fn image(&self, machine: Machine) -> Result<Option<Image>, ProbeError> {
        let Some(segment) = self.segments.iter().find(|segment| segment.p_type == PT_DYNAMIC) else {
            return Ok(None);
        };
        let kept_apart = |section: &SectionHeader| {
            section.sh_type == SHT_NOBITS && section.sh_addr == segment.p_vaddr && section.sh_size >= segment.p_memsz
        };
        if segment.p_filesz == 0 || self.sections.iter().any(kept_apart) {
            return Ok(None);
        }
        let dynamic = self.dynamic(segment)?;
        let strings = Strings::new(self, &dynamic)?;
        let last = |tag: u64| dynamic.iter().rfind(|entry| entry.d_tag == tag).map(|entry| entry.d_val);
        let needed = dynamic.iter().filter(|entry| entry.d_tag == DT_NEEDED);
        let needed = needed.map(|entry| strings.text(entry.d_val)).collect::<Result<_, _>>()?;
        let mut search = None;
        // Where there is a DT_RUNPATH, DT_RPATH does not count.
        for (tag, number) in [(SearchTag::Rpath, DT_RPATH), (SearchTag::Runpath, DT_RUNPATH)] {
            if let Some(at) = last(number) {
                search = Some(SearchPath { tag, text: strings.text(at)? });
            }
        }
        Ok(Some(Image {
            machine,
            interpreter: self.interpreter()?,
            soname: last(DT_SONAME).map(|at| strings.text(at)).transpose()?,
            needed,
            search,
            no_default_lib: last(DT_FLAGS_1).is_some_and(|flags| flags & DF_1_NODEFLIB != 0),
            needs: match (last(DT_VERNEED), last(DT_VERNEEDNUM)) {
                (Some(at), Some(count)) => self.needs(at, count, &strings)?,
                _ => BTreeMap::new(),
            },
            defines: match (last(DT_VERDEF), last(DT_VERDEFNUM)) {
                (Some(at), Some(count)) => self.defines(at, count, &strings)?,
                _ => BTreeSet::new(),
            },
            dlopen: self.notes()?,
        }))
    }

    fn interpreter(&self) -> Result<Option<String>, ProbeError> {
        let Some(segment) = self.segments.iter().find(|segment| segment.p_type == PT_INTERP) else { return Ok(None) };
        let contents = self.window.read(segment.p_offset, segment.p_filesz)?;
        let path = contents.split(|&byte| byte == 0).next().unwrap_or_default();
        Ok(Some(String::from_utf8_lossy(path).into_owned()))
    }

    fn dynamic(&self, segment: &ProgramHeader) -> Result<Vec<Dyn>, ProbeError> {
        let bytes = self.window.read(segment.p_offset, segment.p_filesz)?;
        let mut entries = Vec::new();
        let mut at = 0;
        while bytes.len() - at >= Dyn::size_with(&self.ctx) {
            let entry: Dyn = bytes.gread_with(&mut at, self.ctx)?;
            if entry.d_tag == DT_NULL {
                break;
            }
            entries.push(entry);
        }
        Ok(entries)
    }

    /// The file offset of an address, and the bytes of the file from there to its end. Files are mapped in pages, so
    /// that more of them is to be seen than segments say; some tables lie there.
    fn place(&self, address: u64) -> Result<(u64, u64), ProbeError> {
        let within = |round: u64| {
            self.segments.iter().filter(|segment| segment.p_type == PT_LOAD).find_map(|load| {
                let distance = address.checked_sub(load.p_vaddr)?;
                let end = load.p_filesz.checked_next_multiple_of(round)?;
                (distance < end).then(|| load.p_offset.checked_add(distance))?
            })
        };
        let offset = within(1).or_else(|| within(PAGE)).filter(|&offset| offset < self.window.size);
        let offset = offset.ok_or_else(|| malformed("the dynamic section points to what is not in the file"))?;
        Ok((offset, self.window.size - offset))
    }

    /// A table of symbol versions: up to the end of its section, if it has one.
    fn versions(&self, address: u64, kind: u32) -> Result<Vec<u8>, ProbeError> {
        let (offset, left) = self.place(address)?;
        let section = self.sections.iter().find(|section| section.sh_type == kind && section.sh_offset == offset);
        self.window.read(offset, section.map_or(left.min(1 << 16), |section| section.sh_size.min(left)))
    }

    fn needs(&self, at: u64, count: u64, strings: &Strings<'_>) -> Result<Needs, ProbeError> {
        let mut table = Chain::new(self.versions(at, SHT_GNU_VERNEED)?, self.ctx.le);
        let mut all = Needs::new();
        let mut at = (count > 0).then_some(0);
        while let Some(need) = at {
            let (many, file) = (table.half(need, 2)?, table.word(need, 4)?);
            let versions = all.entry(strings.text(file.into())?).or_default();
            let mut aux = table.next(need, 8)?.filter(|_| many > 0);
            while let Some(version) = aux {
                let name = strings.text(table.word(version, 8)?.into())?;
                versions.insert(Version { name, weak: table.half(version, 4)? & WEAK != 0 });
                aux = table.next(version, 12)?;
            }
            at = table.next(need, 12)?;
        }
        Ok(all)
    }

    fn defines(&self, at: u64, count: u64, strings: &Strings<'_>) -> Result<BTreeSet<String>, ProbeError> {
        let mut table = Chain::new(self.versions(at, SHT_GNU_VERDEF)?, self.ctx.le);
        let mut all = BTreeSet::new();
        let mut at = (count > 0).then_some(0);
        while let Some(definition) = at {
            // The first name of each is its own, the others are what it inherits from.
            if let Some(aux) = table.next(definition, 12)? {
                all.insert(strings.text(table.word(aux, 0)?.into())?);
            }
            at = table.next(definition, 16)?;
        }
        Ok(all)
    }

    /// What it says that it opens by name. Notes that are no notes say nothing.
    fn notes(&self) -> Result<Vec<DlopenNote>, ProbeError> {
        let sections = self.sections.iter().filter(|section| section.sh_type == SHT_NOTE);
        let mut places: BTreeSet<(u64, u64)> = sections.map(|section| (section.sh_offset, section.sh_size)).collect();
        if self.sections.is_empty() {
            let segments = self.segments.iter().filter(|segment| segment.p_type == PT_NOTE);
            places.extend(segments.map(|segment| (segment.p_offset, segment.p_filesz)));
        }
        let mut notes = Vec::new();
        for (offset, size) in places {
            // The shortest note that says anything is longer than a build id.
            if size > 40 {
                notes.extend(dlopen_notes(&self.window.read(offset, size)?, self.ctx.le));
            }
        }
        Ok(notes)
    }
}

impl Window<'_> {
    fn table<T>(&self, offset: u64, count: u16, size: usize, ctx: Ctx) -> Result<Vec<T>, ProbeError>
    where
        T: for<'b> TryFromCtx<'b, Ctx, Error = goblin::error::Error>,
    {
        if count == 0 || offset == 0 {
            return Ok(Vec::new());
        }
        let bytes = self.read(offset, u64::from(count) * size as u64)?;
        (0..usize::from(count)).map(|index| Ok(bytes.pread_with(index * size, ctx)?)).collect()
    }
}

type Needs = BTreeMap<String, BTreeSet<Version>>;

/// The strings of the dynamic section.
struct Strings<'a> {
    reader: &'a Reader<'a>,
    offset: u64,
    size: u64,
    /// All of them, where there are few.
    whole: Option<Vec<u8>>,
    /// Bytes that may still be read one by one.
    left: Cell<u64>,
}

impl<'a> Strings<'a> {
    fn new(reader: &'a Reader<'a>, dynamic: &[Dyn]) -> Result<Self, ProbeError> {
        let value = |tag: u64| dynamic.iter().rfind(|entry| entry.d_tag == tag).map(|entry| entry.d_val);
        let Some(address) = value(DT_STRTAB) else {
            return Ok(Self { reader, offset: 0, size: 0, whole: Some(Vec::new()), left: Cell::new(0) });
        };
        let (offset, left) = reader.place(address)?;
        let size = value(DT_STRSZ).unwrap_or(left).min(left);
        let whole = (size <= STRINGS).then(|| reader.window.read(offset, size)).transpose()?;
        Ok(Self { reader, offset, size, whole, left: Cell::new(16 * TABLE) })
    }

    fn text(&self, at: u64) -> Result<String, ProbeError> {
        let outside = || malformed("a string lies outside of the string table");
        let left = self.size.checked_sub(at).filter(|&left| left > 0).ok_or_else(outside)?;
        if let Some(whole) = &self.whole {
            let from = usize::try_from(at).map_err(|_| outside())?;
            return Self::utf8(whole.get(from..).and_then(first).ok_or_else(outside)?);
        }
        let mut size = STRING;
        loop {
            let budget = self.left.get().checked_sub(size).ok_or_else(|| malformed("its names are too long"))?;
            self.left.set(budget);
            let bytes = self.reader.window.read(self.offset + at, size.min(left))?;
            match first(&bytes) {
                Some(text) => return Self::utf8(text),
                None if size >= left || size >= TABLE => return Err(outside()),
                None => size *= 16,
            }
        }
    }

    fn utf8(text: &[u8]) -> Result<String, ProbeError> {
        String::from_utf8(text.to_vec()).map_err(|_| malformed("a name or search path is not UTF-8"))
    }
}

/// The text up to the first NUL; `None` without one.
fn first(bytes: &[u8]) -> Option<&[u8]> {
    memchr::memchr(0, bytes).map(|end| &bytes[..end])
}

/// Records that say how far the next one is; the last one says zero.
struct Chain {
    bytes: Vec<u8>,
    order: Endian,
    /// Steps that are left: records do not overlap.
    left: usize,
}

impl Chain {
    fn new(bytes: Vec<u8>, order: Endian) -> Self {
        // The smallest record has eight bytes.
        Self { left: bytes.len() / 8, bytes, order }
    }

    fn word(&self, at: usize, field: usize) -> Result<u32, ProbeError> {
        Ok(self.bytes.pread_with(at.saturating_add(field), self.order)?)
    }

    fn half(&self, at: usize, field: usize) -> Result<u16, ProbeError> {
        Ok(self.bytes.pread_with(at.saturating_add(field), self.order)?)
    }

    fn next(&mut self, at: usize, field: usize) -> Result<Option<usize>, ProbeError> {
        let distance = usize::try_from(self.word(at, field)?).unwrap_or(usize::MAX);
        if distance == 0 {
            return Ok(None);
        }
        self.left = self.left.checked_sub(1).ok_or_else(|| malformed("the tables of symbol versions overlap"))?;
        Ok(Some(at.saturating_add(distance)))
    }
}

fn dlopen_notes(mut bytes: &[u8], order: Endian) -> Vec<DlopenNote> {
    let mut notes = Vec::new();
    let word = |at: usize, bytes: &[u8]| bytes.pread_with::<u32>(at, order).ok().and_then(|n| usize::try_from(n).ok());
    while let (Some(owner), Some(size), Some(kind)) = (word(0, bytes), word(4, bytes), word(8, bytes)) {
        let start = owner.checked_next_multiple_of(4).and_then(|owner| owner.checked_add(12));
        let Some(start) = start else { break };
        let Some(contents) = start.checked_add(size).and_then(|end| bytes.get(start..end)) else { break };
        if bytes.get(12..12 + owner.min(16)) == Some(DLOPEN_OWNER) && u32::try_from(kind) == Ok(DLOPEN_TYPE) {
            let text = contents.split(|&byte| byte == 0).next().unwrap_or_default();
            notes.extend(serde_json::from_slice::<Vec<DlopenNote>>(text).unwrap_or_default());
        }
        let Some(rest) = size.checked_next_multiple_of(4).and_then(|size| bytes.get(start.checked_add(size)?..)) else {
            break;
        };
        bytes = rest;
    }
    notes
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::super::elf::sample::Sample;
    use super::*;

    fn probed(bytes: &[u8]) -> Result<Probed, ProbeError> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        probe(&file)
    }

    fn samples() -> Vec<Sample> {
        let mut samples = Vec::new();
        for (wide, little) in [(true, true), (true, false), (false, true), (false, false)] {
            samples.push(Sample {
                wide,
                little,
                interpreter: Some("/lib/ld.so.1"),
                soname: Some("libme.so.1".into()),
                search: Some((SearchTag::Rpath, "$ORIGIN/../x".into())),
                needs: Some(("libneeded.so.1".into(), "V_1".into())),
                defines: Some("ME_1".into()),
                dlopen: Some(r#"[{"soname":["liba.so.1","libb.so.1"],"feature":"f","priority":"required"}]"#),
                ..Sample::default()
            });
        }
        samples.push(Sample { needed: vec![], ..Sample::default() });
        samples
    }

    #[test]
    fn reads_what_the_other_reader_reads() {
        for sample in samples() {
            let bytes = sample.make();
            let expected = Image::read(&bytes).unwrap().unwrap();
            let Ok(Probed::Image(image)) = probed(&bytes) else { panic!("{sample:?}") };
            assert_eq!(*image, expected);
        }
    }

    #[test]
    fn knows_what_is_never_loaded() {
        assert!(matches!(probed(b"#!/bin/sh, and more text so that it is as long as a header"), Ok(Probed::Other)));
        assert!(matches!(probed(b"\x7fE"), Ok(Probed::Other)));
        assert!(matches!(probed(b"\x7fELF"), Err(ProbeError::Elf(_))));
        let mut object = Sample::default().make();
        object[16] = 1;
        assert!(matches!(probed(&object), Ok(Probed::Data)));
        let mut other_system = Sample::default().make();
        other_system[EI_OSABI] = 9;
        assert!(matches!(probed(&other_system), Ok(Probed::Data)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn survives_any_change(which in 0..5_usize, changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12), cut in any::<prop::sample::Index>(), cuts: bool) {
            let mut bytes = samples()[which].make();
            for (at, value) in changes {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            if cuts {
                bytes.truncate(cut.index(bytes.len()));
            }
            let _ = probed(&bytes);
        }
    }
}
