//! The recipe: what a person says about a build beyond its lock. `akb.toml`, or `[tool.akb]` in `pyproject.toml`.
//!
//! ```toml
//! [project]                      # what to build; the command line wins over it
//! python = "3.14"
//! deps-only = true               # the dependencies, without the project itself
//!
//! [inputs]                       # where Python, compilers and libraries come from
//! provider = "debian"
//! suite = "forky"
//! packages = ["libxml2-dev"]
//!
//! [package.lxml]                 # one package of the lock
//! from-source = true
//! cflags = ["-Wno-error=incompatible-pointer-types"]
//!
//! [install.winners]              # two packages ship this file: whose it is
//! "docs/Makefile" = "pyrad"
//!
//! [[substitute]]                 # files that become something else; see [`crate::substitute`]
//! package = "pysaml2"
//! files = ["saml2/sigver.py"]
//! replace = "/opt/local/bin"
//! with = "/usr/bin"
//! ```
//!
//! An unknown key is an error: a recipe that is ignored in part would build something else than it says.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Serialize};

use crate::digest::Sha256;
use crate::explain::{ExitCode, Explain};
use crate::request::PythonVersion;

mod apply;
mod check;
pub(crate) mod nearest;
mod substitute;

pub use apply::{Applied, ApplyError, Pending};
pub use substitute::{Decimal, Format, Key, Mode, Scalar, SubstituteRecipe, Unknown};

/// Everything that a recipe can say. All of it is optional.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Recipe {
    /// What to build.
    pub project: ProjectRecipe,
    /// Where Python, compilers and libraries come from.
    pub inputs: InputsRecipe,
    /// What differs for one package, by its name. Normalised (PEP 503) when it is read.
    pub package: BTreeMap<String, PackageRecipe>,
    /// How files come together in the site.
    pub install: InstallRecipe,
    /// What `akb verify` may pass over.
    pub verify: VerifyRecipe,
    /// What relinking may pass over.
    pub relink: RelinkRecipe,
    /// Files that become something else once the packages are installed.
    pub substitute: Vec<SubstituteRecipe>,
}

/// `[project]`: what to build. A flag on the command line wins over it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ProjectRecipe {
    /// Interpreter version, such as `3.14`.
    pub python: Option<PythonVersion>,
    /// The workspace member to build; its root where it is not said.
    pub package: Option<String>,
    /// Extras of that package.
    pub extras: Vec<String>,
    /// Dependency groups (PEP 735) that are installed too.
    pub groups: Vec<String>,
    /// Only the dependencies: neither the project nor other members of its workspace.
    pub deps_only: bool,
}

/// `[inputs]`: where Python, compilers and libraries come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct InputsRecipe {
    /// Who gives them. The default is `debian`.
    pub provider: Option<Provider>,
    /// The suite of the Debian archive, such as `forky`.
    pub suite: Option<String>,
    /// Packages beyond those that every build gets (interpreter, compiler), such as `libxml2-dev`.
    pub packages: Vec<String>,
}

/// A provider of inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// Packages of a Debian archive, unpacked apart from the host.
    Debian,
    /// What is installed on this machine.
    Host,
}

impl Provider {
    /// The word for it in recipes and locks.
    pub fn name(self) -> &'static str {
        match self {
            Self::Debian => "debian",
            Self::Host => "host",
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// `[package.NAME]`: what differs for one package.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct PackageRecipe {
    /// Take this version from the index instead of what the lock says.
    pub version: Option<String>,
    /// With `version`: exactly this file of it.
    pub file: Option<String>,
    /// With `file`: its hash.
    pub sha256: Option<Sha256>,
    /// Take it from this git repository instead of what the lock says.
    pub git: Option<String>,
    /// With `git`: the full object name of the commit.
    pub rev: Option<String>,
    /// With `git`: the folder inside the repository.
    pub subdirectory: Option<String>,
    /// Take it from this folder or archive instead, relative to the recipe.
    pub path: Option<String>,
    /// Build it from its source distribution, even where the lock has a wheel for the target.
    pub from_source: bool,
    /// Build requirements beyond those that the package declares (PEP 508).
    pub build_requires: Vec<String>,
    /// C compiler flags, added after the interpreter's own.
    pub cflags: Vec<String>,
    /// Preprocessor flags, added after the interpreter's own.
    pub cppflags: Vec<String>,
    /// Linker flags, added after the interpreter's own.
    pub ldflags: Vec<String>,
    /// Environment of its build.
    pub env: BTreeMap<String, String>,
    /// What its build backend is told (PEP 517).
    pub config_settings: BTreeMap<String, ConfigSetting>,
    /// Input packages that it needs, in addition to `inputs.packages`.
    pub inputs: Vec<String>,
    /// Libraries that it opens by name at run time: no ELF header says that they are needed.
    pub dlopen: Vec<String>,
}

/// The value of a config setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ConfigSetting {
    /// Said once.
    One(String),
    /// Said several times.
    Many(Vec<String>),
}

impl ConfigSetting {
    /// Its values in their order.
    pub fn values(&self) -> &[String] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Many(values) => values,
        }
    }
}

/// `[install]`: how files come together in the site.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct InstallRecipe {
    /// The package whose file stays where several ship one of the same path (relative to the site) with
    /// different contents.
    pub winners: BTreeMap<String, String>,
}

/// `[verify]`: what `akb verify` may pass over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct VerifyRecipe {
    /// Modules that cannot be imported on their own (dotted names).
    pub skip_import: Vec<String>,
}

/// `[relink]`: what relinking may pass over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct RelinkRecipe {
    /// Libraries that may be missing and are never taken from the inputs, such as those of a driver that only the
    /// target machine has: `SONAME` or `FILES:SONAME` with `*` and `?`, where FILES is a package, a file name or a
    /// path.
    pub ignore: Vec<String>,
    /// Libraries that are used where the inputs have them, and may be missing; written alike.
    pub optional: Vec<String>,
    /// Folders that end the search paths of files, by FILES.
    pub runpath: BTreeMap<String, Vec<String>>,
    /// Whether search paths name the folder of the C library even if the dynamic linker knows it.
    pub keep_libc: bool,
}

/// A recipe that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// It could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A folder has both.
    #[error("{} has an akb.toml and a pyproject.toml with [tool.akb]: which one counts?", folder.display())]
    Both {
        /// The folder.
        folder: PathBuf,
    },
    /// Not TOML, an unknown key, or a value of another type.
    #[error("{}: {message}", place(path, *line))]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, counted from one, where it is known.
        line: Option<usize>,
        /// What is wrong.
        message: String,
        /// The key that was probably meant.
        meant: Option<String>,
    },
    /// A value that no build can follow.
    #[error("{}: {key}: expected {expected}, found `{found}`", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The key, dotted.
        key: String,
        /// What would be right.
        expected: String,
        /// What it says.
        found: String,
        /// The line to write instead.
        hint: Option<String>,
    },
    /// Keys that exclude each other, or one that needs another.
    #[error("{}: package.{package}: {message}", path.display())]
    Combination {
        /// The file.
        path: PathBuf,
        /// The package.
        package: String,
        /// What is wrong.
        message: String,
    },
}

fn place(path: &Path, line: Option<usize>) -> String {
    line.map_or_else(|| path.display().to_string(), |line| format!("{}:{line}", path.display()))
}

impl Explain for RecipeError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Syntax { meant, .. } => meant.as_ref().map(|key| format!("did you mean `{key}`?")),
            Self::Value { hint, .. } => hint.clone(),
            Self::Both { .. } => Some("keep one of them".to_owned()),
            Self::Read { .. } | Self::Combination { .. } => None,
        }
    }

    fn exit_code(&self) -> ExitCode {
        ExitCode::Usage
    }
}

/// `pyproject.toml`, of which only `[tool.akb]` is akb's.
#[derive(Deserialize)]
struct PyProject {
    tool: Option<Tool>,
}

#[derive(Deserialize)]
struct Tool {
    akb: Option<Recipe>,
}

impl Recipe {
    /// Reads `akb.toml`, or `[tool.akb]` where `path` is a `pyproject.toml`; `path` is for messages only.
    ///
    /// # Errors
    /// Text that is not TOML, keys that do not exist, values that no build can follow.
    pub fn parse(text: &str, path: &Path) -> Result<Self, RecipeError> {
        let recipe = if path.file_name().is_some_and(|name| name == "pyproject.toml") {
            toml::from_str::<PyProject>(text).map(|project| project.tool.and_then(|tool| tool.akb).unwrap_or_default())
        } else {
            toml::from_str(text)
        };
        recipe.map_err(|error| syntax(text, path, &error)).and_then(|recipe| check::check(recipe, path))
    }

    /// The recipe of a project's folder: its `akb.toml`, or `[tool.akb]` of its `pyproject.toml`; empty without either.
    ///
    /// # Errors
    /// Files that cannot be read or used, and recipes in both.
    pub fn of_folder(folder: &Path) -> Result<Self, RecipeError> {
        let mut found = Vec::new();
        for name in ["akb.toml", "pyproject.toml"] {
            let path = folder.join(name);
            match fs::read_to_string(&path) {
                Ok(text) => found.push(Self::parse(&text, &path)?),
                Err(error) if error.kind() == io::ErrorKind::NotFound => found.push(Self::default()),
                Err(source) => return Err(RecipeError::Read { path, source }),
            }
        }
        match (found.pop(), found.pop()) {
            (Some(project), Some(own)) if project == Self::default() => Ok(own),
            (Some(project), Some(own)) if own == Self::default() => Ok(project),
            _ => Err(RecipeError::Both { folder: folder.to_owned() }),
        }
    }

    /// What the recipe says of `package` (normalised name).
    pub fn package(&self, package: &str) -> Option<&PackageRecipe> {
        self.package.get(package)
    }

    /// Packages that are built from source even where the lock has a wheel.
    pub fn from_source(&self) -> impl Iterator<Item = &str> {
        self.package.iter().filter(|(_, package)| package.from_source).map(|(name, _)| name.as_str())
    }

    /// The input packages of the whole build: `inputs.packages` and those of every package, sorted.
    pub fn input_packages(&self) -> Vec<String> {
        let all = self.inputs.packages.iter().chain(self.package.values().flat_map(|package| &package.inputs));
        let mut all: Vec<String> = all.cloned().collect();
        all.sort();
        all.dedup();
        all
    }

    /// The libraries that some package opens by name at run time, sorted.
    pub fn dlopen(&self) -> Vec<String> {
        let mut all: Vec<String> = self.package.values().flat_map(|package| package.dlopen.clone()).collect();
        all.sort();
        all.dedup();
        all
    }

    /// The digest of all that can change what `akb lock` writes. Compiler flags, winners and checks
    /// cannot: changing them leaves a lock valid. Keys that are not said do not count, so that a later akb
    /// with more keys computes the same.
    pub fn lock_digest(&self) -> Sha256 {
        let mut text = String::new();
        for (key, values) in self.lock_relevant() {
            for value in values {
                let _ = writeln!(text, "{key} = {} {value}", value.len());
            }
        }
        Sha256::of(text.as_bytes())
    }

    fn lock_relevant(&self) -> BTreeMap<String, Vec<String>> {
        let mut all = BTreeMap::new();
        let mut add = |key: String, values: Vec<String>| all.insert(key, values);
        let project = &self.project;
        add("project.python".to_owned(), project.python.iter().map(ToString::to_string).collect());
        add("project.package".to_owned(), project.package.iter().cloned().collect());
        add("project.extras".to_owned(), project.extras.clone());
        add("project.groups".to_owned(), project.groups.clone());
        add("project.deps-only".to_owned(), project.deps_only.then(|| "true".to_owned()).into_iter().collect());
        add("inputs.provider".to_owned(), self.inputs.provider.iter().map(ToString::to_string).collect());
        add("inputs.suite".to_owned(), self.inputs.suite.iter().cloned().collect());
        add("inputs.packages".to_owned(), self.input_packages());
        for (name, package) in &self.package {
            for (key, values) in package.lock_relevant() {
                add(format!("package.{name}.{key}"), values);
            }
        }
        all
    }
}

impl PackageRecipe {
    /// Whether it takes the package from elsewhere than the lock says.
    pub fn replaces(&self) -> bool {
        self.version.is_some() || self.git.is_some() || self.path.is_some()
    }

    /// What decides where it comes from and what it asks for to be built.
    fn lock_relevant(&self) -> Vec<(&'static str, Vec<String>)> {
        let one = |value: &Option<String>| value.iter().cloned().collect();
        let settings = self
            .config_settings
            .iter()
            .flat_map(|(key, value)| value.values().iter().map(move |value| format!("{key}={value}")));
        vec![
            ("version", one(&self.version)),
            ("file", one(&self.file)),
            ("sha256", self.sha256.iter().map(ToString::to_string).collect()),
            ("git", one(&self.git)),
            ("rev", one(&self.rev)),
            ("subdirectory", one(&self.subdirectory)),
            ("path", one(&self.path)),
            ("from-source", self.from_source.then(|| "true".to_owned()).into_iter().collect()),
            ("build-requires", self.build_requires.clone()),
            ("env", self.env.iter().map(|(key, value)| format!("{key}={value}")).collect()),
            ("config-settings", settings.collect()),
        ]
    }
}

fn syntax(text: &str, path: &Path, error: &toml::de::Error) -> RecipeError {
    let line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
    RecipeError::Syntax {
        path: path.to_owned(),
        line,
        message: error.message().to_owned(),
        meant: nearest::meant(error.message()),
    }
}

#[cfg(test)]
mod tests;
