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
use std::ops::Range;

use goblin::elf::Elf;
use goblin::elf::program_header::PT_INTERP;

mod check;
mod file;
mod image;
mod journal;
mod parts;
mod patch;
mod place;
mod room;
mod state;

pub use patch::{Patch, read_image};
pub use image::{DlopenNote, Image, Machine, Priority, Version};
pub use state::{Edits, Interpreter, SearchPath, SearchTag};

use file::File;
use parts::Parts;
use state::State;

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
    let mut wanted = State::read(bytes, &parse(bytes)?)?;
    let pristine = undone(bytes, parts, &wanted);
    edits.apply(&mut wanted)?;
    let result = produce(&pristine, parts, &wanted)?;
    Ok((!parts.equal(&result, bytes)).then_some(result))
}

/// The pristine bytes of a file that [`edit`] made; `bytes` themselves where it did not, or where somebody
/// else changed them since.
pub fn pristine(bytes: &[u8]) -> Result<Vec<u8>, ElfError> {
    let state = State::read(bytes, &parse(bytes)?)?;
    Ok(undone(bytes, &Parts::whole(bytes.len()), &state).into_owned())
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

fn parse(bytes: &[u8]) -> Result<Elf<'_>, ElfError> {
    Ok(Elf::parse(bytes)?)
}

/// A journal counts only if it explains every byte: otherwise another tool's changes would be lost.
fn undone<'a>(bytes: &'a [u8], parts: &Parts, state: &State) -> Cow<'a, [u8]> {
    journal::undo(bytes, parts)
        .filter(|pristine| produce(pristine, parts, state).is_ok_and(|made| parts.equal(&made, bytes)))
        .map_or(Cow::Borrowed(bytes), Cow::Owned)
}

/// The pristine file in the wanted state.
fn produce(pristine: &[u8], parts: &Parts, wanted: &State) -> Result<Vec<u8>, ElfError> {
    let elf = parse(pristine)?;
    let now = State::read(pristine, &elf)?;
    if now == *wanted {
        return Ok(parts.copy(pristine, pristine.len()));
    }
    let mut file = File::new(pristine, parts, &elf)?;
    if let (true, Some(interpreter)) = (now.interpreter != wanted.interpreter, &wanted.interpreter) {
        file.set_interpreter(interpreter)?;
    }
    if now.search != wanted.search {
        file.set_search_path(&elf, wanted.search.as_ref())?;
    }
    let mut made = file.write()?;
    check::check(pristine, &elf, &made, wanted)?;
    journal::append(pristine, parts, &mut made);
    Ok(made)
}

#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod tests;
