//! The undo journal behind the end of an edited file.
//!
//! Layout, all numbers 64-bit little-endian: records, then the length of all records, the length of the pristine
//! file, the length of the edited file without journal, and a magic. A record is an offset, a length, and the
//! pristine bytes there, inverted, because a scanner for paths must not find in the journal what an edit removed.
//! An offset of [`COPY`] announces an offset, a length, and where in the edited file these bytes are; one of
//! [`UNSEEN`] a length and, inverted, what the edited file does not tell of its state.
//! Strippers drop it, since no section and no segment covers it; the stripped file is then the pristine one.

use super::state::Unseen;

const MAGIC: &[u8; 16] = b"\0akb-elf-undo\x02\0\0";
const NUMBER: usize = size_of::<u64>();
const FOOTER: usize = 3 * NUMBER + MAGIC.len();
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

/// Appends what brings `pristine` back to `edited`, which must be at least as long.
pub(super) fn append(pristine: &[u8], edited: &mut Vec<u8>, moves: &[Move], unseen: &Unseen) {
    let mut records = Vec::new();
    let mut start = Vec::new();
    for part in moves {
        let numbers = [part.to, part.size, part.from].map(usize::try_from);
        let [Ok(to), Ok(size), Ok(from)] = numbers else { continue };
        if start.is_empty() {
            start.extend_from_slice(&edited[..pristine.len()]);
        }
        if copy(&mut start, edited, to, size, from).is_some() {
            [COPY, to, size, from].into_iter().for_each(|number| put(&mut records, number));
        }
    }
    let base = if start.is_empty() { edited.as_slice() } else { &start };
    for (start, end) in differences(pristine, base) {
        put(&mut records, start);
        put(&mut records, end - start);
        records.extend(pristine[start..end].iter().map(|byte| !byte));
    }
    if *unseen != Unseen::default() {
        // It holds texts and numbers: there is nothing that JSON could not say.
        let text = serde_json::to_vec(unseen).unwrap_or_default();
        put(&mut records, UNSEEN);
        put(&mut records, text.len());
        records.extend(text.iter().map(|byte| !byte));
    }
    let (size, edited_size) = (records.len(), edited.len());
    edited.extend_from_slice(&records);
    put(edited, size);
    put(edited, pristine.len());
    put(edited, edited_size);
    edited.extend_from_slice(MAGIC);
}

/// The pristine bytes, and what the file does not tell of its state, if a journal ends `bytes`. Whoever takes
/// them must check that the edit leads back.
pub(super) fn undo(bytes: &[u8]) -> Option<(Vec<u8>, Unseen)> {
    let footer_at = bytes.len().checked_sub(FOOTER)?;
    let mut footer = &bytes[footer_at..];
    let size = take(&mut footer)?;
    let pristine_size = take(&mut footer)?;
    let edited_size = take(&mut footer)?;
    let records_at = footer_at.checked_sub(size)?;
    if footer != MAGIC || records_at != edited_size || pristine_size > edited_size {
        return None;
    }
    let mut pristine = bytes[..pristine_size].to_vec();
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

/// Ranges of `pristine` that differ in `edited`, near ones joined.
fn differences(pristine: &[u8], edited: &[u8]) -> Vec<(usize, usize)> {
    const BLOCK: usize = 4096;
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for (number, (old, new)) in pristine.chunks(BLOCK).zip(edited.chunks(BLOCK)).enumerate() {
        if new.starts_with(old) {
            continue;
        }
        for index in (0..old.len()).filter(|&index| old[index] != new[index]) {
            let at = number * BLOCK + index;
            match ranges.last_mut() {
                Some((_, end)) if at - *end < GAP => *end = at + 1,
                _ => ranges.push((at, at + 1)),
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
                append(&pristine, &mut edited, moves, &unseen);
                prop_assert_eq!(undo(&edited), Some((pristine.clone(), unseen)));
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
            undo(&bytes);
        }
    }

    #[test]
    fn hides_what_was_there() {
        let mut edited = b"XXXXXXXXXXXXXXXXXXXXXXX".to_vec();
        append(b"/secret/folder/of/build", &mut edited, &[], &Unseen::default());
        assert!(!edited.windows(6).any(|window| window == b"secret"));
    }
}
