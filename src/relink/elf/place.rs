//! The new segment: what goes into it, where it lies, and who must know.

use std::ops::Range;

use goblin::elf::dynamic::{DT_GNU_HASH, DT_HASH, DT_STRSZ, DT_STRTAB, DT_SYMTAB, DT_VERDEF, DT_VERNEED, DT_VERSYM};
use goblin::elf::header::{EM_AARCH64, EM_IA_64, EM_LOONGARCH, EM_MIPS, EM_PPC, EM_PPC64, EM_SPARC, EM_SPARCV9};
use goblin::elf::program_header::{PF_R, PF_W, PT_DYNAMIC, PT_GNU_RELRO, PT_INTERP, PT_LOAD, PT_PHDR, ProgramHeader};
use goblin::elf::section_header::{
    SHF_ALLOC, SHT_DYNAMIC, SHT_DYNSYM, SHT_GNU_HASH, SHT_GNU_VERDEF, SHT_GNU_VERNEED, SHT_GNU_VERSYM, SHT_HASH,
    SHT_NOBITS, SHT_STRTAB, SectionHeader,
};

use super::ElfError;
use super::file::{Dynamic, File, is_interpreter, slice, slice_mut};
use super::journal::Move;
use super::room::Room;

/// Something that lies in the new segment.
enum Item {
    /// The table of program headers, one entry longer.
    Table,
    /// `.dynstr`.
    Strings,
    /// `.dynamic`.
    Dynamic,
    /// `.interp`.
    Interpreter(Vec<u8>),
    /// The resolution cache note.
    Note(Vec<u8>),
    /// A part of the file, as it is.
    Part(Range<u64>),
}

/// Where the new segment lies.
struct Place {
    start: u64,
    address: u64,
}

impl Place {
    fn address(&self, offset: u64) -> u64 {
        offset - self.start + self.address
    }
}

/// The largest alignment that a segment may ask for.
const ALIGNMENT_LIMIT: u64 = 1 << 30;
/// Images larger than this need their address space themselves.
const SPARSE_LIMIT: u64 = 1 << 30;
/// The most that a relocated table of program headers may cost in zeros (see [`File::start`]).
const PADDING_LIMIT: u64 = 16 << 20;

impl File {
    /// Puts what grew behind the end of the file, in a segment of its own.
    pub(super) fn place(&mut self) -> Result<(), ElfError> {
        let mut items = self.grown();
        if items.is_empty() && self.extra.is_empty() {
            return Ok(());
        }
        self.tables_changed = true;
        let room = self.room(!items.is_empty());
        let relocate = matches!(room, Room::Relocate);
        match &room {
            Room::Relocate => items.insert(0, Item::Table),
            Room::InPlace(segments, moved) => {
                self.segments.clone_from(segments);
                items.extend(moved.iter().cloned().map(Item::Part));
            }
            Room::Grow(_) => {}
        }
        if items.is_empty() {
            self.segments.append(&mut self.extra);
            self.announce_table(None);
            return Ok(());
        }
        let grows = if let Room::Grow(last) = room { Some(last) } else { None };
        let place = self.start(grows, relocate)?;
        let writable = self.dynamic.as_ref().is_some_and(Dynamic::must_move);
        let mut offset = place.start;
        for item in items {
            offset = self.put(item, &place, offset)?;
        }
        if !self.ctx.is_big() && place.address(offset) > u64::from(u32::MAX) {
            return Err(ElfError::Unsupported("its addresses reach the end of memory"));
        }
        self.bytes.resize(super::file::to_usize(offset)?.max(self.bytes.len()), 0);
        if let Some(last) = grows {
            let segment = &mut self.segments[last];
            segment.p_filesz = segment.p_filesz.max(offset - segment.p_offset);
            segment.p_memsz = segment.p_filesz;
        } else {
            self.add_segment(&place, offset, writable);
        }
        self.segments.append(&mut self.extra);
        self.clear_moved();
        self.announce_table(relocate.then_some(&place));
        Ok(())
    }

    /// What does not fit any more where it is.
    fn grown(&mut self) -> Vec<Item> {
        let mut items = Vec::new();
        if self.dynamic.as_ref().is_some_and(Dynamic::must_move) {
            items.push(Item::Dynamic);
        }
        if self.dynamic.as_ref().is_some_and(Dynamic::strings_grew) {
            items.push(Item::Strings);
        }
        if let Some(interpreter) = &self.interpreter {
            items.push(Item::Interpreter(interpreter.clone()));
        }
        items.extend(self.note.take().map(Item::Note));
        items
    }

    /// Behind the end of the file and of the memory image. The address is congruent to the offset, so that
    /// no padding is needed.
    fn start(&self, grows: Option<usize>, relocate: bool) -> Result<Place, ElfError> {
        let end = round_up(self.bytes.len() as u64, 16)?;
        if let Some(segment) = grows.and_then(|last| self.segments.get(last)) {
            let end = segment.p_offset + segment.p_filesz;
            let start = self.strings_before(end).unwrap_or(end);
            return Ok(Place { start, address: start - segment.p_offset + segment.p_vaddr });
        }
        let loads = || self.segments.iter().filter(|segment| segment.p_type == PT_LOAD);
        let page = self.alignment();
        if !page.is_power_of_two() || page > ALIGNMENT_LIMIT {
            return Err(ElfError::Unsupported("its segments ask for an implausible alignment"));
        }
        let image_end = loads().filter_map(|load| load.p_vaddr.checked_add(load.p_memsz)).max();
        let image_end = image_end.ok_or(ElfError::Unsupported("it has no segment to load"))?;
        let apart = round_up(image_end + self.distance(image_end), page)?;
        let image_end = round_up(image_end, page)?;
        let place = Place { start: end, address: apart + end % page };
        if !relocate || !self.segments.iter().any(|segment| segment.p_type == PT_INTERP) {
            return Ok(place);
        }
        // Linux before 5.18 tells a program that its headers lie at the load address plus their file offset:
        // for a program the new segment must keep the distance of the first one.
        let first = loads().next().ok_or(ElfError::Unsupported("it has no segment to load"))?;
        let Some(distance) = first.p_vaddr.checked_sub(first.p_offset) else { return Ok(place) };
        let start = end.max(image_end.saturating_sub(distance));
        if start - end > PADDING_LIMIT {
            return Ok(place);
        }
        Ok(Place { start, address: start + distance })
    }

    /// Where `.dynstr` lies, if it can grow there because it is the last thing before `end`. A hole in its place would
    /// have GNU strip move what follows.
    fn strings_before(&self, end: u64) -> Option<u64> {
        let dynamic = self.dynamic.as_ref().filter(|dynamic| dynamic.strings_grew() && !dynamic.must_move())?;
        let strings_end = dynamic.strings_at.checked_add(dynamic.strings_size)?;
        let padding = slice(&self.bytes, strings_end, end.checked_sub(strings_end)?).ok()?;
        let behind = |section: &SectionHeader| {
            section.sh_type != SHT_NOBITS && section.sh_offset.saturating_add(section.sh_size) > strings_end
        };
        let last = padding.len() < 16 && padding.iter().all(|&byte| byte == 0) && !self.sections.iter().any(behind);
        last.then_some(dynamic.strings_at)
    }

    /// Addresses to leave free behind the image. eu-elflint takes as many bytes for relocated as the symbol has that
    /// is referred to, and calls a read-only segment within their reach one that is written to.
    fn distance(&self, image_end: u64) -> u64 {
        let first = self.segments.iter().filter(|segment| segment.p_type == PT_LOAD).map(|load| load.p_vaddr).min();
        let size = image_end - first.unwrap_or(image_end);
        if size <= SPARSE_LIMIT && self.largest_symbol <= size { self.largest_symbol + 1 } else { 0 }
    }

    /// Writes one item at or behind `offset` and tells the tables; gives the offset behind it.
    fn put(&mut self, item: Item, place: &Place, offset: u64) -> Result<u64, ElfError> {
        let word = self.entry_size() / 2;
        match item {
            Item::Table => {
                let at = round_up(offset, 8)?;
                self.header.e_phoff = at;
                let size = (self.segments.len() as u64 + 1 + self.extra.len() as u64) * self.segment_size();
                self.reserve(at, size)?;
                Ok(at + size)
            }
            Item::Strings => self.put_strings(place, offset),
            Item::Dynamic => self.put_dynamic(place, round_up(offset, word)?),
            Item::Interpreter(contents) => {
                let size = contents.len() as u64;
                self.reserve(offset, size)?.copy_from_slice(&contents);
                if let Some(segment) = self.segments.iter_mut().find(|segment| segment.p_type == PT_INTERP) {
                    for section in &mut self.sections {
                        if is_interpreter(section, segment.p_offset, segment.p_filesz) {
                            (section.sh_offset, section.sh_addr, section.sh_size) =
                                (offset, place.address(offset), size);
                        }
                    }
                    set_place(segment, offset, place.address(offset), size);
                }
                Ok(offset + size)
            }
            Item::Note(contents) => {
                let (at, size) = (round_up(offset, 4)?, contents.len() as u64);
                self.reserve(at, size)?.copy_from_slice(&contents);
                self.announce_note(at, place.address(at), size);
                Ok(at + size)
            }
            Item::Part(range) => {
                let alignment = if range.start % 16 == 0 { 16 } else { 8 };
                self.put_part(place, &range, round_up(offset, alignment)?)
            }
        }
    }

    fn put_strings(&mut self, place: &Place, at: u64) -> Result<u64, ElfError> {
        let Some(mut dynamic) = self.dynamic.take() else { return Ok(at) };
        let size = dynamic.strings.len() as u64;
        self.reserve(at, size)?.copy_from_slice(&dynamic.strings);
        if at != dynamic.strings_at {
            self.moves.push(Move { to: dynamic.strings_at, size: dynamic.strings_size, from: at });
        }
        for entry in &mut dynamic.entries {
            match entry.d_tag {
                DT_STRTAB => entry.d_val = place.address(at),
                DT_STRSZ => entry.d_val = size,
                _ => {}
            }
        }
        for section in self.sections.iter_mut().filter(|section| {
            section.sh_type == SHT_STRTAB
                && section.sh_offset == dynamic.strings_at
                && section.sh_flags & u64::from(SHF_ALLOC) != 0
        }) {
            (section.sh_offset, section.sh_addr, section.sh_size) = (at, place.address(at), size);
        }
        self.dynamic = Some(dynamic);
        Ok(at + size)
    }

    fn put_dynamic(&mut self, place: &Place, at: u64) -> Result<u64, ElfError> {
        let Some(mut dynamic) = self.dynamic.take() else { return Ok(at) };
        let size = (dynamic.entries.len() as u64 + 1) * self.entry_size();
        self.reserve(at, size)?;
        for section in self.sections.iter_mut().filter(|section| section.sh_type == SHT_DYNAMIC) {
            (section.sh_offset, section.sh_addr, section.sh_size) = (at, place.address(at), size);
        }
        for segment in self.segments.iter_mut().filter(|segment| segment.p_type == PT_DYNAMIC) {
            set_place(segment, at, place.address(at), size);
        }
        dynamic.offset = at;
        dynamic.address = place.address(at);
        dynamic.capacity = dynamic.entries.len() + 1;
        self.dynamic = Some(dynamic);
        Ok(at + size)
    }

    fn put_part(&mut self, place: &Place, range: &Range<u64>, at: u64) -> Result<u64, ElfError> {
        let size = range.end - range.start;
        let part = slice(&self.bytes, range.start, size)?.to_vec();
        self.reserve(at, size)?.copy_from_slice(&part);
        self.moves.push(Move { to: range.start, size, from: at });
        let inside = |start: u64, size: u64| {
            size > 0 && start >= range.start && start.checked_add(size).is_some_and(|end| end <= range.end)
        };
        let mut addresses = Vec::new();
        for section in self.sections.iter_mut().filter(|section| {
            section.sh_type != SHT_NOBITS
                && section.sh_flags & u64::from(SHF_ALLOC) != 0
                && inside(section.sh_offset, section.sh_size)
        }) {
            let old = section.sh_addr;
            section.sh_offset = section.sh_offset - range.start + at;
            section.sh_addr = place.address(section.sh_offset);
            addresses.extend(tag_of(section.sh_type).map(|tag| (tag, old, section.sh_addr)));
        }
        for entry in self.dynamic.iter_mut().flat_map(|dynamic| &mut dynamic.entries) {
            let moved = addresses.iter().find(|(tag, old, _)| *tag == entry.d_tag && *old == entry.d_val);
            if let Some((_, _, new)) = moved {
                entry.d_val = *new;
            }
        }
        for segment in self.segments.iter_mut().filter(|segment| {
            segment.p_type != PT_LOAD && segment.p_type != PT_PHDR && inside(segment.p_offset, segment.p_filesz)
        }) {
            let offset = segment.p_offset - range.start + at;
            set_place(segment, offset, place.address(offset), segment.p_filesz);
        }
        Ok(at + size)
    }

    /// The bytes at `offset`, which are zero; the file grows to hold them.
    fn reserve(&mut self, offset: u64, size: u64) -> Result<&mut [u8], ElfError> {
        let end = offset.checked_add(size).ok_or(ElfError::Unsupported("it would become too large"))?;
        self.bytes.resize(super::file::to_usize(end)?.max(self.bytes.len()), 0);
        slice_mut(&mut self.bytes, offset, size)
    }

    /// What the new segment is aligned to: segments must not share a page.
    fn alignment(&self) -> u64 {
        let loads = self.segments.iter().filter(|segment| segment.p_type == PT_LOAD);
        let page = self.page_size.unwrap_or_else(|| page_size(self.header.e_machine));
        loads.map(|load| load.p_align).max().unwrap_or(0).max(page)
    }

    /// Clears what moved parts left behind, if that was asked for and nothing else is there.
    fn clear_moved(&mut self) {
        let mut moves = std::mem::take(&mut self.moves);
        moves.retain(|part| {
            let end = part.to.saturating_add(part.size);
            let overlaps = |start: u64, size: u64| size > 0 && start < end && part.to < start.saturating_add(size);
            let section =
                |section: &SectionHeader| section.sh_type != SHT_NOBITS && overlaps(section.sh_offset, section.sh_size);
            let segment = |segment: &ProgramHeader| {
                !matches!(segment.p_type, PT_LOAD | PT_PHDR | PT_GNU_RELRO)
                    && overlaps(segment.p_offset, segment.p_filesz)
            };
            self.clear_old && !self.sections.iter().any(section) && !self.segments.iter().any(segment)
        });
        for part in &moves {
            if let Ok(place) = slice_mut(&mut self.bytes, part.to, part.size) {
                place.fill(0);
            }
        }
        self.moves = moves;
    }

    fn add_segment(&mut self, place: &Place, end: u64, writable: bool) {
        let align = self.alignment();
        let size = end - place.start;
        let segment = ProgramHeader {
            p_type: PT_LOAD,
            // The dynamic linker writes to the dynamic section.
            p_flags: if writable { PF_R | PF_W } else { PF_R },
            p_offset: place.start,
            p_vaddr: place.address,
            p_paddr: place.address,
            p_filesz: size,
            p_memsz: size,
            p_align: align,
        };
        // Loaders want ascending addresses, and this is the highest.
        let after = self.segments.iter().rposition(|segment| segment.p_type == PT_LOAD).map_or(0, |last| last + 1);
        self.segments.insert(after, segment);
    }

    /// Tells `PT_PHDR` where the table is and how long it became.
    fn announce_table(&mut self, place: Option<&Place>) {
        let offset = self.header.e_phoff;
        let size = self.segments.len() as u64 * self.segment_size();
        let address = place.map(|place| place.address(offset)).or_else(|| self.address(offset));
        for segment in self.segments.iter_mut().filter(|segment| segment.p_type == PT_PHDR) {
            set_place(segment, offset, address.unwrap_or(segment.p_vaddr), size);
        }
    }
}

fn set_place(segment: &mut ProgramHeader, offset: u64, address: u64, size: u64) {
    (segment.p_offset, segment.p_vaddr, segment.p_paddr) = (offset, address, address);
    (segment.p_filesz, segment.p_memsz) = (size, size);
}

/// The entry of the dynamic section that holds a section's address.
pub(super) fn tag_of(section_type: u32) -> Option<u64> {
    match section_type {
        SHT_HASH => Some(DT_HASH),
        SHT_GNU_HASH => Some(DT_GNU_HASH),
        SHT_DYNSYM => Some(DT_SYMTAB),
        SHT_GNU_VERSYM => Some(DT_VERSYM),
        SHT_GNU_VERNEED => Some(DT_VERNEED),
        SHT_GNU_VERDEF => Some(DT_VERDEF),
        _ => None,
    }
}

/// The largest page that a kernel of this machine may use: two segments must not share one.
fn page_size(machine: u16) -> u64 {
    const EM_ALPHA: u16 = 0x9026;
    match machine {
        EM_AARCH64 | EM_PPC | EM_PPC64 | EM_MIPS | EM_IA_64 | EM_LOONGARCH | EM_ALPHA => 0x1_0000,
        EM_SPARC | EM_SPARCV9 => 0x2000,
        _ => 0x1000,
    }
}

fn round_up(number: u64, multiple: u64) -> Result<u64, ElfError> {
    number.checked_next_multiple_of(multiple).ok_or(ElfError::Unsupported("its addresses reach the end of memory"))
}
