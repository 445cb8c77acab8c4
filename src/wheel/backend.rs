//! One call of a build backend, in the sandbox.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::At as _;
use super::{BUILD_ROOT, Cause, WheelError};
use crate::inputs::{Inputs, View};
use crate::sandbox::{self, Outcome, Spec};

/// `python-shim/pep517.py`.
pub(super) const SHIM: &str = include_str!("../../python-shim/pep517.py");

/// The build environment.
pub(super) const ENV: &str = "/akb/build/env";
/// What setuptools reads beside a project's own `setup.cfg`.
pub(super) const DISTUTILS_CONFIG: &str = "/akb/build/shim/distutils.cfg";
const SHIM_FILE: &str = "/akb/build/shim/pep517.py";
const SHIM_FOLDER: &str = "/akb/build/shim";
/// Scripts of the inputs (see [`Inputs::tools`]).
pub(super) const TOOLS: &str = "/akb/build/shim/bin";
const OUT: &str = "/akb/build/out";
const ANSWER: &str = "answer.json";

/// Longer than any build that makes progress; a hanging one must end some time.
const TIME_LIMIT: Duration = Duration::from_hours(4);

/// An answer with more bytes is not read.
const LONGEST_ANSWER: u64 = 16 << 20;

/// Folders of one build on this machine.
pub(super) struct Room {
    /// A copy of the sources.
    pub(super) source: PathBuf,
    /// The build environment.
    pub(super) env: PathBuf,
    /// Where wheel and answer are written.
    pub(super) out: PathBuf,
    /// The shim's folder.
    pub(super) shim: PathBuf,
}

/// Folder of the project in the sandbox, by the name from [`super::Id::folder`].
pub(super) fn source_path(folder: &str) -> String {
    format!("{BUILD_ROOT}/{folder}")
}

/// What the shim is asked.
#[derive(Serialize)]
pub(super) struct Request<'a> {
    pub(super) action: &'static str,
    pub(super) nice: u8,
    pub(super) source: &'a str,
    pub(super) backend: &'a str,
    pub(super) backend_path: &'a [String],
    pub(super) config_settings: BTreeMap<&'a str, serde_json::Value>,
}

#[derive(Serialize)]
struct Envelope<'a> {
    #[serde(flatten)]
    request: &'a Request<'a>,
    out: &'static str,
    answer: String,
}

/// What the shim answers.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Answer {
    pub(super) wheel: Option<String>,
    pub(super) requires: Option<Vec<String>>,
    pub(super) flags: Option<BTreeMap<String, serde_json::Value>>,
    pub(super) error: Option<PythonError>,
}

/// An exception that ended a hook.
#[derive(Debug, Deserialize)]
pub(super) struct PythonError {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) name: Option<String>,
    pub(super) message: String,
}

/// Where a call happens, and how much it may do at once.
pub(super) struct Call<'a> {
    pub(super) inputs: &'a Inputs,
    pub(super) room: &'a Room,
    pub(super) env: BTreeMap<String, String>,
    /// Name of the project's folder in the sandbox.
    pub(super) folder: &'a str,
    pub(super) parallel: usize,
}

impl Room {
    /// Folders for one build below `scratch`. The caller fills `source` and `env`.
    pub(super) fn new(scratch: &Path, parallel: usize, inputs: &Inputs) -> Result<Self, WheelError> {
        let folder = |name: &str| scratch.join(name);
        let room = Self { source: folder("source"), env: folder("env"), out: folder("out"), shim: folder("shim") };
        for made in [&room.out, &room.shim] {
            fs::create_dir_all(made).at("create", made)?;
        }
        let config = format!("[build_ext]\nparallel = {parallel}\n");
        for (name, text) in [("pep517.py", SHIM), ("distutils.cfg", &config)] {
            let path = room.shim.join(name);
            fs::write(&path, text).at("write", &path)?;
        }
        let tools = room.shim.join("bin");
        fs::create_dir(&tools).at("create", &tools)?;
        for (name, text) in &inputs.tools {
            let path = tools.join(name);
            fs::write(&path, text).at("write", &path)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).at("change", &path)?;
        }
        Ok(room)
    }
}

impl Call<'_> {
    /// Runs the shim; `on_line` gets what the backend prints. The outcome comes with whatever answer there is.
    pub(super) fn run(
        &self,
        request: &Request<'_>,
        on_line: &mut dyn FnMut(&str),
    ) -> Result<(Outcome, Answer), sandbox::SandboxError> {
        let envelope = Envelope { request, out: OUT, answer: format!("{OUT}/{ANSWER}") };
        let spec = self.spec(serde_json::to_vec(&envelope).unwrap_or_default());
        let outcome = sandbox::run(&spec, &mut |_, line| on_line(line))?;
        let answer = self.answer().unwrap_or_default();
        Ok((outcome, answer))
    }

    fn spec(&self, stdin: Vec<u8>) -> Spec {
        let bind = |from: &Path, at: &str| View::Bind { from: from.to_owned(), at: at.into() };
        let mut view = self.inputs.view.clone();
        view.push(bind(&self.room.shim, SHIM_FOLDER));
        let venv = self.room.env.is_dir();
        if venv {
            view.push(bind(&self.room.env, ENV));
        }
        let python = if venv { PathBuf::from(ENV).join("bin/python") } else { self.inputs.python.clone() };
        let mut env = self.env.clone();
        for (name, value) in
            [("MAKEFLAGS", format!("-j{}", self.parallel)), ("CMAKE_BUILD_PARALLEL_LEVEL", self.parallel.to_string())]
        {
            env.entry(name.to_owned()).or_insert(value);
        }
        let mut writable = vec![(self.room.out.clone(), OUT.into())];
        let source = source_path(self.folder);
        let has_source = self.room.source.is_dir();
        if has_source {
            writable.push((self.room.source.clone(), source.clone().into()));
        }
        Spec {
            view,
            writable,
            env,
            cwd: if has_source { source.into() } else { "/".into() },
            argv: vec![python.to_string_lossy().into_owned(), SHIM_FILE.to_owned()],
            stdin,
            time_limit: TIME_LIMIT,
        }
    }

    /// What the shim wrote, taken as what it is: a file that the backend could have written, too.
    fn answer(&self) -> Option<Answer> {
        let path = self.room.out.join(ANSWER);
        let metadata = fs::symlink_metadata(&path).ok()?;
        if !metadata.is_file() || metadata.len() > LONGEST_ANSWER {
            return None;
        }
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }
}

/// Why a call failed, from its answer and output.
pub(super) fn cause(outcome: &Outcome, answer: &Answer) -> Cause {
    let error = answer.error.as_ref();
    let module = error.filter(|error| error.kind == "ModuleNotFoundError").and_then(|error| error.name.as_deref());
    if let Some(module) = module {
        return Cause::Module(module.to_owned());
    }
    let message = error.map(|error| match error.message.as_str() {
        "" => error.kind.clone(),
        message => format!("{}: {message}", error.kind),
    });
    Cause::find(&outcome.output, outcome.status, message.as_deref())
}
