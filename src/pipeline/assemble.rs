//! Wheels and inputs become the canonical tree.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::{Locked, PipelineError, Tools, staged};
use crate::bytecode;
use crate::inputs::{Inputs, Runtime};
use crate::install::{self, Layout, SitePlan, Wheel};
use crate::place::{self, Identity, PREFIX};
use crate::references::{self, Literal, Needles, Policy};
use crate::relink;
use crate::report::Stage;
use crate::runtime;
use crate::substitute::{self, Rules};

/// Makes the canonical tree in `tree`, which does not exist yet.
pub(super) fn assemble(
    tree: &Path,
    locked: &Locked,
    inputs: &Inputs,
    wheels: &[Wheel],
    rules: &Rules,
    bytecode: bool,
    tools: &Tools<'_>,
) -> Result<Identity, PipelineError> {
    let layout = Layout::canonical(inputs.target.python);
    let following = Following { rules, inputs: &inputs.named };
    install(tree, &layout, locked, wheels, &following, install::Files::Linked, tools, |plan| {
        give_interpreter(tree, plan, inputs)
    })?;
    let kept = rules.inputs().iter().filter_map(|name| inputs.named.get(name).cloned()).collect();
    finish(tree, &layout, locked, inputs, &kept, bytecode, tools)
}

/// Makes a site in `tree`, which does not exist yet: what wheels bring, no interpreter, nothing relinked.
pub(super) fn site(
    tree: &Path,
    locked: &Locked,
    wheels: &[Wheel],
    rules: &Rules,
    tools: &Tools<'_>,
) -> Result<(), PipelineError> {
    let layout = Layout::canonical(locked.sidecar.target.python);
    // It is kept by its hash, whatever inputs it gets later.
    let following = Following { rules, inputs: &BTreeMap::new() };
    install(tree, &layout, locked, wheels, &following, install::Files::Copied, tools, |plan| {
        plan.without_interpreter();
        Ok(())
    })
}

/// Makes the canonical tree of a site that was copied to `tree`.
pub(super) fn complete(
    tree: &Path,
    locked: &Locked,
    inputs: &Inputs,
    bytecode: bool,
    tools: &Tools<'_>,
) -> Result<Identity, PipelineError> {
    let layout = Layout::canonical(inputs.target.python);
    let mut plan = install::plan(&[], &layout, &BTreeMap::new())?;
    give_interpreter(tree, &mut plan, inputs)?;
    install::write(&plan, tree, install::Files::Copied, tools.settings.jobs, tools.reporter)?;
    finish(tree, &layout, locked, inputs, &BTreeSet::new(), bytecode, tools)
}

/// Rules, and what they may name.
struct Following<'a> {
    rules: &'a Rules,
    inputs: &'a BTreeMap<String, PathBuf>,
}

/// Copies Python into the tree, or leads the tree to it.
fn give_interpreter(tree: &Path, plan: &mut SitePlan, inputs: &Inputs) -> Result<(), PipelineError> {
    match inputs.runtime {
        Runtime::Copied => drop(runtime::copy(inputs, tree)?),
        Runtime::Referenced => plan.refer_to(&inputs.python, inputs.target.python),
    }
    Ok(())
}

/// Writes the files of `wheels` to the new folder `tree`; `complete` says how it gets its interpreter.
#[expect(clippy::too_many_arguments, reason = "all of it is the build's; nothing is grouped by nature")]
fn install(
    tree: &Path,
    layout: &Layout,
    locked: &Locked,
    wheels: &[Wheel],
    following: &Following<'_>,
    files: install::Files,
    tools: &Tools<'_>,
    complete: impl FnOnce(&mut SitePlan) -> Result<(), PipelineError>,
) -> Result<(), PipelineError> {
    let (jobs, reporter) = (tools.settings.jobs, tools.reporter);
    fs::create_dir(tree).map_err(|source| PipelineError::Io { doing: "write", path: tree.to_owned(), source })?;
    staged(reporter, Stage::Install, None, || {
        let mut plan = install::plan(wheels, layout, &locked.project.recipe.install.winners)?;
        complete(&mut plan)?;
        install::write(&plan, tree, files, jobs, reporter)?;
        Ok::<_, PipelineError>(((), format!("{} packages, {} files", wheels.len(), plan.files.len())))
    })?;
    if following.rules.is_empty() {
        return Ok(());
    }
    let changed = staged(reporter, Stage::Replace, None, || follow(tree, following, layout, tools))?;
    install::refresh_records(tree, layout, &recorded(changed), jobs)?;
    Ok(())
}

/// Those of the changed files that a RECORD has.
fn recorded(mut changed: BTreeSet<String>) -> BTreeSet<String> {
    changed.retain(|path| path.starts_with("lib/") || path.starts_with("bin/"));
    changed
}

/// Relinks an installed tree, compiles its bytecode, and says what it is.
fn finish(
    tree: &Path,
    layout: &Layout,
    locked: &Locked,
    inputs: &Inputs,
    kept: &BTreeSet<PathBuf>,
    bytecode: bool,
    tools: &Tools<'_>,
) -> Result<Identity, PipelineError> {
    let (jobs, reporter) = (tools.settings.jobs, tools.reporter);
    let (changed, linked) = staged(reporter, Stage::Relink, None, || {
        let rules = relink::Rules::of(&locked.project.recipe);
        let supply = relink::Supply::of(inputs);
        let job = relink::Job { tree, prefix: Path::new(PREFIX), supply, rules: &rules, in_place: true };
        let report = relink::relink(&job, jobs, reporter)?;
        let changed: BTreeSet<String> = report.changed.iter().map(|path| path.display().to_string()).collect();
        let copied = match inputs.runtime {
            Runtime::Copied => format!(", {} libraries of the inputs", report.copied.len()),
            Runtime::Referenced => String::new(),
        };
        let files = report.files;
        Ok::<_, PipelineError>(((changed, report.linked), format!("{files} ELF files{copied}")))
    })?;
    install::refresh_records(tree, layout, &recorded(changed), jobs)?;
    if tools.given.unique {
        forget_builds(tree, inputs, kept, &linked, tools)?;
    }
    staged(reporter, Stage::Finish, None, || {
        let mut summary = String::new();
        if bytecode {
            let python = bytecode::Sandboxed { inputs, tree };
            let mut folders = vec![layout.site_packages()];
            if inputs.runtime == Runtime::Copied {
                folders.push(layout.stdlib());
            }
            let compiled = bytecode::compile(tree, &folders, layout, jobs, &python, reporter)?;
            install::record_bytecode(tree, layout)?;
            summary = format!("{} bytecode files, ", compiled.files);
        }
        let identity = place::identify(tree, Path::new(PREFIX))?;
        summary.push_str(&format!("{} files, {}", identity.files, identity.hash));
        Ok((identity, summary))
    })
}

/// Overwrites the names of inputs that only builds need, but for those in `kept`, which the recipe names: compilers and
/// headers are not to live as long as the tree.
fn forget_builds(
    tree: &Path,
    inputs: &Inputs,
    kept: &BTreeSet<PathBuf>,
    linked: &BTreeMap<PathBuf, relink::Linked>,
    tools: &Tools<'_>,
) -> Result<(), PipelineError> {
    let libraries = linked.values().flat_map(|linked| &linked.needs).filter_map(|need| need.found.as_ref());
    let used: BTreeSet<&PathBuf> = libraries.chain([&inputs.python, &inputs.interpreter]).chain(kept).collect();
    let unused = inputs.building.iter().filter(|folder| !used.iter().any(|path| path.starts_with(folder)));
    let needles = unused.fold(Needles::default(), |mut needles, folder| {
        let bytes = folder.as_os_str().as_bytes().to_vec();
        let name = folder.file_name().map_or(0, OsStr::len);
        needles.literals.push(Literal { hidden: bytes.len() - name..bytes.len(), bytes });
        needles
    });
    if needles.is_empty() {
        return Ok(());
    }
    staged(tools.reporter, Stage::Strip, None, || {
        let policy = Policy::default();
        let replaced = references::replace(tree, &needles, &policy, tools.settings.jobs, tools.reporter)?;
        let summary = format!("{} references to what only builds need", replaced.count);
        Ok::<_, PipelineError>(((), summary))
    })
}

/// Makes the files what the rules say. Gives those that changed, from the top of the tree.
fn follow(
    tree: &Path,
    following: &Following<'_>,
    layout: &Layout,
    tools: &Tools<'_>,
) -> Result<(BTreeSet<String>, String), PipelineError> {
    let python = Some(layout.python);
    let job = substitute::Job { tree, prefix: PREFIX, python, inputs: following.inputs };
    let plan = substitute::plan(following.rules, &job, tools.settings.jobs)?;
    for warning in &plan.report.warnings {
        tools.reporter.warn(warning.clone(), None);
    }
    for note in &plan.report.notes {
        tools.reporter.note(note.clone());
    }
    plan.apply(tree)?;
    let changed = plan.changed();
    let matches: u64 = plan.report.rules.iter().map(|rule| rule.matches).sum();
    let summary = format!("{} rules, {matches} matches, {} files", plan.report.rules.len(), changed.len());
    Ok((changed, summary))
}
