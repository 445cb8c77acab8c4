//! Bytecode that names the hash of its source (PEP 552) after the source was edited.

use std::fs;
use std::path::{Path, PathBuf};

use super::ReferencesError;
use super::scan::io_error;
use crate::tree;

/// Magic, flags, hash.
const HEADER: usize = 16;
/// The flag that says that a hash follows, not time and size.
const HASH_BASED: u32 = 1;

/// A bytecode file and the header that it needs now.
pub(super) type Fresh = (PathBuf, [u8; HEADER]);

/// The bytecode files of `source` (a path) that were made from `old` and say so by its hash, with a header that says
/// `new`. Those that were not made from `old` are stale, and stay so.
pub(super) fn fresh(source: &Path, old: &[u8], new: &[u8]) -> Result<Vec<Fresh>, ReferencesError> {
    let (Some(folder), Some(stem)) = (source.parent(), source.file_stem()) else { return Ok(Vec::new()) };
    let cache = folder.join("__pycache__");
    if source.extension().is_none_or(|extension| extension != "py") || !cache.is_dir() {
        return Ok(Vec::new());
    }
    let mut all = Vec::new();
    for path in tree::list(&cache)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let tag = name.strip_prefix(&*stem.to_string_lossy()).and_then(|rest| rest.strip_prefix('.'));
        if tag.and_then(|tag| tag.strip_suffix(".pyc")).is_none_or(str::is_empty) {
            continue;
        }
        let bytes = fs::read(&path).map_err(io_error("read", &path))?;
        if let Some(header) = bytes.first_chunk::<HEADER>().and_then(|header| renewed(*header, old, new)) {
            all.push((path, header));
        }
    }
    Ok(all)
}

/// Which SipHash an interpreter uses shows by which one the header has: 1-3 since Python 3.11, 2-4 before.
fn renewed(mut header: [u8; HEADER], old: &[u8], new: &[u8]) -> Option<[u8; HEADER]> {
    let word = |at: usize| header[at..].first_chunk::<4>().copied().map(u32::from_le_bytes);
    let (magic, flags) = (word(0)?, word(4)?);
    let stored = header[8..].first_chunk::<8>().copied().map(u64::from_le_bytes)?;
    let hash = [siphash::<1, 3>, siphash::<2, 4>].into_iter().find(|hash| hash(u64::from(magic), old) == stored)?;
    if flags & HASH_BASED == 0 {
        return None;
    }
    header[8..].copy_from_slice(&hash(u64::from(magic), new).to_le_bytes());
    Some(header)
}

/// SipHash with `C` rounds a word and `D` at the end, its key being `key` and zero.
fn siphash<const C: usize, const D: usize>(key: u64, bytes: &[u8]) -> u64 {
    let mut state =
        [key ^ 0x736f_6d65_7073_6575, 0x646f_7261_6e64_6f6d, key ^ 0x6c79_6765_6e65_7261, 0x7465_6462_7974_6573];
    let mut word = |word: u64, rounds: usize, end: bool| {
        if end {
            state[2] ^= 0xff;
        }
        state[3] ^= word;
        (0..rounds).for_each(|_| round(&mut state));
        state[0] ^= word;
        state[0] ^ state[1] ^ state[2] ^ state[3]
    };
    let (words, rest) = bytes.as_chunks::<8>();
    for chunk in words {
        word(u64::from_le_bytes(*chunk), C, false);
    }
    // The last word ends with the length, of which one byte counts.
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    last[7] = (bytes.len() & 0xff).try_into().unwrap_or(0);
    word(u64::from_le_bytes(last), C, false);
    word(0, D, true)
}

fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// The hash of the interpreter of this machine, from 3.11 on.
    #[test]
    fn hashes_as_python_does() {
        let script = "import _imp, sys\nprint(*[_imp.source_hash(3495, bytes(range(n))).hex() for n in range(40)])";
        let output = Command::new("python3").args(["-c", script]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let expected: Vec<&str> = text.split_whitespace().collect();
        assert_eq!(expected.len(), 40);
        let bytes: Vec<u8> = (0..40).collect();
        for (length, expected) in expected.into_iter().enumerate() {
            let hash = siphash::<1, 3>(3495, &bytes[..length]).to_le_bytes();
            assert_eq!(hash.map(|byte| format!("{byte:02x}")).concat(), expected, "{length} bytes");
        }
    }

    /// The test vector of the paper has another key; this one is from Python 3.8's `_imp.source_hash`.
    #[test]
    fn timestamps_are_left_alone() {
        let mut header = [0; HEADER];
        header[8..].copy_from_slice(&siphash::<1, 3>(0, b"old").to_le_bytes());
        assert_eq!(renewed(header, b"old", b"new"), None);
        header[4] = 3;
        let renewed = renewed(header, b"old", b"new").unwrap();
        assert_eq!(renewed[8..], siphash::<1, 3>(0, b"new").to_le_bytes());
        assert_eq!(super::renewed(header, b"other", b"new"), None);
    }
}
