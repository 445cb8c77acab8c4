//! The undo journal behind the end of an edited file.
//!
//! Layout, all numbers 64-bit little-endian: records (offset, length, the pristine bytes there, inverted), then
//! the length of all records, the length of the pristine file, the length of the edited file without journal,
//! and a magic. Inverted, because a scanner for paths must not find in the journal what an edit removed.
//! Strippers drop it, since no section and no segment covers it; the stripped file is then the pristine one.

const MAGIC: &[u8; 16] = b"\0akb-elf-undo\x02\0\0";
const NUMBER: usize = size_of::<u64>();
const FOOTER: usize = 3 * NUMBER + MAGIC.len();
/// Equal bytes between two differences that cost less than a record of their own.
const GAP: usize = 24;

/// Appends what brings `pristine` back to `edited`, which must be at least as long.
pub(super) fn append(pristine: &[u8], edited: &mut Vec<u8>) {
    let mut records = Vec::new();
    for (start, end) in differences(pristine, edited) {
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
pub(super) fn undo(bytes: &[u8]) -> Option<Vec<u8>> {
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
            append(&pristine, &mut edited);
            prop_assert_eq!(undo(&edited), Some(pristine));
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
        append(b"/secret/folder/of/build", &mut edited);
        assert!(!edited.windows(6).any(|window| window == b"secret"));
    }
}
