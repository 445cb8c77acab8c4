//! What stands where a needle was found.

use std::fmt;

use goblin::elf::Elf;
use goblin::elf::dynamic::{DT_NEEDED, DT_RPATH, DT_RUNPATH, DT_SONAME, DT_STRSZ, DT_STRTAB};
use goblin::elf::program_header::{PT_INTERP, PT_LOAD};
use goblin::elf::section_header::SHT_NOBITS;
use serde::Serialize;

/// What stands in a place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "place", rename_all = "kebab-case")]
pub enum Place {
    /// The name of a file, folder or link.
    FileName,
    /// The text of a symbolic link.
    LinkTarget,
    /// The first line of a script, which names its interpreter.
    Shebang,
    /// A line of a text.
    Text {
        /// Of the first hit, from 1.
        line: u64,
    },
    /// The program interpreter of an ELF file.
    Interpreter,
    /// An entry of RUNPATH or RPATH.
    SearchPath {
        /// `RUNPATH` or `RPATH`.
        tag: &'static str,
        /// Which, from 1.
        entry: usize,
    },
    /// A library that an ELF file needs by its path.
    Needed,
    /// The soname of a library.
    Soname,
    /// A section of an ELF file.
    Section {
        /// Its name.
        name: String,
    },
    /// An ELF file outside of its sections.
    Elf,
    /// An archive's own bytes: compressed data, headers.
    Archive,
    /// Compiled Python.
    Bytecode,
    /// A file of another kind.
    Binary,
}

impl Place {
    /// Whether a program would look for something else, or not start, were it overwritten.
    pub fn is_functional(&self) -> bool {
        matches!(self, Self::Shebang | Self::Interpreter | Self::Needed | Self::Soname)
    }

    /// What a person can do about a reference there.
    pub fn advice(&self, in_archive: bool) -> &'static str {
        if matches!(self, Self::Section { name } if is_debug(name)) {
            return "remove debug information: akb strip";
        }
        if in_archive || *self == Self::Archive {
            return "it is in an archive: leave the archive out of the tree, or build it without the path";
        }
        match self {
            Self::FileName => "rename or remove the file",
            Self::LinkTarget => "make the link relative, or remove it",
            Self::Shebang => "let the script name an interpreter inside of the tree: akb relink, or a substitution",
            Self::Interpreter | Self::SearchPath { .. } | Self::Needed | Self::Soname => {
                "let the linker look elsewhere: akb relink, which keeps only folders that are needed"
            }
            Self::Text { .. } | Self::Archive | Self::Bytecode | Self::Section { .. } | Self::Elf | Self::Binary => {
                "overwrite it: akb references --replace"
            }
        }
    }
}

/// Whether a section holds debug information, which nothing needs to run.
fn is_debug(name: &str) -> bool {
    [".debug", ".zdebug", ".stab", ".gnu.debug"].iter().any(|start| name.starts_with(start))
        || name == ".comment"
        || name == ".gdb_index"
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FileName => f.write_str("file name"),
            Self::LinkTarget => f.write_str("link target"),
            Self::Shebang => f.write_str("#! line"),
            Self::Text { line } => write!(f, "line {line}"),
            Self::Interpreter => f.write_str("ELF interpreter"),
            Self::SearchPath { tag, entry } => write!(f, ".dynstr {tag} entry {entry}"),
            Self::Needed => f.write_str(".dynstr NEEDED"),
            Self::Soname => f.write_str(".dynstr SONAME"),
            Self::Section { name } => write!(f, "ELF {name}"),
            Self::Elf => f.write_str("ELF, outside of sections"),
            Self::Archive => f.write_str("archive, outside of members"),
            Self::Bytecode => f.write_str("bytecode"),
            Self::Binary => f.write_str("binary"),
        }
    }
}

/// A file or member, as far as the places in it are concerned.
pub(super) enum Layout<'a> {
    Elf(Vec<Region>),
    Bytecode,
    Text {
        bytes: &'a [u8],
        /// How far lines were counted, and the line there.
        counted: (usize, u64),
    },
    Binary,
}

/// A part of an ELF file.
pub(super) struct Region {
    start: u64,
    end: u64,
    place: Place,
}

/// Bytes that show whether a file is text.
const HEAD: usize = 8192;

impl<'a> Layout<'a> {
    pub(super) fn of(name: &[u8], bytes: &'a [u8]) -> Self {
        if bytes.starts_with(goblin::elf::header::ELFMAG) {
            return Elf::parse(bytes).map_or(Self::Binary, |elf| Self::Elf(regions(bytes, &elf)));
        }
        if name.ends_with(b".pyc") {
            return Self::Bytecode;
        }
        if bytes[..bytes.len().min(HEAD)].contains(&0) {
            return Self::Binary;
        }
        Self::Text { bytes, counted: (0, 1) }
    }

    /// What stands at an offset. Offsets must come in ascending order.
    pub(super) fn place(&mut self, offset: usize) -> Place {
        match self {
            Self::Bytecode => Place::Bytecode,
            Self::Binary => Place::Binary,
            Self::Text { bytes, counted: (at, line) } => {
                let between = bytes.get(*at..offset).unwrap_or_default();
                *line += memchr::memchr_iter(b'\n', between).count() as u64;
                *at = offset.max(*at);
                if *line == 1 && bytes.starts_with(b"#!") { Place::Shebang } else { Place::Text { line: *line } }
            }
            Self::Elf(regions) => {
                let offset = offset as u64;
                let hit = regions.iter().find(|region| region.start <= offset && offset < region.end);
                hit.map_or(Place::Elf, |region| region.place.clone())
            }
        }
    }
}

/// The parts of an ELF file that have a meaning, the smallest first.
fn regions(bytes: &[u8], elf: &Elf<'_>) -> Vec<Region> {
    let mut regions = Vec::new();
    for segment in elf.program_headers.iter().filter(|segment| segment.p_type == PT_INTERP) {
        let end = segment.p_offset.saturating_add(segment.p_filesz);
        regions.push(Region { start: segment.p_offset, end, place: Place::Interpreter });
    }
    strings(bytes, elf, &mut regions);
    for section in elf.section_headers.iter().filter(|section| section.sh_type != SHT_NOBITS && section.sh_size > 0) {
        let name = elf.shdr_strtab.get_at(section.sh_name).unwrap_or("?").to_owned();
        let end = section.sh_offset.saturating_add(section.sh_size);
        regions.push(Region { start: section.sh_offset, end, place: Place::Section { name } });
    }
    regions
}

/// The strings that the dynamic section names.
fn strings(bytes: &[u8], elf: &Elf<'_>, regions: &mut Vec<Region>) {
    let Some(dynamic) = &elf.dynamic else { return };
    let value = |tag| dynamic.dyns.iter().find(|entry| entry.d_tag == tag).map(|entry| entry.d_val);
    let (Some(address), Some(size)) = (value(DT_STRTAB), value(DT_STRSZ)) else { return };
    let load = elf
        .program_headers
        .iter()
        .find(|load| load.p_type == PT_LOAD && address >= load.p_vaddr && address - load.p_vaddr < load.p_filesz);
    let Some(start) = load.and_then(|load| (address - load.p_vaddr).checked_add(load.p_offset)) else { return };
    let table = || bytes.get(usize::try_from(start).ok()?..usize::try_from(start.checked_add(size)?).ok()?);
    let Some(table) = table() else { return };
    for entry in &dynamic.dyns {
        let Some(rest) = usize::try_from(entry.d_val).ok().and_then(|at| table.get(at..)) else { continue };
        let tag = match entry.d_tag {
            DT_RUNPATH => "RUNPATH",
            DT_RPATH => "RPATH",
            DT_NEEDED | DT_SONAME => "",
            _ => continue,
        };
        let text = &rest[..memchr::memchr(0, rest).unwrap_or(rest.len())];
        let mut at = start.saturating_add(entry.d_val);
        if tag.is_empty() {
            let place = if entry.d_tag == DT_NEEDED { Place::Needed } else { Place::Soname };
            regions.push(Region { start: at, end: at.saturating_add(text.len() as u64), place });
            continue;
        }
        for (index, folder) in text.split(|&byte| byte == b':').enumerate() {
            let end = at.saturating_add(folder.len() as u64);
            regions.push(Region { start: at, end, place: Place::SearchPath { tag, entry: index + 1 } });
            at = end.saturating_add(1);
        }
    }
}

/// Most bytes of context on each side.
const CONTEXT: usize = 60;

/// What stands around `start..end`: up to the ends of the line or string.
pub(super) fn context(bytes: &[u8], start: usize, end: usize, wide: bool) -> String {
    if wide {
        let text: Vec<u8> = bytes[start..end].iter().copied().step_by(2).collect();
        return String::from_utf8_lossy(&text).into_owned();
    }
    let is_end = |byte: &u8| *byte == 0 || *byte == b'\n' || *byte == b'\r';
    let before = &bytes[start.saturating_sub(CONTEXT)..start];
    let before = &before[before.iter().rposition(is_end).map_or(0, |at| at + 1)..];
    let after = &bytes[end..bytes.len().min(end.saturating_add(CONTEXT))];
    let after = &after[..after.iter().position(is_end).unwrap_or(after.len())];
    let text = [before, &bytes[start..end], after].concat();
    let shown = String::from_utf8_lossy(&text);
    let printable = |character: char| if character.is_control() { '·' } else { character };
    shown.trim().chars().map(printable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relink::elf::SearchTag;
    use crate::relink::elf::sample::Sample;

    const MARK: &str = "/shop/mark";

    fn sample(wide: bool, little: bool) -> Vec<u8> {
        let sample = Sample {
            wide,
            little,
            interpreter: Some("/shop/mark/ld.so"),
            soname: Some(format!("{MARK}/soname")),
            needed: vec![format!("{MARK}/needed")],
            search: Some((SearchTag::Runpath, format!("$ORIGIN:{MARK}/a:/b:{MARK}/c"))),
            constants: format!("\0constant {MARK}\0").into_bytes(),
            tail: format!("tail {MARK}").into_bytes(),
            ..Sample::default()
        };
        sample.make()
    }

    #[test]
    fn tells_the_parts_of_elf_files() {
        for (wide, little) in [(true, true), (true, false), (false, true), (false, false)] {
            let bytes = sample(wide, little);
            let mut layout = Layout::of(b"lib.so", &bytes);
            let hits = memchr::memmem::find_iter(&bytes, MARK);
            let mut rows: Vec<String> = hits.map(|at| layout.place(at).to_string()).collect();
            rows.sort();
            let expected = [
                ".dynstr NEEDED",
                ".dynstr RUNPATH entry 2",
                ".dynstr RUNPATH entry 4",
                ".dynstr SONAME",
                "ELF .rodata",
                "ELF interpreter",
                "ELF, outside of sections",
            ];
            assert_eq!(rows, expected);
        }
    }

    /// One byte is wrong, wherever: the places may be, too, but that is all.
    #[test]
    fn odd_files_have_places_too() {
        let bytes = sample(true, true);
        for at in 0..bytes.len() {
            for value in [0, 0x7f, 0xff] {
                let mut bytes = bytes.clone();
                bytes[at] = value;
                let mut layout = Layout::of(b"lib.so", &bytes);
                for hit in memchr::memmem::find_iter(&bytes, MARK) {
                    layout.place(hit);
                    context(&bytes, hit, hit + MARK.len(), false);
                }
            }
        }
    }

    #[test]
    fn lines_are_counted_and_contexts_end_with_them() {
        let text = b"one\ntwo \x01 mark three\r\nfour";
        let mut layout = Layout::of(b"text", text);
        let at = memchr::memmem::find(text, b"mark").unwrap();
        assert_eq!(layout.place(at), Place::Text { line: 2 });
        assert_eq!(layout.place(at + 12), Place::Text { line: 3 });
        assert_eq!(context(text, at, at + 4, false), "two \u{b7} mark three");
        assert!(matches!(Layout::of(b"data", b"a\0b"), Layout::Binary));
    }
}
