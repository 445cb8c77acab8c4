//! Where Python, compilers and libraries come from, and how a sandbox sees them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::digest::Sha256;
use crate::request::Target;

pub mod debian;
pub mod hints;
pub mod host;
pub mod prefixes;

/// Python, compilers and libraries, ready to use. A provider makes it; nobody else knows providers.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// Identity: equal inputs build equal bytes. Part of every cache key.
    pub identity: Sha256,
    /// What they are, for messages and the receipt, such as `debian forky, 97 packages`.
    pub description: String,
    /// Folders and links of the sandbox's root.
    pub view: Vec<View>,
    /// The interpreter as the sandbox sees it, such as `/usr/bin/python3.14`.
    pub python: PathBuf,
    /// Its standard library as the sandbox sees it, such as `/usr/lib/python3.14`.
    pub stdlib: PathBuf,
    /// The target that it runs: full Python version, libc version of the inputs.
    pub target: Target,
    /// Folders for `PATH`, as the sandbox sees them.
    pub path: Vec<PathBuf>,
    /// Folders with headers beyond the compiler's own, as the sandbox sees them.
    pub include: Vec<PathBuf>,
    /// Folders with shared libraries, in search order, as the sandbox sees them.
    pub libraries: Vec<PathBuf>,
    /// Folders for `PKG_CONFIG_PATH` beyond the tool's own, as the sandbox sees them.
    pub pkg_config: Vec<PathBuf>,
    /// The program interpreter (ld.so) as the sandbox sees it.
    pub interpreter: PathBuf,
    /// How a finished tree gets at Python and the libraries.
    pub runtime: Runtime,
    /// Folders of theirs that have headers, pkg-config files or a compiler: what nothing needs at run time unless it
    /// is linked against a library in it. Sorted.
    pub building: Vec<PathBuf>,
    /// Folders of theirs that stay where they are, by the names that substitutions may use for them.
    pub named: BTreeMap<String, PathBuf>,
    /// Scripts that builds find before all other programs: name and text.
    pub tools: BTreeMap<String, String>,
    /// Variables of builds beyond these lists. A recipe's flags are added to those that are flags.
    pub env: BTreeMap<String, String>,
}

/// How a finished tree gets at its interpreter and libraries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    /// It has copies and refers to nothing outside.
    Copied,
    /// It refers to the inputs, which stay where they are: the paths that the sandbox sees are real.
    Referenced,
}

/// One name in the sandbox's root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum View {
    /// A folder or file of this machine, seen read-only at `at`.
    Bind {
        /// On this machine.
        from: PathBuf,
        /// In the sandbox, absolute.
        at: PathBuf,
    },
    /// A symbolic link (`/lib` to `usr/lib`).
    Link {
        /// Its text.
        to: PathBuf,
        /// In the sandbox, absolute.
        at: PathBuf,
    },
}

impl View {
    /// Its name in the sandbox.
    pub fn at(&self) -> &std::path::Path {
        let (Self::Bind { at, .. } | Self::Link { at, .. }) = self;
        at
    }

    /// Where on this machine `path` of a sandbox with this view lies; see [`Inputs::locate`].
    pub fn locate(view: &[Self], path: &std::path::Path) -> Option<PathBuf> {
        locate::locate(view, path)
    }
}

impl Inputs {
    /// Where on this machine the sandbox's `path` lies. Follows links of the view and of the tree as the
    /// sandbox would, never those of this machine. `None` where it does not exist.
    pub fn locate(&self, path: &std::path::Path) -> Option<PathBuf> {
        locate::locate(&self.view, path)
    }
}

mod locate;
