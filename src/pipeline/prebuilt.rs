//! Wheels that were built before, elsewhere: a folder with the wheel and `akb-wheel.json`, which says what it was
//! built from. They are taken only where the lock at hand says the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::wheels::{Local, id, native};
use super::{Locked, PipelineError};
use crate::digest::Sha256;
use crate::index::is_file_name;
use crate::lock::sidecar::{Content, Locked as Entry, Reference, Sidecar};
use crate::recipe::Recipe;
use crate::wheel::{self, Built, Id};

/// The file's name.
pub(super) const RECORD: &str = "akb-wheel.json";

/// What a built wheel says of itself.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    /// Normalised name.
    name: String,
    /// As the lock spells it.
    version: Option<String>,
    /// The wheel's name.
    file: String,
    sha256: Sha256,
    /// What it was built from: [`Origins::key`].
    built_from: Sha256,
}

/// Puts a wheel and its record into the new folder `out`.
pub(super) fn write(built: &Built, id: &Id, built_from: Sha256, out: &Path) -> Result<(), PipelineError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| PipelineError::Io { doing: "write", path, source }
    };
    fs::create_dir(out).map_err(failed(out))?;
    let to = out.join(&built.file);
    fs::copy(&built.wheel, &to).map_err(failed(&to))?;
    let record = Record {
        name: id.name.clone(),
        version: id.version.clone(),
        file: built.file.clone(),
        sha256: built.sha256,
        built_from,
    };
    let to = out.join(RECORD);
    let mut text = serde_json::to_vec_pretty(&record).unwrap_or_default();
    text.push(b'\n');
    fs::write(&to, text).map_err(failed(&to))
}

/// The wheels in `folders`, each checked: its bytes against its record, its record against the lock.
pub(super) fn open(
    folders: &[PathBuf],
    locked: &Locked,
    locals: &BTreeMap<String, Local>,
) -> Result<BTreeMap<Id, Built>, PipelineError> {
    let origins = Origins { sidecar: &locked.sidecar, recipe: &locked.project.recipe, locals };
    folders.iter().map(|folder| one(folder, &origins)).collect()
}

fn one(folder: &Path, origins: &Origins<'_>) -> Result<(Id, Built), PipelineError> {
    let path = folder.join(RECORD);
    let read = |path: &Path, source| PipelineError::Io { doing: "read", path: path.to_owned(), source };
    let text = fs::read(&path).map_err(|source| read(&path, source))?;
    let record: Record =
        serde_json::from_slice(&text).map_err(io::Error::from).map_err(|source| read(&path, source))?;
    let other = |reason: String| PipelineError::OtherWheel { folder: folder.to_owned(), reason };
    let reference = Reference { name: record.name, version: record.version };
    let entry = origins.sidecar.find(&reference).filter(|entry| entry.build.is_some());
    let entry = entry.ok_or_else(|| other(format!("it is of {reference}, which akb.lock does not build")))?;
    if origins.key(entry)? != record.built_from {
        return Err(other(format!("it is of {reference}, built from another lock, recipe or akb")));
    }
    if !is_file_name(&record.file) {
        return Err(other(format!("`{}` is no name of a wheel", record.file)));
    }
    let wheel = folder.join(&record.file);
    let (sha256, _) = fs::File::open(&wheel).and_then(Sha256::of_reader).map_err(|source| read(&wheel, source))?;
    if sha256 != record.sha256 {
        return Err(other(format!("{} has the hash {sha256}; expected {}", record.file, record.sha256)));
    }
    let (cpu, peak_memory) = (Duration::ZERO, 0);
    Ok((id(&reference), Built { wheel, file: record.file, sha256, cached: true, cpu, peak_memory }))
}

/// What wheels are built from, by the lock and the recipe. The inputs are not part of it: whoever hands a wheel
/// over knows which they were.
pub(super) struct Origins<'a> {
    pub(super) sidecar: &'a Sidecar,
    pub(super) recipe: &'a Recipe,
    pub(super) locals: &'a BTreeMap<String, Local>,
}

impl Origins<'_> {
    /// A hash over the sources of `entry`, what the recipe adds, and all that builds it.
    pub(super) fn key(&self, entry: &Entry) -> Result<Sha256, PipelineError> {
        let native = self.recipe.package(&entry.name).map(native).unwrap_or_default();
        let mut parts = vec![
            wheel::rules().to_string(),
            entry.reference().to_string(),
            self.content(entry)?,
            serde_json::to_string(&native).unwrap_or_default(),
        ];
        for reference in entry.build.iter().flatten() {
            let required = self.sidecar.find(reference).ok_or_else(|| no_source(&reference.name))?;
            let key = match &required.content {
                Content::Wheel(file) => file.sha256,
                _ => self.key(required)?,
            };
            parts.push(format!("{reference} {key}"));
        }
        Ok(Sha256::of(parts.join("\0").as_bytes()))
    }

    fn content(&self, entry: &Entry) -> Result<String, PipelineError> {
        let (hash, subdirectory) = match &entry.content {
            Content::Wheel(file) => (file.sha256, &None),
            Content::Sdist { file, subdirectory } => (file.sha256, subdirectory),
            Content::Git { tree, subdirectory, .. } => (*tree, subdirectory),
            Content::Local { .. } => {
                let local = self.locals.get(&entry.name).ok_or_else(|| no_source(&entry.name))?;
                (local.identity, &None)
            }
        };
        Ok(format!("{hash} {}", subdirectory.as_deref().unwrap_or_default()))
    }
}

fn no_source(name: &str) -> PipelineError {
    PipelineError::NoSource { name: name.to_owned() }
}

/// Everything that must be built for `wanted`, itself included, but for what `there` has: entries of the lock, each
/// once, sorted by reference.
pub(super) fn needed<'a>(
    sidecar: &'a Sidecar,
    wanted: impl Iterator<Item = &'a Entry>,
    there: &BTreeMap<Id, Built>,
) -> Vec<&'a Entry> {
    let mut seen = BTreeSet::new();
    let mut found = BTreeMap::new();
    let mut left: Vec<&Entry> = wanted.collect();
    while let Some(entry) = left.pop() {
        let reference = entry.reference();
        if entry.build.is_none() || there.contains_key(&id(&reference)) || !seen.insert(reference.clone()) {
            continue;
        }
        left.extend(entry.build.iter().flatten().filter_map(|reference| sidecar.find(reference)));
        found.insert(reference, entry);
    }
    found.into_values().collect()
}
