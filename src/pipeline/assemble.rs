//! Wheels and inputs become the canonical tree.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::{Locked, PipelineError, Tools, staged};
use crate::bytecode;
use crate::inputs::Inputs;
use crate::install::{self, Layout, Wheel};
use crate::place::{self, Identity, PREFIX};
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
    let (jobs, reporter) = (tools.settings.jobs, tools.reporter);
    let recipe = &locked.project.recipe;
    let layout = Layout::canonical(inputs.target.python);
    fs::create_dir(tree).map_err(|source| PipelineError::Io { doing: "write", path: tree.to_owned(), source })?;
    staged(reporter, Stage::Install, None, || {
        let plan = install::plan(wheels, &layout, &recipe.install.winners)?;
        runtime::copy(inputs, tree)?;
        install::write(&plan, tree, install::Files::Linked, jobs, reporter)?;
        Ok::<_, PipelineError>(((), format!("{} packages, {} files", wheels.len(), plan.files.len())))
    })?;
    let substituted = if rules.is_empty() {
        BTreeSet::new()
    } else {
        staged(reporter, Stage::Replace, None, || follow(tree, rules, inputs, tools))?
    };
    let mut changed = staged(reporter, Stage::Relink, None, || {
        let dlopen = dlopen(locked);
        let site = layout.site_packages();
        let job = relink::Job {
            tree,
            prefix: Path::new(PREFIX),
            site: Path::new(&site),
            inputs,
            dlopen: &dlopen,
            ignore: &recipe.relink.ignore,
        };
        let report = relink::relink(&job, jobs, reporter)?;
        let changed: BTreeSet<String> = report.changed.iter().map(|path| path.display().to_string()).collect();
        let summary = format!("{} ELF files, {} libraries of the inputs", report.files, report.copied.len());
        Ok::<_, PipelineError>((changed, summary))
    })?;
    changed.extend(substituted);
    changed.retain(|path| path.starts_with("lib/") || path.starts_with("bin/"));
    install::refresh_records(tree, &layout, &changed, jobs)?;
    staged(reporter, Stage::Finish, None, || {
        let mut summary = String::new();
        if bytecode {
            let python = bytecode::Sandboxed { inputs, tree };
            let folders = [layout.site_packages(), layout.stdlib()];
            let compiled = bytecode::compile(tree, &folders, &layout, jobs, &python, reporter)?;
            install::record_bytecode(tree, &layout)?;
            summary = format!("{} bytecode files, ", compiled.files);
        }
        let identity = place::identify(tree, Path::new(PREFIX))?;
        summary.push_str(&format!("{} files, {}", identity.files, identity.hash));
        Ok((identity, summary))
    })
}

/// Makes the files what the rules say. Gives those that changed, from the top of the tree.
fn follow(
    tree: &Path,
    rules: &Rules,
    inputs: &Inputs,
    tools: &Tools<'_>,
) -> Result<(BTreeSet<String>, String), PipelineError> {
    // The tree holds copies of what it needs of these inputs: no path of theirs is there where it runs.
    let named = BTreeMap::new();
    let python = Some(inputs.target.python);
    let job = substitute::Job { tree, prefix: PREFIX, python, inputs: &named };
    let plan = substitute::plan(rules, &job, tools.settings.jobs)?;
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

/// Sonames that packages open by name, by package.
fn dlopen(locked: &Locked) -> BTreeMap<String, Vec<String>> {
    let packages = &locked.project.recipe.package;
    packages
        .iter()
        .filter(|(_, recipe)| !recipe.dlopen.is_empty())
        .map(|(name, recipe)| (name.clone(), recipe.dlopen.clone()))
        .collect()
}
