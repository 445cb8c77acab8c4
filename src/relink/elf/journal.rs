//! The undo journal behind the end of an edited file.
//!
//! Layout, all numbers 64-bit little-endian: records, then the length of all records, the length of the pristine
//! file, the length of the edited file without journal, and a magic. A record is an offset, a length, and the
//! pristine bytes there, inverted, because a scanner for paths must not find in the journal what an edit removed.
//! An offset of [`COPY`] announces an offset, a length, and where in the edited file these bytes are; one of
//! [`UNSEEN`] a length and, inverted, what the edited file does not tell of its state.
//!
//! It ends the file, or lies before the section headers where those end the file.
//! Strippers drop it, since no section and no segment covers it; the stripped file is then the pristine one.

use std::ops::Range;

use super::parts::Parts;
use super::section_table;
use super::state::Unseen;

const MAGIC: &[u8; 16] = b"\0akb-elf-undo\x02\0\0";
const NUMBER: usize = size_of::<u64>();
pub(super) const FOOTER: usize = 3 * NUMBER + MAGIC.len();
/// Equal bytes between two differences that cost less than a record of their own.
const GAP: usize = 24;

const COPY: usize = usize::MAX;
const UNSEEN: usize = usize::MAX - 1;

/// Bytes of the pristine file that moved: the copy that was left behind is cleared.
pub(super) struct Move {
    /// Where they were.
    pub(super) to: u64,
    /// How many.
    pub(super) size: u64,
    /// Where they are in the edited file.
    pub(super) from: u64,
}

/// What brings a pristine file back.
pub(super) struct Journal<'a> {
    pub(super) pristine: &'a [u8],
    /// Outside of them, the edited file is equal.
    pub(super) parts: &'a Parts,
    pub(super) moves: &'a [Move],
    pub(super) unseen: &'a Unseen,
}

impl Journal<'_> {
    /// Appends it to the edited file, which must be at least as long as the pristine one.
    pub(super) fn append(&self, edited: &mut Vec<u8>) {
        let records = self.records(edited);
        finish(self.pristine.len(), records, edited);
    }

    /// Likewise, so that `edited` ends at a multiple of 8 bytes, and with the bytes of `place` among those that it
    /// brings back: they may still change.
    pub(super) fn append_aligned(&self, edited: &mut Vec<u8>, place: Range<usize>) {
        let mut records = self.records(edited);
        put(&mut records, place.start);
        put(&mut records, place.len());
        records.extend(self.pristine[place].iter().map(|byte| !byte));
        let size = edited.len() + records.len() + FOOTER;
        edited.resize(edited.len() + size.next_multiple_of(8) - size, 0);
        finish(self.pristine.len(), records, edited);
    }

    fn records(&self, edited: &[u8]) -> Vec<u8> {
        let Self { pristine, parts, .. } = *self;
        let mut records = Vec::new();
        let mut start = Vec::new();
        for part in self.moves {
            let numbers = [part.to, part.size, part.from].map(usize::try_from);
            let [Ok(to), Ok(size), Ok(from)] = numbers else { continue };
            if start.is_empty() {
                start = parts.copy(edited, pristine.len());
            }
            if copy(&mut start, edited, to, size, from).is_some() {
                for number in [COPY, to, size, from] {
                    put(&mut records, number);
                }
            }
        }
        let base = if start.is_empty() { edited } else { &start };
        for (start, end) in differences(pristine, base, parts) {
            put(&mut records, start);
            put(&mut records, end - start);
            records.extend(pristine[start..end].iter().map(|byte| !byte));
        }
        if *self.unseen != Unseen::default() {
            // It holds texts and numbers: there is nothing that JSON could not say.
            let text = serde_json::to_vec(self.unseen).unwrap_or_default();
            put(&mut records, UNSEEN);
            put(&mut records, text.len());
            records.extend(text.iter().map(|byte| !byte));
        }
        records
    }
}

fn finish(pristine_size: usize, records: Vec<u8>, edited: &mut Vec<u8>) {
    let (size, edited_size) = (records.len(), edited.len());
    edited.extend(records);
    put(edited, size);
    put(edited, pristine_size);
    put(edited, edited_size);
    edited.extend_from_slice(MAGIC);
}

/// Where the footer ends: with the file, or before the section headers that end it.
fn end(bytes: &[u8]) -> Option<usize> {
    if bytes.ends_with(MAGIC) {
        return Some(bytes.len());
    }
    let table = section_table::place(bytes).filter(|table| table.end == bytes.len())?;
    bytes.get(..table.start)?.ends_with(MAGIC).then_some(table.start)
}

/// The pristine bytes, and what the file does not tell of its state, if a journal ends `bytes`. Whoever takes
/// them must check that the edit leads back. Of `bytes`, `parts` were read; so they are in the result.
pub(super) fn undo(bytes: &[u8], parts: &Parts) -> Option<(Vec<u8>, Unseen)> {
    let end = end(bytes)?;
    let footer_at = end.checked_sub(FOOTER)?;
    let mut footer = &bytes[footer_at..end];
    let size = take(&mut footer)?;
    let pristine_size = take(&mut footer)?;
    let edited_size = take(&mut footer)?;
    let records_at = footer_at.checked_sub(size)?;
    if footer != MAGIC || records_at != edited_size || pristine_size > edited_size {
        return None;
    }
    let mut pristine = parts.copy(bytes, pristine_size);
    let mut records = &bytes[records_at..footer_at];
    let mut unseen = Unseen::default();
    while !records.is_empty() {
        let start = take(&mut records)?;
        if start == COPY {
            let (to, size, from) = (take(&mut records)?, take(&mut records)?, take(&mut records)?);
            copy(&mut pristine, bytes, to, size, from)?;
            continue;
        }
        let length = take(&mut records)?;
        let (inverted, rest) = records.split_at_checked(length)?;
        records = rest;
        if start == UNSEEN {
            let text: Vec<u8> = inverted.iter().map(|byte| !byte).collect();
            unseen = serde_json::from_slice(&text).ok()?;
            continue;
        }
        for (byte, inverted) in pristine.get_mut(start..start.checked_add(length)?)?.iter_mut().zip(inverted) {
            *byte = !inverted;
        }
    }
    Some((pristine, unseen))
}

fn copy(into: &mut [u8], out_of: &[u8], to: usize, size: usize, from: usize) -> Option<()> {
    let source = out_of.get(from..from.checked_add(size)?)?;
    into.get_mut(to..to.checked_add(size)?)?.copy_from_slice(source);
    Some(())
}

/// What lies behind the pristine bytes, if a journal ends `bytes`.
pub(super) fn grown(bytes: &[u8]) -> Option<Range<usize>> {
    let mut footer = &bytes[end(bytes)?.checked_sub(FOOTER)?..];
    take(&mut footer)?;
    let pristine_size = take(&mut footer)?;
    (pristine_size <= bytes.len()).then_some(pristine_size..bytes.len())
}

/// Ranges of `pristine` that differ in `edited`, near ones joined.
pub(super) fn differences(pristine: &[u8], edited: &[u8], parts: &Parts) -> Vec<(usize, usize)> {
    const BLOCK: usize = 4096;
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for (start, old, new) in parts.pairs(pristine, edited) {
        for (number, (old, new)) in old.chunks(BLOCK).zip(new.chunks(BLOCK)).enumerate() {
            if old == new {
                continue;
            }
            for index in (0..old.len()).filter(|&index| old[index] != new[index]) {
                let at = start + number * BLOCK + index;
                match ranges.last_mut() {
                    Some((_, end)) if at - *end < GAP => *end = at + 1,
                    _ => ranges.push((at, at + 1)),
                }
            }
        }
    }
    ranges
}

fn put(to: &mut Vec<u8>, number: usize) {
    to.extend_from_slice(&(number as u64).to_le_bytes());
}

fn take(from: &mut &[u8]) -> Option<usize> {
    let (number, rest) = from.split_first_chunk::<NUMBER>()?;
    *from = rest;
    usize::try_from(u64::from_le_bytes(*number)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn brings_the_pristine_bytes_back(
            pristine in proptest::collection::vec(any::<u8>(), 0..9000),
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..20),
            tail in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let mut edited = pristine.clone();
            for (index, byte) in changes {
                if !edited.is_empty() {
                    let index = index.index(edited.len());
                    edited[index] = byte;
                }
            }
            edited.extend(tail);
            let moves = [Move { to: 0, size: (pristine.len() / 2) as u64, from: (pristine.len() / 3) as u64 }];
            let unseen = Unseen { page_size: Some(4096), ..Unseen::default() };
            for (moves, unseen) in [(&[][..], Unseen::default()), (&moves, unseen)] {
                let mut edited = edited.clone();
                Journal { pristine: &pristine, parts: &Parts::whole(pristine.len()), moves, unseen: &unseen }.append(&mut edited);
                prop_assert_eq!(undo(&edited, &Parts::whole(edited.len())), Some((pristine.clone(), unseen)));
            }
        }

        #[test]
        fn never_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), small in any::<bool>()) {
            if small {
                for byte in &mut bytes {
                    *byte &= 7;
                }
            }
            bytes.extend_from_slice(MAGIC);
            undo(&bytes, &Parts::whole(bytes.len()));
        }
    }

    #[test]
    fn hides_what_was_there() {
        let mut edited = b"XXXXXXXXXXXXXXXXXXXXXXX".to_vec();
        let (parts, unseen) = (Parts::whole(23), Unseen::default());
        Journal { pristine: b"/secret/folder/of/build", parts: &parts, moves: &[], unseen: &unseen }
            .append(&mut edited);
        assert!(!edited.windows(6).any(|window| window == b"secret"));
    }
}
