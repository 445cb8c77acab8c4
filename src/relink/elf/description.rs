//! What an ELF file says of itself, for people and programs to read.

use goblin::elf::Elf;
use goblin::elf::dynamic::{DT_DEBUG, DT_FLAGS_1, DT_NEEDED, DT_SONAME, tag_to_str};
use goblin::elf::header::{EI_OSABI, et_to_str, machine_to_str};
use goblin::elf::program_header::{PF_R, PF_W, PF_X, PT_DYNAMIC, PT_GNU_STACK, PT_INTERP, pt_to_str};
use goblin::elf::section_header::SHT_NOBITS;
use goblin::elf::sym::{bind_to_str, type_to_str};
use goblin::elf::symver::{VerdefSection, VerneedSection};
use serde::Serialize;

use super::edits::SearchTag;
use super::file::{slice, text_at};
use super::state::search_path;
use super::{ElfError, Machine, is_elf, note};

/// What an ELF file says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "independent properties")]
pub struct Description {
    /// 32 or 64.
    pub class: u8,
    /// Whether the least significant byte comes first.
    pub little_endian: bool,
    /// `e_type`, such as `DYN`.
    pub kind: String,
    /// `e_machine` by name, such as `X86_64`.
    pub machine: String,
    /// `EI_OSABI`.
    pub os_abi: u8,
    /// The path in `PT_INTERP`.
    pub interpreter: Option<String>,
    /// Size of `PT_INTERP` in bytes, padding included.
    pub interpreter_slot: Option<u64>,
    /// `DT_SONAME`.
    pub soname: Option<String>,
    /// `DT_NEEDED`, in order.
    pub needed: Vec<String>,
    /// `DT_RUNPATH`, or else `DT_RPATH`: the search path that counts.
    pub search_path: Option<String>,
    /// The entry that it is in: `RPATH` or `RUNPATH`.
    pub search_tag: Option<&'static str>,
    /// Whether the stack is executable; `None` where the file does not say.
    pub executable_stack: Option<bool>,
    /// `DF_1_NODEFLIB`.
    pub no_default_lib: bool,
    /// Whether there is a `DT_DEBUG`.
    pub debug_tag: bool,
    /// Whether there is a dynamic section in the file.
    pub dynamic: bool,
    /// Whether its dynamic section is in another file: this one holds debug information only.
    pub debug_only: bool,
    /// The GNU build id, in hexadecimal digits.
    pub build_id: Option<String>,
    /// Strings of the linker resolution cache note.
    pub resolution_cache: Vec<String>,
    /// Bytes of the file.
    pub size: u64,
    /// Bytes of the file before akb edited it, if it did.
    pub pristine_size: Option<u64>,
}

/// The tables of an ELF file, entry by entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tables {
    /// Versions that it needs, as `FILE: VERSION`.
    pub needed_versions: Vec<String>,
    /// Versions that it defines.
    pub defined_versions: Vec<String>,
    /// Dynamic symbols, in order.
    pub symbols: Vec<Symbol>,
    /// Program headers, in order.
    pub segments: Vec<Segment>,
    /// Sections, in order.
    pub sections: Vec<Section>,
    /// Entries of the dynamic section, in order: tag and value.
    pub entries: Vec<(String, u64)>,
}

/// A dynamic symbol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Symbol {
    /// Its name.
    pub name: String,
    /// Its version, if it has one.
    pub version: Option<String>,
    /// `LOCAL`, `GLOBAL`, `WEAK` …
    pub binding: &'static str,
    /// `FUNC`, `OBJECT` …
    pub kind: &'static str,
    /// Whether the file defines it.
    pub defined: bool,
}

/// A program header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Segment {
    /// Such as `PT_LOAD`.
    pub kind: String,
    /// `r`, `w` and `x`.
    pub flags: String,
    /// Where it lies in the file.
    pub offset: u64,
    /// Where it lies in memory.
    pub address: u64,
    /// Bytes in the file.
    pub size: u64,
    /// Bytes in memory.
    pub memory: u64,
    /// What its address is aligned to.
    pub align: u64,
}

/// A section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Section {
    /// Its name.
    pub name: String,
    /// Where it lies in the file.
    pub offset: u64,
    /// Where it lies in memory; 0 if it does not.
    pub address: u64,
    /// Its size in bytes.
    pub size: u64,
}

/// Names of operating systems in `EI_OSABI`; the first of a number is the one that is shown.
const SYSTEMS: [(u8, &str); 17] = [
    (0, "System V"),
    (0, "System-V"),
    (0, "SysV"),
    (1, "HP-UX"),
    (2, "NetBSD"),
    (3, "Linux"),
    (3, "GNU"),
    (4, "GNU Hurd"),
    (4, "GNU-Hurd"),
    (4, "Hurd"),
    (6, "Solaris"),
    (7, "AIX"),
    (8, "IRIX"),
    (9, "FreeBSD"),
    (10, "Tru64"),
    (12, "OpenBSD"),
    (13, "OpenVMS"),
];

/// The name of an operating system in `EI_OSABI`; unknown ones as a hexadecimal number.
pub fn os_abi_name(number: u8) -> String {
    let known = SYSTEMS.iter().find(|(known, _)| *known == number);
    known.map_or_else(|| format!("0x{number:02X}"), |(_, name)| (*name).to_owned())
}

/// The number of an operating system in `EI_OSABI`, by name in any case.
pub fn os_abi_number(name: &str) -> Option<u8> {
    SYSTEMS.iter().find(|(_, known)| known.eq_ignore_ascii_case(name.trim())).map(|(number, _)| *number)
}

impl Description {
    /// Reads any ELF file: programs, libraries, object files, debug information kept apart.
    pub fn read(bytes: &[u8]) -> Result<Self, ElfError> {
        if !is_elf(bytes) {
            return Err(ElfError::Malformed("it does not begin as an ELF file does".into()));
        }
        let elf = parse_any(bytes)?;
        let segment = |kind| elf.program_headers.iter().find(|segment| segment.p_type == kind);
        let interpreter = segment(PT_INTERP);
        let path = interpreter.and_then(|segment| slice(bytes, segment.p_offset, segment.p_filesz).ok());
        let entries = || elf.dynamic.iter().flat_map(|dynamic| &dynamic.dyns);
        let mut named = Vec::new();
        for entry in entries().filter(|entry| entry.d_tag == DT_NEEDED || entry.d_tag == DT_SONAME) {
            named.push((entry.d_tag, String::from_utf8_lossy(text_at(bytes, &elf, entry.d_val)?).into_owned()));
        }
        let with = |tag| named.iter().filter(move |(named, _)| *named == tag).map(|(_, name)| name.clone());
        let search = search_path(bytes, &elf)?;
        Ok(Self {
            class: if elf.is_64 { 64 } else { 32 },
            little_endian: elf.little_endian,
            kind: et_to_str(elf.header.e_type).to_owned(),
            machine: machine_to_str(elf.header.e_machine).to_owned(),
            os_abi: elf.header.e_ident[EI_OSABI],
            interpreter: path.map(|path| String::from_utf8_lossy(before_nul(path)).into_owned()),
            interpreter_slot: interpreter.map(|segment| segment.p_filesz),
            soname: with(DT_SONAME).next_back(),
            needed: with(DT_NEEDED).collect(),
            search_tag: search.as_ref().map(|search| match search.tag {
                SearchTag::Rpath => "RPATH",
                SearchTag::Runpath => "RUNPATH",
            }),
            search_path: search.map(|search| search.text),
            executable_stack: segment(PT_GNU_STACK).map(|stack| stack.p_flags & PF_X != 0),
            no_default_lib: entries()
                .any(|entry| entry.d_tag == DT_FLAGS_1 && entry.d_val & goblin::elf::dynamic::DF_1_NODEFLIB != 0),
            debug_tag: entries().any(|entry| entry.d_tag == DT_DEBUG),
            dynamic: elf.dynamic.is_some(),
            debug_only: is_kept_apart(&elf),
            build_id: build_id(bytes, &elf),
            resolution_cache: note::read(bytes, &elf).map(|note| strings(&note)).unwrap_or_default(),
            size: bytes.len() as u64,
            pristine_size: pristine_size(bytes),
        })
    }

    /// What the file runs on.
    pub fn machine(bytes: &[u8]) -> Option<Machine> {
        Machine::of(bytes)
    }
}

impl Tables {
    /// Reads any ELF file.
    pub fn read(bytes: &[u8]) -> Result<Self, ElfError> {
        let elf = parse_any(bytes)?;
        let entries = elf.dynamic.iter().flat_map(|dynamic| &dynamic.dyns);
        Ok(Self {
            needed_versions: needed_versions(&elf),
            defined_versions: defined_versions(&elf),
            symbols: symbols(&elf),
            segments: segments(&elf),
            sections: sections(&elf),
            entries: entries.map(|entry| (tag_to_str(entry.d_tag).to_owned(), entry.d_val)).collect(),
        })
    }
}

fn pristine_size(bytes: &[u8]) -> Option<u64> {
    let old = super::pristine(bytes).ok()?;
    (old != bytes).then_some(old.len() as u64)
}

/// A file with debug information kept apart announces a dynamic section that it does not have.
fn parse_any(bytes: &[u8]) -> Result<Elf<'_>, ElfError> {
    let header = Elf::parse_header(bytes)?;
    match super::parse(bytes) {
        Ok(mut elf) => {
            if is_kept_apart(&elf) {
                elf.dynamic = None;
            }
            Ok(elf)
        }
        Err(error) => {
            let mut elf = Elf::lazy_parse(header)?;
            let ctx = super::file::elf_context(&elf)?;
            let count = usize::from(elf.header.e_phnum);
            let (phoff, shoff) =
                (super::file::to_usize(elf.header.e_phoff)?, super::file::to_usize(elf.header.e_shoff)?);
            elf.program_headers = goblin::elf::ProgramHeader::parse(bytes, phoff, count, ctx)?;
            let count = usize::from(elf.header.e_shnum);
            elf.section_headers = goblin::elf::SectionHeader::parse(bytes, shoff, count, ctx)?;
            if is_kept_apart(&elf) { Ok(elf) } else { Err(error) }
        }
    }
}

fn is_kept_apart(elf: &Elf<'_>) -> bool {
    let dynamic = elf.program_headers.iter().find(|segment| segment.p_type == PT_DYNAMIC);
    dynamic.is_some_and(|dynamic| {
        elf.section_headers
            .iter()
            .any(|section| section.sh_type == SHT_NOBITS && section.sh_addr == dynamic.p_vaddr && section.sh_size > 0)
    })
}

fn build_id(bytes: &[u8], elf: &Elf<'_>) -> Option<String> {
    const BUILD_ID: u32 = 3;
    let notes = elf.iter_note_headers(bytes)?;
    let mut notes = notes.map_while(Result::ok);
    let note = notes.find(|note| note.name == "GNU" && note.n_type == BUILD_ID)?;
    Some(data_encoding::HEXLOWER.encode(note.desc))
}

fn needed_versions(elf: &Elf<'_>) -> Vec<String> {
    let name = |at| elf.dynstrtab.get_at(at).unwrap_or_default();
    let needs = elf.verneed.iter().flat_map(VerneedSection::iter);
    needs
        .flat_map(|need| {
            let versions = need.iter().map(|version| format!("{}: {}", name(need.vn_file), name(version.vna_name)));
            versions.collect::<Vec<_>>()
        })
        .collect()
}

fn defined_versions(elf: &Elf<'_>) -> Vec<String> {
    let defs = elf.verdef.iter().flat_map(VerdefSection::iter);
    defs.filter_map(|def| def.iter().next().and_then(|aux| elf.dynstrtab.get_at(aux.vda_name)).map(str::to_owned))
        .collect()
}

fn symbols(elf: &Elf<'_>) -> Vec<Symbol> {
    const HIDDEN: u16 = 0x8000;
    let mut versions: Vec<(u16, &str)> = Vec::new();
    for need in elf.verneed.iter().flat_map(VerneedSection::iter) {
        versions.extend(need.iter().filter_map(|aux| Some((aux.vna_other, elf.dynstrtab.get_at(aux.vna_name)?))));
    }
    for def in elf.verdef.iter().flat_map(VerdefSection::iter) {
        versions.extend(def.iter().next().and_then(|aux| Some((def.vd_ndx, elf.dynstrtab.get_at(aux.vda_name)?))));
    }
    versions.sort_unstable();
    let version = |index| {
        let number = elf.versym.as_ref()?.get_at(index)?.vs_val & !HIDDEN;
        let found = versions.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        (number > 1).then(|| versions[found].1.to_owned())
    };
    elf.dynsyms
        .iter()
        .enumerate()
        .skip(1)
        .map(|(index, symbol)| Symbol {
            name: elf.dynstrtab.get_at(symbol.st_name).unwrap_or_default().to_owned(),
            version: version(index),
            binding: bind_to_str(symbol.st_bind()),
            kind: type_to_str(symbol.st_type()),
            defined: symbol.st_shndx != 0,
        })
        .collect()
}

fn segments(elf: &Elf<'_>) -> Vec<Segment> {
    let flags = |bits: u32| {
        [(PF_R, 'r'), (PF_W, 'w'), (PF_X, 'x')]
            .map(|(bit, letter)| if bits & bit == 0 { '-' } else { letter })
            .iter()
            .collect()
    };
    elf.program_headers
        .iter()
        .map(|segment| Segment {
            kind: pt_to_str(segment.p_type).to_owned(),
            flags: flags(segment.p_flags),
            offset: segment.p_offset,
            address: segment.p_vaddr,
            size: segment.p_filesz,
            memory: segment.p_memsz,
            align: segment.p_align,
        })
        .collect()
}

fn sections(elf: &Elf<'_>) -> Vec<Section> {
    elf.section_headers
        .iter()
        .map(|section| Section {
            name: elf.shdr_strtab.get_at(section.sh_name).unwrap_or_default().to_owned(),
            offset: section.sh_offset,
            address: section.sh_addr,
            size: section.sh_size,
        })
        .collect()
}

fn strings(note: &[u8]) -> Vec<String> {
    let parts = note.split(|&byte| byte == 0).filter(|part| !part.is_empty());
    parts.map(|part| String::from_utf8_lossy(part).into_owned()).collect()
}

fn before_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|&byte| byte == 0).next().unwrap_or_default()
}
