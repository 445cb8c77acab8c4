//! Source distributions: one folder in a tar or ZIP archive.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use super::compression::Compression;
use super::error::{Fault, Reason, UnpackError};
use super::folder::{Folder, staged};
use super::limits::{Budget, Limits};
use super::tar::{self, Policy};
use super::zip;

/// Unpacks a source distribution into `dest`, which must not exist or be empty, and gives the path of its top folder.
///
/// It is a tar archive, bare or in gzip, bzip2, xz or zstd, or a ZIP archive: its first bytes tell, whatever it is
/// called.
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
    let file = File::open(archive).map_err(Fault::Read)?;
    let packed = file.metadata().map_err(Fault::Read)?.len();
    let mut reader = BufReader::with_capacity(128 << 10, file);
    let start = reader.fill_buf().map_err(Fault::Read)?;
    let is_zip = start.starts_with(b"PK") || archive.extension().is_some_and(|extension| extension == "zip");
    let top = if is_zip {
        zip::unpack(archive, folder, zip::Policy::Sdist, limits)?
    } else if start.is_empty() {
        return Err(Reason::Truncated.into());
    } else {
        let compression = Compression::of_start(start);
        // A page that says "not found", say.
        if compression == Compression::None && !tar::is_start(start) {
            return Err(Reason::Corrupt { what: "it has the start of no archive that akb knows".to_owned() }.into());
        }
        let content = compression.reader(reader)?;
        tar::unpack(content, folder, &Policy::sdist(), &mut Budget::new(limits, Some(packed)))?
    };
    top.ok_or_else(|| Reason::NoFolder.into())
}
