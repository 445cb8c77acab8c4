//! The two flat folders of files that a build takes: Python's packages, and the packages of the inputs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Order, PipelineError, Project, Tools, staged};
use crate::digest::Sha256;
use crate::fetch::{self, Want};
use crate::inputs::debian;
use crate::lock::make::flat_hash;
use crate::lock::sidecar::Sidecar;
use crate::plan::{Plan, plan};
use crate::report::Stage;

/// Files by name, where they are on this machine, and the NAR hash of the flat folder of them all.
#[derive(Clone, Debug)]
pub struct Files {
    /// Verified, in the cache.
    pub files: BTreeMap<String, PathBuf>,
    /// Hash of a folder with these files and nothing else: what a fixed-output derivation says.
    pub hash: Sha256,
}

/// All wheels, source distributions and build requirements that the lock of `order` names.
pub fn fetch(order: &Order, tools: &Tools<'_>) -> Result<Files, PipelineError> {
    let (project, sidecar) = locked(order)?;
    let planned = match &project.uv {
        Some((lock, uv)) => Some(plan(lock, uv, &sidecar.target, &project.selection)?),
        None => None,
    };
    fetched(planned.as_ref(), &sidecar, tools)
}

/// All input packages that the lock of `order` pins.
pub fn fetch_inputs(order: &Order, tools: &Tools<'_>) -> Result<Files, PipelineError> {
    let (project, sidecar) = locked(order)?;
    match input_files(&sidecar, tools)? {
        Some(files) => Ok(files),
        None => Err(PipelineError::NoPins { path: project.sidecar_path }),
    }
}

fn locked(order: &Order) -> Result<(Project, Sidecar), PipelineError> {
    let mut project = Project::open(order)?;
    match project.sidecar.take() {
        Some(sidecar) => Ok((project, sidecar)),
        None => Err(PipelineError::NotLocked { path: project.sidecar_path }),
    }
}

/// The files of a sidecar lock, with the addresses that `uv.lock` names for the planned ones.
pub(super) fn fetched(planned: Option<&Plan>, sidecar: &Sidecar, tools: &Tools<'_>) -> Result<Files, PipelineError> {
    let mut wants: BTreeMap<Sha256, Want> = BTreeMap::new();
    for entry in sidecar.packages.iter().chain(&sidecar.builds) {
        if let Some(file) = entry.content.file() {
            let want = Want { file: file.clone(), project: entry.name.clone(), url: None, index: None };
            wants.insert(file.sha256, want);
        }
    }
    for want in planned.iter().flat_map(|plan| &plan.packages).filter_map(Want::of) {
        wants.entry(want.file.sha256).and_modify(|known| *known = want);
    }
    let wants: Vec<Want> = wants.into_values().collect();
    let files = staged(tools.reporter, Stage::Fetch, Some(wants.len()), || {
        let files =
            fetch::fetch(&wants, tools.net, tools.indexes, tools.cache, tools.settings.offline, tools.reporter)?;
        Ok::<_, PipelineError>((files, format!("{} files", wants.len())))
    })?;
    let named = sidecar.files().into_iter();
    hashed(named.filter_map(|(name, file)| Some((name.to_owned(), files.get(&file.sha256)?.clone()))).collect(), tools)
}

/// The files of the pinned input packages; `None` for a lock without pins.
pub(super) fn input_files(sidecar: &Sidecar, tools: &Tools<'_>) -> Result<Option<Files>, PipelineError> {
    let Some(inputs) = &sidecar.inputs else { return Ok(None) };
    let pins = &inputs.packages;
    let files = staged(tools.reporter, Stage::Inputs, Some(pins.len()), || {
        let files = debian::files(pins, &tools.archive)?;
        let bytes = pins.iter().map(|pin| pin.size).sum();
        Ok::<_, PipelineError>((files, format!("{} packages, {}", pins.len(), super::gather::megabytes(bytes))))
    })?;
    hashed(files, tools).map(Some)
}

fn hashed(files: BTreeMap<String, PathBuf>, tools: &Tools<'_>) -> Result<Files, PipelineError> {
    let hash = flat_hash(&files).map_err(|source| PipelineError::Io {
        doing: "read",
        path: tools.cache.root().to_owned(),
        source,
    })?;
    Ok(Files { files, hash })
}
