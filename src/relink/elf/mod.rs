//! Reads and edits ELF files.
//!
//! An edit is planned, checked and only then given out: [`edit`] computes the wanted `State`, lays it out
//! over the pristine bytes, and the bytes that it made are read again with goblin before anyone sees them.
//! Nothing but `.dynstr` and `.interp` moves (and `.dynamic`, where it has no spare entry): they go to one new
//! read-only segment behind the end of the file. Sections are never sorted, virtual addresses never shifted.
//!
//! The result is a function of the pristine file and the wanted state alone: an undo `journal` behind the
//! end of the file brings the pristine bytes back before a further edit.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::ops::Range;

use goblin::elf::dynamic::Dynamic;
use goblin::elf::program_header::{PT_DYNAMIC, PT_INTERP};
use goblin::elf::section_header::SHT_DYNSYM;
use goblin::elf::{Elf, Sym, Symtab};
use goblin::strtab::Strtab;
use scroll::ctx::SizeWith as _;

mod check;
mod description;
mod disk;
mod edits;
mod faults;
mod file;
mod image;
mod journal;
mod note;
mod parts;
mod patch;
mod place;
mod renamed;
mod room;
mod search;
mod section_table;
mod state;
mod strings;
mod symbols;
mod versions;

pub use description::{Description, Section, Segment, Symbol, Tables, os_abi_name, os_abi_number};
pub use disk::{FileError, each_file, edit_file, edit_in_place, read_file, undo_file, write_file};
pub use edits::{Edits, Interpreter, Layout, Needed, SearchPath, SearchTag};
pub use faults::Sections;
pub use image::{DlopenNote, Image, Machine, Priority, Version};
pub use note::{resolution_cache, resolution_cache_of};
pub use patch::{Patch, read_image};

use file::File;
use journal::Journal;
use parts::Parts;
use state::{State, Unseen};

/// Why an ELF file could not be read or edited.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ElfError {
    /// The file contradicts itself or the ELF specification.
    #[error("malformed ELF file: {0}")]
    Malformed(String),
    /// It has no `PT_INTERP`: it is a shared library or static.
    #[error("no program interpreter to set: the file is a shared library or linked statically")]
    NoInterpreter,
    /// It has no `PT_DYNAMIC`.
    #[error("no dynamic section to edit: the file is linked statically")]
    NoDynamic,
    /// A text that cannot be stored as asked.
    #[error("cannot store `{text}`: {reason}")]
    Text {
        /// The text.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A layout that the editor does not handle.
    #[error("cannot edit this ELF file: {0}")]
    Unsupported(&'static str),
    /// What was written did not read back as it should; nothing was given out.
    #[error("the edited ELF file would be wrong: {0}")]
    Check(String),
}

impl From<goblin::error::Error> for ElfError {
    fn from(error: goblin::error::Error) -> Self {
        Self::Malformed(error.to_string())
    }
}

impl From<scroll::Error> for ElfError {
    fn from(error: scroll::Error) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// Applies `edits` to the ELF file `bytes`; `None` where it is in the wanted state already.
///
/// An earlier edit is undone first, so that the result depends only on the pristine file and the state that
/// is wanted now: what `edits` leaves open stays as it is in `bytes`.
pub fn edit(bytes: &[u8], edits: &Edits) -> Result<Option<Vec<u8>>, ElfError> {
    edit_parts(bytes, &Parts::whole(bytes.len()), edits)
}

/// Likewise with a file of which `parts` were read; the result is complete in these parts, and behind the end
/// of the pristine bytes.
fn edit_parts(bytes: &[u8], parts: &Parts, edits: &Edits) -> Result<Option<Vec<u8>>, ElfError> {
    let (now, pristine) = undone(bytes, parts)?;
    let mut wanted = now.clone();
    edits.apply(&mut wanted)?;
    let elf = parse(&pristine)?;
    if !edits.rename.is_empty() || !edits.unversioned.is_empty() {
        symbols::forget_absent(&elf, &mut wanted.unseen);
    }
    if now.same(&wanted) {
        return Ok(None);
    }
    if now.search != wanted.search {
        let crossed_out = wanted.unseen.like_patchelf.then(|| crossed_out(bytes, &pristine, &now, &wanted));
        wanted.unseen.crossed_out = crossed_out.transpose()?.flatten();
    }
    let result = produce(&pristine, parts, &elf, &wanted)?;
    Ok((!parts.equal(&result, bytes)).then_some(result))
}

/// The pristine bytes of a file that [`edit`] made; `bytes` themselves where it did not, or where somebody
/// else changed them since.
pub fn pristine(bytes: &[u8]) -> Result<Vec<u8>, ElfError> {
    Ok(undone(bytes, &Parts::whole(bytes.len()))?.1.into_owned())
}

/// Where the bytes of `PT_INTERP` lie in the file, padding included. They may be overwritten in place with
/// a path and NULs; the last byte must stay NUL.
pub fn interpreter_slot(bytes: &[u8]) -> Option<Range<usize>> {
    if !is_elf(bytes) {
        return None;
    }
    let elf = Elf::parse(bytes).ok()?;
    let segment = elf.program_headers.iter().find(|segment| segment.p_type == PT_INTERP)?;
    let start = usize::try_from(segment.p_offset).ok()?;
    let end = start.checked_add(usize::try_from(segment.p_filesz).ok()?)?;
    (end <= bytes.len()).then_some(start..end)
}

/// Whether the bytes begin as an ELF file does.
pub fn is_elf(bytes: &[u8]) -> bool {
    bytes.starts_with(goblin::elf::header::ELFMAG)
}

/// Reads a file as the dynamic linker and patchelf do together: a hash table without buckets, and a dynamic section
/// without program header, are no reason to refuse it.
fn parse(bytes: &[u8]) -> Result<Elf<'_>, ElfError> {
    let mut elf = match Elf::parse(bytes) {
        Ok(elf) => elf,
        Err(goblin::error::Error::Malformed(what)) if uncounted(&what) => {
            let mut elf = Elf::parse_with_opts(bytes, &goblin::options::ParseOptions::permissive())?;
            // Without the section, nobody would know how many symbols there are.
            if !take_symbols_of_section(bytes, &mut elf)? {
                return Err(ElfError::Malformed(what));
            }
            elf
        }
        Err(error) => return Err(error.into()),
    };
    if elf.is_64 && symbols::WIDE_HASH.contains(&elf.header.e_machine) {
        take_symbols_of_section(bytes, &mut elf)?;
    }
    let announced = elf.program_headers.iter().any(|segment| segment.p_type == PT_DYNAMIC && segment.p_filesz > 0);
    if let (false, Some(segment)) = (announced, file::dynamic_segment(&elf)) {
        let mut segments = elf.program_headers.clone();
        segments.retain(|segment| segment.p_type != PT_DYNAMIC);
        segments.push(segment);
        elf.dynamic = Dynamic::parse(bytes, &segments, file::elf_context(&elf)?)?;
        if let Some(dynamic) = &elf.dynamic {
            elf.dynstrtab = Strtab::parse(bytes, dynamic.info.strtab, dynamic.info.strsz, 0)?;
        }
    }
    Ok(elf)
}

/// goblin's complaints when a hash table does not tell how many symbols there are: one without buckets, or one with
/// words of eight bytes, which it reads at the wrong place.
fn uncounted(what: &str) -> bool {
    what.contains("DT_GNU_HASH") || what.contains("Symbol table extends")
}

/// Takes the dynamic symbols from their section; `false` without one.
fn take_symbols_of_section<'a>(bytes: &'a [u8], elf: &mut Elf<'a>) -> Result<bool, ElfError> {
    let Some(section) = elf.section_headers.iter().find(|section| section.sh_type == SHT_DYNSYM) else {
        return Ok(false);
    };
    let (at, size) = (file::to_usize(section.sh_offset)?, file::to_usize(section.sh_size)?);
    let ctx = file::elf_context(elf)?;
    elf.dynsyms = Symtab::parse(bytes, at, size / Sym::size_with(&ctx), ctx)?;
    Ok(true)
}

/// The state of a file and its pristine bytes. A journal counts only if it explains every byte: otherwise
/// another tool's changes would be lost.
fn undone<'a>(bytes: &'a [u8], parts: &Parts) -> Result<(State, Cow<'a, [u8]>), ElfError> {
    let elf = parse(bytes)?;
    let Some((pristine, unseen)) = journal::undo(bytes, parts) else {
        return Ok((State::read(bytes, &elf, Unseen::default())?, Cow::Borrowed(bytes)));
    };
    let state = State::read(bytes, &elf, unseen)?;
    let made = parse(&pristine).and_then(|elf| produce(&pristine, parts, &elf, &state));
    if made.is_ok_and(|made| parts.equal(&made, bytes)) {
        return Ok((state, Cow::Owned(pristine)));
    }
    Ok((State { unseen: Unseen::default(), ..state }, Cow::Borrowed(bytes)))
}

/// How much of an earlier search path stays behind: one that an edit put behind the other strings, until it is
/// wanted again.
fn crossed_out(bytes: &[u8], pristine: &[u8], now: &State, wanted: &State) -> Result<Option<usize>, ElfError> {
    let (Some(old), Some(new)) = (&now.search, &wanted.search) else { return Ok(None) };
    let (edited, pristine) = (parse(bytes)?, parse(pristine)?);
    let strings = pristine.dynamic.as_ref().map_or(0, |dynamic| dynamic.info.strsz as u64);
    let value = |entry: &&goblin::elf::Dyn| entry.d_tag == old.tag.number() && entry.d_val >= strings;
    let stored = edited.dynamic.iter().flat_map(|dynamic| &dynamic.dyns).any(|entry| value(&entry));
    let length = now.unseen.crossed_out.or(stored.then_some(old.text.len()));
    Ok(length.filter(|&length| length != new.text.len()))
}

/// The pristine file in the wanted state.
fn produce(pristine: &[u8], parts: &Parts, elf: &Elf<'_>, wanted: &State) -> Result<Vec<u8>, ElfError> {
    let now = State::read(pristine, elf, Unseen::default())?;
    if now.same(wanted) {
        return Ok(parts.copy(pristine, pristine.len()));
    }
    let mut file = File::new(pristine, parts, elf, &wanted.unseen)?;
    file.change(elf, &now, wanted)?;
    let (mut made, moves) = file.write()?;
    let journal = Journal { pristine, parts, moves: &moves, unseen: &wanted.unseen };
    match made.len().cmp(&pristine.len()) {
        // patchelf leaves the size of a file alone where it can.
        Ordering::Equal if wanted.unseen.like_patchelf => {}
        _ if wanted.unseen.like_patchelf && section_table::is_last(pristine) => {
            section_table::put_last(&mut made, &journal)?;
        }
        _ => journal.append(&mut made),
    }
    // Last, since odd tables mean something else in a longer file.
    check::check(pristine, elf, &made, wanted)?;
    Ok(made)
}

impl File {
    /// Makes what differs between the states.
    fn change(&mut self, elf: &Elf<'_>, now: &State, wanted: &State) -> Result<(), ElfError> {
        if now.os_abi != wanted.os_abi {
            self.set_os_abi(wanted.os_abi);
        }
        if let (true, Some(interpreter)) = (now.interpreter != wanted.interpreter, &wanted.interpreter) {
            self.set_interpreter(interpreter)?;
        }
        if now.search != wanted.search {
            self.set_search_path(elf, wanted)?;
        }
        let names = |state: &State| (state.needed.clone(), state.soname.clone(), state.version_files.clone());
        if names(now) != names(wanted) {
            self.set_names(elf, wanted)?;
        }
        if !wanted.unseen.unneeded.is_empty() {
            self.drop_versions(elf, &wanted.unseen.unneeded)?;
        }
        if now.no_default_lib != wanted.no_default_lib {
            self.set_no_default_lib(wanted.no_default_lib)?;
        }
        if now.debug_tag != wanted.debug_tag {
            self.add_debug_tag()?;
        }
        if let (true, Some(executable)) = (now.executable_stack != wanted.executable_stack, wanted.executable_stack) {
            self.set_executable_stack(executable);
        }
        if now.resolution_cache != wanted.resolution_cache {
            self.set_resolution_cache(elf, wanted.resolution_cache.as_deref())?;
        }
        self.change_symbols(elf, &wanted.unseen)
    }
}

#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod tests;
