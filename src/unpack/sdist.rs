//! Source distributions: one folder in a tar or ZIP archive.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use super::compression::Compression;
use super::error::{Fault, Reason, UnpackError};
use super::folder::{Folder, staged};
use super::limits::{Budget, Limits};
use super::tar::{self, Policy};
use super::zip;

/// Unpacks a source distribution (`.tar.gz`, `.tgz`, `.tar.bz2`, `.tar.xz`, `.tar.zst`, `.tar`, `.zip`) into `dest`, which
/// must not exist or be empty, and gives the path of its top folder.
///
/// Nothing of it is at `dest` before all of it was found good. Links are made as they are where they stay in the
/// top folder.
pub fn sdist(archive: &Path, dest: &Path, limits: &Limits) -> Result<PathBuf, UnpackError> {
    let unpacked = staged(dest, |folder| unpack(archive, folder, limits));
    let (top, _) = unpacked.map_err(|staged| staged.in_archive(archive, dest))?;
    Ok(dest.join(top))
}

/// Unpacks into `folder`; the name of the top folder.
pub(super) fn unpack(archive: &Path, folder: &mut Folder, limits: &Limits) -> Result<String, Fault> {
    let name = archive.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let top = if name.ends_with(".zip") {
        zip::unpack(archive, folder, zip::Policy::Sdist, limits)?
    } else if let Some((_, compression)) = Compression::of_tar(&name) {
        let file = File::open(archive).map_err(Fault::Read)?;
        let packed = file.metadata().map_err(Fault::Read)?.len();
        let content = compression.reader(BufReader::with_capacity(128 << 10, file))?;
        tar::unpack(content, folder, &Policy::sdist(), &mut Budget::new(limits, Some(packed)))?
    } else {
        return Err(Reason::Unsupported("a format that is no source distribution's".to_owned()).into());
    };
    top.ok_or_else(|| Reason::NoFolder.into())
}
