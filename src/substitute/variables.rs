//! `@NAME@`.

use std::collections::BTreeMap;

use super::error::{Reason, place};
use super::rule::RuleError;
use super::template::Template;
use super::{Cx, File, Found};
use crate::recipe::Unknown;

/// `variables = { NAME = "…" }`. Each of them must be found.
#[derive(Debug)]
pub(super) struct Variables {
    values: BTreeMap<String, Template>,
    unknown: Unknown,
}

impl Variables {
    pub(super) fn new(
        said: &BTreeMap<String, String>,
        unknown: Unknown,
        template: &dyn Fn(&str) -> Result<Template, RuleError>,
    ) -> Result<Self, RuleError> {
        let mut values = BTreeMap::new();
        for (name, value) in said {
            if !is_name(name.as_bytes()) {
                let expected = "names of letters, digits, `_`, `-` and `'` that begin with a letter or `_`";
                return Err(RuleError::new("variables", expected, name));
            }
            values.insert(name.clone(), template(value)?);
        }
        Ok(Self { values, unknown })
    }

    /// The names, each of which is counted apart.
    pub(super) fn names(&self) -> Vec<String> {
        self.values.keys().cloned().collect()
    }

    /// Their values.
    pub(super) fn texts(&self) -> impl Iterator<Item = &Template> {
        self.values.values()
    }

    pub(super) fn find(&self, file: &File<'_>, cx: &Cx<'_>) -> Result<Found, Reason> {
        let mut found = Found::nothing(self.values.len());
        let mut start = 0;
        while let Some(first) = memchr::memchr(b'@', &file.bytes[start..]).map(|at| start + at) {
            let Some(last) = memchr::memchr(b'@', &file.bytes[first + 1..]).map(|at| first + 1 + at) else { break };
            let name = &file.bytes[first + 1..last];
            // What ends one name may begin another.
            start = last;
            if !is_name(name) {
                continue;
            }
            let name = String::from_utf8_lossy(name).into_owned();
            match self.values.iter().position(|(known, _)| *known == name).zip(self.values.get(&name)) {
                Some((index, value)) => {
                    found.edits.push((first..last + 1, value.render(file.path, &cx.values, &|_| Vec::new())?));
                    found.matched[index] += 1;
                    start = last + 1;
                }
                None if self.unknown == Unknown::Fail => {
                    return Err(Reason::Variable { place: place(file.path, file.bytes, first), name });
                }
                None => {}
            }
        }
        Ok(found)
    }
}

/// What nixpkgs and autoconf write between the signs.
fn is_name(name: &[u8]) -> bool {
    name.first().is_some_and(|first| first.is_ascii_alphabetic() || *first == b'_')
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'\''))
}
