//! The build id: a hash that the linker made of all that it linked, debug information included.

use std::ops::Range;

use goblin::elf::note::NT_GNU_BUILD_ID;

use super::source::Source;

/// Where its bytes are.
pub(super) fn places(source: &Source<'_>) -> Vec<Range<usize>> {
    let notes = source.elf.iter_note_headers(source.bytes).into_iter().flatten();
    let ids = notes.map_while(Result::ok).filter(|note| note.n_type == NT_GNU_BUILD_ID && note.name == "GNU");
    let base = source.bytes.as_ptr().addr();
    ids.map(|note| note.desc)
        .filter(|id| id.iter().any(|&byte| byte != 0))
        .filter_map(|id| id.as_ptr().addr().checked_sub(base).map(|start| start..start + id.len()))
        .filter(|place| place.end <= source.bytes.len())
        .collect()
}

/// The build id of a file, in hexadecimal digits.
pub(super) fn of(bytes: &[u8]) -> Option<String> {
    let source = Source::read(bytes).ok()?;
    let place = places(&source).into_iter().next()?;
    (place.len() >= 4).then(|| bytes[place].iter().map(|byte| format!("{byte:02x}")).collect())
}
