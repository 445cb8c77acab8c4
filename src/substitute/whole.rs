//! A file as a whole.

use super::error::Reason;
use super::template::Template;
use super::{Cx, File, Found};

/// `contents = "…"` and `source = "…"`: all of a file, or a new one.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) contents: Template,
    pub(super) new: bool,
    pub(super) executable: Option<bool>,
}

impl Whole {
    pub(super) fn find(&self, file: &File<'_>, cx: &Cx<'_>) -> Result<Found, Reason> {
        let contents = self.contents.render(file.path, &cx.values, &|_| Vec::new())?;
        let mut found = Found::one(vec![(0..file.bytes.len(), contents)]);
        found.executable = self.executable.filter(|executable| *executable != file.executable);
        Ok(found)
    }
}
