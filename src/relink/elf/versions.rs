//! The table of versions that a file needs, as the dynamic linker finds it.

use std::collections::BTreeSet;

use goblin::container::Ctx;
use goblin::elf::Elf;
use goblin::elf::dynamic::{DT_VERDEF, DT_VERNEED, DT_VERNEEDNUM, DT_VERSYM};
use goblin::elf::section_header::SHT_GNU_VERNEED;
use scroll::{Pread as _, Pwrite as _};

use super::ElfError;
use super::file::{File, elf_context, offset, slice, to_usize};
use super::symbols::GLOBAL;

/// The bit of a symbol's version that says that it is not the default.
pub(super) const HIDDEN: u16 = 0x8000;

/// `DT_VERNEED`: the files that must define versions.
#[derive(Debug, Default)]
pub(super) struct Needs {
    pub(super) files: Vec<NeedsOf>,
    /// Offsets in the strings of the names of all versions.
    pub(super) versions: Vec<u64>,
}

/// One `Verneed` record.
#[derive(Debug)]
pub(super) struct NeedsOf {
    /// Where the file's `vn_file` lies.
    pub(super) at: usize,
    /// Its offset in the strings.
    pub(super) name: u64,
    /// Where its `Vernaux` records lie.
    versions: Vec<usize>,
}

/// Size of a record of either kind.
const RECORD: usize = 16;

impl Needs {
    pub(super) fn read(bytes: &[u8], elf: &Elf<'_>) -> Result<Self, ElfError> {
        let (Some(address), Some(count)) = (value(elf, DT_VERNEED), value(elf, DT_VERNEEDNUM)) else {
            return Ok(Self::default());
        };
        let reader = Reader { bytes, ctx: elf_context(elf)? };
        let mut at = to_usize(offset(elf, address)?)?;
        let mut needs = Self::default();
        // Records that overlap would let a small file ask for a lot of work.
        let mut left = bytes.len() / RECORD;
        for _ in 0..count {
            let versions = reader.half(at, 2)?;
            left = left.checked_sub(1 + usize::from(versions)).ok_or_else(endless)?;
            let name = u64::from(reader.word(at, 4)?);
            let mut of = NeedsOf { at: step(at, 4)?, name, versions: Vec::new() };
            let mut version = step(at, reader.word(at, 8)?)?;
            for _ in 0..versions {
                of.versions.push(version);
                needs.versions.push(u64::from(reader.word(version, 8)?));
                match reader.word(version, 12)? {
                    0 => break,
                    next => version = step(version, next)?,
                }
            }
            needs.files.push(of);
            match reader.word(at, 12)? {
                0 => break,
                next => at = step(at, next)?,
            }
        }
        Ok(needs)
    }
}

impl File {
    /// Drops some records of needed versions; symbols with such a version have none then.
    pub(super) fn drop_versions(&mut self, elf: &Elf<'_>, unneeded: &BTreeSet<usize>) -> Result<(), ElfError> {
        let needs = Needs::read(&self.bytes, elf)?;
        let Some(start) = needs.files.iter().map(|file| file.at - 4).min() else { return Ok(()) };
        let records = needs.files.iter().flat_map(|file| file.versions.iter().copied().chain([file.at - 4]));
        let end = records.max().map_or(start, |last| last + RECORD);
        let kept =
            || needs.files.iter().enumerate().filter(|(number, _)| !unneeded.contains(number)).map(|(_, kept)| kept);
        let table = self.compact(kept().collect())?;
        // Between records that are not dense there may be anything.
        let total = RECORD * (needs.files.len() + needs.versions.len());
        let place = self.bytes.get_mut(start..end).filter(|place| place.len() == total);
        let place = place.ok_or(ElfError::Unsupported("its version records are not one behind the other"))?;
        let gone = needs.files.iter().enumerate().filter(|(number, _)| unneeded.contains(number));
        let mut numbers = BTreeSet::new();
        let reader = Reader { bytes: place, ctx: self.ctx };
        for &version in gone.flat_map(|(_, file)| &file.versions) {
            numbers.insert(reader.half(version - start, 6)?);
        }
        place.fill(0);
        place[..table.len()].copy_from_slice(&table);
        self.forget_numbers(elf, &numbers)?;
        self.announce_versions(kept().count() as u64, start as u64, table.len() as u64);
        Ok(())
    }

    /// The records one behind the other.
    fn compact(&self, files: Vec<&NeedsOf>) -> Result<Vec<u8>, ElfError> {
        let mut table = Vec::new();
        let record = |at: usize| slice(&self.bytes, at as u64, RECORD as u64);
        let word = |table: &mut Vec<u8>, at: usize, number: usize| -> Result<(), ElfError> {
            let number = u32::try_from(number).map_err(|_| endless())?;
            table.pwrite_with(number, at, self.ctx.le)?;
            Ok(())
        };
        let count = files.len();
        for (number, file) in files.into_iter().enumerate() {
            let at = table.len();
            table.extend_from_slice(record(file.at - 4)?);
            let size = RECORD * (1 + file.versions.len());
            word(&mut table, at + 8, if file.versions.is_empty() { 0 } else { RECORD })?;
            word(&mut table, at + 12, if number + 1 < count { size } else { 0 })?;
            for (index, &version) in file.versions.iter().enumerate() {
                let at = table.len();
                table.extend_from_slice(record(version)?);
                word(&mut table, at + 12, if index + 1 < file.versions.len() { RECORD } else { 0 })?;
            }
        }
        Ok(table)
    }

    /// Symbols with these versions have none any more.
    fn forget_numbers(&mut self, elf: &Elf<'_>, numbers: &BTreeSet<u16>) -> Result<(), ElfError> {
        let Some(address) = value(elf, DT_VERSYM) else { return Ok(()) };
        let at = to_usize(offset(elf, address)?)?;
        for index in 0..self.symbol_count(elf)? {
            let version: u16 = self.bytes.pread_with(at + 2 * index, self.ctx.le)?;
            if numbers.contains(&(version & !HIDDEN)) {
                self.bytes.pwrite_with(GLOBAL, at + 2 * index, self.ctx.le)?;
            }
        }
        Ok(())
    }

    fn announce_versions(&mut self, count: u64, at: u64, size: u64) {
        let sections = self.sections.iter_mut();
        for section in sections.filter(|section| section.sh_type == SHT_GNU_VERNEED && section.sh_offset == at) {
            (section.sh_size, section.sh_info) = (size, u32::try_from(count).unwrap_or(u32::MAX));
        }
        self.tables_changed = true;
        let Some(dynamic) = &mut self.dynamic else { return };
        // Versions of symbols without any table that explains them would make the dynamic linker read nowhere.
        let defines = dynamic.entries.iter().any(|entry| entry.d_tag == DT_VERDEF);
        dynamic.entries.retain(|entry| match entry.d_tag {
            DT_VERNEED | DT_VERNEEDNUM => count > 0,
            DT_VERSYM => count > 0 || defines,
            _ => true,
        });
        for entry in dynamic.entries.iter_mut().filter(|entry| entry.d_tag == DT_VERNEEDNUM) {
            entry.d_val = count;
        }
    }
}

fn value(elf: &Elf<'_>, tag: u64) -> Option<u64> {
    let mut dynamic = elf.dynamic.iter().flat_map(|dynamic| &dynamic.dyns);
    dynamic.find(|entry| entry.d_tag == tag).map(|entry| entry.d_val)
}

struct Reader<'a> {
    bytes: &'a [u8],
    ctx: Ctx,
}

impl Reader<'_> {
    fn half(&self, at: usize, field: u32) -> Result<u16, ElfError> {
        Ok(self.bytes.pread_with(step(at, field)?, self.ctx.le)?)
    }

    fn word(&self, at: usize, field: u32) -> Result<u32, ElfError> {
        Ok(self.bytes.pread_with(step(at, field)?, self.ctx.le)?)
    }
}

fn endless() -> ElfError {
    ElfError::Malformed("its version table has more records than the file has room for".into())
}

fn step(at: usize, by: u32) -> Result<usize, ElfError> {
    let by = usize::try_from(by).unwrap_or(usize::MAX);
    at.checked_add(by).ok_or_else(|| ElfError::Malformed("its version table leaves the file".into()))
}
