//! A file of its own for debug information: what `objcopy --only-keep-debug` makes.

use goblin::elf::Header;
use goblin::elf::program_header::{PT_NOTE, ProgramHeader};
use goblin::elf::section_header::{SHT_NOBITS, SHT_NOTE, SHT_NULL, SHT_PROGBITS, SectionHeader};
use scroll::Pwrite as _;
use scroll::ctx::SizeWith as _;

use super::Reason;
use super::layout::{Added, LINK, append, finish};
use super::source::Source;

/// All sections under their numbers and addresses, those that are loaded without contents (but for notes, which say
/// which program it is).
pub(super) fn file(source: &Source<'_>) -> Result<Vec<u8>, Reason> {
    let size = ProgramHeader::size_with(&source.ctx);
    let start = Header::size(source.ctx);
    let mut out = vec![0; start + source.segments().len() * size];
    let mut headers: Vec<SectionHeader> = Vec::with_capacity(source.sections.len());
    for section in &source.sections {
        let mut header = section.header.clone();
        let is_note = header.sh_type == SHT_NOTE;
        if section.is_alloc() && !is_note && header.sh_type != SHT_NULL {
            header.sh_type = SHT_NOBITS;
            header.sh_offset = out.len() as u64;
        } else if !section.range.is_empty() {
            header.sh_offset = append(&mut out, &source.bytes[section.range.clone()], header.sh_addralign)?;
        } else if header.sh_type != SHT_NULL {
            header.sh_offset = out.len() as u64;
        }
        headers.push(header);
    }
    let mut at = start;
    for segment in source.segments() {
        let segment = emptied(segment, source, &headers);
        at += out.pwrite_with(segment, at, source.ctx).map_err(|error| error.to_string())?;
    }
    let names = Some(u32::from(source.elf.header.e_shstrndx));
    let mut file = finish(source, out, &headers, names)?;
    // The program headers follow the header now.
    let mut header: Header = source.elf.header;
    let sections = goblin::elf::Elf::parse_header(&file).map_err(|error| error.to_string())?;
    header.e_shoff = sections.e_shoff;
    header.e_shnum = sections.e_shnum;
    header.e_phoff = start as u64;
    file.pwrite_with(header, 0, source.ctx.le).map_err(|error| error.to_string())?;
    Ok(file)
}

/// A segment without bytes; notes keep theirs where they are in one piece.
fn emptied(segment: &ProgramHeader, source: &Source<'_>, headers: &[SectionHeader]) -> ProgramHeader {
    let inside = |header: &SectionHeader| {
        header.sh_type == SHT_NOTE
            && header.sh_offset >= segment.p_offset
            && header.sh_offset.saturating_add(header.sh_size) <= segment.p_offset.saturating_add(segment.p_filesz)
    };
    let notes = source.sections.iter().zip(headers).filter(|(old, _)| inside(&old.header)).map(|(_, new)| new);
    let (start, end) = notes.fold((u64::MAX, 0), |(start, end), note| {
        (start.min(note.sh_offset), end.max(note.sh_offset.saturating_add(note.sh_size)))
    });
    if segment.p_type == PT_NOTE && end.checked_sub(start) == Some(segment.p_filesz) {
        return ProgramHeader { p_offset: start, ..segment.clone() };
    }
    let offset = if segment.p_align > 1 { segment.p_vaddr % segment.p_align } else { 0 };
    ProgramHeader { p_offset: offset, p_filesz: 0, ..segment.clone() }
}

/// The section that names the file for debuggers and its checksum.
pub(super) fn link(name: &str, file: &[u8]) -> Added {
    let mut contents = name.as_bytes().to_vec();
    contents.push(0);
    contents.resize(contents.len().next_multiple_of(4), 0);
    let crc = crc32fast::hash(file);
    // In the byte order of the program.
    let is_little = file.get(5) != Some(&2);
    contents.extend(if is_little { crc.to_le_bytes() } else { crc.to_be_bytes() });
    let header = SectionHeader { sh_type: SHT_PROGBITS, sh_addralign: 4, ..SectionHeader::default() };
    Added { name: LINK, header: SectionHeader { sh_flags: 0, ..header }, contents }
}
