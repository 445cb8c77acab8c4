//! Compressed sections of ELF files: debug information, as Go and some distributions have it.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use goblin::container::Ctx;
use goblin::elf::compression_header::{CompressionHeader, ELFCOMPRESS_ZLIB, ELFCOMPRESS_ZSTD};
use goblin::elf::header::ELFMAG;
use goblin::elf::section_header::{SHF_COMPRESSED, SHT_NOBITS, SectionHeader};
use goblin::elf::{Elf, Header};
use scroll::Pread as _;
use scroll::ctx::SizeWith as _;

use super::archive::{Budget, Packing, decompress};

/// How older tools compressed: a section of such a name, with these bytes and the size in front.
const OLD_NAME: &str = ".zdebug";
const OLD_MARK: &[u8] = b"ZLIB";
const OLD_HEAD: usize = 12;
/// The largest header of an ELF file.
pub(super) const HEADER: usize = 64;

fn context(header: &Header) -> Option<Ctx> {
    let container = header.container().ok()?;
    Some(Ctx::new(container, header.endianness().ok()?))
}

fn is_compressed(section: &SectionHeader) -> bool {
    section.sh_flags & u64::from(SHF_COMPRESSED) != 0 && section.sh_type != SHT_NOBITS
}

/// Section headers of an ELF file that begins with `head`, and their names; `read` gives bytes at an offset. Nothing
/// else need make sense in the file.
fn headers(head: &[u8], read: impl Fn(u64, usize) -> Option<Vec<u8>>) -> Option<(Ctx, Vec<SectionHeader>, Vec<u8>)> {
    let header = Elf::parse_header(head).ok()?;
    let ctx = context(&header)?;
    let size = SectionHeader::size_with(&ctx);
    let table = read(header.e_shoff, usize::from(header.e_shnum) * size)?;
    let sections = (0..table.len()).step_by(size).map(|at| table.pread_with::<SectionHeader>(at, ctx));
    let sections: Vec<SectionHeader> = sections.collect::<Result<_, _>>().ok()?;
    let names = sections.get(usize::from(header.e_shstrndx))?;
    let names = read(names.sh_offset, usize::try_from(names.sh_size).ok()?)?;
    Some((ctx, sections, names))
}

/// Whether an ELF file that begins with `head` may have compressed sections; little more than the section headers is
/// read. Where these make no sense, or too much of it, it may.
pub(super) fn any(file: &File, head: &[u8]) -> bool {
    const MOST: usize = 8 << 20;
    let read = |at, size| {
        let mut bytes = vec![0; if size > MOST { return None } else { size }];
        file.read_exact_at(&mut bytes, at).ok().map(|()| bytes)
    };
    head.starts_with(ELFMAG)
        && headers(head, read).is_none_or(|(_, sections, names)| {
            sections.iter().any(is_compressed) || memchr::memmem::find(&names, OLD_NAME.as_bytes()).is_some()
        })
}

/// Takes a section's name, its contents, and why these may not be all.
type Give<'a> = &'a mut dyn FnMut(&str, &[u8], Option<String>);

/// Gives out the contents of every compressed section.
pub(super) fn open(bytes: &[u8], budget: &mut Budget, give: Give<'_>) {
    if !bytes.starts_with(ELFMAG) {
        return;
    }
    let read = |at, size| {
        let at = usize::try_from(at).ok()?;
        bytes.get(at..at.checked_add(size)?).map(<[u8]>::to_vec)
    };
    let Some((ctx, sections, names)) = headers(bytes, read) else { return };
    for section in &sections {
        let name = names.get(section.sh_name..).and_then(|name| name.split(|&byte| byte == 0).next());
        let name = String::from_utf8_lossy(name.unwrap_or(b"?"));
        let range = section.file_range().and_then(|range| bytes.get(range));
        match range.and_then(|contents| packed(section, &name, contents, ctx)) {
            None => {}
            Some(Err(reason)) => give(&name, &[], Some(reason)),
            Some(Ok((packing, packed))) => {
                let (content, reason) = decompress(packing, packed, budget);
                give(&name, &content, reason);
            }
        }
    }
}

/// What of a section is compressed and how; `None` where nothing is.
fn packed<'a>(
    section: &SectionHeader,
    name: &str,
    contents: &'a [u8],
    ctx: Ctx,
) -> Option<Result<(Packing, &'a [u8]), String>> {
    if name.starts_with(OLD_NAME) && contents.starts_with(OLD_MARK) {
        return Some(Ok((Packing::Zlib, contents.get(OLD_HEAD..).unwrap_or_default())));
    }
    if !is_compressed(section) {
        return None;
    }
    let Ok(header) = contents.pread_with::<CompressionHeader>(0, ctx) else {
        return Some(Err("it has no header".to_owned()));
    };
    let rest = contents.get(CompressionHeader::size_with(&ctx)..).unwrap_or_default();
    Some(match header.ch_type {
        ELFCOMPRESS_ZLIB => Ok((Packing::Zlib, rest)),
        ELFCOMPRESS_ZSTD => Ok((Packing::Zstd, rest)),
        other => Err(format!("it is compressed in a way that is not known ({other})")),
    })
}
