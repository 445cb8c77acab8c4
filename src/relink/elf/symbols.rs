//! Dynamic symbols: new names, hash tables that find them, and versions taken away.
//!
//! A GNU hash table wants its symbols sorted by bucket. So new names change the order of the symbols, and all
//! that refers to symbols by number follows: versions, relocations, the other hash table.

use std::collections::{BTreeMap, BTreeSet};

use goblin::elf::dynamic::{
    DT_GNU_HASH, DT_HASH, DT_JMPREL, DT_PLTREL, DT_PLTRELSZ, DT_REL, DT_RELA, DT_RELASZ, DT_RELSZ, DT_SYMTAB, DT_VERSYM,
};
use goblin::elf::header::{EM_MIPS, EM_S390};
use goblin::elf::section_header::{SHT_DYNSYM, SHT_REL, SHT_RELA, SHT_SYMTAB_SHNDX};
use goblin::elf::{Elf, Sym};
use scroll::ctx::SizeWith as _;
use scroll::{Pread as _, Pwrite as _};

use super::ElfError;
use super::file::{File, offset, slice, slice_mut, to_usize};
use super::state::Unseen;

const EM_ALPHA: u16 = 0x9026;
const DT_SYMINFO: u64 = 0x6fff_feff;
const DT_ANDROID_REL: u64 = 0x6000_000f;
const DT_ANDROID_RELA: u64 = 0x6000_0011;
const DT_MIPS_XHASH: u64 = 0x7000_0036;
/// Machines whose System V hash table has words of eight bytes in 64-bit files.
pub(super) const WIDE_HASH: [u16; 2] = [EM_ALPHA, EM_S390];
/// `VER_NDX_GLOBAL`: no version.
pub(super) const GLOBAL: u16 = 1;

/// Leaves out names that no dynamic symbol has.
pub(super) fn forget_absent(elf: &Elf<'_>, unseen: &mut Unseen) {
    let names: BTreeSet<&str> = elf.dynsyms.iter().filter_map(|symbol| elf.dynstrtab.get_at(symbol.st_name)).collect();
    unseen.renamed.retain(|name, _| names.contains(name.as_str()));
    unseen.unversioned.retain(|name| names.contains(name.as_str()));
}

/// The table of dynamic symbols while it changes.
struct Table {
    at: usize,
    entry: usize,
    /// The names, new ones where there are some.
    names: Vec<Vec<u8>>,
}

impl File {
    /// Renames symbols and takes versions away.
    pub(super) fn change_symbols(&mut self, elf: &Elf<'_>, wanted: &Unseen) -> Result<(), ElfError> {
        if wanted.renamed.is_empty() && wanted.unversioned.is_empty() {
            return Ok(());
        }
        let table = self.table(elf)?;
        if !wanted.unversioned.is_empty() {
            let versions =
                self.place_of(elf, DT_VERSYM)?.ok_or(ElfError::Unsupported("its symbols have no versions"))?;
            for (index, name) in table.names.iter().enumerate() {
                if std::str::from_utf8(name).is_ok_and(|name| wanted.unversioned.contains(name)) {
                    self.bytes.pwrite_with(GLOBAL, versions + 2 * index, self.ctx.le)?;
                }
            }
        }
        if wanted.renamed.is_empty() {
            return Ok(());
        }
        let table = self.rename(table, &wanted.renamed)?;
        let order = self.rebuild_gnu_hash(elf, &table)?;
        if let Some(order) = &order {
            self.reorder(elf, &table, order)?;
        }
        self.rebuild_hash(elf, &table, order.as_deref())
    }

    fn table(&self, elf: &Elf<'_>) -> Result<Table, ElfError> {
        let at = self.place_of(elf, DT_SYMTAB)?.ok_or(ElfError::NoDynamic)?;
        let entry = Sym::size_with(&self.ctx);
        let count = self.symbol_count(elf)?;
        slice(&self.bytes, at as u64, count.saturating_mul(entry) as u64)?;
        let dynamic = self.dynamic.as_ref().ok_or(ElfError::NoDynamic)?;
        let mut names = Vec::with_capacity(count);
        for index in 0..count {
            let symbol: Sym = self.bytes.pread_with(at + index * entry, self.ctx)?;
            names.push(super::file::text(&dynamic.strings, symbol.st_name as u64)?.to_vec());
        }
        Ok(Table { at, entry, names })
    }

    /// How many dynamic symbols there are.
    pub(super) fn symbol_count(&self, elf: &Elf<'_>) -> Result<usize, ElfError> {
        let at = self.place_of(elf, DT_SYMTAB)?.ok_or(ElfError::NoDynamic)?;
        let section = elf.section_headers.iter().find(|section| section.sh_type == SHT_DYNSYM);
        // The linker of Solaris and some others leave symbols out of the hash table.
        match section {
            Some(section) if to_usize(section.sh_offset)? == at => {
                Ok(to_usize(section.sh_size)? / Sym::size_with(&self.ctx))
            }
            _ => Ok(elf.dynsyms.len()),
        }
    }

    fn rename(&mut self, mut table: Table, renamed: &BTreeMap<String, String>) -> Result<Table, ElfError> {
        let dynamic = self.dynamic.as_mut().ok_or(ElfError::NoDynamic)?;
        let mut stored: BTreeMap<&str, u64> = BTreeMap::new();
        for (index, name) in table.names.iter_mut().enumerate() {
            let Some(new) = std::str::from_utf8(name).ok().and_then(|name| renamed.get(name)) else { continue };
            let at = *stored.entry(new).or_insert_with(|| dynamic.append(new.as_bytes()));
            let at = u32::try_from(at).map_err(|_| ElfError::Unsupported("its strings are too large"))?;
            // The name is the first field in both classes.
            self.bytes.pwrite_with(at, table.at + index * table.entry, self.ctx.le)?;
            *name = new.clone().into_bytes();
        }
        Ok(table)
    }

    /// Writes the GNU hash table for the new names. Gives the old numbers of the symbols in their new order.
    fn rebuild_gnu_hash(&mut self, elf: &Elf<'_>, table: &Table) -> Result<Option<Vec<usize>>, ElfError> {
        if self.value(DT_MIPS_XHASH).is_some() {
            return Err(ElfError::Unsupported("its symbols are in a MIPS hash table"));
        }
        let Some(at) = self.place_of(elf, DT_GNU_HASH)? else { return Ok(None) };
        let head = |index: usize| self.word(at + 4 * index);
        let (buckets, first, filters, shift) = (head(0)?, head(1)?, head(2)?, self.word(at + 12)?);
        let (buckets, first, filters) = (index(buckets)?, index(first)?, index(filters)?);
        let width = if self.ctx.is_big() { 8 } else { 4 };
        let malformed = || ElfError::Malformed("its GNU hash table is out of range".into());
        let hashed = table.names.len().saturating_sub(first);
        let sizes = [filters.checked_mul(width), buckets.checked_mul(4), hashed.checked_mul(4)];
        let [Some(filter_size), Some(bucket_size), Some(chain_size)] = sizes else { return Err(malformed()) };
        let buckets_at = (at + 16).checked_add(filter_size).ok_or_else(malformed)?;
        let chains_at = buckets_at.checked_add(bucket_size).ok_or_else(malformed)?;
        let end = chains_at.checked_add(chain_size).ok_or_else(malformed)?;
        if buckets == 0 || filters == 0 || end > self.bytes.len() {
            return Err(malformed());
        }
        // A table without symbols has one empty bucket, and any number in the place of the first.
        if hashed == 0 || self.bytes[buckets_at..chains_at].iter().all(|&byte| byte == 0) {
            return Ok(None);
        }
        let mut order: Vec<(usize, usize, u32)> = Vec::with_capacity(hashed);
        for (number, name) in table.names.iter().enumerate().skip(first) {
            let hash = gnu_hash(name);
            order.push((index(hash)? % buckets, number, hash));
        }
        order.sort_by_key(|(bucket, number, _)| (*bucket, *number));

        self.bytes[at + 16..end].fill(0);
        let bits = u32::from(if self.ctx.is_big() { 64_u8 } else { 32 });
        for (position, (bucket, _, hash)) in order.iter().enumerate() {
            let filter = at + 16 + index(hash / bits)? % filters * width;
            self.set_bit(filter, hash % bits)?;
            self.set_bit(filter, hash.checked_shr(shift).unwrap_or(0) % bits)?;
            let place = buckets_at + 4 * bucket;
            if self.word(place)? == 0 {
                self.put_word(place, first + position)?;
            }
            let last = order.get(position + 1).is_none_or(|(next, _, _)| next != bucket);
            self.bytes.pwrite_with(hash & !1 | u32::from(last), chains_at + 4 * position, self.ctx.le)?;
        }
        Ok(Some((0..first).chain(order.into_iter().map(|(_, number, _)| number)).collect()))
    }

    /// Puts the symbols into their new order and tells all that refers to them by number.
    fn reorder(&mut self, elf: &Elf<'_>, table: &Table, order: &[usize]) -> Result<(), ElfError> {
        let mut numbers = vec![0; order.len()];
        for (new, &old) in order.iter().enumerate() {
            numbers[old] = new;
        }
        if numbers.is_sorted() {
            return Ok(());
        }
        let unknown = [DT_SYMINFO, DT_ANDROID_REL, DT_ANDROID_RELA].into_iter().any(|tag| self.value(tag).is_some());
        let extended = elf
            .section_headers
            .iter()
            .any(|section| section.sh_type == SHT_SYMTAB_SHNDX && is_dynamic_symbols(elf, section.sh_link));
        if unknown || extended || self.header.e_machine == EM_MIPS {
            return Err(ElfError::Unsupported("its symbols cannot change their order"));
        }
        permute(&mut self.bytes, table.at, table.entry, order)?;
        if let Some(versions) = self.place_of(elf, DT_VERSYM)? {
            permute(&mut self.bytes, versions, 2, order)?;
        }
        for at in self.relocations(elf)? {
            self.renumber(at, &numbers)?;
        }
        Ok(())
    }

    /// Changes the symbol of the relocation whose `r_info` lies at `at`.
    fn renumber(&mut self, at: usize, numbers: &[usize]) -> Result<(), ElfError> {
        let new = |old: u64| numbers.get(usize::try_from(old).ok()?).map(|&new| new as u64);
        let unknown = || ElfError::Malformed("a relocation names a symbol that is not there".into());
        if self.ctx.is_big() {
            let info: u64 = self.bytes.pread_with(at, self.ctx.le)?;
            let info = info & 0xffff_ffff | new(info >> 32).ok_or_else(unknown)? << 32;
            self.bytes.pwrite_with(info, at, self.ctx.le)?;
        } else {
            let info = self.word(at)?;
            let symbol = new(u64::from(info >> 8)).and_then(|new| u32::try_from(new).ok()).ok_or_else(unknown)?;
            self.bytes.pwrite_with(info & 0xff | symbol << 8, at, self.ctx.le)?;
        }
        Ok(())
    }

    /// Where the `r_info` of relocations against dynamic symbols lie; tables may overlap.
    fn relocations(&self, elf: &Elf<'_>) -> Result<BTreeSet<usize>, ElfError> {
        let with_addend = self.value(DT_PLTREL) == Some(DT_RELA);
        let mut tables: Vec<(u64, u64, bool)> = Vec::new();
        for (tag, size, addend) in
            [(DT_REL, DT_RELSZ, false), (DT_RELA, DT_RELASZ, true), (DT_JMPREL, DT_PLTRELSZ, with_addend)]
        {
            if let (Some(address), Some(size)) = (self.value(tag), self.value(size).filter(|&size| size > 0)) {
                tables.push((offset(elf, address)?, size, addend));
            }
        }
        for section in &elf.section_headers {
            let relocations = section.sh_type == SHT_REL || section.sh_type == SHT_RELA;
            if relocations && is_dynamic_symbols(elf, section.sh_link) {
                tables.push((section.sh_offset, section.sh_size, section.sh_type == SHT_RELA));
            }
        }
        let word = if self.ctx.is_big() { 8 } else { 4 };
        let mut places = BTreeSet::new();
        for (at, size, addend) in tables {
            slice(&self.bytes, at, size)?;
            let entry = if addend { 3 * word } else { 2 * word };
            let (at, count) = (to_usize(at)?, to_usize(size)? / entry);
            places.extend((0..count).map(|number| at + number * entry + word));
        }
        Ok(places)
    }

    /// Writes the System V hash table for the new names and order; it holds the symbols that it held before.
    fn rebuild_hash(&mut self, elf: &Elf<'_>, table: &Table, order: Option<&[usize]>) -> Result<(), ElfError> {
        let Some(at) = self.place_of(elf, DT_HASH)? else { return Ok(()) };
        let width = if self.ctx.is_big() && WIDE_HASH.contains(&self.header.e_machine) { 8 } else { 4 };
        let get = |bytes: &[u8], place: usize| -> Result<usize, ElfError> {
            let at = place.checked_mul(width).and_then(|offset| at.checked_add(offset));
            let at = at.ok_or_else(|| ElfError::Malformed("its hash table is out of range".into()))?;
            let number: u64 = if width == 8 {
                bytes.pread_with(at, self.ctx.le)?
            } else {
                u64::from(bytes.pread_with::<u32>(at, self.ctx.le)?)
            };
            to_usize(number)
        };
        let (buckets, chains) = (get(&self.bytes, 0)?, get(&self.bytes, 1)?);
        let size = buckets.saturating_add(chains).saturating_add(2).saturating_mul(width);
        let old = slice(&self.bytes, at as u64, size as u64)?.to_vec();
        if buckets == 0 {
            return Ok(());
        }
        let mut held = vec![false; table.names.len()];
        for bucket in 0..buckets {
            let mut number = get(&self.bytes, 2 + bucket)?;
            while number != 0 && !std::mem::replace(held.get_mut(number).ok_or_else(no_symbol)?, true) {
                if number >= chains {
                    return Err(no_symbol());
                }
                number = get(&self.bytes, 2 + buckets + number)?;
            }
        }
        let mut new = old;
        new[2 * width..].fill(0);
        let mut put = |place: usize, number: usize| -> Result<(), ElfError> {
            if width == 8 {
                new.pwrite_with(number as u64, place * width, self.ctx.le)?;
            } else {
                let number = u32::try_from(number).map_err(|_| no_symbol())?;
                new.pwrite_with(number, place * width, self.ctx.le)?;
            }
            Ok(())
        };
        let mut heads = vec![0; buckets];
        for number in 1..table.names.len() {
            let old = order.and_then(|order| order.get(number)).copied().unwrap_or(number);
            if !held[old] {
                continue;
            }
            let head = &mut heads[index(sysv_hash(&table.names[old]))? % buckets];
            if number >= chains {
                return Err(no_symbol());
            }
            put(2 + buckets + number, *head)?;
            *head = number;
        }
        for (bucket, head) in heads.into_iter().enumerate() {
            put(2 + bucket, head)?;
        }
        slice_mut(&mut self.bytes, at as u64, size as u64)?.copy_from_slice(&new);
        Ok(())
    }

    fn value(&self, tag: u64) -> Option<u64> {
        self.dynamic.as_ref()?.pristine.iter().find(|entry| entry.d_tag == tag).map(|entry| entry.d_val)
    }

    fn place_of(&self, elf: &Elf<'_>, tag: u64) -> Result<Option<usize>, ElfError> {
        self.value(tag).map(|address| to_usize(offset(elf, address)?)).transpose()
    }

    fn word(&self, at: usize) -> Result<u32, ElfError> {
        Ok(self.bytes.pread_with(at, self.ctx.le)?)
    }

    fn put_word(&mut self, at: usize, number: usize) -> Result<(), ElfError> {
        let number = u32::try_from(number).map_err(|_| no_symbol())?;
        self.bytes.pwrite_with(number, at, self.ctx.le)?;
        Ok(())
    }

    /// Sets a bit of a word of the file's class.
    fn set_bit(&mut self, at: usize, bit: u32) -> Result<(), ElfError> {
        if self.ctx.is_big() {
            let word: u64 = self.bytes.pread_with(at, self.ctx.le)?;
            self.bytes.pwrite_with(word | 1 << bit, at, self.ctx.le)?;
        } else {
            let word = self.word(at)?;
            self.bytes.pwrite_with(word | 1 << bit, at, self.ctx.le)?;
        }
        Ok(())
    }
}

/// Whether a section is the one with the dynamic symbols.
fn is_dynamic_symbols(elf: &Elf<'_>, link: u32) -> bool {
    let section = usize::try_from(link).ok().and_then(|link| elf.section_headers.get(link));
    section.is_some_and(|section| section.sh_type == SHT_DYNSYM)
}

/// Puts the entries of a table into a new order.
fn permute(bytes: &mut [u8], at: usize, entry: usize, order: &[usize]) -> Result<(), ElfError> {
    let place = slice_mut(bytes, at as u64, (order.len() * entry) as u64)?;
    let old = place.to_vec();
    for (to, &from) in place.chunks_exact_mut(entry).zip(order) {
        to.copy_from_slice(&old[from * entry..][..entry]);
    }
    Ok(())
}

/// The hash of a name in a GNU hash table.
pub(super) fn gnu_hash(name: &[u8]) -> u32 {
    name.iter().fold(5381, |hash, &byte| hash.wrapping_mul(33).wrapping_add(u32::from(byte)))
}

/// The hash of a name in a System V hash table.
pub(super) fn sysv_hash(name: &[u8]) -> u32 {
    name.iter().fold(0, |hash: u32, &byte| {
        let hash = (hash << 4).wrapping_add(u32::from(byte));
        let high = hash & 0xf000_0000;
        (hash ^ high >> 24) & !high
    })
}

fn index(number: u32) -> Result<usize, ElfError> {
    to_usize(u64::from(number))
}

fn no_symbol() -> ElfError {
    ElfError::Malformed("a hash table names a symbol that is not there".into())
}
