//! Archives and compressed files in a tree: what a search for plain bytes does not see.

use std::borrow::Cow;
use std::io::{Cursor, Read};
use std::ops::Range;

use zip::ZipArchive;

/// What a file holds packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    Zip,
    Tar,
    Gzip,
    Zlib,
    Bzip2,
    Xz,
    Zstd,
}

/// How much is unpacked of one file of a tree, whatever is nested in it.
pub(super) struct Budget {
    bytes: u64,
    members: u64,
}

/// Memory for one member.
const MEMBER: u64 = 512 << 20;
const MEMBERS: u64 = 200_000;
/// Archives in archives.
const DEPTH: usize = 5;
/// Memory of one decoder.
const DECODER: u32 = 192 << 20;
/// Where a tar header says that it is one.
const USTAR: Range<usize> = 257..262;
/// The record at the end of a zip archive without a comment.
const END_OF_ZIP: usize = 22;

impl Budget {
    /// For a file of `packed` bytes: no honest archive unpacks to 200 times its size.
    pub(super) fn new(packed: u64) -> Self {
        Self { bytes: packed.saturating_mul(200).clamp(64 << 20, 8 << 30), members: MEMBERS }
    }
}

impl Packing {
    /// By the first bytes of a file and its last ones.
    pub(super) fn of(start: &[u8], end: &[u8]) -> Option<Self> {
        const STARTS: [(&[u8], Packing); 6] = [
            (b"PK\x03\x04", Packing::Zip),
            (b"PK\x05\x06", Packing::Zip),
            (b"\x1f\x8b\x08", Packing::Gzip),
            (b"BZh", Packing::Bzip2),
            (b"\xfd7zXZ\0", Packing::Xz),
            (b"\x28\xb5\x2f\xfd", Packing::Zstd),
        ];
        let known = STARTS.iter().find(|(mark, _)| start.starts_with(mark)).map(|(_, packing)| *packing);
        let tar = || (start.get(USTAR) == Some(b"ustar")).then_some(Self::Tar);
        // Programs with an archive behind them: zipapps, self-extracting ones.
        let tail = end.len().checked_sub(END_OF_ZIP).is_some_and(|at| end[at..].starts_with(b"PK\x05\x06"));
        known.or_else(tar).or(tail.then_some(Self::Zip))
    }
}

/// A part of an archive that is to be searched.
pub(super) struct Part<'a> {
    /// The member's name.
    pub(super) member: String,
    pub(super) bytes: Cow<'a, [u8]>,
    /// Whether these bytes are the member's name (a tar header, for its link's target) and not its content.
    pub(super) is_name: bool,
}

/// What an archive's bytes are, as far as they can be told.
#[derive(Default)]
pub(super) struct Outline {
    /// Parts of the archive's own bytes that were given out, sorted.
    pub(super) told: Vec<Range<usize>>,
    /// Members that could not be read, and why; none where it is the archive itself.
    pub(super) unread: Vec<(Option<String>, String)>,
}

impl Outline {
    /// Whether a hit at this place of the archive was given out as a part of a member.
    pub(super) fn covers(&self, hit: &Range<usize>) -> bool {
        let after = self.told.partition_point(|range| range.start <= hit.start);
        after.checked_sub(1).is_some_and(|at| hit.end <= self.told[at].end)
    }
}

/// Gives out all parts of an archive.
pub(super) fn open<'a>(
    packing: Packing,
    bytes: &'a [u8],
    depth: usize,
    budget: &mut Budget,
    give: &mut dyn FnMut(Part<'a>, &mut Budget),
) -> Outline {
    let mut outline = Outline::default();
    if depth >= DEPTH {
        outline.unread.push((None, format!("archives are nested more than {DEPTH} times")));
        return outline;
    }
    match packing {
        Packing::Zip => unzip(bytes, budget, give, &mut outline),
        Packing::Tar => untar(bytes, budget, give, &mut outline),
        _ => {
            let (content, reason) = decompress(packing, bytes, budget);
            let member = "content".to_owned();
            give(Part { member, bytes: content.into(), is_name: false }, budget);
            outline.unread.extend(reason.map(|reason| (None, reason)));
        }
    }
    outline.told.sort_unstable_by_key(|range| range.start);
    outline
}

/// What is unpacked of `bytes`, and why that may not be all.
pub(super) fn decompress(packing: Packing, bytes: &[u8], budget: &mut Budget) -> (Vec<u8>, Option<String>) {
    let reader: Box<dyn Read + '_> = match packing {
        Packing::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(bytes)),
        Packing::Zlib => Box::new(flate2::bufread::ZlibDecoder::new(bytes)),
        Packing::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(bytes)),
        Packing::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(bytes, true, DECODER >> 10)),
        Packing::Zstd => {
            match ruzstd::decoding::StreamingDecoder::new_with_max_window_size(bytes, u64::from(DECODER)) {
                Ok(decoder) => Box::new(decoder),
                Err(error) => return (Vec::new(), Some(error.to_string())),
            }
        }
        Packing::Zip | Packing::Tar => Box::new(bytes),
    };
    take(reader, budget)
}

/// All that a reader gives, within the limits, and why that may not be all.
fn take(reader: impl Read, budget: &mut Budget) -> (Vec<u8>, Option<String>) {
    let limit = MEMBER.min(budget.bytes);
    let mut content = Vec::new();
    let outcome = reader.take(limit + 1).read_to_end(&mut content);
    let size = content.len() as u64;
    budget.bytes = budget.bytes.saturating_sub(size);
    let too_much = || (size > limit).then(|| format!("it unpacks to more than {limit} bytes"));
    let reason = outcome.map_or_else(|error| Some(error.to_string()), |_| too_much());
    (content, reason)
}

fn unzip<'a>(bytes: &'a [u8], budget: &mut Budget, give: &mut dyn FnMut(Part<'a>, &mut Budget), outline: &mut Outline) {
    let mut archive = match ZipArchive::new(Cursor::new(bytes)) {
        Ok(archive) => archive,
        Err(error) => return outline.unread.push((None, error.to_string())),
    };
    if announced(bytes, archive.comment()).is_some_and(|count| count != archive.len()) {
        outline.unread.push((None, "it has several members of one name; only the last of them".to_owned()));
    }
    for index in 0..archive.len() {
        budget.members = budget.members.saturating_sub(1);
        if budget.members == 0 {
            return outline.unread.push((None, format!("it has more than {MEMBERS} members")));
        }
        let name = archive.name_for_index(index).and_then(Result::ok).map(Cow::into_owned);
        let mut member = match archive.by_index(index) {
            Ok(member) => member,
            Err(error) => {
                outline.unread.push((name, error.to_string()));
                continue;
            }
        };
        let name = String::from_utf8_lossy(member.name_raw()).into_owned();
        let raw_name = member.name_raw().to_vec();
        // Names stand in the archive twice as they are, stored members once.
        for (at, head) in [(member.header_start(), 30), (member.central_header_start(), 46)] {
            tell(outline, bytes, at.saturating_add(head), raw_name.len() as u64);
        }
        give(Part { member: name.clone(), bytes: raw_name.into(), is_name: true }, budget);
        let (content, reason) = take(&mut member, budget);
        if let (None, zip::CompressionMethod::Stored, Some(start)) =
            (&reason, member.compression(), member.data_start())
        {
            tell(outline, bytes, start, member.compressed_size());
        }
        outline.unread.extend(reason.map(|reason| (Some(name.clone()), reason)));
        give(Part { member: name, bytes: content.into(), is_name: false }, budget);
    }
}

/// How many members the end of an archive says that there are.
fn announced(bytes: &[u8], comment: &[u8]) -> Option<usize> {
    let end = &bytes[bytes.len().checked_sub(END_OF_ZIP + comment.len())?..];
    let count = u16::from_le_bytes(*end.get(10..)?.first_chunk()?);
    (end.starts_with(b"PK\x05\x06") && count != u16::MAX).then_some(usize::from(count))
}

fn tell(outline: &mut Outline, bytes: &[u8], start: u64, size: u64) {
    let place = |number: u64| usize::try_from(number).ok().filter(|&at| at <= bytes.len());
    if let (Some(start), Some(end)) = (place(start), place(start.saturating_add(size))) {
        outline.told.push(start..end);
    }
}

const BLOCK: usize = 512;

/// Walks the headers; what follows a header that is none stays a part of the archive's own bytes.
fn untar<'a>(bytes: &'a [u8], budget: &mut Budget, give: &mut dyn FnMut(Part<'a>, &mut Budget), outline: &mut Outline) {
    let mut at = 0;
    while let Some(header) = bytes.get(at..at + BLOCK).filter(|header| header.get(USTAR) == Some(b"ustar")) {
        budget.members = budget.members.saturating_sub(1);
        let Some(size) = number(&header[124..136]).filter(|_| budget.members > 0) else {
            return outline.unread.push((None, format!("its header at {at} cannot be read")));
        };
        let name = header[..100].split(|&byte| byte == 0).next().unwrap_or_default();
        let member = String::from_utf8_lossy(name).into_owned();
        // Links, folders and devices have no content, whatever their header says.
        let size = if matches!(header[156], b'1'..=b'6') { 0 } else { size };
        let start = at + BLOCK;
        let Some(end) = start.checked_add(size).filter(|&end| end <= bytes.len()) else {
            return outline.unread.push((Some(member), "it is cut off".to_owned()));
        };
        outline.told.extend([at..start, start..end]);
        give(Part { member: member.clone(), bytes: header.into(), is_name: true }, budget);
        give(Part { member, bytes: bytes[start..end].into(), is_name: false }, budget);
        let Some(next) = end.checked_next_multiple_of(BLOCK) else { return };
        at = next;
    }
}

/// An octal number, or a binary one where the first bit is set.
fn number(field: &[u8]) -> Option<usize> {
    if field[0] & 0x80 != 0 {
        let (high, low) = field.split_at(field.len() - 8);
        let low: [u8; 8] = low.try_into().ok()?;
        let fits = high[0] == 0x80 && high[1..].iter().all(|&byte| byte == 0);
        return usize::try_from(u64::from_be_bytes(low)).ok().filter(|_| fits);
    }
    let text = std::str::from_utf8(field).ok()?.trim_matches(['\0', ' ']);
    if text.is_empty() { Some(0) } else { usize::from_str_radix(text, 8).ok() }
}
