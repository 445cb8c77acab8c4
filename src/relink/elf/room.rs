//! Room for one more program header, with as little moved as possible.

use std::ops::Range;

use goblin::elf::dynamic::{
    DT_ADDRRNGHI, DT_ADDRRNGLO, DT_FINI, DT_FINI_ARRAY, DT_HASH, DT_INIT, DT_INIT_ARRAY, DT_JMPREL, DT_PLTGOT,
    DT_PREINIT_ARRAY, DT_REL, DT_RELA, DT_STRTAB, DT_SYMTAB, DT_VERDEF, DT_VERNEED, DT_VERSYM,
};
use goblin::elf::program_header::{
    PF_W, PF_X, PT_DYNAMIC, PT_GNU_PROPERTY, PT_GNU_STACK, PT_INTERP, PT_LOAD, PT_NOTE, PT_NULL, PT_PHDR, ProgramHeader,
};
use goblin::elf::section_header::{
    SHF_ALLOC, SHT_DYNSYM, SHT_GNU_HASH, SHT_GNU_VERDEF, SHT_GNU_VERNEED, SHT_GNU_VERSYM, SHT_HASH, SHT_NOBITS,
    SHT_NOTE, SectionHeader,
};

use super::file::{File, is_interpreter, offset_in};
use super::place::tag_of;

const DT_RELR: u64 = 36;

/// How the new segment gets its program header.
pub(super) enum Room {
    /// The last `PT_LOAD` ends with the file: it grows, and needs none.
    Grow(usize),
    /// The table has room where it is: these are its segments so far, and these parts of the file lie in
    /// the way and move to the new segment.
    InPlace(Vec<ProgramHeader>, Vec<Range<u64>>),
    /// The whole table moves to the new segment.
    Relocate,
}

/// A moved section may not be larger; beyond it the table itself moves.
const MOVE_LIMIT: u64 = 64 << 20;
/// Linkers align the sections behind the table; what fills the gap is theirs to name.
const PADDING: [u8; 3] = [0, b'X', b'Z'];

impl File {
    /// Room for the program headers to add: those asked for, and that of the new segment if there is one.
    pub(super) fn room(&self, segment: bool) -> Room {
        if self.extra.is_empty()
            && let Some(last) = self.growable_segment()
        {
            return Room::Grow(last);
        }
        let mut segments = self.segments.clone();
        let wanted = segments.len() + self.extra.len() + usize::from(segment);
        let mut count = wanted;
        while count > self.segments.len()
            && let Some(spare) = spare_segment(&segments)
        {
            segments.remove(spare);
            count -= 1;
        }
        if count == self.segments.len() {
            return Room::InPlace(segments, Vec::new());
        }
        match self.in_the_way(count) {
            Some(moved) if moved.is_empty() || segment => Room::InPlace(segments, moved),
            // What moves needs a segment to move to.
            Some(_) => self.room(true),
            None => Room::Relocate,
        }
    }

    /// The last segment, if it ends with the file and nothing but it would have to know that it grew.
    fn growable_segment(&self) -> Option<usize> {
        let loads = self.segments.iter().enumerate().filter(|(_, segment)| segment.p_type == PT_LOAD);
        let (index, last) = loads.max_by_key(|(_, load)| load.p_vaddr.saturating_add(load.p_memsz))?;
        let end = last.p_offset.checked_add(last.p_filesz)?;
        let tail = usize::try_from(end).ok().and_then(|end| self.bytes.get(end..))?;
        let outside =
            |section: &SectionHeader| section.sh_type != SHT_NOBITS && section.sh_size > 0 && section.sh_offset >= end;
        let writable = last.p_flags & PF_W != 0;
        let fits = last.p_filesz == last.p_memsz
            && last.p_filesz > 0
            && last.p_flags & PF_X == 0
            && (writable || !self.dynamic.as_ref().is_some_and(super::file::Dynamic::must_move))
            && tail.len() <= 16
            && tail.iter().all(|&byte| byte == 0)
            && self.header.e_shoff < end
            && self.header.e_phoff < end
            && !self.sections.iter().any(outside);
        fits.then_some(index)
    }

    /// What must move so that the table can have `count` entries where it is; `None` if something there cannot.
    fn in_the_way(&self, count: usize) -> Option<Vec<Range<u64>>> {
        let size = self.segment_size();
        let start = self.header.e_phoff;
        let old_end = start.checked_add(size.checked_mul(self.segments.len() as u64)?)?;
        let end = start.checked_add(size.checked_mul(count as u64)?)?;
        let table = |at: u64| (start..end).contains(&at);
        if self.sections.is_empty() || table(self.header.e_shoff) || !self.covered_by_first_load(end) {
            return None;
        }
        let mut moved = Vec::new();
        for section in
            self.sections.iter().skip(1).filter(|section| section.sh_type != SHT_NOBITS && section.sh_size > 0)
        {
            let section_end = section.sh_offset.checked_add(section.sh_size)?;
            if section_end <= start || section.sh_offset >= end || self.vacates(section) {
                continue;
            }
            if section.sh_offset < old_end || !(is_movable(section) || self.is_interpreter(section)) {
                return None;
            }
            moved.push(section.sh_offset..section_end);
        }
        let described =
            |at: u64| self.sections.iter().any(|section| section.sh_type != SHT_NOBITS && contains(&span(section), at));
        for at in old_end..end {
            let byte = self.bytes.get(usize::try_from(at).ok()?)?;
            if !described(at) && !PADDING.contains(byte) {
                return None;
            }
        }
        let moved = self.whole_notes(moved);
        (self.nothing_is_cut(&moved, old_end..end) && self.can_be_told(&moved, start..end)).then_some(moved)
    }

    /// Whether the dynamic section points to nothing there but what the sections say, too. They may say anything:
    /// the dynamic linker never looks at them.
    fn can_be_told(&self, moved: &[Range<u64>], table: Range<u64>) -> bool {
        let Some(dynamic) = &self.dynamic else { return true };
        let goes = |at: u64| contains(&table, at) || moved.iter().any(|range| contains(range, at));
        let pointers = dynamic.entries.iter().filter(|entry| is_pointer(entry.d_tag));
        pointers.filter_map(|entry| Some((entry, offset_in(&self.segments, entry.d_val).ok()?))).all(|(entry, at)| {
            let is_told = |section: &SectionHeader| {
                let place = (tag_of(section.sh_type), section.sh_addr, section.sh_offset);
                place == (Some(entry.d_tag), entry.d_val, at) && moved.iter().any(|range| contains(range, at))
            };
            let is_grown = entry.d_tag == DT_STRTAB && at == dynamic.strings_at && dynamic.strings_grew();
            !goes(at) || is_grown || self.sections.iter().any(is_told)
        })
    }

    /// Found through a program header only: it may move, though it does not change.
    fn is_interpreter(&self, section: &SectionHeader) -> bool {
        let mut segments = self.segments.iter().filter(|segment| segment.p_type == PT_INTERP);
        segments.any(|segment| is_interpreter(section, segment.p_offset, segment.p_filesz))
    }

    /// The bytes up to `end` are mapped together with the table, or nothing else is where they would be.
    fn covered_by_first_load(&self, end: u64) -> bool {
        let start = self.header.e_phoff;
        self.segments.iter().any(|load| {
            load.p_type == PT_LOAD && load.p_offset <= start && load.p_offset.saturating_add(load.p_filesz) >= end
        })
    }

    /// Whether the section leaves its place in any case.
    fn vacates(&self, section: &SectionHeader) -> bool {
        let interpreter = self.segments.iter().find(|segment| segment.p_type == PT_INTERP);
        let strings = self.dynamic.as_ref().filter(|dynamic| dynamic.strings_grew());
        self.interpreter.is_some()
            && interpreter.is_some_and(|segment| is_interpreter(section, segment.p_offset, segment.p_filesz))
            || strings.is_some_and(|dynamic| {
                section.sh_offset == dynamic.strings_at && section.sh_size == dynamic.strings_size
            })
    }

    /// Widens ranges to the note segments that they touch, and joins those that overlap.
    fn whole_notes(&self, ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
        let is_note = |segment: &&ProgramHeader| segment.p_type == PT_NOTE || segment.p_type == PT_GNU_PROPERTY;
        let mut wide: Vec<Range<u64>> = ranges
            .into_iter()
            .map(|mut range| {
                for note in self.segments.iter().filter(is_note) {
                    let end = note.p_offset.saturating_add(note.p_filesz);
                    if note.p_offset < range.end && range.start < end {
                        range = range.start.min(note.p_offset)..range.end.max(end);
                    }
                }
                range
            })
            .collect();
        wide.sort_by_key(|range| (range.start, range.end));
        let mut joined: Vec<Range<u64>> = Vec::new();
        for range in wide {
            match joined.last_mut() {
                Some(last) if range.start < last.end => last.end = last.end.max(range.end),
                _ => joined.push(range),
            }
        }
        joined
    }

    /// Sections and segments that touch a moved range, or the grown table, lie in a moved range as a whole.
    fn nothing_is_cut(&self, moved: &[Range<u64>], table: Range<u64>) -> bool {
        let fits = |start: u64, size: u64| {
            let end = start.saturating_add(size);
            let touches = |range: &Range<u64>| start < range.end && range.start < end;
            let inside = |range: &Range<u64>| range.start <= start && end <= range.end;
            size == 0 || moved.iter().any(inside) || !(moved.iter().any(touches) || touches(&table))
        };
        let sections = self.sections.iter().skip(1).all(|section| {
            section.sh_type == SHT_NOBITS || self.vacates(section) || fits(section.sh_offset, section.sh_size)
        });
        let fixed = [PT_LOAD, PT_PHDR, PT_NULL, PT_GNU_STACK];
        let segments = self.segments.iter().all(|segment| {
            fixed.contains(&segment.p_type)
                || segment.p_type == PT_INTERP && self.interpreter.is_some()
                || fits(segment.p_offset, segment.p_filesz)
                    && (segment.p_type != PT_DYNAMIC || !moved.iter().any(|range| contains(range, segment.p_offset)))
        });
        sections && segments
    }
}

/// A program header that says nothing: an empty one, or the note that repeats `PT_GNU_PROPERTY`.
fn spare_segment(segments: &[ProgramHeader]) -> Option<usize> {
    let property = segments.iter().find(|segment| segment.p_type == PT_GNU_PROPERTY);
    let repeats = |segment: &ProgramHeader| {
        property.is_some_and(|property| {
            segment.p_type == PT_NOTE && (segment.p_offset, segment.p_filesz) == (property.p_offset, property.p_filesz)
        })
    };
    segments.iter().position(|segment| segment.p_type == PT_NULL).or_else(|| segments.iter().position(repeats))
}

/// Tables that are found through the dynamic section or a program header only.
fn is_movable(section: &SectionHeader) -> bool {
    const MOVABLE: [u32; 7] =
        [SHT_NOTE, SHT_HASH, SHT_GNU_HASH, SHT_DYNSYM, SHT_GNU_VERSYM, SHT_GNU_VERNEED, SHT_GNU_VERDEF];
    MOVABLE.contains(&section.sh_type) && section.sh_flags & u64::from(SHF_ALLOC) != 0 && section.sh_size <= MOVE_LIMIT
}

/// Whether an entry of the dynamic section holds an address.
fn is_pointer(tag: u64) -> bool {
    const POINTERS: [u64; 16] = [
        DT_PLTGOT,
        DT_HASH,
        DT_STRTAB,
        DT_SYMTAB,
        DT_RELA,
        DT_INIT,
        DT_FINI,
        DT_REL,
        DT_JMPREL,
        DT_INIT_ARRAY,
        DT_FINI_ARRAY,
        DT_PREINIT_ARRAY,
        DT_RELR,
        DT_VERSYM,
        DT_VERDEF,
        DT_VERNEED,
    ];
    POINTERS.contains(&tag) || (DT_ADDRRNGLO..=DT_ADDRRNGHI).contains(&tag)
}

fn span(section: &SectionHeader) -> Range<u64> {
    section.sh_offset..section.sh_offset.saturating_add(section.sh_size)
}

fn contains(range: &Range<u64>, at: u64) -> bool {
    range.contains(&at)
}
