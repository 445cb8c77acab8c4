//! What an edit can change, as data.

use goblin::elf::Elf;
use goblin::elf::dynamic::{DT_RPATH, DT_RUNPATH};
use goblin::elf::program_header::PT_INTERP;

use super::ElfError;
use super::file::{slice, text_at};

/// What to change. `None` leaves a thing as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edits {
    /// A new program interpreter.
    pub interpreter: Option<Interpreter>,
    /// A new search path; `Some(None)` removes `DT_RPATH` and `DT_RUNPATH`.
    pub search: Option<Option<SearchPath>>,
}

/// A program interpreter and the room that it gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interpreter {
    /// Absolute path.
    pub path: String,
    /// Size of `PT_INTERP` in bytes: the path is padded with NULs to it, so that a path that is shorter than
    /// this can be put there later without moving anything. `None`: the path and one NUL.
    pub slot: Option<usize>,
}

/// Where the dynamic linker looks for what a file needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchPath {
    /// In which entry of the dynamic section.
    pub tag: SearchTag,
    /// Folders, separated by colons.
    pub text: String,
}

/// The two entries of the dynamic section that hold a search path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SearchTag {
    /// `DT_RPATH`: also for the dependencies of what is loaded, unless they have a `DT_RUNPATH`.
    Rpath,
    /// `DT_RUNPATH`: only for the file's own dependencies.
    Runpath,
}

/// The longest interpreter path, its NUL included, that Linux takes.
const PATH_MAX: usize = 4096;

impl SearchTag {
    pub(super) fn number(self) -> u64 {
        match self {
            Self::Rpath => DT_RPATH,
            Self::Runpath => DT_RUNPATH,
        }
    }
}

/// All of a file that edits can change: two files with one pristine form and one state are the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    /// The bytes of `PT_INTERP`, NULs included.
    pub(super) interpreter: Option<Vec<u8>>,
    /// The search path that counts: `DT_RUNPATH`, or else `DT_RPATH`.
    pub(super) search: Option<SearchPath>,
}

impl State {
    pub(super) fn read(bytes: &[u8], elf: &Elf<'_>) -> Result<Self, ElfError> {
        let interpreter = elf
            .program_headers
            .iter()
            .find(|segment| segment.p_type == PT_INTERP)
            .map(|segment| slice(bytes, segment.p_offset, segment.p_filesz).map(<[u8]>::to_vec))
            .transpose()?;
        Ok(Self { interpreter, search: search_path(bytes, elf)? })
    }
}

/// The search path that counts: the dynamic linker ignores `DT_RPATH` where there is a `DT_RUNPATH`.
pub(super) fn search_path(bytes: &[u8], elf: &Elf<'_>) -> Result<Option<SearchPath>, ElfError> {
    let Some(dynamic) = &elf.dynamic else { return Ok(None) };
    for tag in [SearchTag::Runpath, SearchTag::Rpath] {
        // The dynamic linker keeps the last entry of a tag.
        if let Some(entry) = dynamic.dyns.iter().rfind(|entry| entry.d_tag == tag.number()) {
            let text = text_at(bytes, elf, entry.d_val)?;
            let text = std::str::from_utf8(text).map_err(|_| ElfError::Malformed("search path is not UTF-8".into()))?;
            return Ok(Some(SearchPath { tag, text: text.to_owned() }));
        }
    }
    Ok(None)
}

impl Edits {
    pub(super) fn apply(&self, state: &mut State) -> Result<(), ElfError> {
        if let Some(interpreter) = &self.interpreter {
            state.interpreter.as_ref().ok_or(ElfError::NoInterpreter)?;
            state.interpreter = Some(interpreter.bytes()?);
        }
        if let Some(search) = &self.search {
            if search.as_ref().is_some_and(|search| search.text.contains('\0')) {
                return Err(ElfError::Text { text: format!("{search:?}"), reason: "it contains a NUL" });
            }
            state.search.clone_from(search);
        }
        Ok(())
    }
}

impl Interpreter {
    /// The contents of `PT_INTERP`.
    fn bytes(&self) -> Result<Vec<u8>, ElfError> {
        let refuse = |reason| Err(ElfError::Text { text: self.path.clone(), reason });
        let size = self.slot.unwrap_or(self.path.len() + 1);
        if self.path.is_empty() || self.path.contains('\0') {
            return refuse("an interpreter is a path without NUL");
        }
        if self.path.len() >= size {
            return refuse("it is longer than its slot");
        }
        if size > PATH_MAX {
            return refuse("Linux takes no interpreter longer than 4096 bytes");
        }
        let mut bytes = self.path.clone().into_bytes();
        bytes.resize(size, 0);
        Ok(bytes)
    }
}
