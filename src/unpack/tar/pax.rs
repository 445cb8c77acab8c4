//! PAX extended headers (POSIX.1-2001): the records that change a member, and a refusal of those that
//! readers take differently.

use super::super::error::{Reason, shown};

/// The records that matter to a member.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Records {
    pub(crate) path: Option<Vec<u8>>,
    pub(crate) link: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
}

/// Reads the content of an extended header; `global` where it is for all members that follow.
pub(crate) fn parse(mut content: &[u8], global: bool) -> Result<Records, Reason> {
    let mut records = Records::default();
    while !content.is_empty() {
        let (key, value, rest) = record(content)?;
        content = rest;
        match key {
            b"path" | b"linkpath" | b"size" if global => {
                return Err(Reason::Unsupported(format!("a global `{}`", shown(key))));
            }
            b"path" => once(&mut records.path, key, name(key, value)?)?,
            b"linkpath" => once(&mut records.link, key, name(key, value)?)?,
            b"size" => once(&mut records.size, key, size(value)?)?,
            _ => check_other(key, value)?,
        }
    }
    Ok(records)
}

/// The key and the value of a record, and what follows it.
type Record<'a> = (&'a [u8], &'a [u8], &'a [u8]);

/// The first record, `LENGTH KEY=VALUE\n`.
fn record(content: &[u8]) -> Result<Record<'_>, Reason> {
    let wrong = || Reason::Malformed("an extended header that is not made of `LENGTH KEY=VALUE` lines".to_owned());
    let space = content.iter().take(20).position(|byte| *byte == b' ').ok_or_else(wrong)?;
    let length = decimal(&content[..space]).and_then(|length| usize::try_from(length).ok()).ok_or_else(wrong)?;
    if length <= space + 1 || length > content.len() {
        return Err(wrong());
    }
    let (record, rest) = content.split_at(length);
    let line = record[space + 1..].strip_suffix(b"\n").ok_or_else(wrong)?;
    let equals = line.iter().position(|byte| *byte == b'=').filter(|at| *at > 0).ok_or_else(wrong)?;
    // Readers that look for lines and readers that count bytes must agree.
    if line[..equals].iter().any(u8::is_ascii_control) {
        return Err(wrong());
    }
    Ok((&line[..equals], &line[equals + 1..], rest))
}

fn decimal(digits: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok()?;
    if text.is_empty() || text.starts_with('0') && text.len() > 1 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

fn once<T>(slot: &mut Option<T>, key: &[u8], value: T) -> Result<(), Reason> {
    if slot.replace(value).is_some() {
        return Err(Reason::Malformed(format!("`{}` twice in its extended header", shown(key))));
    }
    Ok(())
}

fn name(key: &[u8], value: &[u8]) -> Result<Vec<u8>, Reason> {
    // An empty value takes a record back, which readers do in different ways.
    if value.is_empty() {
        return Err(Reason::Malformed(format!("an empty `{}` in its extended header", shown(key))));
    }
    // The tar crate splits records at newlines.
    if value.iter().any(|byte| matches!(byte, 0 | b'\n')) {
        return Err(Reason::ControlInName);
    }
    Ok(value.to_vec())
}

fn size(value: &[u8]) -> Result<u64, Reason> {
    decimal(value)
        .ok_or_else(|| Reason::Malformed(format!("the impossible size `{}` in its extended header", shown(value))))
}

/// Records that change what a member is, or how its name is read.
fn check_other(key: &[u8], value: &[u8]) -> Result<(), Reason> {
    let sparse = key.starts_with(b"GNU.sparse.") || key == b"SCHILY.realsize";
    let charset = key == b"hdrcharset" && value != b"ISO-IR 10646 2000 UTF-8";
    let shape = matches!(key, b"SCHILY.filetype" | b"GNU.dumpdir" | b"GNU.volume.filename" | b"GNU.volume.label");
    if sparse || charset || shape {
        return Err(Reason::Unsupported(format!("the extended header `{}={}`", shown(key), shown(value))));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_records_by_their_length() {
        let content = b"12 path=a/b\n19 comment=x=y = z\n9 size=7\n14 linkpath=x\n";
        let expected = Records { path: Some(b"a/b".to_vec()), link: Some(b"x".to_vec()), size: Some(7) };
        assert_eq!(parse(content, false), Ok(expected));
        assert_eq!(parse(b"", true), Ok(Records::default()));
        assert_eq!(parse(b"14 comment=\n\n\n", true), Ok(Records::default()), "a value may have newlines");
    }

    #[test]
    fn lines_and_lengths_must_agree() {
        for content in
            ["8 path=a\n", "11 path=a\n", "09 path=a\n", "9 path=a", " path=a\n", "22 path=a\n13 path=../b\n"]
        {
            assert!(parse(content.as_bytes(), false).is_err(), "{content:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(content in prop::collection::vec(any::<u8>(), 0..80), global: bool) {
            let _ = parse(&content, global);
        }

        #[test]
        fn near_misses_never_panic(content in "([0-9]{1,3} (path|size|linkpath|x)=[a-z0-9/.]{0,6}\n){0,4}") {
            let _ = parse(content.as_bytes(), false);
        }
    }
}
