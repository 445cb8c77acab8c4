//! Wheels: ZIP archives of files (PEP 427).

use std::path::Path;

use super::error::UnpackError;
use super::folder::staged;
use super::limits::Limits;
use super::{Entry, zip};

/// Unpacks the wheel `archive` into `dest`, which must not exist or be empty, and gives its files sorted by path.
///
/// Nothing of it is at `dest` before all of it was found good. RECORD is not looked at: that is the installer's.
pub fn wheel(archive: &Path, dest: &Path, limits: &Limits) -> Result<Vec<Entry>, UnpackError> {
    let unpacked = staged(dest, |folder| zip::unpack(archive, folder, zip::Policy::Wheel, limits));
    unpacked.map(|(_, entries)| entries).map_err(|staged| staged.in_archive(archive, dest))
}
