//! Libraries that were not found, and the guess which package has them.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use super::glob;
use crate::inputs::hints;

/// A library that was not found, or was found but will not do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Missing {
    /// The name that is needed.
    pub soname: String,
    /// The file that needs it, relative to the tree.
    pub file: PathBuf,
    /// What is wrong.
    pub reason: Reason,
}

/// What is wrong with a needed library.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Neither the tree nor the inputs have it.
    NotFound,
    /// It is opened by name, and neither the tree nor the inputs have it.
    NotFoundByName,
    /// It lacks symbol versions.
    Versions {
        /// Where it was found.
        found: PathBuf,
        /// Which it lacks.
        lacks: BTreeSet<String>,
    },
    /// The name has a slash: the dynamic linker would not search for it.
    Path,
    /// No order of folders gives each need its library.
    Conflict {
        /// The library that should be found.
        wanted: PathBuf,
        /// The one that would be.
        found: PathBuf,
    },
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.file.display(), self.problem())
    }
}

impl Missing {
    /// What is wrong, without the file.
    pub fn problem(&self) -> String {
        let Self { soname, reason, .. } = self;
        match reason {
            Reason::NotFound => format!("needs {soname}, which is not there"),
            Reason::NotFoundByName => format!("opens {soname} by name, which is not there"),
            Reason::Versions { found, lacks } => {
                let lacks: Vec<&str> = lacks.iter().map(String::as_str).collect();
                format!("needs {} of {soname}, which {} does not define", lacks.join(", "), found.display())
            }
            Reason::Path => format!("needs `{soname}`: expected a name without a slash"),
            Reason::Conflict { wanted, found } => {
                format!("needs {soname} from {}, but would find {}", wanted.display(), found.display())
            }
        }
    }

    /// Whether one of the patterns, `SONAME` or `FILE:SONAME`, says that it may be missing.
    pub fn is_ignored(&self, patterns: &[String]) -> bool {
        patterns.iter().any(|pattern| match pattern.split_once(':') {
            Some((file, soname)) => {
                glob::matches(file, &self.file.to_string_lossy()) && glob::matches(soname, &self.soname)
            }
            None => glob::matches(pattern, &self.soname),
        })
    }
}

/// Packages that do not follow the rule of [`debian_package`].
const EXCEPTIONS: [(&str, &str); 14] = [
    ("libc.so.6", "libc6"),
    ("libm.so.6", "libc6"),
    ("libdl.so.2", "libc6"),
    ("libpthread.so.0", "libc6"),
    ("librt.so.1", "libc6"),
    ("libresolv.so.2", "libc6"),
    ("libcrypto.so.3", "libssl3t64"),
    ("libz.so.1", "zlib1g"),
    ("libbz2.so.1.0", "libbz2-1.0"),
    ("libtinfo.so.6", "libtinfo6"),
    ("libgssapi_krb5.so.2", "libgssapi-krb5-2"),
    ("libkrb5.so.3", "libkrb5-3"),
    // Opened by name; the version is that of Debian's krb5 since 2014.
    ("libkadm5clnt_mit.so", "libkadm5clnt-mit12"),
    ("libkadm5srv_mit.so", "libkadm5srv-mit12"),
];

/// The Debian package that should have a library, by the naming rule of Debian's policy (8.1): name and version
/// of the soname, a dash between them where the name ends with a digit. Without a version in the name, the
/// package is the one for development.
pub fn debian_package(soname: &str) -> String {
    if let Some((_, package)) = EXCEPTIONS.iter().find(|(name, _)| *name == soname) {
        return (*package).to_owned();
    }
    let (name, version) = soname.split_once(".so").unwrap_or((soname, ""));
    let name = name.to_lowercase().replace('_', "-");
    let version = version.trim_start_matches('.').to_lowercase();
    if version.is_empty() {
        // libfoo-1.2.so has its version in the name.
        return match name.rsplit_once('-') {
            Some((_, tail)) if tail.starts_with(|first: char| first.is_ascii_digit()) => name,
            _ => hints::library(name.trim_start_matches("lib"))
                .map_or(format!("{name}-dev"), |hint| hint.debian.to_owned()),
        };
    }
    // Debian writes libgcc-s1, libstdc++6, libx11-6.
    let dash = if name.ends_with(|last: char| last.is_ascii_digit()) { "-" } else { "" };
    format!("{name}{dash}{version}")
}

#[cfg(test)]
mod tests {
    use super::debian_package;

    #[test]
    fn guesses_by_the_naming_rule() {
        for (soname, package) in [
            ("libpq.so.5", "libpq5"),
            ("libgcc_s.so.1", "libgcc-s1"),
            ("libstdc++.so.6", "libstdc++6"),
            ("libxml2.so.16", "libxml2-16"),
            ("libkadm5clnt_mit.so.12", "libkadm5clnt-mit12"),
            ("libX11.so.6", "libx11-6"),
            ("libGL.so.1", "libgl1"),
            ("libc.so.6", "libc6"),
            ("libfoo.so", "libfoo-dev"),
        ] {
            assert_eq!(debian_package(soname), package);
        }
    }
}
