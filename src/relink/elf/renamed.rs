//! Reads a file with renamed symbols again: every symbol is there once, is found by its new name, and is what
//! relocations mean.

use goblin::elf::{Elf, Sym, reloc::Reloc};
use scroll::Pread as _;

use super::ElfError;
use super::check::gone;
use super::file::elf_context;
use super::state::Unseen;
use super::symbols::{GLOBAL, WIDE_HASH, gnu_hash, sysv_hash};
use super::versions::HIDDEN;

/// Compares `old` with `new`, whose bytes are `made`.
pub(super) fn check(old: &Elf<'_>, made: &[u8], new: &Elf<'_>, wanted: &Unseen) -> Result<(), ElfError> {
    let wrong = |what: &str| Err(ElfError::Check(what.to_owned()));
    let now = |name: &str| wanted.renamed.get(name).map_or(name, String::as_str).to_owned();
    let same = |name: &str| name.to_owned();
    let gone = gone(old, &wanted.unneeded);
    let plain = |name: &str, version: u16| wanted.unversioned.contains(name) || gone.contains(&(version & !HIDDEN));
    if listed(old, now, plain) != listed(new, same, |_, _| false) {
        return wrong("symbols are not the old ones with new names");
    }
    if !relocations(old, now).eq(relocations(new, same)) {
        return wrong("relocations name other symbols");
    }
    if found(new, made)? < exported(new) {
        return wrong("a symbol is not found by its name");
    }
    Ok(())
}

/// All symbols with what they are, sorted; those that are `plain` without their version.
fn listed(
    elf: &Elf<'_>,
    now: impl Fn(&str) -> String,
    plain: impl Fn(&str, u16) -> bool,
) -> Vec<(String, Option<u16>, u8, u8, usize, u64)> {
    let version = |index| elf.versym.as_ref().and_then(|versions| versions.get_at(index)).map(|version| version.vs_val);
    let symbol = |(index, symbol): (usize, Sym)| {
        let name = elf.dynstrtab.get_at(symbol.st_name).unwrap_or_default();
        let version = version(index).map(|version| if plain(name, version) { GLOBAL } else { version });
        (now(name), version, symbol.st_info, symbol.st_other, symbol.st_shndx, symbol.st_size)
    };
    let mut all: Vec<_> = elf.dynsyms.iter().enumerate().map(symbol).collect();
    all.sort();
    all
}

/// All relocations with the names of their symbols, in order.
fn relocations(elf: &Elf<'_>, now: impl Fn(&str) -> String) -> impl Iterator<Item = (u64, u32, Option<i64>, String)> {
    let relocation = move |relocation: Reloc| {
        let symbol = elf.dynsyms.get(relocation.r_sym);
        let name = symbol.and_then(|symbol| elf.dynstrtab.get_at(symbol.st_name)).map(&now).unwrap_or_default();
        (relocation.r_offset, relocation.r_type, relocation.r_addend, name)
    };
    elf.dynrelas.iter().chain(elf.dynrels.iter()).chain(elf.pltrelocs.iter()).map(relocation)
}

/// Symbols that others may look for.
fn exported(elf: &Elf<'_>) -> usize {
    elf.dynsyms.iter().filter(is_exported).count()
}

fn is_exported(symbol: &Sym) -> bool {
    symbol.st_shndx != 0 && symbol.st_bind() != 0 && symbol.st_name != 0
}

/// How many exported symbols each hash table finds, as the dynamic linker looks for them; the fewest.
fn found(elf: &Elf<'_>, made: &[u8]) -> Result<usize, ElfError> {
    let Some(dynamic) = &elf.dynamic else { return Err(ElfError::NoDynamic) };
    let tables = (dynamic.info.gnu_hash, dynamic.info.hash);
    let symbols = || elf.dynsyms.iter().enumerate().filter(|(_, symbol)| is_exported(symbol));
    let name = |symbol: &Sym| elf.dynstrtab.get_at(symbol.st_name).unwrap_or_default();
    let mut fewest = usize::MAX;
    if let Some(at) = tables.0.and_then(|at| usize::try_from(at).ok()) {
        let table = Gnu::read(elf, made, at)?;
        let mut count = 0;
        for (index, symbol) in symbols() {
            count += usize::from(table.finds(name(&symbol), index)?);
        }
        fewest = fewest.min(count);
    }
    let wide = elf.is_64 && WIDE_HASH.contains(&elf.header.e_machine);
    if let Some(at) = tables.1.and_then(|at| usize::try_from(at).ok()).filter(|_| !wide) {
        let mut count = 0;
        for (index, symbol) in symbols() {
            count += usize::from(sysv_finds(elf, made, at, name(&symbol), index)?);
        }
        fewest = fewest.min(count);
    }
    Ok(fewest)
}

struct Gnu<'a> {
    made: &'a [u8],
    endian: scroll::Endian,
    /// Bits of a word of the filter.
    bits: u32,
    first: u32,
    shift: u32,
    filters: (usize, u32),
    buckets: (usize, u32),
    chains: usize,
}

impl<'a> Gnu<'a> {
    fn read(elf: &Elf<'_>, made: &'a [u8], at: usize) -> Result<Self, ElfError> {
        let endian = elf_context(elf)?.le;
        let word = |index: usize| made.pread_with::<u32>(at + 4 * index, endian);
        let (buckets, first, filters, shift) = (word(0)?, word(1)?, word(2)?, word(3)?);
        let bits: u32 = if elf.is_64 { 64 } else { 32 };
        let size = |count: u32, width: usize| usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(width);
        let buckets_at = (at + 16).saturating_add(size(filters, if elf.is_64 { 8 } else { 4 }));
        let chains = buckets_at.saturating_add(size(buckets, 4));
        let (filters, buckets) = ((at + 16, filters), (buckets_at, buckets));
        Ok(Self { made, endian, bits, first, shift, filters, buckets, chains })
    }

    fn word(&self, at: usize, index: u32) -> Result<u32, ElfError> {
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        Ok(self.made.pread_with(at.saturating_add(index.saturating_mul(4)), self.endian)?)
    }

    fn finds(&self, name: &str, index: usize) -> Result<bool, ElfError> {
        let hash = gnu_hash(name.as_bytes());
        let (Some(filter), Some(bucket)) =
            ((hash / self.bits).checked_rem(self.filters.1), hash.checked_rem(self.buckets.1))
        else {
            return Ok(false);
        };
        let filter = if self.bits == 64 {
            let at = self.filters.0 + 8 * usize::try_from(filter).unwrap_or(usize::MAX / 16);
            self.made.pread_with::<u64>(at, self.endian)?
        } else {
            u64::from(self.word(self.filters.0, filter)?)
        };
        let second = hash.checked_shr(self.shift).unwrap_or(0);
        if filter >> (hash % self.bits) & filter >> (second % self.bits) & 1 == 0 {
            return Ok(false);
        }
        let mut number = self.word(self.buckets.0, bucket)?;
        while let Some(place) = number.checked_sub(self.first) {
            let entry = self.word(self.chains, place)?;
            if entry | 1 == hash | 1 && usize::try_from(number) == Ok(index) {
                return Ok(true);
            }
            if entry & 1 == 1 {
                break;
            }
            number += 1;
        }
        Ok(false)
    }
}

fn sysv_finds(elf: &Elf<'_>, made: &[u8], at: usize, name: &str, index: usize) -> Result<bool, ElfError> {
    let endian = elf_context(elf)?.le;
    let word = |place: u32| {
        let place = usize::try_from(place).unwrap_or(usize::MAX).saturating_mul(4);
        made.pread_with::<u32>(at.saturating_add(place), endian)
    };
    let (buckets, chains) = (word(0)?, word(1)?);
    let Some(bucket) = sysv_hash(name.as_bytes()).checked_rem(buckets) else { return Ok(false) };
    let mut number = word(2 + bucket)?;
    for _ in 0..chains {
        if number == 0 || usize::try_from(number) == Ok(index) {
            break;
        }
        number = word(buckets.saturating_add(2).saturating_add(number))?;
    }
    Ok(number != 0 && usize::try_from(number) == Ok(index))
}
