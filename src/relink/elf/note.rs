//! The linker resolution cache: a note that tells a dynamic linker that knows it where every needed library is.
//!
//! Owner, type and contents are those that patchelf writes and the dynamic linker of nixpkgs reads.

use std::collections::BTreeMap;
use std::path::Path;

use goblin::elf::Elf;
use goblin::elf::program_header::{PF_R, PT_NOTE, PT_NULL, ProgramHeader};
use goblin::elf::section_header::{SHF_ALLOC, SHT_NOTE, SectionHeader};
use scroll::Endian;

use super::ElfError;
use super::file::{File, slice, slice_mut};

const OWNER: &[u8] = b"NixOS\0\0\0";
/// Without the padding.
const OWNER_SIZE: u32 = 6;
const KIND: u32 = 0x63a8_6cb6;
/// The section that shows the note to tools other than the dynamic linker.
pub(super) const SECTION: &str = ".note.nixos.ldcache";

/// The descriptor for a file with these needed libraries and this search path, as the file system is now: for
/// each library where it is (`=PATH`) and which folders only the dynamic linker can look into (`?DIR`), in the
/// order of the search path. `None` where nothing was found.
pub fn resolution_cache<'a>(needed: impl Iterator<Item = &'a str>, search: &str) -> Option<Vec<u8>> {
    // A name with a slash is a path that is opened without any search.
    let names: Vec<&str> = needed.filter(|name| !name.contains('/')).collect();
    let mut found: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for folder in search.split(':') {
        let unsure =
            !folder.starts_with('/') || folder.contains('$') || Path::new(folder).join("glibc-hwcaps").exists();
        for &name in &names {
            let path = Path::new(folder).join(name);
            if unsure {
                found.entry(name).or_default().push(format!("?{folder}"));
            } else if std::fs::File::open(&path).is_ok() {
                found.entry(name).or_default().push(format!("={folder}/{name}"));
            }
        }
    }
    if found.is_empty() {
        return None;
    }
    let mut text = String::new();
    for (name, places) in found {
        text.push_str(&format!("{name}\0{}\0", places.join(":")));
    }
    text.push('\0');
    Some(text.into_bytes())
}

/// The descriptor of the note that a file has.
pub fn resolution_cache_of(bytes: &[u8]) -> Option<Vec<u8>> {
    read(bytes, &super::parse(bytes).ok()?)
}

/// The descriptor of the note of a file, or what is in its place.
pub(super) fn read(bytes: &[u8], elf: &Elf<'_>) -> Option<Vec<u8>> {
    let section = section(elf).filter(|section| section.sh_size > 0)?;
    let contents = slice(bytes, section.sh_offset, section.sh_size).unwrap_or_default();
    Some(descriptor(contents, elf.little_endian).unwrap_or(contents).to_vec())
}

fn section<'a>(elf: &'a Elf<'_>) -> Option<&'a SectionHeader> {
    elf.section_headers.iter().find(|section| elf.shdr_strtab.get_at(section.sh_name) == Some(SECTION))
}

fn descriptor(note: &[u8], little: bool) -> Option<&[u8]> {
    let word = |at: usize| {
        let word = note.get(at..at + 4)?.first_chunk()?;
        Some(if little { u32::from_le_bytes(*word) } else { u32::from_be_bytes(*word) })
    };
    let size = usize::try_from(word(4)?).ok()?;
    let rest = note.get(12..)?.strip_prefix(OWNER)?;
    (word(0)? == OWNER_SIZE && word(8)? == KIND).then_some(())?;
    rest.get(..size)
}

/// The whole note.
fn contents(descriptor: &[u8], endian: Endian) -> Result<Vec<u8>, ElfError> {
    let size = u32::try_from(descriptor.len()).map_err(|_| ElfError::Unsupported("the note is too large"))?;
    let word = |word: u32| if endian == Endian::Little { word.to_le_bytes() } else { word.to_be_bytes() };
    let mut note: Vec<u8> = [OWNER_SIZE, size, KIND].into_iter().flat_map(word).collect();
    note.extend_from_slice(OWNER);
    note.extend_from_slice(descriptor);
    note.resize(note.len().next_multiple_of(4), 0);
    Ok(note)
}

impl File {
    /// Removes the note that is there, and remembers the new one for the new segment.
    pub(super) fn set_resolution_cache(&mut self, elf: &Elf<'_>, wanted: Option<&[u8]>) -> Result<(), ElfError> {
        if let Some(old) = section(elf) {
            let (at, size) = (old.sh_offset, old.sh_size);
            if let Ok(place) = slice_mut(&mut self.bytes, at, size) {
                place.fill(0);
            }
            let covers = |segment: &ProgramHeader| (segment.p_offset, segment.p_filesz) == (at, size);
            for segment in self.segments.iter_mut().filter(|segment| segment.p_type == PT_NOTE && covers(segment)) {
                *segment = ProgramHeader { p_type: PT_NULL, ..ProgramHeader::default() };
            }
            let covers = |section: &SectionHeader| (section.sh_offset, section.sh_size) == (at, size);
            for section in self.sections.iter_mut().filter(|section| covers(section)) {
                section.sh_size = 0;
            }
            self.tables_changed = true;
        }
        if let Some(descriptor) = wanted {
            self.note = Some(contents(descriptor, self.ctx.le)?);
            self.extra.push(ProgramHeader { p_type: PT_NOTE, p_flags: PF_R, p_align: 4, ..ProgramHeader::default() });
        }
        Ok(())
    }

    /// The note lies at `offset` now: tells its program header, and keeps a section header for it.
    pub(super) fn announce_note(&mut self, offset: u64, address: u64, size: u64) {
        for segment in self.extra.iter_mut().filter(|segment| segment.p_type == PT_NOTE) {
            (segment.p_offset, segment.p_vaddr, segment.p_paddr) = (offset, address, address);
            (segment.p_filesz, segment.p_memsz) = (size, size);
        }
        self.note_section = Some(SectionHeader {
            sh_name: 0,
            sh_type: SHT_NOTE,
            sh_flags: u64::from(SHF_ALLOC),
            sh_addr: address,
            sh_offset: offset,
            sh_size: size,
            sh_link: 0,
            sh_info: 0,
            sh_addralign: 4,
            sh_entsize: 0,
        });
    }

    /// Adds the section header of the note: section names and section table move to the end of the file.
    pub(super) fn add_note_section(&mut self) -> Result<(), ElfError> {
        let Some(mut note) = self.note_section.take() else { return Ok(()) };
        let Some(names) = self.sections.get(usize::from(self.header.e_shstrndx)).cloned() else { return Ok(()) };
        let mut text = slice(&self.bytes, names.sh_offset, names.sh_size)?.to_vec();
        // Names that the loader maps as well stay where they are.
        if names.sh_flags & u64::from(SHF_ALLOC) == 0 {
            note.sh_name = text.len();
            text.extend_from_slice(SECTION.as_bytes());
            text.push(0);
            let section = &mut self.sections[usize::from(self.header.e_shstrndx)];
            (section.sh_offset, section.sh_size) = (self.bytes.len() as u64, text.len() as u64);
            self.bytes.extend_from_slice(&text);
        }
        self.sections.push(note);
        self.header.e_shnum = u16::try_from(self.sections.len())
            .ok()
            .filter(|&count| count < 0xff00)
            .ok_or(ElfError::Unsupported("it has too many sections"))?;
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        self.header.e_shoff = self.bytes.len() as u64;
        let size = usize::from(self.header.e_shentsize) * self.sections.len();
        self.bytes.resize(self.bytes.len() + size, 0);
        self.tables_changed = true;
        Ok(())
    }
}
