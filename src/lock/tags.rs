//! Which wheels run on a target, and which of them fits best.
//!
//! [Platform compatibility tags](https://packaging.python.org/en/latest/specifications/platform-compatibility-tags/)
//! for `CPython` on Linux: PEP 425, PEP 600 (manylinux), PEP 656 (musllinux).

use std::collections::BTreeMap;

use crate::lock::names::WheelName;
use crate::request::{Arch, Libc, Platform, PythonVersion, Target};

/// Highest minor version that a past major version of glibc is taken to have had. There was none after 2 yet.
const LAST_MINOR: u16 = 50;

/// The tags of wheels that run on a target, best first.
#[derive(Clone, Debug)]
pub struct Tags {
    /// Interpreter and ABI of wheels for a platform, by rank.
    native: Vec<(String, String)>,
    /// Interpreter and ABI of wheels for any platform, which all come after the others.
    pure: Vec<(String, String)>,
    /// Platforms by rank.
    platforms: BTreeMap<String, u32>,
}

impl Tags {
    /// The tags of `target`.
    pub fn of(target: &Target) -> Self {
        let platforms = (0..).zip(platforms(target.platform)).map(|(rank, tag)| (tag, rank)).collect();
        Self { native: native(target.python), pure: pure(target.python), platforms }
    }

    /// How well a wheel fits: lower is better, `None` if it does not run. Two wheels may share a rank.
    pub fn rank(&self, wheel: &WheelName) -> Option<u32> {
        let count = u32::try_from(self.platforms.len()).ok()?;
        let pair = |pairs: &[(String, String)]| {
            pairs.iter().position(|(python, abi)| wheel.pythons.contains(python) && wheel.abis.contains(abi))
        };
        let platform = wheel.platforms.iter().filter_map(|tag| self.platforms.get(tag)).min();
        if let (Some(platform), Some(pair)) = (platform, pair(&self.native)) {
            return u32::try_from(pair).ok()?.checked_mul(count)?.checked_add(*platform);
        }
        let any = wheel.platforms.iter().any(|tag| tag == "any");
        let pair = any.then(|| pair(&self.pure)).flatten()?;
        let natives = u32::try_from(self.native.len()).ok()?.checked_mul(count)?;
        natives.checked_add(u32::try_from(pair).ok()?)
    }

    /// The best tag, for messages.
    pub fn best(&self) -> String {
        let platform = self.platforms.iter().min_by_key(|(_, rank)| **rank).map_or("any", |(tag, _)| tag);
        self.native.first().map_or(String::new(), |(python, abi)| format!("{python}-{abi}-{platform}"))
    }

    /// All tags as `python-abi-platform`, best first.
    pub fn all(&self) -> Vec<String> {
        let mut platforms: Vec<_> = self.platforms.iter().collect();
        platforms.sort_by_key(|(_, rank)| **rank);
        let native = self
            .native
            .iter()
            .flat_map(|(python, abi)| platforms.iter().map(move |(platform, _)| format!("{python}-{abi}-{platform}")));
        native.chain(self.pure.iter().map(|(python, abi)| format!("{python}-{abi}-any"))).collect()
    }
}

fn native(python: PythonVersion) -> Vec<(String, String)> {
    let own = interpreter("cp", python, python.minor);
    // Before 3.8 the ABI was named after pymalloc too.
    let flags = if (python.major, python.minor) < (3, 8) { "m" } else { "" };
    let mut pairs = vec![(own.clone(), format!("{own}{flags}"))];
    // The stable ABI began with 3.2.
    for minor in (2..=python.minor).rev().filter(|_| python.major == 3) {
        pairs.push((interpreter("cp", python, minor), "abi3".into()));
        if minor == python.minor {
            pairs.push((own.clone(), "none".into()));
        }
    }
    pairs.extend(generic(python));
    pairs
}

fn pure(python: PythonVersion) -> Vec<(String, String)> {
    let own = (interpreter("cp", python, python.minor), "none".into());
    std::iter::once(own).chain(generic(python)).collect()
}

/// `py314`, `py3`, `py313` and so on, without an ABI.
fn generic(python: PythonVersion) -> impl Iterator<Item = (String, String)> {
    let all = (0..=python.minor).rev().flat_map(move |minor| {
        let major = (minor == python.minor).then(|| format!("py{}", python.major));
        std::iter::once(interpreter("py", python, minor)).chain(major)
    });
    all.map(|tag| (tag, "none".into()))
}

fn interpreter(prefix: &str, python: PythonVersion, minor: u8) -> String {
    format!("{prefix}{}{minor}", python.major)
}

fn platforms(platform: Platform) -> Vec<String> {
    let arch = platform.arch.name();
    let mut tags = match platform.libc {
        Libc::Glibc(major, minor) => manylinux(platform.arch, major, minor),
        Libc::Musl(major, minor) => {
            (0..=minor).rev().map(|minor| format!("musllinux_{major}_{minor}_{arch}")).collect()
        }
    };
    // A wheel for plain Linux promises nothing about libraries: uv ranks it last, packaging first.
    tags.push(format!("linux_{arch}"));
    tags
}

fn manylinux(arch: Arch, major: u16, minor: u16) -> Vec<String> {
    let name = arch.name();
    let oldest = if matches!(arch, Arch::X86_64 | Arch::I686) { 5 } else { 17 };
    let mut tags = Vec::new();
    for (major, newest) in std::iter::once((major, minor)).chain((2..major).rev().map(|major| (major, LAST_MINOR))) {
        let oldest = if major == 2 { oldest } else { 0 };
        for minor in (oldest..=newest).rev() {
            tags.push(format!("manylinux_{major}_{minor}_{name}"));
            let legacy = match (major, minor) {
                (2, 17) => "manylinux2014",
                (2, 12) => "manylinux2010",
                (2, 5) => "manylinux1",
                _ => continue,
            };
            tags.push(format!("{legacy}_{name}"));
        }
    }
    tags
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::digest::Sha256;

    fn tags(python: &str, platform: &str) -> Tags {
        Tags::of(&Target { python: python.parse().unwrap(), platform: platform.parse().unwrap() })
    }

    fn rank(tags: &Tags, rest: &str) -> Option<u32> {
        tags.rank(&WheelName::parse(&format!("foo-1-{rest}.whl")).unwrap())
    }

    /// The table holds number and SHA-256 of all tags, one a line, as pypa's packaging gives them, but with
    /// the tag for plain Linux last.
    #[test]
    fn equal_those_of_packaging() {
        for line in include_str!("../../tests/locks/tags.tsv").lines() {
            let [python, platform, count, digest] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
            let all = tags(python, platform).all();
            let found = (all.len().to_string(), Sha256::of(all.join("\n").as_bytes()).hex());
            assert_eq!((found.0.as_str(), found.1.as_str()), (count, digest), "{python} {platform}: {all:?}");
        }
    }

    #[test]
    fn rank_is_the_place_in_the_list() {
        let tags = tags("3.14", "x86_64-manylinux_2_20");
        for (place, tag) in (0..).zip(tags.all()) {
            assert_eq!(rank(&tags, &tag), Some(place), "{tag}");
        }
    }

    #[test]
    fn prefers_the_best_of_a_set() {
        let tags = tags("3.14", "x86_64-manylinux_2_42");
        let ranks = [
            "cp314-cp314-manylinux2014_x86_64.manylinux_2_28_x86_64",
            "cp314-cp314-manylinux2014_x86_64",
            "cp314-abi3-manylinux_2_17_x86_64",
            "cp311-abi3-manylinux_2_34_x86_64",
            "cp39-abi3-manylinux_2_34_x86_64",
            "py3-none-manylinux_2_17_x86_64",
            "py3-none-linux_x86_64",
            "py314-none-any",
            "py2.py3-none-any",
        ]
        .map(|rest| rank(&tags, rest).unwrap());
        assert!(ranks.is_sorted_by(|a, b| a < b), "{ranks:?}");
        for rest in [
            "cp314-cp314-manylinux_2_43_x86_64",
            "cp314-cp314t-manylinux_2_17_x86_64",
            "cp314-cp314-musllinux_1_2_x86_64",
            "cp314-cp314-manylinux_2_17_aarch64",
            "cp315-abi3-manylinux_2_17_x86_64",
            "cp313-cp313-manylinux_2_17_x86_64",
            "py2-none-any",
            "pp311-pypy311_pp73-any",
        ] {
            assert_eq!(rank(&tags, rest), None, "{rest}");
        }
    }

    proptest! {
        #[test]
        fn any_target_has_tags(minor in 0_u8.., glibc in any::<bool>(), major in 0_u16..4, level in 0_u16..200) {
            let libc = if glibc { Libc::Glibc(major, level) } else { Libc::Musl(major, level) };
            let python = PythonVersion { major: 3, minor, patch: None };
            let tags = Tags::of(&Target { python, platform: Platform { arch: Arch::X86_64, libc } });
            let all = tags.all();
            let unique: std::collections::BTreeSet<_> = all.iter().collect();
            prop_assert_eq!(unique.len(), all.len());
            prop_assert_eq!(rank(&tags, "py3-none-any").is_some(), true);
        }
    }
}
