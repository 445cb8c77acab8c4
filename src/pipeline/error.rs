//! One error for the whole build: the stage's own, as it is.

use std::io;
use std::path::PathBuf;

use crate::explain::{ExitCode, Explain};
use crate::request::PythonVersion;

/// Why a build ended.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant is the error of the stage that it names")]
pub enum PipelineError {
    #[error(transparent)]
    Lock(#[from] crate::lock::LockError),
    #[error(transparent)]
    Recipe(#[from] crate::recipe::RecipeError),
    #[error(transparent)]
    Apply(#[from] crate::recipe::ApplyError),
    #[error(transparent)]
    Vendored(#[from] crate::vendored::UnknownRelease),
    #[error(transparent)]
    Sidecar(#[from] crate::lock::sidecar::SidecarError),
    #[error(transparent)]
    Drift(#[from] crate::lock::sidecar::Drift),
    #[error(transparent)]
    Plan(#[from] crate::plan::PlanError),
    #[error(transparent)]
    Make(#[from] crate::lock::make::MakeError),
    #[error(transparent)]
    Index(#[from] crate::index::IndexError),
    #[error(transparent)]
    Fetch(#[from] crate::fetch::FetchError),
    #[error(transparent)]
    Git(#[from] crate::git::GitError),
    #[error(transparent)]
    Cache(#[from] crate::cache::CacheError),
    #[error(transparent)]
    Unpack(#[from] crate::unpack::UnpackError),
    #[error(transparent)]
    Debian(#[from] crate::inputs::debian::DebianError),
    #[error(transparent)]
    Host(#[from] crate::inputs::host::HostError),
    #[error(transparent)]
    Wheel(#[from] crate::wheel::WheelError),
    #[error(transparent)]
    Install(#[from] crate::install::InstallError),
    #[error(transparent)]
    Substitute(#[from] crate::substitute::SubstituteError),
    #[error(transparent)]
    References(#[from] crate::references::ReferencesError),
    #[error(transparent)]
    Relocate(#[from] crate::inputs::debian::relocate::RelocateError),
    #[error(transparent)]
    Runtime(#[from] crate::runtime::RuntimeError),
    #[error(transparent)]
    Relink(#[from] crate::relink::RelinkError),
    #[error(transparent)]
    Bytecode(#[from] crate::bytecode::BytecodeError),
    #[error(transparent)]
    Place(#[from] crate::place::PlaceError),
    #[error(transparent)]
    Tree(#[from] crate::tree::TreeError),
    /// A file could not be read or written.
    #[error("cannot {doing} `{}`: {source}", path.display())]
    Io {
        /// `read` or `write`.
        doing: &'static str,
        /// Which.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Nothing says which Python is wanted.
    #[error("the project runs on several Pythons, and none was named")]
    NoPython,
    /// Nobody gives Python and compilers for this machine.
    #[error("there are no inputs for a machine of the kind {machine}")]
    Machine {
        /// Its architecture, by Rust's name.
        machine: &'static str,
    },
    /// The plan is empty.
    #[error("nothing is left to build: no package of the lock holds for Python {python}")]
    Nothing {
        /// The interpreter.
        python: PythonVersion,
    },
    /// There is no lock, and none may be made.
    #[error("`{}` does not exist", path.display())]
    NotLocked {
        /// The sidecar lock.
        path: PathBuf,
    },
    /// The lock pins no input packages.
    #[error("`{}` pins no input packages", path.display())]
    NoPins {
        /// The sidecar lock.
        path: PathBuf,
    },
    /// The inputs are not those that the wheels were chosen for.
    #[error("{file} does not run on Python {} on {}, which is what the inputs ({inputs}) are", target.python, target.platform)]
    OtherTarget {
        /// The wheel.
        file: String,
        /// Description of the inputs.
        inputs: String,
        /// What they are.
        target: crate::request::Target,
    },
    /// A wheel that was handed over is not the one that the lock wants.
    #[error("the wheel in `{}` cannot be taken: {reason}", folder.display())]
    OtherWheel {
        /// Where it is.
        folder: PathBuf,
        /// What was expected and found.
        reason: String,
    },
    /// Nothing of this name is built.
    #[error("akb.lock builds no {name}; it builds {}", builds.join(", "))]
    NoSuchBuild {
        /// What was asked for.
        name: String,
        /// What is built.
        builds: Vec<String>,
    },
    /// A source differs from what the lock says of it.
    #[error("{name} at {revision} has the tree {found}; expected {expected}")]
    GitTree {
        /// The package.
        name: String,
        /// The commit.
        revision: String,
        /// NAR hash in the lock.
        expected: crate::digest::Sha256,
        /// NAR hash of what was fetched.
        found: crate::digest::Sha256,
    },
    /// The lock has a package that the plan says nothing of.
    #[error("akb.lock says how {name} is built, and nothing says where its sources are")]
    NoSource {
        /// The package.
        name: String,
    },
}

macro_rules! delegate {
    ($self:ident, $method:ident, $default:expr) => {
        match $self {
            Self::Lock(error) => error.$method(),
            Self::Recipe(error) => error.$method(),
            Self::Apply(error) => error.$method(),
            Self::Vendored(error) => error.$method(),
            Self::Sidecar(error) => error.$method(),
            Self::Drift(error) => error.$method(),
            Self::Plan(error) => error.$method(),
            Self::Make(error) => error.$method(),
            Self::Index(error) => error.$method(),
            Self::Fetch(error) => error.$method(),
            Self::Git(error) => error.$method(),
            Self::Cache(error) => error.$method(),
            Self::Unpack(error) => error.$method(),
            Self::Debian(error) => error.$method(),
            Self::Host(error) => error.$method(),
            Self::Wheel(error) => error.$method(),
            Self::Install(error) => error.$method(),
            Self::Substitute(error) => error.$method(),
            Self::References(error) => error.$method(),
            Self::Relocate(error) => error.$method(),
            Self::Runtime(error) => error.$method(),
            Self::Relink(error) => error.$method(),
            Self::Bytecode(error) => error.$method(),
            Self::Place(error) => error.$method(),
            Self::Tree(error) => error.$method(),
            _ => $default,
        }
    };
}

impl Explain for PipelineError {
    fn hint(&self) -> Option<String> {
        delegate!(
            self,
            hint,
            match self {
                Self::NoPython =>
                    Some("name one with --python 3.14, or with python = \"3.14\" under [project] in akb.toml".into()),
                Self::Nothing { .. } => Some(
                    "look at the markers in uv.lock with `akb plan`, or select more with --extra, --group or --package"
                        .into()
                ),
                Self::NotLocked { path } => Some(format!(
                    "make it with `akb lock {}` and keep it beside uv.lock, or build without --locked",
                    path.parent().unwrap_or(std::path::Path::new(".")).display()
                )),
                Self::OtherTarget { target, .. } => Some(format!(
                    "lock for what the inputs are: akb lock --python {} (glibc of the inputs: {}), or give inputs with a newer C library",
                    target.python.short(),
                    target.platform
                )),
                Self::OtherWheel { .. } => Some("build it anew with the lock, recipe and akb of this build".into()),
                Self::NoPins { .. } => Some("lock with --inputs debian, or give the build inputs of your own".into()),
                Self::GitTree { .. } => Some("if the new content is meant, lock it again with `akb lock`".into()),
                Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                    Some("free some room, then run the same command again".into())
                }
                _ => None,
            }
        )
    }

    fn output(&self) -> Option<&str> {
        delegate!(self, output, None)
    }

    fn exit_code(&self) -> ExitCode {
        delegate!(
            self,
            exit_code,
            match self {
                Self::NoPython
                | Self::Nothing { .. }
                | Self::NotLocked { .. }
                | Self::NoPins { .. }
                | Self::OtherTarget { .. }
                | Self::NoSource { .. }
                | Self::NoSuchBuild { .. } => ExitCode::Usage,
                Self::Machine { .. } => ExitCode::Machine,
                Self::GitTree { .. } => ExitCode::Integrity,
                Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => ExitCode::Machine,
                _ => ExitCode::Failed,
            }
        )
    }
}
