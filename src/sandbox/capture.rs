//! Bytes of two pipes become lines, and one text of bounded size.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt::Write as _;

use super::Stream;

/// A line longer than this is passed on in pieces, so that a child cannot make us hold what it likes.
const LONGEST_LINE: usize = 64 * 1024;

/// Cuts one stream into lines. Bytes that are not UTF-8, and control characters, become U+FFFD.
#[derive(Default)]
struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    fn push(&mut self, bytes: &[u8], line: &mut dyn FnMut(&str)) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.partial.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.partial.len() >= LONGEST_LINE {
                self.flush(line);
            }
        }
    }

    fn flush(&mut self, line: &mut dyn FnMut(&str)) {
        if self.partial.is_empty() {
            return;
        }
        let text = self.partial.strip_suffix(b"\n").unwrap_or(&self.partial);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        line(&shown(&String::from_utf8_lossy(text)));
        self.partial.clear();
    }
}

/// A child must not steer the terminal that its output is shown on.
fn shown(text: &str) -> Cow<'_, str> {
    let steers = |c: char| c.is_control() && c != '\t';
    if text.contains(steers) { text.replace(steers, "\u{fffd}").into() } else { text.into() }
}

/// Both streams of a child: passes each line on and keeps them all, up to a bound.
pub(super) struct Capture<'a> {
    stdout: Lines,
    stderr: Lines,
    kept: Kept,
    on_line: &'a mut dyn FnMut(Stream, &str),
}

impl<'a> Capture<'a> {
    pub(super) fn new(on_line: &'a mut dyn FnMut(Stream, &str)) -> Self {
        Self { stdout: Lines::default(), stderr: Lines::default(), kept: Kept::new(48 << 20, 16 << 20), on_line }
    }

    pub(super) fn push(&mut self, stream: Stream, bytes: &[u8]) {
        let Self { stdout, stderr, kept, on_line } = self;
        let lines = if stream == Stream::Stdout { stdout } else { stderr };
        lines.push(bytes, &mut |line| {
            kept.push(line);
            on_line(stream, line);
        });
    }

    /// All that was kept, after what was left without a newline.
    pub(super) fn finish(mut self) -> String {
        for (stream, lines) in [(Stream::Stdout, &mut self.stdout), (Stream::Stderr, &mut self.stderr)] {
            lines.flush(&mut |line| {
                self.kept.push(line);
                (self.on_line)(stream, line);
            });
        }
        self.kept.finish()
    }
}

/// The first and the last part of a long text: errors stand at the end, their cause often at the start.
struct Kept {
    head: String,
    head_limit: usize,
    tail: VecDeque<String>,
    tail_size: usize,
    tail_limit: usize,
    dropped: usize,
}

impl Kept {
    fn new(head_limit: usize, tail_limit: usize) -> Self {
        Self { head: String::new(), head_limit, tail: VecDeque::new(), tail_size: 0, tail_limit, dropped: 0 }
    }

    fn push(&mut self, line: &str) {
        if self.tail.is_empty() && self.head.len() + line.len() < self.head_limit {
            self.head.push_str(line);
            self.head.push('\n');
            return;
        }
        self.tail_size += line.len() + 1;
        self.tail.push_back(line.to_owned());
        while self.tail_size > self.tail_limit {
            let Some(first) = self.tail.pop_front() else { break };
            self.tail_size -= first.len() + 1;
            self.dropped += 1;
        }
    }

    fn finish(mut self) -> String {
        if self.dropped > 0 {
            let _ = writeln!(self.head, "[akb: {} lines were left out here]", self.dropped);
        }
        for line in self.tail {
            self.head.push_str(&line);
            self.head.push('\n');
        }
        self.head
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_survive_any_cut() {
        let text = "one\r\ntwo\n\nünlaut\nlast".as_bytes();
        for size in 1..text.len() {
            let mut seen = Vec::new();
            let mut take = |stream, line: &str| seen.push((stream, line.to_owned()));
            let mut capture = Capture::new(&mut take);
            text.chunks(size).for_each(|chunk| capture.push(Stream::Stderr, chunk));
            assert_eq!(capture.finish(), "one\ntwo\n\nünlaut\nlast\n");
            assert_eq!(seen.len(), 5);
            assert!(seen.iter().all(|(stream, _)| *stream == Stream::Stderr));
        }
    }

    #[test]
    fn streams_do_not_mix_within_a_line() {
        let mut ignore = |_, _: &str| {};
        let mut capture = Capture::new(&mut ignore);
        capture.push(Stream::Stdout, b"out");
        capture.push(Stream::Stderr, b"err\n");
        capture.push(Stream::Stdout, b"put\xff\t\x1b[2J\n");
        assert_eq!(capture.finish(), "err\noutput\u{fffd}\t\u{fffd}[2J\n");
    }

    #[test]
    fn a_flood_keeps_both_ends() {
        let mut kept = Kept::new(8, 8);
        for number in 0..100 {
            kept.push(&format!("l{number}"));
        }
        assert_eq!(kept.finish(), "l0\nl1\n[akb: 96 lines were left out here]\nl98\nl99\n");
    }

    #[test]
    fn an_endless_line_is_passed_on_in_pieces() {
        let mut count = 0;
        let mut take = |_, _: &str| count += 1;
        let mut capture = Capture::new(&mut take);
        for _ in 0..5 {
            capture.push(Stream::Stdout, &vec![b'x'; LONGEST_LINE]);
        }
        capture.finish();
        assert_eq!(count, 5);
    }
}
