//! Substitutions: files of a tree that become what the recipe says.
//!
//! Every rule must match, or nothing is written at all. [`plan`](fn@plan) finds all edits, or everything that is
//! wrong; only then [`Plan::apply`] writes them. All rules see the files as they were: two that want the same bytes
//! are in conflict, and the order of the rules decides nothing.
//!
//! | rule | file |
//! |---|---|
//! | `replace`: one text for another | `literal` |
//! | `pattern`: a regular expression | `pattern` |
//! | `variables`: `@NAME@` | `variables` |
//! | `shebangs`: `#!` lines | `shebang` |
//! | `contents`, `source`: a whole file | `whole` |
//! | `at`: a value in JSON, YAML or TOML | `structured` |
//!
//! [`in_place`] has the rules of a command line, which follow each other as in nixpkgs' `substituteInPlace`.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::digest::Sha256;
use crate::edit::{Changes, Summary, Text};
use crate::place;
use crate::recipe::SubstituteRecipe;
use crate::request::PythonVersion;

mod error;
mod files;
pub mod in_place;
mod literal;
mod nearest;
mod pattern;
mod plan;
mod rule;
mod shebang;
mod structured;
mod template;
mod variables;
mod whole;

pub use error::{Failure, Reason, SubstituteError};
pub use nearest::Nearest;
pub use rule::RuleError;
pub use template::NAMES;

/// Most bytes of a file that rules look at, and that they make.
pub const LARGEST: u64 = 1 << 30;

/// The rules of a recipe, with what their sources say.
#[derive(Debug, Default)]
pub struct Rules {
    rules: Vec<rule::Rule>,
    identity: String,
}

impl Rules {
    /// Reads the rules; their sources lie in `folder`.
    ///
    /// # Errors
    /// A source that cannot be read, and tables that no rule can be made of, though a recipe that was parsed has none.
    pub fn open(said: &[SubstituteRecipe], folder: &Path) -> Result<Self, SubstituteError> {
        let mut rules = Vec::with_capacity(said.len());
        let mut identity = String::new();
        for (index, said) in said.iter().enumerate() {
            let read = |source: &str| files::source(folder, source);
            match rule::compile(said, index + 1, &read) {
                Ok(rule) => rules.push(rule),
                Err(rule::NoRule::Source(source)) => {
                    let path = folder.join(said.source.as_deref().unwrap_or_default());
                    return Err(SubstituteError::Read { path, source });
                }
                Err(rule::NoRule::Wrong(error)) => {
                    let path = folder.to_owned();
                    return Err(SubstituteError::Read { path, source: io::Error::other(error) });
                }
            }
            if let Some(source) = &said.source {
                let bytes = files::source(folder, source);
                let bytes =
                    bytes.map_err(|error| SubstituteError::Read { path: folder.join(source), source: error })?;
                identity.push_str(&format!("{index} {}\n", Sha256::of(&bytes)));
            }
        }
        Ok(Self { rules, identity })
    }

    /// What the rules make of a tree beyond what the recipe says: the hashes of their sources. For cache keys.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// The inputs whose folders they write into files: these have to stay.
    pub fn inputs(&self) -> BTreeSet<String> {
        self.rules.iter().flat_map(|rule| rule.kind.inputs()).collect()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

/// Whether a rule can be made of `said`, the `number`th table of its recipe; its source is not read.
pub(crate) fn check(said: &SubstituteRecipe, number: usize) -> Result<(), RuleError> {
    match rule::compile(said, number, &|_| Ok(Vec::new())) {
        Err(rule::NoRule::Wrong(error)) => Err(error),
        _ => Ok(()),
    }
}

/// Where rules are followed.
#[derive(Clone, Debug)]
pub struct Job<'a> {
    /// The tree.
    pub tree: &'a Path,
    /// Where it will lie when it is used: [`place::PREFIX`] for a tree that is placed later.
    pub prefix: &'a str,
    /// Its Python, for `{site}`, `{version}`, `#!` lines and packages.
    pub python: Option<PythonVersion>,
    /// Inputs that stay where they are, by name, with their folders: what `{inputs.NAME}` means.
    pub inputs: &'a BTreeMap<String, PathBuf>,
}

impl Job<'_> {
    /// Whether the tree's folder is not its last one, so that [`place`] must find where it is named.
    fn canonical(&self) -> bool {
        self.prefix == place::PREFIX
    }
}

/// All edits, and what is to be said of them. Nothing is written yet.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// What becomes of which file. [`place::SPOTS`] is among them where files name the tree's own folder.
    pub changes: Changes,
    /// What every rule does.
    pub report: Report,
}

/// What rules do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The rules in their order.
    pub rules: Vec<RuleReport>,
    /// The changed files, sorted.
    pub files: Vec<Summary>,
    /// Rules of mode `warn` that match nothing.
    pub warnings: Vec<String>,
    /// What was left as it is.
    pub notes: Vec<String>,
}

/// What one rule does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleReport {
    /// The rule, as `rule 2 (replace "/usr/bin/x")`.
    pub rule: String,
    /// How often it matches.
    pub matches: u64,
    /// In how many files.
    pub files: usize,
}

impl Plan {
    /// Writes all changes into `tree`, or none.
    pub fn apply(&self, tree: &Path) -> Result<(), SubstituteError> {
        Ok(self.changes.apply(tree)?)
    }

    /// The changed files as `install::refresh_records` wants them.
    pub fn changed(&self) -> BTreeSet<String> {
        self.changes.paths().map(|path| path.display().to_string()).collect()
    }
}

/// Plans all edits of `rules`. Nothing is written.
///
/// # Errors
/// Everything that is wrong, at once, with the nearest line for what was not found.
pub fn plan(rules: &Rules, job: &Job<'_>, jobs: NonZeroUsize) -> Result<Plan, SubstituteError> {
    plan::plan(rules, job, jobs)
}

/// A file that rules look at.
struct File<'a> {
    /// From the top of the tree.
    path: &'a Path,
    bytes: &'a [u8],
    executable: bool,
}

/// What a rule may know beyond the file.
struct Cx<'a> {
    values: template::Values<'a>,
    /// Files and links in the tree's folders of programs.
    programs: &'a BTreeSet<String>,
}

/// What a rule finds in a file.
#[derive(Debug, Default)]
struct Found {
    edits: Vec<(Range<usize>, Text)>,
    /// How often, for each thing that the rule looks for.
    matched: Vec<u64>,
    /// More than that it does not match.
    missing: Option<Reason>,
    executable: Option<bool>,
    notes: Vec<String>,
}

impl Found {
    /// Nothing, of so many things.
    fn nothing(things: usize) -> Self {
        Self { matched: vec![0; things], ..Self::default() }
    }

    /// Edits for one thing.
    fn one(edits: Vec<(Range<usize>, Text)>) -> Self {
        Self { matched: vec![edits.len() as u64], edits, ..Self::default() }
    }
}

impl rule::Rule {
    fn find(&self, file: &File<'_>, cx: &Cx<'_>) -> Result<Found, Reason> {
        let found = match &self.kind {
            rule::Kind::Literal(rule) => rule.find(file, cx),
            rule::Kind::Pattern(rule) => rule.find(file, cx),
            rule::Kind::Variables(rule) => rule.find(file, cx),
            rule::Kind::Shebangs => Ok(shebang::find(file, cx)),
            rule::Kind::Whole(rule) => return rule.find(file, cx),
            rule::Kind::Structured(rule) => rule.find(file, cx),
        }?;
        if !found.edits.is_empty() && crate::edit::is_binary(file.bytes) {
            let path = || file.path.to_owned();
            if !self.binary {
                return Err(Reason::Binary { path: path() });
            }
            let unequal = found.edits.iter().find(|(range, with)| range.len() != with.bytes.len());
            if let Some((range, with)) = unequal {
                return Err(Reason::Length { path: path(), expected: range.len(), found: with.bytes.len() });
            }
        }
        Ok(found)
    }

    /// What it looks for, each to be found in every entry of `files`, as messages say it.
    fn things(&self) -> Vec<String> {
        match &self.kind {
            rule::Kind::Literal(literal) => vec![rule::short(&literal.old)],
            rule::Kind::Pattern(_) => vec!["the pattern".to_owned()],
            rule::Kind::Variables(variables) => variables.names().iter().map(|name| format!("@{name}@")).collect(),
            rule::Kind::Shebangs => vec!["a #! line of a program that the tree has".to_owned()],
            rule::Kind::Whole(_) => vec!["the file".to_owned()],
            rule::Kind::Structured(_) => vec!["the value".to_owned()],
        }
    }

    /// A text that lines can be like which do not match.
    fn like(&self, thing: &str) -> Option<String> {
        match &self.kind {
            rule::Kind::Literal(literal) => Some(literal.old.clone()),
            rule::Kind::Pattern(pattern) => Some(pattern.plain()),
            rule::Kind::Variables(_) => Some(thing.to_owned()),
            rule::Kind::Shebangs | rule::Kind::Whole(_) | rule::Kind::Structured(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
