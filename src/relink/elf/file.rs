//! An ELF file while it is edited: its bytes and the tables that point into them.

use goblin::container::Ctx;
use goblin::elf::dynamic::{DF_1_NODEFLIB, DT_DEBUG, DT_FLAGS_1, DT_NULL, DT_STRSZ, DT_STRTAB, Dyn};
use goblin::elf::header::EI_OSABI;
use goblin::elf::program_header::{PF_R, PF_W, PF_X, PT_DYNAMIC, PT_GNU_STACK, PT_INTERP, PT_LOAD, ProgramHeader};
use goblin::elf::section_header::{
    SHN_ABS, SHT_DYNAMIC, SHT_DYNSYM, SHT_NOBITS, SHT_PROGBITS, SHT_SYMTAB, SectionHeader,
};
use goblin::elf::{Elf, Header, Sym, sym::Symtab};
use scroll::Pwrite as _;
use scroll::ctx::SizeWith as _;

use super::ElfError;
use super::journal::Move;
use super::parts::Parts;
use super::state::Unseen;

/// The distance from the entry to the pointer that debuggers look for.
pub(super) const DT_MIPS_RLD_MAP_REL: u64 = 0x7000_0035;

/// Segments must end below these, so that what is computed from their places cannot overflow. Itanium has data at
/// 0x6000000000000000.
const ADDRESS_LIMIT: u64 = u64::MAX - (1 << 40);
const OFFSET_LIMIT: u64 = 1 << 62;

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
    /// The resolution cache note for the new segment.
    pub(super) note: Option<Vec<u8>>,
    /// Its section header.
    pub(super) note_section: Option<SectionHeader>,
    /// Program headers to add, besides that of the new segment.
    pub(super) extra: Vec<ProgramHeader>,
    /// The page size that was asked for.
    pub(super) page_size: Option<u64>,
    /// Size of the largest dynamic symbol.
    pub(super) largest_symbol: u64,
    /// Whether the places that moved parts leave behind are cleared.
    pub(super) clear_old: bool,
    /// What moved and was cleared where it was.
    pub(super) moves: Vec<Move>,
    /// Whether the tables changed and must be written.
    pub(super) tables_changed: bool,
}

/// The dynamic section and its strings.
#[derive(Clone)]
pub(super) struct Dynamic {
    /// Where it lies in the file.
    pub(super) offset: u64,
    /// Its address.
    pub(super) address: u64,
    /// Its address in the pristine file.
    pristine_address: u64,
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

    /// One entry of MIPS holds a distance from itself: it changes where the entry moves.
    fn keep_relative(&self, entries: &mut [Dyn], entry_size: u64) {
        let index = |entries: &[Dyn]| entries.iter().position(|entry| entry.d_tag == DT_MIPS_RLD_MAP_REL);
        let (Some(before), Some(now)) = (index(&self.pristine), index(entries)) else { return };
        let before = self.pristine_address.wrapping_add((before as u64).wrapping_mul(entry_size));
        let at = self.address.wrapping_add((now as u64).wrapping_mul(entry_size));
        entries[now].d_val = entries[now].d_val.wrapping_add(before).wrapping_sub(at);
    }
}

impl File {
    pub(super) fn new(bytes: &[u8], parts: &Parts, elf: &Elf<'_>, layout: &Unseen) -> Result<Self, ElfError> {
        let file = Self {
            bytes: parts.copy(bytes, bytes.len()),
            ctx: elf_context(elf)?,
            header: elf.header,
            segments: elf.program_headers.clone(),
            sections: elf.section_headers.clone(),
            dynamic: dynamic(bytes, elf)?,
            interpreter: None,
            note: None,
            note_section: None,
            extra: Vec::new(),
            page_size: layout.page_size,
            largest_symbol: elf.dynsyms.iter().map(|symbol| symbol.st_size).max().unwrap_or(0),
            clear_old: layout.clear_old,
            moves: Vec::new(),
            tables_changed: false,
        };
        file.refuse_odd_tables()?;
        Ok(file)
    }

    fn refuse_odd_tables(&self) -> Result<(), ElfError> {
        let header = &self.header;
        let segment_size = ProgramHeader::size_with(&self.ctx);
        let section_size = SectionHeader::size_with(&self.ctx);
        // Object files have no program headers, and give no size for them.
        let segments = usize::from(header.e_phnum);
        if segments > 0 && usize::from(header.e_phentsize) != segment_size || segments != self.segments.len() {
            return Err(ElfError::Unsupported("its program header table has an odd shape"));
        }
        let sections = usize::from(header.e_shnum);
        if sections > 0 && (usize::from(header.e_shentsize) != section_size || sections != self.sections.len()) {
            return Err(ElfError::Unsupported("its section header table has an odd shape"));
        }
        if header.e_shnum == 0 && header.e_shoff != 0 {
            return Err(ElfError::Unsupported("it has more sections than its header can count"));
        }
        let far = |start: u64, size: u64, limit| start.checked_add(size).is_none_or(|end| end > limit);
        let beyond = |load: &ProgramHeader| {
            far(load.p_offset, load.p_filesz, OFFSET_LIMIT) || far(load.p_vaddr, load.p_memsz, ADDRESS_LIMIT)
        };
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

    /// Sets the operating system in the header.
    pub(super) fn set_os_abi(&mut self, abi: u8) {
        self.header.e_ident[EI_OSABI] = abi;
        self.tables_changed = true;
    }

    /// Sets whether the stack is executable.
    pub(super) fn set_executable_stack(&mut self, executable: bool) {
        let flags = PF_R | PF_W | if executable { PF_X } else { 0 };
        self.tables_changed = true;
        match self.segments.iter_mut().find(|segment| segment.p_type == PT_GNU_STACK) {
            Some(stack) => stack.p_flags = stack.p_flags & !PF_X | flags & PF_X,
            None => self.extra.push(ProgramHeader {
                p_type: PT_GNU_STACK,
                p_flags: flags,
                p_align: 16,
                ..ProgramHeader::default()
            }),
        }
    }

    /// Sets whether the dynamic linker leaves out its default folders.
    pub(super) fn set_no_default_lib(&mut self, wanted: bool) -> Result<(), ElfError> {
        let dynamic = self.dynamic.as_mut().ok_or(ElfError::NoDynamic)?;
        match dynamic.entries.iter_mut().find(|entry| entry.d_tag == DT_FLAGS_1) {
            Some(flags) if wanted => flags.d_val |= DF_1_NODEFLIB,
            Some(flags) => flags.d_val &= !DF_1_NODEFLIB,
            None => dynamic.entries.push(Dyn { d_tag: DT_FLAGS_1, d_val: DF_1_NODEFLIB }),
        }
        Ok(())
    }

    /// Adds the entry through which a debugger finds what is loaded.
    pub(super) fn add_debug_tag(&mut self) -> Result<(), ElfError> {
        let dynamic = self.dynamic.as_mut().ok_or(ElfError::NoDynamic)?;
        dynamic.entries.push(Dyn { d_tag: DT_DEBUG, d_val: 0 });
        Ok(())
    }

    /// The edited file: places what grew, then writes all tables.
    pub(super) fn write(mut self) -> Result<(Vec<u8>, Vec<Move>), ElfError> {
        let pristine_sections = self.sections.clone();
        self.place()?;
        self.add_note_section()?;
        self.write_dynamic()?;
        if self.tables_changed {
            self.write_tables()?;
            self.move_symbols(&pristine_sections)?;
        }
        Ok((self.bytes, self.moves))
    }

    fn write_dynamic(&mut self) -> Result<(), ElfError> {
        let size = self.entry_size();
        let Some(dynamic) = &self.dynamic else { return Ok(()) };
        let mut entries = dynamic.entries.clone();
        dynamic.keep_relative(&mut entries, size);
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

    /// Some linkers give `_DYNAMIC` no section.
    fn is_dynamic_symbol(&self, table: &SectionHeader, symbol: &Sym) -> bool {
        const NAME: &[u8] = b"_DYNAMIC\0";
        let names = || self.sections.get(usize::try_from(table.sh_link).ok()?);
        let name =
            || slice(&self.bytes, names()?.sh_offset.checked_add(symbol.st_name as u64)?, NAME.len() as u64).ok();
        u32::try_from(symbol.st_shndx) == Ok(SHN_ABS) && name() == Some(NAME)
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
        let dynamic = self.sections.iter().position(|section| section.sh_type == SHT_DYNAMIC);
        let mut changes = Vec::new();
        for table in self.sections.iter().filter(|table| table.sh_type == SHT_SYMTAB || table.sh_type == SHT_DYNSYM) {
            let count = table.sh_size.checked_div(table.sh_entsize).unwrap_or(0);
            let symbols = Symtab::parse(&self.bytes, to_usize(table.sh_offset)?, to_usize(count)?, self.ctx)?;
            for (number, mut symbol) in symbols.iter().enumerate() {
                let index = if self.is_dynamic_symbol(table, &symbol) { dynamic } else { Some(symbol.st_shndx) };
                let Some((old, address)) = index.and_then(moved) else { continue };
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

/// What `PT_DYNAMIC` says, or would say: some linker scripts leave it out, or empty.
pub(super) fn dynamic_segment(elf: &Elf<'_>) -> Option<ProgramHeader> {
    let mut segments = elf.program_headers.iter();
    if let Some(segment) = segments.find(|segment| segment.p_type == PT_DYNAMIC && segment.p_filesz > 0) {
        return Some(segment.clone());
    }
    let section = elf.section_headers.iter().find(|section| section.sh_type == SHT_DYNAMIC && section.sh_size > 0)?;
    Some(ProgramHeader {
        p_type: PT_DYNAMIC,
        p_offset: section.sh_offset,
        p_vaddr: section.sh_addr,
        p_filesz: section.sh_size,
        ..ProgramHeader::default()
    })
}

fn dynamic(bytes: &[u8], elf: &Elf<'_>) -> Result<Option<Dynamic>, ElfError> {
    let Some(parsed) = &elf.dynamic else { return Ok(None) };
    let Some(segment) = dynamic_segment(elf) else { return Ok(None) };
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
        address: segment.p_vaddr,
        pristine_address: segment.p_vaddr,
        capacity,
        pristine: entries.clone(),
        entries,
        strings_at,
        strings_size,
        strings,
    }))
}

/// Class and byte order.
pub(super) fn elf_context(elf: &Elf<'_>) -> Result<Ctx, ElfError> {
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
pub(super) fn text(strings: &[u8], at: u64) -> Result<&[u8], ElfError> {
    let tail = usize::try_from(at).ok().and_then(|at| strings.get(at..));
    let tail = tail.ok_or_else(|| ElfError::Malformed("string table index out of bounds".into()))?;
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
