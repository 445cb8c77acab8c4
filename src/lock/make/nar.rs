//! The hash of a fetch output.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::digest::Sha256;
use crate::nar;

/// The NAR hash of a fetch output: one flat folder of `files`, each under its name, none executable. `files` says
/// where they are on this machine.
///
/// # Errors
/// A file that cannot be read.
pub fn flat_hash(files: &BTreeMap<String, PathBuf>) -> io::Result<Sha256> {
    let mut encoder = nar::hasher()?;
    encoder.folder(Path::new(""))?;
    for (name, path) in files {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        encoder.file(Path::new(name), false, size, file)?;
    }
    nar::finish(encoder).map(|(digest, _)| digest)
}
