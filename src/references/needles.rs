//! What is looked for.

use std::fmt;
use std::ops::Range;

/// A set of bytes, such as an alphabet.
#[derive(Clone, PartialEq, Eq)]
pub struct Class([bool; 256]);

impl Class {
    /// The set of these bytes.
    pub const fn of(bytes: &[u8]) -> Self {
        let mut set = [false; 256];
        let mut index = 0;
        while index < bytes.len() {
            set[bytes[index] as usize] = true;
            index += 1;
        }
        Self(set)
    }

    /// Whether `byte` is in it.
    #[inline]
    pub const fn has(&self, byte: u8) -> bool {
        self.0[byte as usize]
    }
}

impl fmt::Debug for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let members = (0..=u8::MAX).filter(|&byte| self.has(byte)).map(char::from);
        write!(f, "Class({:?})", members.collect::<String>())
    }
}

/// A string of bytes that is known beforehand: the path of an input, of a build folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Literal {
    /// What is found: at least [`SHORTEST`] bytes.
    pub bytes: Vec<u8>,
    /// The part of it that a replacement overwrites; of that, letters and digits only.
    pub hidden: Range<usize>,
}

/// Words of one length and alphabet that are known beforehand, any number of them: hashes in the names of inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    alphabet: Class,
    length: usize,
    /// Each word and what it stands for, sorted.
    list: Vec<(Vec<u8>, String)>,
}

impl Words {
    /// Words, each with the text by which a person is told what was found. Those that are not of this length and
    /// alphabet can never be found, and are left out.
    pub fn new(alphabet: Class, length: usize, words: impl IntoIterator<Item = (Vec<u8>, String)>) -> Self {
        let fits = |word: &[u8]| word.len() == length && word.iter().all(|&byte| alphabet.has(byte));
        let mut list: Vec<(Vec<u8>, String)> = words.into_iter().filter(|(word, _)| fits(word)).collect();
        list.sort_unstable();
        list.dedup_by(|a, b| a.0 == b.0);
        Self { alphabet, length, list }
    }

    pub(super) fn alphabet(&self) -> &Class {
        &self.alphabet
    }

    pub(super) fn length(&self) -> usize {
        self.length
    }

    pub(super) fn list(&self) -> &[(Vec<u8>, String)] {
        &self.list
    }
}

/// Paths of a form: a prefix, exactly `length` bytes of an alphabet, then any number of bytes of another one.
///
/// A longer run of the alphabet is no match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// Such as the path of a folder, with its slash; at least [`SHORTEST`] bytes.
    pub prefix: Vec<u8>,
    /// What follows it.
    pub alphabet: Class,
    /// How many bytes of it. A replacement overwrites these.
    pub length: usize,
    /// What may follow then and belongs to the name.
    pub tail: Class,
    /// How many bytes of that at most.
    pub most: usize,
}

/// Shorter needles would be found everywhere by chance.
pub const SHORTEST: usize = 4;

/// Everything that is looked for in one pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needles {
    /// Known strings.
    pub literals: Vec<Literal>,
    /// Known words.
    pub words: Vec<Words>,
    /// Forms.
    pub patterns: Vec<Pattern>,
}

impl Needles {
    /// Adds a known string, all of which a replacement overwrites.
    #[must_use]
    pub fn literal(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        let hidden = 0..bytes.len();
        self.literals.push(Literal { bytes, hidden });
        self
    }

    /// Adds known words.
    #[must_use]
    pub fn words(mut self, words: Words) -> Self {
        self.words.push(words);
        self
    }

    /// Adds a form.
    #[must_use]
    pub fn pattern(mut self, pattern: Pattern) -> Self {
        self.patterns.push(pattern);
        self
    }

    /// Whether nothing is looked for.
    pub fn is_empty(&self) -> bool {
        self.literals.is_empty() && self.patterns.is_empty() && self.words.iter().all(|words| words.list.is_empty())
    }

    /// What is wrong with one of them: its text and why.
    pub(super) fn flaw(&self) -> Option<(String, &'static str)> {
        let short = "is shorter than 4 bytes and would be found everywhere";
        let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        for Literal { bytes, hidden } in &self.literals {
            if bytes.len() < SHORTEST {
                return Some((shown(bytes), short));
            }
            if hidden.start > hidden.end || hidden.end > bytes.len() {
                return Some((shown(bytes), "hides a part that it does not have"));
            }
        }
        for pattern in &self.patterns {
            if pattern.prefix.len() < SHORTEST {
                return Some((shown(&pattern.prefix), short));
            }
            if pattern.length == 0 {
                return Some((shown(&pattern.prefix), "is a prefix with nothing behind it"));
            }
        }
        let tiny = self.words.iter().find(|words| words.length < SHORTEST);
        tiny.map(|words| (format!("words of {} bytes", words.length), short))
    }
}
