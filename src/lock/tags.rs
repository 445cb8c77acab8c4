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
        let native = self.native.iter().flat_map(|(python, abi)| {
            platforms.iter().map(move |(platform, _)| format!("{python}-{abi}-{platform}"))
        });
        native.chain(self.pure.iter().map(|(python, abi)| format!("{python}-{abi}-any"))).collect()
    }
}

fn native(python: PythonVersion) -> Vec<(String, String)> {
    let own = interpreter("cp", python, python.minor);
    // Before 3.8 the ABI was named after pymalloc too.
    let flags = if (python.major, python.minor) < (3, 8) { "m" } else { "" };
    let mut pairs = vec![(own.clone(), format!("{own}{flags}"))];
    // The stable ABI began with 3.2.
    let stable = if python.major == 3 { 2..=python.minor } else { 1..=0 };
    for minor in stable.rev() {
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
