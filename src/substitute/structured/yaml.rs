//! YAML 1.2, one document, read by saphyr's parser, which knows where scalars stand.

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::{DEPTH, Node, Value, Wrong};

/// Words that some version of YAML reads as something else than text.
const WORDS: [&str; 12] = ["true", "false", "yes", "no", "on", "off", "y", "n", "null", "~", ".inf", ".nan"];

pub(super) fn parse(text: &str) -> Result<Node, Wrong> {
    let offsets: Vec<usize> = text.char_indices().map(|(offset, _)| offset).chain([text.len()]).collect();
    let mut reader = Reader { text, offsets, parser: Parser::new_from_str(text) };
    let mut document = None;
    loop {
        let (event, span) = reader.next()?;
        match event {
            Event::StreamEnd => break,
            Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
            event if document.is_none() => document = Some(reader.node(event, span, 0)?),
            _ => return Err((reader.range(&span).start, "is a second document; expected one".to_owned())),
        }
    }
    document.ok_or_else(|| (0, "has no document".to_owned()))
}

struct Reader<'a> {
    text: &'a str,
    /// Where each character begins: the parser counts characters.
    offsets: Vec<usize>,
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Wrong> {
        match self.parser.next() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err((self.offset(error.marker().index()), format!("is not YAML: {}", error.info()))),
            None => Err((self.text.len(), "ends too early".to_owned())),
        }
    }

    fn offset(&self, index: usize) -> usize {
        self.offsets.get(index).copied().unwrap_or(self.text.len())
    }

    fn range(&self, span: &Span) -> std::ops::Range<usize> {
        let start = self.offset(span.start.index());
        start..self.offset(span.end.index()).max(start)
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, Wrong> {
        let range = self.range(&span);
        if depth > DEPTH {
            return Err((range.start, "is nested too deeply".to_owned()));
        }
        let value = match event {
            Event::MappingStart(..) => self.table(depth)?,
            Event::SequenceStart(..) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break Value::List(items),
                        (event, span) => items.push(self.node(event, span, depth + 1)?),
                    }
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                let written = self.text.get(range.clone()).unwrap_or_default();
                let whole = match style {
                    ScalarStyle::Plain => plain(&text),
                    ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => Value::Text(text.into_owned()),
                    ScalarStyle::Literal | ScalarStyle::Folded => Value::Other(format!("a block of text {text:?}")),
                };
                if anchor > 0 || tag.is_some() {
                    Value::Other(format!("{written} with an anchor or a tag"))
                } else if style == ScalarStyle::Plain && range.is_empty() {
                    // There is nothing that could be replaced.
                    Value::Other("nothing".to_owned())
                } else {
                    whole
                }
            }
            Event::Alias(anchor) => Value::Other(format!("the alias {anchor}")),
            _ => return Err((range.start, "is not YAML".to_owned())),
        };
        Ok(Node { range, value })
    }

    fn table(&mut self, depth: usize) -> Result<Value, Wrong> {
        let mut entries: Vec<(String, Node)> = Vec::new();
        let mut names = std::collections::BTreeSet::new();
        loop {
            let (name, span) = match self.next()? {
                (Event::MappingEnd, _) => return Ok(Value::Table(entries)),
                (Event::Scalar(name, ..), span) => (name.into_owned(), span),
                (_, span) => return Err((self.range(&span).start, "has a key that is no text".to_owned())),
            };
            let start = self.range(&span).start;
            if !names.insert(name.clone()) {
                return Err((start, format!("has the key {name:?} twice")));
            }
            let (event, span) = self.next()?;
            entries.push((name, self.node(event, span, depth + 1)?));
        }
    }
}

/// What a plain scalar means in the core schema (YAML 1.2, 10.3.2).
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Boolean(true),
        "false" | "False" | "FALSE" => Value::Boolean(false),
        number if is_number(number) => Value::Number(number.strip_prefix('+').unwrap_or(number).to_owned()),
        text => Value::Text(text.to_owned()),
    }
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits.contains(|c: char| c.is_ascii_digit())
        && digits.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-'))
        && text.parse::<f64>().is_ok()
}

/// The text in the manner in which the old one was written, if that can hold it.
pub(super) fn write(text: &str, old: &str) -> String {
    let printable =
        !text.contains(|c: char| c.is_control() || matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}'));
    if old.starts_with('\'') && printable {
        return format!("'{}'", text.replace('\'', "''"));
    }
    if !old.starts_with(['\'', '"']) && is_plain(text) {
        return text.to_owned();
    }
    // JSON's texts are YAML's, but for what JSON lets stand and YAML does not.
    let quoted = super::json::quote(text);
    let mut safe = String::with_capacity(quoted.len());
    for c in quoted.chars() {
        if c.is_control() || matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}') {
            safe.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            safe.push(c);
        }
    }
    safe
}

/// Whether the text can stand without quotes wherever a plain scalar stood, in every version of YAML.
fn is_plain(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '_'))
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '+'))
        && !WORDS.iter().any(|word| word.eq_ignore_ascii_case(text))
}
