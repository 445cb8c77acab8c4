//! One header block of a tar archive (POSIX.1-1988 `ustar`, GNU and V7), read to the letter.

use super::super::error::{Reason, shown};

/// Bytes of a block.
pub(crate) const BLOCK: usize = 512;

/// A block as it lies in the archive.
pub(crate) type Block = [u8; BLOCK];

/// Members that land in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    File,
    Folder,
    Link,
    HardLink,
}

/// What a header block says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Member(Type),
    /// PAX records for the next member.
    Pax,
    /// PAX records for all that follows.
    PaxGlobal,
    /// GNU's long name for the next member.
    LongName,
    /// GNU's long link text for the next member.
    LongLink,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Ustar,
    Gnu,
    V7,
}

/// The fields that matter, checked.
#[derive(Debug)]
pub(crate) struct Header {
    pub(crate) role: Role,
    pub(crate) name: Vec<u8>,
    pub(crate) link: Vec<u8>,
    pub(crate) size: u64,
    pub(crate) mode: u64,
}

impl Type {
    /// Its type flag.
    pub(crate) fn flag(self) -> u8 {
        match self {
            Self::File => b'0',
            Self::HardLink => b'1',
            Self::Link => b'2',
            Self::Folder => b'5',
        }
    }

    /// The flag without V7's other way to say file.
    pub(crate) fn normal(flag: u8) -> u8 {
        if flag == 0 { b'0' } else { flag }
    }
}

impl Header {
    /// Reads a block that is not all zeros.
    pub(crate) fn parse(block: &Block) -> Result<Self, Reason> {
        check_sum(block)?;
        let format = format(block)?;
        let mut name = text(&block[..100]).to_vec();
        let prefix = text(&block[345..500]);
        match format {
            Format::Ustar if !prefix.is_empty() => name = [prefix, b"/", &name].concat(),
            Format::Ustar => {}
            // GNU keeps times and sparse maps where others keep the start of the name.
            Format::Gnu | Format::V7 if block[345..500].iter().all(|byte| *byte == 0) => {}
            Format::Gnu | Format::V7 => {
                return Err(Reason::Malformed("bytes where other readers look for the start of its name".to_owned()));
            }
        }
        let role = role(block[156])?;
        let size = number(&block[124..136], "size")?;
        let mode = number(&block[100..108], "mode")?;
        Ok(Self { role, name, link: text(&block[157..257]).to_vec(), size, mode })
    }
}

fn format(block: &Block) -> Result<Format, Reason> {
    match &block[257..265] {
        b"ustar\x0000" => Ok(Format::Ustar),
        b"ustar  \0" => Ok(Format::Gnu),
        magic if magic.iter().all(|byte| *byte == 0) => Ok(Format::V7),
        magic => Err(Reason::Malformed(format!("the unknown tar magic `{}`", shown(magic)))),
    }
}

fn role(flag: u8) -> Result<Role, Reason> {
    let special = |found| Err(Reason::Special { found });
    match flag {
        b'0' | 0 => Ok(Role::Member(Type::File)),
        b'1' => Ok(Role::Member(Type::HardLink)),
        b'2' => Ok(Role::Member(Type::Link)),
        b'5' => Ok(Role::Member(Type::Folder)),
        b'x' => Ok(Role::Pax),
        b'g' => Ok(Role::PaxGlobal),
        b'L' => Ok(Role::LongName),
        b'K' => Ok(Role::LongLink),
        b'3' => special("character device"),
        b'4' => special("block device"),
        b'6' => special("named pipe"),
        b'S' => special("sparse file"),
        b'7' => special("contiguous file"),
        flag => Err(Reason::Unsupported(format!("the tar member type `{}`", char::from(flag).escape_default()))),
    }
}

/// Up to the first NUL.
fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    &field[..end]
}

/// Octal digits, spaces before them, a space or NUL behind them unless they fill the field.
pub(crate) fn number(field: &[u8], what: &str) -> Result<u64, Reason> {
    let wrong = || Reason::Malformed(format!("the impossible {what} `{}`", field.escape_ascii()));
    let start = field.iter().position(|byte| *byte != b' ').unwrap_or(field.len());
    let digits = &field[start..];
    let end = digits.iter().position(|byte| matches!(byte, b' ' | 0)).unwrap_or(digits.len());
    if !digits[end..].iter().all(|byte| matches!(byte, b' ' | 0)) {
        return Err(wrong());
    }
    let digits = std::str::from_utf8(&digits[..end]).map_err(|_| wrong())?;
    if digits.starts_with('+') {
        return Err(wrong());
    }
    u64::from_str_radix(digits, 8).map_err(|_| wrong())
}

/// Whether the checksum is right: chance does not make it so.
pub(crate) fn is_header(block: &Block) -> bool {
    check_sum(block).is_ok()
}

fn check_sum(block: &Block) -> Result<(), Reason> {
    let found = number(&block[148..156], "checksum")?;
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>();
    let expected = sum(&block[..148]) + sum(&block[156..]) + 8 * u64::from(b' ');
    if found == expected {
        return Ok(());
    }
    Err(Reason::Corrupt { what: format!("a header's checksum is {found}, expected {expected}") })
}
