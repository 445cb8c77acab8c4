//! What a sandbox sees of prefixes: themselves and what is shown, each at its own path, and a few names that
//! scripts count on.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Component, Path, PathBuf};

use super::PrefixError;
use super::scan::{Found, is_program};
use super::toolchain::COMPILERS;
use crate::inputs::View;
use crate::wheel::BUILD_ROOT;

/// Names that scripts of all origins count on, and the programs that serve: (name, programs in order of preference).
const NAMES: [(&str, &[&str]); 3] =
    [("/bin/sh", &["sh", "bash", "dash"]), ("/bin/bash", &["bash"]), ("/usr/bin/env", &["env"])];

/// Folders that a sandbox makes itself.
const OWN: [&str; 3] = ["/dev", "/proc", BUILD_ROOT];

/// `prefix` by the one name that it is known by, which results may then contain.
pub(super) fn real(prefix: &Path) -> Result<PathBuf, PrefixError> {
    let real = fs::canonicalize(prefix).map_err(|source| PrefixError::Read { path: prefix.to_owned(), source })?;
    if real.is_dir() { check(&real).map(|()| real) } else { unusable(&real, "it is no folder") }
}

/// Paths of prefixes become parts of flags, lists and scripts, where nothing can be quoted.
fn check(path: &Path) -> Result<(), PrefixError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._+-=?@~".contains(c);
    if !path.to_str().is_some_and(|path| path.chars().all(plain)) {
        return unusable(path, "compiler flags cannot hold such a name");
    }
    if OWN.iter().any(|own| path.starts_with(own) || Path::new(own).starts_with(path)) || path == Path::new("/tmp") {
        return unusable(path, "a build has something else there");
    }
    Ok(())
}

fn unusable<T>(path: &Path, reason: &'static str) -> Result<T, PrefixError> {
    Err(PrefixError::Unusable { path: path.to_owned(), reason })
}

/// Binds of `prefixes` and `shown`, none inside another, and links for [`NAMES`].
pub(super) fn view(prefixes: &[PathBuf], shown: &[PathBuf], found: &Found) -> Result<Vec<View>, PrefixError> {
    let mut folders = prefixes.to_vec();
    for folder in shown {
        if folder.components().any(|part| part == Component::ParentDir) || !folder.is_absolute() {
            return unusable(folder, "its path is not absolute");
        }
        check(folder)?;
        folders.push(folder.clone());
    }
    folders.sort_unstable();
    folders.dedup();
    let mut view: Vec<View> = Vec::new();
    for folder in folders {
        if !shows(&view, &folder) {
            view.push(View::Bind { from: folder.clone(), at: folder });
        }
    }
    for (name, programs) in NAMES {
        let at = PathBuf::from(name);
        if shows(&view, &at) {
            continue;
        }
        let to = programs.iter().find_map(|program| found.program(program));
        let to = to.or_else(|| programs.iter().find_map(|program| shell_of_compiler(&view, found, program)));
        if let Some(to) = to {
            view.push(View::Link { to, at });
        }
    }
    Ok(view)
}

/// The shell of this name that a compiler's wrapper runs in: prefixes with a wrapper often come without it.
fn shell_of_compiler(view: &[View], found: &Found, name: &str) -> Option<PathBuf> {
    let wrapper = COMPILERS.iter().find_map(|(compiler, _)| found.program(compiler))?;
    let mut start = [0; 512];
    let length = File::open(wrapper).ok()?.read(&mut start).ok()?;
    let line = start.get(..length)?.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let shell = PathBuf::from(std::str::from_utf8(line).ok()?.split_whitespace().next()?);
    let shell = shell.with_file_name(name);
    (check(&shell).is_ok() && shows(view, &shell) && is_program(&shell)).then_some(shell)
}

/// The shell that builds find.
pub(super) fn shell(view: &[View]) -> Option<PathBuf> {
    let sh = Path::new("/bin/sh");
    let link = view.iter().find_map(|entry| match entry {
        View::Link { to, at } if at == sh => Some(to.clone()),
        _ => None,
    });
    link.or_else(|| (shows(view, sh) && is_program(sh)).then(|| sh.to_owned()))
}

/// Whether `path` lies in a folder that the sandbox sees.
pub(super) fn shows(view: &[View], path: &Path) -> bool {
    view.iter().any(|entry| matches!(entry, View::Bind { at, .. } if path.starts_with(at)))
}

/// The real name of `path` if the sandbox sees that, else the one that was given.
pub(super) fn shown_name(view: &[View], path: &Path) -> PathBuf {
    fs::canonicalize(path).ok().filter(|real| shows(view, real)).unwrap_or_else(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_inside_others_are_seen_once() {
        let list = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        let found = Found::default();
        let view = view(&list(&["/store/b", "/opt/x", "/store/a"]), &list(&["/store"]), &found).unwrap();
        let at: Vec<_> = view.iter().map(View::at).collect();
        assert_eq!(at, [Path::new("/opt/x"), Path::new("/store")]);
        assert!(shows(&view, Path::new("/store/c/lib")) && !shows(&view, Path::new("/storehouse")));
    }

    #[test]
    fn a_wrapper_lends_its_shell() {
        use std::os::unix::fs::PermissionsExt as _;
        let root = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(root.path()).unwrap();
        let write = |name: &str, text: &str| {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        };
        write("bash/bin/bash", "");
        write("bash/bin/sh", "");
        write("cc/bin/cc", &format!("#! {}/bash/bin/bash -e\n", root.display()));
        let python = "3.14".parse().unwrap();
        let found = super::super::scan::scan(&[root.join("cc")], python, "x").unwrap();
        let seen = view(&[root.join("cc")], std::slice::from_ref(&root), &found).unwrap();
        assert_eq!(shell(&seen), Some(root.join("bash/bin/sh")));
        let unseen = view(&[root.join("cc")], &[], &found).unwrap();
        assert_eq!(shell(&unseen), None);
    }

    #[test]
    fn refuses_names_that_flags_cannot_hold() {
        for path in ["/", "/tmp", "/dev/shm", "/akb", "/akb/build/x", "/a b", "/a:b", "/a,b", "/a'b", "/a\nb"] {
            assert!(check(Path::new(path)).is_err(), "{path}");
        }
        for path in ["/opt/python-3.14+x", "/tmp/prefix", "/akb/other"] {
            assert!(check(Path::new(path)).is_ok(), "{path}");
        }
        assert!(view(&[], &["relative".into()], &Found::default()).is_err());
        assert!(view(&[], &["/a/../b".into()], &Found::default()).is_err());
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(matches!(real(file.path()), Err(PrefixError::Unusable { .. })));
        assert!(matches!(real(Path::new("/does/not/exist")), Err(PrefixError::Read { .. })));
    }
}
