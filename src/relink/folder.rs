//! Entries of search paths and the folders that they mean. A relative folder lies in the tree, an absolute one outside.

use std::path::{Component, Path, PathBuf};

/// The folder of the tree that an entry of a search path means, for a file at `path`; `None` for folders
/// outside of it, for the working folder, and for other tokens than `$ORIGIN`.
pub(super) fn in_tree(path: &Path, entry: &str) -> Option<PathBuf> {
    let rest = entry.strip_prefix("$ORIGIN").or_else(|| entry.strip_prefix("${ORIGIN}"))?;
    if !(rest.is_empty() || rest.starts_with('/')) || rest.contains('$') {
        return None;
    }
    join(path.parent()?, Path::new(rest.trim_start_matches('/')))
}

/// `folder` as an entry of the search path of a file in the folder `from` of the tree.
pub(super) fn entry(from: &Path, folder: &Path) -> String {
    if folder.is_absolute() {
        return folder.to_string_lossy().into_owned();
    }
    match relative(from, folder) {
        way if way.is_empty() => "$ORIGIN".to_owned(),
        way => format!("$ORIGIN/{way}"),
    }
}

/// Whether an entry of a search path can mean `folder`.
pub(super) fn is_nameable(from: &Path, folder: &Path) -> bool {
    let text = entry(from, folder);
    !text.strip_prefix("$ORIGIN").unwrap_or(&text).contains([':', '$'])
}

/// The way from the folder `from` to `to`, both relative to the tree.
pub(super) fn relative(from: &Path, to: &Path) -> String {
    let from: Vec<Component<'_>> = from.components().collect();
    let to: Vec<Component<'_>> = to.components().collect();
    let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let up = from[shared..].iter().map(|_| "..".to_owned());
    let down = to[shared..].iter().map(|name| name.as_os_str().to_string_lossy().into_owned());
    up.chain(down).collect::<Vec<_>>().join("/")
}

/// `relative` as seen from `folder`, both inside the tree; `None` where it leads out of it.
pub(super) fn join(folder: &Path, relative: &Path) -> Option<PathBuf> {
    let mut path = folder.to_owned();
    for component in relative.components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => {
                if !path.pop() {
                    return None;
                }
            }
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_lead_back_to_their_folders() {
        for (file, folder, expected) in [
            ("a/b/c.so", "a/b", "$ORIGIN"),
            ("a/b/c.so", "a/x", "$ORIGIN/../x"),
            ("a/b/c.so", "", "$ORIGIN/../.."),
            ("c.so", "lib", "$ORIGIN/lib"),
        ] {
            let text = entry(Path::new(file).parent().unwrap(), Path::new(folder));
            assert_eq!(text, expected);
            assert_eq!(in_tree(Path::new(file), &text), Some(PathBuf::from(folder)));
        }
        assert_eq!(entry(Path::new("a"), Path::new("/usr/lib")), "/usr/lib");
        for outside in ["/usr/lib", "", ".", "$ORIGIN/../..", "$ORIGINAL", "$ORIGIN/$LIB", "lib"] {
            assert_eq!(in_tree(Path::new("a/c.so"), outside), None, "{outside}");
        }
    }
}
