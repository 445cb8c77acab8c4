//! Files become wheels: unpacked, or compiled and then unpacked.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rayon::prelude::*;
use url::Url;

use super::{Locked, PipelineError, Tools, staged};
use crate::cache::Cache;
use crate::digest::Sha256;
use crate::inputs::Inputs;
use crate::install::{DirectUrl, Wheel};
use crate::lock::sidecar::{Content, Locked as Entry, Reference};
use crate::plan::{Origin, Package};
use crate::recipe::{PackageRecipe, Recipe};
use crate::report::Stage;
use crate::unpack::{self, Limits};
use crate::wheel::{self, Built, Id, Job, Native, Requirement, Workshop};

/// A source folder or archive of the project's own.
pub(super) struct Local {
    /// Where it is.
    pub(super) path: PathBuf,
    /// NAR hash of the folder, or hash of the archive.
    pub(super) identity: Sha256,
}

/// The local sources of the plan, by package, with their hashes.
pub(super) fn local_sources(packages: &[Package], folder: &Path) -> Result<BTreeMap<String, Local>, PipelineError> {
    let mut sources = BTreeMap::new();
    for package in packages {
        let (Origin::Path { path, .. } | Origin::Directory { path } | Origin::Editable { path }) = &package.origin
        else {
            continue;
        };
        let path = folder.join(path);
        let identity = if path.is_dir() { wheel::identity(&path)? } else { file_identity(&path)? };
        sources.insert(package.name.clone(), Local { path, identity });
    }
    Ok(sources)
}

fn file_identity(path: &Path) -> Result<Sha256, PipelineError> {
    let failed = |source| PipelineError::Io { doing: "read", path: path.to_owned(), source };
    let file = fs::File::open(path).map_err(failed)?;
    Ok(Sha256::of_reader(file).map_err(failed)?.0)
}

/// Unpacks the wheels that the plan takes as they are.
pub(super) fn unpack_planned(
    locked: &Locked,
    files: &BTreeMap<Sha256, PathBuf>,
    tools: &Tools<'_>,
) -> Result<Vec<Wheel>, PipelineError> {
    let wheels = locked.plan.packages.iter().filter_map(|package| match &package.origin {
        Origin::Wheel(remote) => Some((package, remote)),
        _ => None,
    });
    wheels
        .collect::<Vec<_>>()
        .into_par_iter()
        .map(|(package, remote)| {
            let path = files.get(&remote.file.sha256).ok_or_else(|| no_source(&package.name))?;
            let mut wheel = unpacked(path, &remote.file.name, &remote.file.sha256, tools.cache)?;
            wheel.direct_url = direct_url(package);
            Ok(wheel)
        })
        .collect()
}

/// Unpacks the wheels that were built.
pub(super) fn unpack_built(
    locked: &Locked,
    built: &BTreeMap<Id, Built>,
    tools: &Tools<'_>,
) -> Result<Vec<Wheel>, PipelineError> {
    let mut wheels = Vec::new();
    for package in &locked.plan.packages {
        if let Some(built) = built.get(&Id { name: package.name.clone(), version: package.version.clone() }) {
            let mut wheel = unpacked(&built.wheel, &built.file, &built.sha256, tools.cache)?;
            wheel.direct_url = direct_url(package);
            wheels.push(wheel);
        } else if let Origin::Path { path, sha256: Some(sha256) } = &package.origin
            && path.ends_with(".whl")
        {
            let path = locked.project.folder.join(path);
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            wheels.push(unpacked(&path, &name, sha256, tools.cache)?);
        }
    }
    Ok(wheels)
}

/// A wheel from the cache of unpacked wheels.
fn unpacked(path: &Path, name: &str, sha256: &Sha256, cache: &Cache) -> Result<Wheel, PipelineError> {
    let folder = cache.build_folder("unpacked", sha256, |folder| {
        let entries = unpack::wheel(path, &folder.join("files"), &Limits::default())?;
        let list = folder.join("entries.json");
        let text = serde_json::to_vec(&entries).unwrap_or_default();
        fs::write(&list, text).map_err(|source| PipelineError::Io { doing: "write", path: list, source })
    })?;
    let list = folder.join("entries.json");
    let text = fs::read(&list).map_err(|source| PipelineError::Io { doing: "read", path: list.clone(), source })?;
    let entries = serde_json::from_slice(&text).map_err(|error| PipelineError::Io {
        doing: "read",
        path: list,
        source: error.into(),
    })?;
    Ok(Wheel::open(&folder.join("files"), name, entries)?)
}

/// Where a package came from that no index gave. Addresses that name nothing are nobody's origin.
fn direct_url(package: &Package) -> Option<DirectUrl> {
    match &package.origin {
        Origin::Git { repository, revision, subdirectory } => Some(DirectUrl::Git {
            url: Url::parse(repository).ok()?,
            requested: None,
            commit: revision.clone(),
            subdirectory: subdirectory.clone(),
        }),
        Origin::Wheel(remote) | Origin::Sdist(remote) if remote.index.is_none() => Some(DirectUrl::Archive {
            url: Url::parse(remote.url.as_deref()?).ok()?,
            sha256: remote.file.sha256,
            subdirectory: remote.subdirectory.clone(),
        }),
        _ => None,
    }
}

fn no_source(name: &str) -> PipelineError {
    PipelineError::NoSource { name: name.to_owned() }
}

/// What jobs are made from: entries of a lock, and where their sources are.
pub(super) struct Yard<'a> {
    /// Gives the entry that a reference names.
    pub(super) find: &'a dyn Fn(&Reference) -> Option<Entry>,
    /// The plan's packages.
    pub(super) packages: &'a [Package],
    pub(super) recipe: &'a Recipe,
    pub(super) locals: &'a BTreeMap<String, Local>,
    pub(super) files: &'a BTreeMap<Sha256, PathBuf>,
    pub(super) tools: &'a Tools<'a>,
}

/// What is to be built, and what of it was built before.
pub(super) struct Work<'a> {
    /// All that must be built, in any order.
    pub(super) entries: Vec<&'a Entry>,
    /// Wheels that were handed over.
    pub(super) there: BTreeMap<Id, Built>,
}

/// Builds everything that is source, in the order in which it needs each other.
pub(super) fn compile(
    work: Work<'_>,
    locked: &Locked,
    locals: &BTreeMap<String, Local>,
    files: &BTreeMap<Sha256, PathBuf>,
    inputs: &Inputs,
    tools: &Tools<'_>,
) -> Result<BTreeMap<Id, Built>, PipelineError> {
    let sidecar = &locked.sidecar;
    let Work { entries, there } = work;
    if entries.is_empty() {
        return Ok(there);
    }
    let find = |reference: &Reference| sidecar.find(reference).cloned();
    let recipe = &locked.project.recipe;
    let yard = Yard { find: &find, packages: &locked.plan.packages, recipe, locals, files, tools };
    let jobs = entries.iter().map(|entry| yard.job(entry)).collect::<Result<Vec<_>, _>>()?;
    let workshop = Workshop { inputs, settings: tools.settings, cache: tools.cache, reporter: tools.reporter };
    staged(tools.reporter, Stage::Compile, Some(jobs.len()), || {
        let built = wheel::build_all(&jobs, there, workshop)?;
        let cached = built.values().filter(|built| built.cached).count();
        let cpu: Duration = built.values().filter(|built| !built.cached).map(|built| built.cpu).sum();
        let peak = built.values().map(|built| built.peak_memory).max().unwrap_or(0);
        let summary = format!(
            "{} packages, {cached} from the cache, {} s of CPU, largest process {}",
            built.len(),
            cpu.as_secs(),
            super::gather::megabytes(peak)
        );
        Ok((built, summary))
    })
}

impl Yard<'_> {
    /// How one locked source is built.
    pub(super) fn job(&self, entry: &Entry) -> Result<Job, PipelineError> {
        let (source, identity, subdirectory) = self.source(entry)?;
        let requires = entry.build.iter().flatten().map(|reference| self.requirement(reference));
        Ok(Job {
            id: id(&entry.reference()),
            source,
            subdirectory,
            without: self.without(entry),
            identity,
            requires: requires.collect::<Result<_, _>>()?,
            native: self.recipe.package(&entry.name).map(native).unwrap_or_default(),
        })
    }

    /// Folders are built without what their identity does not cover; archives are taken whole.
    fn without(&self, entry: &Entry) -> &'static [&'static str] {
        let is_folder = match &entry.content {
            Content::Git { .. } => true,
            Content::Local { .. } => self.locals.get(&entry.name).is_some_and(|local| local.path.is_dir()),
            Content::Sdist { .. } | Content::Wheel(_) => false,
        };
        if is_folder { &wheel::NOT_SOURCES } else { &[] }
    }

    fn requirement(&self, reference: &Reference) -> Result<Requirement, PipelineError> {
        let entry = (self.find)(reference).ok_or_else(|| no_source(&reference.name))?;
        match entry.content {
            Content::Wheel(file) => Ok(Requirement::Wheel {
                path: self.file(&entry.name, &file.sha256)?.clone(),
                file: file.name,
                sha256: file.sha256,
            }),
            _ => Ok(Requirement::Built(id(reference))),
        }
    }

    fn file(&self, name: &str, sha256: &Sha256) -> Result<&PathBuf, PipelineError> {
        self.files.get(sha256).ok_or_else(|| no_source(name))
    }

    /// The unpacked sources of an entry, the hash that tells them from others, and the folder in them.
    pub(super) fn source(&self, entry: &Entry) -> Result<(PathBuf, Sha256, Option<String>), PipelineError> {
        match &entry.content {
            Content::Sdist { file, subdirectory } => {
                let path = self.file(&entry.name, &file.sha256)?;
                let folder = sdist(path, &file.name, &file.sha256, self.tools.cache)?;
                Ok((folder, file.sha256, subdirectory.clone()))
            }
            Content::Git { revision, tree, subdirectory } => {
                let planned = self.packages.iter().find(|package| package.name == entry.name);
                let package = planned.ok_or_else(|| no_source(&entry.name))?;
                let (folder, found) = git_tree(package, self.tools)?;
                if found != *tree {
                    return Err(PipelineError::GitTree {
                        name: entry.name.clone(),
                        revision: revision.clone(),
                        expected: *tree,
                        found,
                    });
                }
                Ok((folder, found, subdirectory.clone()))
            }
            Content::Local { .. } => {
                let local = self.locals.get(&entry.name).ok_or_else(|| no_source(&entry.name))?;
                if local.path.is_dir() {
                    return Ok((local.path.clone(), local.identity, None));
                }
                let name = local.path.file_name().unwrap_or_default().to_string_lossy();
                Ok((sdist(&local.path, &name, &local.identity, self.tools.cache)?, local.identity, None))
            }
            Content::Wheel(_) => Err(no_source(&entry.name)),
        }
    }
}

/// The checked-out tree of a git package, and its NAR hash.
pub(super) fn git_tree(package: &Package, tools: &Tools<'_>) -> Result<(PathBuf, Sha256), PipelineError> {
    let Origin::Git { repository, revision, .. } = &package.origin else { return Err(no_source(&package.name)) };
    if let Some(folder) = tools.given.sources.get(&package.name) {
        return Ok((folder.clone(), wheel::identity(folder)?));
    }
    if repository.is_empty() {
        return Err(no_source(&package.name));
    }
    let offline = tools.settings.offline;
    let folder = crate::git::fetch(repository, revision, tools.net, tools.cache, offline, tools.reporter)?;
    let identity = wheel::identity(&folder)?;
    Ok((folder, identity))
}

pub(super) fn id(reference: &Reference) -> Id {
    Id { name: reference.name.clone(), version: reference.version.clone() }
}

/// What the recipe adds to a build.
pub(super) fn native(recipe: &PackageRecipe) -> Native {
    let settings = recipe.config_settings.iter();
    Native {
        cflags: recipe.cflags.clone(),
        cppflags: recipe.cppflags.clone(),
        ldflags: recipe.ldflags.clone(),
        env: recipe.env.clone(),
        config_settings: settings.map(|(name, setting)| (name.clone(), setting.values().to_vec())).collect(),
    }
}

/// A source distribution from the cache of unpacked ones.
pub(super) fn sdist(path: &Path, name: &str, sha256: &Sha256, cache: &Cache) -> Result<PathBuf, PipelineError> {
    let folder = cache.build_folder("sources", sha256, |folder| {
        // The format is told by the name, which the cache does not keep.
        let named = folder.join(name);
        std::os::unix::fs::symlink(path, &named).map_err(|source| PipelineError::Io {
            doing: "write",
            path: named.clone(),
            source,
        })?;
        let top = unpack::sdist(&named, &folder.join("files"), &Limits::default())?;
        let failed = |source| PipelineError::Io { doing: "write", path: named.clone(), source };
        fs::remove_file(&named).map_err(failed)?;
        fs::rename(&top, folder.join("source")).map_err(failed)
    })?;
    Ok(folder.join("source"))
}
