//! Reads an edited file again, with goblin and not with what wrote it, before anyone uses it.

use std::collections::BTreeSet;

use goblin::elf::Elf;
use goblin::elf::dynamic::{
    DF_1_NODEFLIB, DT_DEBUG, DT_FLAGS_1, DT_GNU_HASH, DT_HASH, DT_NEEDED, DT_NULL, DT_RPATH, DT_RUNPATH, DT_SONAME,
    DT_STRSZ, DT_STRTAB, DT_SYMTAB, DT_VERDEF, DT_VERNEED, DT_VERNEEDNUM, DT_VERSYM,
};
use goblin::elf::program_header::{PT_LOAD, PT_PHDR};
use goblin::elf::symver::{VerdefSection, VerneedSection};

use super::file::{DT_MIPS_RLD_MAP_REL, dynamic_segment, offset_in, slice};
use super::state::State;
use super::symbols::GLOBAL;
use super::versions::HIDDEN;
use super::{ElfError, parse, renamed};

/// What the dynamic linker reads must be what it was, but for what was edited.
pub(super) fn check(pristine: &[u8], old: &Elf<'_>, made: &[u8], wanted: &State) -> Result<(), ElfError> {
    let wrong = |what: &str| Err(ElfError::Check(what.to_owned()));
    let new = parse(made).map_err(|error| ElfError::Check(error.to_string()))?;
    if State::read(made, &new, wanted.unseen.clone())? != *wanted {
        return wrong("what was asked for is not what it says");
    }
    if !wanted.unseen.renamed.is_empty() || !wanted.unseen.unversioned.is_empty() {
        renamed::check(old, made, &new, &wanted.unseen)?;
    } else if !old.dynsyms.iter().map(named(old)).eq(new.dynsyms.iter().map(named(&new))) {
        return wrong("dynamic symbols changed");
    } else if hash_heads(pristine, old) != hash_heads(made, &new) {
        return wrong("hash tables of symbols changed");
    }
    let unneeded = &wanted.unseen.unneeded;
    if versions(old, unneeded) != versions(&new, &BTreeSet::new()) {
        return wrong("symbol versions changed");
    }
    if !entries(old).eq(entries(&new)) || flags(old) != flags(&new) {
        return wrong("other entries of the dynamic section changed");
    }
    let named = !wanted.unseen.renamed.is_empty() || !wanted.unseen.unversioned.is_empty();
    if !named && versym(old, &gone(old, unneeded)) != versym(&new, &BTreeSet::new()) {
        return wrong("versions of symbols changed");
    }
    if made.len() < pristine.len() {
        return wrong("the file became shorter");
    }
    segments(old, &new, made)
}

fn named<'a>(elf: &'a Elf<'_>) -> impl Fn(goblin::elf::Sym) -> (Option<&'a str>, u8, u8, usize, u64) + 'a {
    |symbol| {
        // `_DYNAMIC` and section symbols may move.
        let fixed = if symbol.st_type() == goblin::elf::sym::STT_SECTION { 0 } else { symbol.st_size };
        (elf.dynstrtab.get_at(symbol.st_name), symbol.st_info, symbol.st_other, symbol.st_shndx, fixed)
    }
}

/// What hash tables begin with: the numbers of their buckets and symbols.
fn hash_heads<'a>(bytes: &'a [u8], elf: &Elf<'_>) -> Vec<Option<&'a [u8]>> {
    let entries = elf.dynamic.iter().flat_map(|dynamic| &dynamic.dyns);
    let tables = entries.filter(|entry| entry.d_tag == DT_HASH || entry.d_tag == DT_GNU_HASH);
    let head = |address| slice(bytes, offset_in(&elf.program_headers, address).ok()?, 8).ok();
    tables.map(|entry| head(entry.d_val)).collect()
}

type Versions<'a> = Vec<(Option<&'a str>, Vec<(Option<&'a str>, u16)>)>;

/// Versions that are needed and defined; the state holds the names of the files.
fn versions<'a>(elf: &'a Elf<'_>, unneeded: &BTreeSet<usize>) -> (Versions<'a>, Versions<'a>) {
    let name = |at| elf.dynstrtab.get_at(at);
    let needs = elf.verneed.iter().flat_map(VerneedSection::iter).enumerate();
    let needs = needs.filter(|(number, _)| !unneeded.contains(number)).map(|(_, need)| need);
    let defs = elf.verdef.iter().flat_map(VerdefSection::iter);
    (
        needs.map(|need| (None, need.iter().map(|aux| (name(aux.vna_name), aux.vna_other)).collect())).collect(),
        defs.map(|def| (None, def.iter().map(|aux| (name(aux.vda_name), def.vd_ndx)).collect())).collect(),
    )
}

/// Entries whose value no edit changes.
fn entries(elf: &Elf<'_>) -> impl Iterator<Item = (u64, u64)> {
    const EDITED: [u64; 17] = [
        DT_NULL,
        DT_VERNEEDNUM,
        DT_NEEDED,
        DT_SONAME,
        DT_FLAGS_1,
        DT_DEBUG,
        DT_MIPS_RLD_MAP_REL,
        DT_RPATH,
        DT_RUNPATH,
        DT_STRTAB,
        DT_STRSZ,
        DT_HASH,
        DT_GNU_HASH,
        DT_SYMTAB,
        DT_VERSYM,
        DT_VERNEED,
        DT_VERDEF,
    ];
    let all = elf.dynamic.iter().flat_map(|dynamic| &dynamic.dyns);
    all.filter(|entry| !EDITED.contains(&entry.d_tag)).map(|entry| (entry.d_tag, entry.d_val))
}

/// `DT_FLAGS_1` but for the flag that edits change, and what the self-relative entry of MIPS points to.
fn flags(elf: &Elf<'_>) -> (u64, Option<u64>) {
    let all = || elf.dynamic.iter().flat_map(|dynamic| &dynamic.dyns);
    let flags = all().filter(|entry| entry.d_tag == DT_FLAGS_1).fold(0, |flags, entry| flags | entry.d_val);
    let dynamic = dynamic_segment(elf);
    let (entry_size, mask) = if elf.is_64 { (16, u64::MAX) } else { (8, u64::from(u32::MAX)) };
    let relative = all().zip(0_u64..).find(|(entry, _)| entry.d_tag == DT_MIPS_RLD_MAP_REL);
    let target = relative.zip(dynamic).map(|((entry, index), dynamic)| {
        dynamic.p_vaddr.wrapping_add(index.wrapping_mul(entry_size)).wrapping_add(entry.d_val) & mask
    });
    (flags & !DF_1_NODEFLIB, target)
}

/// The numbers of the versions in records that are not needed any more.
pub(super) fn gone(elf: &Elf<'_>, unneeded: &BTreeSet<usize>) -> BTreeSet<u16> {
    let needs = elf.verneed.iter().flat_map(VerneedSection::iter).enumerate();
    let needs = needs.filter(|(number, _)| unneeded.contains(number));
    needs.flat_map(|(_, need)| need.iter().map(|aux| aux.vna_other).collect::<Vec<_>>()).collect()
}

/// Versions of the symbols; `gone` ones became global.
fn versym(elf: &Elf<'_>, gone: &BTreeSet<u16>) -> Option<Vec<u16>> {
    let now = |version: u16| if gone.contains(&(version & !HIDDEN)) { GLOBAL } else { version };
    elf.versym.as_ref().map(|versions| versions.iter().map(|version| now(version.vs_val)).collect())
}

/// The loader's rules. What the pristine file breaks already is not held against the edited one.
fn segments(old: &Elf<'_>, new: &Elf<'_>, made: &[u8]) -> Result<(), ElfError> {
    let (was, is) = (broken_rules(old, made.len() as u64), broken_rules(new, made.len() as u64));
    match is.into_iter().find(|rule| !was.contains(rule)) {
        Some(rule) => Err(ElfError::Check(rule.to_owned())),
        None => Ok(()),
    }
}

fn broken_rules(elf: &Elf<'_>, size: u64) -> Vec<&'static str> {
    let mut broken = Vec::new();
    let mut rule = |holds: bool, what| {
        if !holds {
            broken.push(what);
        }
    };
    let end = |start: u64, size: u64| start.saturating_add(size);
    let loads: Vec<_> = elf.program_headers.iter().filter(|segment| segment.p_type == PT_LOAD).collect();
    let table_size = u64::from(elf.header.e_phentsize) * u64::from(elf.header.e_phnum);
    let table_end = end(elf.header.e_phoff, table_size);
    for load in &loads {
        rule(end(load.p_offset, load.p_filesz) <= size, "a segment lies beyond the end of the file");
        rule(load.p_filesz <= load.p_memsz, "a segment is larger in the file than in memory");
        let congruent = load.p_align < 2 || load.p_vaddr.wrapping_sub(load.p_offset).is_multiple_of(load.p_align);
        rule(congruent, "a segment's address and offset are not congruent");
    }
    for pair in loads.windows(2) {
        rule(pair[0].p_vaddr <= pair[1].p_vaddr, "segments are not sorted by address");
        rule(end(pair[0].p_vaddr, pair[0].p_memsz) <= pair[1].p_vaddr, "segments overlap in memory");
    }
    let loaded = |start: u64, stop: u64| {
        loads.iter().find(|load| load.p_offset <= start && stop <= end(load.p_offset, load.p_filesz))
    };
    let table = loaded(elf.header.e_phoff, table_end);
    rule(table.is_some(), "the program headers are not loaded");
    for segment in elf.program_headers.iter().filter(|segment| segment.p_type == PT_PHDR) {
        let address = table.map(|load| (elf.header.e_phoff - load.p_offset).wrapping_add(load.p_vaddr));
        rule(segment.p_offset == elf.header.e_phoff && segment.p_filesz == table_size, "PT_PHDR is not the table");
        rule(address.is_none_or(|address| address == segment.p_vaddr), "PT_PHDR has another address than the table");
    }
    let movable = elf.program_headers.iter().filter(|segment| {
        segment.p_type != PT_LOAD && segment.p_memsz > 0 && segment.p_filesz > 0 && segment.p_vaddr > 0
    });
    for segment in movable {
        let load = loads.iter().find(|load| {
            load.p_offset <= segment.p_offset
                && end(segment.p_offset, segment.p_filesz) <= end(load.p_offset, load.p_filesz)
        });
        let agrees =
            load.is_none_or(|load| (segment.p_offset - load.p_offset).wrapping_add(load.p_vaddr) == segment.p_vaddr);
        rule(agrees, "a part of the program has another address than its segment");
    }
    broken
}
