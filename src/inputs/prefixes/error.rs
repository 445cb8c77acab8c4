//! Why prefixes are no inputs.

use std::io;
use std::path::PathBuf;

use crate::explain::{ExitCode, Explain};
use crate::request::PythonVersion;
use crate::sandbox::SandboxError;
use crate::tree::TreeError;

/// Why prefixes are no inputs.
#[derive(Debug, thiserror::Error)]
pub enum PrefixError {
    /// It cannot be shown to a build.
    #[error("cannot use {} as a prefix: {reason}", path.display())]
    Unusable {
        /// The prefix, or a folder that was to be shown.
        path: PathBuf,
        /// Why.
        reason: &'static str,
    },
    /// No prefix has the interpreter.
    #[error("no prefix has bin/python{}; looked in {}{}", python.short(), shown(.looked), others(.found))]
    NoPython {
        /// What is wanted.
        python: PythonVersion,
        /// All folders of programs.
        looked: Vec<PathBuf>,
        /// Other versions that are there.
        found: Vec<PathBuf>,
    },
    /// Several prefixes have the interpreter, and they are not the same.
    #[error("several prefixes have Python {}: {}", python.short(), shown(.found))]
    SeveralPythons {
        /// What is wanted.
        python: PythonVersion,
        /// The programs.
        found: Vec<PathBuf>,
    },
    /// A program that calls itself `pythonX.Y` and is another.
    #[error("{} is Python {found}, expected {}", program.display(), expected.short())]
    OtherPython {
        /// The program.
        program: PathBuf,
        /// What is wanted.
        expected: PythonVersion,
        /// What it says of itself.
        found: String,
    },
    /// It is a script or a file of another machine.
    #[error("{} is no dynamically linked program for this machine", .0.display())]
    NotElf(PathBuf),
    /// The interpreter's C library is not in any folder that builds see.
    #[error("{} starts with {}, which is in none of the prefixes", program.display(), loader.display())]
    NoLibc {
        /// The interpreter.
        program: PathBuf,
        /// Its program interpreter (ld.so).
        loader: PathBuf,
    },
    /// The interpreter does not run.
    #[error("{} cannot say what it is: {reason}", program.display())]
    Mute {
        /// The program.
        program: PathBuf,
        /// Why.
        reason: String,
        /// What it wrote.
        output: String,
    },
    /// Something is compiled, and no prefix has a compiler.
    #[error("no prefix has a C compiler (cc, gcc or clang); looked in {}", shown(.looked))]
    NoCompiler {
        /// All folders of programs.
        looked: Vec<PathBuf>,
    },
    /// The compiler cannot make a program that runs.
    #[error("{} cannot make a program that runs here", program.display())]
    Compiler {
        /// The compiler.
        program: PathBuf,
        /// All attempts, and what came of them.
        output: String,
    },
    /// Something is compiled, and the compiler finds no `Python.h`.
    #[error("{} does not find Python.h of Python {}; looked in {}", program.display(), python.short(), shown(.looked))]
    NoHeader {
        /// The compiler.
        program: PathBuf,
        /// The interpreter.
        python: PythonVersion,
        /// All folders of headers.
        looked: Vec<PathBuf>,
        /// What it wrote.
        output: String,
    },
    /// A tool has to be wrapped, and no prefix has a shell for that.
    #[error("{} has to be wrapped, and no prefix has a shell for that (bin/sh or bin/bash)", program.display())]
    NoShell {
        /// What has to be wrapped.
        program: PathBuf,
    },
    /// The sandbox that the interpreter is asked in failed.
    #[error("cannot ask {}: {source}", program.display())]
    Sandbox {
        /// The interpreter.
        program: PathBuf,
        /// Why.
        #[source]
        source: SandboxError,
    },
    /// A folder could not be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Explain for PrefixError {
    fn hint(&self) -> Option<String> {
        let python_attribute = |python: &PythonVersion| format!("python{}{}", python.major, python.minor);
        Some(match self {
            Self::NoPython { python, .. } | Self::OtherPython { expected: python, .. } => format!(
                "add Python {0} to the inputs: pkgs.{1} of nixpkgs, or python{0} of Debian made into a prefix by akb",
                python.short(),
                python_attribute(python)
            ),
            Self::SeveralPythons { .. } => "leave all but one of them out of the inputs".to_owned(),
            Self::NotElf(_) => "name the interpreter's own prefix, not that of a script which starts it".to_owned(),
            Self::NoLibc { .. } => "a Python that was made for another folder is no prefix: take one that runs where \
                                    it stands, add its C library, or use --inputs host"
                .to_owned(),
            Self::NoCompiler { .. } => {
                "add a compiler to the inputs: pkgs.stdenv.cc of nixpkgs, or gcc of Debian made into a prefix by akb"
                    .to_owned()
            }
            Self::Compiler { .. } => "name a compiler that knows its C library (pkgs.stdenv.cc, not pkgs.gcc.cc), or \
                                      add the prefixes with the C library's headers, its start files (crt1.o) and \
                                      an assembler"
                .to_owned(),
            Self::NoHeader { python, .. } => format!(
                "add the headers to the inputs: pkgs.{} of nixpkgs, or libpython{}-dev of Debian",
                python_attribute(python),
                python.short()
            ),
            Self::NoShell { .. } => "add a shell to the inputs: pkgs.bash of nixpkgs, or dash of Debian".to_owned(),
            Self::Sandbox { source, .. } => return source.hint(),
            Self::Tree(error) => return error.hint(),
            Self::Unusable { .. } | Self::Mute { .. } | Self::Read { .. } => return None,
        })
    }

    fn output(&self) -> Option<&str> {
        match self {
            Self::Mute { output, .. } | Self::Compiler { output, .. } | Self::NoHeader { output, .. } => Some(output),
            Self::Sandbox { source, .. } => source.output(),
            _ => None,
        }
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Sandbox { source, .. } => source.exit_code(),
            Self::Tree(_) | Self::Read { .. } => ExitCode::Failed,
            _ => ExitCode::Usage,
        }
    }
}

fn shown(paths: &[PathBuf]) -> String {
    match paths {
        [] => "no folder".to_owned(),
        paths => paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "),
    }
}

fn others(found: &[PathBuf]) -> String {
    if found.is_empty() { String::new() } else { format!("; found {}", shown(found)) }
}
