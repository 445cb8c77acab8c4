//! Bytecode that depends on nothing but source, name and interpreter: the same for every number of jobs, every
//! order and every place of the tree.
//!
//! The interpreter of the tree compiles, driven by `python-shim/compile.py`. The bytecode is hash-based and
//! checked (PEP 552). The file name in it is the path in the tree; the import system replaces it by the real one
//! when it loads the bytecode, so tracebacks show the place of the tree.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::explain::{ExitCode, Explain};
use crate::inputs::Inputs;
use crate::install::Layout;
use crate::report::{Event, Reporter, Stage};
use crate::sandbox::{self, Outcome, SandboxError, Spec, Stream};
use crate::tree::{self, Kind, TreeError};

/// The driver.
pub(crate) const DRIVER: &str = include_str!("../python-shim/compile.py");

/// Far beyond what any tree needs.
const TIME_LIMIT: Duration = Duration::from_hours(1);

/// Why a tree could not be compiled.
#[derive(Debug, thiserror::Error)]
pub enum BytecodeError {
    /// The tree could not be listed.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The interpreter could not be run.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The interpreter failed.
    #[error(
        "compiling bytecode failed: expected all of {expected} files and status 0, found {found} files and status {status}"
    )]
    Python {
        /// Number of sources.
        expected: usize,
        /// Number of sources that it answered for.
        found: usize,
        /// Exit code.
        status: i32,
        /// All that it wrote.
        output: String,
    },
}

impl Explain for BytecodeError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Tree(error) => error.hint(),
            Self::Sandbox(error) => error.hint(),
            Self::Python { .. } => Some("build without bytecode: --no-bytecode".to_owned()),
        }
    }

    fn output(&self) -> Option<&str> {
        match self {
            Self::Sandbox(error) => error.output(),
            Self::Python { output, .. } => Some(output),
            Self::Tree(_) => None,
        }
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Tree(error) => error.exit_code(),
            Self::Sandbox(error) => error.exit_code(),
            Self::Python { .. } => ExitCode::Failed,
        }
    }
}

/// What was compiled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Compiled {
    /// Number of sources that have bytecode now.
    pub files: usize,
    /// Sources that are no Python of this version, and what the interpreter says of them. Packages ship templates
    /// and tests of errors; like pip, akb leaves them alone.
    pub skipped: BTreeMap<String, String>,
}

/// How to run Python.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The arguments of the interpreter.
    pub arguments: Vec<String>,
    /// Its whole environment.
    pub env: BTreeMap<String, String>,
    /// What it reads on standard input.
    pub stdin: Vec<u8>,
}

/// Runs Python, seeing the tree at a path of its choice, and gives each line that it writes.
pub trait Python {
    /// The top of the tree as the interpreter sees it.
    fn tree(&self) -> &Path;

    /// Runs it to its end.
    fn run(&self, call: Call, on_line: &mut dyn FnMut(Stream, &str)) -> Result<Outcome, SandboxError>;
}

/// The interpreter of the inputs, in the sandbox.
#[derive(Clone, Debug)]
pub struct Sandboxed<'a> {
    /// Where the interpreter comes from.
    pub inputs: &'a Inputs,
    /// The tree on this machine.
    pub tree: &'a Path,
}

impl Python for Sandboxed<'_> {
    fn tree(&self) -> &Path {
        Path::new(Layout::CANONICAL)
    }

    fn run(&self, call: Call, on_line: &mut dyn FnMut(Stream, &str)) -> Result<Outcome, SandboxError> {
        let interpreter = self.inputs.python.to_string_lossy().into_owned();
        let spec = Spec {
            view: self.inputs.view.clone(),
            writable: vec![(self.tree.to_owned(), PathBuf::from(Layout::CANONICAL))],
            env: call.env,
            cwd: PathBuf::from("/"),
            argv: std::iter::once(interpreter).chain(call.arguments).collect(),
            stdin: call.stdin,
            time_limit: TIME_LIMIT,
        };
        sandbox::run(&spec, on_line)
    }
}

/// A line of the driver.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    done: usize,
    skipped: Vec<(String, String)>,
}

#[derive(Serialize)]
struct Request<'a> {
    jobs: usize,
    tag: &'a str,
    files: &'a [String],
}

/// Compiles every source below `folders` (paths in `tree`; one that is not there is passed over) to bytecode in the
/// `__pycache__` beside it. `jobs` changes the time only.
pub fn compile(
    tree: &Path,
    folders: &[String],
    layout: &Layout,
    jobs: NonZeroUsize,
    python: &dyn Python,
    reporter: &dyn Reporter,
) -> Result<Compiled, BytecodeError> {
    let files = sources(tree, folders)?;
    let tag = cache_tag(layout);
    let request = Request { jobs: jobs.get(), tag: &tag, files: &files };
    let call = Call {
        arguments: ["-S", "-s", "-B", "-W", "ignore", "-c", DRIVER, &python.tree().to_string_lossy()]
            .map(str::to_owned)
            .into(),
        env: environment(),
        stdin: serde_json::to_vec(&request).unwrap_or_default(),
    };
    let mut compiled = Compiled::default();
    let mut answered: usize = 0;
    let outcome = python.run(call, &mut |stream, line| {
        let answer = (stream == Stream::Stdout).then(|| serde_json::from_str::<Answer>(line).ok()).flatten();
        let Some(answer) = answer else { return };
        answered = answered.saturating_add(answer.done);
        compiled.skipped.extend(answer.skipped);
        let doing = format!("{answered} of {} files", files.len());
        let (stage, item) = (Stage::Finish, "bytecode");
        reporter.event(&Event::ItemProgress { stage, item, done: None, doing: Some(&doing) });
    })?;
    if outcome.status != 0 || answered != files.len() {
        let (expected, status, output) = (files.len(), outcome.status, outcome.output);
        return Err(BytecodeError::Python { expected, found: answered, status, output });
    }
    compiled.files = files.len() - compiled.skipped.len();
    for (path, reason) in &compiled.skipped {
        reporter.note(format!("no bytecode of {path}: {reason}"));
    }
    Ok(compiled)
}

/// The tag in the names of bytecode files (PEP 3147).
fn cache_tag(layout: &Layout) -> String {
    format!("cpython-{}{}", layout.python.major, layout.python.minor)
}

/// Sets of constants are in the order of their hashes, so the seed is fixed.
fn environment() -> BTreeMap<String, String> {
    let pairs = [("HOME", "/nonexistent"), ("LC_ALL", "C.UTF-8"), ("PYTHONHASHSEED", "0"), ("TZ", "UTC")];
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// All sources, the largest first, so that no job is left with one at the end. Links are not followed, and names that
/// are not UTF-8 cannot be imported.
fn sources(tree: &Path, folders: &[String]) -> Result<Vec<String>, TreeError> {
    let mut files = Vec::new();
    for folder in folders.iter().filter(|folder| tree.join(folder).is_dir()) {
        for node in tree::walk(&tree.join(folder))? {
            let is_source = node.path.extension().is_some_and(|suffix| suffix == "py");
            if let (Kind::File { size, .. }, Some(path), true) = (node.kind, node.path.to_str(), is_source) {
                files.push((size, format!("{folder}/{path}")));
            }
        }
    }
    files.sort_unstable_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    Ok(files.into_iter().map(|(_, path)| path).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Silent;
    use std::fs;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    /// This machine's Python, without a sandbox.
    struct Host {
        tree: PathBuf,
        /// Whether it gets the files in the opposite order.
        reversed: bool,
    }

    impl Host {
        fn request(&self, stdin: &[u8]) -> Vec<u8> {
            let mut request: serde_json::Value = serde_json::from_slice(stdin).unwrap();
            if self.reversed {
                request["files"].as_array_mut().unwrap().reverse();
            }
            serde_json::to_vec(&request).unwrap()
        }
    }

    impl Python for Host {
        fn tree(&self) -> &Path {
            &self.tree
        }

        fn run(&self, call: Call, on_line: &mut dyn FnMut(Stream, &str)) -> Result<Outcome, SandboxError> {
            let mut command = Command::new("python3");
            command.args(&call.arguments).env_clear().envs(&call.env).env("PATH", "/usr/bin:/bin");
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).current_dir(&self.tree);
            let mut child = command.spawn()?;
            child.stdin.take().unwrap().write_all(&self.request(&call.stdin))?;
            let output = child.wait_with_output()?;
            let text = String::from_utf8(output.stdout).unwrap();
            text.lines().for_each(|line| on_line(Stream::Stdout, line));
            let text = text + &String::from_utf8(output.stderr).unwrap();
            let status = output.status.code().unwrap();
            Ok(Outcome { status, output: text, cpu: Duration::ZERO, peak_memory: 0 })
        }
    }

    fn python(arguments: &[&str]) -> String {
        let output = Command::new("python3").args(arguments).env_clear().env("PATH", "/usr/bin:/bin").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn layout() -> Layout {
        let version = python(&["-c", "import sys; print('%d.%d.%d' % sys.version_info[:3])"]);
        Layout::canonical(version.parse().unwrap())
    }

    fn jobs(count: usize) -> NonZeroUsize {
        NonZeroUsize::new(count).unwrap()
    }

    /// A tree with what makes bytecode differ: sets, names shared among files, deep nesting, errors.
    fn tree() -> tempfile::TempDir {
        let tree = tempfile::tempdir().unwrap();
        for n in 0..60 {
            let text = format!(
                "x = {{'a', 'b', 'c', 'd{n}'}}\nclass A:\n    class B:\n        'A.B'\n        def f(self):\n            return self in {{'p', 'q', ...}}, 'A.B', 'A.B.f'\n"
            );
            write(&tree, &format!("site/p{}/m{n}.py", n % 7), &text);
        }
        write(&tree, "site/old.py", "print 'python 2'\n");
        write(&tree, "site/nul.py", "x = '\0'\n");
        write(&tree, "site/coding.py", "# coding: no-such\n");
        write(&tree, "site/latin.py", "x = '\u{e9}'\n");
        fs::write(tree.path().join("site/bytes.py"), b"x = '\xe9'\n").unwrap();
        write(&tree, "site/deep.py", &format!("x = {}{}\n", "(".repeat(500), ")".repeat(500)));
        write(&tree, "site/not-source.txt", "x");
        write(&tree, "elsewhere/x.py", "x = 1\n");
        std::os::unix::fs::symlink("old.py", tree.path().join("site/link.py")).unwrap();
        tree
    }

    fn write(tree: &tempfile::TempDir, path: &str, text: &str) {
        let path = tree.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn compiled(tree: &Path, count: usize) -> Compiled {
        compiled_by(&Host { tree: tree.to_owned(), reversed: false }, count)
    }

    fn compiled_by(host: &Host, count: usize) -> Compiled {
        let folders = ["site".to_owned(), "absent".to_owned()];
        compile(&host.tree, &folders, &layout(), jobs(count), host, &Silent).unwrap()
    }

    fn bytecode(tree: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        let nodes = tree::walk(tree).unwrap();
        let files = nodes.into_iter().map(|node| node.path).filter(|path| path.extension().is_some_and(|e| e == "pyc"));
        files.map(|path| (path.clone(), fs::read(tree.join(path)).unwrap())).collect()
    }

    #[test]
    fn jobs_and_places_change_nothing() {
        let trees = [(1, tree()), (2, tree()), (5, tree())];
        let reports: Vec<Compiled> = trees.iter().map(|(count, tree)| compiled(tree.path(), *count)).collect();
        let first = bytecode(trees[0].1.path());
        assert_eq!(first.len(), 61);
        assert_eq!(reports[0].files, 61);
        let skipped: Vec<&str> = reports[0].skipped.keys().map(String::as_str).collect();
        assert_eq!(skipped, ["site/bytes.py", "site/coding.py", "site/deep.py", "site/nul.py", "site/old.py"]);
        for (report, (_, tree)) in reports.iter().zip(&trees) {
            assert_eq!(*report, reports[0]);
            assert_eq!(bytecode(tree.path()), first);
        }
    }

    /// Real code has what nobody thinks of. The same files in another order, in other processes, and in processes that
    /// compile one batch only.
    #[test]
    fn orders_change_nothing_in_the_standard_library() {
        let stdlib = PathBuf::from(python(&["-c", "import sysconfig; print(sysconfig.get_path('stdlib'))"]));
        let tree = tempfile::tempdir().unwrap();
        let places =
            ["asyncio", "collections", "concurrent", "ctypes", "email", "http", "importlib", "json", "logging", "xml"];
        let folders = places.map(|name| stdlib.join(name));
        let nodes = folders
            .iter()
            .flat_map(|folder| tree::walk(folder).unwrap().into_iter().map(|node| folder.join(node.path)));
        let sources =
            nodes.chain(tree::list(&stdlib).unwrap()).filter(|path| path.extension().is_some_and(|e| e == "py"));
        for path in sources {
            write(
                &tree,
                &format!("site/{}", path.strip_prefix(&stdlib).unwrap().display()),
                &fs::read_to_string(&path).unwrap(),
            );
        }
        let mut host = Host { tree: tree.path().to_owned(), reversed: false };
        assert!(compiled_by(&host, 1).files > 300);
        let first = bytecode(tree.path());
        host.reversed = true;
        for count in [1, 30] {
            compiled_by(&host, count);
            for (path, content) in bytecode(tree.path()) {
                assert!(first[&path] == content, "{} with {count} jobs", path.display());
            }
        }
    }

    #[test]
    fn bytecode_names_no_place_and_python_takes_it() {
        let tree = tree();
        compiled(tree.path(), 2);
        let top = tree.path().to_str().unwrap();
        for (path, content) in bytecode(tree.path()) {
            assert_eq!(content[4..8], [3, 0, 0, 0], "checked hash in {}", path.display());
            assert!(!content.windows(top.len()).any(|part| part == top.as_bytes()), "{}", path.display());
        }
        // Python must load it from the cache, and show the real file name.
        let script = "import sys; sys.path.insert(0, sys.argv[1]); sys.dont_write_bytecode = True\n\
                      import importlib.machinery as m, p0.m0\n\
                      def no(*a): raise SystemExit('compiled again')\n\
                      m.SourceFileLoader.source_to_code = no\n\
                      import p1.m1; print(p1.m1.A.B.f.__code__.co_filename)";
        let shown = python(&["-c", script, &format!("{top}/site")]);
        assert_eq!(shown, format!("{top}/site/p1/m1.py"));
    }

    #[test]
    fn stale_bytecode_is_replaced() {
        let tree = tree();
        compiled(tree.path(), 2);
        let right = bytecode(tree.path());
        for path in right.keys() {
            fs::write(tree.path().join(path), "stale").unwrap();
        }
        compiled(tree.path(), 1);
        assert_eq!(bytecode(tree.path()), right);
    }

    #[test]
    fn a_wrong_interpreter_is_an_error() {
        let tree = tree();
        let layout = Layout::canonical("3.2".parse().unwrap());
        let host = Host { tree: tree.path().to_owned(), reversed: false };
        let error = compile(tree.path(), &["site".to_owned()], &layout, jobs(2), &host, &Silent).unwrap_err();
        assert!(error.output().unwrap().contains("cpython-32"), "{error}");
        assert!(bytecode(tree.path()).is_empty());
    }

    #[test]
    fn modules_of_the_tree_are_not_run() {
        let tree = tree();
        write(&tree, "json.py", "raise SystemExit('hijacked')\n");
        write(&tree, "sitecustomize.py", "raise SystemExit('hijacked')\n");
        assert_eq!(compiled(tree.path(), 1).files, 61);
    }
}
