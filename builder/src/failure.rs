//! What a command failed with, and how a person and a program are told.

use std::fmt::Write as _;

use akb::explain::{ExitCode, Explain};

/// A failed command: message, causes, next step, and what a child printed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    pub(crate) output: Option<String>,
    pub(crate) code: ExitCode,
}

impl<E: Explain> From<E> for Failure {
    fn from(error: E) -> Self {
        Self {
            message: chain(&error),
            hint: error.hint(),
            output: error.output().map(str::to_owned),
            code: error.exit_code(),
        }
    }
}

impl Failure {
    /// A wrong command line or file of the user's.
    pub(crate) fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: Some(hint.into()), output: None, code: ExitCode::Usage }
    }

    /// A file of the user's that could not be read or written.
    pub(crate) fn io(doing: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        Self {
            message: format!("cannot {doing} `{}`: {error}", path.display()),
            hint: None,
            output: None,
            code: ExitCode::Failed,
        }
    }

    /// The lines for standard error: the end of the child's output, the message, the next step.
    pub(crate) fn render(&self, bold: impl Fn(&str, &str) -> String) -> String {
        const SHOWN: usize = 40;
        let mut text = String::new();
        if let Some(output) = &self.output {
            let lines: Vec<&str> = output.lines().collect();
            let skipped = lines.len().saturating_sub(SHOWN);
            if skipped > 0 {
                let _ = writeln!(text, "  … {skipped} lines before these");
            }
            for line in &lines[skipped..] {
                let _ = writeln!(text, "  │ {line}");
            }
        }
        let _ = writeln!(text, "{} {}", bold("31", "error:"), self.message);
        if let Some(hint) = &self.hint {
            let mut lines = hint.lines();
            let _ = writeln!(text, "{} {}", bold("36", " hint:"), lines.next().unwrap_or_default());
            for line in lines {
                let _ = writeln!(text, "       {line}");
            }
        }
        text
    }
}

/// The message and its causes, each said once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.contains(&message) {
            let _ = write!(text, ": {message}");
        }
        cause = error.source();
    }
    text
}
