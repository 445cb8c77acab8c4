//! What a sandbox's root is made of, as data: [`Spec`] in, [`Step`]s out. Nothing is mounted here.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use super::{SandboxError, Spec};
use crate::inputs::View;

/// One step of making the root, in order. Paths are absolute in the sandbox, but for `from`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Makes a folder; one that exists is kept.
    Folder { at: CString, mode: u32 },
    /// Makes a symbolic link; a name that exists is kept.
    Link { to: CString, at: CString },
    /// Makes a file with this text; an empty one is where a file will be bound.
    File { at: CString, text: &'static [u8] },
    /// Shows a folder or file of this machine.
    Bind { from: CString, at: CString, access: Access },
    /// Mounts an empty file system in memory, for all to write.
    Scratch { at: CString },
    /// Mounts `/proc` for the sandbox's own processes, read-only.
    Proc { at: CString },
}

/// How a bound name may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    ReadOnly,
    Writable,
    /// A device node: readable and writable as such.
    Device,
}

impl Step {
    /// The name that the step makes, for messages.
    pub(super) fn at(&self) -> &CString {
        match self {
            Self::Folder { at, .. }
            | Self::Link { at, .. }
            | Self::File { at, .. }
            | Self::Bind { at, .. }
            | Self::Scratch { at }
            | Self::Proc { at } => at,
        }
    }
}

/// The same accounts, hosts and name service everywhere: what a build can look up must not differ.
const ETC: [(&str, &[u8]); 4] = [
    (
        "/etc/passwd",
        b"root:x:0:0:root:/root:/bin/sh\nakb:x:1000:100:akb:/tmp:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n",
    ),
    ("/etc/group", b"root:x:0:\nusers:x:100:\nnogroup:x:65534:\n"),
    ("/etc/hosts", b"127.0.0.1 localhost akb\n::1 localhost akb\n"),
    ("/etc/nsswitch.conf", b"passwd: files\ngroup: files\nhosts: files\n"),
];

const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

const DEVICE_LINKS: [(&str, &str); 4] = [
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
];

/// The steps that make the root of `spec`.
///
/// Looks at this machine only to learn whether what is bound is a folder or a file.
pub(super) fn steps(spec: &Spec) -> Result<Vec<Step>, SandboxError> {
    let mut root = Root::default();
    // First, so that what is bound below it is seen.
    let tmp = Path::new("/tmp");
    let given = spec.view.iter().map(View::at).chain(spec.writable.iter().map(|(_, at)| at.as_path()));
    if !given.into_iter().any(|at| at == tmp) {
        root.scratch(tmp)?;
    }
    for view in &spec.view {
        match view {
            View::Bind { from, at } => root.bind(from, at, Access::ReadOnly)?,
            View::Link { to, at } => root.link(to, at)?,
        }
    }
    root.etc()?;
    root.devices()?;
    root.proc()?;
    for (from, at) in &spec.writable {
        root.bind(from, at, Access::Writable)?;
    }
    Ok(root.steps)
}

#[derive(Default)]
struct Root {
    steps: Vec<Step>,
    /// Names that exist so far because of a step of ours.
    names: BTreeSet<PathBuf>,
}

impl Root {
    /// Whether `at` itself is given by the view.
    fn is_mounted(&self, at: &Path) -> bool {
        let given = |step: &&Step| matches!(step, Step::Bind { .. } | Step::Link { .. });
        self.steps.iter().filter(given).any(|step| step.at().as_bytes() == at.as_os_str().as_bytes())
    }

    fn bind(&mut self, from: &Path, at: &Path, access: Access) -> Result<(), SandboxError> {
        let source = std::fs::metadata(from).map_err(|source| SandboxError::Source {
            path: from.to_owned(),
            at: at.to_owned(),
            source,
        })?;
        if source.is_dir() {
            self.folder(at)?;
        } else {
            self.parents(at)?;
            self.steps.push(Step::File { at: text(at)?, text: b"" });
        }
        self.names.insert(at.to_owned());
        self.steps.push(Step::Bind { from: text(from)?, at: text(at)?, access });
        Ok(())
    }

    fn link(&mut self, to: &Path, at: &Path) -> Result<(), SandboxError> {
        self.parents(at)?;
        self.names.insert(at.to_owned());
        self.steps.push(Step::Link { to: text(to)?, at: text(at)? });
        Ok(())
    }

    fn scratch(&mut self, at: &Path) -> Result<(), SandboxError> {
        self.folder(at)?;
        self.steps.push(Step::Scratch { at: text(at)? });
        Ok(())
    }

    fn etc(&mut self) -> Result<(), SandboxError> {
        if self.is_mounted(Path::new("/etc")) {
            return Ok(());
        }
        for (at, content) in ETC {
            if !self.names.contains(Path::new(at)) {
                self.parents(Path::new(at))?;
                self.names.insert(at.into());
                self.steps.push(Step::File { at: text(Path::new(at))?, text: content });
            }
        }
        Ok(())
    }

    fn devices(&mut self) -> Result<(), SandboxError> {
        for device in DEVICES {
            let device = Path::new(device);
            if device.exists() {
                self.bind(device, device, Access::Device)?;
            }
        }
        for (to, at) in DEVICE_LINKS {
            self.link(Path::new(to), Path::new(at))?;
        }
        self.scratch(Path::new("/dev/shm"))
    }

    fn proc(&mut self) -> Result<(), SandboxError> {
        self.folder(Path::new("/proc"))?;
        self.steps.push(Step::Proc { at: text(Path::new("/proc"))? });
        Ok(())
    }

    fn folder(&mut self, at: &Path) -> Result<(), SandboxError> {
        self.parents(at)?;
        if self.names.insert(at.to_owned()) {
            self.steps.push(Step::Folder { at: text(at)?, mode: 0o755 });
        }
        Ok(())
    }

    /// Makes the folders above `at`. Those inside a bound folder exist already, or the bind fails and says so.
    fn parents(&mut self, at: &Path) -> Result<(), SandboxError> {
        let plain = at.is_absolute() && at.components().skip(1).all(|part| matches!(part, Component::Normal(_)));
        if !plain {
            return Err(SandboxError::NotAbsolute { path: at.to_owned() });
        }
        let Some(parent) = at.parent() else {
            return Err(SandboxError::NotAbsolute { path: at.to_owned() });
        };
        if parent != Path::new("/") {
            self.folder(parent)?;
        }
        Ok(())
    }
}

fn text(path: &Path) -> Result<CString, SandboxError> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| SandboxError::Nul { text: path.display().to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(view: Vec<View>, writable: Vec<(PathBuf, PathBuf)>) -> Spec {
        Spec {
            view,
            writable,
            env: std::collections::BTreeMap::new(),
            cwd: "/".into(),
            argv: vec![],
            stdin: vec![],
            time_limit: std::time::Duration::from_secs(1),
        }
    }

    fn names(steps: &[Step]) -> Vec<&str> {
        steps.iter().map(|step| step.at().to_str().unwrap()).collect()
    }

    #[test]
    fn parents_come_before_children_and_once() {
        let here = tempfile::tempdir().unwrap();
        let bind = |at: &str| View::Bind { from: here.path().to_owned(), at: at.into() };
        let steps = steps(&spec(vec![bind("/a/b/c"), bind("/a/b/d")], vec![])).unwrap();
        assert_eq!(names(&steps)[2..8], ["/a", "/a/b", "/a/b/c", "/a/b/c", "/a/b/d", "/a/b/d"]);
    }

    #[test]
    fn a_given_etc_and_tmp_are_kept() {
        let here = tempfile::tempdir().unwrap();
        let given = steps(&spec(
            vec![View::Bind { from: here.path().to_owned(), at: "/etc".into() }],
            vec![(here.path().to_owned(), "/tmp".into())],
        ))
        .unwrap();
        assert!(!names(&given).contains(&"/etc/passwd"));
        assert!(!given.iter().any(|step| matches!(step, Step::Scratch { at } if at.as_bytes() == b"/tmp")));
        let made = steps(&spec(vec![], vec![])).unwrap();
        assert!(names(&made).contains(&"/etc/passwd"));
        assert!(made.iter().any(|step| matches!(step, Step::Scratch { at } if at.as_bytes() == b"/tmp")));
    }

    #[test]
    fn odd_names_are_refused() {
        for at in ["/", "relative", "/a/../b", ""] {
            let view = View::Link { to: "x".into(), at: at.into() };
            assert!(matches!(steps(&spec(vec![view], vec![])), Err(SandboxError::NotAbsolute { .. })), "{at}");
        }
        let missing = View::Bind { from: "/does/not/exist".into(), at: "/x".into() };
        assert!(matches!(steps(&spec(vec![missing], vec![])), Err(SandboxError::Source { .. })));
    }
}
