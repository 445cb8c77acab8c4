//! Why a lock gives no plan.

use crate::explain::{ExitCode, Explain};

/// A lock, a target and a selection that do not go together.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The project forbids this Python.
    #[error("{} requires Python {requires}, the target has {python}", project.as_ref().map_or("the lock".into(), |name| format!("`{name}`")))]
    Python {
        /// Name of the project.
        project: Option<String>,
        /// What it requires.
        requires: String,
        /// What the target has.
        python: String,
    },
    /// The lock was made for other environments.
    #[error("the lock was made only for {}, which {target} is not", .supported.join(" or "))]
    Environment {
        /// The lock's markers.
        supported: Vec<String>,
        /// The target.
        target: String,
    },
    /// Something that was asked for does not exist.
    #[error("there is no {kind} `{name}`{}", list(", only ", known))]
    Unknown {
        /// What it would be: workspace member, extra, dependency group.
        kind: &'static str,
        /// Its name.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// Parts that cannot be active together are.
    #[error("{} cannot be installed together: the project declares that they conflict", .items.join(" and "))]
    Conflict {
        /// The parts.
        items: Vec<String>,
    },
    /// Each set of active extras asks for another one.
    #[error("the conflict markers of the lock contradict each other")]
    Unsettled,
    /// Two packages of one name hold for the target.
    #[error("{} of `{name}` hold for the same target", .versions.join(" and "))]
    Several {
        /// The package.
        name: String,
        /// Versions, or sources where the versions are equal.
        versions: Vec<String>,
    },
    /// The lock has nothing for a name that it requires.
    #[error("the lock requires `{name}` but has no such package for the target")]
    Missing {
        /// The package.
        name: String,
    },
    /// No file of a package can be used.
    #[error("no file of `{name}` {version} can be used: {fault}")]
    NoFile {
        /// The package.
        name: String,
        /// Its version.
        version: String,
        /// Why.
        fault: Box<Fault>,
    },
    /// The lock's hash of a file cannot be checked.
    #[error("`{file}` of `{name}` has {}, expected sha256", found.as_ref().map_or("no hash".into(), |hash| format!("the hash `{hash}`")))]
    Hash {
        /// The package.
        name: String,
        /// The file.
        file: String,
        /// What the lock has.
        found: Option<String>,
    },
    /// A kind of source that akb cannot get.
    #[error("`{name}` comes from {what}, which akb cannot get")]
    Unsupported {
        /// The package.
        name: String,
        /// The kind of source.
        what: &'static str,
    },
    /// Nothing is left to install.
    #[error("nothing is left to install for {target}: markers exclude {}", .excluded.join(", "))]
    Nothing {
        /// The target.
        target: String,
        /// Packages and their markers.
        excluded: Vec<String>,
    },
}

/// Why no file of a package can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Wheels for other targets, and no source distribution.
    #[error("it has no source distribution, and {}", unfit(.target, .wanted, .wheels))]
    NoWheel {
        /// The target.
        target: String,
        /// Best tags.
        wanted: String,
        /// The wheels that there are.
        wheels: Vec<String>,
    },
    /// Wheels are forbidden, and there is nothing else.
    #[error("wheels are forbidden by no-binary, and it has no source distribution")]
    NoBinary,
    /// Building is forbidden, and no wheel fits.
    #[error("building is forbidden by no-build, and {}", unfit(.target, .wanted, .wheels))]
    NoBuild {
        /// The target.
        target: String,
        /// Best tags.
        wanted: String,
        /// The wheels that there are.
        wheels: Vec<String>,
    },
    /// Both are forbidden.
    #[error("both wheels (no-binary) and building (no-build) are forbidden")]
    Neither,
    /// The lock lists no file at all.
    #[error("the lock lists neither a wheel nor a source distribution")]
    Nothing,
}

fn list(before: &str, names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!("{before}{}", names.join(", ")) }
}

fn unfit(target: &str, wanted: &str, files: &[String]) -> String {
    const SHOWN: usize = 12;
    let list = match files.len() {
        0 => return "it has no wheel".into(),
        count if count > SHOWN => format!("{} and {} more", files[..SHOWN].join(", "), count - SHOWN),
        _ => files.join(", "),
    };
    format!("none of its wheels runs on {target} (tags wanted: {wanted}, or an older one): {list}")
}

impl Explain for PlanError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Python { requires, .. } => format!("choose a Python within {requires}: --python X.Y"),
            Self::Environment { .. } => {
                "choose another --python or --platform, or widen `environments` under [tool.uv] and run `uv lock`".into()
            }
            Self::Unknown { kind, known, .. } if known.is_empty() => format!("the selected projects define no {kind}"),
            Self::Unknown { .. } => return None,
            Self::Conflict { .. } => "leave one of them out: --extra, --group and --package name what is wanted".into(),
            Self::Unsettled | Self::Missing { .. } => "make the lock anew with `uv lock`".into(),
            Self::Several { .. } => {
                "make the lock anew with `uv lock`, or declare the parts that need different versions as `conflicts` under [tool.uv]".into()
            }
            Self::NoFile { name, fault, .. } => fault.hint(name),
            Self::Hash { .. } => "make the lock anew with `uv lock` from an index that gives sha256".into(),
            Self::Unsupported { name, .. } => {
                format!("replace it by a release: [override.{name}] in akb.toml, or another source under [tool.uv.sources]")
            }
            Self::Nothing { .. } => "choose another --python or --platform".into(),
        })
    }

    fn exit_code(&self) -> ExitCode {
        ExitCode::Usage
    }
}

impl Fault {
    fn hint(&self, name: &str) -> String {
        match self {
            Self::NoWheel { .. } => {
                format!("choose another --python or --platform, or another version or a git source for `{name}`")
            }
            Self::NoBinary => {
                format!("take `{name}` out of no-binary-package under [tool.uv], or give it a git source")
            }
            Self::NoBuild { .. } => {
                format!("take `{name}` out of no-build-package under [tool.uv] (no-build forbids all)")
            }
            Self::Neither => format!("take `{name}` out of no-binary-package or no-build-package under [tool.uv]"),
            Self::Nothing => "make the lock anew with `uv lock`".into(),
        }
    }
}
