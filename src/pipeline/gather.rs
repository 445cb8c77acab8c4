//! The canonical tree: from the cache, or made of inputs and files.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use super::{Locked, Order, PipelineError, Tools, assemble, prebuilt, staged, wheels};
use crate::bytecode;
use crate::digest::Sha256;
use crate::fetch::{self, Want};
use crate::inputs::{Inputs, debian, host};
use crate::lock::names::WheelName;
use crate::lock::sidecar::{Locked as Entry, Sidecar};
use crate::lock::tags::Tags;
use crate::place::{self, Identity, PREFIX};
use crate::plan::Origin;
use crate::recipe::Provider;
use crate::report::Stage;
use crate::request::PythonVersion;
use crate::substitute::Rules;
use crate::wheel;

/// A canonical tree in the cache.
pub(super) struct Tree {
    pub(super) folder: PathBuf,
    pub(super) hash: Sha256,
    /// What it was made from, for the receipt.
    pub(super) inputs: String,
    pub(super) cached: bool,
}

/// The tree of `locked`: nothing is fetched or compiled if the cache has it.
pub(super) fn tree(locked: &Locked, order: &Order, tools: &Tools<'_>) -> Result<Tree, PipelineError> {
    let source = InputSource::of(locked, tools)?;
    let sources = wheels::local_sources(&locked.plan.packages, &locked.project.folder)?;
    let rules = Rules::open(&locked.project.recipe.substitute, &locked.project.folder)?;
    let key = key(locked, &source.identity(), &sources, &rules, order.bytecode);
    let cached = tools.cache.folder("tree", &key);
    let folder = match &cached {
        Some(folder) => folder.clone(),
        None => tools.cache.build_folder("tree", &key, |folder| {
            let (inputs, wheels) = everything(locked, &source, &sources, tools)?;
            let tree = folder.join("tree");
            let identity = assemble::assemble(&tree, locked, &inputs, &wheels, &rules, order.bytecode, tools)?;
            let text = identity.hash.to_string();
            fs::write(folder.join("hash"), text).map_err(|source| PipelineError::Io {
                doing: "write",
                path: folder.join("hash"),
                source,
            })
        })?,
    };
    let hash = fs::read_to_string(folder.join("hash")).ok().and_then(|text| text.parse().ok());
    let folder = folder.join("tree");
    let hash = match hash {
        Some(hash) => hash,
        None => {
            let Identity { hash, .. } = place::identify(&folder, PREFIX.as_ref())?;
            hash
        }
    };
    Ok(Tree { folder, hash, inputs: source.description(), cached: cached.is_some() })
}

/// Inputs and unpacked wheels. What is compiled is fetched and built while the other wheels still arrive.
pub(super) fn everything(
    locked: &Locked,
    source: &InputSource,
    sources: &BTreeMap<String, wheels::Local>,
    tools: &Tools<'_>,
) -> Result<(Inputs, Vec<crate::install::Wheel>), PipelineError> {
    let there = prebuilt::open(&tools.given.wheels, locked, sources)?;
    let entries = prebuilt::needed(&locked.sidecar, locked.sidecar.packages.iter(), &there);
    let (builds, others) = (build_wants(&entries, locked), wheel_wants(locked));
    let work = wheels::Work { entries, there };
    let all: BTreeMap<Sha256, Option<u64>> =
        builds.iter().chain(&others).map(|want| (want.file.sha256, want.file.size)).collect();
    let (total, bytes) = (all.len(), all.into_values().flatten().sum());
    let fetch = |wants: &[Want]| {
        fetch::fetch(wants, tools.net, tools.indexes, tools.cache, tools.settings.offline, tools.reporter)
            .map_err(PipelineError::from)
    };
    std::thread::scope(|scope| {
        let ready = scope.spawn(|| {
            staged(tools.reporter, Stage::Fetch, Some(total), || {
                let files = fetch(&others)?;
                let unpacked = wheels::unpack_planned(locked, &files, tools)?;
                Ok::<_, PipelineError>((unpacked, format!("{total} files, {}", megabytes(bytes))))
            })
        });
        let needed = scope.spawn(|| fetch(&builds));
        let inputs = source.realise(tools)?;
        check_target(locked, &inputs)?;
        let files = join(needed)?;
        let built = wheels::compile(work, locked, sources, &files, &inputs, tools)?;
        let mut all = join(ready)?;
        all.extend(wheels::unpack_built(locked, &built, tools)?);
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok((inputs, all))
    })
}

/// Inputs that were handed over need not be those that the lock was made with: every wheel must run on them.
pub(super) fn check_target(locked: &Locked, inputs: &Inputs) -> Result<(), PipelineError> {
    let tags = Tags::of(&inputs.target);
    for package in &locked.plan.packages {
        let Origin::Wheel(remote) = &package.origin else { continue };
        let runs = WheelName::parse(&remote.file.name).is_ok_and(|name| tags.rank(&name).is_some());
        if !runs {
            return Err(PipelineError::OtherTarget {
                file: remote.file.name.clone(),
                inputs: inputs.description.clone(),
                target: inputs.target.clone(),
            });
        }
    }
    Ok(())
}

fn join<T>(thread: std::thread::ScopedJoinHandle<'_, T>) -> T {
    match thread.join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

pub(super) fn megabytes(bytes: u64) -> String {
    format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10)
}

/// The files that building `entries` needs: their own, and the wheels of their build environments.
pub(super) fn build_wants(entries: &[&Entry], locked: &Locked) -> Vec<Want> {
    let sidecar = &locked.sidecar;
    let required = entries.iter().flat_map(|entry| entry.build.iter().flatten());
    let wheels = required.filter_map(|reference| sidecar.find(reference)).filter(|entry| entry.build.is_none());
    let wants = entries.iter().copied().chain(wheels).filter_map(|entry| {
        let planned = locked.plan.packages.iter().find(|package| package.name == entry.name).and_then(Want::of);
        let file = entry.content.file()?.clone();
        // The plan knows the address that `uv.lock` names, if it is the plan's file.
        let want = Want { file, project: entry.name.clone(), url: None, index: None };
        Some(planned.filter(|planned| planned.file.sha256 == want.file.sha256).unwrap_or(want))
    });
    let by_hash: BTreeMap<Sha256, Want> = wants.map(|want| (want.file.sha256, want)).collect();
    by_hash.into_values().collect()
}

/// The wheels that are installed as they are.
fn wheel_wants(locked: &Locked) -> Vec<Want> {
    let wheels = locked.plan.packages.iter().filter(|package| matches!(package.origin, Origin::Wheel(_)));
    wheels.filter_map(Want::of).collect()
}

/// Everything that the canonical tree depends on.
fn key(
    locked: &Locked,
    inputs: &Sha256,
    sources: &BTreeMap<String, wheels::Local>,
    rules: &Rules,
    bytecode: bool,
) -> Sha256 {
    let mut sidecar = locked.sidecar.clone();
    // Neither what the lock was made from nor where inputs were found is in the tree; `inputs` is.
    sidecar.source = Sha256::of(b"");
    sidecar.fetch_hash = None;
    sidecar.inputs_hash = None;
    sidecar.inputs = None;
    let sources: Vec<String> = sources.iter().map(|(name, local)| format!("{name} {}", local.identity)).collect();
    let parts = [
        // Another akb may make other bytes.
        env!("AKB_SOURCES").to_owned(),
        sidecar.to_toml(),
        format!("{:?}", locked.project.recipe),
        inputs.to_string(),
        sources.join("\n"),
        format!("{bytecode} {}", Sha256::of(bytecode::DRIVER.as_bytes())),
        wheel::rules().to_string(),
        // The rules themselves are in the recipe.
        rules.identity().to_owned(),
    ];
    Sha256::of(parts.join("\0").as_bytes())
}

/// Whether anything is built from source.
pub(super) fn compiles(sidecar: &Sidecar) -> bool {
    sidecar.packages.iter().any(|entry| entry.build.is_some())
}

/// What this machine has.
pub(super) fn host_inputs(python: PythonVersion, tools: &Tools<'_>) -> Result<Inputs, PipelineError> {
    Ok(host::inputs(python, &tools.host_path)?)
}

/// Where the inputs come from, before anything is fetched for them.
pub(super) enum InputSource {
    Debian {
        pins: Vec<debian::Pin>,
        wanted: debian::Use,
    },
    /// At hand already.
    Given(Box<Inputs>),
}

impl InputSource {
    pub(super) fn of(locked: &Locked, tools: &Tools<'_>) -> Result<Self, PipelineError> {
        let target = &locked.sidecar.target;
        if let Some(inputs) = &tools.given.inputs {
            return Ok(Self::Given(Box::new(inputs.clone())));
        }
        Ok(match (&locked.sidecar.inputs, locked.project.provider) {
            (Some(pins), Provider::Debian) => Self::Debian {
                pins: pins.packages.clone(),
                wanted: debian::Use { suite: pins.suite.clone(), arch: target.platform.arch, python: target.python },
            },
            _ => Self::Given(Box::new(host_inputs(target.python, tools)?)),
        })
    }

    pub(super) fn identity(&self) -> Sha256 {
        match self {
            Self::Debian { pins, .. } => debian::identity(pins),
            Self::Given(inputs) => inputs.identity,
        }
    }

    fn description(&self) -> String {
        match self {
            Self::Debian { pins, wanted } => format!("debian {}, {} packages", wanted.suite, pins.len()),
            Self::Given(inputs) => inputs.description.clone(),
        }
    }

    pub(super) fn realise(&self, tools: &Tools<'_>) -> Result<Inputs, PipelineError> {
        match self {
            Self::Given(inputs) => Ok((**inputs).clone()),
            Self::Debian { pins, wanted } => staged(tools.reporter, Stage::Inputs, Some(pins.len()), || {
                let inputs = debian::realise(pins, wanted, &tools.archive, tools.settings.jobs.get())?;
                let bytes = pins.iter().map(|pin| pin.size).sum();
                let summary = format!("{}, {}", inputs.description, megabytes(bytes));
                Ok((inputs, summary))
            }),
        }
    }
}
