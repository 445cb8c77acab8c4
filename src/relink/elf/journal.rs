//! The undo journal behind the end of an edited file.
//!
//! Layout, all numbers 64-bit little-endian: records (offset, length, the pristine bytes there, inverted), then
//! the length of all records, the length of the pristine file, the length of the edited file without journal,
//! and a magic. Inverted, because a scanner for paths must not find in the journal what an edit removed.
//! Strippers drop it, since no section and no segment covers it; the stripped file is then the pristine one.

use std::ops::Range;

use super::parts::Parts;

const MAGIC: &[u8; 16] = b"\0akb-elf-undo\x02\0\0";
const NUMBER: usize = size_of::<u64>();
const FOOTER: usize = 3 * NUMBER + MAGIC.len();
/// Equal bytes between two differences that cost less than a record of their own.
const GAP: usize = 24;

/// Appends what brings `pristine` back to `edited`, which must be at least as long, and equal outside of `parts`.
pub(super) fn append(pristine: &[u8], parts: &Parts, edited: &mut Vec<u8>) {
    let mut records = Vec::new();
    for (start, end) in differences(pristine, edited, parts) {
        put(&mut records, start);
        put(&mut records, end - start);
        records.extend(pristine[start..end].iter().map(|byte| !byte));
    }
    let (size, edited_size) = (records.len(), edited.len());
    edited.extend_from_slice(&records);
    put(edited, size);
    put(edited, pristine.len());
    put(edited, edited_size);
    edited.extend_from_slice(MAGIC);
}

/// The pristine bytes, if a journal ends `bytes`. Whoever takes them must check that the edit leads back.
/// Of `bytes`, `parts` were read; so they are in the result.
pub(super) fn undo(bytes: &[u8], parts: &Parts) -> Option<Vec<u8>> {
    let footer_at = bytes.len().checked_sub(FOOTER)?;
    let mut footer = &bytes[footer_at..];
    let size = take(&mut footer)?;
    let pristine_size = take(&mut footer)?;
    let edited_size = take(&mut footer)?;
    let records_at = footer_at.checked_sub(size)?;
    if footer != MAGIC || records_at != edited_size || pristine_size > edited_size {
        return None;
    }
    let mut pristine = parts.copy(bytes, pristine_size);
    let mut records = &bytes[records_at..footer_at];
    while !records.is_empty() {
        let start = take(&mut records)?;
        let length = take(&mut records)?;
        let (inverted, rest) = records.split_at_checked(length)?;
        for (byte, inverted) in pristine.get_mut(start..start.checked_add(length)?)?.iter_mut().zip(inverted) {
            *byte = !inverted;
        }
        records = rest;
    }
    Some(pristine)
}

/// What lies behind the pristine bytes, if a journal ends `bytes`.
pub(super) fn grown(bytes: &[u8]) -> Option<Range<usize>> {
    let (mut footer, magic) = bytes.get(bytes.len().checked_sub(FOOTER)?..)?.split_at_checked(3 * NUMBER)?;
    take(&mut footer)?;
    let pristine_size = take(&mut footer)?;
    (magic == MAGIC && pristine_size <= bytes.len()).then_some(pristine_size..bytes.len())
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
            append(&pristine, &Parts::whole(pristine.len()), &mut edited);
            prop_assert_eq!(undo(&edited, &Parts::whole(edited.len())), Some(pristine));
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
        append(b"/secret/folder/of/build", &Parts::whole(23), &mut edited);
        assert!(!edited.windows(6).any(|window| window == b"secret"));
    }
}
