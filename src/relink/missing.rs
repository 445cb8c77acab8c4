//! Libraries that were not found, and the guess which package has them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::inputs::hints;

/// A library that was not found, or was found but will not do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Missing {
    /// The name that is needed.
    pub soname: String,
    /// The file that needs it, relative to the tree.
    pub file: PathBuf,
    /// The package of that file, where it is known.
    pub package: Option<String>,
    /// What is wrong.
    #[serde(flatten)]
    pub reason: Reason,
    /// The Debian package that probably has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub debian: Option<String>,
    /// The attribute of nixpkgs that probably has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nix: Option<String>,
}

/// What is wrong with a needed library.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum Reason {
    /// Neither the tree nor the inputs have it.
    NotFound,
    /// It is opened by name, and neither the tree nor the inputs have it.
    NotFoundByName,
    /// Only one for another machine or C library is there.
    Unsuitable {
        /// Where it was found.
        found: PathBuf,
    },
    /// It lacks symbol versions.
    Versions {
        /// Where it was found.
        found: PathBuf,
        /// Which it lacks.
        lacks: BTreeSet<String>,
    },
    /// The name has a slash: the dynamic linker would not search for it.
    Path,
    /// It is in a folder whose name has a character that means something else in search paths.
    Unnameable {
        /// Where it was found.
        found: PathBuf,
    },
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
    /// With a guess which package has it.
    pub fn new(soname: &str, file: &Path, package: Option<&str>, reason: Reason) -> Self {
        let mut missing = Self {
            soname: soname.to_owned(),
            file: file.to_owned(),
            package: package.map(str::to_owned),
            reason,
            debian: None,
            nix: None,
        };
        if missing.is_absent() {
            (missing.debian, missing.nix) = (Some(debian_package(soname)), nix_package(soname));
        }
        missing
    }

    /// Whether there is no library of that name at all.
    pub fn is_absent(&self) -> bool {
        matches!(self.reason, Reason::NotFound | Reason::NotFoundByName)
    }

    /// What is wrong, without the file.
    pub fn problem(&self) -> String {
        let Self { soname, reason, .. } = self;
        match reason {
            Reason::NotFound => format!("needs {soname}, which is not there"),
            Reason::NotFoundByName => format!("opens {soname} by name, which is not there"),
            Reason::Unsuitable { found } => {
                format!("needs {soname}; {} is for another machine or C library", found.display())
            }
            Reason::Versions { found, lacks } => {
                let lacks: Vec<&str> = lacks.iter().map(String::as_str).collect();
                format!("needs {} of {soname}, which {} does not define", lacks.join(", "), found.display())
            }
            Reason::Path => format!("needs `{soname}`: expected a name without a slash"),
            Reason::Unnameable { found } => {
                format!(
                    "needs {soname}; {} is in a folder that no search path can name: it has : or $",
                    found.display()
                )
            }
            Reason::Conflict { wanted, found } => {
                format!("needs {soname} from {}, but would find {}", wanted.display(), found.display())
            }
        }
    }
}

/// One line a problem, with the first file that has it.
pub fn problems(missing: &[Missing]) -> Vec<String> {
    let mut problems: BTreeMap<(&str, String), (&Missing, usize)> = BTreeMap::new();
    for missing in missing {
        problems.entry((&missing.soname, missing.problem())).or_insert((missing, 0)).1 += 1;
    }
    let line = |((_, problem), (first, files)): ((&str, String), (&Missing, usize))| {
        let others = match files - 1 {
            0 => String::new(),
            1 => " (and one more file)".to_owned(),
            more => format!(" (and {more} more files)"),
        };
        format!("{} {problem}{others}", first.file.display())
    };
    problems.into_iter().map(line).collect()
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

/// Attributes of nixpkgs that are no development package of Debian's, by the name of the library.
const NIX: [(&str, &str); 14] = [
    ("stdc++", "stdenv.cc.cc.lib"),
    ("gcc_s", "stdenv.cc.cc.lib"),
    ("gomp", "stdenv.cc.cc.lib"),
    ("atomic", "stdenv.cc.cc.lib"),
    ("quadmath", "gfortran.cc.lib"),
    ("gfortran", "gfortran.cc.lib"),
    ("GL", "libglvnd"),
    ("EGL", "libglvnd"),
    ("OpenGL", "libglvnd"),
    ("GLX", "libglvnd"),
    ("gbm", "libgbm"),
    ("pulse", "libpulseaudio"),
    ("xkbcommon-x11", "libxkbcommon"),
    ("pcsclite", "pcsclite.lib"),
];

/// The attribute of nixpkgs that should have a library.
pub fn nix_package(soname: &str) -> Option<String> {
    let name = soname.split(".so").next()?.strip_prefix("lib")?;
    if let Some((_, attribute)) = NIX.iter().find(|(known, _)| *known == name) {
        return Some((*attribute).to_owned());
    }
    let hint = hints::library(name).map(|hint| hint.nix);
    // Attributes of packages with several outputs mean the development files' or the programs'.
    let base =
        |nix: &str| [".dev", ".pg_config"].iter().find_map(|end| nix.strip_suffix(end)).unwrap_or(nix).to_owned();
    match hint {
        Some(nix) => Some(format!("{}.out", base(nix))),
        None if name.starts_with('X') && name.len() > 1 => Some(format!("xorg.lib{name}")),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{debian_package, nix_package};

    #[test]
    fn guesses_attributes() {
        for (soname, attribute) in [
            ("libxml2.so.16", Some("libxml2.out")),
            ("libstdc++.so.6", Some("stdenv.cc.cc.lib")),
            ("libXext.so.6", Some("xorg.libXext")),
            ("libz.so.1", Some("zlib.out")),
            ("libpq.so.5", Some("libpq.out")),
            ("libunheard.so.1", None),
        ] {
            assert_eq!(nix_package(soname).as_deref(), attribute, "{soname}");
        }
    }

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
