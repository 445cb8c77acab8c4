//! All of a file that edits can change.

use std::collections::{BTreeMap, BTreeSet};

use goblin::elf::Elf;
use goblin::elf::dynamic::{DF_1_NODEFLIB, DT_DEBUG, DT_FLAGS_1, DT_NEEDED, DT_RPATH, DT_RUNPATH, DT_SONAME};
use goblin::elf::header::EI_OSABI;
use goblin::elf::program_header::{PF_X, PT_GNU_STACK, PT_INTERP};
use serde::{Deserialize, Serialize};

use super::ElfError;
use super::edits::{SearchPath, SearchTag};
use super::file::{slice, text_at};
use super::note;
use super::versions::Needs;

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
    /// `DT_SONAME`.
    pub(super) soname: Option<Vec<u8>>,
    /// `DT_NEEDED`, in order.
    pub(super) needed: Vec<Vec<u8>>,
    /// The files that define the versions that it needs (`vn_file`), in order, but for those not needed any more.
    pub(super) version_files: Vec<Vec<u8>>,
    /// `EI_OSABI`.
    pub(super) os_abi: u8,
    /// Whether `PT_GNU_STACK` asks for an executable stack; `None` without one.
    pub(super) executable_stack: Option<bool>,
    /// `DF_1_NODEFLIB`.
    pub(super) no_default_lib: bool,
    /// Whether there is a `DT_DEBUG`.
    pub(super) debug_tag: bool,
    /// The descriptor of the linker resolution cache note.
    pub(super) resolution_cache: Option<Vec<u8>>,
    /// What the file itself does not tell.
    pub(super) unseen: Unseen,
}

/// The part of the state that cannot be read off an edited file: its journal keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Unseen {
    /// New names of dynamic symbols by their pristine ones.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) renamed: BTreeMap<String, String>,
    /// Pristine names of symbols without version.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) unversioned: BTreeSet<String>,
    /// Which of the pristine file's records of needed versions are gone, with the library that they are about.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) unneeded: BTreeSet<usize>,
    /// Page size that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) page_size: Option<u64>,
    /// Whether vacated places are cleared.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) clear_old: bool,
    /// Whether the file is laid out as patchelf would.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) like_patchelf: bool,
    /// Length of a search path of an earlier edit that stays behind, crossed out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) crossed_out: Option<usize>,
}

impl State {
    pub(super) fn read(bytes: &[u8], elf: &Elf<'_>, unseen: Unseen) -> Result<Self, ElfError> {
        let segment = |kind| elf.program_headers.iter().find(|segment| segment.p_type == kind);
        let interpreter = segment(PT_INTERP)
            .map(|segment| slice(bytes, segment.p_offset, segment.p_filesz).map(<[u8]>::to_vec))
            .transpose()?;
        let entries = || elf.dynamic.iter().flat_map(|dynamic| &dynamic.dyns);
        let name = |at| text_at(bytes, elf, at).map(<[u8]>::to_vec);
        let named = |tag| entries().filter(move |entry| entry.d_tag == tag).map(|entry| name(entry.d_val));
        let needs = Needs::read(bytes, elf)?;
        Ok(Self {
            interpreter,
            search: search_path(bytes, elf)?,
            soname: named(DT_SONAME).next_back().transpose()?,
            needed: named(DT_NEEDED).collect::<Result<_, _>>()?,
            version_files: needs.files.iter().map(|file| name(file.name)).collect::<Result<_, _>>()?,
            os_abi: elf.header.e_ident[EI_OSABI],
            executable_stack: segment(PT_GNU_STACK).map(|stack| stack.p_flags & PF_X != 0),
            no_default_lib: entries().any(|entry| entry.d_tag == DT_FLAGS_1 && entry.d_val & DF_1_NODEFLIB != 0),
            debug_tag: entries().any(|entry| entry.d_tag == DT_DEBUG),
            resolution_cache: note::read(bytes, elf),
            unseen,
        })
    }

    /// Drops the records of versions that a file must define.
    pub(super) fn forget_versions(&mut self, name: &[u8]) {
        let gone = self.unseen.unneeded.clone();
        // The pristine numbers of the records that are there.
        let numbers = (0..).filter(|number| !gone.contains(number));
        let dropped: Vec<usize> =
            numbers.zip(&self.version_files).filter(|(_, file)| *file == name).map(|(number, _)| number).collect();
        self.unseen.unneeded.extend(dropped);
        self.version_files.retain(|file| file != name);
    }

    /// Whether a file in the one state is no different from a file in the other, but for its layout.
    pub(super) fn same(&self, other: &Self) -> bool {
        let plain = |state: &Self| {
            let Unseen { renamed, unversioned, unneeded, .. } = state.unseen.clone();
            Self { unseen: Unseen { renamed, unversioned, unneeded, ..Unseen::default() }, ..state.clone() }
        };
        plain(self) == plain(other)
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
