//! Why wheels could not become a site.

use std::fmt::{self, Write as _};
use std::io;
use std::path::PathBuf;

use super::collide::Collision;
use crate::explain::{ExitCode, Explain};
use crate::tree::TreeError;

/// Why wheels could not become a site.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// A file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file, folder or link could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A folder could not be listed.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The threads could not be started.
    #[error("cannot start {jobs} threads: {reason}")]
    Threads {
        /// How many.
        jobs: usize,
        /// Why.
        reason: String,
    },
    /// The name of a wheel file is not one.
    #[error("`{wheel}` is no name of a wheel: {reason}")]
    FileName {
        /// The file name.
        wheel: String,
        /// What is wrong.
        reason: String,
    },
    /// A name in a wheel that must not be written.
    #[error("{wheel}: the path {path:?} {reason}")]
    Path {
        /// The file name of the wheel.
        wheel: String,
        /// The path in it.
        path: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// There is not exactly one `.dist-info` folder, that of the wheel.
    #[error("{wheel}: expected one folder `{expected}.dist-info`, found {}", list(found))]
    DistInfo {
        /// The file name of the wheel.
        wheel: String,
        /// Name and version as the file name has them.
        expected: String,
        /// The `.dist-info` folders at the top.
        found: Vec<String>,
    },
    /// A file that every wheel has is not there.
    #[error("{wheel}: `{file}` is missing")]
    Missing {
        /// The file name of the wheel.
        wheel: String,
        /// The path in it.
        file: String,
    },
    /// A metadata file cannot be understood.
    #[error("{wheel}: `{file}` {problem}")]
    Metadata {
        /// The file name of the wheel.
        wheel: String,
        /// The path in it.
        file: String,
        /// What is wrong, such as `line 3 is no header field`.
        problem: String,
    },
    /// A wheel of a format version that is not known.
    #[error("{wheel}: expected Wheel-Version 1.x, found {found}")]
    WheelVersion {
        /// The file name of the wheel.
        wheel: String,
        /// The version that `WHEEL` names.
        found: String,
    },
    /// File name and metadata name different things.
    #[error("{wheel}: expected {field} {expected} in METADATA, found {found}")]
    Identity {
        /// The file name of the wheel.
        wheel: String,
        /// `Name` or `Version`.
        field: &'static str,
        /// As the file name has it.
        expected: String,
        /// As the metadata have it.
        found: String,
    },
    /// `RECORD` and the files disagree.
    #[error("{wheel}: RECORD and files disagree:{}", lines(problems))]
    Record {
        /// The file name of the wheel.
        wheel: String,
        /// All disagreements.
        problems: Vec<RecordProblem>,
    },
    /// An entry point that cannot become a script.
    #[error("{wheel}: entry point `{name}` {problem}")]
    EntryPoint {
        /// The file name of the wheel.
        wheel: String,
        /// Name of the entry point.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// A file below `.data` for which there is no place.
    #[error("{wheel}: `{path}` is not below one of {schemes}")]
    Scheme {
        /// The file name of the wheel.
        wheel: String,
        /// The path in it.
        path: String,
        /// The folders that may be in `.data`.
        schemes: &'static str,
    },
    /// The same package comes twice.
    #[error("package {package} is there twice: {} and {}", versions[0], versions[1])]
    Twice {
        /// Normalised name.
        package: String,
        /// Both versions.
        versions: [String; 2],
    },
    /// Files of the site are in each other's way.
    #[error("files collide:{}", lines(collisions))]
    Collisions {
        /// All of them, by path.
        collisions: Vec<Collision>,
    },
    /// A recipe's winner does not have the file.
    #[error("winner of `{path}` is {winner}, but only {} {} the file", list(claimants), if claimants.len() == 1 { "has" } else { "have" })]
    Winner {
        /// As the recipe has it.
        path: String,
        /// As the recipe has it.
        winner: String,
        /// The packages that have it.
        claimants: Vec<String>,
    },
    /// A file changed between its verification and its copy.
    #[error("{} changed since it was unpacked: expected {expected}, found {found}", path.display())]
    Changed {
        /// The unpacked file.
        path: PathBuf,
        /// Hash that `RECORD` and the archive have.
        expected: String,
        /// Hash of what was read.
        found: String,
    },
    /// A `RECORD` of an installed package cannot be understood.
    #[error("{}: {problem}", path.display())]
    Installed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

/// One disagreement between a wheel's `RECORD` and its files.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "path, expected and found are what they say")]
pub enum RecordProblem {
    /// A row names a path that must not be touched.
    Path { path: String, reason: &'static str },
    /// Two rows for a file.
    Twice { path: String },
    /// A row without a file.
    Absent { path: String },
    /// A file without a row.
    Unlisted { path: String },
    /// A row without a hash.
    NoHash { path: String, found: String },
    /// A hash that is weaker than SHA-256, or unknown.
    Algorithm { path: String, found: String },
    /// A wrong hash.
    Hash { path: String, expected: String, found: String },
    /// A wrong size.
    Size { path: String, expected: String, found: u64 },
    /// `RECORD` claims to know its own hash.
    OwnHash { found: String },
    /// The file could not be hashed.
    Unreadable { path: String, reason: String },
}

impl fmt::Display for RecordProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path { path, reason } => write!(f, "{path:?} {reason}"),
            Self::Twice { path } => write!(f, "{path}: listed twice"),
            Self::Absent { path } => write!(f, "{path}: listed, but not in the wheel"),
            Self::Unlisted { path } => write!(f, "{path}: in the wheel, but not listed"),
            Self::NoHash { path, found } => write!(f, "{path}: expected a hash, found `{found}`"),
            Self::Algorithm { path, found } => {
                write!(f, "{path}: expected a hash of sha256, sha384 or sha512, found {found}")
            }
            Self::Hash { path, expected, found } => write!(f, "{path}: expected {expected}, found {found}"),
            Self::Size { path, expected, found } => write!(f, "{path}: expected {expected} bytes, found {found}"),
            Self::OwnHash { found } => write!(f, "RECORD: expected no hash of itself, found {found}"),
            Self::Unreadable { path, reason } => write!(f, "{path}: cannot be read: {reason}"),
        }
    }
}

/// A list for a message; a long one is cut, and says so.
fn lines<T: fmt::Display>(items: &[T]) -> String {
    const SHOWN: usize = 100;
    let mut text = String::new();
    for item in items.iter().take(SHOWN) {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n  {item}");
    }
    if items.len() > SHOWN {
        let _ = write!(text, "\n  and {} more", items.len() - SHOWN);
    }
    text
}

fn list(items: &[String]) -> String {
    if items.is_empty() { "none".to_owned() } else { items.join(", ") }
}

impl Explain for InstallError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Collisions { collisions } => {
                let lines: Vec<String> = collisions.iter().filter_map(Collision::recipe_line).collect();
                let text = format!("name the winner of each in akb.toml:\n[install.winners]\n{}", lines.join("\n"));
                (!lines.is_empty()).then_some(text)
            }
            Self::Winner { path, claimants, .. } => Some(match claimants.first() {
                Some(claimant) => format!("in akb.toml, [install.winners]: \"{path}\" = \"{claimant}\""),
                None => format!("in akb.toml: remove \"{path}\" from [install.winners]"),
            }),
            Self::Changed { .. } => {
                Some("the cache is damaged: remove the folder of this wheel in it and run again".to_owned())
            }
            Self::Write { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some("the disk is full: free space and run the same command again".to_owned())
            }
            Self::Record { wheel, .. } | Self::DistInfo { wheel, .. } | Self::Identity { wheel, .. } => Some(format!(
                "the wheel is broken or was tampered with: report it to its project, or build from source instead, in \
                 akb.toml:\n[package.{}]\nfrom-source = true",
                wheel.split('-').next().unwrap_or(wheel)
            )),
            _ => None,
        }
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Read { .. } | Self::Tree(_) | Self::Threads { .. } => ExitCode::Failed,
            Self::Write { .. } => ExitCode::Machine,
            Self::Collisions { .. } | Self::Winner { .. } | Self::Twice { .. } => ExitCode::Usage,
            _ => ExitCode::Integrity,
        }
    }
}
