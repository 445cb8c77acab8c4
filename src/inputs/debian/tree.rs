//! Pinned packages become a folder: unpacked by akb, merged, and given the few links that maintainer scripts
//! would have made.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;

use super::arch::Port;
use super::archive::Archive;
use super::error::DebianError;
use super::{LAYOUT, Pin};
use crate::digest::Sha256;
use crate::tree;
use crate::unpack::{self, Limits};

/// What the tree keeps of a package's top folders; the rest (`/var`, `/run`, …) is for running systems.
const KEPT: [&str; 2] = ["etc", "usr"];

/// Folders below `/usr` that people read and builds do not. Without them a third less is written.
const DROPPED: &[&str] = &[
    "share/bash-completion",
    "share/bug",
    "share/doc",
    "share/doc-base",
    "share/gnome",
    "share/info",
    "share/lintian",
    "share/locale",
    "share/man",
    "share/menu",
    "share/zsh",
];

/// Links that `update-alternatives` makes, in the order of preference: (below `/usr`, text). One is made where its
/// target exists and nothing else has its name. `@` stands for the multiarch triplet.
const ALTERNATIVES: &[(&str, &str)] = &[
    ("bin/awk", "gawk"),
    ("bin/awk", "mawk"),
    ("bin/awk", "original-awk"),
    ("bin/c++", "g++"),
    ("bin/cc", "gcc"),
    ("bin/f77", "gfortran"),
    ("bin/f95", "gfortran"),
    ("bin/lex", "flex"),
    ("bin/which", "which.debianutils"),
    ("bin/yacc", "bison.yacc"),
    ("lib/@/libblas.so", "blas/libblas.so"),
    ("lib/@/libblas.so.3", "blas/libblas.so.3"),
    ("lib/@/liblapack.so", "lapack/liblapack.so"),
    ("lib/@/liblapack.so.3", "lapack/liblapack.so.3"),
];

/// Files that maintainer scripts write and that programs look up names in; kept where a package has them.
const FILES: &[(&str, &str)] = &[
    ("group", "root:x:0:\nnogroup:x:65534:\n"),
    ("hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    ("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\nservices: files\nprotocols: files\n"),
    ("passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"),
];

/// The hash of all that the tree depends on: the packages' files and this module's rules.
pub fn identity(pins: &[Pin]) -> Sha256 {
    let mut lines: Vec<_> = pins.iter().map(|pin| format!("{} {}\n", pin.package, pin.sha256.hex())).collect();
    lines.sort_unstable();
    Sha256::of(format!("akb debian inputs, layout {LAYOUT}\n{}", lines.concat()).as_bytes())
}

/// The folder with the unpacked packages, made if the cache does not have it.
pub(super) fn build(pins: &[Pin], port: &Port, archive: &Archive<'_>, jobs: usize) -> Result<PathBuf, DebianError> {
    archive.cache.build_folder("debian", &identity(pins), |folder| {
        archive.each_file(pins, jobs, |pin, file| unpack(pin, &file, folder))?;
        finish(folder, port)
    })
}

fn unpack(pin: &Pin, file: &Path, folder: &Path) -> Result<(), DebianError> {
    let control = unpack::deb(file, folder, &Limits::default())
        .map_err(|source| DebianError::Unpack { package: pin.package.clone(), source: Box::new(source) })?;
    let field = |name: &str| {
        let mut lines = control.text.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap_or_default().trim().to_owned()
    };
    let found = [field("Package"), field("Version"), field("Architecture")].join(" ");
    let expected = [pin.package.as_str(), &pin.version, &pin.architecture].join(" ");
    if found != expected {
        return Err(DebianError::OtherPackage { file: pin.file.clone(), expected, found });
    }
    Ok(())
}

/// What dpkg's triggers and maintainer scripts would have done, as far as builds see it.
fn finish(folder: &Path, port: &Port) -> Result<(), DebianError> {
    for top in tree::list(folder)? {
        let name = top.file_name().unwrap_or_default();
        if !KEPT.iter().any(|kept| name == *kept) {
            remove(&top)?;
        }
    }
    for dropped in DROPPED {
        remove(&folder.join("usr").join(dropped))?;
    }
    for (name, target) in ALTERNATIVES {
        let link = folder.join("usr").join(name.replace('@', port.triplet));
        let there = link.parent().is_some_and(|parent| parent.join(target).exists());
        if there && fs::symlink_metadata(&link).is_err() {
            symlink(target, &link).map_err(|source| wrote(&link, source))?;
        }
    }
    let etc = folder.join("etc");
    fs::create_dir_all(&etc).map_err(|source| wrote(&etc, source))?;
    for (name, text) in FILES {
        let file = etc.join(name);
        if fs::symlink_metadata(&file).is_err() {
            fs::write(&file, text).map_err(|source| wrote(&file, source))?;
        }
    }
    set_times(folder)
}

fn remove(path: &Path) -> Result<(), DebianError> {
    let result = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(wrote(path, error)),
        _ => Ok(()),
    }
}

/// Every time becomes one second after the epoch: programs that compare times must see the same on all machines.
fn set_times(folder: &Path) -> Result<(), DebianError> {
    let moment = TimeSpec::new(1, 0);
    for node in tree::walk(folder)? {
        let path = folder.join(node.path);
        utimensat(nix::fcntl::AT_FDCWD, &path, &moment, &moment, UtimensatFlags::NoFollowSymlink)
            .map_err(|error| wrote(&path, error.into()))?;
    }
    Ok(())
}

fn wrote(path: &Path, source: io::Error) -> DebianError {
    DebianError::Write { path: path.to_owned(), source }
}
