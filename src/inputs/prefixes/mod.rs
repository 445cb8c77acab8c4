//! Inputs that are given as prefixes: folders with `bin`, `include`, `lib` and so on, each in its final place.
//!
//! Prefixes may be split (headers in one, libraries in another, `pg_config` in a third), and each part is found where
//! it is: nothing is expected of names. What Python and compilers say of themselves is asked in the sandbox that builds
//! run in.
//!
//! ```text
//! prefixes ─ scan ─→ folders ─ probe ─→ what Python and compilers are ─ toolchain ─→ Inputs
//!                    view      what a sandbox sees
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Inputs, Runtime, debian};
use crate::digest::Sha256;
use crate::nar;
use crate::report::Reporter;
use crate::request::{Arch, Libc, Platform, PythonVersion, Target};
use crate::tree;

mod error;
mod names;
mod probe;
mod scan;
mod toolchain;
mod view;

pub use error::PrefixError;

use probe::{Answer, Request};

/// Raised when the same prefixes would become other inputs.
const LAYOUT: u32 = 1;

/// One folder with parts of the inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    path: PathBuf,
    content: Option<Sha256>,
    /// What substitutions call it.
    name: String,
}

/// The last part of a path.
fn last(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

impl Prefix {
    /// A prefix whose path never holds anything else: the path is its identity, with all that it refers to.
    pub fn named(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self { name: last(&path), path, content: None }
    }

    /// A prefix of any folder, all of which is read: its NAR hash is its identity.
    ///
    /// # Errors
    /// Where it cannot be read, or has files that no archive can hold.
    pub fn hashed(path: impl AsRef<Path>) -> Result<Self, PrefixError> {
        let path = view::real(path.as_ref())?;
        let hash = nar::hash(&path, tree::walk(&path)?);
        let content = hash.map_err(|source| PrefixError::Read { path: path.clone(), source })?;
        Ok(Self { name: last(&path), path, content: Some(content) })
    }

    /// The same by another name than its folder's.
    #[must_use]
    pub fn called(self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self }
    }
}

/// What is wanted of prefixes.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The interpreter; its patch level does not matter.
    pub python: PythonVersion,
    /// Whether something is compiled: then a C compiler and Python's headers must be there, and are tried.
    pub compiles: bool,
    /// Folders that builds see at the same path beside the prefixes: what those refer to.
    pub shown: Vec<PathBuf>,
}

/// The inputs that `prefixes` hold. Where two have the same thing, the earlier one counts.
///
/// # Errors
/// [`PrefixError`] says what is missing and where it was looked for.
pub fn inputs(prefixes: &[Prefix], wish: &Wish, reporter: &dyn Reporter) -> Result<Inputs, PrefixError> {
    let arch = Arch::host().ok_or_else(|| PrefixError::NotElf(PathBuf::from("this program")))?;
    let triplet = debian::arch::port(arch).triplet;
    let paths = prefixes.iter().map(|prefix| view::real(&prefix.path)).collect::<Result<Vec<_>, _>>()?;
    let mut found = scan::scan(&paths, wish.python, triplet)?;
    for useless in &found.useless {
        let hint = "name the output with its programs, headers or libraries (dev, lib, bin), or leave it out";
        reporter.warn(format!("{} has nothing that a build could use", useless.display()), Some(hint.to_owned()));
    }
    let view = view::view(&paths, &wish.shown, &found)?;
    found.follow(|folder| view::shows(&view, folder))?;
    let python = view::shown_name(&view, &found.python(wish.python)?);
    let loader = loader(&python)?;
    if !view::shows(&view, &loader) || !loader.is_file() {
        return Err(PrefixError::NoLibc { program: python, loader });
    }
    let mut request = Request { loader: loader.clone(), ..Request::default() };
    let plan = wish.compiles.then(|| toolchain::plan(&found, &loader, triplet, &mut request)).transpose()?;
    let answer = probe::ask(&python, &view, toolchain::environment(&found), &request)?;
    let target = target(&python, wish.python, arch, &answer)?;
    let tools = match &plan {
        Some(plan) => {
            let shell = view::shell(&view);
            toolchain::warn_of_unusual(&found, shell.as_deref(), reporter);
            toolchain::conclude(plan, &found, &loader, &answer, wish.python, shell, reporter)?
        }
        None => toolchain::Tools { libraries: toolchain::runtime(&found, &loader, &[]), ..Default::default() },
    };
    let building = building(&paths, &found);
    let mut inputs = Inputs {
        identity: Sha256::of(b""),
        description: format!("{} prefixes, Python {} in {}", paths.len(), target.python, python.display()),
        view,
        python,
        stdlib: answer.stdlib,
        target,
        path: found.programs,
        include: found.headers,
        libraries: tools.libraries,
        pkg_config: found.pkg_config,
        interpreter: loader,
        runtime: Runtime::Referenced,
        building,
        named: names::named(prefixes.iter().map(|prefix| prefix.name.as_str()).zip(&paths)),
        tools: tools.scripts,
        env: tools.env,
    };
    inputs.identity = identity(prefixes, &paths, &inputs);
    Ok(inputs)
}

/// The prefixes that have what only builds need.
fn building(paths: &[PathBuf], found: &scan::Found) -> Vec<PathBuf> {
    let parts: Vec<&PathBuf> = found.headers.iter().chain(&found.pkg_config).collect();
    let compiles = |path: &Path| ["cc", "gcc", "clang"].iter().any(|name| path.join("bin").join(name).exists());
    let has = |path: &&PathBuf| parts.iter().any(|part| part.starts_with(path)) || compiles(path);
    let sorted: BTreeSet<&PathBuf> = paths.iter().filter(has).collect();
    sorted.into_iter().cloned().collect()
}

/// Prefixes in their order, and what was made of them.
fn identity(prefixes: &[Prefix], paths: &[PathBuf], inputs: &Inputs) -> Sha256 {
    let mut lines = vec![format!("akb prefixes, layout {LAYOUT}")];
    for (prefix, path) in prefixes.iter().zip(paths) {
        let content = prefix.content.map(|hash| hash.hex()).unwrap_or_default();
        lines.push(format!("{} {content}", path.display()));
    }
    lines.push(inputs.python.display().to_string());
    for (name, text) in inputs.tools.iter().chain(&inputs.env) {
        lines.push(format!("{name}={text}"));
    }
    Sha256::of(lines.join("\n").as_bytes())
}

/// The program interpreter that an ELF file names.
fn loader(program: &Path) -> Result<PathBuf, PrefixError> {
    let bytes = fs::read(program).map_err(|source| PrefixError::Read { path: program.to_owned(), source })?;
    let elf = goblin::elf::Elf::parse(&bytes).map_err(|_| PrefixError::NotElf(program.to_owned()))?;
    elf.interpreter.map(PathBuf::from).ok_or_else(|| PrefixError::NotElf(program.to_owned()))
}

fn target(python: &Path, wanted: PythonVersion, arch: Arch, answer: &Answer) -> Result<Target, PrefixError> {
    let (major, minor, patch) = answer.version;
    if (major, minor) != (wanted.major, wanted.minor) {
        let found = format!("{major}.{minor}.{patch}");
        return Err(PrefixError::OtherPython { program: python.to_owned(), expected: wanted, found });
    }
    let libc = answer.libc.as_deref().and_then(libc).ok_or_else(|| PrefixError::Mute {
        program: python.to_owned(),
        reason: "it knows no version of its C library".to_owned(),
        output: answer.libc.clone().unwrap_or_default(),
    })?;
    Ok(Target { python: PythonVersion { patch: Some(patch), ..wanted }, platform: Platform { arch, libc } })
}

/// Reads `glibc 2.43` and `musl 1.2.5`.
fn libc(text: &str) -> Option<Libc> {
    let (family, version) = text.split_once(' ')?;
    let mut numbers = version.split('.').map(str::parse::<u16>);
    let (major, minor) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    match family {
        "glibc" => Some(Libc::Glibc(major, minor)),
        "musl" => Some(Libc::Musl(major, minor)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
