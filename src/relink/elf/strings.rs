//! The strings of the dynamic section: what edits store in them, in place where nothing else uses the place.

use std::collections::{BTreeMap, BTreeSet};

use goblin::elf::dynamic::{DT_AUDIT, DT_CONFIG, DT_DEPAUDIT, DT_NEEDED, DT_RPATH, DT_RUNPATH, DT_SONAME, Dyn};
use goblin::elf::section_header::{SHT_DYNSYM, SHT_SYMTAB};
use goblin::elf::symver::VerdefSection;
use goblin::elf::{Elf, sym::Symtab};
use scroll::Pwrite as _;

use super::ElfError;
use super::file::{Dynamic, File, elf_context, slice, slice_mut, text};
use super::state::State;
use super::versions::Needs;

const DT_AUXILIARY: u64 = 0x7fff_fffd;
const DT_FILTER: u64 = 0x7fff_ffff;

/// Who uses which strings.
struct Users {
    /// Offsets that something refers to, sorted.
    offsets: Vec<u64>,
    /// Whether other tables than those of the dynamic linker use the strings too.
    others: bool,
}

impl Dynamic {
    /// Stores a string behind the others; gives its offset.
    pub(super) fn append(&mut self, text: &[u8]) -> u64 {
        let at = self.strings.len() as u64;
        self.strings.extend_from_slice(text);
        self.strings.push(0);
        at
    }

    /// Whether nothing but what is being edited uses bytes of the string. Linkers merge equal tails.
    fn is_free(&self, users: &Users, at: u64, length: u64) -> bool {
        let before = at.checked_sub(1).and_then(|before| usize::try_from(before).ok());
        let preceded = before.and_then(|before| self.strings.get(before)).is_some_and(|&byte| byte != 0);
        let first = users.offsets.partition_point(|&offset| offset < at);
        let hit = users.offsets.get(first).is_some_and(|&offset| offset < at + length);
        !preceded && !users.others && !hit
    }
}

impl File {
    /// Sets or removes the search path in the dynamic section and its strings.
    pub(super) fn set_search_path(&mut self, elf: &Elf<'_>, wanted: &State) -> Result<(), ElfError> {
        let search = wanted.search.as_ref();
        let mut dynamic = self.dynamic.take().ok_or(ElfError::NoDynamic)?;
        let is_search = |entry: &Dyn| entry.d_tag == DT_RPATH || entry.d_tag == DT_RUNPATH;
        let old: BTreeSet<u64> =
            dynamic.entries.iter().filter(|entry| is_search(entry)).map(|entry| entry.d_val).collect();
        let mut value = None;
        for &at in &old {
            if search.is_some_and(|search| text(&dynamic.strings, at).is_ok_and(|text| text == search.text.as_bytes()))
            {
                value = Some(at);
            }
        }
        let stale: Vec<u64> = old.into_iter().filter(|&at| Some(at) != value).collect();
        let users = if stale.is_empty() { None } else { Some(self.users(elf, &dynamic, &[DT_RPATH, DT_RUNPATH])?) };
        for at in stale {
            let length = text(&dynamic.strings, at)?.len();
            if !users.as_ref().is_some_and(|users| dynamic.is_free(users, at, length as u64)) {
                continue;
            }
            let place = slice_mut(&mut dynamic.strings, at, length as u64)?;
            place.fill(0);
            if let (None, Some(search)) = (value, search.filter(|search| search.text.len() <= length)) {
                place[..search.text.len()].copy_from_slice(search.text.as_bytes());
                value = Some(at);
            }
        }
        if let Some(search) = search {
            let value = value
                .unwrap_or_else(|| append_search_path(&mut dynamic, search.text.as_bytes(), wanted.unseen.crossed_out));
            set_entries(&mut dynamic.entries, is_search, &[Dyn { d_tag: search.tag.number(), d_val: value }], None);
        } else {
            dynamic.entries.retain(|entry| !is_search(entry));
        }
        self.keep_strings(dynamic)
    }

    /// Sets the names of needed libraries, of the file itself, and of those that define versions for it.
    pub(super) fn set_names(&mut self, elf: &Elf<'_>, wanted: &State) -> Result<(), ElfError> {
        let mut dynamic = self.dynamic.take().ok_or(ElfError::NoDynamic)?;
        let needs = Needs::read(&self.bytes, elf)?;
        let is_name = |entry: &&Dyn| entry.d_tag == DT_NEEDED || entry.d_tag == DT_SONAME;
        let offsets = dynamic.entries.iter().filter(is_name).map(|entry| entry.d_val);
        let old: BTreeSet<u64> = offsets.chain(needs.files.iter().map(|file| file.name)).collect();
        let texts: Vec<&[u8]> =
            wanted.needed.iter().chain(&wanted.soname).chain(&wanted.version_files).map(Vec::as_slice).collect();
        let values = self.store_names(elf, &mut dynamic, &old, &texts)?;
        let value = |name: &Vec<u8>| values.get(name.as_slice()).copied().unwrap_or_default();

        let entries = |tag, names: &[Vec<u8>]| -> Vec<Dyn> {
            names.iter().map(|name| Dyn { d_tag: tag, d_val: value(name) }).collect()
        };
        set_entries(
            &mut dynamic.entries,
            |entry| entry.d_tag == DT_NEEDED,
            &entries(DT_NEEDED, &wanted.needed),
            Some(0),
        );
        let soname: Vec<Vec<u8>> = wanted.soname.iter().cloned().collect();
        set_entries(&mut dynamic.entries, |entry| entry.d_tag == DT_SONAME, &entries(DT_SONAME, &soname), None);
        let kept = needs.files.iter().enumerate().filter(|(number, _)| !wanted.unseen.unneeded.contains(number));
        for ((_, file), name) in kept.zip(&wanted.version_files) {
            let at = u32::try_from(value(name)).map_err(|_| ElfError::Unsupported("its strings are too large"))?;
            self.bytes.pwrite_with(at, file.at, self.ctx.le)?;
        }
        self.keep_strings(dynamic)
    }

    /// Finds or makes room for `texts`; what none of them uses any more is wiped. Gives their offsets.
    fn store_names<'a>(
        &self,
        elf: &Elf<'_>,
        dynamic: &mut Dynamic,
        old: &BTreeSet<u64>,
        texts: &[&'a [u8]],
    ) -> Result<BTreeMap<&'a [u8], u64>, ElfError> {
        let mut stored: Vec<(u64, Vec<u8>)> = Vec::new();
        for &at in old {
            stored.push((at, text(&dynamic.strings, at)?.to_vec()));
        }
        let mut values: BTreeMap<&[u8], u64> = BTreeMap::new();
        for &text in texts {
            let exact = stored.iter().find(|(_, old)| old == text);
            let tail = || stored.iter().find(|(_, old)| !text.is_empty() && old.ends_with(text));
            if let Some((at, old)) = exact.or_else(tail) {
                values.insert(text, at + (old.len() - text.len()) as u64);
            }
        }
        let mut users = self.users(elf, dynamic, &[DT_NEEDED, DT_SONAME])?;
        users.offsets.extend(values.values());
        users.offsets.sort_unstable();
        let mut free: Vec<(u64, usize)> = Vec::new();
        for (at, text) in &stored {
            if dynamic.is_free(&users, *at, text.len() as u64) {
                slice_mut(&mut dynamic.strings, *at, text.len() as u64)?.fill(0);
                free.push((*at, text.len()));
            }
        }
        for &text in texts {
            if values.contains_key(text) {
                continue;
            }
            let at = match free.iter().position(|(_, room)| *room >= text.len()) {
                Some(index) => {
                    let (at, _) = free.remove(index);
                    slice_mut(&mut dynamic.strings, at, text.len() as u64)?.copy_from_slice(text);
                    at
                }
                None => dynamic.append(text),
            };
            values.insert(text, at);
        }
        Ok(values)
    }

    /// Where the strings move, what they were must not stay behind either.
    fn keep_strings(&mut self, dynamic: Dynamic) -> Result<(), ElfError> {
        let strings = slice(&dynamic.strings, 0, dynamic.strings_size)?;
        slice_mut(&mut self.bytes, dynamic.strings_at, dynamic.strings_size)?.copy_from_slice(strings);
        self.dynamic = Some(dynamic);
        Ok(())
    }

    /// All users of strings but the entries with the `edited` tags (and with `DT_NEEDED`, the version files).
    fn users(&self, elf: &Elf<'_>, dynamic: &Dynamic, edited: &[u64]) -> Result<Users, ElfError> {
        const NAMES: [u64; 9] =
            [DT_NEEDED, DT_SONAME, DT_RPATH, DT_RUNPATH, DT_AUXILIARY, DT_FILTER, DT_CONFIG, DT_DEPAUDIT, DT_AUDIT];
        let is_same = |index: usize| {
            elf.section_headers.get(index).is_some_and(|section| section.sh_offset == dynamic.strings_at)
        };
        let symbol_names = |section: &goblin::elf::SectionHeader| {
            section.sh_type == SHT_SYMTAB && usize::try_from(section.sh_link).is_ok_and(is_same)
        };
        let others = is_same(usize::from(elf.header.e_shstrndx)) || elf.section_headers.iter().any(symbol_names);

        let names =
            dynamic.entries.iter().filter(|entry| NAMES.contains(&entry.d_tag) && !edited.contains(&entry.d_tag));
        let mut offsets: Vec<u64> = names.map(|entry| entry.d_val).collect();
        offsets.extend(symbols(&self.bytes, elf).map(|symbol| symbol.st_name as u64).filter(|&name| name != 0));
        let needs = Needs::read(&self.bytes, elf)?;
        if !edited.contains(&DT_NEEDED) {
            offsets.extend(needs.files.iter().map(|file| file.name));
        }
        offsets.extend(needs.versions);
        let defs = elf.verdef.iter().flat_map(VerdefSection::iter);
        offsets.extend(defs.flat_map(|def| def.iter().map(|aux| aux.vda_name as u64).collect::<Vec<_>>()));
        offsets.sort_unstable();
        Ok(Users { offsets, others })
    }
}

/// The text behind the other strings; behind, or in the place of, what is crossed out.
fn append_search_path(dynamic: &mut Dynamic, text: &[u8], crossed_out: Option<usize>) -> u64 {
    const CROSS: u8 = b'X';
    let Some(length) = crossed_out else { return dynamic.append(text) };
    let mut place = vec![CROSS; length];
    if text.len() > length {
        dynamic.append(&place);
        return dynamic.append(text);
    }
    place[..text.len()].copy_from_slice(text);
    if let Some(end) = place.get_mut(text.len()) {
        *end = 0;
    }
    dynamic.append(&place)
}

/// Puts `wanted` where entries of their kind are; further ones behind the last of them, or at `otherwise`, or at
/// the end; those left over go.
fn set_entries(entries: &mut Vec<Dyn>, is_kind: impl Fn(&Dyn) -> bool, wanted: &[Dyn], otherwise: Option<usize>) {
    let mut left = wanted.iter();
    let mut last = None;
    let mut kept = Vec::with_capacity(entries.len() + wanted.len());
    for entry in entries.drain(..) {
        if !is_kind(&entry) {
            kept.push(entry);
        } else if let Some(new) = left.next() {
            last = Some(kept.len() + 1);
            kept.push(new.clone());
        }
    }
    let at = last.or(otherwise).unwrap_or(kept.len());
    kept.splice(at..at, left.cloned());
    *entries = kept;
}

/// Dynamic symbols: a hash table may leave out some that the section has.
fn symbols<'a>(bytes: &'a [u8], elf: &'a Elf<'_>) -> impl Iterator<Item = goblin::elf::Sym> + 'a {
    let section = elf.section_headers.iter().find(|section| section.sh_type == SHT_DYNSYM);
    let table = section.and_then(|section| {
        let count = usize::try_from(section.sh_size.checked_div(section.sh_entsize)?).ok()?;
        Symtab::parse(bytes, usize::try_from(section.sh_offset).ok()?, count, elf_context(elf).ok()?).ok()
    });
    let rest = table.into_iter().flat_map(|table| table.iter().collect::<Vec<_>>());
    elf.dynsyms.iter().chain(rest)
}
