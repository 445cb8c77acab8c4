//! Archives become folders: strict intake of wheels, source distributions and Debian packages.
//!
//! Every archive is read twice: by a preflight of akb's own of each format, which knows one meaning for
//! each byte and refuses what has none or two, and by the `zip`, `tar` and `flate2` crates, which must see
//! the same members. Nothing is guessed around: what is refused is named with archive, entry and reason.
//! Only files, folders and (not in wheels) links are made, with the modes 0644 and 0755; times, owners
//! and set-id bits are dropped, and every file gets the same time.

use std::path::Path;

use crate::digest::Sha256;

mod ar;
mod compression;
mod deb;
mod error;
mod folder;
mod limits;
mod members;
mod name;
mod sdist;
mod tar;
mod wheel;
mod zip;

pub use deb::{Control, deb};
pub use error::{Disagreement, Reason, UnpackError};
pub use limits::Limits;
pub use sdist::sdist;
pub use tar::{Policy, tar_tree};
pub use wheel::wheel;

/// A file that was unpacked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Entry {
    /// Its name in the archive: relative, `/` between the parts.
    pub path: String,
    /// In bytes.
    pub size: u64,
    /// Whether it got the mode 0755 rather than 0644.
    pub executable: bool,
    /// Of its content.
    pub sha256: Sha256,
}

/// Unpacks a wheel (`.whl`), a Debian package (`.deb`) or else a source distribution into `dest`, which must not exist or
/// be empty, and gives its files sorted by path.
pub fn any(archive: &Path, dest: &Path, limits: &Limits) -> Result<Vec<Entry>, UnpackError> {
    let extension = archive.extension().and_then(|extension| extension.to_str());
    let unpacked = folder::staged(dest, |folder| match extension {
        Some("whl") => zip::unpack(archive, folder, zip::Policy::Wheel, limits).map(drop),
        Some("deb") => deb::unpack(archive, folder, limits).map(drop),
        _ => sdist::unpack(archive, folder, limits).map(drop),
    });
    unpacked.map(|((), entries)| entries).map_err(|staged| staged.in_archive(archive, dest))
}
