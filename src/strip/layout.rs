//! What goes, and how the rest is written.

use std::collections::BTreeMap;

use goblin::elf::section_header::{SHF_INFO_LINK, SHT_NOBITS, SHT_NULL, SHT_REL, SHT_RELA, SectionHeader};
use scroll::Pwrite as _;
use scroll::ctx::SizeWith as _;

use super::source::{Section, Source};
use super::strings::Strings;
use super::{Options, Reason, build_id, symbols};

/// What is different in the new file.
pub(super) struct Change {
    /// The new index of each section; none where it goes.
    pub(super) moved: Vec<Option<u32>>,
    /// New contents of sections.
    pub(super) contents: BTreeMap<usize, Vec<u8>>,
    /// New `sh_info` of symbol tables.
    locals: BTreeMap<usize, u32>,
    /// Bytes in segments that change, by offset.
    pub(super) patches: BTreeMap<usize, Vec<u8>>,
    /// A section more.
    pub(super) added: Option<Added>,
}

/// A section that the file did not have.
pub(super) struct Added {
    pub(super) name: &'static str,
    pub(super) header: SectionHeader,
    pub(super) contents: Vec<u8>,
}

/// Names of sections that hold debug information begin with one of these.
const DEBUG: [&str; 6] = [".debug", ".zdebug", ".stab", ".gdb_index", ".gnu.debuglto_", ".gnu.linkonce.wi."];
/// Where a stripped file says what its file for debuggers is called.
pub(super) const LINK: &str = ".gnu_debuglink";

fn is_debug(section: &Section) -> bool {
    section.name == ".line" || DEBUG.iter().any(|start| section.name.starts_with(start))
}

impl Change {
    pub(super) fn plan(source: &Source<'_>, options: Options) -> Result<Self, Reason> {
        let mut goes: Vec<bool> = source.sections.iter().map(|section| !section.fixed && is_debug(section)).collect();
        if options.symbols {
            for (index, section) in
                source.sections.iter().enumerate().filter(|(_, section)| symbols::is_static(section))
            {
                if symbols::is_loaded(source, index) {
                    continue;
                }
                goes[index] = true;
                let strings = usize::try_from(section.header.sh_link).unwrap_or(0);
                if strings < goes.len() && strings > 0 && symbols::is_private(source, index, strings) {
                    goes[strings] = true;
                }
            }
        }
        drop_relocations(source, &mut goes);
        let moved = numbered(&goes)?;
        let mut change =
            Self { moved, contents: BTreeMap::new(), locals: BTreeMap::new(), patches: BTreeMap::new(), added: None };
        for (index, _) in
            source.sections.iter().enumerate().filter(|(index, one)| !goes[*index] && symbols::is_static(one))
        {
            if let Some(table) = symbols::static_table(source, index, &change.moved)? {
                change.contents.insert(index, table.symbols);
                change.locals.insert(index, table.locals);
                change.contents.extend(table.strings);
            }
        }
        change.patches.extend(symbols::dynamic_tables(source, &change.moved)?);
        if options.build_id {
            change
                .patches
                .extend(build_id::places(source).into_iter().map(|place| (place.start, vec![0; place.len()])));
        }
        Ok(change)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.contents.is_empty()
            && self.patches.is_empty()
            && self.added.is_none()
            && self.moved.iter().all(Option::is_some)
    }

    /// Whether debug information goes, not only symbols.
    pub(super) fn drops_debug(&self, source: &Source<'_>) -> bool {
        self.moved.iter().zip(&source.sections).any(|(moved, section)| moved.is_none() && is_debug(section))
    }

    /// Adds a section behind the others.
    pub(super) fn add(&mut self, added: Added) {
        self.added = Some(added);
    }

    /// The new file.
    pub(super) fn write(&self, source: &Source<'_>) -> Result<Vec<u8>, Reason> {
        let mut out = self.pinned(source);
        let (names, own_names) = self.names(source);
        let strings_at = usize::from(source.elf.header.e_shstrndx);
        let mut headers: Vec<(u32, SectionHeader)> = Vec::new();
        let mut order: Vec<usize> = (0..source.sections.len()).filter(|&index| self.moved[index].is_some()).collect();
        order.sort_by_key(|&index| source.sections[index].range.start);
        for index in order {
            let section = &source.sections[index];
            let mut header = section.header.clone();
            if let (Some(names), false) = (&names, header.sh_type == SHT_NULL) {
                header.sh_name = names.place(section.name.as_bytes()).ok_or("a section has no name")?;
            }
            let contents = match (&names, index == strings_at, self.contents.get(&index)) {
                (Some(names), true, _) => &names.bytes,
                (_, _, Some(contents)) => contents,
                _ => &source.bytes[section.range.clone()],
            };
            if !section.fixed {
                header.sh_offset = append(&mut out, contents, header.sh_addralign)?;
                header.sh_size = contents.len() as u64;
            } else if ![SHT_NOBITS, SHT_NULL].contains(&header.sh_type) && header.sh_size == 0 && !section.is_alloc() {
                header.sh_offset = out.len() as u64;
            }
            self.relate(&mut header, index)?;
            headers.push((self.moved[index].unwrap_or(0), header));
        }
        headers.sort_by_key(|(index, _)| *index);
        let mut headers: Vec<SectionHeader> = headers.into_iter().map(|(_, header)| header).collect();
        if let Some(added) = &self.added {
            let mut header = added.header.clone();
            header.sh_name = own_names.ok_or("its section names cannot grow")?;
            header.sh_offset = append(&mut out, &added.contents, header.sh_addralign)?;
            header.sh_size = added.contents.len() as u64;
            headers.push(header);
        }
        finish(source, out, &headers, self.moved.get(strings_at).copied().flatten())
    }

    /// Everything up to the end of the last segment, without what goes or moves.
    fn pinned(&self, source: &Source<'_>) -> Vec<u8> {
        let mut out = source.bytes[..source.pinned].to_vec();
        let sections = source.sections.iter().filter(|section| !section.fixed).map(|section| section.range.clone());
        let in_segment = |at: usize| {
            let at = at as u64;
            source.segments().iter().any(|segment| segment.p_offset <= at && at - segment.p_offset < segment.p_filesz)
        };
        // Segments do not overlap sections that move, but may the table.
        for range in sections.chain([source.table()]) {
            let end = range.end.min(out.len());
            if range.start < end && !in_segment(range.start) && !in_segment(end - 1) {
                out[range.start..end].fill(0);
            }
        }
        for (&at, bytes) in &self.patches {
            out[at..at + bytes.len()].copy_from_slice(bytes);
        }
        out
    }

    /// The new section names, where their section may change; and the place of the added section's name.
    fn names(&self, source: &Source<'_>) -> (Option<Strings>, Option<usize>) {
        let at = usize::from(source.elf.header.e_shstrndx);
        let is_shared = source.sections.iter().any(|section| usize::try_from(section.header.sh_link) == Ok(at));
        if is_shared || source.sections.get(at).is_none_or(|section| section.fixed) {
            return (None, None);
        }
        let kept = source.sections.iter().zip(&self.moved).filter(|(_, moved)| moved.is_some());
        let names = kept.map(|(section, _)| section.name.clone().into_bytes());
        let added = self.added.as_ref().map(|added| added.name.as_bytes().to_vec());
        let strings = Strings::new(names.chain(added.clone()));
        let place = added.and_then(|name| strings.place(&name));
        (Some(strings), place)
    }

    /// Makes a header name the sections that it named before.
    fn relate(&self, header: &mut SectionHeader, index: usize) -> Result<(), Reason> {
        let renumber = |old: u32| -> Result<u32, Reason> {
            let at = usize::try_from(old).map_err(|_| "it has too many sections")?;
            self.moved.get(at).copied().flatten().ok_or_else(|| "a section that stays needs one that goes".to_owned())
        };
        // Those whose symbols go name none: others keep their table.
        let is_relocation = [SHT_REL, SHT_RELA].contains(&header.sh_type);
        header.sh_link = renumber(header.sh_link).or_else(|reason| if is_relocation { Ok(0) } else { Err(reason) })?;
        let counts = is_relocation || header.sh_flags & u64::from(SHF_INFO_LINK) != 0;
        if counts {
            header.sh_info = renumber(header.sh_info)?;
        }
        if let Some(&locals) = self.locals.get(&index) {
            header.sh_info = locals;
        }
        Ok(())
    }
}

/// Relocations of what goes go with it, and so do those that are not loaded and count symbols that go.
fn drop_relocations(source: &Source<'_>, goes: &mut [bool]) {
    for (index, section) in source.sections.iter().enumerate() {
        let target = |number: u32| usize::try_from(number).ok().and_then(|at| goes.get(at)).copied().unwrap_or(false);
        let is_relocation = [SHT_REL, SHT_RELA].contains(&section.header.sh_type);
        if is_relocation && !section.fixed && (target(section.header.sh_info) || target(section.header.sh_link)) {
            goes[index] = true;
        }
    }
}

fn numbered(goes: &[bool]) -> Result<Vec<Option<u32>>, Reason> {
    let mut next: u32 = 0;
    let number = |&goes: &bool| {
        if goes {
            return Ok(None);
        }
        next = next.checked_add(1).ok_or("it has too many sections")?;
        Ok(Some(next - 1))
    };
    goes.iter().map(number).collect()
}

/// Puts bytes at the end; where they are.
pub(super) fn append(out: &mut Vec<u8>, bytes: &[u8], align: u64) -> Result<u64, Reason> {
    let align = usize::try_from(align.max(1)).ok().filter(|&align| align <= 1 << 16);
    let at = out.len().next_multiple_of(align.ok_or("a section has an odd alignment")?);
    out.resize(at, 0);
    out.extend_from_slice(bytes);
    Ok(at as u64)
}

/// Puts the section headers at the end and makes the file's header name them.
pub(super) fn finish(
    source: &Source<'_>,
    mut out: Vec<u8>,
    headers: &[SectionHeader],
    names: Option<u32>,
) -> Result<Vec<u8>, Reason> {
    let failed = |error: goblin::error::Error| error.to_string();
    let mut at = out.len().next_multiple_of(if source.ctx.is_big() { 8 } else { 4 });
    let mut header = source.elf.header;
    header.e_shoff = at as u64;
    header.e_shnum = u16::try_from(headers.len()).map_err(|_| "it has too many sections")?;
    header.e_shstrndx = names.and_then(|at| u16::try_from(at).ok()).ok_or("its section names would go")?;
    out.resize(at + headers.len() * SectionHeader::size_with(&source.ctx), 0);
    for header in headers {
        at += out.pwrite_with(header.clone(), at, source.ctx).map_err(failed)?;
    }
    out.pwrite_with(header, 0, source.ctx.le).map_err(failed)?;
    Ok(out)
}
