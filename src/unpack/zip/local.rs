//! Local headers and data descriptors: each must say what the directory says, and together with the content
//! they must fill the archive, without a gap or an overlap.

use std::fs::File;

use super::super::error::{Fault, Reason, refuse, shown};
use super::directory::{Central, Directory, bytes, u16_at, u32_at, u64_at};
use super::extra;

/// Bytes of a local header without its name and extra fields.
const LOCAL_LENGTH: u64 = 30;

/// Checks every local header of `directory` and that nothing lies before, between or behind the members.
pub(super) fn check(file: &File, directory: &Directory) -> Result<(), Fault> {
    let mut members: Vec<&Central> = directory.members.iter().collect();
    members.sort_by_key(|member| member.offset);
    let mut at = 0;
    for (index, member) in members.iter().enumerate() {
        let label = shown(&member.name);
        if member.offset != at {
            let reason = if member.offset < at {
                Reason::Malformed("bytes in common with the member before it".to_owned())
            } else {
                Reason::StrayBytes { found: format!("{} bytes before it that are no member's", member.offset - at) }
            };
            return refuse(&label, reason);
        }
        let next = members.get(index + 1).map_or(directory.start, |next| next.offset);
        at = end(file, member, next).map_err(|fault| fault.at(&label))?;
    }
    if at == directory.start {
        return Ok(());
    }
    Err(Reason::StrayBytes { found: format!("{} bytes between its members and its directory", directory.start - at) }
        .into())
}

/// The end of `member`, which must be at or before `next`.
fn end(file: &File, member: &Central, next: u64) -> Result<u64, Fault> {
    let header = bytes(file, member.offset, LOCAL_LENGTH)?;
    if !header.starts_with(b"PK\x03\x04") {
        return Err(Reason::Malformed("no local header".to_owned()).into());
    }
    let [name, extra] = [26, 28].map(|at| u64::from(u16_at(&header, at)));
    let rest = bytes(file, member.offset + LOCAL_LENGTH, name + extra)?;
    let (name, extra) = rest.split_at(usize::from(u16_at(&header, 26)));
    compare(member, &header, name, extra)?;
    let end = (member.offset + LOCAL_LENGTH + rest.len() as u64).checked_add(member.compressed);
    let Some(end) = end.filter(|end| *end <= next) else {
        return Err(Reason::Malformed("content that reaches into what follows it".to_owned()).into());
    };
    if member.has_descriptor() { descriptor(file, member, end, next) } else { Ok(end) }
}

fn compare(member: &Central, header: &[u8], name: &[u8], extra: &[u8]) -> Result<(), Reason> {
    let differ = |what, one: String, two: String| {
        Err(Reason::disagreement(what, ("the directory", one), ("its local header", two)))
    };
    if name != member.name {
        return differ("its name", shown(&member.name), shown(name));
    }
    let (flags, method) = (u16_at(header, 6), u16_at(header, 8));
    if flags != member.flags {
        return differ("its flags", format!("{:#06x}", member.flags), format!("{flags:#06x}"));
    }
    if method != member.method.number() {
        return differ("its method", member.method.number().to_string(), method.to_string());
    }
    let [size, compressed] = extra::parse(extra, name, &[u32_at(header, 22), u32_at(header, 18)])?;
    let values = [
        ("its checksum", u64::from(member.crc), u64::from(u32_at(header, 14))),
        ("its size", member.size, size),
        ("its compressed size", member.compressed, compressed),
    ];
    for (what, one, two) in values {
        // Writers that stream know these only afterwards.
        if one != two && !(member.has_descriptor() && two == 0) {
            return differ(what, one.to_string(), two.to_string());
        }
    }
    Ok(())
}

/// The end of the data descriptor at `at`, which must be at `next`.
fn descriptor(file: &File, member: &Central, at: u64, next: u64) -> Result<u64, Fault> {
    let length = next - at;
    // With or without a mark before it, with sizes of 32 or 64 bits.
    let (mark, wide) = match length {
        12 => (false, false),
        16 => (true, false),
        20 => (false, true),
        24 => (true, true),
        _ => {
            let found = format!("{length} bytes behind it where its sizes belong");
            return Err(Reason::StrayBytes { found }.into());
        }
    };
    let record = bytes(file, at, length)?;
    let record = match record.strip_prefix(b"PK\x07\x08") {
        Some(rest) if mark => rest,
        None if !mark => &record[..],
        _ => return Err(Reason::Malformed("sizes behind it of an impossible form".to_owned()).into()),
    };
    let (compressed, size) = if wide {
        (u64_at(record, 4), u64_at(record, 12))
    } else {
        (u64::from(u32_at(record, 4)), u64::from(u32_at(record, 8)))
    };
    let (one, two) = ((member.crc, member.compressed, member.size), (u32_at(record, 0), compressed, size));
    if one == two {
        return Ok(next);
    }
    Err(Reason::disagreement(
        "its checksum and sizes",
        ("the directory", format!("{one:?}")),
        ("the record behind it", format!("{two:?}")),
    )
    .into())
}
