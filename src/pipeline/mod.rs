//! The whole build, top to bottom.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::cache::Cache;
use crate::digest::Sha256;
use crate::index::Indexes;
use crate::inputs::{Inputs, debian};
use crate::lock::sidecar::Sidecar;
use crate::net::Net;
use crate::place::{self, Identity, Receipt};
use crate::plan::{Plan, Selection};
use crate::recipe::{Provider, Recipe};
use crate::relink::Rules;
use crate::report::{Event, Reporter, Stage};
use crate::request::{PythonVersion, Settings};

mod assemble;
mod error;
mod files;
mod gather;
mod locking;
mod prebuilt;
mod prefixes;
mod single;
mod site;
mod subject;
mod wheels;

pub use error::PipelineError;
pub use files::{Files, fetch, fetch_inputs};
pub use locking::{Locking, check_lock, lock};
pub use prefixes::prefixes;
pub use single::{compiles, wheel};
pub use site::{Site, relink, site};
pub use subject::{Project, Subject};

/// Where things come from, and who is told.
pub struct Tools<'a> {
    /// Jobs, memory, offline.
    pub settings: &'a Settings,
    /// Where results are kept.
    pub cache: &'a Cache,
    /// The client.
    pub net: &'a Net,
    /// Where Python packages are.
    pub indexes: &'a Indexes,
    /// Where Debian packages are.
    pub archive: debian::Archive<'a>,
    /// Whose archives are believed.
    pub trust: debian::Trust<'a>,
    /// Folders of programs of this machine, for the provider `host`.
    pub host_path: Vec<PathBuf>,
    /// What is at hand already.
    pub given: Given,
    /// Told what happens.
    pub reporter: &'a dyn Reporter,
}

/// What is taken instead of being fetched or built.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Python, compilers and libraries.
    pub inputs: Option<Inputs>,
    /// Folders that the result may refer to, for inputs that stay where they are.
    pub outside: Vec<PathBuf>,
    /// Whether nothing else can be named like a folder of the inputs, so that what builds left of such names where
    /// nothing needs them is overwritten.
    pub unique: bool,
    /// Folders that [`wheel`](fn@wheel) made.
    pub wheels: Vec<PathBuf>,
    /// Checked-out sources of git packages, by normalised name. The lock says the hash of their trees.
    pub sources: BTreeMap<String, PathBuf>,
}

/// What is to be built, and where it goes.
#[derive(Clone, Debug)]
pub struct Order {
    /// A folder, or a release that akb knows.
    pub subject: Subject,
    /// Where the tree goes, absolute.
    pub out: PathBuf,
    /// What of the lock is wanted.
    pub selection: Selection,
    /// The interpreter, where flags name one.
    pub python: Option<PythonVersion>,
    /// Who gives Python and compilers, where flags say so.
    pub provider: Option<Provider>,
    /// The suite of the archive, where flags name one.
    pub suite: Option<String>,
    /// A recipe instead of the project's own.
    pub recipe: Option<PathBuf>,
    /// A sidecar lock instead of the project's own.
    pub lock: Option<PathBuf>,
    /// Whether the locks must do: nothing is resolved anew.
    pub locked: bool,
    /// Whether Python sources are compiled to bytecode.
    pub bytecode: bool,
}

/// A finished build.
#[derive(Clone, Debug, Serialize)]
pub struct Built {
    /// What was built.
    pub name: String,
    /// Where it is.
    pub out: PathBuf,
    /// NAR hash of the canonical tree.
    pub hash: Sha256,
    /// Bytes of its NAR.
    pub nar_size: u64,
    /// Files and links in it.
    pub files: u64,
    /// Packages in it.
    pub packages: usize,
    /// Whether the canonical tree was in the cache.
    pub cached: bool,
    /// Where the new pins were written, if there are new ones.
    pub recorded: Option<PathBuf>,
}

/// What is built, exactly: the lock, and the plan with the addresses that `uv.lock` names.
pub(crate) struct Locked {
    pub(crate) project: Project,
    pub(crate) plan: Plan,
    pub(crate) sidecar: Sidecar,
    pub(crate) recorded: Option<PathBuf>,
}

/// Builds `order` and puts the tree in its place.
pub fn build(order: &Order, tools: &Tools<'_>) -> Result<Built, PipelineError> {
    place::check_name(&order.out)?;
    place::check_free(&order.out)?;
    let mut locked = locking::open_or_make(order, tools)?;
    let tree = match gather::tree(&locked, order, tools) {
        // A pinned file can be gone from the archive; then, and only then, other pins are taken.
        Err(PipelineError::Debian(debian::DebianError::Gone { pins })) if !order.locked => {
            locked = locking::refresh_inputs(locked, &pins, order, tools)?;
            gather::tree(&locked, order, tools)?
        }
        other => other?,
    };
    put(&locked, &tree.folder, tree.hash, &tree.inputs, tree.cached, order, tools)
}

/// Puts a canonical tree in its place.
fn put(
    locked: &Locked,
    tree: &Path,
    hash: Sha256,
    inputs: &str,
    cached: bool,
    order: &Order,
    tools: &Tools<'_>,
) -> Result<Built, PipelineError> {
    let name = locked.project.name.clone();
    let receipt = |identity: &Identity| Receipt {
        version: 1,
        name: name.clone(),
        prefix: order.out.clone(),
        hash: identity.hash,
        nar_size: identity.nar_size,
        inputs: inputs.to_owned(),
        skip_import: skip_import(&locked.project.recipe),
        rules: Rules::of(&locked.project.recipe),
        outside: tools.given.outside.clone(),
    };
    let identity = staged(tools.reporter, Stage::Place, None, || {
        let identity = place::place(tree, &order.out, Some(hash), receipt, tools.settings.jobs)?;
        let summary = format!("{} files to {}", identity.files, order.out.display());
        Ok::<_, PipelineError>((identity, summary))
    })?;
    Ok(Built {
        name,
        out: order.out.clone(),
        hash: identity.hash,
        nar_size: identity.nar_size,
        files: identity.files,
        packages: locked.plan.packages.len(),
        cached,
        recorded: locked.recorded.clone(),
    })
}

fn skip_import(recipe: &Recipe) -> BTreeMap<String, String> {
    recipe.verify.skip_import.iter().map(|module| (module.clone(), "the recipe says so".to_owned())).collect()
}

/// Runs one stage: its start and its end, with time and summary, are told.
pub(crate) fn staged<T, E>(
    reporter: &dyn Reporter,
    stage: Stage,
    items: Option<usize>,
    work: impl FnOnce() -> Result<(T, String), E>,
) -> Result<T, E> {
    let started = Instant::now();
    reporter.event(&Event::StageStarted { stage, items: items.map(|items| items as u64) });
    let (value, summary) = work()?;
    let elapsed: Duration = started.elapsed();
    reporter.event(&Event::StageFinished { stage, elapsed, summary });
    Ok(value)
}
