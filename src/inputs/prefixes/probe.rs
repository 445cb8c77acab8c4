//! Asks the interpreter and the compilers, in a sandbox that sees the prefixes as a build does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::PrefixError;
use crate::inputs::View;
use crate::sandbox::{self, Spec, Stream};

/// `python-shim/probe.py`.
const PROBE: &str = include_str!("../../../python-shim/probe.py");

/// A few short compilations; a program that hangs must end some time.
const TIME_LIMIT: Duration = Duration::from_mins(5);

/// An answer with more bytes is not believed.
const LONGEST_ANSWER: usize = 16 << 20;

/// What is asked.
#[derive(Debug, Default, Serialize)]
pub(super) struct Request {
    /// The interpreter's ld.so.
    pub(super) loader: PathBuf,
    /// Flags to try in turn until a compiler works.
    pub(super) attempts: Vec<Vec<String>>,
    /// Compilers to try.
    pub(super) compilers: Vec<Wanted>,
    /// Commands whose output is wanted.
    pub(super) questions: Vec<Vec<String>>,
}

/// A compiler to try.
#[derive(Debug, Serialize)]
pub(super) struct Wanted {
    pub(super) language: Language,
    pub(super) program: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) enum Language {
    #[serde(rename = "c")]
    C,
    #[serde(rename = "c++")]
    Cxx,
}

/// What was answered.
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    pub(super) version: (u8, u8, u8),
    pub(super) stdlib: PathBuf,
    pub(super) include: Vec<PathBuf>,
    pub(super) libc: Option<String>,
    pub(super) config: BTreeMap<String, String>,
    /// In the order of [`Request::compilers`].
    pub(super) compilers: Vec<Tried>,
    /// In the order of [`Request::questions`]; `None` where the command failed.
    pub(super) answers: Vec<Option<String>>,
}

/// What a compiler did.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Tried {
    /// The first attempt that worked.
    pub(super) flags: Option<Vec<String>>,
    /// Files that the linker took, as linkers print them.
    pub(super) trace: Vec<String>,
    /// Its folders of headers.
    pub(super) search: Vec<PathBuf>,
    /// Whether it finds `Python.h`.
    pub(super) headers: bool,
    /// What it wrote when it did not.
    pub(super) output: String,
}

/// Asks `python` in a sandbox with this view and environment.
pub(super) fn ask(
    python: &Path,
    view: &[View],
    env: BTreeMap<String, String>,
    request: &Request,
) -> Result<Answer, PrefixError> {
    let argv = [python.to_string_lossy().into_owned(), "-I".into(), "-S".into(), "-c".into(), PROBE.into()];
    let spec = Spec {
        view: view.to_owned(),
        writable: Vec::new(),
        env,
        cwd: "/tmp".into(),
        argv: argv.into(),
        stdin: serde_json::to_vec(request).unwrap_or_default(),
        time_limit: TIME_LIMIT,
    };
    let mute = |reason: String, output: &str| PrefixError::Mute {
        program: python.to_owned(),
        reason,
        output: output.to_owned(),
    };
    // Long lines come in pieces; an answer is one line.
    let mut said = String::new();
    let outcome = sandbox::run(&spec, &mut |stream, line| {
        if stream == Stream::Stdout && said.len() < LONGEST_ANSWER {
            said.push_str(line);
        }
    })
    .map_err(|source| PrefixError::Sandbox { program: python.to_owned(), source })?;
    if outcome.status != 0 {
        return Err(mute(format!("it ended with status {}", outcome.status), &outcome.output));
    }
    let answer: Answer = serde_json::from_str(&said).map_err(|error| mute(error.to_string(), &outcome.output))?;
    let asked = (request.compilers.len(), request.questions.len());
    if (answer.compilers.len(), answer.answers.len()) != asked || !answer.stdlib.is_absolute() {
        return Err(mute("it answers other questions than were asked".to_owned(), &said));
    }
    Ok(answer)
}
