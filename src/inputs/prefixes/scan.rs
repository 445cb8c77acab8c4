//! What folders hold, by their names alone: nothing is run.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::PrefixError;
use crate::relink::elf::Image;
use crate::request::PythonVersion;
use crate::tree;

/// Folders of the prefixes, in the order of the prefixes, each folder once.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The prefixes, and their `usr` where there is one.
    pub(super) roots: Vec<PathBuf>,
    /// Folders of programs.
    pub(super) programs: Vec<PathBuf>,
    /// Folders of headers, but for the C library's.
    pub(super) headers: Vec<PathBuf>,
    /// Folders with the C library's headers. A C++ compiler must see them after its own (`#include_next`).
    pub(super) libc_headers: Vec<PathBuf>,
    /// Folders with libraries.
    pub(super) libraries: Vec<PathBuf>,
    /// Folders with `.pc` files.
    pub(super) pkg_config: Vec<PathBuf>,
    /// Prefixes that have none of these.
    pub(super) useless: Vec<PathBuf>,
}

/// Files that a C library's folder of headers has, or the part of it that Debian keeps apart.
const LIBC_HEADERS: [&str; 2] = ["features.h", "gnu/stubs.h"];

/// Larger libraries are not asked which others they load.
const LARGEST: u64 = 256 << 20;

/// Looks through `prefixes`. `triplet` is Debian's name of the machine, where it keeps a part of everything.
pub(super) fn scan(prefixes: &[PathBuf], python: PythonVersion, triplet: &str) -> Result<Found, PrefixError> {
    let mut found = Found::default();
    for prefix in prefixes {
        let before = found.count();
        for root in [prefix.clone(), prefix.join("usr")] {
            if root.is_dir() {
                found.add(&root, python, triplet)?;
            }
        }
        if found.count() == before {
            found.useless.push(prefix.clone());
        }
    }
    Ok(found)
}

impl Found {
    fn count(&self) -> usize {
        [&self.programs, &self.headers, &self.libc_headers, &self.libraries, &self.pkg_config]
            .map(Vec::len)
            .iter()
            .sum()
    }

    fn add(&mut self, root: &Path, python: PythonVersion, triplet: &str) -> Result<(), PrefixError> {
        let folder = |below: String| Some(root.join(below)).filter(|path| path.is_dir());
        add(&mut self.roots, Some(root.to_owned()));
        add(&mut self.programs, folder("bin".into()));
        let python_headers = format!("include/python{}", python.short());
        for below in ["include".to_owned(), format!("include/{triplet}"), python_headers] {
            let path = folder(below);
            let libc = path.as_deref().is_some_and(|path| LIBC_HEADERS.iter().any(|name| path.join(name).is_file()));
            add(if libc { &mut self.libc_headers } else { &mut self.headers }, path);
        }
        for below in ["lib".to_owned(), format!("lib/{triplet}"), "lib64".to_owned()] {
            if let Some(path) = folder(below.clone()).filter(|path| !is_known(&self.libraries, path))
                && tree::list(&path)?.iter().any(|file| is_library(file))
            {
                self.libraries.push(path);
            }
            add(&mut self.pkg_config, folder(format!("{below}/pkgconfig")));
        }
        add(&mut self.pkg_config, folder("share/pkgconfig".into()));
        Ok(())
    }

    /// Adds the folders that libraries of the prefixes load others from: what links with them may name those, too
    /// (xmlsec1's `.pc` file says `-lltdl`). `shows` says which folders a build sees.
    pub(super) fn follow(&mut self, shows: impl Fn(&Path) -> bool) -> Result<(), PrefixError> {
        let mut folders = Vec::new();
        for own in &self.libraries {
            for file in tree::list(own)?.into_iter().filter(|file| is_library(file)) {
                let plain = fs::symlink_metadata(&file).is_ok_and(|data| data.is_file() && data.len() < LARGEST);
                if !plain || file.extension().is_some_and(|end| end == "a" || end == "o") {
                    continue;
                }
                let bytes = fs::read(&file).map_err(|source| PrefixError::Read { path: file.clone(), source })?;
                // What is no library, whatever its name, names no others.
                let image = Image::read(&bytes).ok().flatten();
                let search = image.iter().flat_map(Image::search_folders).map(PathBuf::from);
                folders.extend(search.filter(|folder| folder.is_absolute() && shows(folder) && folder.is_dir()));
            }
        }
        for folder in folders {
            add(&mut self.libraries, Some(folder));
        }
        Ok(())
    }

    /// The first program of this name, as a build finds it.
    pub(super) fn program(&self, name: &str) -> Option<PathBuf> {
        self.programs.iter().map(|folder| folder.join(name)).find(|path| is_program(path))
    }

    /// The one interpreter of this version.
    pub(super) fn python(&self, python: PythonVersion) -> Result<PathBuf, PrefixError> {
        let name = format!("python{}", python.short());
        let mut found: Vec<PathBuf> = Vec::new();
        for path in self.programs.iter().map(|folder| folder.join(&name)).filter(|path| is_program(path)) {
            if !is_known(&found, &path) {
                found.push(path);
            }
        }
        match &found[..] {
            [one] => Ok(one.clone()),
            [] => Err(PrefixError::NoPython { python, looked: self.programs.clone(), found: self.other_pythons()? }),
            _ => Err(PrefixError::SeveralPythons { python, found }),
        }
    }

    fn other_pythons(&self) -> Result<Vec<PathBuf>, PrefixError> {
        let mut all = Vec::new();
        for folder in &self.programs {
            let versioned = |path: &PathBuf| {
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                name.strip_prefix("python").is_some_and(|version| version.parse::<PythonVersion>().is_ok())
            };
            all.extend(tree::list(folder)?.into_iter().filter(versioned));
        }
        Ok(all)
    }
}

fn add(folders: &mut Vec<PathBuf>, folder: Option<PathBuf>) {
    if let Some(folder) = folder.filter(|folder| !is_known(folders, folder)) {
        folders.push(folder);
    }
}

/// Whether it is there already, by this or another name.
fn is_known(paths: &[PathBuf], path: &Path) -> bool {
    let real = fs::canonicalize(path).ok();
    paths.iter().any(|known| known == path || (real.is_some() && fs::canonicalize(known).ok() == real))
}

/// Whether a person may run it. A link whose target is missing is nothing.
pub(super) fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// `libz.so`, `libz.so.1`, `libz.a` and start files such as `crt1.o`.
fn is_library(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let library = name.starts_with("lib") && (name.contains(".so") || name.ends_with(".a"));
    (library || name == "crt1.o") && path.is_file()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const PYTHON: PythonVersion = PythonVersion { major: 3, minor: 14, patch: None };

    fn file(root: &Path, name: &str) {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "").unwrap();
        if name.contains("bin/") {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    fn below<'a>(root: &Path, paths: &'a [PathBuf]) -> Vec<&'a str> {
        paths.iter().map(|path| path.strip_prefix(root).unwrap().to_str().unwrap()).collect()
    }

    fn scanned(root: &Path, names: &[&str]) -> Found {
        scan(&names.iter().map(|name| root.join(name)).collect::<Vec<_>>(), PYTHON, "x-linux-gnu").unwrap()
    }

    #[test]
    fn finds_split_outputs_in_the_given_order() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        for name in [
            "xml-dev/include/libxml/x.h",
            "xml-dev/lib/pkgconfig/xml.pc",
            "xml/lib/libxml.so.2",
            "pg_config/bin/pg_config",
            "python/bin/python3.14",
            "python/include/python3.14/Python.h",
            "python/lib/python3.14/os.py",
            "libc/include/features.h",
            "libc/lib/crt1.o",
            "deb/usr/include/x-linux-gnu/gnu/stubs.h",
            "deb/usr/lib/x-linux-gnu/libc.so.6",
            "deb/usr/share/pkgconfig/x.pc",
            "doc/share/doc/x",
        ] {
            file(root, name);
        }
        symlink("lib", root.join("xml/lib64")).unwrap();
        let found = scanned(root, &["python", "xml-dev", "xml", "pg_config", "libc", "deb", "doc"]);
        assert_eq!(below(root, &found.programs), ["python/bin", "pg_config/bin"]);
        assert_eq!(
            below(root, &found.headers),
            ["python/include", "python/include/python3.14", "xml-dev/include", "deb/usr/include"]
        );
        assert_eq!(below(root, &found.libc_headers), ["libc/include", "deb/usr/include/x-linux-gnu"]);
        assert_eq!(below(root, &found.libraries), ["xml/lib", "libc/lib", "deb/usr/lib/x-linux-gnu"]);
        assert_eq!(below(root, &found.pkg_config), ["xml-dev/lib/pkgconfig", "deb/usr/share/pkgconfig"]);
        assert_eq!(below(root, &found.useless), ["doc"]);
        let reversed = scanned(root, &["doc", "xml", "xml-dev"]);
        assert_eq!(below(root, &reversed.libraries), ["xml/lib"]);
        assert_eq!(below(root, &reversed.roots), ["doc", "xml", "xml-dev"]);
    }

    #[test]
    fn wants_one_python_of_the_version() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        for name in ["a/bin/python3.14", "b/bin/python3.14", "c/bin/python3.13", "c/bin/python3.13-config"] {
            file(root, name);
        }
        fs::create_dir_all(root.join("joined/bin")).unwrap();
        symlink(root.join("a/bin/python3.14"), root.join("joined/bin/python3.14")).unwrap();
        assert_eq!(scanned(root, &["joined", "a", "c"]).python(PYTHON).unwrap(), root.join("joined/bin/python3.14"));
        match scanned(root, &["a", "b"]).python(PYTHON).unwrap_err() {
            PrefixError::SeveralPythons { found, .. } => assert_eq!(below(root, &found).len(), 2),
            other => panic!("{other}"),
        }
        let error = scanned(root, &["c"]).python(PYTHON).unwrap_err();
        let expected = format!("looked in {0}/c/bin; found {0}/c/bin/python3.13", root.display());
        assert_eq!(error.to_string(), format!("no prefix has bin/python3.14; {expected}"));
    }
}
