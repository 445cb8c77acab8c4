//! One text for another.

use std::ops::Range;

use super::rule::RuleError;
use super::template::Template;
use super::{Cx, File, Found};
use crate::edit::Text;

use super::error::Reason;

/// `replace = "…"`: every occurrence, from the left, none overlapping another.
#[derive(Debug)]
pub(super) struct Literal {
    pub(super) old: String,
    pub(super) with: Template,
}

impl Literal {
    pub(super) fn new(old: &str, with: Template) -> Result<Self, RuleError> {
        if old.is_empty() {
            return Err(RuleError::new("replace", "a text that is not empty", ""));
        }
        Ok(Self { old: old.to_owned(), with })
    }

    pub(super) fn find(&self, file: &File<'_>, cx: &Cx<'_>) -> Result<Found, Reason> {
        let found: Vec<Range<usize>> =
            memchr::memmem::find_iter(file.bytes, &self.old).map(|start| start..start + self.old.len()).collect();
        if found.is_empty() {
            return Ok(Found::nothing(1));
        }
        let with: Text = self.with.render(file.path, &cx.values, &|_| Vec::new())?;
        Ok(Found::one(found.into_iter().map(|range| (range, with.clone())).collect()))
    }
}
