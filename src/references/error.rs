//! What can go wrong while references are looked for or removed.

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

use super::Found;
use crate::explain::{ExitCode, Explain};
use crate::rewrite::{Failed, RecordsFailed};
use crate::tree::TreeError;

/// Why references were not looked for, are still there, or were not removed.
#[derive(Debug, thiserror::Error)]
pub enum ReferencesError {
    /// The tree could not be listed.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A file could not be read or written.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was done.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Something that cannot be looked for.
    #[error("`{needle}` {reason}")]
    Needle {
        /// The text.
        needle: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No threads.
    #[error("cannot start threads: {0}")]
    Threads(String),
    /// References are in the tree that must not be there.
    #[error("expected no forbidden reference in {}, found {}:\n{}", tree.display(), found.len(), listed(found))]
    Left {
        /// The tree.
        tree: PathBuf,
        /// All of them, sorted.
        found: Vec<Found>,
    },
    /// References stand where they cannot be overwritten. Nothing was changed.
    #[error("cannot remove {} references from {}; nothing was changed:\n{}", found.len(), tree.display(), listed(found))]
    Refused {
        /// The tree.
        tree: PathBuf,
        /// All of them, sorted.
        found: Vec<Found>,
    },
    /// A file holds other bytes now than when it was looked through.
    #[error("{} changed while references were removed from it", path.display())]
    Changed {
        /// Which.
        path: PathBuf,
    },
}

impl From<Failed> for ReferencesError {
    fn from(Failed { doing, path, source }: Failed) -> Self {
        Self::Io { doing, path, source }
    }
}

impl From<RecordsFailed> for ReferencesError {
    fn from(failed: RecordsFailed) -> Self {
        match failed {
            RecordsFailed::Tree(error) => error.into(),
            RecordsFailed::File(failed) => failed.into(),
        }
    }
}

/// The first few, a line each: `FILE at OFFSET, PLACE: NEEDLE`.
fn listed(found: &[Found]) -> String {
    const SHOWN: usize = 20;
    let mut text = String::new();
    for (index, one) in found.iter().take(SHOWN).enumerate() {
        let end = if index + 1 == found.len().min(SHOWN) { "" } else { "\n" };
        let _ = write!(text, "  {one}{end}");
    }
    if found.len() > SHOWN {
        let _ = write!(text, "\n  and {} more", found.len() - SHOWN);
    }
    text
}

impl Explain for ReferencesError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Tree(error) => error.hint(),
            Self::Needle { .. } => Some("give the whole path that must not be found".to_owned()),
            Self::Left { found, .. } => found.first().map(|one| one.place.advice(one.member.is_some()).to_owned()),
            Self::Refused { found, .. } => found.first().map(|one| {
                format!("{}\nor let it stay: --allow '{}'", one.place.advice(one.member.is_some()), one.needle)
            }),
            Self::Io { .. } | Self::Threads(_) | Self::Changed { .. } => None,
        }
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Tree(error) => error.exit_code(),
            Self::Needle { .. } => ExitCode::Usage,
            Self::Left { .. } | Self::Refused { .. } => ExitCode::Finding,
            Self::Threads(_) => ExitCode::Machine,
            Self::Io { .. } | Self::Changed { .. } => ExitCode::Failed,
        }
    }
}
