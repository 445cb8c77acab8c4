//! Why rules could not be followed: all of it at once, before a byte is written.

use std::fmt::{self, Write as _};
use std::io;
use std::path::{Path, PathBuf};

use super::nearest::Nearest;
use crate::edit::EditError;
use crate::explain::{ExitCode, Explain};
use crate::tree::TreeError;

/// Why a substitution ended.
#[derive(Debug, thiserror::Error)]
pub enum SubstituteError {
    /// Rules that cannot be followed.
    #[error("{}", listed(failures))]
    Rules {
        /// All of them.
        failures: Vec<Failure>,
    },
    /// The tree could not be walked.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The edits could not be written.
    #[error(transparent)]
    Edit(#[from] EditError),
}

impl Explain for SubstituteError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Rules { failures } => {
                let mut hints: Vec<String> = failures.iter().filter_map(|failure| failure.reason.hint()).collect();
                hints.dedup();
                (!hints.is_empty()).then(|| hints.join("\n"))
            }
            Self::Tree(error) => error.hint(),
            Self::Edit(error) => error.hint(),
            Self::Read { .. } => None,
        }
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Rules { .. } => ExitCode::Usage,
            Self::Tree(error) => error.exit_code(),
            Self::Edit(error) => error.exit_code(),
            Self::Read { .. } => ExitCode::Failed,
        }
    }
}

fn listed(failures: &[Failure]) -> String {
    match failures {
        [only] => only.to_string(),
        many => {
            let mut text = format!("{} substitutions cannot be made; nothing was written", many.len());
            for failure in many {
                let _ = write!(text, "\n{failure}");
            }
            text
        }
    }
}

/// What a value must be to be replaced.
pub(super) const PLAIN: &str = "a plain value";

/// One rule that cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The rule, as `rule 2 (replace "/usr/bin/x")`.
    pub rule: String,
    /// Why.
    pub reason: Reason,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.reason)
    }
}

/// Why a rule cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// An entry of `files` finds none.
    NoFile {
        /// The entry.
        pattern: String,
        /// A path that was probably meant.
        nearest: Option<String>,
    },
    /// The package is not in the tree.
    NoPackage {
        /// Its name.
        name: String,
        /// One that was probably meant.
        nearest: Option<String>,
    },
    /// The rule matches in no file of an entry.
    NoMatch {
        /// What was looked for.
        wanted: String,
        /// The entry.
        pattern: String,
        /// How many files it found.
        files: usize,
        /// The line that is most like it.
        nearest: Option<Nearest>,
        /// Whether all lines were compared.
        all: bool,
    },
    /// The rule matches, but not as often as it says.
    Count {
        /// How often it should.
        expected: u64,
        /// How often it does.
        found: u64,
        /// The first matches, as `path:line`.
        places: Vec<String>,
    },
    /// A match in a file that is no text.
    Binary {
        /// The file.
        path: PathBuf,
    },
    /// A replacement of another length in a binary file.
    Length {
        /// The file.
        path: PathBuf,
        /// Bytes that go.
        expected: usize,
        /// Bytes that come.
        found: usize,
    },
    /// The tree's own folder in a source that is compiled to bytecode.
    PrefixInSource {
        /// The file.
        path: PathBuf,
    },
    /// The tree's own folder in a file whose name cannot be listed.
    Unlistable {
        /// The file.
        path: PathBuf,
    },
    /// The tree has no interpreter that a name could mean.
    NoPython {
        /// The name.
        name: String,
    },
    /// An input that is not there, or whose files are copied and not named.
    NoInput {
        /// Its name.
        name: String,
        /// Those that can be named.
        known: Vec<String>,
    },
    /// `@NAME@` of a name that the rule does not have.
    Variable {
        /// Where, as `path:line`.
        place: String,
        /// The name.
        name: String,
    },
    /// A structured file that cannot be read as one.
    Syntax {
        /// Where, as `path:line`.
        place: String,
        /// What is wrong.
        problem: String,
    },
    /// There is nothing at the place that `at` names.
    NoValue {
        /// The file.
        path: PathBuf,
        /// As far as there is something.
        reached: String,
        /// What is not there.
        missing: String,
        /// What is there.
        known: Vec<String>,
    },
    /// There is something else than a plain value, or another value than was said.
    Value {
        /// Where, as `path:line`.
        place: String,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// Two rules want the same bytes.
    Conflict {
        /// The other rule.
        other: String,
        /// Where, as `path:line`.
        place: String,
    },
    /// A file that akb writes itself.
    Reserved {
        /// The file.
        path: PathBuf,
    },
    /// A file that should be new and is there, or whose folder is none.
    Occupied {
        /// The file.
        path: PathBuf,
    },
    /// A new file in site-packages that would be in no RECORD.
    Unowned {
        /// The file.
        path: PathBuf,
    },
    /// A link, which is not followed.
    Link {
        /// The link.
        path: PathBuf,
        /// Its text.
        target: PathBuf,
    },
    /// The tree was substituted before, and the places that were listed then would move.
    Again,
    /// A Python source whose bytecode would be used in its place.
    Unchecked {
        /// The source.
        path: PathBuf,
        /// The bytecode.
        bytecode: PathBuf,
    },
    /// More bytes than a text file has.
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Most bytes.
        expected: u64,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = Path::display;
        match self {
            Self::NoFile { pattern, .. } => write!(f, "no file is `{pattern}`"),
            Self::NoPackage { name, .. } => write!(f, "no package `{name}` is installed"),
            Self::NoMatch { wanted, pattern, files, nearest, all } => {
                match files {
                    1 => write!(f, "{wanted} is not in `{pattern}`")?,
                    files => write!(f, "{wanted} is in none of the {files} files of `{pattern}`")?,
                }
                match nearest {
                    Some(nearest) => write!(f, "; the nearest line is {nearest}"),
                    None if *all => f.write_str("; no line is like it"),
                    None => Ok(()),
                }
            }
            Self::Count { expected, found, places } => {
                write!(f, "expected {expected} matches, found {found}: {}", places.join(", "))?;
                if *found > places.len() as u64 { f.write_str(", …") } else { Ok(()) }
            }
            Self::Binary { path } => write!(f, "{} is a binary file", shown(path)),
            Self::Length { path, expected, found } => {
                write!(f, "{}: expected a replacement of {expected} bytes, found one of {found}", shown(path))
            }
            Self::PrefixInSource { path } => write!(
                f,
                "{} is compiled to bytecode, which must be the same in every folder: it cannot say where the tree is",
                shown(path)
            ),
            Self::Unlistable { path } => {
                write!(f, "{} has a control character in its name", path.to_string_lossy().escape_debug())
            }
            Self::NoPython { name } => write!(f, "{{{name}}} has no meaning: the tree has no lib/pythonX.Y"),
            Self::NoInput { name, .. } => write!(f, "{{inputs.{name}}} has no meaning: no such input can be named"),
            Self::Variable { place, name } => write!(f, "{place}: @{name}@ has no value"),
            Self::Syntax { place, problem } => write!(f, "{place}: {problem}"),
            Self::NoValue { path, reached, missing, .. } => write!(f, "{}: {reached} has no {missing}", shown(path)),
            Self::Value { place, expected, found } => write!(f, "{place}: expected {expected}, found {found}"),
            Self::Conflict { other, place } => write!(f, "{place}: {other} changes the same bytes"),
            Self::Reserved { path } => write!(f, "{} is written by akb itself", shown(path)),
            Self::Occupied { path } => write!(f, "{} cannot be a new file: something is there", shown(path)),
            Self::Unowned { path } => write!(f, "{} would be in no RECORD", shown(path)),
            Self::Link { path, target } => write!(f, "{} is a link to {}", shown(path), shown(target)),
            Self::Again => write!(f, "the tree was substituted before: it has an {}", crate::place::SPOTS),
            Self::Unchecked { path, bytecode } => {
                write!(f, "{} would not be read: Python uses {}, and never compares it", shown(path), shown(bytecode))
            }
            Self::TooLarge { path, expected } => write!(f, "{} has more than {expected} bytes", shown(path)),
        }
    }
}

impl Reason {
    /// The exact next step, if there is one.
    pub fn hint(&self) -> Option<String> {
        let meant = |name: &String| format!("did you mean `{name}`?");
        Some(match self {
            Self::NoFile { nearest, .. } | Self::NoPackage { nearest, .. } => meant(nearest.as_ref()?),
            Self::NoMatch { .. } => {
                "correct the rule, or write mode = \"warn\" in it if it may match nothing".to_owned()
            }
            Self::Count { found, .. } => format!("write count = {found} if all of them are meant"),
            Self::Binary { .. } => {
                "write binary = true in the rule, with a replacement of the same length, or narrow its `files`".into()
            }
            Self::Length { .. } => "fill the replacement up to the same length".to_owned(),
            Self::PrefixInSource { .. } => "write an expression that asks Python, such as \
                 with = \"(__import__('sys').prefix + '/runtime/bin/x')\" in place of the whole quoted text"
                .to_owned(),
            Self::NoInput { known, .. } if known.is_empty() => {
                "only prefixes and store paths stay where they are; a tree of packages, or one without its inputs, has \
                 copies of what it needs: use {runtime}, or a path of the target machine"
                    .to_owned()
            }
            Self::Variable { name, .. } => format!("add {name} = \"…\" to `variables`, or write unknown = \"leave\""),
            Self::NoValue { known, .. } if known.is_empty() => return None,
            Self::NoInput { known, .. } | Self::NoValue { known, .. } => format!("there are {}", known.join(", ")),
            Self::Conflict { .. } => "make one rule of the two, or narrow the `files` of one".to_owned(),
            Self::Reserved { .. } => "take it out of `files`".to_owned(),
            Self::Occupied { .. } => "leave `new` out to replace its contents, or name another path".to_owned(),
            Self::Unowned { .. } => "write package = \"NAME\" in the rule: whose file it is".to_owned(),
            Self::Link { target, .. } => format!("name the file itself ({})", target.display()),
            Self::Again => "make the tree anew, and follow all rules at once".to_owned(),
            Self::Unchecked { bytecode, .. } => format!("remove it first: rm {}", bytecode.display()),
            Self::Syntax { .. } => "a `replace` or `pattern` rule changes what no path leads to".to_owned(),
            Self::Value { expected, .. } if expected == PLAIN => {
                "name a value that is no table, list or block; a `replace` or `pattern` rule changes any text"
                    .to_owned()
            }
            Self::Value { .. } => "correct `was`, or leave it out".to_owned(),
            Self::Unlistable { .. } | Self::NoPython { .. } | Self::TooLarge { .. } => return None,
        })
    }
}

/// `path:line` of a byte.
pub(super) fn place(path: &Path, bytes: &[u8], offset: usize) -> String {
    let line = memchr::memchr_iter(b'\n', &bytes[..offset.min(bytes.len())]).count() + 1;
    format!("{}:{line}", path.display())
}
