//! What is wrong with the section headers of a file, for those who rely on them.
//!
//! The dynamic linker reads none of them, and [`super::edit`] does not need them to be sound; tools that name
//! sections do.

use goblin::container::{Container, Ctx};
use goblin::elf::dynamic::{DT_NEEDED, DT_NULL, DT_RPATH, DT_RUNPATH, DT_SONAME, Dyn};
use goblin::elf::header::{EI_CLASS, EI_DATA, ELFCLASS64, ELFDATA2LSB};
use goblin::elf::section_header::{SHT_NOBITS, SHT_STRTAB};
use goblin::elf::{Elf, Header, ProgramHeader, SectionHeader};
use scroll::ctx::SizeWith as _;
use scroll::{Endian, Pread as _};

use super::ElfError;
use super::file::{slice, to_usize};

/// The sections of a file.
pub struct Sections<'a> {
    bytes: &'a [u8],
    ctx: Ctx,
    headers: Vec<SectionHeader>,
    names: &'a [u8],
}

fn fault<T>(what: impl Into<String>) -> Result<T, ElfError> {
    Err(ElfError::Malformed(what.into()))
}

impl<'a> Sections<'a> {
    /// Reads and checks program headers, section headers and section names.
    pub fn read(bytes: &'a [u8]) -> Result<Self, ElfError> {
        let header = Elf::parse_header(bytes)?;
        let container = if header.e_ident[EI_CLASS] == ELFCLASS64 { Container::Big } else { Container::Little };
        let endian = if header.e_ident[EI_DATA] == ELFDATA2LSB { Endian::Little } else { Endian::Big };
        let ctx = Ctx::new(container, endian);
        let fits = |at: u64, entry: u16, count: u16| slice(bytes, at, u64::from(entry) * u64::from(count)).is_ok();
        if !fits(header.e_phoff, header.e_phentsize, header.e_phnum) {
            return fault("program header table out of bounds");
        }
        if header.e_phnum > 0 && usize::from(header.e_phentsize) != ProgramHeader::size_with(&ctx) {
            return fault("program headers have wrong size");
        }
        if header.e_shnum == 0 {
            return Ok(Self { bytes, ctx, headers: Vec::new(), names: &[] });
        }
        if usize::from(header.e_shentsize) != SectionHeader::size_with(&ctx) {
            return fault("section headers have wrong size");
        }
        if !fits(header.e_shoff, header.e_shentsize, header.e_shnum) {
            return fault("section header table out of bounds");
        }
        let headers = SectionHeader::parse(bytes, to_usize(header.e_shoff)?, usize::from(header.e_shnum), ctx)?;
        let names = Self::names(bytes, &header, &headers)?;
        Ok(Self { bytes, ctx, headers, names })
    }

    fn names(bytes: &'a [u8], header: &Header, headers: &[SectionHeader]) -> Result<&'a [u8], ElfError> {
        let Some(table) = headers.get(usize::from(header.e_shstrndx)) else {
            return fault("section name string table index out of bounds");
        };
        let Ok(names) = slice(bytes, table.sh_offset, table.sh_size) else {
            return fault("data region extends past file end");
        };
        match names.last() {
            None => return fault("section name string table size is zero"),
            Some(0) => {}
            Some(_) => return fault("section name string table is not zero terminated"),
        }
        if headers.iter().any(|section| section.sh_name >= names.len()) {
            return fault("section name offset out of bounds");
        }
        Ok(names)
    }

    /// Sections, other than the first, that have no name.
    pub fn unnamed(&self) -> Vec<usize> {
        let named = self.headers.iter().enumerate().skip(1);
        named.filter(|(_, section)| self.name(section).is_empty()).map(|(index, _)| index).collect()
    }

    /// Checks the section `.dynamic` and the strings that it names.
    pub fn check_dynamic(&self) -> Result<(), ElfError> {
        let Some(section) = self.find(".dynamic").filter(|section| section.sh_type != SHT_NOBITS) else {
            return Ok(());
        };
        let word = Dyn::size_with(&self.ctx) as u64 / 2;
        if section.sh_offset > self.bytes.len() as u64 {
            return fault("data offset extends past file end");
        }
        if !section.sh_offset.is_multiple_of(word) {
            return fault(".dynamic: section content is not naturally aligned");
        }
        let Ok(contents) = slice(self.bytes, section.sh_offset, section.sh_size) else {
            return fault("data region extends past file end");
        };
        let strings = self.find(".dynstr").filter(|section| section.sh_type == SHT_STRTAB);
        let strings = strings.and_then(|section| slice(self.bytes, section.sh_offset, section.sh_size).ok());
        if strings.is_some_and(|strings| strings.last() != Some(&0)) {
            return fault(".dynstr: string table is not NUL-terminated");
        }
        let mut at = 0;
        while at < contents.len() {
            let entry: Dyn = contents.pread_with(at, self.ctx)?;
            at += Dyn::size_with(&self.ctx);
            if entry.d_tag == DT_NULL {
                return Ok(());
            }
            let names = [DT_NEEDED, DT_SONAME, DT_RPATH, DT_RUNPATH].contains(&entry.d_tag);
            if names && strings.is_some_and(|strings| entry.d_val >= strings.len() as u64) {
                return fault(".dynamic: string table index out of bounds");
            }
        }
        fault(".dynamic section has no DT_NULL terminator")
    }

    /// Checks that the GNU hash table lies within its section.
    pub fn check_hash(&self) -> Result<(), ElfError> {
        let Some(section) = self.find(".gnu.hash") else { return Ok(()) };
        let Ok(contents) = slice(self.bytes, section.sh_offset, section.sh_size) else {
            return fault("data region extends past file end");
        };
        let word = |index: usize| contents.pread_with::<u32>(4 * index, self.ctx.le).map(u64::from);
        let (buckets, filters) = (word(0)?, word(2)?);
        let width = if self.ctx.is_big() { 8 } else { 4 };
        if buckets == 0 || filters == 0 || 16 + filters * width + buckets * 4 > contents.len() as u64 {
            return fault(".gnu.hash table header out of range");
        }
        Ok(())
    }

    fn find(&self, name: &str) -> Option<&SectionHeader> {
        self.headers.iter().find(|section| self.name(section) == name.as_bytes())
    }

    fn name(&self, section: &SectionHeader) -> &'a [u8] {
        let name = self.names.get(section.sh_name..).unwrap_or_default();
        name.split(|&byte| byte == 0).next().unwrap_or_default()
    }
}
