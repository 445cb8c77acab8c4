//! The rules of a command line, each of which sees what the one before it made: nixpkgs' `substituteInPlace`.

use std::collections::BTreeSet;
use std::fs;
use std::io;
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
        /// The bytes, at least one.
        old: Vec<u8>,
        /// What comes in their place, as it is.
        new: Vec<u8>,
    },
    /// `--subst-var-by NAME VALUE`: every `@NAME@` becomes `VALUE`. There may be none.
    Variable {
        /// The name.
        name: Vec<u8>,
        /// The value.
        value: Vec<u8>,
    },
}

impl Step {
    fn parts(&self) -> (Vec<u8>, &[u8], Mode) {
        match self {
            Self::Replace { mode, old, new } => (old.clone(), new, *mode),
            Self::Variable { name, value } => ([b"@", name.as_slice(), b"@"].concat(), value, Mode::Quiet),
        }
    }
}

/// Plans all `steps`, in their order, in each of `paths`. Nothing is written; the changes have the paths as they are in
/// the file system, so that a file that is named twice is one.
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
        let rule = format!("rule {} ({word} {})", index + 1, rule::short(&String::from_utf8_lossy(&old)));
        plan.report.rules.push(RuleReport { rule, matches: 0, files: 0 });
    }
    let mut real = BTreeSet::new();
    for path in paths {
        real.insert(place_of(path).map_err(|source| SubstituteError::Read { path: path.clone(), source })?);
    }
    for path in &real {
        match open(path)? {
            Ok(before) => {
                let mut bytes = before.clone();
                for (index, step) in steps.iter().enumerate() {
                    if let Err(reason) = follow(step, path, &mut bytes, &mut plan, index) {
                        failures.push((index, reason));
                    }
                }
                if bytes != before
                    && let Some(bytecode) = files::unchecked(path)
                {
                    failures.push((0, Reason::Unchecked { path: path.clone(), bytecode }));
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

/// Where a file is, whatever links and `..` lead to its folder. It may be a link itself.
fn place_of(path: &Path) -> io::Result<PathBuf> {
    match path.file_name() {
        Some(name) => Ok(fs::canonicalize(path.parent().unwrap_or(Path::new("/")))?.join(name)),
        None => fs::canonicalize(path),
    }
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
        let what = if metadata.is_dir() { "a folder; name the files in it" } else { "no file" };
        return Err(failed(io::Error::other(format!("it is {what}"))));
    }
    Ok(files::read(path).map_err(failed)?.ok_or_else(|| Reason::TooLarge { path: path.clone(), expected: LARGEST }))
}

fn follow(step: &Step, path: &Path, bytes: &mut Vec<u8>, plan: &mut Plan, index: usize) -> Result<(), Reason> {
    let (old, new, mode) = step.parts();
    let finder = memchr::memmem::Finder::new(&old);
    let places: Vec<usize> = if old.is_empty() { Vec::new() } else { finder.find_iter(bytes).collect() };
    if places.is_empty() {
        let missing = || {
            let text = String::from_utf8_lossy(&old);
            let mut search = Search::new(&text);
            if let Some(search) = &mut search {
                search.look(path, bytes);
            }
            let (wanted, pattern) = (rule::short(&text), path.display().to_string());
            Reason::NoMatch { wanted, pattern, files: 1, nearest: search.and_then(Search::found), all: true }
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
        out.extend_from_slice(new);
        done = place + old.len();
    }
    out.extend_from_slice(&bytes[done..]);
    *bytes = out;
    let report = &mut plan.report.rules[index];
    report.matches += places.len() as u64;
    report.files += 1;
    Ok(())
}
