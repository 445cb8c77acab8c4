//! Matches of a regular expression, in time linear in the file.

use std::collections::BTreeSet;

use regex::bytes::{Regex, RegexBuilder};

use super::error::Reason;
use super::rule::RuleError;
use super::template::{NAMES, Template};
use super::{Cx, File, Found};

/// Bytes that a compiled pattern may take.
const COMPILED: usize = 10 << 20;

/// `pattern = "…"`: every match, from the left, none overlapping another. `{1}` and `{name}` in the new text are
/// what the pattern captured. `^` and `$` mean the ends of the file unless `(?m)` is said.
#[derive(Debug)]
pub(super) struct Pattern {
    pub(super) regex: Regex,
    pub(super) with: Template,
}

impl Pattern {
    pub(super) fn regex(pattern: &str) -> Result<Regex, RuleError> {
        RegexBuilder::new(pattern).size_limit(COMPILED).build().map_err(|error| RuleError {
            hint: Some(error.to_string()),
            ..RuleError::new("pattern", "a regular expression (syntax of Rust's regex)", pattern)
        })
    }

    /// The names by which the new text can speak of what `regex` captures.
    pub(super) fn groups(regex: &Regex) -> Result<BTreeSet<String>, RuleError> {
        let mut groups: BTreeSet<String> = (0..regex.captures_len()).map(|group| group.to_string()).collect();
        for name in regex.capture_names().flatten() {
            if NAMES.iter().any(|(known, _)| *known == name) {
                return Err(RuleError::new("pattern", "groups that are not called like {prefix} and others", name));
            }
            groups.insert(name.to_owned());
        }
        Ok(groups)
    }

    pub(super) fn new(regex: Regex, with: Template) -> Self {
        Self { regex, with }
    }

    pub(super) fn find(&self, file: &File<'_>, cx: &Cx<'_>) -> Result<Found, Reason> {
        let mut edits = Vec::new();
        for captures in self.regex.captures_iter(file.bytes) {
            let Some(whole) = captures.get(0) else { continue };
            let group = |name: &str| {
                let group = name.parse().map_or_else(|_| captures.name(name), |index| captures.get(index));
                group.map(|group| group.as_bytes().to_vec()).unwrap_or_default()
            };
            edits.push((whole.range(), self.with.render(file.path, &cx.values, &group)?));
        }
        Ok(if edits.is_empty() { Found::nothing(1) } else { Found::one(edits) })
    }

    /// What of the pattern is plain text, to look for lines that are like it.
    pub(super) fn plain(&self) -> String {
        let mut plain = String::new();
        let mut rest = self.regex.as_str();
        while let Some(c) = rest.chars().next() {
            rest = &rest[c.len_utf8()..];
            match c {
                '\\' => {
                    let escaped = rest.chars().next();
                    plain.extend(escaped.filter(|c| !c.is_alphanumeric()));
                    rest = &rest[escaped.map_or(0, char::len_utf8)..];
                }
                // Flags and names of groups are no text.
                '(' if rest.starts_with('?') => {
                    let end = rest.find([')', ':', '>']).map_or(rest.len(), |at| at + 1);
                    rest = &rest[end..];
                }
                '{' => rest = rest.split_once('}').map_or(rest, |(_, rest)| rest),
                '^' | '$' | '.' | '(' | ')' | '[' | ']' | '*' | '+' | '?' | '|' => {}
                c => plain.push(c),
            }
        }
        plain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_plain_in_a_pattern_is_found() {
        for (pattern, expected) in [
            (r"(?m)^root = (.*)$", "root = "),
            (r"(?i)a(?:b|c)(?P<name>d)\.e\w{2,3}f", "abcd.ef"),
            (r"ä\\[x-z]+\{", r"ä\x-z{"),
        ] {
            let regex = Pattern::regex(pattern).unwrap();
            assert_eq!(Pattern::new(regex, Template::literal("")).plain(), expected, "{pattern}");
        }
    }
}
