//! Names of packages, wheels and source distributions.
//!
//! [Name normalisation](https://packaging.python.org/en/latest/specifications/name-normalization/),
//! [wheel file names](https://packaging.python.org/en/latest/specifications/binary-distribution-format/) and
//! [sdist file names](https://packaging.python.org/en/latest/specifications/source-distribution-format/).

use std::fmt;
use std::str::FromStr;

use pep440_rs::Version;

/// File names longer than this cannot be stored on any Linux file system.
const LONGEST: usize = 255;

/// Archive formats of source distributions; the specification knows `.tar.gz` only, old releases the others.
const SDIST_SUFFIXES: [&str; 7] = [".tar.gz", ".zip", ".tar.bz2", ".tar.xz", ".tar.zst", ".tgz", ".tar"];

/// A text that is not a valid name of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not {kind}: {reason}")]
pub struct NotAName {
    kind: &'static str,
    found: String,
    reason: String,
}

/// The normalised form of a package or extra name (PEP 503, PEP 685): lower case, runs of `-`, `_` and `.`
/// as one `-`. `None` if the text is no valid name (PEP 508).
pub fn normalize(name: &str) -> Option<String> {
    let inside = |c: char| c.is_ascii_alphanumeric();
    if !name.starts_with(inside) || !name.ends_with(inside) {
        return None;
    }
    let mut normal = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '-' | '_' | '.' if normal.ends_with('-') => {}
            '-' | '_' | '.' => normal.push('-'),
            c if c.is_ascii_alphanumeric() => normal.push(c.to_ascii_lowercase()),
            _ => return None,
        }
    }
    Some(normal)
}

/// The last segment of an address or path, percent-decoded: the file's name. `None` where there is none, or
/// where it is not a plain name.
pub fn file_name(address: &str) -> Option<String> {
    let address = address.split(['?', '#']).next()?;
    let last = address.rsplit('/').next()?;
    let mut bytes = Vec::with_capacity(last.len());
    let mut rest = last.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first == b'%' {
            bytes.extend(data_encoding::HEXLOWER_PERMISSIVE.decode(tail.get(..2)?).ok()?);
            rest = tail.get(2..)?;
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok().filter(|name| is_plain(name))
}

/// Whether `name` can be the name of a file: no folder, no control character, not too long.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= LONGEST
        && name != "."
        && name != ".."
        && !name.contains(|c: char| c == '/' || c == '\\' || c.is_control())
}

/// A wheel's file name, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WheelName {
    /// Normalised package name.
    pub name: String,
    /// Version.
    pub version: Version,
    /// Build tag.
    pub build: Option<BuildTag>,
    /// Python tags, such as `cp314`, `py3`.
    pub pythons: Vec<String>,
    /// ABI tags, such as `abi3`.
    pub abis: Vec<String>,
    /// Platform tags, such as `manylinux_2_28_x86_64`.
    pub platforms: Vec<String>,
}

/// A wheel's build tag: compared by its number, then by the rest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BuildTag {
    /// The digits that it starts with.
    pub number: u64,
    /// What follows them.
    pub rest: String,
}

impl WheelName {
    /// Takes the name of a wheel file apart, extension included.
    pub fn parse(file: &str) -> Result<Self, NotAName> {
        let wrong = |reason: &str| NotAName { kind: "a wheel's file name", found: file.into(), reason: reason.into() };
        if !is_plain(file) {
            return Err(wrong("not a plain file name"));
        }
        let stem = file.strip_suffix(".whl").ok_or_else(|| wrong("it does not end in `.whl`"))?;
        let parts: Vec<&str> = stem.split('-').collect();
        let (name, version, build, [pythons, abis, platforms]) = match parts[..] {
            [name, version, python, abi, platform] => (name, version, None, [python, abi, platform]),
            [name, version, build, python, abi, platform] => (name, version, Some(build), [python, abi, platform]),
            _ => return Err(wrong("it has not five or six parts between dashes")),
        };
        let split = |set: &str| set.split('.').map(str::to_ascii_lowercase).collect::<Vec<_>>();
        let sets = [split(pythons), split(abis), split(platforms)];
        if sets.iter().flatten().any(String::is_empty) {
            return Err(wrong("a tag is empty"));
        }
        let [pythons, abis, platforms] = sets;
        Ok(Self {
            name: normalize(name).ok_or_else(|| wrong("the package name is not valid"))?,
            version: Version::from_str(&version.replace('_', "-")).map_err(|error| wrong(&error.to_string()))?,
            build: build
                .map(|build| BuildTag::parse(build).ok_or_else(|| wrong("the build tag is not valid")))
                .transpose()?,
            pythons,
            abis,
            platforms,
        })
    }
}

impl BuildTag {
    fn parse(text: &str) -> Option<Self> {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, rest) = text.split_at(digits);
        Some(Self { number: number.parse().ok()?, rest: rest.to_owned() })
    }
}

impl fmt::Display for BuildTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.number, self.rest)
    }
}

/// A source distribution's file name, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SdistName {
    /// Normalised package name.
    pub name: String,
    /// Version; `None` where the text after the name is no PEP 440 version (old releases).
    pub version: Option<Version>,
    /// Extension with its dot, such as `.tar.gz`.
    pub suffix: &'static str,
}

impl SdistName {
    /// Takes the name of an sdist of `package` apart. The package's name is needed because old names contain
    /// dashes: `python-foo-1.0.tar.gz`.
    pub fn parse(file: &str, package: &str) -> Result<Self, NotAName> {
        let wrong = |reason: &str| NotAName { kind: "an sdist's file name", found: file.into(), reason: reason.into() };
        let suffix = Self::suffix(file).ok_or_else(|| wrong("it is no archive of a known kind"))?;
        let stem = &file[..file.len() - suffix.len()];
        let name = normalize(package).ok_or_else(|| wrong("the package name is not valid"))?;
        let version = stem
            .char_indices()
            .filter(|(_, c)| *c == '-')
            .find(|(dash, _)| normalize(&stem[..*dash]).as_deref() == Some(&name))
            .map(|(dash, _)| &stem[dash + 1..])
            .ok_or_else(|| wrong("it does not start with the package's name and a dash"))?;
        Ok(Self { name, version: Version::from_str(version).ok(), suffix })
    }

    /// The extension, dot included, if `file` is named like an archive of sources.
    pub fn suffix(file: &str) -> Option<&'static str> {
        let plain = is_plain(file).then_some(file)?;
        SDIST_SUFFIXES.into_iter().find(|suffix| plain.len() > suffix.len() && plain.ends_with(suffix))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn normalises_like_pep_503() {
        for (text, normal) in [("Friendly-Bard", "friendly-bard"), ("FRIENDLY.-_bard", "friendly-bard"), ("a", "a")] {
            assert_eq!(normalize(text).as_deref(), Some(normal));
        }
        for text in ["", "-a", "a-", "a b", "ä", "a/b", "_"] {
            assert_eq!(normalize(text), None, "{text}");
        }
    }

    #[test]
    fn takes_wheel_names_apart() {
        let wheel = WheelName::parse("Foo_Bar-1.0.post1-2a-py2.py3-none-manylinux1_x86_64.Any.whl").unwrap();
        assert_eq!(wheel.name, "foo-bar");
        assert_eq!(wheel.version, "1.0.post1".parse().unwrap());
        assert_eq!(wheel.build, Some(BuildTag { number: 2, rest: "a".into() }));
        assert_eq!(wheel.pythons, ["py2", "py3"]);
        assert_eq!(wheel.abis, ["none"]);
        assert_eq!(wheel.platforms, ["manylinux1_x86_64", "any"]);
        assert!(WheelName::parse("foo-1.0+local.1-py3-none-any.whl").is_ok());
    }

    #[test]
    fn refuses_odd_wheel_names() {
        let long = format!("{}-1-py3-none-any.whl", "a".repeat(300));
        for file in [
            "",
            "foo.whl",
            "foo-1-py3-none-any.zip",
            "../foo-1-py3-none-any.whl",
            "foo-1-py3-none-any.any..whl",
            "foo-x-py3-none-any.whl",
            "foo-1-b1-py3-none-any.whl",
            "foo-1-99999999999999999999-py3-none-any.whl",
            "foo-1-1-py3-none-any-x.whl",
            "foo-1-py3-none-a\ny.whl",
            &long,
        ] {
            assert!(WheelName::parse(file).is_err(), "{file}");
        }
    }

    #[test]
    fn takes_sdist_names_apart() {
        let sdist = SdistName::parse("python-foo-1.0rc1.tar.gz", "Python_Foo").unwrap();
        assert_eq!(
            (sdist.name.as_str(), sdist.version, sdist.suffix),
            ("python-foo", "1.0rc1".parse().ok(), ".tar.gz")
        );
        assert_eq!(SdistName::parse("foo-2004d.zip", "foo").unwrap().version, None);
        assert!(SdistName::parse("foo-1.0.tar.gz", "bar").is_err());
        assert!(SdistName::parse("foo-1.0.rpm", "foo").is_err());
        assert!(SdistName::parse(".tar.gz", "foo").is_err());
    }

    #[test]
    fn finds_the_name_in_an_address() {
        let name = |address| file_name(address);
        assert_eq!(name("https://files.invalid/a/foo-1%2Bcpu.whl?x=/y#z").as_deref(), Some("foo-1+cpu.whl"));
        assert_eq!(name("foo-1.tar.gz").as_deref(), Some("foo-1.tar.gz"));
        for address in ["https://files.invalid/a/", "a/..", "a%2Fb", "a%zz", "a%2", "a/%00"] {
            assert_eq!(name(address), None, "{address}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC*") {
            let _ = (WheelName::parse(&text), SdistName::parse(&text, "a"), normalize(&text), file_name(&text));
        }

        #[test]
        fn normal_names_stay(text in "[A-Za-z0-9._-]{1,20}") {
            if let Some(normal) = normalize(&text) {
                prop_assert_eq!(normalize(&normal), Some(normal.clone()));
            }
        }
    }
}
