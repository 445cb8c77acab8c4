//! The table of section headers, where it ends the file: some tools take its end for that of the ELF file.

use std::ops::Range;

use goblin::container::Ctx;
use goblin::elf::{Elf, Header};
use scroll::Pwrite as _;

use super::ElfError;
use super::file::to_usize;
use super::journal::Journal;

/// Where the table lies.
pub(super) fn place(bytes: &[u8]) -> Option<Range<usize>> {
    let header = Elf::parse_header(bytes).ok()?;
    let start = usize::try_from(header.e_shoff).ok().filter(|_| header.e_shnum > 0)?;
    let size = usize::from(header.e_shentsize) * usize::from(header.e_shnum);
    Some(start..start.checked_add(size)?)
}

/// Whether it ends the file.
pub(super) fn is_last(bytes: &[u8]) -> bool {
    place(bytes).is_some_and(|table| table.end == bytes.len())
}

/// Appends the journal, and moves the table behind it.
pub(super) fn put_last(bytes: &mut Vec<u8>, journal: &Journal<'_>) -> Result<(), ElfError> {
    let mut header = Elf::parse_header(bytes)?;
    let ctx = Ctx::new(header.container()?, header.endianness()?);
    let table = place(bytes).and_then(|place| bytes.get(place)).map(<[u8]>::to_vec);
    let table = table.ok_or_else(|| ElfError::Malformed("section header table out of bounds".into()))?;
    if is_last(bytes) {
        bytes.truncate(to_usize(header.e_shoff)?);
    }
    journal.append_aligned(bytes, 0..Header::size(ctx));
    header.e_shoff = bytes.len() as u64;
    bytes.pwrite_with(header, 0, ctx.le)?;
    bytes.extend(table);
    Ok(())
}
