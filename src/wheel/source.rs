//! A copy of the sources in which nothing tells where or when it was made.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;

use super::WheelError;
use super::error::At as _;
use crate::digest::Sha256;
use crate::nar;
use crate::tree::{self, Kind, Node};

/// 1980-01-01, the first time that a zip archive can hold: `SOURCE_DATE_EPOCH` of all builds, and the time of all
/// sources. Equal times also keep `make` from regenerating shipped files.
pub(super) const EPOCH: i64 = 315_532_800;

/// What tells the scheduler how long a build may take: suffixes of what compilers read.
const COMPILED: [&str; 8] = ["c", "cc", "cpp", "cxx", "rs", "f", "f90", "m"];

/// Names in a source folder that are never sources: they differ from day to day.
pub const NOT_SOURCES: [&str; 10] = [
    ".git",
    ".hg",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".tox",
    ".venv",
    "__pycache__",
    "node_modules",
    "result",
];

/// The NAR hash of a folder without [`NOT_SOURCES`]: [`super::Job::identity`] of a source tree that no archive holds.
pub fn identity(folder: &Path) -> Result<Sha256, WheelError> {
    nar::hash(folder, sources(folder, &NOT_SOURCES)?).at("read", folder)
}

fn sources(folder: &Path, without: &[&str]) -> Result<Vec<Node>, WheelError> {
    let mut nodes = tree::walk(folder)?;
    nodes.retain(|node| !node.path.iter().any(|name| without.iter().any(|left_out| name == *left_out)));
    Ok(nodes)
}

/// Copies `from` to `to`, which is made: modes 755 and 644, all times [`EPOCH`]. What is named like one of `without`
/// is left out, with all that is in it.
pub(super) fn copy(from: &Path, to: &Path, without: &[&str]) -> Result<(), WheelError> {
    let nodes = sources(from, without)?;
    fs::create_dir(to).at("create", to)?;
    for node in &nodes {
        let (source, target) = (from.join(&node.path), to.join(&node.path));
        match &node.kind {
            Kind::Dir => fs::create_dir(&target).at("create", &target)?,
            Kind::Link { target: text } => std::os::unix::fs::symlink(text, &target).at("create", &target)?,
            Kind::File { executable, .. } => {
                fs::copy(&source, &target).at("copy", &source)?;
                let mode = if *executable { 0o755 } else { 0o644 };
                fs::set_permissions(&target, fs::Permissions::from_mode(mode)).at("change", &target)?;
            }
        }
    }
    // Folders last, and inner ones before outer ones: what is made in them changes their times.
    for node in nodes.iter().rev() {
        let path = to.join(&node.path);
        set_time(&path).at("change", &path)?;
    }
    set_time(to).at("change", to)
}

fn set_time(path: &Path) -> io::Result<()> {
    let time = TimeSpec::new(EPOCH, 0);
    Ok(utimensat(AT_FDCWD, path, &time, &time, UtimensatFlags::NoFollowSymlink)?)
}

/// Bytes that compilers will read: what is known about how long a build takes before it runs.
pub(super) fn weight(folder: &Path) -> Result<u64, WheelError> {
    let weigh = |node: &Node| match (&node.kind, node.path.extension().and_then(|suffix| suffix.to_str())) {
        // Cython makes about ten times as much C of it.
        (Kind::File { size, .. }, Some("pyx")) => size.saturating_mul(10),
        (Kind::File { size, .. }, Some(suffix)) if COMPILED.contains(&suffix) => *size,
        _ => 0,
    };
    Ok(tree::walk(folder)?.iter().map(weigh).fold(0, u64::saturating_add))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn a_copy_tells_neither_when_nor_by_whom() {
        let root = tempfile::tempdir().unwrap();
        let from = root.path().join("from");
        fs::create_dir_all(from.join("a/b")).unwrap();
        fs::write(from.join("a/b/run"), "x").unwrap();
        fs::set_permissions(from.join("a/b/run"), fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(from.join("a/data.c"), "12345").unwrap();
        fs::set_permissions(from.join("a/data.c"), fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::symlink("b/run", from.join("a/link")).unwrap();
        let to = root.path().join("to");
        fs::create_dir_all(from.join("a/.git/x")).unwrap();
        let before = identity(&from).unwrap();
        fs::write(from.join("a/.git/x/y"), "").unwrap();
        assert_eq!(identity(&from).unwrap(), before);
        copy(&from, &to, &NOT_SOURCES).unwrap();
        assert_eq!(identity(&to).unwrap(), before);
        assert!(!to.join("a/.git").exists());
        for (name, mode) in [("", 0o755), ("a", 0o755), ("a/b", 0o755), ("a/b/run", 0o755), ("a/data.c", 0o644)] {
            let metadata = fs::symlink_metadata(to.join(name)).unwrap();
            assert_eq!((metadata.mtime(), metadata.mode() & 0o777), (EPOCH, mode), "{name}");
        }
        let link = to.join("a/link");
        assert_eq!(fs::symlink_metadata(&link).unwrap().mtime(), EPOCH);
        assert_eq!(fs::read_link(&link).unwrap(), Path::new("b/run"));
        fs::write(to.join("a/b.pyx"), "123").unwrap();
        assert_eq!(weight(&to).unwrap(), 5 + 30);
    }
}
