//! Why a tree could not be relinked.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;

use super::elf::ElfError;
use super::missing::{Missing, Reason, debian_package, nix_package};
use super::{INTERPRETER_SLOT, RelinkReport};
use crate::explain::{ExitCode, Explain};
use crate::runtime::seal;
use crate::tree::TreeError;

/// Why a tree could not be relinked.
#[derive(Debug, thiserror::Error)]
pub enum RelinkError {
    /// Libraries are not there. All of them at once.
    #[error("{} not resolved:{}", count(&.report.missing), lines(&.report.missing))]
    Missing {
        /// Everything that was decided; nothing of it was done.
        report: Box<RelinkReport>,
    },
    /// The inputs have no dynamic linker where they say.
    #[error("the inputs ({inputs}) have no dynamic linker at {}", path.display())]
    NoInterpreter {
        /// As the sandbox sees it.
        path: PathBuf,
        /// Their description.
        inputs: String,
    },
    /// The path of the dynamic linker does not fit.
    #[error("the path of the dynamic linker has {found} bytes; expected at most {}", INTERPRETER_SLOT - 1)]
    PrefixTooLong {
        /// Its length.
        found: usize,
    },
    /// A file could not be edited.
    #[error("{}: {source}", path.display())]
    Elf {
        /// Which.
        path: PathBuf,
        /// Why.
        source: ElfError,
    },
    /// A copied library would open files of the host.
    #[error("{}: {source}", path.display())]
    Seal {
        /// Which, as the sandbox sees it.
        path: PathBuf,
        /// Why.
        source: seal::SealError,
    },
    /// A folder could not be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Threads could not be started.
    #[error("cannot start threads: {0}")]
    Threads(String),
}

/// Most lines of one message.
const SHOWN: usize = 40;
/// Most names that a hint spells out.
const NAMED: usize = 12;

fn count(missing: &[Missing]) -> String {
    let sonames: BTreeSet<&str> = missing.iter().map(|missing| &*missing.soname).collect();
    match sonames.len() {
        1 => "one library was".to_owned(),
        many => format!("{many} libraries were"),
    }
}

/// One line a problem, with the first file that has it.
fn lines(missing: &[Missing]) -> String {
    let mut problems: BTreeMap<(&str, String), (&Missing, usize)> = BTreeMap::new();
    for missing in missing {
        problems.entry((&missing.soname, missing.problem())).or_insert((missing, 0)).1 += 1;
    }
    let mut text = String::new();
    for ((_, problem), (first, files)) in problems.iter().take(SHOWN) {
        text.push_str(&format!("\n  {} {problem}", first.file.display()));
        match files - 1 {
            0 => {}
            1 => text.push_str(" (and one more file)"),
            more => text.push_str(&format!(" (and {more} more files)")),
        }
    }
    if problems.len() > SHOWN {
        text.push_str(&format!("\n  … and {} more", problems.len() - SHOWN));
    }
    text
}

impl Explain for RelinkError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { report } => Some(missing_hint(&report.missing)),
            Self::NoInterpreter { .. } => Some("add the C library's package (Debian: libc6) to the inputs".to_owned()),
            Self::PrefixTooLong { .. } => Some("choose a shorter folder".to_owned()),
            Self::Seal { .. } => Some(
                "the library differs from Debian's build of it: take the inputs from Debian, or report it as a bug of akb".to_owned(),
            ),
            Self::Tree(error) => error.hint(),
            Self::Elf { .. } | Self::Io { .. } | Self::Threads(_) => None,
        }
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Tree(error) => error.exit_code(),
            Self::Missing { .. } => ExitCode::Build,
            _ => ExitCode::Failed,
        }
    }
}

fn missing_hint(missing: &[Missing]) -> String {
    let absent: Vec<&Missing> = missing.iter().filter(|missing| missing.is_absent()).collect();
    if absent.is_empty() {
        let unsuitable = missing.iter().any(|missing| matches!(missing.reason, Reason::Unsuitable { .. }));
        let hint = if unsuitable {
            "the library is for another machine or C library: take one that fits into the inputs"
        } else {
            "use a newer suite for the inputs, or build the package from source"
        };
        return hint.to_owned();
    }
    let sonames: BTreeSet<&str> = absent.iter().map(|missing| &*missing.soname).collect();
    let unique = |names: BTreeSet<String>| list(names.into_iter());
    let debian = unique(sonames.iter().map(|soname| debian_package(soname)).collect());
    let nix = unique(sonames.iter().filter_map(|soname| nix_package(soname)).collect());
    let nix = if nix.is_empty() { String::new() } else { format!("; attributes of nixpkgs: {nix}") };
    // A package with many plug-ins of which few are used: say it once.
    let owners: Option<BTreeSet<String>> =
        absent.iter().map(|missing| missing.package.as_ref().map(|package| format!("{package}:*"))).collect();
    let ignore = match owners {
        Some(owners) if sonames.len() > NAMED => unique(owners),
        _ => list(sonames.iter().map(|&soname| soname.to_owned())),
    };
    format!(
        "write in akb.toml: [inputs] packages = [{debian}] (a guess by Debian's naming rule{nix}); \
         or, if nothing uses it: [relink] ignore = [{ignore}]"
    )
}

fn list(names: impl ExactSizeIterator<Item = String>) -> String {
    let more = names.len().saturating_sub(NAMED);
    let mut text = names.take(NAMED).map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
    if more > 0 {
        text.push_str(&format!(", and {more} more"));
    }
    text
}
