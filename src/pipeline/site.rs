//! A build in two halves, for those who keep the first one by its hash: what the wheels bring, with no reference to
//! where it was built, and later the same made to run with some inputs.

use std::fs;
use std::path::Path;

use super::gather::{self, InputSource};
use super::{Built, Order, PipelineError, Tools, assemble, locking, put, staged, wheels};
use crate::references::{self, Needles, Policy};
use crate::report::Stage;
use crate::substitute::Rules;
use crate::tree::{self, Kind};

/// A site that was made.
#[derive(Clone, Debug)]
pub struct Site {
    /// References that were overwritten.
    pub overwritten: u64,
    /// Files that held them, and the RECORDs of these.
    pub files: usize,
}

/// Fetches, compiles and installs what `order` says into its `out`, a new folder, without an interpreter; then
/// overwrites every reference that `needles` find. What cannot be overwritten is an error, and so is what is found
/// afterwards.
pub fn site(order: &Order, needles: &Needles, tools: &Tools<'_>) -> Result<Site, PipelineError> {
    let locked = locking::open_or_make(order, tools)?;
    let source = InputSource::of(&locked, tools)?;
    let sources = wheels::local_sources(&locked.plan.packages, &locked.project.folder)?;
    let rules = Rules::open(&locked.project.recipe.substitute, &locked.project.folder)?;
    let (_, wheels) = gather::everything(&locked, &source, &sources, tools)?;
    assemble::site(&order.out, &locked, &wheels, &rules, tools)?;
    clean(&order.out, needles, tools)
}

/// Overwrites references, and looks again.
fn clean(tree: &Path, needles: &Needles, tools: &Tools<'_>) -> Result<Site, PipelineError> {
    staged(tools.reporter, Stage::Strip, None, || {
        let jobs = tools.settings.jobs;
        // What a program needs to start is given anew by relinking.
        let policy = Policy { functional: true, links: true, ..Policy::default() };
        let replaced = references::replace(tree, needles, &policy, jobs, tools.reporter)?;
        references::scan(tree, needles, jobs)?.forbid(tree, &policy.filter)?;
        let site = Site { overwritten: replaced.count, files: replaced.changed.len() };
        let summary = format!("{} references overwritten in {} files, 0 left", site.overwritten, site.files);
        Ok::<_, PipelineError>((site, summary))
    })
}

/// Makes the tree of a site: gives it the interpreter and libraries of the inputs, and puts it in its place.
pub fn relink(order: &Order, site: &Path, tools: &Tools<'_>) -> Result<Built, PipelineError> {
    let locked = locking::open_or_make(order, tools)?;
    let source = InputSource::of(&locked, tools)?;
    let inputs = source.realise(tools)?;
    gather::check_target(&locked, &inputs)?;
    let scratch = tempfile::tempdir_in(tools.cache.root()).map_err(|error| io("write", tools.cache.root(), error))?;
    let tree = scratch.path().join("tree");
    copy(site, &tree)?;
    let identity = assemble::complete(&tree, &locked, &inputs, order.bytecode, tools)?;
    put(&locked, &tree, identity.hash, &inputs.description, false, order, tools)
}

/// A copy of `from` that may be changed, whatever modes `from` has.
fn copy(from: &Path, to: &Path) -> Result<(), PipelineError> {
    fs::create_dir(to).map_err(|error| io("write", to, error))?;
    for node in tree::walk(from)? {
        let (path, copy) = (from.join(&node.path), to.join(&node.path));
        let written = match node.kind {
            Kind::Dir => fs::create_dir(&copy),
            Kind::Link { target } => std::os::unix::fs::symlink(target, &copy),
            Kind::File { executable, .. } => {
                let mode = if executable { 0o755 } else { 0o644 };
                fs::copy(&path, &copy).and_then(|_| fs::set_permissions(&copy, mode_of(mode)))
            }
        };
        written.map_err(|error| io("write", &copy, error))?;
    }
    Ok(())
}

fn mode_of(mode: u32) -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(mode)
}

fn io(doing: &'static str, path: &Path, source: std::io::Error) -> PipelineError {
    PipelineError::Io { doing, path: path.to_owned(), source }
}
