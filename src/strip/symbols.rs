//! Symbol tables, when sections go.

use goblin::elf::header::EM_MIPS;
use goblin::elf::reloc::Reloc;
use goblin::elf::section_header::{SHN_LORESERVE, SHN_UNDEF, SHT_DYNSYM, SHT_REL, SHT_RELA, SHT_SYMTAB};
use goblin::elf::sym::{STB_LOCAL, STT_FILE, STT_SECTION, Sym};
use scroll::ctx::SizeWith as _;
use scroll::{Pread as _, Pwrite as _};

use super::Reason;
use super::source::{Section, Source};
use super::strings::Strings;

/// A symbol table and its strings, without what only debuggers look at.
pub(super) struct Table {
    pub(super) symbols: Vec<u8>,
    /// `sh_info`: how many are local.
    pub(super) locals: u32,
    /// The section of the strings, with its new contents, where these are of no other use.
    pub(super) strings: Option<(usize, Vec<u8>)>,
}

/// The symbols of a section.
fn read(source: &Source<'_>, section: &Section) -> Result<Vec<Sym>, Reason> {
    let size = Sym::size_with(&source.ctx);
    if section.header.sh_entsize != size as u64 || !section.range.len().is_multiple_of(size) {
        return Err(format!("its {} has entries of an odd size", section.name));
    }
    let symbol = |at| source.bytes.pread_with::<Sym>(at, source.ctx).map_err(|error| error.to_string());
    section.range.clone().step_by(size).map(symbol).collect()
}

/// The index of the section that a symbol is in.
fn home(symbol: &Sym) -> Option<usize> {
    let index = u32::try_from(symbol.st_shndx).ok()?;
    (index != SHN_UNDEF && index < SHN_LORESERVE).then_some(symbol.st_shndx)
}

/// The `.symtab` at `index` where sections move from their index to `moved`; none where it stays as it is.
pub(super) fn static_table(source: &Source<'_>, index: usize, moved: &[Option<u32>]) -> Result<Option<Table>, Reason> {
    let section = &source.sections[index];
    let mut symbols = read(source, section)?;
    let before = symbols.clone();
    let goes = |symbol: &Sym| home(symbol).is_some_and(|home| moved.get(home).copied().flatten().is_none());
    if is_numbered(source, index, moved) {
        // Its symbols must keep their numbers: those of sections that go are emptied.
        let local = |symbol: &&mut Sym| goes(symbol) && symbol.st_bind() == STB_LOCAL;
        symbols.iter_mut().filter(local).for_each(|symbol| *symbol = Sym::default());
    } else {
        let mut first = true;
        symbols.retain(|symbol| {
            std::mem::take(&mut first) || !goes(symbol) && ![STT_FILE, STT_SECTION].contains(&symbol.st_type())
        });
    }
    renumber(&mut symbols, moved, &section.name)?;
    if symbols == before {
        return Ok(None);
    }
    let strings_at = usize::try_from(section.header.sh_link).ok().filter(|&at| at < source.sections.len());
    let strings_at = strings_at.ok_or("its symbols have no names")?;
    let mut strings = None;
    if symbols.len() < before.len() && is_private(source, index, strings_at) {
        let table = &source.bytes[source.sections[strings_at].range.clone()];
        let name = |symbol: &Sym| {
            let rest = table.get(symbol.st_name..)?;
            Some(rest[..memchr::memchr(0, rest)?].to_vec())
        };
        let names: Option<Vec<Vec<u8>>> = symbols.iter().map(name).collect();
        let names = names.ok_or("a symbol has no name")?;
        let fresh = Strings::new(names.iter().cloned());
        for (symbol, name) in symbols.iter_mut().zip(&names) {
            symbol.st_name = fresh.place(name).ok_or("a symbol has no name")?;
        }
        // Linkers may share more than a table made anew does.
        if fresh.bytes.len() <= table.len() {
            strings = Some((strings_at, fresh.bytes));
        } else {
            return Err("its symbol names would take more room than before".to_owned());
        }
    }
    let locals = symbols.iter().take_while(|symbol| symbol.st_bind() == STB_LOCAL).count();
    if symbols[locals..].iter().any(|symbol| symbol.st_bind() == STB_LOCAL) {
        return Err(format!("local symbols of its {} follow others", section.name));
    }
    let locals = u32::try_from(locals).map_err(|_| "it has too many symbols")?;
    Ok(Some(Table { symbols: written(source, &symbols)?, locals, strings }))
}

/// The `.dynsym` sections where sections move; it is loaded, so its size stays: where it lies and its new bytes.
pub(super) fn dynamic_tables(source: &Source<'_>, moved: &[Option<u32>]) -> Result<Vec<(usize, Vec<u8>)>, Reason> {
    let mut tables = Vec::new();
    for section in source.sections.iter().filter(|section| section.header.sh_type == SHT_DYNSYM) {
        let mut symbols = read(source, section)?;
        let before = symbols.clone();
        renumber(&mut symbols, moved, &section.name)?;
        if symbols != before {
            tables.push((section.range.start, written(source, &symbols)?));
        }
    }
    Ok(tables)
}

/// Whether relocations that stay count the symbols of the table.
fn is_numbered(source: &Source<'_>, index: usize, moved: &[Option<u32>]) -> bool {
    let stays = |at: usize| moved.get(at).copied().flatten().is_some();
    source.sections.iter().enumerate().any(|(at, section)| stays(at) && counts(source, section, index))
}

/// Whether relocations that are loaded count the symbols of the table.
pub(super) fn is_loaded(source: &Source<'_>, index: usize) -> bool {
    source.sections.iter().any(|section| section.fixed && counts(source, section, index))
}

/// Whether a section has relocations that name symbols of the table. Statically linked programs have some that are said
/// to, and name none.
fn counts(source: &Source<'_>, section: &Section, table: usize) -> bool {
    let is_relocation = [SHT_REL, SHT_RELA].contains(&section.header.sh_type);
    if !is_relocation || usize::try_from(section.header.sh_link) != Ok(table) {
        return false;
    }
    let context = (section.header.sh_type == SHT_RELA, source.ctx);
    let size = Reloc::size_with(&context);
    let names_none = |at| source.bytes.pread_with::<Reloc>(at, context).is_ok_and(|one| one.r_sym == 0);
    source.elf.header.e_machine == EM_MIPS || !section.range.clone().step_by(size).all(names_none)
}

/// Whether the strings are of use to one symbol table only, and may move.
pub(super) fn is_private(source: &Source<'_>, symbols: usize, strings: usize) -> bool {
    let others = source.sections.iter().enumerate().filter(|(at, _)| *at != symbols);
    !source.sections[strings].fixed
        && usize::from(source.elf.header.e_shstrndx) != strings
        && others.into_iter().all(|(_, section)| usize::try_from(section.header.sh_link) != Ok(strings))
}

fn renumber(symbols: &mut [Sym], moved: &[Option<u32>], table: &str) -> Result<(), Reason> {
    for symbol in symbols {
        let Some(home) = home(symbol) else { continue };
        let Some(to) = moved.get(home).copied().flatten() else {
            return Err(format!("a symbol of its {table} is in a section that would go"));
        };
        symbol.st_shndx = usize::try_from(to).map_err(|_| "it has too many sections")?;
    }
    Ok(())
}

fn written(source: &Source<'_>, symbols: &[Sym]) -> Result<Vec<u8>, Reason> {
    let mut bytes = vec![0; symbols.len() * Sym::size_with(&source.ctx)];
    let mut at = 0;
    for symbol in symbols {
        at += bytes.pwrite_with(*symbol, at, source.ctx).map_err(|error| error.to_string())?;
    }
    Ok(bytes)
}

/// Whether a section is a symbol table that only linking at build time, and people, look at.
pub(super) fn is_static(section: &Section) -> bool {
    section.header.sh_type == SHT_SYMTAB && !section.fixed
}
