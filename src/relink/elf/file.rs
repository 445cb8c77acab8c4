//! An ELF file while it is edited: its bytes and the tables that point into them.

use goblin::container::Ctx;
use goblin::elf::dynamic::{
    DT_AUDIT, DT_CONFIG, DT_DEPAUDIT, DT_NEEDED, DT_NULL, DT_RPATH, DT_RUNPATH, DT_SONAME, DT_STRSZ, DT_STRTAB, Dyn,
};
use goblin::elf::program_header::{PT_DYNAMIC, PT_INTERP, PT_LOAD, ProgramHeader};
use goblin::elf::section_header::{SHT_DYNAMIC, SHT_DYNSYM, SHT_NOBITS, SHT_PROGBITS, SHT_SYMTAB, SectionHeader};
use goblin::elf::symver::{VerdefSection, VerneedSection};
use goblin::elf::{Elf, Header, sym::Symtab};
use scroll::Pwrite as _;
use scroll::ctx::SizeWith as _;

use super::ElfError;
use super::parts::Parts;
use super::state::SearchPath;

const DT_AUXILIARY: u64 = 0x7fff_fffd;
const DT_FILTER: u64 = 0x7fff_ffff;

/// Segments must end below it, so that what is computed from their places cannot overflow.
const ADDRESS_LIMIT: u64 = 1 << 62;

/// Bytes and tables of a file that is being edited.
pub(super) struct File {
    pub(super) bytes: Vec<u8>,
    pub(super) ctx: Ctx,
    pub(super) header: Header,
    pub(super) segments: Vec<ProgramHeader>,
    pub(super) sections: Vec<SectionHeader>,
    pub(super) dynamic: Option<Dynamic>,
    /// The interpreter, where the new one does not fit where the old one lies.
    pub(super) interpreter: Option<Vec<u8>>,
    /// Whether the tables changed and must be written.
    pub(super) tables_changed: bool,
}

/// The dynamic section and its strings.
#[derive(Clone)]
pub(super) struct Dynamic {
    /// Where it lies in the file.
    pub(super) offset: u64,
    /// Entries that fit, the terminating `DT_NULL` included.
    pub(super) capacity: usize,
    /// Entries without the terminating `DT_NULL`.
    pub(super) entries: Vec<Dyn>,
    /// Entries that the pristine file has.
    pub(super) pristine: Vec<Dyn>,
    /// Where `.dynstr` lies in the pristine file.
    pub(super) strings_at: u64,
    /// Its size in the pristine file.
    pub(super) strings_size: u64,
    /// Its contents.
    pub(super) strings: Vec<u8>,
}

impl Dynamic {
    pub(super) fn strings_grew(&self) -> bool {
        self.strings.len() as u64 > self.strings_size
    }

    pub(super) fn must_move(&self) -> bool {
        self.entries.len() + 1 > self.capacity
    }
}

impl File {
    pub(super) fn new(bytes: &[u8], parts: &Parts, elf: &Elf<'_>) -> Result<Self, ElfError> {
        let file = Self {
            bytes: parts.copy(bytes, bytes.len()),
            ctx: elf_context(elf)?,
            header: elf.header,
            segments: elf.program_headers.clone(),
            sections: elf.section_headers.clone(),
            dynamic: dynamic(bytes, elf)?,
            interpreter: None,
            tables_changed: false,
        };
        file.refuse_odd_tables()?;
        Ok(file)
    }

    fn refuse_odd_tables(&self) -> Result<(), ElfError> {
        let header = &self.header;
        let segment_size = ProgramHeader::size_with(&self.ctx);
        let section_size = SectionHeader::size_with(&self.ctx);
        if usize::from(header.e_phentsize) != segment_size || usize::from(header.e_phnum) != self.segments.len() {
            return Err(ElfError::Unsupported("its program header table has an odd shape"));
        }
        let sections = usize::from(header.e_shnum);
        if sections > 0 && (usize::from(header.e_shentsize) != section_size || sections != self.sections.len()) {
            return Err(ElfError::Unsupported("its section header table has an odd shape"));
        }
        if header.e_shnum == 0 && header.e_shoff != 0 {
            return Err(ElfError::Unsupported("it has more sections than its header can count"));
        }
        let far = |start: u64, size: u64| start.checked_add(size).is_none_or(|end| end > ADDRESS_LIMIT);
        let beyond = |load: &ProgramHeader| far(load.p_offset, load.p_filesz) || far(load.p_vaddr, load.p_memsz);
        if self.segments.iter().any(|segment| segment.p_type == PT_LOAD && beyond(segment)) {
            return Err(ElfError::Unsupported("its addresses reach the end of memory"));
        }
        Ok(())
    }

    /// Size of one program header.
    pub(super) fn segment_size(&self) -> u64 {
        ProgramHeader::size_with(&self.ctx) as u64
    }

    /// Size of one entry of the dynamic section.
    pub(super) fn entry_size(&self) -> u64 {
        Dyn::size_with(&self.ctx) as u64
    }

    /// The virtual address of a file offset.
    pub(super) fn address(&self, offset: u64) -> Option<u64> {
        self.segments
            .iter()
            .find(|load| load.p_type == PT_LOAD && offset >= load.p_offset && offset - load.p_offset < load.p_filesz)
            .map(|load| offset - load.p_offset + load.p_vaddr)
    }

    /// Overwrites `PT_INTERP` where the new one fits, remembers it for the new segment otherwise.
    pub(super) fn set_interpreter(&mut self, contents: &[u8]) -> Result<(), ElfError> {
        let segment = self.segments.iter_mut().find(|segment| segment.p_type == PT_INTERP);
        let segment = segment.ok_or(ElfError::NoInterpreter)?;
        let (offset, size, new_size) = (segment.p_offset, segment.p_filesz, contents.len() as u64);
        // What is left of the old path must not be found by anyone who looks for references.
        let place = slice_mut(&mut self.bytes, offset, size)?;
        place.fill(0);
        if new_size > size {
            self.interpreter = Some(contents.to_vec());
            return Ok(());
        }
        place[..contents.len()].copy_from_slice(contents);
        (segment.p_filesz, segment.p_memsz) = (new_size, new_size);
        for section in self.sections.iter_mut().filter(|section| is_interpreter(section, offset, size)) {
            section.sh_size = new_size;
        }
        self.tables_changed = true;
        Ok(())
    }

    /// Sets or removes the search path in the dynamic section and its strings.
    pub(super) fn set_search_path(&mut self, elf: &Elf<'_>, search: Option<&SearchPath>) -> Result<(), ElfError> {
        let dynamic = self.dynamic.as_mut().ok_or(ElfError::NoDynamic)?;
        let is_search = |entry: &Dyn| entry.d_tag == DT_RPATH || entry.d_tag == DT_RUNPATH;
        let old: Vec<u64> = dynamic.entries.iter().filter(|entry| is_search(entry)).map(|entry| entry.d_val).collect();
        let mut value = None;
        for &at in &old {
            let text = text(&dynamic.strings, at)?;
            if search.is_some_and(|search| search.text.as_bytes() == text) {
                value = Some(at);
            }
        }
        let stale: Vec<u64> = old.iter().copied().filter(|&at| Some(at) != value).collect();
        for at in stale {
            let length = text(&dynamic.strings, at)?.len();
            if is_shared(&self.bytes, elf, dynamic, at, length as u64) {
                continue;
            }
            let place = slice_mut(&mut dynamic.strings, at, length as u64)?;
            place.fill(0);
            if let (None, Some(search)) = (value, search.filter(|search| search.text.len() <= length)) {
                place[..search.text.len()].copy_from_slice(search.text.as_bytes());
                value = Some(at);
            }
        }
        // Where the strings move, what they were must not stay behind either.
        slice_mut(&mut self.bytes, dynamic.strings_at, dynamic.strings_size)?.copy_from_slice(slice(
            &dynamic.strings,
            0,
            dynamic.strings_size,
        )?);
        let Some(search) = search else {
            dynamic.entries.retain(|entry| !is_search(entry));
            return Ok(());
        };
        let value = value.unwrap_or_else(|| {
            let at = dynamic.strings.len() as u64;
            dynamic.strings.extend_from_slice(search.text.as_bytes());
            dynamic.strings.push(0);
            at
        });
        let wanted = Dyn { d_tag: search.tag.number(), d_val: value };
        match dynamic.entries.iter().position(is_search) {
            Some(first) => {
                dynamic.entries[first] = wanted;
                let mut index = 0;
                dynamic.entries.retain(|entry| {
                    index += 1;
                    index - 1 <= first || !is_search(entry)
                });
            }
            None => dynamic.entries.push(wanted),
        }
        Ok(())
    }

    /// The edited file: places what grew, then writes all tables.
    pub(super) fn write(mut self) -> Result<Vec<u8>, ElfError> {
        let pristine_sections = self.sections.clone();
        self.place()?;
        self.write_dynamic()?;
        if self.tables_changed {
            self.write_tables()?;
            self.move_symbols(&pristine_sections)?;
        }
        Ok(self.bytes)
    }

    fn write_dynamic(&mut self) -> Result<(), ElfError> {
        let size = self.entry_size();
        let Some(dynamic) = &self.dynamic else { return Ok(()) };
        let mut entries = dynamic.entries.clone();
        // Spare entries beyond the first `DT_NULL` are left as they are, removed ones are cleared.
        let end = (entries.len() + 1).max(dynamic.pristine.len() + 1).min(dynamic.capacity);
        entries.resize(end.max(entries.len()), Dyn { d_tag: DT_NULL, d_val: 0 });
        let mut at = dynamic.offset;
        for entry in entries {
            self.bytes.pwrite_with(entry, to_usize(at)?, self.ctx)?;
            at += size;
        }
        Ok(())
    }

    fn write_tables(&mut self) -> Result<(), ElfError> {
        self.header.e_phnum = u16::try_from(self.segments.len())
            .ok()
            .filter(|&count| count < 0xffff)
            .ok_or(ElfError::Unsupported("it has too many program headers"))?;
        self.bytes.pwrite_with(self.header, 0, self.ctx.le)?;
        let mut at = to_usize(self.header.e_phoff)?;
        for segment in &self.segments {
            at += self.bytes.pwrite_with(segment.clone(), at, self.ctx)?;
        }
        let mut at = to_usize(self.header.e_shoff)?;
        for section in &self.sections {
            at += self.bytes.pwrite_with(section.clone(), at, self.ctx)?;
        }
        Ok(())
    }

    /// Symbols that lie in a section move with it: section symbols, `_DYNAMIC`.
    fn move_symbols(&mut self, pristine: &[SectionHeader]) -> Result<(), ElfError> {
        let moved = |index: usize| match (pristine.get(index), self.sections.get(index)) {
            (Some(old), Some(new)) if old.sh_addr != new.sh_addr => Some((old.clone(), new.sh_addr)),
            _ => None,
        };
        if !(0..pristine.len()).any(|index| moved(index).is_some()) {
            return Ok(());
        }
        let mut changes = Vec::new();
        for table in self.sections.iter().filter(|table| table.sh_type == SHT_SYMTAB || table.sh_type == SHT_DYNSYM) {
            let count = table.sh_size.checked_div(table.sh_entsize).unwrap_or(0);
            let symbols = Symtab::parse(&self.bytes, to_usize(table.sh_offset)?, to_usize(count)?, self.ctx)?;
            for (number, mut symbol) in symbols.iter().enumerate() {
                let Some((old, address)) = moved(symbol.st_shndx) else { continue };
                let Some(inside) = symbol.st_value.checked_sub(old.sh_addr).filter(|&at| at <= old.sh_size) else {
                    continue;
                };
                symbol.st_value = address.wrapping_add(inside);
                changes.push((table.sh_offset + number as u64 * table.sh_entsize, symbol));
            }
        }
        for (at, symbol) in changes {
            self.bytes.pwrite_with(symbol, to_usize(at)?, self.ctx)?;
        }
        Ok(())
    }
}

/// Whether a section is the one that `PT_INTERP` covers.
pub(super) fn is_interpreter(section: &SectionHeader, offset: u64, size: u64) -> bool {
    section.sh_type == SHT_PROGBITS && section.sh_offset == offset && section.sh_size == size
}

fn dynamic(bytes: &[u8], elf: &Elf<'_>) -> Result<Option<Dynamic>, ElfError> {
    let Some(parsed) = &elf.dynamic else { return Ok(None) };
    let Some(segment) = elf.program_headers.iter().find(|segment| segment.p_type == PT_DYNAMIC) else {
        return Ok(None);
    };
    let section = elf.section_headers.iter().find(|section| section.sh_type == SHT_DYNAMIC);
    if elf.section_headers.iter().any(|section| {
        section.sh_offset == segment.p_offset && section.sh_type == SHT_NOBITS && section.sh_addr == segment.p_vaddr
    }) {
        return Err(ElfError::Unsupported("it holds debug information of another file only"));
    }
    // Room beyond the section belongs to whatever follows it.
    let size = match section {
        Some(section) if section.sh_offset == segment.p_offset => section.sh_size.min(segment.p_filesz),
        _ => segment.p_filesz,
    };
    let capacity = to_usize(size)? / Dyn::size_with(&elf_context(elf)?);
    let mut entries = parsed.dyns.clone();
    if entries.pop().is_none_or(|last| last.d_tag != DT_NULL) || capacity <= entries.len() {
        return Err(ElfError::Malformed("its dynamic section has no end".into()));
    }
    let value = |tag| entries.iter().find(|entry| entry.d_tag == tag).map(|entry| entry.d_val);
    let (Some(address), Some(strings_size)) = (value(DT_STRTAB), value(DT_STRSZ)) else {
        return Err(ElfError::Malformed("its dynamic section names no strings".into()));
    };
    let strings_at = offset(elf, address)?;
    let strings = slice(bytes, strings_at, strings_size)?.to_vec();
    Ok(Some(Dynamic {
        offset: segment.p_offset,
        capacity,
        pristine: entries.clone(),
        entries,
        strings_at,
        strings_size,
        strings,
    }))
}

/// Whether anything but a search path uses bytes of the string at `at`. Linkers merge equal tails.
fn is_shared(bytes: &[u8], elf: &Elf<'_>, dynamic: &Dynamic, at: u64, length: u64) -> bool {
    const NAMES: [u64; 7] = [DT_NEEDED, DT_SONAME, DT_AUXILIARY, DT_FILTER, DT_CONFIG, DT_DEPAUDIT, DT_AUDIT];
    let hit = |offset: u64| (at..at + length).contains(&offset);
    let preceded = at > 0 && usize::try_from(at - 1).ok().and_then(|before| dynamic.strings.get(before)) != Some(&0);
    let elsewhere =
        |index: usize| elf.section_headers.get(index).is_some_and(|section| section.sh_offset == dynamic.strings_at);
    preceded
        || elsewhere(usize::from(elf.header.e_shstrndx))
        || elf
            .section_headers
            .iter()
            .any(|section| section.sh_type == SHT_SYMTAB && usize::try_from(section.sh_link).is_ok_and(elsewhere))
        || dynamic.entries.iter().any(|entry| NAMES.contains(&entry.d_tag) && hit(entry.d_val))
        || symbols(bytes, elf).any(|symbol| symbol.st_name != 0 && hit(symbol.st_name as u64))
        || elf
            .verneed
            .iter()
            .flat_map(VerneedSection::iter)
            .any(|need| hit(need.vn_file as u64) || need.iter().any(|version| hit(version.vna_name as u64)))
        || elf.verdef.iter().flat_map(VerdefSection::iter).any(|def| def.iter().any(|aux| hit(aux.vda_name as u64)))
}

/// Dynamic symbols: a hash table may leave out some that the section has.
fn symbols<'a>(bytes: &'a [u8], elf: &'a Elf<'_>) -> impl Iterator<Item = goblin::elf::Sym> + 'a {
    let section = elf.section_headers.iter().find(|section| section.sh_type == SHT_DYNSYM);
    let table = section.and_then(|section| {
        let count = usize::try_from(section.sh_size.checked_div(section.sh_entsize)?).ok()?;
        Symtab::parse(bytes, usize::try_from(section.sh_offset).ok()?, count, elf_context(elf).ok()?).ok()
    });
    let rest = table.into_iter().flat_map(|table| table.iter().collect::<Vec<_>>());
    elf.dynsyms.iter().chain(rest)
}

/// Class and byte order.
fn elf_context(elf: &Elf<'_>) -> Result<Ctx, ElfError> {
    Ok(Ctx::new(elf.header.container()?, elf.header.endianness()?))
}

/// The file offset of a virtual address.
pub(super) fn offset(elf: &Elf<'_>, address: u64) -> Result<u64, ElfError> {
    offset_in(&elf.program_headers, address)
}

/// Likewise, with nothing but the program headers.
pub(super) fn offset_in(segments: &[ProgramHeader], address: u64) -> Result<u64, ElfError> {
    segments
        .iter()
        .filter(|load| load.p_type == PT_LOAD && address >= load.p_vaddr && address - load.p_vaddr < load.p_filesz)
        .find_map(|load| (address - load.p_vaddr).checked_add(load.p_offset))
        .ok_or_else(|| ElfError::Malformed(format!("address {address:#x} is not in the file")))
}

/// The string of `.dynstr` at an offset, as bytes.
pub(super) fn text_at<'a>(bytes: &'a [u8], elf: &Elf<'_>, at: u64) -> Result<&'a [u8], ElfError> {
    let info = elf.dynamic.as_ref().map(|dynamic| &dynamic.info).ok_or(ElfError::NoDynamic)?;
    text(slice(bytes, info.strtab as u64, info.strsz as u64)?, at)
}

/// The NUL-terminated string at an offset of a string table.
fn text(strings: &[u8], at: u64) -> Result<&[u8], ElfError> {
    let tail = usize::try_from(at).ok().and_then(|at| strings.get(at..));
    let tail = tail.ok_or_else(|| ElfError::Malformed("a name lies outside of the strings".into()))?;
    let end = tail.iter().position(|&byte| byte == 0);
    end.map(|end| &tail[..end]).ok_or_else(|| ElfError::Malformed("a name has no end".into()))
}

/// A part of the file.
pub(super) fn slice(bytes: &[u8], offset: u64, size: u64) -> Result<&[u8], ElfError> {
    range(offset, size).and_then(|range| bytes.get(range)).ok_or_else(|| beyond(offset, size))
}

/// A part of the file, to write.
pub(super) fn slice_mut(bytes: &mut [u8], offset: u64, size: u64) -> Result<&mut [u8], ElfError> {
    range(offset, size).and_then(|range| bytes.get_mut(range)).ok_or_else(|| beyond(offset, size))
}

fn range(offset: u64, size: u64) -> Option<std::ops::Range<usize>> {
    let start = usize::try_from(offset).ok()?;
    Some(start..start.checked_add(usize::try_from(size).ok()?)?)
}

fn beyond(offset: u64, size: u64) -> ElfError {
    ElfError::Malformed(format!("{size} bytes at {offset:#x} lie beyond the end of the file"))
}

/// A number of the file as an index.
pub(super) fn to_usize(number: u64) -> Result<usize, ElfError> {
    usize::try_from(number).map_err(|_| ElfError::Malformed(format!("{number:#x} is too large")))
}
