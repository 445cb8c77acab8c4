//! Reads a stripped file again, before anyone else does.

use goblin::elf::Elf;
use goblin::elf::Header;
use goblin::elf::section_header::{SHT_NOBITS, SHT_NULL};

use super::Reason;
use super::layout::Change;
use super::source::Source;

/// Everything that is loaded must be as it was, and every section that stays must be found with its contents.
pub(super) fn check(source: &Source<'_>, change: &Change, made: &[u8]) -> Result<(), Reason> {
    let wrong = |what: &str| format!("the stripped file would be wrong: {what}");
    let elf = Elf::parse(made).map_err(|error| wrong(&error.to_string()))?;
    if elf.program_headers != source.elf.program_headers || !same_header(&elf.header, &source.elf.header) {
        return Err(wrong("other program headers"));
    }
    let mut expected = source.bytes.to_vec();
    for (&at, bytes) in &change.patches {
        expected[at..at + bytes.len()].copy_from_slice(bytes);
    }
    let head = Header::size(source.ctx);
    for segment in &elf.program_headers {
        let range =
            usize::try_from(segment.p_offset).ok().zip(usize::try_from(segment.p_offset + segment.p_filesz).ok());
        let (start, end) = range.ok_or_else(|| wrong("a segment out of reach"))?;
        let start = start.max(head).min(end);
        if made.get(start..end) != expected.get(start..end) {
            return Err(wrong("other bytes in a segment"));
        }
    }
    let count = change.moved.iter().flatten().count() + usize::from(change.added.is_some());
    if elf.section_headers.len() != count {
        return Err(wrong("other sections"));
    }
    let names = usize::from(source.elf.header.e_shstrndx);
    for (index, section) in source.sections.iter().enumerate() {
        let Some(to) = change.moved[index].and_then(|to| usize::try_from(to).ok()) else { continue };
        let header = elf.section_headers.get(to).ok_or_else(|| wrong("a section is missing"))?;
        if elf.shdr_strtab.get_at(header.sh_name) != Some(&section.name) {
            return Err(wrong("a section has another name"));
        }
        if [SHT_NOBITS, SHT_NULL].contains(&header.sh_type) || index == names || section.range.is_empty() {
            continue;
        }
        let start = usize::try_from(header.sh_offset).ok();
        let size = usize::try_from(header.sh_size).ok();
        let found = start.zip(size).and_then(|(start, size)| made.get(start..start.checked_add(size)?));
        let wanted = change.contents.get(&index).map_or(&expected[section.range.clone()], Vec::as_slice);
        if found != Some(wanted) {
            return Err(wrong(&format!("other contents of {}", section.name)));
        }
    }
    symbols(source, &elf).map_err(|what| wrong(&what))
}

fn same_header(one: &Header, two: &Header) -> bool {
    let plain = |header: &Header| Header { e_shoff: 0, e_shnum: 0, e_shstrndx: 0, ..*header };
    plain(one) == plain(two)
}

/// Every symbol that is left is one of the old file's, in a section of the same name.
fn symbols(source: &Source<'_>, elf: &Elf<'_>) -> Result<(), Reason> {
    let list = |elf: &Elf<'_>, is_dynamic: bool| {
        let (table, names) = if is_dynamic { (&elf.dynsyms, &elf.dynstrtab) } else { (&elf.syms, &elf.strtab) };
        let home = |index: usize| {
            let section = elf.section_headers.get(index)?;
            elf.shdr_strtab.get_at(section.sh_name).map(str::to_owned)
        };
        let one = |symbol: goblin::elf::Sym| {
            let name = names.get_at(symbol.st_name).map(str::to_owned);
            (name, symbol.st_value, symbol.st_size, symbol.st_info, home(symbol.st_shndx))
        };
        let mut all: Vec<_> = table.iter().map(one).collect();
        all.sort();
        all
    };
    if list(&source.elf, true) != list(elf, true) {
        return Err("other dynamic symbols".to_owned());
    }
    let old = list(&source.elf, false);
    let mut old = old.iter();
    let mut new = list(elf, false);
    // Symbols whose number is taken may be empty now.
    new.retain(|(_, value, size, info, _)| (*value, *size, *info) != (0, 0, 0));
    // Both are sorted: each is found further on.
    if new.iter().all(|symbol| old.any(|known| known == symbol)) { Ok(()) } else { Err("other symbols".to_owned()) }
}
