//! All that a build may depend on, and the knobs that must not change a byte of it.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The interpreter and the platform that wheels are chosen for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Interpreter version.
    pub python: PythonVersion,
    /// Where it runs.
    pub platform: Platform,
}

/// A CPython version. The patch level is `None` where only `3.14` was said; markers on
/// `python_full_version` then see `3.14.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PythonVersion {
    /// 3
    pub major: u8,
    /// 14
    pub minor: u8,
    /// The patch level, where it is known.
    pub patch: Option<u8>,
}

/// A machine and its C library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Platform {
    /// Machine.
    pub arch: Arch,
    /// C library and its version.
    pub libc: Libc,
}

/// Machines, by the names of `uname -m`, which are those of wheel tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Arch {
    X86_64,
    Aarch64,
    I686,
    Armv7l,
    Ppc64le,
    S390x,
    Riscv64,
}

/// C library and the newest version of it whose symbols a wheel may use (PEP 600, PEP 656).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Libc {
    /// glibc, as in `manylinux_2_42`.
    Glibc(u16, u16),
    /// musl, as in `musllinux_1_2`.
    Musl(u16, u16),
}

/// A text that names no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, found `{found}`")]
pub struct NotATarget {
    expected: &'static str,
    found: String,
}

impl Arch {
    const ALL: [(Self, &'static str); 7] = [
        (Self::X86_64, "x86_64"),
        (Self::Aarch64, "aarch64"),
        (Self::I686, "i686"),
        (Self::Armv7l, "armv7l"),
        (Self::Ppc64le, "ppc64le"),
        (Self::S390x, "s390x"),
        (Self::Riscv64, "riscv64"),
    ];

    /// The name in wheel tags and in `platform_machine`.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(arch, _)| *arch == self).map_or("", |(_, name)| name)
    }

    /// The machine that this binary runs on.
    pub fn host() -> Option<Self> {
        std::env::consts::ARCH.parse().ok()
    }
}

impl FromStr for Arch {
    type Err = NotATarget;

    fn from_str(text: &str) -> Result<Self, NotATarget> {
        Self::ALL.iter().find(|(_, name)| *name == text).map(|(arch, _)| *arch).ok_or_else(|| NotATarget {
            expected: "one of x86_64, aarch64, i686, armv7l, ppc64le, s390x, riscv64",
            found: text.to_owned(),
        })
    }
}

impl FromStr for Platform {
    type Err = NotATarget;

    /// Reads `x86_64-manylinux_2_42` and `aarch64-musllinux_1_2`.
    fn from_str(text: &str) -> Result<Self, NotATarget> {
        let wrong = || NotATarget {
            expected: "a platform such as x86_64-manylinux_2_42 or aarch64-musllinux_1_2",
            found: text.to_owned(),
        };
        let (arch, libc) = text.split_once('-').ok_or_else(wrong)?;
        let mut parts = libc.split('_');
        let (family, major, minor) = (parts.next(), parts.next(), parts.next());
        let number = |part: Option<&str>| part.and_then(|part| part.parse::<u16>().ok()).ok_or_else(wrong);
        let (major, minor) = (number(major)?, number(minor)?);
        let libc = match (family, parts.next()) {
            (Some("manylinux"), None) => Libc::Glibc(major, minor),
            (Some("musllinux"), None) => Libc::Musl(major, minor),
            _ => return Err(wrong()),
        };
        Ok(Self { arch: arch.parse()?, libc })
    }
}

impl FromStr for PythonVersion {
    type Err = NotATarget;

    /// Reads `3.14` and `3.14.2`.
    fn from_str(text: &str) -> Result<Self, NotATarget> {
        let wrong = || NotATarget { expected: "a Python version such as 3.14 or 3.14.2", found: text.to_owned() };
        let mut parts = text.split('.').map(|part| part.parse::<u8>().map_err(|_| wrong()));
        let major = parts.next().ok_or_else(wrong)??;
        let minor = parts.next().ok_or_else(wrong)??;
        let patch = parts.next().transpose()?;
        if parts.next().is_some() {
            return Err(wrong());
        }
        Ok(Self { major, minor, patch })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (family, major, minor) = match self.libc {
            Libc::Glibc(major, minor) => ("manylinux", major, minor),
            Libc::Musl(major, minor) => ("musllinux", major, minor),
        };
        write!(f, "{}-{family}_{major}_{minor}", self.arch.name())
    }
}

impl fmt::Display for PythonVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)?;
        self.patch.map_or(Ok(()), |patch| write!(f, ".{patch}"))
    }
}

impl PythonVersion {
    /// `3.14`, whatever the patch level.
    pub fn short(self) -> String {
        format!("{}.{}", self.major, self.minor)
    }
}

macro_rules! serde_as_text {
    ($($name:ty),*) => {$(
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
serde_as_text!(Platform, PythonVersion);

/// Knobs that change how fast or where a build runs, and never what it makes.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many things run at once.
    pub jobs: NonZeroUsize,
    /// Memory in bytes that compilers may use together.
    pub memory: u64,
    /// The cache folder.
    pub cache: PathBuf,
    /// No network: all must be in the cache.
    pub offline: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_round_trip() {
        for text in ["x86_64-manylinux_2_42", "aarch64-musllinux_1_2", "i686-manylinux_2_17"] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), text);
        }
        for text in ["x86_64", "x86_64-linux", "mips-manylinux_2_1", "x86_64-manylinux_2", "x86_64-manylinux_2_1_1"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }

    #[test]
    fn versions_round_trip() {
        for text in ["3.14", "3.14.2"] {
            assert_eq!(text.parse::<PythonVersion>().unwrap().to_string(), text);
        }
        for text in ["3", "3.x", "3.14.2.1", ""] {
            assert!(text.parse::<PythonVersion>().is_err(), "{text}");
        }
    }
}
