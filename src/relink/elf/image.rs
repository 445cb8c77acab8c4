//! What the dynamic linker would read from a file, as data.

use std::collections::{BTreeMap, BTreeSet};

use goblin::elf::Elf;
use goblin::elf::dynamic::DF_1_NODEFLIB;
use goblin::elf::header::{EI_CLASS, EI_DATA, EI_OSABI, ELFOSABI_LINUX, ELFOSABI_NONE, ET_DYN, ET_EXEC, Header};
use goblin::elf::program_header::{PT_DYNAMIC, PT_INTERP};
use goblin::elf::section_header::SHT_NOBITS;
use goblin::elf::symver::{VerdefSection, VerneedSection};
use serde::Deserialize;

use super::edits::SearchPath;
use super::state::search_path;
use super::{ElfError, is_elf};

/// Class, byte order and machine: the dynamic linker takes files only where all three agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Machine {
    class: u8,
    order: u8,
    kind: u16,
}

/// A dynamically linked program or library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// What it runs on.
    pub machine: Machine,
    /// The path in `PT_INTERP`.
    pub interpreter: Option<String>,
    /// `DT_SONAME`.
    pub soname: Option<String>,
    /// `DT_NEEDED`, in order.
    pub needed: Vec<String>,
    /// The search path that counts.
    pub search: Option<SearchPath>,
    /// Whether the dynamic linker's own folders are not searched for what it needs (`DF_1_NODEFLIB`).
    pub no_default_lib: bool,
    /// Versions that it needs, by the library that must define them.
    pub needs: BTreeMap<String, BTreeSet<Version>>,
    /// Versions that it defines.
    pub defines: BTreeSet<String>,
    /// Libraries that it says it opens by name (`.note.dlopen`).
    pub dlopen: Vec<DlopenNote>,
}

/// A symbol version that a file needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Such as `GLIBC_2.34`.
    pub name: String,
    /// Whether the dynamic linker only warns where it is missing.
    pub weak: bool,
}

/// One entry of a `.note.dlopen` section.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct DlopenNote {
    /// Names of which any one will do, the best first.
    pub soname: Vec<String>,
    /// What it is for.
    #[serde(default)]
    pub feature: Option<String>,
    /// How much it is missed.
    #[serde(default)]
    pub priority: Priority,
}

/// How much a library that is opened by name is missed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Nothing works without it.
    Required,
    /// Wanted; the default of the specification.
    #[default]
    Recommended,
    /// Nice to have.
    Suggested,
}

/// Owner and type of the notes in `.note.dlopen`.
const DLOPEN_OWNER: &str = "FDO";
const DLOPEN_TYPE: u32 = 0x407c_0c0a;
/// `VER_FLG_WEAK`.
const WEAK: u16 = 2;

impl Machine {
    /// What the ELF file `bytes` runs on; `None` where it is not one.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        Some(Self::from_header(&Elf::parse_header(bytes).ok()?))
    }

    fn from_header(header: &Header) -> Self {
        Self { class: header.e_ident[EI_CLASS], order: header.e_ident[EI_DATA], kind: header.e_machine }
    }
}

impl Image {
    /// Reads a program or library. `None` for everything that the dynamic linker does not load: other files,
    /// object files, statically linked programs, debug information kept apart, programs of other systems.
    pub fn read(bytes: &[u8]) -> Result<Option<Self>, ElfError> {
        if !is_elf(bytes) {
            return Ok(None);
        }
        let header = Elf::parse_header(bytes)?;
        let system = header.e_ident[EI_OSABI];
        if ![ET_DYN, ET_EXEC].contains(&header.e_type) || ![ELFOSABI_NONE, ELFOSABI_LINUX].contains(&system) {
            return Ok(None);
        }
        let elf = super::parse(bytes)?;
        let Some(dynamic) = elf.program_headers.iter().find(|segment| segment.p_type == PT_DYNAMIC) else {
            return Ok(None);
        };
        let kept_apart = |section: &goblin::elf::SectionHeader| {
            section.sh_type == SHT_NOBITS && section.sh_addr == dynamic.p_vaddr && section.sh_size >= dynamic.p_memsz
        };
        if dynamic.p_filesz == 0 || elf.section_headers.iter().any(kept_apart) {
            return Ok(None);
        }
        let own = |text: &str| text.to_owned();
        Ok(Some(Self {
            machine: Machine::from_header(&elf.header),
            interpreter: interpreter(bytes, &elf),
            soname: elf.soname.map(own),
            needed: elf.libraries.iter().map(|name| own(name)).collect(),
            search: search_path(bytes, &elf)?,
            no_default_lib: dynamic_flags(&elf) & DF_1_NODEFLIB != 0,
            needs: needs(&elf),
            defines: defines(&elf),
            dlopen: dlopen_notes(bytes, &elf),
        }))
    }

    /// The names of the search path, in order, empty ones left out.
    pub fn search_folders(&self) -> impl Iterator<Item = &str> {
        self.search.iter().flat_map(|search| search.text.split(':')).filter(|folder| !folder.is_empty())
    }
}

fn dynamic_flags(elf: &Elf<'_>) -> u64 {
    elf.dynamic.as_ref().map_or(0, |dynamic| dynamic.info.flags_1)
}

fn interpreter(bytes: &[u8], elf: &Elf<'_>) -> Option<String> {
    let segment = elf.program_headers.iter().find(|segment| segment.p_type == PT_INTERP)?;
    let contents = super::file::slice(bytes, segment.p_offset, segment.p_filesz).ok()?;
    let path = contents.split(|&byte| byte == 0).next()?;
    Some(String::from_utf8_lossy(path).into_owned())
}

fn needs(elf: &Elf<'_>) -> BTreeMap<String, BTreeSet<Version>> {
    let mut all: BTreeMap<String, BTreeSet<Version>> = BTreeMap::new();
    for need in elf.verneed.iter().flat_map(VerneedSection::iter) {
        let Some(library) = elf.dynstrtab.get_at(need.vn_file) else { continue };
        let versions = all.entry(library.to_owned()).or_default();
        for version in &need {
            if let Some(name) = elf.dynstrtab.get_at(version.vna_name) {
                versions.insert(Version { name: name.to_owned(), weak: version.vna_flags & WEAK != 0 });
            }
        }
    }
    all
}

fn defines(elf: &Elf<'_>) -> BTreeSet<String> {
    let defs = elf.verdef.iter().flat_map(VerdefSection::iter);
    // The first name of each is its own, the others are what it inherits from.
    defs.filter_map(|def| def.iter().next().and_then(|aux| elf.dynstrtab.get_at(aux.vda_name)).map(str::to_owned))
        .collect()
}

fn dlopen_notes(bytes: &[u8], elf: &Elf<'_>) -> Vec<DlopenNote> {
    let notes = elf.iter_note_sections(bytes, Some(".note.dlopen"));
    notes
        .into_iter()
        .flatten()
        .map_while(Result::ok)
        .filter(|note| note.name == DLOPEN_OWNER && note.n_type == DLOPEN_TYPE)
        .filter_map(|note| {
            let text = note.desc.split(|&byte| byte == 0).next().unwrap_or_default();
            serde_json::from_slice::<Vec<DlopenNote>>(text).ok()
        })
        .flatten()
        .collect()
}
