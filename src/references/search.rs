//! Finds needles in bytes.
//!
//! Strings are found by their first bytes with vector instructions (`memchr`, `aho-corasick`), words by what samples of
//! the bytes say. Both look for UTF-16 too, which for these needles is every second byte zero.

use std::collections::BTreeMap;
use std::ops::Range;

use aho_corasick::{AhoCorasick, MatchKind};
use memchr::memmem::Finder;

use super::needles::{Needles, Words};
use super::words::WordFinder;

/// A needle among [`Needles`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Which {
    Pattern(usize),
    Literal(usize),
    /// Which list, and which of it.
    Word(usize, usize),
}

/// A place where a needle was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hit {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) which: Which,
    /// UTF-16 rather than plain bytes.
    pub(super) wide: bool,
}

/// Needles, prepared.
pub(super) struct Matcher<'a> {
    needles: &'a Needles,
    anchors: Anchors,
    /// What may begin with each anchor.
    groups: BTreeMap<Vec<u8>, Group>,
    words: Vec<WordFinder<'a>>,
    longest: usize,
    shortest: usize,
}

/// All that begins with one anchor. There may be thousands of it.
#[derive(Default)]
struct Group {
    /// Indices of patterns, and whether they are looked for in UTF-16.
    patterns: Vec<(usize, bool)>,
    /// Literals in each of their forms, sorted by their bytes.
    forms: Vec<Form>,
}

/// The bytes of a literal, as they are or in UTF-16.
struct Form {
    bytes: Vec<u8>,
    which: usize,
    wide: bool,
    /// The longest other form that this one begins with.
    inner: Option<usize>,
}

impl Group {
    /// Sorts the forms and leaves out those that are there already.
    fn finish(&mut self) {
        self.forms.sort_by(|a, b| (&a.bytes, a.which).cmp(&(&b.bytes, b.which)));
        self.forms.dedup_by(|second, first| second.bytes == first.bytes);
        for at in 1..self.forms.len() {
            let mut inner = Some(at - 1);
            while let Some(index) = inner.filter(|&index| !self.forms[at].bytes.starts_with(&self.forms[index].bytes)) {
                inner = self.forms[index].inner;
            }
            self.forms[at].inner = inner;
        }
    }

    /// All forms that `text` begins with. All that begin it begin each other, and the last form that is not greater.
    fn begin<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = &'a Form> {
        let after = self.forms.partition_point(|form| form.bytes.as_slice() <= text);
        let chain = std::iter::successors(after.checked_sub(1), |&index| self.forms[index].inner);
        chain.map(|index| &self.forms[index]).filter(move |form| text.starts_with(&form.bytes))
    }
}

/// Finds the first bytes of strings, all of one length.
enum Anchors {
    Few(Vec<Finder<'static>>),
    Many(Box<AhoCorasick>, Vec<Vec<u8>>),
}

/// Up to this many strings are cheaper to find one by one.
const FEW: usize = 4;
/// Bytes of a string that are enough to make it rare.
const ANCHOR: usize = 12;

impl<'a> Matcher<'a> {
    /// Prepares needles without flaws; the error is a reason.
    pub(super) fn new(needles: &'a Needles) -> Result<Self, String> {
        let heads = needles.patterns.iter().map(|one| &one.prefix);
        let heads = heads.chain(needles.literals.iter().map(|one| &one.bytes));
        let length = heads.map(Vec::len).min().unwrap_or(ANCHOR).min(ANCHOR);
        let mut groups: BTreeMap<Vec<u8>, Group> = BTreeMap::new();
        for wide in [false, true] {
            let form = |bytes: &Vec<u8>| if wide { widened(bytes) } else { bytes.clone() };
            for (index, pattern) in needles.patterns.iter().enumerate() {
                let anchor = form(&pattern.prefix)[..length].to_vec();
                groups.entry(anchor).or_default().patterns.push((index, wide));
            }
            for (which, literal) in needles.literals.iter().enumerate() {
                let bytes = form(&literal.bytes);
                let group = groups.entry(bytes[..length].to_vec()).or_default();
                group.forms.push(Form { bytes, which, wide, inner: None });
            }
        }
        groups.values_mut().for_each(Group::finish);
        let keys: Vec<Vec<u8>> = groups.keys().cloned().collect();
        let anchors = if keys.len() <= FEW {
            Anchors::Few(keys.iter().map(|key| Finder::new(key).into_owned()).collect())
        } else {
            let automaton = AhoCorasick::builder().match_kind(MatchKind::LeftmostFirst).build(&keys);
            Anchors::Many(Box::new(automaton.map_err(|error| error.to_string())?), keys)
        };
        let whole = |pattern: &super::Pattern| pattern.prefix.len() + pattern.length + pattern.most.max(1);
        let lengths = needles.literals.iter().map(|literal| literal.bytes.len());
        let lengths = lengths.chain(needles.words.iter().map(Words::length)).chain(needles.patterns.iter().map(whole));
        let least = needles.literals.iter().map(|literal| literal.bytes.len());
        let least = least.chain(needles.words.iter().map(Words::length));
        let least = least.chain(needles.patterns.iter().map(|pattern| pattern.prefix.len() + pattern.length));
        Ok(Self {
            needles,
            anchors,
            groups,
            words: needles.words.iter().map(WordFinder::new).collect(),
            longest: 2 * lengths.max().unwrap_or(0),
            shortest: least.min().unwrap_or(usize::MAX),
        })
    }

    /// The most bytes that have to be seen to know what begins at one byte.
    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    /// Fewer bytes than that hold nothing.
    pub(super) fn shortest(&self) -> usize {
        self.shortest
    }

    /// All hits, sorted. A word inside of what a pattern found is not told again.
    pub(super) fn find(&self, bytes: &[u8]) -> Vec<Hit> {
        let mut hits = Vec::new();
        match &self.anchors {
            Anchors::Few(finders) => {
                for finder in finders {
                    let mut from = 0;
                    while let Some(found) = finder.find(bytes.get(from..).unwrap_or_default()) {
                        self.check(bytes, from + found, finder.needle(), &mut hits);
                        from += found + 1;
                    }
                }
            }
            Anchors::Many(automaton, keys) => {
                let mut from = 0;
                while let Some(found) = automaton.find(bytes.get(from..).unwrap_or_default()) {
                    let at = from + found.start();
                    self.check(bytes, at, &keys[found.pattern().as_usize()], &mut hits);
                    from = at + 1;
                }
            }
        }
        for (list, finder) in self.words.iter().enumerate() {
            finder.find(bytes, |start, end, index, wide| {
                hits.push(Hit { start, end, which: Which::Word(list, index), wide });
            });
        }
        // The longer of two that begin at the same byte comes first.
        hits.sort_unstable_by(|a, b| (a.start, b.end, a.which).cmp(&(b.start, a.end, b.which)));
        let mut covered = 0;
        hits.retain(|hit| {
            if matches!(hit.which, Which::Pattern(_)) {
                covered = covered.max(hit.end);
            }
            !matches!(hit.which, Which::Word(..)) || hit.end > covered
        });
        hits
    }

    /// Looks what really begins at `at`, where an anchor was found.
    fn check(&self, bytes: &[u8], at: usize, anchor: &[u8], hits: &mut Vec<Hit>) {
        let Some(group) = self.groups.get(anchor) else { return };
        for form in group.begin(&bytes[at..]) {
            let which = Which::Literal(form.which);
            hits.push(Hit { start: at, end: at + form.bytes.len(), which, wide: form.wide });
        }
        for &(index, wide) in &group.patterns {
            let text = View { bytes, at, wide };
            if let Some(length) = text.pattern(&self.needles.patterns[index]) {
                hits.push(Hit { start: at, end: text.place(length - 1) + 1, which: Which::Pattern(index), wide });
            }
        }
    }

    /// The part of a hit that a replacement overwrites, in bytes of the file.
    pub(super) fn hidden(&self, hit: &Hit) -> impl Iterator<Item = usize> + use<> {
        let range: Range<usize> = match hit.which {
            Which::Literal(index) => self.needles.literals[index].hidden.clone(),
            Which::Pattern(index) => {
                let pattern = &self.needles.patterns[index];
                pattern.prefix.len()..pattern.prefix.len() + pattern.length
            }
            Which::Word(list, _) => 0..self.needles.words[list].length(),
        };
        let (start, stride) = (hit.start, if hit.wide { 2 } else { 1 });
        range.map(move |index| start + index * stride)
    }

    /// What was found, as a person is told.
    pub(super) fn shown(&self, bytes: &[u8], hit: &Hit) -> String {
        match hit.which {
            Which::Word(list, index) => self.needles.words[list].list()[index].1.clone(),
            Which::Literal(index) => String::from_utf8_lossy(&self.needles.literals[index].bytes).into_owned(),
            Which::Pattern(_) => {
                let stride = if hit.wide { 2 } else { 1 };
                let text: Vec<u8> = bytes[hit.start..hit.end].iter().copied().step_by(stride).collect();
                String::from_utf8_lossy(&text).into_owned()
            }
        }
    }
}

/// Characters from a place on: bytes, or every second one.
#[derive(Clone, Copy)]
struct View<'a> {
    bytes: &'a [u8],
    at: usize,
    wide: bool,
}

impl View<'_> {
    fn place(self, index: usize) -> usize {
        self.at + if self.wide { 2 * index } else { index }
    }

    fn get(self, index: usize) -> Option<u8> {
        let place = self.place(index);
        if self.wide && index > 0 && self.bytes.get(place - 1) != Some(&0) {
            return None;
        }
        self.bytes.get(place).copied()
    }

    fn literal(self, literal: &[u8]) -> Option<usize> {
        let same = literal.iter().enumerate().all(|(index, &byte)| self.get(index) == Some(byte));
        same.then_some(literal.len())
    }

    fn pattern(self, pattern: &super::Pattern) -> Option<usize> {
        let body = self.literal(&pattern.prefix)?;
        let tail = body + pattern.length;
        let is_body = |index| self.get(index).is_some_and(|byte| pattern.alphabet.has(byte));
        if !(body..tail).all(is_body) || is_body(tail) {
            return None;
        }
        let is_tail = |&index: &usize| self.get(index).is_some_and(|byte| pattern.tail.has(byte));
        Some(tail + (tail..tail + pattern.most).take_while(is_tail).count())
    }
}

/// The bytes with a zero between any two.
pub(super) fn widened(bytes: &[u8]) -> Vec<u8> {
    let mut wide: Vec<u8> = bytes.iter().flat_map(|&byte| [byte, 0]).collect();
    wide.pop();
    wide
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::needles::{Class, Pattern};
    use super::*;

    const HEX: &[u8] = b"0123456789abcdef";

    fn pattern() -> Pattern {
        let (alphabet, tail) = (Class::of(HEX), Class::of(b"-.xyz0123456789abcdef"));
        Pattern { prefix: b"/shop/".to_vec(), alphabet, length: 8, tail, most: 20 }
    }

    fn found(needles: &Needles, bytes: &[u8]) -> Vec<(usize, String, bool)> {
        let matcher = Matcher::new(needles).unwrap();
        let hits = matcher.find(bytes);
        hits.iter().map(|hit| (hit.start, matcher.shown(bytes, hit), hit.wide)).collect()
    }

    fn wide(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }

    #[test]
    fn patterns_need_exactly_their_run() {
        let needles = Needles::default().pattern(pattern());
        let bytes = b"x/shop/0123abcd-xyz /shop/0123abcde-x /shop/0123abc-x /shop/00000000";
        let expected = [(1, "/shop/0123abcd-xyz".to_owned(), false), (54, "/shop/00000000".to_owned(), false)];
        assert_eq!(found(&needles, bytes), expected);
    }

    #[test]
    fn overlapping_strings_are_all_found() {
        let names = ["/build", "/build/src", "/build/srk", "aaaa", "aaaaa", "bcde", "cdef"];
        let needles = names.iter().fold(Needles::default(), |needles, name| needles.literal(*name));
        let text: Vec<String> = found(&needles, b"/build/src aaaaaa bcdef").into_iter().map(|hit| hit.1).collect();
        assert_eq!(text, ["/build/src", "/build", "aaaaa", "aaaa", "aaaaa", "aaaa", "aaaa", "bcde", "cdef"]);
    }

    /// Many strings with one beginning: the time a hit takes must not grow with their number.
    #[test]
    fn many_strings_with_one_beginning_are_told_apart() {
        let name = |at: usize| format!("/build/source/of/everything/{at}");
        let needles = (0..3000).map(name).chain([name(7)]).fold(Needles::default(), Needles::literal);
        let text: String = (0..3000).map(|at| name(at) + "/x ").collect();
        let expected: Vec<usize> = (0..3000).map(|at| at.to_string().len()).collect();
        let found = found(&needles, text.as_bytes());
        assert_eq!(found.len(), expected.iter().sum::<usize>());
        assert_eq!(found.last().unwrap().1, name(2));
    }

    #[test]
    fn words_are_found_alone_and_not_twice() {
        let words = Words::new(
            Class::of(HEX),
            8,
            [(b"0123abcd".to_vec(), "one".to_owned()), (b"zzzzzzzz".to_vec(), "never".to_owned())],
        );
        let needles = Needles::default().pattern(pattern()).words(words);
        let expected =
            [(3, "one".to_owned(), false), (12, "/shop/0123abcd-x".to_owned(), false), (30, "one".to_owned(), false)];
        assert_eq!(found(&needles, b"fff0123abcd /shop/0123abcd-x 00123abcdf"), expected);
    }

    #[test]
    fn utf_16_is_found_at_any_byte() {
        let words = Words::new(Class::of(HEX), 8, [(b"0123abcd".to_vec(), "one".to_owned())]);
        let needles = Needles::default().pattern(pattern()).words(words).literal("/build");
        for shift in 0..3 {
            let mut bytes = vec![b'q'; shift];
            bytes.extend(wide("/build /shop/89abcdef-x 0123abcd"));
            let expected = [
                (shift, "/build".to_owned(), true),
                (shift + 14, "/shop/89abcdef-x".to_owned(), true),
                (shift + 48, "one".to_owned(), true),
            ];
            assert_eq!(found(&needles, &bytes), expected);
        }
    }

    proptest! {
        #[test]
        fn strings_are_found_as_windows_are(
            bytes in proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'b'), Just(0)], 0..120),
            strings in proptest::collection::btree_set("[ab]{4,7}", 1..6),
        ) {
            let needles = strings.iter().fold(Needles::default(), |needles, text| needles.literal(text.as_str()));
            let mut expected = Vec::new();
            for at in 0..bytes.len() {
                for text in &strings {
                    for (all, is_wide) in [(text.as_bytes().to_vec(), false), (widened(text.as_bytes()), true)] {
                        if bytes[at..].starts_with(&all) {
                            expected.push((at, text.clone(), is_wide));
                        }
                    }
                }
            }
            let mut result = found(&needles, &bytes);
            result.sort();
            expected.sort();
            prop_assert_eq!(result, expected);
        }
    }
}
