//! Names of members: which are taken, and what they mean.

use super::error::Reason;
use super::limits::Limits;

/// How an archive format may write names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    /// `./` may come first, as tar writes it.
    pub(super) dot_slash: bool,
    /// A backslash is a character like any other, and `a:` no drive.
    pub(super) unix: bool,
}

/// Checks `raw` and gives it without a `./` before it and a `/` behind it. Empty is the root itself,
/// which only `style.dot_slash` can name.
pub(super) fn check(raw: &[u8], style: Style, limits: &Limits) -> Result<String, Reason> {
    if raw.is_empty() {
        return Err(Reason::EmptyName);
    }
    if raw.len() > limits.name_length {
        return Err(Reason::NameTooLong { length: raw.len(), limit: limits.name_length });
    }
    if raw.contains(&0) {
        return Err(Reason::NulInName);
    }
    let name = std::str::from_utf8(raw).map_err(|_| Reason::NotUtf8)?;
    if name.chars().any(char::is_control) {
        return Err(Reason::ControlInName);
    }
    if name.starts_with('/') {
        return Err(Reason::AbsoluteName);
    }
    if !style.unix {
        check_foreign(name)?;
    }
    let mut rest = name;
    if style.dot_slash {
        rest = if rest == "." { "" } else { rest.strip_prefix("./").unwrap_or(rest) };
        if rest.is_empty() {
            return Ok(String::new());
        }
    }
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    check_parts(rest, limits)?;
    Ok(rest.to_owned())
}

/// What other systems read as more than a name.
fn check_foreign(name: &str) -> Result<(), Reason> {
    if name.contains('\\') {
        return Err(Reason::Backslash);
    }
    match name.as_bytes() {
        [letter, b':', ..] if letter.is_ascii_alphabetic() => Err(Reason::DriveLetter),
        _ => Ok(()),
    }
}

fn check_parts(name: &str, limits: &Limits) -> Result<(), Reason> {
    /// `NAME_MAX` of Linux.
    const PART: usize = 255;
    let mut depth = 0;
    for part in name.split('/') {
        depth += 1;
        match part {
            "" => return Err(Reason::EmptyPart),
            "." => return Err(Reason::DotInName),
            ".." => return Err(Reason::ParentInName),
            _ if part.len() > PART => return Err(Reason::NameTooLong { length: part.len(), limit: PART }),
            _ => {}
        }
    }
    if depth > limits.depth {
        return Err(Reason::TooDeep { depth, limit: limits.depth });
    }
    Ok(())
}

/// Checks the text of a link that must stay in `top`, the first part of `path`: relative, and `..` only
/// in front, so that it climbs real folders (no member is below a link) and its meaning depends on no other link.
pub(super) fn check_inner_link(path: &str, target: &[u8]) -> Result<(), Reason> {
    let text = std::str::from_utf8(target).map_err(|_| Reason::BadLink)?;
    if text.is_empty() || text.chars().any(char::is_control) || text.contains('\\') || text.len() > 4095 {
        return Err(Reason::BadLink);
    }
    if text.starts_with('/') {
        return Err(Reason::AbsoluteLink { target: text.to_owned() });
    }
    // The folders between the top folder and the link.
    let mut above = path.split('/').count().saturating_sub(2);
    let mut named = false;
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." if named => return Err(Reason::WindingLink { target: text.to_owned() }),
            ".." => above = above.checked_sub(1).ok_or_else(|| Reason::LinkLeaves { target: text.to_owned() })?,
            _ => named = true,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TAR: Style = Style { dot_slash: true, unix: false };
    const DEBIAN: Style = Style { dot_slash: true, unix: true };
    const ZIP: Style = Style { dot_slash: false, unix: false };

    fn checked(name: &str, style: Style) -> Result<String, Reason> {
        check(name.as_bytes(), style, &Limits::default())
    }

    #[test]
    fn takes_names_as_formats_write_them() {
        assert_eq!(checked("a/b.py", ZIP).as_deref(), Ok("a/b.py"));
        assert_eq!(checked("a/", ZIP).as_deref(), Ok("a"));
        assert_eq!(checked("./a/..b/", TAR).as_deref(), Ok("a/..b"));
        for root in [".", "./"] {
            assert_eq!(checked(root, TAR).as_deref(), Ok(""));
        }
        assert_eq!(checked("./system-a\\x2d.slice", DEBIAN).as_deref(), Ok("system-a\\x2d.slice"));
    }

    #[test]
    fn one_dot_slash_is_all() {
        assert_eq!(checked("././a", TAR), Err(Reason::DotInName));
        assert_eq!(checked(".//a", TAR), Err(Reason::EmptyPart));
        assert_eq!(checked("./a", ZIP), Err(Reason::DotInName));
        assert_eq!(checked("a//", ZIP), Err(Reason::EmptyPart));
    }

    #[test]
    fn links_climb_no_further_than_the_top() {
        for target in ["b", "./b", "../b", "..", "../d/../b".split_at(4).0, "b//c", "../"] {
            assert_eq!(check_inner_link("top/d/l", target.as_bytes()), Ok(()), "{target}");
        }
        for target in ["../..", "../../top", "/", "b/..", "", "a\\b", "a\0"] {
            assert!(check_inner_link("top/d/l", target.as_bytes()).is_err(), "{target}");
        }
        assert!(check_inner_link("top/l", b"..").is_err());
        assert!(check_inner_link("top", b"x").is_ok(), "the top itself is looked at elsewhere");
    }

    proptest! {
        #[test]
        fn what_is_taken_stays_below(raw in "[a./\\\\:~C\\PC]{0,12}") {
            for style in [TAR, DEBIAN, ZIP] {
                if let Ok(name) = check(raw.as_bytes(), style, &Limits::default()) {
                    let inside = name.is_empty() || name.split('/').all(|part| !matches!(part, "" | "." | ".."));
                    prop_assert!(inside, "{raw} became {name}");
                }
            }
        }
    }
}
