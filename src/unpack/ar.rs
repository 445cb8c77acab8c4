//! The `ar` container of Debian packages (deb(5)).

use std::io::{self, Read};

use super::error::{Fault, Reason, shown};

/// The header of a member.
pub(super) struct Header {
    /// Without padding.
    pub(super) name: String,
    /// In bytes.
    pub(super) size: u64,
}

/// Reads the mark at the start.
pub(super) fn start(reader: &mut impl Read) -> Result<(), Fault> {
    let mut magic = [0; 8];
    reader.read_exact(&mut magic)?;
    if &magic == b"!<arch>\n" {
        Ok(())
    } else {
        Err(Reason::Corrupt { what: "it has the start of no Debian package".to_owned() }.into())
    }
}

/// The next member's header; its content follows. `None` at the end.
pub(super) fn next(reader: &mut impl Read) -> Result<Option<Header>, Fault> {
    let mut block = [0; 60];
    let mut filled = 0;
    while filled < block.len() {
        match reader.read(&mut block[filled..]) {
            Ok(0) if filled == 0 => return Ok(None),
            Ok(0) => return Err(Reason::Truncated.into()),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    if &block[58..] != b"`\n" {
        return Err(malformed("a header of ar that does not end as one"));
    }
    let name = block[..16].trim_ascii_end();
    let name = std::str::from_utf8(name.strip_suffix(b"/").unwrap_or(name)).unwrap_or_default();
    let size = std::str::from_utf8(block[48..58].trim_ascii_end()).ok().filter(|size| !size.starts_with('+'));
    match size.and_then(|size| size.parse().ok()) {
        Some(size) if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Ok(Some(Header { name: name.to_owned(), size }))
        }
        _ => Err(malformed(&format!("the impossible header of ar `{}`", shown(&block[..58])))),
    }
}

/// Members start at even places; the byte between them is a newline.
pub(super) fn pad(reader: &mut impl Read, size: u64) -> Result<(), Fault> {
    let mut byte = *b"\n";
    if size % 2 == 1 {
        reader.read_exact(&mut byte)?;
    }
    if byte == *b"\n" {
        Ok(())
    } else {
        Err(Reason::StrayBytes { found: "a byte between two members of ar".to_owned() }.into())
    }
}

fn malformed(what: &str) -> Fault {
    Reason::Malformed(what.to_owned()).into()
}
