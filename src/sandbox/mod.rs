//! Runs a program where it sees only what it was given. [`Spec`] is data; `enter` is the only unsafe code.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::inputs::View;

/// What a sandboxed program sees and gets. Nothing else of this machine reaches it.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Read-only folders and links of its root (see [`crate::inputs::Inputs::view`]).
    pub view: Vec<View>,
    /// Folders of this machine that it may write: (on this machine, in the sandbox).
    pub writable: Vec<(PathBuf, PathBuf)>,
    /// Its whole environment.
    pub env: BTreeMap<String, String>,
    /// Its working folder, in the sandbox.
    pub cwd: PathBuf,
    /// Program (absolute, in the sandbox) and arguments.
    pub argv: Vec<String>,
    /// What it reads on standard input.
    pub stdin: Vec<u8>,
    /// Wall time after which it is killed.
    pub time_limit: Duration,
}

/// Which of a child's streams a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// How a sandboxed program ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Exit code; 128 plus the signal where one ended it.
    pub status: i32,
    /// Both streams, in the order of arrival.
    pub output: String,
    /// CPU time of it and its children.
    pub cpu: Duration,
    /// Peak resident memory of the largest process, in bytes.
    pub peak_memory: u64,
}
