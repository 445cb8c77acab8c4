//! The end record and the central directory of a ZIP archive: where they are, and what they say.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use super::super::error::{Fault, Reason, refuse, shown};
use super::super::limits::Limits;
use super::extra;

/// The central directory.
pub(super) struct Directory {
    /// Its first byte, which is the first behind all members.
    pub(super) start: u64,
    pub(super) members: Vec<Central>,
}

/// A member as the central directory has it.
#[derive(Debug)]
pub(super) struct Central {
    pub(super) name: Vec<u8>,
    pub(super) flags: u16,
    pub(super) method: Method,
    pub(super) crc: u32,
    pub(super) compressed: u64,
    pub(super) size: u64,
    /// Attributes; the upper half is the Unix mode.
    pub(super) external: u32,
    /// Of its local header.
    pub(super) offset: u64,
}

/// How a member is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Stored,
    Deflated,
}

impl Method {
    pub(super) fn number(self) -> u16 {
        match self {
            Self::Stored => 0,
            Self::Deflated => 8,
        }
    }
}

impl Central {
    /// The name is UTF-8.
    pub(super) fn is_utf8(&self) -> bool {
        self.flags & 1 << 11 != 0
    }

    /// Sizes and checksum follow the content.
    pub(super) fn has_descriptor(&self) -> bool {
        self.flags & 1 << 3 != 0
    }
}

/// What the end record, and its ZIP64 form, say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct End {
    members: u64,
    size: u64,
    start: u64,
    /// Where the end records begin.
    at: u64,
}

const END: &[u8] = b"PK\x05\x06";
const END64: &[u8] = b"PK\x06\x06";
const LOCATOR: &[u8] = b"PK\x06\x07";
/// Bytes of the end record without its comment, of the ZIP64 one, and of what points to that.
const END_LENGTH: usize = 22;
const END64_LENGTH: u64 = 56;
const LOCATOR_LENGTH: u64 = 20;
/// Bytes of a member of the directory, without its name, extra fields and comment.
const CENTRAL_LENGTH: usize = 46;

/// Reads the directory of an archive of `length` bytes.
pub(super) fn read(file: &File, length: u64, limits: &Limits) -> Result<Directory, Fault> {
    let end = end(file, length)?;
    if end.start.checked_add(end.size) != Some(end.at) {
        return Err(Reason::StrayBytes {
            found: format!("a directory of {} bytes at {}, and its end at {}", end.size, end.start, end.at),
        }
        .into());
    }
    if end.members > limits.files {
        return Err(Reason::TooManyMembers { limit: limits.files }.into());
    }
    // A member of the directory may have a name, extra fields and a comment of 64 KiB each.
    if end.size > limits.files.saturating_mul(1024) || end.size < end.members * CENTRAL_LENGTH as u64 {
        return Err(Reason::Malformed(format!("a directory of {} bytes for {} members", end.size, end.members)).into());
    }
    let bytes = bytes(file, end.start, end.size)?;
    // Readers that search forwards or by other rules must not find another end.
    if [END, END64, LOCATOR].iter().any(|mark| bytes.windows(4).any(|bytes| bytes == *mark)) {
        return Err(Reason::StrayBytes { found: "a second end record".to_owned() }.into());
    }
    let mut members = Vec::new();
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let (member, length) = central(rest)?;
        members.push(member);
        rest = &rest[length..];
    }
    if members.len() as u64 != end.members {
        return Err(Reason::disagreement(
            "the number of members",
            ("its end record", end.members),
            ("its directory", members.len()),
        )
        .into());
    }
    Ok(Directory { start: end.start, members })
}

/// `size` bytes at `at`.
pub(super) fn bytes(file: &File, at: u64, size: u64) -> Result<Vec<u8>, Fault> {
    let size = usize::try_from(size).map_err(|_| Reason::Truncated)?;
    let mut bytes = vec![0; size];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}

/// Finds the one end record. It must end where the archive ends, and no other may be behind the members.
fn end(file: &File, length: u64) -> Result<End, Fault> {
    let window = length.min(END_LENGTH as u64 + u64::from(u16::MAX));
    let tail = bytes(file, length - window, window)?;
    let Some(at) = tail.windows(END.len()).rposition(|bytes| bytes == END) else {
        return Err(Reason::Corrupt { what: "it has no end record of a ZIP archive".to_owned() }.into());
    };
    let record = &tail[at..];
    if record.len() < END_LENGTH {
        return Err(Reason::Truncated.into());
    }
    let comment = &record[END_LENGTH..];
    if usize::from(u16_at(record, 20)) != comment.len() {
        return Err(Reason::StrayBytes { found: "bytes behind its end record".to_owned() }.into());
    }
    let disks = [u16_at(record, 4), u16_at(record, 6)];
    if disks != [0, 0] || u16_at(record, 8) != u16_at(record, 10) {
        return Err(Reason::Unsupported("several disks".to_owned()).into());
    }
    let at = length - window + at as u64;
    let short = End {
        members: u64::from(u16_at(record, 10)),
        size: u64::from(u32_at(record, 12)),
        start: u64::from(u32_at(record, 16)),
        at,
    };
    Ok(end64(file, short)?.unwrap_or(short))
}

/// The ZIP64 end record, where there is one. It must lie right before the other and say the same, or what the
/// other cannot.
fn end64(file: &File, short: End) -> Result<Option<End>, Fault> {
    let malformed = |what: &str| Fault::from(Reason::Malformed(what.to_owned()));
    let Some(at) = short.at.checked_sub(LOCATOR_LENGTH) else { return Ok(None) };
    let locator = bytes(file, at, LOCATOR_LENGTH)?;
    if !locator.starts_with(LOCATOR) {
        return Ok(None);
    }
    let Some(at) = at.checked_sub(END64_LENGTH) else { return Err(malformed("a ZIP64 locator without its record")) };
    if u64_at(&locator, 8) != at || u32_at(&locator, 4) != 0 || u32_at(&locator, 16) != 1 {
        return Err(malformed("a ZIP64 locator that does not point to the record before it"));
    }
    let record = bytes(file, at, END64_LENGTH)?;
    if !record.starts_with(END64) || u64_at(&record, 4) != END64_LENGTH - 12 {
        return Err(malformed("a ZIP64 end record of another length"));
    }
    if u32_at(&record, 16) != 0 || u32_at(&record, 20) != 0 || u64_at(&record, 24) != u64_at(&record, 32) {
        return Err(Reason::Unsupported("several disks".to_owned()).into());
    }
    let long = End { members: u64_at(&record, 32), size: u64_at(&record, 40), start: u64_at(&record, 48), at };
    let agree = [
        (short.members, long.members, u64::from(u16::MAX)),
        (short.size, long.size, u64::from(u32::MAX)),
        (short.start, long.start, u64::from(u32::MAX)),
    ];
    for (one, two, full) in agree {
        if one != two && one != full {
            return Err(
                Reason::disagreement("its directory", ("the end record", one), ("the ZIP64 end record", two)).into()
            );
        }
    }
    Ok(Some(long))
}

/// The first member in `rest` and its length.
fn central(rest: &[u8]) -> Result<(Central, usize), Fault> {
    if rest.len() < CENTRAL_LENGTH || !rest.starts_with(b"PK\x01\x02") {
        return Err(Reason::Malformed("bytes in its directory that are no member".to_owned()).into());
    }
    let [name, extra, comment] = [28, 30, 32].map(|at| usize::from(u16_at(rest, at)));
    let length = CENTRAL_LENGTH + name + extra + comment;
    if rest.len() < length {
        return Err(Reason::Truncated.into());
    }
    let (name, extra) = rest[CENTRAL_LENGTH..].split_at(name);
    let member = member(rest, name, &extra[..usize::from(u16_at(rest, 30))]);
    member.map(|member| (member, length)).or_else(|reason| refuse(&shown(name), reason))
}

fn member(record: &[u8], name: &[u8], extra: &[u8]) -> Result<Central, Reason> {
    let flags = u16_at(record, 8);
    check_flags(flags)?;
    let method = method(u16_at(record, 10))?;
    if u16_at(record, 34) != 0 {
        return Err(Reason::Unsupported("several disks".to_owned()));
    }
    let [compressed, size, offset] = [20, 24, 42].map(|at| u32_at(record, at));
    let wide = extra::parse(extra, name, &[size, compressed, offset])?;
    let member = Central {
        name: name.to_vec(),
        flags,
        method,
        crc: u32_at(record, 16),
        compressed: wide[1],
        size: wide[0],
        external: u32_at(record, 38),
        offset: wide[2],
    };
    if method == Method::Stored && member.compressed != member.size {
        return Err(Reason::Malformed(format!(
            "{} bytes stored in {}, without compression",
            member.size, member.compressed
        )));
    }
    Ok(member)
}

/// Bits that change how a member is read.
fn check_flags(flags: u16) -> Result<(), Reason> {
    /// Deflate's level (1 and 2), sizes behind the content (3), UTF-8 names (11).
    const KNOWN: u16 = 0b1000_0000_1110;
    let unsupported = |what: &str| Err(Reason::Unsupported(what.to_owned()));
    match flags & !KNOWN {
        0 => Ok(()),
        found if found & (1 | 1 << 6 | 1 << 13) != 0 => unsupported("encryption"),
        found if found & (1 << 5) != 0 => unsupported("patched data"),
        found => unsupported(&format!("the flags {found:#06x}")),
    }
}

fn method(number: u16) -> Result<Method, Reason> {
    let name = match number {
        0 => return Ok(Method::Stored),
        8 => return Ok(Method::Deflated),
        1 => "shrink",
        6 => "implode",
        9 => "deflate64",
        12 => "bzip2",
        14 => "LZMA",
        93 => "Zstandard",
        95 => "XZ",
        98 => "PPMd",
        99 => "AES encryption",
        _ => "an unknown method",
    };
    Err(Reason::Unsupported(format!("{name} (compression method {number})")))
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
