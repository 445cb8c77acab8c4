//! Text files that say where the tree is, because a substitution wrote it into them.
//!
//! Nothing in such a file tells these places from others, so the tree lists them: [`SPOTS`](super::SPOTS) is a part
//! of the canonical tree and of its hash, the same in every folder. A line has the places of one file: offsets in
//! its canonical bytes, ascending, and its path.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Most bytes of a list.
pub(super) const LARGEST: u64 = 16 << 20;

/// The list as a file. Paths are text without control characters.
pub(crate) fn format(texts: &BTreeMap<PathBuf, Vec<usize>>) -> Vec<u8> {
    let mut out = String::new();
    for (path, offsets) in texts {
        let offsets: Vec<String> = offsets.iter().map(ToString::to_string).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{} {}", offsets.join(","), path.display());
    }
    out.into_bytes()
}

/// Reads a list. `None` where akb did not write it so.
pub(crate) fn parse(list: &[u8]) -> Option<BTreeMap<PathBuf, Vec<usize>>> {
    let mut texts = BTreeMap::new();
    for line in std::str::from_utf8(list).ok()?.lines() {
        let (offsets, path) = line.split_once(' ')?;
        let offsets: Vec<usize> =
            offsets.split(',').map(|offset| offset.parse().ok()).collect::<Option<Vec<usize>>>()?;
        texts.insert(PathBuf::from(path), offsets);
    }
    let plain = texts.values().all(|offsets| offsets.windows(2).all(|pair| pair[0] < pair[1]));
    (plain && format(&texts) == list).then_some(texts)
}

/// The file with `to` in the places (offsets in its canonical bytes, in which the prefix is `canonical`) where it says
/// `from`. `Err` has the first place, in these bytes, that does not say it.
pub(super) fn rewrite(
    bytes: &[u8],
    offsets: &[usize],
    canonical: &Path,
    from: &[u8],
    to: &[u8],
) -> Result<Vec<u8>, usize> {
    let canonical = canonical.as_os_str().len();
    let mut out = Vec::with_capacity(bytes.len());
    let mut done = 0;
    for (index, offset) in offsets.iter().enumerate() {
        // Every place before this one made the file longer or shorter.
        let here = index
            .checked_mul(from.len())
            .and_then(|longer| offset.checked_add(longer))
            .and_then(|here| here.checked_sub(index * canonical))
            .filter(|here| *here >= done);
        let here = here.ok_or(*offset)?;
        let end = here.checked_add(from.len()).filter(|end| bytes.get(here..*end) == Some(from)).ok_or(here)?;
        out.extend_from_slice(&bytes[done..here]);
        out.extend_from_slice(to);
        done = end;
    }
    out.extend_from_slice(&bytes[done..]);
    Ok(out)
}

/// Whether a folder can be named in scripts and configuration files of any kind without being quoted.
pub(super) fn is_plain(folder: &Path) -> bool {
    let plain = |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || "/._-+@%=:,~".contains(c);
    folder.to_str().is_some_and(|folder| folder.chars().all(|c| plain(c) && !c.is_control()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PREFIX: &str = "/akb";

    #[test]
    fn lists_are_read_only_as_they_are_written() {
        let texts = BTreeMap::from([(PathBuf::from("a b"), vec![0, 12]), (PathBuf::from("etc/x"), vec![7])]);
        let list = format(&texts);
        assert_eq!(list, b"0,12 a b\n7 etc/x\n");
        assert_eq!(parse(&list), Some(texts));
        for wrong in ["7 etc/x", "07 x\n", "2,1 x\n", "1,1 x\n", "x\n", "1 b\n1 a\n", "1 a\n2 a\n", "-1 a\n", "\n"] {
            assert_eq!(parse(wrong.as_bytes()), None, "{wrong:?}");
        }
        assert_eq!(parse(b"\xff"), None);
        assert_eq!(parse(b""), Some(BTreeMap::new()));
    }

    #[test]
    fn places_that_say_something_else_are_found() {
        let placed = rewrite(b"a=/akb/x b=/akb", &[2, 11], Path::new(PREFIX), b"/akb", b"/srv/app").unwrap();
        assert_eq!(placed, b"a=/srv/app/x b=/srv/app");
        for (bytes, at) in [("a=/srv/app/x b=/akb", 15), ("a=/akb/x b=/akb", 2), ("", 2)] {
            assert_eq!(
                rewrite(bytes.as_bytes(), &[2, 11], Path::new(PREFIX), b"/srv/app", b"/akb"),
                Err(at),
                "{bytes}"
            );
        }
        assert!(rewrite(b"/akb", &[0, usize::MAX], Path::new(PREFIX), b"/akb", b"").is_err());
        assert!(rewrite(b"/a/a", &[0, 1], Path::new(PREFIX), b"/a", b"").is_err());
    }

    #[test]
    fn folders_that_would_need_quotes_are_known() {
        for (folder, plain) in
            [("/srv/app-1.0_x+y", true), ("/srv/ä", true), ("/a'b", false), ("/a$b", false), ("/a#b", false)]
        {
            assert_eq!(is_plain(Path::new(folder)), plain, "{folder}");
        }
    }

    proptest! {
        #[test]
        fn placing_can_be_undone(parts in prop::collection::vec("[a/kb]{0,6}", 1..6), to in "/[ab/]{0,9}") {
            let mut text = parts[0].clone();
            let mut offsets = Vec::new();
            for part in &parts[1..] {
                offsets.push(text.len());
                text.push_str(PREFIX);
                text.push_str(part);
            }
            let placed = rewrite(text.as_bytes(), &offsets, Path::new(PREFIX), PREFIX.as_bytes(), to.as_bytes()).unwrap();
            prop_assert_eq!(&placed, &parts.join(&to).into_bytes());
            let back = rewrite(&placed, &offsets, Path::new(PREFIX), to.as_bytes(), PREFIX.as_bytes()).unwrap();
            prop_assert_eq!(back, text.into_bytes());
        }
    }
}
