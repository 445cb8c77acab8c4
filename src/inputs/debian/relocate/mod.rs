//! Makes an unpacked tree run from where it is put: a prefix with the runtime (Python, shared libraries and what they
//! read), and another with everything that is needed to compile (tools, headers, names for linkers).
//!
//! ```text
//! Source ─ layout, libraries ─→ spots ─ links, binary, text ─→ files
//! the tree   which file goes where       what they say then     compiler, wrapper: what is added
//! ```
//! The development files name the runtime, never the other way: what was compiled keeps no compiler alive. Nothing
//! is executed, and the same tree gives the same bytes for the same final paths, wherever they are written.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use super::arch;
use crate::bytecode::{self, BytecodeError, Compiled};
use crate::inputs::Inputs;
use crate::install;
use crate::report::Reporter;
use crate::request::Target;

mod binary;
mod compiler;
mod error;
mod layout;
mod leftover;
mod libraries;
mod source;
mod text;
mod wrapper;
mod write;

pub use error::RelocateError;
pub use leftover::Leftover;

use layout::{Layout, Side};
use source::Source;
use text::Roots;

/// Changes whenever the same tree would become other bytes. To be part of every identity.
pub const FORMAT: u32 = 1;

/// A folder to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where it is written now: does not exist, or is empty.
    pub write_to: PathBuf,
    /// Where it will be when it is used, absolute; it works there only.
    pub finally_at: PathBuf,
}

/// The two folders that a tree becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outputs {
    /// Python, shared libraries, their plug-ins and data. Names nothing of `dev`.
    pub runtime: Place,
    /// Compilers, tools, headers, static libraries, pkg-config files, names for linkers. Names `runtime`.
    pub dev: Place,
}

/// What was written into one folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Number of files.
    pub files: u64,
    /// Number of symbolic links.
    pub links: u64,
    /// Sum of the sizes of files, in bytes.
    pub bytes: u64,
}

/// What [`relocate`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relocated {
    /// Into the runtime.
    pub runtime: Written,
    /// Into the development files.
    pub dev: Written,
    /// The interpreter, in its final place.
    pub python: PathBuf,
    /// The dynamic linker, in its final place.
    pub interpreter: PathBuf,
    /// Links of the tree that lead nowhere, sorted; they are in neither folder.
    pub dangling: Vec<String>,
    /// What still says `/usr`, sorted by path.
    pub leftovers: Vec<Leftover>,
}

impl Place {
    /// A folder that is written where it will be.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self { write_to: path.clone(), finally_at: path }
    }

    /// The final path as text that can stand in shebangs, search paths and scripts alike.
    fn text(&self) -> Result<&str, RelocateError> {
        let refuse = |reason| Err(RelocateError::Place { path: self.finally_at.clone(), reason });
        let Some(text) = self.finally_at.to_str().filter(|text| text.starts_with('/')) else {
            return refuse("it is not absolute");
        };
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"/._+-".contains(&byte);
        if !text.bytes().all(legal) || text.split('/').skip(1).any(|part| ["", ".", ".."].contains(&part)) {
            return refuse("search paths and scripts have no way to write it");
        }
        Ok(text)
    }
}

/// Makes two folders of the unpacked tree `tree` (with `usr`, as [`realise`](super::realise) leaves it).
///
/// # Errors
/// Where a file could not be made to run from there; what was written until then stays.
pub fn relocate(
    tree: &Path,
    out: &Outputs,
    target: &Target,
    jobs: usize,
    reporter: &dyn Reporter,
) -> Result<Relocated, RelocateError> {
    let roots = Roots { runtime: out.runtime.text()?, dev: out.dev.text()? };
    let overlaps = |one: &Path, other: &Path| one.starts_with(other) || other.starts_with(one);
    if overlaps(&out.runtime.finally_at, &out.dev.finally_at) {
        let reason = "the runtime and the development files need a folder of their own each";
        return Err(RelocateError::Place { path: out.dev.finally_at.clone(), reason });
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(jobs.max(1)).build();
    let pool = pool.map_err(|error| RelocateError::Threads(error.to_string()))?;
    pool.install(|| {
        let source = Source::read(tree)?;
        let port = arch::port(target.platform.arch);
        let layout = Layout::plan(&source, port.triplet, &target.python.short())?;
        let python = format!("bin/python{}", target.python.short());
        if !layout.has(Side::Runtime, &python) {
            return Err(RelocateError::Missing { missing: format!("/usr/{python}") });
        }
        let interpreter = binary::interpreter(&layout, &roots, port.interpreter)?;
        let work = write::plan(&layout, &roots, &interpreter, &python)?;
        let done = write::all(&layout, &roots, &work, out)?;
        reporter.note(format!(
            "{} files of the runtime and {} development files relocated",
            done.written[&Side::Runtime].files,
            done.written[&Side::Dev].files
        ));
        Ok(Relocated {
            runtime: done.written[&Side::Runtime],
            dev: done.written[&Side::Dev],
            python: out.runtime.finally_at.join(&python),
            interpreter: interpreter.into(),
            dangling: work.dangling,
            leftovers: done.leftovers,
        })
    })
}

/// Gives the standard library of a relocated runtime its bytecode: nobody can add it later to a folder that is
/// read-only, and every start of the interpreter would compile again.
///
/// The interpreter of `inputs`, which `runtime` was made of, does it in the sandbox: that of the runtime cannot run
/// before it is in its final place.
pub fn bytecode(
    inputs: &Inputs,
    runtime: &Place,
    jobs: NonZeroUsize,
    reporter: &dyn Reporter,
) -> Result<Compiled, BytecodeError> {
    let python = bytecode::Sandboxed { inputs, tree: &runtime.write_to };
    let folder = format!("lib/python{}", inputs.target.python.short());
    let layout = install::Layout::canonical(inputs.target.python);
    bytecode::compile(&runtime.write_to, &[folder], &layout, jobs, &python, reporter)
}

#[cfg(test)]
mod tests;
