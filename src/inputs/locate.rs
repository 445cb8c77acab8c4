//! Finds a sandbox path on this machine.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

use super::View;

/// As many links as Linux follows before it says ELOOP.
const MAX_LINKS: usize = 40;

/// Where `path` (absolute, of the sandbox) lies on this machine, links resolved as the sandbox would.
/// `None` where it does not exist, leads through a file, or loops.
pub(super) fn locate(view: &[View], path: &Path) -> Option<PathBuf> {
    let mut pending = components(path);
    let mut at = PathBuf::from("/");
    let mut links = 0;
    while let Some(name) = pending.pop_front() {
        if name == ".." {
            at.pop();
            continue;
        }
        at.push(&name);
        let target = match look(view, &at)? {
            Found::Link(target) => target,
            Found::Folder => continue,
            Found::File if pending.is_empty() => continue,
            Found::File => return None,
        };
        links += 1;
        if links > MAX_LINKS {
            return None;
        }
        at.pop();
        if target.is_absolute() {
            at = PathBuf::from("/");
        }
        let mut next = components(&target);
        next.append(&mut pending);
        pending = next;
    }
    on_this_machine(view, &at)
}

enum Found {
    Link(PathBuf),
    Folder,
    File,
}

/// What the sandbox has at `at`, whose parents hold no link.
fn look(view: &[View], at: &Path) -> Option<Found> {
    let link = view.iter().rev().find_map(|entry| match entry {
        View::Link { to, at: place } if place == at => Some(to.clone()),
        _ => None,
    });
    if let Some(target) = link {
        return Some(Found::Link(target));
    }
    if let Some(path) = on_this_machine(view, at) {
        // What a bind mounts at its own place is the target of a link, never the link.
        let mounted = view.iter().any(|entry| matches!(entry, View::Bind { at: place, .. } if place == at));
        let metadata = if mounted { fs::metadata(&path) } else { fs::symlink_metadata(&path) };
        if let Ok(metadata) = metadata {
            return Some(if metadata.is_symlink() {
                Found::Link(fs::read_link(&path).ok()?)
            } else if metadata.is_dir() {
                Found::Folder
            } else {
                Found::File
            });
        }
    }
    // A folder that exists only because something is mounted below it.
    view.iter().any(|entry| place_of(entry).starts_with(at)).then_some(Found::Folder)
}

fn place_of(entry: &View) -> &Path {
    match entry {
        View::Bind { at, .. } | View::Link { at, .. } => at,
    }
}

/// The path below the innermost bind that covers `at`; later entries of the view lie over earlier ones.
fn on_this_machine(view: &[View], at: &Path) -> Option<PathBuf> {
    let mut best: Option<(&Path, &Path)> = None;
    for entry in view {
        let View::Bind { from, at: place } = entry else { continue };
        let deeper = best.is_none_or(|(_, known)| place.components().count() >= known.components().count());
        if at.starts_with(place) && deeper {
            best = Some((from, place));
        }
    }
    let (from, place) = best?;
    let rest = at.strip_prefix(place).ok()?;
    Some(if rest.as_os_str().is_empty() { from.to_owned() } else { from.join(rest) })
}

fn components(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsString::from("..")),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn tree() -> (tempfile::TempDir, Vec<View>) {
        let root = tempfile::tempdir().unwrap();
        let usr = root.path().join("usr");
        fs::create_dir_all(usr.join("lib/x")).unwrap();
        fs::create_dir_all(usr.join("bin")).unwrap();
        fs::write(usr.join("lib/x/libc.so.6"), "libc").unwrap();
        symlink("/usr/lib/x/libc.so.6", usr.join("lib/absolute")).unwrap();
        symlink("../lib/./x/../x/libc.so.6", usr.join("bin/relative")).unwrap();
        symlink("b", usr.join("a")).unwrap();
        symlink("a", usr.join("b")).unwrap();
        symlink("/etc/passwd", usr.join("host")).unwrap();
        symlink("../../../../../../usr/lib", usr.join("above")).unwrap();
        let view = vec![
            View::Bind { from: usr.clone(), at: "/usr".into() },
            View::Link { to: "usr/lib".into(), at: "/lib".into() },
        ];
        (root, view)
    }

    #[test]
    fn follows_links_as_the_sandbox_would() {
        let (root, view) = tree();
        let libc = root.path().join("usr/lib/x/libc.so.6");
        for path in [
            "/usr/lib/x/libc.so.6",
            "/lib/x/libc.so.6",
            "/usr/lib/absolute",
            "/lib/absolute",
            "/usr/bin/relative",
            "/usr/above/x/libc.so.6",
            "/../usr/bin/../lib/x/libc.so.6",
        ] {
            assert_eq!(locate(&view, Path::new(path)), Some(libc.clone()), "{path}");
        }
        assert_eq!(locate(&view, Path::new("/usr")), Some(root.path().join("usr")));
    }

    #[test]
    fn never_leaves_the_view() {
        let (_root, view) = tree();
        for path in ["/usr/host", "/etc/passwd", "/usr/a", "/usr/none", "/usr/lib/absolute/x", "/"] {
            assert_eq!(locate(&view, Path::new(path)), None, "{path}");
        }
    }

    #[test]
    fn inner_binds_lie_over_outer_ones() {
        let (root, mut view) = tree();
        let file = root.path().join("python");
        fs::write(&file, "").unwrap();
        view.push(View::Bind { from: file.clone(), at: "/usr/local/bin/python".into() });
        assert_eq!(locate(&view, Path::new("/usr/local/bin/python")), Some(file));
        assert_eq!(locate(&view, Path::new("/usr/local/bin/other")), None);
    }
}
