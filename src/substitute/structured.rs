//! One value of a JSON, YAML or TOML file, changed where it stands: all other bytes stay, comments and order too.
//!
//! Each format reads a file into the same [`Node`]s, which know where they stand. After an edit the file is read
//! again: it must be the same but for that one value.

use std::ops::Range;
use std::path::Path;

use super::error::{PLAIN, Reason, place};
use super::template::Template;
use super::{Cx, File, Found};
use crate::edit::Text;
use crate::recipe::{Format, Key, Scalar, nearest};

mod json;
mod toml;
mod yaml;

/// Tables and lists within each other; deeper files are refused.
const DEPTH: usize = 128;

/// Most bytes of a structured file.
const LARGEST: usize = 64 << 20;

/// `at = ["key", 0]`.
#[derive(Debug)]
pub(super) struct Structured {
    pub(super) at: Vec<Key>,
    pub(super) with: Scalar,
    /// `with`, where it is a text.
    pub(super) text: Option<Template>,
    pub(super) was: Option<Scalar>,
    pub(super) format: Format,
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
struct Node {
    range: Range<usize>,
    value: Value,
}

#[derive(Clone, Debug, PartialEq)]
enum Value {
    Table(Vec<(String, Node)>),
    List(Vec<Node>),
    Null,
    Boolean(bool),
    /// As it is written, but for a sign and separators that mean nothing.
    Number(String),
    Text(String),
    /// Dates, tagged and anchored values, and others that are not edited; as they are written.
    Other(String),
}

/// What is wrong with a file, and at which byte.
type Wrong = (usize, String);

impl Structured {
    pub(super) fn find(&self, file: &File<'_>, cx: &Cx<'_>) -> Result<Found, Reason> {
        let syntax = |(offset, problem): Wrong| Reason::Syntax { place: place(file.path, file.bytes, offset), problem };
        if file.bytes.len() > LARGEST {
            return Err(Reason::TooLarge { path: file.path.to_owned(), expected: LARGEST as u64 });
        }
        let text =
            std::str::from_utf8(file.bytes).map_err(|error| syntax((error.valid_up_to(), "is not UTF-8".into())))?;
        let root = self.parse(text).map_err(syntax)?;
        let node = match self.descend(&root, file.path) {
            Ok(node) => node,
            Err(missing) => return Ok(Found { missing: Some(missing), ..Found::nothing(1) }),
        };
        self.check(node, file)?;
        let with = match &self.text {
            Some(template) => template.render(file.path, &cx.values, &|_| Vec::new())?,
            None => Text::default(),
        };
        let value = match &self.with {
            Scalar::Text(_) => Value::Text(String::from_utf8_lossy(&with.bytes).into_owned()),
            Scalar::Boolean(value) => Value::Boolean(*value),
            Scalar::Integer(value) => Value::Number(value.to_string()),
            Scalar::Float(decimal) => Value::Number(decimal.0.clone()),
        };
        if node.value == value {
            return Ok(Found { matched: vec![1], ..Found::default() });
        }
        let written = self.write(&value, &text[node.range.clone()]);
        let prefixes = prefixes(&with, cx.values.prefix, written.as_bytes());
        let prefixes =
            prefixes.ok_or_else(|| syntax((node.range.start, "cannot hold the tree's folder".to_owned())))?;
        let edited = [&text[..node.range.start], &written, &text[node.range.end..]].concat();
        let kept = self.parse(&edited).is_ok_and(|after| same_but(&root, &after, &self.at, &value));
        if !kept {
            let problem = format!("cannot become {written} without changing more of the file");
            return Err(syntax((node.range.start, problem)));
        }
        Ok(Found::one(vec![(node.range.clone(), Text { bytes: written.into_bytes(), prefixes })]))
    }

    fn parse(&self, text: &str) -> Result<Node, Wrong> {
        match self.format {
            Format::Json => json::parse(text),
            Format::Yaml => yaml::parse(text),
            Format::Toml => toml::parse(text),
        }
    }

    /// The value as the format writes it, in the manner of what stood there.
    fn write(&self, value: &Value, old: &str) -> String {
        match value {
            Value::Boolean(value) => value.to_string(),
            Value::Number(text) => text.clone(),
            Value::Text(text) => match self.format {
                Format::Json => json::quote(text),
                Format::Yaml => yaml::write(text, old),
                Format::Toml => toml::write(text, old),
            },
            Value::Null | Value::Table(_) | Value::List(_) | Value::Other(_) => String::new(),
        }
    }

    fn descend<'n>(&self, root: &'n Node, path: &Path) -> Result<&'n Node, Reason> {
        let mut node = root;
        for (depth, key) in self.at.iter().enumerate() {
            let known: Vec<String> = match &node.value {
                Value::Table(entries) => entries.iter().map(|(name, _)| name.clone()).collect(),
                Value::List(items) if items.is_empty() => Vec::new(),
                Value::List(items) => vec![format!("items 0 to {}", items.len() - 1)],
                _ => Vec::new(),
            };
            let step = match (&node.value, key) {
                (Value::Table(entries), Key::Name(name)) => {
                    let mut same = entries.iter().filter(|(known, _)| known == name);
                    same.next().map(|(_, node)| node)
                }
                (Value::List(items), Key::Index(index)) => items.get(*index),
                _ => None,
            };
            node = step.ok_or_else(|| {
                let reached = match depth {
                    0 => "the file".to_owned(),
                    _ => self.at[..depth].iter().map(ToString::to_string).collect::<Vec<_>>().join("."),
                };
                let missing = match key {
                    Key::Name(name) => format!("key {name:?}"),
                    Key::Index(index) => format!("item {index}"),
                };
                let wanted = key.to_string();
                let known = nearest::by_distance(&wanted, known.iter().map(String::as_str));
                let known = known.into_iter().take(8).map(str::to_owned).collect();
                Reason::NoValue { path: path.to_owned(), reached, missing, known }
            })?;
        }
        Ok(node)
    }

    /// Whether what stands there may be replaced.
    fn check(&self, node: &Node, file: &File<'_>) -> Result<(), Reason> {
        let wrong = |expected: String| Reason::Value {
            place: place(file.path, file.bytes, node.range.start),
            expected,
            found: described(&node.value),
        };
        if matches!(node.value, Value::Table(_) | Value::List(_) | Value::Other(_)) {
            return Err(wrong(PLAIN.to_owned()));
        }
        let Some(was) = &self.was else { return Ok(()) };
        let same = match (was, &node.value) {
            (Scalar::Boolean(was), Value::Boolean(is)) => was == is,
            (Scalar::Integer(was), Value::Number(is)) => is.parse() == Ok(*was),
            (Scalar::Float(was), Value::Number(is)) => was.0.parse::<f64>() == is.parse::<f64>(),
            (Scalar::Text(was), Value::Text(is)) => was == is,
            _ => false,
        };
        if same { Ok(()) } else { Err(wrong(was.to_string())) }
    }
}

fn described(value: &Value) -> String {
    match value {
        Value::Table(_) => "a table".to_owned(),
        Value::List(_) => "a list".to_owned(),
        Value::Null => "null".to_owned(),
        Value::Boolean(value) => value.to_string(),
        Value::Number(text) | Value::Other(text) => text.clone(),
        Value::Text(text) => super::rule::short(text),
    }
}

/// Where the prefixes of `with` are in the quoted text `written`. `None` where quoting changed them.
fn prefixes(with: &Text, prefix: &str, written: &[u8]) -> Option<Vec<usize>> {
    let wanted: Vec<bool> =
        memchr::memmem::find_iter(&with.bytes, prefix).map(|at| with.prefixes.contains(&at)).collect();
    if with.prefixes.is_empty() {
        return Some(Vec::new());
    }
    let found: Vec<usize> = memchr::memmem::find_iter(written, prefix).collect();
    // Quoting keeps the order of occurrences, so the first of the one is the first of the other.
    (found.len() == wanted.len())
        .then(|| found.into_iter().zip(wanted).filter(|(_, ours)| *ours).map(|(at, _)| at).collect())
}

/// Whether two files say the same, but for the value at `at`, which became `value`.
fn same_but(before: &Node, after: &Node, at: &[Key], value: &Value) -> bool {
    let Some((key, rest)) = at.split_first() else { return after.value == *value };
    match (&before.value, &after.value, key) {
        (Value::Table(old), Value::Table(new), Key::Name(name)) => {
            let mut first = true;
            old.len() == new.len()
                && old.iter().zip(new).all(|((old_name, old), (new_name, new))| {
                    let here = old_name == name && std::mem::take(&mut first);
                    old_name == new_name && if here { same_but(old, new, rest, value) } else { same(old, new) }
                })
        }
        (Value::List(old), Value::List(new), Key::Index(index)) => {
            old.len() == new.len()
                && old.iter().zip(new).enumerate().all(|(here, (old, new))| {
                    if here == *index { same_but(old, new, rest, value) } else { same(old, new) }
                })
        }
        _ => false,
    }
}

/// Whether two nodes say the same, wherever they stand.
fn same(a: &Node, b: &Node) -> bool {
    match (&a.value, &b.value) {
        (Value::Table(a), Value::Table(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|((a_name, a), (b_name, b))| a_name == b_name && same(a, b))
        }
        (Value::List(a), Value::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (a, b) => a == b,
    }
}

#[cfg(test)]
mod tests;
