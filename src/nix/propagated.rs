//! Inputs that other inputs bring along: nixpkgs writes into `nix-support/` of an output which others are needed
//! by whatever uses it.

use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Lists of store paths in `nix-support/`, separated by white space. The first two are those that packages have had
/// for long, the others follow platforms (build, host, target), which are one here.
const LISTS: [&str; 6] = [
    "propagated-build-inputs",
    "propagated-native-build-inputs",
    "propagated-build-build-deps",
    "propagated-build-target-deps",
    "propagated-host-host-deps",
    "propagated-target-target-deps",
];

/// A list with more bytes is not believed.
const LONGEST: u64 = 1 << 20;
/// More inputs than any package has.
const MOST: usize = 20_000;

/// Why what inputs bring along is not known.
#[derive(Debug, thiserror::Error)]
pub enum PropagatedError {
    /// The list could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The list.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The list names what is no path.
    #[error("{} names `{}`; expected absolute paths", list.display(), found.escape_debug())]
    NotAPath {
        /// The list.
        list: PathBuf,
        /// What it names.
        found: String,
    },
    /// The list names what is not there.
    #[error("{} names {}, which is not here", list.display(), missing.display())]
    Missing {
        /// The list.
        list: PathBuf,
        /// What it names.
        missing: PathBuf,
    },
    /// A list, or all together, are too long.
    #[error("{} makes more than {MOST} inputs or is longer than {LONGEST} bytes", list.display())]
    TooMany {
        /// The list.
        list: PathBuf,
    },
}

impl crate::explain::Explain for PropagatedError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { missing, .. } => {
                Some(format!("is the input whole? `nix-store --verify-path {}` says", missing.display()))
            }
            _ => None,
        }
    }
}

/// `inputs` in their order, then what they bring along, the nearest first, each once.
pub fn closure(inputs: &[PathBuf]) -> Result<Vec<PathBuf>, PropagatedError> {
    let mut seen: BTreeSet<PathBuf> = BTreeSet::new();
    let mut all = Vec::new();
    let mut pending: VecDeque<PathBuf> = inputs.iter().cloned().collect();
    while let Some(path) = pending.pop_front() {
        if !seen.insert(path.clone()) {
            continue;
        }
        for list in LISTS.map(|name| path.join("nix-support").join(name)) {
            pending.extend(read(&list)?);
            if all.len() + pending.len() > MOST {
                return Err(PropagatedError::TooMany { list });
            }
        }
        all.push(path);
    }
    Ok(all)
}

/// The paths of one list; none where there is no list.
fn read(list: &Path) -> Result<Vec<PathBuf>, PropagatedError> {
    let failed = |source| PropagatedError::Read { path: list.to_owned(), source };
    let size = match fs::metadata(list) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        metadata => metadata.map_err(failed)?.len(),
    };
    if size > LONGEST {
        return Err(PropagatedError::TooMany { list: list.to_owned() });
    }
    let text = fs::read_to_string(list).map_err(failed)?;
    let mut paths = Vec::new();
    for name in text.split_ascii_whitespace() {
        let path = PathBuf::from(name);
        if !path.is_absolute() {
            return Err(PropagatedError::NotAPath { list: list.to_owned(), found: name.to_owned() });
        }
        if !path.exists() {
            return Err(PropagatedError::Missing { list: list.to_owned(), missing: path });
        }
        paths.push(path);
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Store paths that bring others along: (name, list, names).
    fn store(lists: &[(&str, &str, &[&str])]) -> tempfile::TempDir {
        let store = tempfile::tempdir().unwrap();
        for (name, list, others) in lists {
            let support = store.path().join(name).join("nix-support");
            fs::create_dir_all(&support).unwrap();
            let text = others.iter().map(|other| format!(" {} ", store.path().join(other).display()));
            fs::write(support.join(list), text.collect::<String>() + "\n").unwrap();
        }
        store
    }

    fn names(store: &tempfile::TempDir, inputs: &[&str]) -> Result<Vec<String>, PropagatedError> {
        let inputs: Vec<_> = inputs.iter().map(|name| store.path().join(name)).collect();
        let name = |path: PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
        Ok(closure(&inputs)?.into_iter().map(name).collect())
    }

    #[test]
    fn follows_lists_through_cycles_and_keeps_the_order() {
        let store = store(&[
            ("xmlsec-dev", "propagated-build-inputs", &["xmlsec", "libxml2-dev"]),
            ("libxml2-dev", "propagated-build-inputs", &["libxml2", "zlib-dev"]),
            ("libxml2-dev", "propagated-native-build-inputs", &["hook"]),
            ("zlib-dev", "propagated-build-inputs", &["zlib", "libxml2-dev"]),
            ("cc", "propagated-target-target-deps", &["bintools"]),
            ("bintools", "setup-hook", &[]),
            ("hook", "other", &["gone"]),
            ("xmlsec", "other", &[]),
            ("libxml2", "other", &[]),
            ("zlib", "other", &[]),
        ]);
        let expected = ["cc", "xmlsec-dev", "bintools", "xmlsec", "libxml2-dev", "libxml2", "zlib-dev", "hook", "zlib"];
        assert_eq!(names(&store, &["cc", "xmlsec-dev", "cc"]).unwrap(), expected);
        assert_eq!(names(&store, &["zlib", "absent"]).unwrap(), ["zlib", "absent"]);
        assert!(names(&store, &[]).unwrap().is_empty());
    }

    #[test]
    fn refuses_lists_of_something_else() {
        let store = store(&[("a", "propagated-build-inputs", &["gone"]), ("b", "propagated-build-inputs", &[])]);
        assert!(matches!(names(&store, &["a"]), Err(PropagatedError::Missing { .. })));
        let list = store.path().join("b/nix-support/propagated-build-inputs");
        fs::write(&list, "relative/path").unwrap();
        assert!(matches!(names(&store, &["b"]), Err(PropagatedError::NotAPath { .. })));
        fs::write(&list, vec![b' '; (1 << 20) + 1]).unwrap();
        assert!(matches!(names(&store, &["b"]), Err(PropagatedError::TooMany { .. })));
    }
}
