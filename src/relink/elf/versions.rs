//! The table of versions that a file needs, as the dynamic linker finds it.

use goblin::container::Ctx;
use goblin::elf::Elf;
use goblin::elf::dynamic::{DT_VERNEED, DT_VERNEEDNUM};
use scroll::Pread as _;

use super::ElfError;
use super::file::{elf_context, offset, to_usize};

/// `DT_VERNEED`: the files that must define versions.
#[derive(Debug, Default)]
pub(super) struct Needs {
    pub(super) files: Vec<NeedsOf>,
    /// Offsets in the strings of the names of all versions.
    pub(super) versions: Vec<u64>,
}

/// One `Verneed` record.
#[derive(Debug)]
pub(super) struct NeedsOf {
    /// Where the file's `vn_file` lies.
    pub(super) at: usize,
    /// Its offset in the strings.
    pub(super) name: u64,
}

/// Size of a record of either kind.
const RECORD: usize = 16;

impl Needs {
    pub(super) fn read(bytes: &[u8], elf: &Elf<'_>) -> Result<Self, ElfError> {
        let value = |tag| {
            let dynamic = elf.dynamic.iter().flat_map(|dynamic| &dynamic.dyns);
            dynamic.filter(|entry| entry.d_tag == tag).map(|entry| entry.d_val).next()
        };
        let (Some(address), Some(count)) = (value(DT_VERNEED), value(DT_VERNEEDNUM)) else {
            return Ok(Self::default());
        };
        let reader = Reader { bytes, ctx: elf_context(elf)? };
        let mut at = to_usize(offset(elf, address)?)?;
        let mut needs = Self::default();
        // Records that overlap would let a small file ask for a lot of work.
        let mut left = bytes.len() / RECORD;
        for _ in 0..count {
            let versions = reader.half(at, 2)?;
            left = left.checked_sub(1 + usize::from(versions)).ok_or_else(endless)?;
            needs.files.push(NeedsOf { at: step(at, 4)?, name: u64::from(reader.word(at, 4)?) });
            let mut version = step(at, reader.word(at, 8)?)?;
            for _ in 0..versions {
                needs.versions.push(u64::from(reader.word(version, 8)?));
                match reader.word(version, 12)? {
                    0 => break,
                    next => version = step(version, next)?,
                }
            }
            match reader.word(at, 12)? {
                0 => break,
                next => at = step(at, next)?,
            }
        }
        Ok(needs)
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    ctx: Ctx,
}

impl Reader<'_> {
    fn half(&self, at: usize, field: u32) -> Result<u16, ElfError> {
        Ok(self.bytes.pread_with(step(at, field)?, self.ctx.le)?)
    }

    fn word(&self, at: usize, field: u32) -> Result<u32, ElfError> {
        Ok(self.bytes.pread_with(step(at, field)?, self.ctx.le)?)
    }
}

fn endless() -> ElfError {
    ElfError::Malformed("its version table has more records than the file has room for".into())
}

fn step(at: usize, by: u32) -> Result<usize, ElfError> {
    let by = usize::try_from(by).unwrap_or(usize::MAX);
    at.checked_add(by).ok_or_else(|| ElfError::Malformed("its version table leaves the file".into()))
}
