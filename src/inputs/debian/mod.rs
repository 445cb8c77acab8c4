//! Inputs from a Debian archive, without dpkg, maintainer scripts or root.
//!
//! ```text
//! Wish ─ resolve ─→ pins ─ realise ─→ Inputs
//!        address    where the archive is                  archive    files by path and hash, as they arrive
//!        suite      its signed index: signed, release     tree       unpacked and finished, in the cache
//!        index      its packages
//!        closure    what the wishes need: relation, version
//! ```
//! Pins say all that [`realise`] needs: no index is looked at, and no signature, since their hashes are fixed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::digest::Sha256;
use crate::inputs::{Inputs, View};
use crate::plan::FileId;
use crate::request::{Arch, Libc, Platform, PythonVersion, Target};

pub mod address;
pub mod arch;
mod archive;
pub mod closure;
mod error;
pub mod index;
pub mod relation;
pub mod release;
pub mod relocate;
pub mod signed;
mod suite;
mod tree;
pub mod version;

pub use archive::Archive;
pub use error::DebianError;
pub use signed::Keyring;
pub use suite::Trust;
pub use tree::identity;

use closure::ClosureError;
use index::Index;

/// The certificates of Debian's package `debian-archive-keyring` 2025.1.
pub const KEYRING: &[u8] = include_bytes!("keys/debian-archive-keyring.pgp");

/// Changes whenever the same packages would become another tree. Part of every identity.
pub const LAYOUT: u32 = 1;

/// Suites that are looked through, in this order, for the wanted Python where none is named.
pub const SUITES: [&str; 3] = ["stable", "testing", "unstable"];

/// Packages that no dependency names, since every Debian system has them (`Essential: yes`), and that build
/// scripts run: a shell, the usual tools, and the locale C.UTF-8.
pub const ESSENTIAL: [&str; 9] =
    ["coreutils", "dash", "diffutils", "findutils", "grep", "libc-bin", "mawk", "perl-base", "sed"];

/// What is wanted of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The suite; `None`: the first of [`SUITES`] that has the wanted Python.
    pub suite: Option<String>,
    /// Packages beside Python, by name or as relations (`libc6-dev (>= 2.40)`); `-name` leaves one out that others
    /// depend on.
    pub packages: Vec<String>,
    /// The machine.
    pub arch: Arch,
    /// The interpreter; its patch level does not matter.
    pub python: PythonVersion,
    /// Whether something is compiled: then a C compiler, Python's headers, pkg-config and [`ESSENTIAL`] are wanted too.
    pub compiles: bool,
}

/// A package's file, exactly.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// Name, such as `libxml2-dev`.
    pub package: String,
    /// Version, such as `2.15.4+dfsg-1`.
    pub version: String,
    /// `amd64` or `all`.
    pub architecture: String,
    /// Path below the archive's root, such as `pool/main/p/python3.14/python3.14_3.14.8-1_amd64.deb`.
    pub file: String,
    /// In bytes.
    pub size: u64,
    /// Of the file.
    pub sha256: Sha256,
}

/// What [`resolve`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The suite's codename, such as `forky`: what `testing` means changes.
    pub suite: String,
    /// Sorted by name.
    pub pins: Vec<Pin>,
}

/// What the pins are for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// The suite that they came from, for messages.
    pub suite: String,
    /// The machine.
    pub arch: Arch,
    /// The interpreter; the packages tell its patch level.
    pub python: PythonVersion,
}

impl Wish {
    /// All wishes, as relations.
    pub fn relations(&self) -> Vec<String> {
        let python = self.python.short();
        // Wheels may count on libstdc++ and libgcc_s (PEP 600), which Python itself does not need.
        let mut wishes: Vec<String> = ["libc6", "libgcc-s1", "libstdc++6"].map(str::to_owned).into();
        wishes.push(format!("python{python}"));
        if self.compiles {
            wishes.extend(["gcc", "libc6-dev", "pkgconf"].map(str::to_owned));
            wishes.push(format!("libpython{python}-dev"));
            wishes.extend(ESSENTIAL.map(str::to_owned));
        }
        wishes.extend(self.packages.iter().cloned());
        wishes
    }
}

/// Whether `pins` have every package that `wish` names, so that they need not be resolved anew. What those packages
/// depend on is not looked at: no index is at hand.
pub fn covers(wish: &Wish, pins: &[Pin]) -> bool {
    let architecture = arch::port(wish.arch).name;
    let has = |relation: &relation::Relation<'_>| {
        relation.allows_architecture(architecture)
            && pins.iter().any(|pin| pin.package == relation.name && relation.allows(&pin.version))
    };
    let wishes = wish.relations();
    wishes
        .iter()
        .filter(|wish| !wish.trim().starts_with('-'))
        .all(|wish| relation::parse(wish).is_ok_and(|groups| groups.iter().all(|group| group.iter().any(has))))
}

impl Pin {
    /// The file's name without its folders, its size and its hash.
    pub fn file_id(&self) -> FileId {
        let name = self.file.rsplit('/').next().unwrap_or_default().to_owned();
        FileId { name, size: Some(self.size), sha256: self.sha256 }
    }

    /// A path that is joined to an address must not become another address.
    fn check(&self) -> Result<(), DebianError> {
        check_path(&self.package, &self.file)
    }
}

fn check_path(package: &str, file: &str) -> Result<(), DebianError> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"+-._~%".contains(&byte);
    let part = |part: &str| !part.is_empty() && !part.starts_with('.') && part.bytes().all(legal);
    if file.starts_with("pool/") && file.split('/').all(part) {
        return Ok(());
    }
    Err(DebianError::Path { package: package.to_owned(), file: file.to_owned() })
}

/// Finds the packages that `wish` needs in the archive's signed index.
pub fn resolve(wish: &Wish, archive: &Archive<'_>, trust: &Trust<'_>) -> Result<Resolved, DebianError> {
    let suites = wish.suite.as_deref().map_or_else(|| SUITES.to_vec(), |suite| vec![suite]);
    let architecture = arch::port(wish.arch).name;
    for suite in &suites {
        let release = suite::release(suite, archive, trust)?;
        let texts = suite::packages(suite, &release, architecture, archive)?;
        let mut index = Index::default();
        for text in &texts {
            index.add(text, architecture).map_err(|error| DebianError::index(suite, &error))?;
        }
        index.finish().map_err(|error| DebianError::index(suite, &error))?;
        if index.get(&format!("python{}", wish.python.short())).is_some() {
            let pins = pins(wish, &index, suite)?;
            return Ok(Resolved { suite: release.codename, pins });
        }
    }
    Err(DebianError::NoPython { python: wish.python, suites: suites.iter().map(|&suite| suite.to_owned()).collect() })
}

fn pins(wish: &Wish, index: &Index<'_>, suite: &str) -> Result<Vec<Pin>, DebianError> {
    let failed = |source: ClosureError| DebianError::Closure { suite: suite.to_owned(), source: Box::new(source) };
    let wishes = wish.relations();
    let packages = closure::closure(index, &wishes, arch::port(wish.arch).name).map_err(failed)?;
    packages
        .into_iter()
        .map(|package| {
            let (size, sha256) = package.file().map_err(|error| failed(error.into()))?;
            let pin = Pin {
                package: package.name.to_owned(),
                version: package.version.to_owned(),
                architecture: package.architecture.to_owned(),
                file: package.filename.to_owned(),
                size,
                sha256,
            };
            pin.check().map(|()| pin)
        })
        .collect()
}

/// Makes inputs of just these packages: downloads, unpacks, and keeps the result in the cache.
///
/// # Errors
/// [`DebianError::Gone`] where the archive no longer has some of the files, whatever else went well.
pub fn realise(pins: &[Pin], wanted: &Use, archive: &Archive<'_>, jobs: usize) -> Result<Inputs, DebianError> {
    pins.iter().try_for_each(Pin::check)?;
    let port = arch::port(wanted.arch);
    let target = target(pins, wanted)?;
    let folder = tree::build(pins, &port, archive, jobs)?;
    let short = wanted.python.short();
    let triplet = PathBuf::from("/usr/lib").join(port.triplet);
    let mut view = vec![
        View::Bind { from: folder.join("usr"), at: "/usr".into() },
        View::Bind { from: folder.join("etc"), at: "/etc".into() },
    ];
    for name in ["bin", "lib", "lib64", "sbin"] {
        if folder.join("usr").join(name).is_dir() {
            view.push(View::Link { to: format!("usr/{name}").into(), at: format!("/{name}").into() });
        }
    }
    let inputs = Inputs {
        identity: tree::identity(pins),
        description: format!("debian {}, {} packages", wanted.suite, pins.len()),
        view,
        python: format!("/usr/bin/python{short}").into(),
        stdlib: format!("/usr/lib/python{short}").into(),
        target,
        path: vec!["/usr/bin".into()],
        include: Vec::new(),
        libraries: vec![triplet, "/usr/lib".into()],
        pkg_config: Vec::new(),
        interpreter: port.interpreter.into(),
        runtime: super::Runtime::Copied,
        building: Vec::new(),
        named: BTreeMap::new(),
        tools: BTreeMap::new(),
        env: BTreeMap::new(),
    };
    for (needed, package) in [(&inputs.python, format!("python{short}")), (&inputs.interpreter, "libc6".to_owned())] {
        if inputs.locate(needed).is_none() {
            return Err(DebianError::Incomplete { missing: package });
        }
    }
    Ok(inputs)
}

/// The files of `pins` by their base names, in the cache.
///
/// # Errors
/// As [`realise`].
pub fn files(pins: &[Pin], archive: &Archive<'_>) -> Result<BTreeMap<String, PathBuf>, DebianError> {
    pins.iter().try_for_each(Pin::check)?;
    let files = Mutex::new(BTreeMap::new());
    archive.each_file(pins, 1, |pin, path| {
        files.lock().unwrap_or_else(PoisonError::into_inner).insert(pin.file_id().name, path);
        Ok(())
    })?;
    Ok(files.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// The file at `path` of the archive (`pool/…`), from the cache if it is there.
pub fn file(path: &str, expected: &FileId, archive: &Archive<'_>) -> Result<PathBuf, DebianError> {
    check_path(&expected.name, path)?;
    archive.file(path, expected)
}

/// The target that the pinned Python and C library make.
pub fn target(pins: &[Pin], wanted: &Use) -> Result<Target, DebianError> {
    let find = |name: String| {
        let found = pins.iter().find(|pin| pin.package == name).map(|pin| (name.clone(), pin.version.as_str()));
        found.ok_or(DebianError::Incomplete { missing: name })
    };
    let read = |(package, version): (String, &str)| {
        numbers(version).ok_or_else(|| DebianError::Version { package, version: version.to_owned() })
    };
    let python = read(find(format!("python{}", wanted.python.short()))?)?;
    let libc = read(find("libc6".to_owned())?)?;
    let patch = python.get(2).and_then(|patch| u8::try_from(*patch).ok());
    Ok(Target {
        python: PythonVersion { patch, ..wanted.python },
        platform: Platform { arch: wanted.arch, libc: Libc::Glibc(libc[0], libc[1]) },
    })
}

/// The numbers of an upstream version, two or more: `3.15.0~rc1-1` gives 3, 15 and 0.
fn numbers(version: &str) -> Option<Vec<u16>> {
    let plain = version::upstream(version).split(['~', '+']).next()?;
    let numbers: Option<Vec<u16>> = plain.split('.').map(|part| part.parse().ok()).collect();
    numbers.filter(|numbers| numbers.len() >= 2)
}

#[cfg(test)]
mod tests;
