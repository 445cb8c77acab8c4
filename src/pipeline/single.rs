//! One wheel of a lock, built on its own.

use std::path::Path;

use super::gather::{self, InputSource};
use super::{Locked, Order, PipelineError, Project, Tools, locking, prebuilt, wheels};
use crate::fetch;
use crate::lock::sidecar::{Locked as Entry, Sidecar};
use crate::wheel::Built;

/// Builds the wheel of `package` (`lxml` or `lxml 6.0.2`) that the lock of `order` describes, into the new folder
/// `out`, with a record of what it was built from. What it needs to be built is taken from [`super::Given`] or built
/// too; nothing else of the lock is looked at.
pub fn wheel(order: &Order, package: &str, out: &Path, tools: &Tools<'_>) -> Result<Built, PipelineError> {
    let locked = open(order)?;
    let entry = find(&locked.sidecar, package)?;
    let mut locals = wheels::local_sources(&locked.plan.packages, &locked.project.folder)?;
    locals.retain(|name, _| *name == entry.name);

    let there = prebuilt::open(&tools.given.wheels, &locked, &locals)?;
    let entries = prebuilt::needed(&locked.sidecar, std::iter::once(entry), &there);
    let wants = gather::build_wants(&entries, &locked);
    let files = fetch::fetch(&wants, tools.net, tools.indexes, tools.cache, tools.settings.offline, tools.reporter)?;
    let inputs = InputSource::of(&locked, tools)?.realise(tools)?;
    let work = wheels::Work { entries, there };
    let mut built = wheels::compile(work, &locked, &locals, &files, &inputs, tools)?;

    let id = wheels::id(&entry.reference());
    let origins = prebuilt::Origins { sidecar: &locked.sidecar, recipe: &locked.project.recipe, locals: &locals };
    let built = built.remove(&id).ok_or_else(|| no_such_build(&locked.sidecar, package))?;
    prebuilt::write(&built, &id, origins.key(entry)?, out)?;
    Ok(built)
}

/// Whether a build of `order` compiles anything, now that some wheels are given.
pub fn compiles(order: &Order, tools: &Tools<'_>) -> Result<bool, PipelineError> {
    let locked = open(order)?;
    let locals = wheels::local_sources(&locked.plan.packages, &locked.project.folder)?;
    let there = prebuilt::open(&tools.given.wheels, &locked, &locals)?;
    Ok(!prebuilt::needed(&locked.sidecar, locked.sidecar.packages.iter(), &there).is_empty())
}

/// The lock of `order` and as much of its plan as it tells.
pub(super) fn open(order: &Order) -> Result<Locked, PipelineError> {
    let project = Project::open(order)?;
    let Some(sidecar) = project.sidecar.clone() else {
        return Err(PipelineError::NotLocked { path: project.sidecar_path });
    };
    let plan = match &project.uv {
        Some(_) => locking::plan_of(&project, &sidecar)?,
        None => sidecar.partial_plan(),
    };
    Ok(Locked { project, plan, sidecar, recorded: None })
}

fn find<'a>(sidecar: &'a Sidecar, package: &str) -> Result<&'a Entry, PipelineError> {
    let named = |entry: &&Entry| entry.reference().to_string() == package;
    let mut by_name = builds(sidecar).filter(|entry| entry.name == package);
    let found = builds(sidecar).find(named).or_else(|| by_name.next().filter(|_| by_name.next().is_none()));
    found.ok_or_else(|| no_such_build(sidecar, package))
}

fn builds(sidecar: &Sidecar) -> impl Iterator<Item = &Entry> {
    sidecar.packages.iter().chain(&sidecar.builds).filter(|entry| entry.build.is_some())
}

fn no_such_build(sidecar: &Sidecar, package: &str) -> PipelineError {
    let builds = builds(sidecar).map(|entry| entry.reference().to_string()).collect();
    PipelineError::NoSuchBuild { name: package.to_owned(), builds }
}
