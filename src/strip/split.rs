//! Where files for debuggers go.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::build_id;
use super::tree::begins_as_elf;
use crate::digest::Sha256;

/// The file for debuggers of each ELF file among `files` (name in the report, and place), relative to their folder.
/// Debuggers look for a build id first, so that the first file that has it gets the name, and copies of it share that.
pub(super) fn targets(files: &[(PathBuf, PathBuf)]) -> io::Result<BTreeMap<PathBuf, PathBuf>> {
    let known: Vec<_> = files.par_iter().map(|(_, place)| identity(place)).collect::<io::Result<_>>()?;
    let mut owners: BTreeMap<String, Sha256> = BTreeMap::new();
    let mut targets = BTreeMap::new();
    for ((path, place), known) in files.iter().zip(known) {
        let named = match known {
            None => continue,
            Some((Some(id), hash)) if *owners.entry(id.clone()).or_insert(hash) == hash => by_id(&id),
            Some(_) => None,
        };
        let by_path = || by_path(if path.as_os_str().is_empty() { place } else { path });
        targets.insert(path.clone(), named.unwrap_or_else(by_path));
    }
    Ok(targets)
}

/// The build id and the hash of an ELF file.
fn identity(place: &Path) -> io::Result<Option<(Option<String>, Sha256)>> {
    if !begins_as_elf(place)? {
        return Ok(None);
    }
    let bytes = fs::read(place)?;
    Ok(Some((build_id::of(&bytes), Sha256::of(&bytes))))
}

fn by_id(id: &str) -> Option<PathBuf> {
    let (start, rest) = id.split_at_checked(2)?;
    Some(Path::new("lib/debug/.build-id").join(start).join(format!("{rest}.debug")))
}

fn by_path(path: &Path) -> PathBuf {
    let mut name = path.strip_prefix("/").unwrap_or(path).as_os_str().to_owned();
    name.push(".debug");
    Path::new("lib/debug").join(name)
}

/// Writes a file for debuggers. One that is there already is never overwritten, since what it belongs to was stripped.
pub(super) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder)?;
    let mut file = tempfile::Builder::new().prefix(".akb-").tempfile_in(folder)?;
    io::Write::write_all(&mut file, bytes)?;
    file.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(()),
        Err(_) if fs::read(path).is_ok_and(|there| there == bytes) => Ok(()),
        Err(error) => Err(error.error),
    }
}
