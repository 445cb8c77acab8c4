//! Names of the folders in a wheel, and which paths may come near a file system.

use std::str::FromStr;

use pep440_rs::Version;

use crate::lock::names::normalize;

/// `NAME-VERSION` of a `.dist-info` or `.data` folder: normalised name, version. Old tools left `-` in
/// names, so the last one divides.
pub(super) fn of_folder(stem: &str) -> Option<(String, Version)> {
    let (name, version) = stem.rsplit_once('-')?;
    Some((normalize(name)?, Version::from_str(&version.replace('_', "-")).ok()?))
}

/// Why `path` must not be written below a folder, if so.
pub(super) fn unsafe_path(path: &str) -> Option<&'static str> {
    if path.is_empty() {
        return Some("is empty");
    }
    if path.starts_with('/') {
        return Some("is absolute");
    }
    if path.len() > 4000 || path.split('/').any(|part| part.len() > 255) {
        return Some("is longer than file systems allow");
    }
    if path.chars().any(|c| c.is_control() || c == '\\') {
        return Some("has a control character or a backslash");
    }
    path.split('/').find_map(|part| match part {
        "" => Some("has an empty component"),
        "." => Some("has a `.` component"),
        ".." => Some("has a `..` component"),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_compared_normalised() {
        let read = of_folder("Foo_Bar-1.0.post1").unwrap();
        assert_eq!(of_folder("foo-bar-1.0.POST1"), Some(read));
        for stem in ["foo", "foo-bar", "-1.0", "f/o-1.0"] {
            assert_eq!(of_folder(stem), None, "{stem}");
        }
    }

    #[test]
    fn paths_that_leave_are_seen() {
        for path in ["", "/a", "a//b", "a/./b", "../a", "a/..", "a\\b", "a\nb", "a/", "a\u{85}"] {
            assert!(unsafe_path(path).is_some(), "{path:?}");
        }
        for path in ["a", "a/b c/é.py", "..a/b..", "a,\"b"] {
            assert_eq!(unsafe_path(path), None, "{path:?}");
        }
    }
}
