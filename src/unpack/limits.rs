//! How much an archive may unpack to.

use super::error::{Fault, Reason, refuse};

/// Bounds that no real package comes near; an archive beyond one is refused before the bytes are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Members: files, folders, links and extended headers.
    pub files: u64,
    /// Bytes of all files together.
    pub total_size: u64,
    /// Bytes of one file.
    pub file_size: u64,
    /// Bytes of all files together for each byte of the archive. Not looked at below 64 MiB, for small
    /// archives of zeros are harmless.
    pub ratio: u64,
    /// Bytes of one name.
    pub name_length: usize,
    /// Parts of one name.
    pub depth: usize,
}

impl Default for Limits {
    /// 500,000 members, 32 GiB together, 8 GiB each, 200 times the archive, 1024 bytes and 64 parts in a
    /// name. The largest wheels known have 30,000 files, 4 GiB and a ratio below 20.
    fn default() -> Self {
        Self { files: 500_000, total_size: 32 << 30, file_size: 8 << 30, ratio: 200, name_length: 1024, depth: 64 }
    }
}

/// Below this many bytes no ratio is looked at.
const RATIO_FLOOR: u64 = 64 << 20;

/// What is left of the limits while an archive is read.
pub(super) struct Budget<'a> {
    pub(super) limits: &'a Limits,
    packed: Option<u64>,
    files: u64,
    total: u64,
}

impl<'a> Budget<'a> {
    /// For an archive of `packed` bytes, where that is known.
    pub(super) fn new(limits: &'a Limits, packed: Option<u64>) -> Self {
        Self { limits, packed, files: 0, total: 0 }
    }

    /// One more member, extended headers included.
    pub(super) fn member(&mut self) -> Result<(), Reason> {
        self.files += 1;
        if self.files > self.limits.files {
            return Err(Reason::TooManyMembers { limit: self.limits.files });
        }
        Ok(())
    }

    /// `size` more bytes in the file `entry`, before they are written.
    pub(super) fn file(&mut self, entry: &str, size: u64) -> Result<(), Fault> {
        let limits = self.limits;
        self.total = self.total.saturating_add(size);
        let reason = if size > limits.file_size {
            Reason::FileTooLarge { size, limit: limits.file_size }
        } else if self.total > limits.total_size {
            Reason::TooLarge { limit: limits.total_size }
        } else if self.total > RATIO_FLOOR
            && self.packed.is_some_and(|packed| self.total / limits.ratio.max(1) > packed)
        {
            Reason::Ratio { limit: limits.ratio }
        } else {
            return Ok(());
        };
        refuse(entry, reason)
    }
}
