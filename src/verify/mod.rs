//! Reads a finished tree again, believing nothing that was said about it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::digest::Sha256;
use crate::explain::{ExitCode, Explain};
use crate::place::{self, PlaceError, Receipt};
use crate::references::ReferencesError;
use crate::relink;
use crate::report::Reporter;
use crate::sandbox::SandboxError;
use crate::tree::TreeError;

mod imports;
mod metadata;
mod records;
mod references;

/// One thing that is wrong with a tree.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// Which check found it.
    pub check: Check,
    /// The file, package or module.
    pub subject: String,
    /// What was expected and what was found.
    pub problem: String,
}

/// What `verify` looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Check {
    /// The folder and the NAR hash of the receipt.
    Identity,
    /// Every file against RECORD, and every file in a RECORD.
    Record,
    /// Needed sonames, symbol versions, RUNPATH, interpreters.
    Elf,
    /// References to build folders.
    References,
    /// `Requires-Dist` and `Requires-Python` of what is installed.
    Requirements,
    /// Import of each top-level module.
    Imports,
}

/// What was looked at, and what was wrong.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// For each check, what was looked at: `30,412 files in 175 RECORDs`.
    pub looked: BTreeMap<Check, String>,
    /// All that is wrong, sorted.
    pub findings: Vec<Finding>,
}

/// Why a tree could not be verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// No receipt, or an unreadable tree.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The tree could not be walked.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The imports could not be tried.
    #[error("the imports cannot be tried: {0}")]
    Sandbox(#[from] SandboxError),
    /// The interpreter that tries the imports gave no answer.
    #[error("the interpreter of `{}` ended with status {status} while modules were imported", tree.display())]
    Interpreter {
        /// The tree.
        tree: PathBuf,
        /// Its exit status.
        status: i32,
        /// What it printed.
        output: String,
    },
    /// A file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// ELF files could not be read.
    #[error(transparent)]
    Relink(#[from] relink::RelinkError),
    /// References could not be looked for.
    #[error(transparent)]
    References(#[from] ReferencesError),
    /// There are no packages in the tree.
    #[error("`{}` has no site-packages folder", tree.display())]
    NoSite {
        /// The tree.
        tree: PathBuf,
    },
}

impl Explain for VerifyError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Place(error) => error.hint(),
            Self::Tree(error) => error.hint(),
            Self::Sandbox(error) => Some(format!(
                "{}or leave the imports out with --no-imports",
                error.hint().map(|hint| format!("{hint}\n")).unwrap_or_default()
            )),
            Self::Relink(error) => error.hint(),
            Self::References(error) => error.hint(),
            Self::NoSite { .. } => Some("name a folder that `akb build` made".to_owned()),
            Self::Interpreter { .. } | Self::Io { .. } => None,
        }
    }

    fn output(&self) -> Option<&str> {
        match self {
            Self::Interpreter { output, .. } => Some(output),
            _ => None,
        }
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Place(error) => error.exit_code(),
            Self::Sandbox(error) => error.exit_code(),
            _ => ExitCode::Failed,
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Identity => "identity",
            Self::Record => "record",
            Self::Elf => "elf",
            Self::References => "references",
            Self::Requirements => "requirements",
            Self::Imports => "imports",
        })
    }
}

/// How `verify` goes about it.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Whether the top-level modules are imported.
    pub imports: bool,
    /// How many files are read, and modules imported, at once.
    pub jobs: NonZeroUsize,
}

/// Verifies the placed tree `tree` (absolute).
pub fn verify(tree: &Path, options: Options, reporter: &dyn Reporter) -> Result<Report, VerifyError> {
    let receipt = place::receipt(tree)?;
    let site = Site::open(tree)?;
    let mut report = Report::default();
    identity(tree, &receipt, &mut report)?;
    records::check(&site, &mut report)?;
    elf(tree, &receipt, options, &mut report)?;
    references::check(tree, &receipt, options.jobs, &mut report)?;
    metadata::check(&site, &mut report)?;
    if options.imports {
        imports::check(&site, &receipt, options.jobs, reporter, &mut report)?;
    }
    report.findings.sort();
    Ok(report)
}

fn identity(tree: &Path, receipt: &Receipt, report: &mut Report) -> Result<(), PlaceError> {
    if receipt.prefix != tree {
        report.findings.push(Finding {
            check: Check::Identity,
            subject: tree.display().to_string(),
            problem: format!(
                "was placed for `{}` and moved; put it here with `akb place {}`",
                receipt.prefix.display(),
                tree.display()
            ),
        });
    }
    let found = match place::identify(tree, &receipt.prefix) {
        Ok(found) => found,
        Err(error @ PlaceError::Spot { .. }) => {
            let (subject, problem) = (tree.display().to_string(), error.to_string());
            report.findings.push(Finding { check: Check::Identity, subject, problem });
            report.looked.insert(Check::Identity, "nothing that has a canonical hash".to_owned());
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    if found.hash != receipt.hash {
        report.findings.push(Finding {
            check: Check::Identity,
            subject: tree.display().to_string(),
            problem: format!("expected the canonical hash {}, found {}", receipt.hash, found.hash),
        });
    }
    report.looked.insert(Check::Identity, format!("{} files, {}", found.files, found.hash));
    Ok(())
}

fn elf(tree: &Path, receipt: &Receipt, options: Options, report: &mut Report) -> Result<(), VerifyError> {
    let interpreter = if receipt.outside.is_empty() { None } else { relink::interpreter_of(&tree.join("bin/python"))? };
    let premises = relink::Premises {
        prefix: &receipt.prefix,
        rules: &receipt.rules,
        linker: interpreter.as_deref().map_or(relink::Linker::Own, relink::Linker::At),
        outside: &receipt.outside,
    };
    let outcome = relink::check(tree, &premises, options.jobs)?;
    report.looked.insert(Check::Elf, format!("{} ELF files", outcome.files));
    report.findings.extend(outcome.findings.into_iter().map(|finding| Finding {
        check: Check::Elf,
        subject: finding.path.display().to_string(),
        problem: finding.problem,
    }));
    Ok(())
}

/// The site-packages folder of a tree and the packages in it.
struct Site {
    tree: PathBuf,
    /// From the top of the tree, `lib/python3.14/site-packages`.
    folder: PathBuf,
    /// The `.dist-info` folders, from the top of the tree.
    dists: Vec<PathBuf>,
}

impl Site {
    fn open(tree: &Path) -> Result<Self, VerifyError> {
        let missing = || VerifyError::NoSite { tree: tree.to_owned() };
        let lib = tree.join("lib");
        let folder = crate::tree::list(&lib)
            .map_err(|_| missing())?
            .into_iter()
            .map(|python| python.join("site-packages"))
            .find(|site| site.is_dir())
            .ok_or_else(missing)?;
        let dists = crate::tree::list(&folder)?
            .into_iter()
            .filter(|path| path.extension().is_some_and(|extension| extension == "dist-info"))
            .filter_map(|path| path.strip_prefix(tree).map(Path::to_owned).ok())
            .collect();
        let folder = folder.strip_prefix(tree).map_err(|_| missing())?.to_owned();
        Ok(Self { tree: tree.to_owned(), folder, dists })
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, VerifyError> {
        let path = self.tree.join(path);
        fs::read(&path).map_err(|source| VerifyError::Io { path, source })
    }
}

/// The hash and the size of a file.
fn measure(path: &Path) -> io::Result<(Sha256, u64)> {
    Sha256::of_reader(fs::File::open(path)?)
}

/// Names as a set, for messages: at most the first few.
fn few(names: &BTreeSet<String>) -> String {
    const SHOWN: usize = 5;
    let mut text = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}
