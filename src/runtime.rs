//! The interpreter that a tree brings along: program, standard library, and libraries that look for nothing
//! on the host.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::explain::Explain;
use crate::inputs::Inputs;
use crate::tree::{self, Kind, TreeError};

pub mod seal;

/// Where the runtime lies in a tree.
pub const FOLDER: &str = "runtime";

/// What was copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// The interpreter, relative to the tree.
    pub python: PathBuf,
    /// Its standard library, relative to the tree.
    pub stdlib: PathBuf,
    /// Number of files of the standard library.
    pub files: u64,
    /// Their size in bytes.
    pub bytes: u64,
}

/// Why the interpreter could not be copied.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The inputs do not hold what they promise.
    #[error("the inputs ({inputs}) have no {}", path.display())]
    Missing {
        /// What is missing, as the sandbox sees it.
        path: PathBuf,
        /// Their description.
        inputs: String,
    },
    /// A folder could not be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A file could not be copied.
    #[error("cannot copy {}: {source}", path.display())]
    Copy {
        /// Where to.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl Explain for RuntimeError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { path, .. } if path.ends_with("os.py") => Some(
                "add the package with the standard library (Debian: libpython3.14-stdlib) to the inputs".to_owned(),
            ),
            Self::Missing { .. } => Some("add the package with this file to the inputs".to_owned()),
            Self::Tree(error) => error.hint(),
            Self::Copy { .. } => None,
        }
    }
}

/// Names directly in the standard library that a finished tree has no use for: tests, files for linking
/// programs against Python, what Debian's packages put beside it, and markers for other installers.
const LEFT_OUT: [&str; 8] = [
    "test",
    "idlelib",
    "turtledemo",
    "dist-packages",
    "site-packages",
    "EXTERNALLY-MANAGED",
    // Debian's is a link to /etc that looks for a crash reporter.
    "sitecustomize.py",
    "usercustomize.py",
];
/// Extension modules of the test suite.
const TEST_MODULES: [&str; 5] = ["_test", "_ctypes_test", "_xxtestfuzz", "xxlimited", "xxsubtype"];

/// Copies the interpreter to `runtime/bin` and its standard library to `runtime/lib` of `tree`. The libraries
/// that they need are [`crate::relink`]'s work.
pub fn copy(inputs: &Inputs, tree: &Path) -> Result<Copied, RuntimeError> {
    let missing = |path: &Path| RuntimeError::Missing { path: path.to_owned(), inputs: inputs.description.clone() };
    let name = format!("python{}", inputs.target.python.short());
    let program = inputs.locate(&inputs.python).ok_or_else(|| missing(&inputs.python))?;
    let python = Path::new(FOLDER).join("bin").join(&name);
    copy_file(&program, &tree.join(&python), true)?;

    let landmark = inputs.stdlib.join("os.py");
    inputs.locate(&landmark).ok_or_else(|| missing(&landmark))?;
    let source = inputs.locate(&inputs.stdlib).ok_or_else(|| missing(&inputs.stdlib))?;
    let stdlib = Path::new(FOLDER).join("lib").join(&name);
    let mut copied = Copied { python, stdlib, files: 0, bytes: 0 };
    for node in tree::walk(&source)? {
        let (from, executable) = match node.kind {
            _ if is_left_out(&node.path) => continue,
            Kind::Dir => continue,
            Kind::File { executable, .. } => (source.join(&node.path), executable),
            // A link's file is copied: it may lead out of the standard library. One that leads to a folder, or
            // nowhere, is part of a package that is not among the inputs.
            Kind::Link { .. } => match inputs.locate(&inputs.stdlib.join(&node.path)) {
                Some(file) if file.is_file() => (file, false),
                _ => continue,
            },
        };
        copied.bytes += copy_file(&from, &tree.join(&copied.stdlib).join(&node.path), executable)?;
        copied.files += 1;
    }
    Ok(copied)
}

pub(crate) fn is_left_out(path: &Path) -> bool {
    let mut names = path.iter().map(|name| name.to_string_lossy());
    let first = names.next().unwrap_or_default();
    let second = names.next().unwrap_or_default();
    LEFT_OUT.contains(&first.as_ref())
        || first.starts_with("config-")
        || first == "lib-dynload" && TEST_MODULES.iter().any(|module| second.starts_with(module))
        || path.iter().any(|name| name == "__pycache__")
}

/// Copies contents only: no times, no owner. The source may be a link's target or hardlinked into a cache.
fn copy_file(from: &Path, to: &Path, executable: bool) -> Result<u64, RuntimeError> {
    let write = || {
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder)?;
        }
        let contents = fs::read(from)?;
        fs::write(to, &contents)?;
        fs::set_permissions(to, fs::Permissions::from_mode(if executable { 0o755 } else { 0o644 }))?;
        Ok(contents.len() as u64)
    };
    write().map_err(|source| RuntimeError::Copy { path: to.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Sha256;
    use crate::inputs::View;

    fn inputs(root: &Path) -> Inputs {
        Inputs {
            identity: Sha256::of(b""),
            description: "test".into(),
            view: vec![
                View::Bind { from: root.join("usr"), at: "/usr".into() },
                View::Bind { from: root.join("etc"), at: "/etc".into() },
            ],
            python: "/usr/bin/python3.14".into(),
            stdlib: "/usr/lib/python3.14".into(),
            target: crate::request::Target {
                python: "3.14.2".parse().unwrap(),
                platform: "x86_64-manylinux_2_42".parse().unwrap(),
            },
            path: vec![],
            include: vec![],
            libraries: vec![],
            pkg_config: vec![],
            interpreter: "/usr/lib64/ld.so".into(),
            runtime: crate::inputs::Runtime::Copied,
            building: Vec::new(),
            named: std::collections::BTreeMap::new(),
            tools: std::collections::BTreeMap::new(),
            env: std::collections::BTreeMap::new(),
        }
    }

    #[test]
    fn copies_the_standard_library_without_its_tests() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        };
        for file in [
            "os.py",
            "test/support.py",
            "json/test.py",
            "lib-dynload/_json.so",
            "lib-dynload/_testcapi.so",
            "EXTERNALLY-MANAGED",
            "config-3.14-x/Makefile",
            "json/__pycache__/a.pyc",
        ] {
            put(&format!("usr/lib/python3.14/{file}"));
        }
        put("etc/python3.14/extra.py");
        put("usr/bin/python3.14");
        std::os::unix::fs::symlink("/etc/python3.14/extra.py", root.path().join("usr/lib/python3.14/extra.py"))
            .unwrap();
        std::os::unix::fs::symlink("/etc/python3.14/gone.py", root.path().join("usr/lib/python3.14/gone.py")).unwrap();

        let tree = tempfile::tempdir().unwrap();
        let copied = copy(&inputs(root.path()), tree.path()).unwrap();
        let files: Vec<String> = tree::walk(tree.path())
            .unwrap()
            .into_iter()
            .filter(|node| matches!(node.kind, Kind::File { .. }))
            .map(|node| node.path.display().to_string())
            .collect();
        assert_eq!(copied.files, 4);
        assert_eq!(
            files,
            [
                "runtime/bin/python3.14",
                "runtime/lib/python3.14/extra.py",
                "runtime/lib/python3.14/json/test.py",
                "runtime/lib/python3.14/lib-dynload/_json.so",
                "runtime/lib/python3.14/os.py",
            ]
        );
    }

    #[test]
    fn names_what_the_inputs_lack() {
        let root = tempfile::tempdir().unwrap();
        let error = copy(&inputs(root.path()), root.path()).unwrap_err();
        assert_eq!(error.to_string(), "the inputs (test) have no /usr/bin/python3.14");
    }
}
