//! Builds with this machine's Python and gcc.

use super::*;

pub(super) fn job(name: &str, version: &str, source: &std::path::Path) -> Job {
    Job {
        id: Id { name: name.to_owned(), version: Some(version.to_owned()) },
        source: source.to_owned(),
        subdirectory: None,
        identity: Sha256::of(name.as_bytes()),
        requires: vec![],
        native: Native::default(),
    }
}
