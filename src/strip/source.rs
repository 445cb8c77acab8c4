//! An ELF file as the stripper sees it, refused where it is odd.

use std::ops::Range;

use goblin::container::{Container, Ctx};
use goblin::elf::header::{ET_DYN, ET_EXEC};
use goblin::elf::program_header::ProgramHeader;
use goblin::elf::section_header::{
    SHF_ALLOC, SHN_XINDEX, SHT_GROUP, SHT_NOBITS, SHT_NOTE, SHT_NULL, SHT_SYMTAB_SHNDX, SectionHeader,
};
use goblin::elf::{Elf, Header};
use scroll::ctx::SizeWith as _;

use super::Reason;

/// A file to strip.
pub(super) struct Source<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) elf: Elf<'a>,
    pub(super) ctx: Ctx,
    pub(super) sections: Vec<Section>,
    /// Where the last segment and the headers end.
    pub(super) pinned: usize,
}

/// A section of it.
#[derive(Clone, Debug)]
pub(super) struct Section {
    pub(super) header: SectionHeader,
    pub(super) name: String,
    /// Its bytes in the file; empty where it has none.
    pub(super) range: Range<usize>,
    /// Whether they are in a segment, and so must not move.
    pub(super) fixed: bool,
}

impl Section {
    pub(super) fn is_alloc(&self) -> bool {
        self.header.sh_flags & u64::from(SHF_ALLOC) != 0
    }
}

impl<'a> Source<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, Reason> {
        let header = Elf::parse_header(bytes).map_err(|error| error.to_string())?;
        if ![ET_DYN, ET_EXEC].contains(&header.e_type) {
            return Err("it is an object file, or a core".to_owned());
        }
        let elf = Elf::parse(bytes).map_err(|error| error.to_string())?;
        let endian = if elf.little_endian { scroll::Endian::Little } else { scroll::Endian::Big };
        let ctx = Ctx::new(if elf.is_64 { Container::Big } else { Container::Little }, endian);
        refuse_odd_tables(&elf, ctx)?;
        let segments = segments(&elf, ctx, bytes)?;
        let sections = sections(&elf, bytes, &segments)?;
        let pinned = segments.iter().map(|range| range.end).max().unwrap_or(0);
        let source = Self { bytes, elf, ctx, sections, pinned };
        source.refuse_tail()?;
        Ok(source)
    }

    pub(super) fn segments(&self) -> &[ProgramHeader] {
        &self.elf.program_headers
    }

    /// The section headers in the file.
    pub(super) fn table(&self) -> Range<usize> {
        let header = &self.elf.header;
        let size = usize::from(header.e_shnum) * SectionHeader::size_with(&self.ctx);
        let start = usize::try_from(header.e_shoff).unwrap_or(usize::MAX);
        start..start.saturating_add(size)
    }

    /// Whether it is what a program was stripped of: all that would be loaded is empty, but for notes.
    pub(super) fn is_for_debuggers(&self) -> bool {
        let mut loaded = self.sections.iter().filter(|one| one.is_alloc() && one.header.sh_type != SHT_NOTE).peekable();
        loaded.peek().is_some() && loaded.all(|section| section.header.sh_type == SHT_NOBITS)
    }

    /// Bytes that nothing explains are a stranger's: an archive behind a program, a signature.
    fn refuse_tail(&self) -> Result<(), Reason> {
        let sections = self.sections.iter().map(|section| section.range.end);
        let end = sections.chain([self.pinned, self.table().end]).max().unwrap_or(0);
        match self.bytes.get(end..) {
            Some(rest) if rest.iter().any(|&byte| byte != 0) => {
                Err(format!("{} bytes follow the end of the ELF file", rest.len()))
            }
            Some(_) => Ok(()),
            None => Err("its section headers are beyond its end".to_owned()),
        }
    }
}

fn refuse_odd_tables(elf: &Elf<'_>, ctx: Ctx) -> Result<(), Reason> {
    let header = &elf.header;
    let odd = |what: &str| Err(format!("its {what} headers have an odd shape"));
    if elf.program_headers.is_empty() {
        return Err("it has no program headers".to_owned());
    }
    if usize::from(header.e_phentsize) != ProgramHeader::size_with(&ctx)
        || usize::from(header.e_phnum) != elf.program_headers.len()
    {
        return odd("program");
    }
    let is_empty = header.e_shnum == 0 && header.e_shoff == 0;
    let sane = usize::from(header.e_shentsize) == SectionHeader::size_with(&ctx)
        && usize::from(header.e_shnum) == elf.section_headers.len()
        && header.e_shnum > 0
        && u32::from(header.e_shstrndx) != SHN_XINDEX
        && header.e_shstrndx < header.e_shnum
        && elf.section_headers.first().is_some_and(|first| first.sh_type == SHT_NULL);
    if is_empty {
        return Err("it has no section headers".to_owned());
    }
    let indirect = |section: &SectionHeader| [SHT_GROUP, SHT_SYMTAB_SHNDX].contains(&section.sh_type);
    if !sane || elf.section_headers.iter().any(indirect) { odd("section") } else { Ok(()) }
}

/// What must stay: headers and segments.
fn segments(elf: &Elf<'_>, ctx: Ctx, bytes: &[u8]) -> Result<Vec<Range<usize>>, Reason> {
    let phdrs = elf.program_headers.len() * ProgramHeader::size_with(&ctx);
    let mut ranges = vec![range(0, Header::size(ctx) as u64, bytes)?, range(elf.header.e_phoff, phdrs as u64, bytes)?];
    for segment in elf.program_headers.iter().filter(|segment| segment.p_filesz > 0) {
        ranges.push(range(segment.p_offset, segment.p_filesz, bytes)?);
    }
    Ok(ranges)
}

fn sections(elf: &Elf<'_>, bytes: &[u8], segments: &[Range<usize>]) -> Result<Vec<Section>, Reason> {
    let mut sections = Vec::with_capacity(elf.section_headers.len());
    for header in &elf.section_headers {
        let name = elf.shdr_strtab.get_at(header.sh_name).ok_or("it has a section without a name")?.to_owned();
        let has_bytes = ![SHT_NOBITS, SHT_NULL].contains(&header.sh_type) && header.sh_size > 0;
        let range = if has_bytes { range(header.sh_offset, header.sh_size, bytes)? } else { 0..0 };
        let meets = |segment: &Range<usize>| range.start < segment.end && segment.start < range.end;
        let inside = |segment: &Range<usize>| segment.start <= range.start && range.end <= segment.end;
        let fixed = segments.iter().any(inside);
        if has_bytes && !fixed && segments.iter().any(meets) {
            return Err(format!("its section {name} is partly in a segment"));
        }
        let section = Section { header: header.clone(), name, range, fixed: fixed || !has_bytes };
        if has_bytes && !fixed && section.is_alloc() {
            return Err(format!("its section {} is to be loaded and in no segment", section.name));
        }
        sections.push(section);
    }
    Ok(sections)
}

fn range(offset: u64, size: u64, bytes: &[u8]) -> Result<Range<usize>, Reason> {
    let end = offset.checked_add(size).and_then(|end| usize::try_from(end).ok()).filter(|&end| end <= bytes.len());
    match (usize::try_from(offset), end) {
        (Ok(start), Some(end)) => Ok(start..end),
        _ => Err("it is cut off".to_owned()),
    }
}
