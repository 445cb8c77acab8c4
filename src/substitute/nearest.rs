//! The line that is most like a text that was not found.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// Characters of the text that was looked for, and bytes of a line, that are compared at once.
const NEEDLE: usize = 300;
const LINE: usize = 10_000;

/// Lines whose differences are counted exactly.
const CANDIDATES: usize = 8;

/// Characters of a line that are shown.
const SHOWN: usize = 100;

/// A line of a file, and where it differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Nearest {
    /// The file.
    pub path: PathBuf,
    /// The line, counted from one.
    pub line: usize,
    /// What was expected, the line of it that differs.
    pub expected: String,
    /// The part of the line that is shown.
    pub found: String,
    /// Its characters that are alike or differ.
    pub like: (usize, usize),
    /// Those among them that differ; empty where something is missing.
    pub differs: (usize, usize),
}

impl fmt::Display for Nearest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let marks: String = (0..self.like.1.max(self.differs.0 + 1))
            .map(|at| match at {
                at if at == self.differs.0 || (self.differs.0..self.differs.1).contains(&at) => '^',
                at if at >= self.like.0 => '~',
                _ => ' ',
            })
            .collect();
        write!(f, "{}:{}\n    expected  {}\n", self.path.display(), self.line, self.expected)?;
        write!(f, "    found     {}\n              {marks}", self.found)
    }
}

/// Looks for the line that is most like `needle`.
pub(super) struct Search {
    /// The line of the needle that says most stands for a text of several.
    wanted: Vec<char>,
    grams: Vec<[u8; 3]>,
    /// Which hashes grams have: of most bytes of a file nothing more is asked.
    hashes: Vec<bool>,
    /// The best lines: score, order of appearance, file, line number, text.
    best: Vec<(usize, usize, PathBuf, usize, Vec<char>)>,
    seen: usize,
}

impl Search {
    /// `None` where `needle` is too short to be like anything.
    pub(super) fn new(needle: &str) -> Option<Self> {
        let lines = needle.split('\n').map(|line| line.trim_end_matches('\r').chars().take(NEEDLE).collect());
        let longest = |line: &Vec<char>| line.iter().filter(|c| !c.is_whitespace()).count();
        let wanted: Vec<char> = lines.max_by_key(longest)?;
        let bytes = wanted.iter().collect::<String>().into_bytes();
        let grams: BTreeSet<[u8; 3]> = bytes.windows(3).filter_map(|gram| gram.try_into().ok()).collect();
        let grams: Vec<[u8; 3]> = grams.into_iter().collect();
        let mut hashes = vec![false; 1 << 16];
        for gram in &grams {
            hashes[hash(*gram)] = true;
        }
        (!grams.is_empty()).then(|| Self { wanted, grams, hashes, best: Vec::new(), seen: 0 })
    }

    /// Looks at one file.
    pub(super) fn look(&mut self, path: &Path, bytes: &[u8]) {
        // For every gram, the line in which it was last.
        let mut last = vec![0; self.grams.len()];
        for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            let mut start = 0;
            loop {
                let end = line.len().min(start + LINE);
                self.part(path, index + 1, &line[start..end], &mut last);
                if end == line.len() {
                    break;
                }
                // Nothing that the needle is like is cut at both ends.
                start = end - 4 * NEEDLE;
            }
        }
    }

    /// Looks at a line, or a part of one.
    fn part(&mut self, path: &Path, number: usize, part: &[u8], last: &mut [usize]) {
        self.seen += 1;
        let mut score = 0;
        for gram in part.windows(3).filter_map(|gram| gram.first_chunk()) {
            if self.hashes[hash(*gram)]
                && let Ok(which) = self.grams.binary_search(gram)
            {
                score += usize::from(last[which] != self.seen);
                last[which] = self.seen;
            }
        }
        let worst = self.best.last().filter(|_| self.best.len() == CANDIDATES).map_or(0, |(score, ..)| *score);
        if score * 4 < self.grams.len() || score <= worst {
            return;
        }
        let text = String::from_utf8_lossy(part).trim_end_matches('\r').chars().collect();
        self.best.push((score, self.seen, path.to_owned(), number, text));
        self.best.sort_by_key(|(score, seen, ..)| (std::cmp::Reverse(*score), *seen));
        self.best.truncate(CANDIDATES);
    }

    /// The nearest line of all that were looked at.
    pub(super) fn found(self) -> Option<Nearest> {
        let aligned = self.best.into_iter().map(|(_, seen, path, line, text)| {
            let (distance, start, end) = align(&self.wanted, &text);
            (distance, seen, path, line, text, start, end)
        });
        let (_, _, path, line, text, start, end) = aligned.min_by_key(|(distance, seen, ..)| (*distance, *seen))?;
        Some(show(path, line, &self.wanted, &text, start, end))
    }
}

/// Of sixteen bits.
fn hash(gram: [u8; 3]) -> usize {
    usize::from(gram[0]) << 8 ^ usize::from(gram[1]) << 4 ^ usize::from(gram[2])
}

/// What it costs that a character of the wanted text is another, or is not there. One more in the line costs 1: a path
/// that is longer is more like the wanted one than its end alone.
const CHANGED: usize = 2;

/// The part of `line` that is most like `wanted`, with what its differences cost.
fn align(wanted: &[char], line: &[char]) -> (usize, usize, usize) {
    // For every end in `line`: distance, and where the part begins. A part may begin anywhere at no cost.
    let mut row: Vec<(usize, usize)> = (0..=line.len()).map(|start| (0, start)).collect();
    for (index, c) in wanted.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = (CHANGED * (index + 1), 0);
        for end in 1..=line.len() {
            let replaced = (diagonal.0 + CHANGED * usize::from(line[end - 1] != *c), diagonal.1);
            diagonal = row[end];
            let missing = (diagonal.0 + CHANGED, diagonal.1);
            let more = (row[end - 1].0 + 1, row[end - 1].1);
            row[end] = replaced.min(missing).min(more);
        }
    }
    let best = row.iter().enumerate().min_by_key(|(end, (distance, start))| (*distance, *start, *end));
    best.map_or((usize::MAX, 0, 0), |(end, (distance, start))| (*distance, *start, end))
}

fn show(path: PathBuf, line: usize, wanted: &[char], text: &[char], start: usize, end: usize) -> Nearest {
    let part = &text[start..end];
    let head = wanted.iter().zip(part).take_while(|(a, b)| a == b).count();
    let most = wanted.len().min(part.len()) - head;
    let tail = wanted.iter().rev().zip(part.iter().rev()).take(most).take_while(|(a, b)| a == b).count();
    // The part and some of the line around it, so that it can be recognised.
    let blank = text.iter().take_while(|c| c.is_whitespace()).count();
    let from = if end <= blank + SHOWN { blank } else { (start + head).saturating_sub(SHOWN / 4) }.min(start + head);
    let until = text.len().min(from + SHOWN.max((end - from).min(2 * SHOWN)));
    let clean = |c: &char| if c.is_control() { ' ' } else { *c };
    let mut found: String = text[from..until].iter().map(clean).collect();
    if until < text.len() {
        found.push('…');
    }
    let at = |offset: usize| offset.clamp(from, until) - from;
    Nearest {
        path,
        line,
        expected: wanted.iter().map(clean).collect(),
        found,
        like: (at(start), at(end)),
        differs: (at(start + head), at(end - tail)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nearest(needle: &str, text: &str) -> String {
        let mut search = Search::new(needle).unwrap();
        search.look(Path::new("a.py"), text.as_bytes());
        search.found().map_or("nothing".to_owned(), |nearest| nearest.to_string())
    }

    #[test]
    fn the_difference_is_marked() {
        let text = "import os\n\n    BINARY = \"/usr/local/bin/xmlsec1\"\nOTHER = \"/usr/bin/xmllint\"\n";
        insta::assert_snapshot!(nearest("/usr/bin/xmlsec1", text), @r#"
        a.py:3
            expected  /usr/bin/xmlsec1
            found     BINARY = "/usr/local/bin/xmlsec1"
                                ~~~~~^^^^^^~~~~~~~~~~~
        "#);
        insta::assert_snapshot!(nearest("x = compute(1)", "x = compute()\n"), @r"
        a.py:1
            expected  x = compute(1)
            found     x = compute()
                      ~~~~~~~~~~~~^
        ");
        insta::assert_snapshot!(nearest("def f():\n    return \"library\"\n", "def f():\n    return 'library'\n"), @r#"
        a.py:2
            expected      return "library"
            found     return 'library'
                      ~~~~~~~^^^^^^^^
        "#);
    }

    #[test]
    fn nothing_is_like_it() {
        assert_eq!(nearest("/usr/bin/xmlsec1", "print(1)\n"), "nothing");
        assert!(Search::new("ab").is_none());
    }

    /// Such as a script that was made small.
    #[test]
    fn a_long_line_is_searched_to_its_end() {
        for before in [0, LINE - 30, LINE, 5 * LINE + 7] {
            let text = format!("{}var path=\"/usr/share/fonts\";{}", "x".repeat(before), "y".repeat(2 * LINE));
            let found = nearest("/usr/share/font/", &text);
            assert!(found.starts_with("a.py:1\n") && found.contains("/usr/share/fonts"), "{before}: {found}");
        }
    }

    #[test]
    fn alignment_is_the_least_change() {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        for (wanted, line, expected) in [
            ("abc", "xxabcxx", (0, 2, 5)),
            ("abc", "xacx", (2, 1, 3)),
            ("/ab/cde", "(/ab/x/cde)", (2, 1, 10)),
            ("", "abc", (0, 0, 0)),
        ] {
            assert_eq!(align(&chars(wanted), &chars(line)), expected, "{wanted} {line}");
        }
    }
}
