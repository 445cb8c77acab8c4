//! What is to be built: a folder with a `uv.lock`, or a release whose lock is compiled in.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Order, PipelineError};
use crate::digest::Sha256;
use crate::lock::project::Project as UvProject;
use crate::lock::sidecar::{self, Sidecar};
use crate::lock::uv::UvLock;
use crate::plan::{Roots, Selection};
use crate::recipe::{Provider, Recipe};
use crate::request::PythonVersion;
use crate::vendored;

/// What a person named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A folder with a `uv.lock`.
    Folder(PathBuf),
    /// A release that akb knows, such as `authentik-deps@2026.2.0`.
    Known(String),
    /// A sidecar lock alone, and its recipe: enough for all that is not local.
    Lock(PathBuf),
}

/// Everything that is known of the subject before anything is fetched.
#[derive(Clone, Debug)]
pub struct Project {
    /// For people: the known name, or the folder's.
    pub name: String,
    /// What of the lock is wanted.
    pub selection: Selection,
    /// The recipe; empty where there is none.
    pub recipe: Recipe,
    /// The project's lock; `None` for known releases, whose sidecar lock is whole.
    pub uv: Option<(UvLock, UvProject)>,
    /// The sidecar lock, if there is one.
    pub sidecar: Option<Sidecar>,
    /// The folder that local sources are relative to.
    pub folder: PathBuf,
    /// Where a sidecar lock that is made is written.
    pub sidecar_path: PathBuf,
    /// Digest of the locks and the recipe that a sidecar lock is made from.
    pub source: Sha256,
    /// Who gives Python and compilers.
    pub provider: Provider,
    /// The suite of the archive.
    pub suite: Option<String>,
    /// The interpreter that is wanted; `None` leaves it to the lock.
    pub python: Option<PythonVersion>,
}

impl Project {
    /// Reads what `order` names.
    pub fn open(order: &Order) -> Result<Self, PipelineError> {
        match &order.subject {
            Subject::Folder(folder) => Self::in_folder(folder, order),
            Subject::Known(name) => Self::known(name, order),
            Subject::Lock(path) => Self::of_lock(path, order),
        }
    }

    fn in_folder(folder: &Path, order: &Order) -> Result<Self, PipelineError> {
        let (lock, uv_project) = crate::lock::open(folder)?;
        let recipe = match &order.recipe {
            Some(path) => Recipe::parse(&read(path)?, path)?,
            None => of_folder(folder)?,
        };
        let text = read(&folder.join("uv.lock"))?;
        let sidecar_path = order.lock.clone().unwrap_or_else(|| folder.join("akb.lock"));
        let sidecar = read_sidecar(&sidecar_path)?;
        let python = order.python.or(recipe.project.python).or_else(|| pinned_python(folder));
        let python = match (python, &sidecar) {
            (None, Some(sidecar)) => Some(sidecar.target.python),
            (None, None) => crate::plan::only_python(&lock, &uv_project),
            (python, _) => python,
        };
        let base = folder.file_name().map_or_else(|| "project".into(), |name| name.to_string_lossy().into_owned());
        let root = lock.root().map(|root| match &root.version {
            Some(version) => format!("{} {version}", root.name),
            None => root.name.clone(),
        });
        Ok(Self {
            name: root.unwrap_or(base),
            selection: selection(&order.selection, &recipe),
            source: sidecar::source_digest(&text, &recipe),
            provider: order.provider.or(recipe.inputs.provider).unwrap_or(Provider::Debian),
            suite: order.suite.clone().or_else(|| recipe.inputs.suite.clone()),
            recipe,
            uv: Some((lock, uv_project)),
            sidecar,
            folder: folder.to_owned(),
            sidecar_path,
            python,
        })
    }

    fn of_lock(path: &Path, order: &Order) -> Result<Self, PipelineError> {
        let sidecar = Sidecar::parse(&read(path)?, path)?;
        let recipe = match &order.recipe {
            Some(path) => Recipe::parse(&read(path)?, path)?,
            None => Recipe::default(),
        };
        Ok(Self {
            name: "project".to_owned(),
            selection: order.selection.clone(),
            source: sidecar.source,
            provider: order.provider.or(recipe.inputs.provider).unwrap_or(Provider::Debian),
            suite: order.suite.clone().or_else(|| recipe.inputs.suite.clone()),
            recipe,
            uv: None,
            python: Some(sidecar.target.python),
            sidecar: Some(sidecar),
            folder: path.parent().unwrap_or(Path::new("/")).to_owned(),
            sidecar_path: path.to_owned(),
        })
    }

    fn known(name: &str, order: &Order) -> Result<Self, PipelineError> {
        let known = vendored::find(name)?;
        let beside = beside(&order.out);
        // Pins that a former build had to take anew are preferred: they are the ones that exist.
        let recorded = read_sidecar(&beside)?.filter(|recorded| recorded.source == known.sidecar.source);
        let recipe = match &order.recipe {
            Some(path) => Recipe::parse(&read(path)?, path)?,
            None => known.recipe,
        };
        Ok(Self {
            name: known.name,
            selection: order.selection.clone(),
            source: known.sidecar.source,
            provider: order.provider.or(recipe.inputs.provider).unwrap_or(Provider::Debian),
            suite: order.suite.clone().or_else(|| recipe.inputs.suite.clone()),
            python: Some(known.sidecar.target.python),
            recipe,
            uv: None,
            sidecar: Some(recorded.unwrap_or(known.sidecar)),
            folder: order.out.parent().unwrap_or(Path::new("/")).to_owned(),
            sidecar_path: beside,
        })
    }

    /// The names of all packages in the lock, also of those that this target leaves out.
    pub fn names(&self) -> BTreeSet<String> {
        match (&self.uv, &self.sidecar) {
            (Some((lock, _)), _) => lock.packages.iter().map(|package| package.name.clone()).collect(),
            (None, Some(sidecar)) => sidecar.packages.iter().map(|package| package.name.clone()).collect(),
            (None, None) => BTreeSet::new(),
        }
    }

    /// The version of every package in the lock that has just one.
    pub fn versions(&self) -> BTreeMap<String, String> {
        let mut versions = BTreeMap::new();
        let mut several = BTreeSet::new();
        for package in self.uv.iter().flat_map(|(lock, _)| &lock.packages) {
            if let Some(version) = &package.version
                && versions.insert(package.name.clone(), version.clone()).is_some()
            {
                several.insert(package.name.clone());
            }
        }
        versions.retain(|name, _| !several.contains(name));
        versions
    }
}

/// What flags say wins over what the recipe says.
fn selection(flags: &Selection, recipe: &Recipe) -> Selection {
    let mut selection = flags.clone();
    let said = &recipe.project;
    if let (Roots::Default, Some(package)) = (&selection.roots, &said.package) {
        selection.roots = Roots::Named(BTreeSet::from([package.clone()]));
    }
    selection.extras.names.extend(said.extras.iter().cloned());
    selection.groups.names.extend(said.groups.iter().cloned());
    selection.deps_only |= said.deps_only;
    selection
}

/// `akb.toml` of a folder, else `[tool.akb]` of its `pyproject.toml`, else an empty recipe.
fn of_folder(folder: &Path) -> Result<Recipe, PipelineError> {
    for name in ["akb.toml", "pyproject.toml"] {
        let path = folder.join(name);
        if path.is_file() {
            return Ok(Recipe::parse(&read(&path)?, &path)?);
        }
    }
    Ok(Recipe::default())
}

/// The lock beside a tree: `result.lock` for `result`.
fn beside(out: &Path) -> PathBuf {
    let mut name = out.file_name().unwrap_or_default().to_owned();
    name.push(".lock");
    out.with_file_name(name)
}

/// What `.python-version` says, as uv and pyenv read it.
fn pinned_python(folder: &Path) -> Option<PythonVersion> {
    let text = fs::read_to_string(folder.join(".python-version")).ok()?;
    text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'))?.parse().ok()
}

fn read_sidecar(path: &Path) -> Result<Option<Sidecar>, PipelineError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(Sidecar::parse(&text, path)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(PipelineError::Io { doing: "read", path: path.to_owned(), source }),
    }
}

pub(super) fn read(path: &Path) -> Result<String, PipelineError> {
    fs::read_to_string(path).map_err(|source| PipelineError::Io { doing: "read", path: path.to_owned(), source })
}
