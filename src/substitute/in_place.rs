//! The rules of a command line, each of which sees what the one before it made: nixpkgs' `substituteInPlace`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::error::{Failure, Reason, SubstituteError};
use super::nearest::Search;
use super::{LARGEST, Plan, RuleReport, files, rule};
use crate::edit::{Change, Text, is_binary};
use crate::recipe::Mode;

/// One replacement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// `--replace-fail OLD NEW` and its kin: every `OLD` becomes `NEW`.
    Replace {
        /// What happens in a file that has none.
        mode: Mode,
        /// The text, not empty.
        old: String,
        /// What comes in its place, as it is.
        new: String,
    },
    /// `--subst-var-by NAME VALUE`: every `@NAME@` becomes `VALUE`. There may be none.
    Variable {
        /// The name.
        name: String,
        /// The value.
        value: String,
    },
}

impl Step {
    fn parts(&self) -> (String, &str, Mode) {
        match self {
            Self::Replace { mode, old, new } => (old.clone(), new, *mode),
            Self::Variable { name, value } => (format!("@{name}@"), value, Mode::Quiet),
        }
    }
}

/// Plans all `steps`, in their order, in each of `paths`. Nothing is written; the changes have the paths as they are given.
///
/// # Errors
/// Everything that is wrong, at once; files that are links, are no text, or cannot be read.
pub fn plan(paths: &[PathBuf], steps: &[Step]) -> Result<Plan, SubstituteError> {
    let mut plan = Plan::default();
    let mut failures = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        let (old, _, mode) = step.parts();
        let word = match mode {
            Mode::Fail => "replace-fail",
            Mode::Warn => "replace-warn",
            Mode::Quiet if matches!(step, Step::Variable { .. }) => "subst-var",
            Mode::Quiet => "replace-quiet",
        };
        let rule = format!("rule {} ({word} {})", index + 1, rule::short(&old));
        plan.report.rules.push(RuleReport { rule, matches: 0, files: 0 });
    }
    for path in paths {
        match open(path)? {
            Ok(before) => {
                let mut bytes = before.clone();
                for (index, step) in steps.iter().enumerate() {
                    if let Err(reason) = follow(step, path, &mut bytes, &mut plan, index) {
                        failures.push((index, reason));
                    }
                }
                let change = Change { before: Some(before), after: Text::from(bytes), executable: None };
                plan.changes.0.insert(path.clone(), change);
            }
            Err(reason) => failures.push((0, reason)),
        }
    }
    if failures.is_empty() {
        plan.report.files = plan.changes.summaries();
        return Ok(plan);
    }
    let label = |index: usize| plan.report.rules.get(index).map(|report| report.rule.clone()).unwrap_or_default();
    let failures = failures.into_iter().map(|(index, reason)| Failure { rule: label(index), reason }).collect();
    Err(SubstituteError::Rules { failures })
}

fn open(path: &PathBuf) -> Result<Result<Vec<u8>, Reason>, SubstituteError> {
    let failed = |source| SubstituteError::Read { path: path.clone(), source };
    let metadata = fs::symlink_metadata(path).map_err(failed)?;
    if metadata.is_symlink() {
        let target = fs::read_link(path).map_err(failed)?;
        return Ok(Err(Reason::Link { path: path.clone(), target }));
    }
    // A pipe would never end.
    if !metadata.is_file() {
        let mode = metadata.permissions().mode();
        return Err(failed(std::io::Error::other(format!("it is no file (mode {mode:o})"))));
    }
    Ok(files::read(path).map_err(failed)?.ok_or_else(|| Reason::TooLarge { path: path.clone(), expected: LARGEST }))
}

fn follow(step: &Step, path: &Path, bytes: &mut Vec<u8>, plan: &mut Plan, index: usize) -> Result<(), Reason> {
    let (old, new, mode) = step.parts();
    let finder = memchr::memmem::Finder::new(&old);
    let places: Vec<usize> = if old.is_empty() { Vec::new() } else { finder.find_iter(bytes).collect() };
    if places.is_empty() {
        let missing = || {
            let mut search = Search::new(&old);
            if let Some(search) = &mut search {
                search.look(path, bytes);
            }
            let (wanted, pattern) = (rule::short(&old), path.display().to_string());
            Reason::NoMatch { wanted, pattern, files: 1, nearest: search.and_then(Search::found) }
        };
        match mode {
            Mode::Fail => return Err(missing()),
            Mode::Warn => {
                let warning = format!("{}: {}", plan.report.rules[index].rule, missing());
                plan.report.warnings.push(warning);
            }
            Mode::Quiet => {}
        }
        return Ok(());
    }
    if is_binary(bytes) && old.len() != new.len() {
        return Err(Reason::Length { path: path.to_owned(), expected: old.len(), found: new.len() });
    }
    let size = (bytes.len() as u64).saturating_add((places.len() as u64).saturating_mul(new.len() as u64));
    if size > LARGEST {
        return Err(Reason::TooLarge { path: path.to_owned(), expected: LARGEST });
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut done = 0;
    for place in &places {
        out.extend_from_slice(&bytes[done..*place]);
        out.extend_from_slice(new.as_bytes());
        done = place + old.len();
    }
    out.extend_from_slice(&bytes[done..]);
    *bytes = out;
    let report = &mut plan.report.rules[index];
    report.matches += places.len() as u64;
    report.files += 1;
    Ok(())
}
