//! Finds words of a known length and alphabet: hashes in the names of inputs, hundreds of them at once.
//!
//! A word of thirty-two bytes cannot lie between two samples of eight that are twenty-five apart. So a third of the
//! bytes is looked at, eight in one comparison, and of those that could be in the alphabet their neighbours; where the
//! alphabet goes on for as long as a word, it is looked up.

use super::needles::{Class, Words};

/// A list of words, prepared.
pub(super) struct WordFinder<'a> {
    words: &'a Words,
    /// Beginnings of words, by [`key`].
    starts: Vec<bool>,
    ranges: Ranges,
}

/// Bytes that are looked at together.
const SAMPLE: usize = 8;
/// Words need this length for samples to meet them together with as many bytes on one side.
const LONG: usize = 3 * SAMPLE - 1;

impl<'a> WordFinder<'a> {
    pub(super) fn new(words: &'a Words) -> Self {
        let mut starts = vec![false; 1 << 16];
        for (word, _) in words.list() {
            starts[key(word)] = true;
        }
        Self { words, starts, ranges: Ranges::around(words.alphabet()) }
    }

    /// Calls `found` with start, end, index in the list, and whether it is UTF-16, for each word that is there.
    pub(super) fn find(&self, bytes: &[u8], mut found: impl FnMut(usize, usize, usize, bool)) {
        let length = self.words.length();
        if !self.words.list().is_empty() {
            self.find_plain(bytes, |at, index| found(at, at + length, index, false));
            self.find_wide(bytes, |at, index| found(at, at + 2 * length - 1, index, true));
        }
    }

    fn find_plain(&self, bytes: &[u8], mut found: impl FnMut(usize, usize)) {
        let (length, alphabet) = (self.words.length(), self.words.alphabet());
        let mut done = 0;
        let mut run = |at: usize, size: usize| {
            if at < done || !bytes[at..at + size].iter().all(|&byte| alphabet.has(byte)) {
                return;
            }
            let before = bytes[done..at].iter().rev().take_while(|&&byte| alphabet.has(byte)).count();
            let after = bytes[at..].iter().take_while(|&&byte| alphabet.has(byte)).count();
            done = at + after;
            for (index, word) in bytes[at - before..done].windows(length).enumerate() {
                if let Some(which) = self.look_up(word) {
                    found(at - before + index, which);
                }
            }
        };
        if length < LONG {
            return (0..bytes.len()).step_by(length).for_each(|at| run(at, 1));
        }
        let sample = |at: usize| bytes.get(at..at + SAMPLE)?.first_chunk();
        let may_hold = |at: usize| sample(at).is_some_and(|sample| self.ranges.may_hold(sample));
        let mut at = 0;
        while let Some(here) = sample(at) {
            // The rest of a word is longer on one side of the sample.
            if self.ranges.may_hold(here) && (at >= SAMPLE && may_hold(at - SAMPLE) || may_hold(at + SAMPLE)) {
                run(at, SAMPLE);
            }
            at += length - SAMPLE + 1;
        }
    }

    /// Of any two bytes inside of a word, one is zero and the other in the alphabet; looking at two bytes out of each
    /// word's length meets every word.
    fn find_wide(&self, bytes: &[u8], mut found: impl FnMut(usize, usize)) {
        let length = self.words.length();
        let mut done = 0;
        let mut word = vec![0; length];
        let mut run = |first: usize| {
            let Some((start, end)) = self.wide_run(bytes, first, done) else { return };
            for place in (start..end).step_by(2).take_while(|place| place + 2 * length - 1 <= end) {
                word.iter_mut().zip(bytes[place..].iter().step_by(2)).for_each(|(to, from)| *to = *from);
                if let Some(which) = self.look_up(&word) {
                    found(place, which);
                }
            }
            done = end;
        };
        for at in (0..bytes.len()).step_by(2 * length - 2) {
            match (bytes[at], bytes.get(at + 1)) {
                (_, Some(0)) => run(at),
                (0, Some(_)) => run(at + 1),
                _ => {}
            }
        }
    }

    /// The characters of the alphabet around the one at `first`, a zero between any two; not those before `done`.
    fn wide_run(&self, bytes: &[u8], first: usize, done: usize) -> Option<(usize, usize)> {
        let is_member = |at: usize| bytes.get(at).is_some_and(|&byte| self.words.alphabet().has(byte));
        if first < done || !is_member(first) {
            return None;
        }
        let mut start = first;
        while start >= done + 2 && bytes[start - 1] == 0 && is_member(start - 2) {
            start -= 2;
        }
        let mut end = first + 1;
        while bytes.get(end) == Some(&0) && is_member(end + 1) {
            end += 2;
        }
        Some((start, end))
    }

    /// Which word of the list it is.
    #[inline]
    fn look_up(&self, word: &[u8]) -> Option<usize> {
        if !self.starts[key(word)] {
            return None;
        }
        self.words.list().binary_search_by(|(known, _)| known.as_slice().cmp(word)).ok()
    }
}

/// Letters and digits differ in their lower five bits and one more.
fn key(word: &[u8]) -> usize {
    (usize::from(word[0]) << 10 ^ usize::from(word[1]) << 5 ^ usize::from(word[2])) & 0xffff
}

/// Two ranges of bytes that together hold an alphabet, and little else.
#[derive(Clone, Copy)]
struct Ranges {
    low: (u8, u8),
    high: (u8, u8),
}

impl Ranges {
    /// Split where the alphabet has its widest gap.
    fn around(alphabet: &Class) -> Self {
        let members: Vec<u8> = (0..=u8::MAX).filter(|&byte| alphabet.has(byte)).collect();
        let widest = (1..members.len()).max_by_key(|&at| members[at] - members[at - 1]).unwrap_or(0);
        let span = |part: &[u8]| match (part.first(), part.last()) {
            (Some(&first), Some(&last)) => (first, last - first),
            _ => (0, 0),
        };
        let (low, high) = members.split_at(widest);
        let high = span(high);
        Self { low: if low.is_empty() { high } else { span(low) }, high }
    }

    /// The compiler makes vector instructions of this, six times as fast, but not of an array that is passed by value.
    #[inline]
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "see above")]
    fn may_hold(self, part: &[u8; SAMPLE]) -> bool {
        let mut all = true;
        for &byte in part {
            let low = byte.wrapping_sub(self.low.0) <= self.low.1;
            let high = byte.wrapping_sub(self.high.0) <= self.high.1;
            all &= low | high;
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::search::widened;
    use super::*;

    /// Start, which word, and whether it is UTF-16.
    fn found(words: &Words, bytes: &[u8]) -> Vec<(usize, String, bool)> {
        let mut found = Vec::new();
        WordFinder::new(words).find(bytes, |start, end, index, wide| {
            let text = &words.list()[index].1;
            assert_eq!(end - start, if wide { 2 * words.length() - 1 } else { words.length() });
            found.push((start, text.clone(), wide));
        });
        found.sort();
        found
    }

    /// The definition: every window is compared with every word.
    fn everywhere(list: &[(Vec<u8>, String)], bytes: &[u8]) -> Vec<(usize, String, bool)> {
        let mut expected = Vec::new();
        for at in 0..bytes.len() {
            for (word, shown) in list {
                for (all, is_wide) in [(word.clone(), false), (widened(word), true)] {
                    if bytes[at..].starts_with(&all) {
                        expected.push((at, shown.clone(), is_wide));
                    }
                }
            }
        }
        expected.sort();
        expected
    }

    proptest! {
        #[test]
        fn skipping_finds_what_looking_everywhere_finds(
            bytes in proptest::collection::vec(prop_oneof![Just(b'0'), Just(b'1'), Just(0), Just(b'x')], 0..200),
        ) {
            let list = ["0101", "1111", "0000", "0110"].map(|word| (word.as_bytes().to_vec(), word.to_owned()));
            let words = Words::new(Class::of(b"01"), 4, list.clone());
            prop_assert_eq!(found(&words, &bytes), everywhere(&list, &bytes));
        }

        /// Words that samples can meet, of any such length: some that are there, one that is not.
        #[test]
        fn long_words_are_found_wherever_they_are(
            parts in proptest::collection::vec((0_usize..80, "[x\\x00]{1,3}", any::<u64>(), any::<bool>()), 1..6),
            picks in proptest::collection::vec(any::<prop::sample::Index>(), 1..4),
            length in 20_usize..36,
        ) {
            let mut bytes = Vec::new();
            for (size, between, bits, is_wide) in parts {
                let bit = |at: usize| bits.rotate_left(u32::try_from(at % 64).unwrap() * 7) & 1 == 1;
                let run: Vec<u8> = (0..size).map(|at| b"01"[usize::from(bit(at))]).collect();
                bytes.extend(if is_wide { widened(&run) } else { run });
                bytes.extend(between.as_bytes());
            }
            let windows: Vec<Vec<u8>> = (0..bytes.len())
                .flat_map(|at| [(at, 1), (at, 2)])
                .map(|(at, stride)| bytes[at..].iter().copied().step_by(stride).take(length).collect())
                .collect();
            let mut list: Vec<(Vec<u8>, String)> = picks.iter().map(|pick| (pick.get(&windows).clone(), "w".to_owned())).collect();
            list.retain(|(word, _)| word.len() == length && word.iter().all(|byte| b"01".contains(byte)));
            list.sort();
            list.dedup();
            let words = Words::new(Class::of(b"01"), length, list.clone());
            prop_assert_eq!(found(&words, &bytes), everywhere(&list, &bytes));
        }
    }
}
