//! Extra fields of ZIP headers.

use super::super::error::{Reason, shown};
use super::directory::{u16_at, u64_at};

const ZIP64: u16 = 0x0001;
const UNICODE_PATH: u16 = 0x7075;
const AES: u16 = 0x9901;

/// Reads the extra fields of the member `name`, whose header has the 32-bit values `short` in the order of the
/// ZIP64 field: those that are full stand there with 64 bits.
pub(super) fn parse<const N: usize>(extra: &[u8], name: &[u8], short: &[u32; N]) -> Result<[u64; N], Reason> {
    let mut rest = extra;
    let mut wide = None;
    while !rest.is_empty() {
        let (id, field, behind) = field(rest)?;
        match id {
            ZIP64 if wide.is_some() => return Err(Reason::Malformed("two ZIP64 fields".to_owned())),
            ZIP64 => wide = Some(zip64(field, short)?),
            UNICODE_PATH => check_path(field, name)?,
            AES => return Err(Reason::Unsupported("encryption".to_owned())),
            _ => {}
        }
        rest = behind;
    }
    Ok(wide.unwrap_or(short.map(u64::from)))
}

fn field(rest: &[u8]) -> Result<(u16, &[u8], &[u8]), Reason> {
    let wrong = || Reason::Malformed("extra fields that end too early".to_owned());
    if rest.len() < 4 {
        return Err(wrong());
    }
    let length = usize::from(u16_at(rest, 2));
    let (field, behind) = rest[4..].split_at_checked(length).ok_or_else(wrong)?;
    Ok((u16_at(rest, 0), field, behind))
}

/// The 64-bit values. Some writers (Bazel's) put all of them there though none is needed; they must then be the same.
fn zip64<const N: usize>(mut field: &[u8], short: &[u32; N]) -> Result<[u64; N], Reason> {
    let mut wide = short.map(u64::from);
    let needed = short.contains(&u32::MAX);
    for value in wide.iter_mut().filter(|value| !needed || **value == u64::from(u32::MAX)) {
        if field.len() < 8 {
            return Err(Reason::Malformed("a ZIP64 field that is too short".to_owned()));
        }
        let long = u64_at(field, 0);
        if !needed && long != *value {
            return Err(Reason::disagreement("a size or offset", ("its header", value), ("its ZIP64 field", long)));
        }
        *value = long;
        field = &field[8..];
    }
    if field.is_empty() { Ok(wide) } else { Err(Reason::Malformed("a ZIP64 field that is too long".to_owned())) }
}

/// Info-ZIP's other name must be the same name.
fn check_path(field: &[u8], name: &[u8]) -> Result<(), Reason> {
    let other = field.get(5..).unwrap_or_default();
    if other == name {
        return Ok(());
    }
    Err(Reason::disagreement("its name", ("its header", shown(name)), ("an extra field", shown(other))))
}
