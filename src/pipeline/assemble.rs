//! Wheels and inputs become the canonical tree.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::{Locked, PipelineError, Tools, staged};
use crate::bytecode;
use crate::inputs::{Inputs, Runtime};
use crate::install::{self, Layout, SitePlan, Wheel};
use crate::place::{self, Identity, PREFIX};
use crate::relink;
use crate::report::Stage;
use crate::runtime;

/// Makes the canonical tree in `tree`, which does not exist yet.
pub(super) fn assemble(
    tree: &Path,
    locked: &Locked,
    inputs: &Inputs,
    wheels: &[Wheel],
    bytecode: bool,
    tools: &Tools<'_>,
) -> Result<Identity, PipelineError> {
    let layout = Layout::canonical(inputs.target.python);
    install(tree, &layout, locked, wheels, tools, |plan| {
        match inputs.runtime {
            Runtime::Copied => drop(runtime::copy(inputs, tree)?),
            Runtime::Referenced => plan.refer_to(&inputs.python, layout.python),
        }
        Ok(())
    })?;
    finish(tree, &layout, locked, inputs, bytecode, tools)
}

/// Writes the files of `wheels` to the new folder `tree`; `complete` says how it gets its interpreter.
fn install(
    tree: &Path,
    layout: &Layout,
    locked: &Locked,
    wheels: &[Wheel],
    tools: &Tools<'_>,
    complete: impl FnOnce(&mut SitePlan) -> Result<(), PipelineError>,
) -> Result<(), PipelineError> {
    let (jobs, reporter) = (tools.settings.jobs, tools.reporter);
    fs::create_dir(tree).map_err(|source| PipelineError::Io { doing: "write", path: tree.to_owned(), source })?;
    staged(reporter, Stage::Install, None, || {
        let mut plan = install::plan(wheels, layout, &locked.project.recipe.install.winners)?;
        complete(&mut plan)?;
        install::write(&plan, tree, install::Files::Linked, jobs, reporter)?;
        Ok::<_, PipelineError>(((), format!("{} packages, {} files", wheels.len(), plan.files.len())))
    })
}

/// Relinks an installed tree, compiles its bytecode, and says what it is.
fn finish(
    tree: &Path,
    layout: &Layout,
    locked: &Locked,
    inputs: &Inputs,
    bytecode: bool,
    tools: &Tools<'_>,
) -> Result<Identity, PipelineError> {
    let (jobs, reporter) = (tools.settings.jobs, tools.reporter);
    let mut changed = staged(reporter, Stage::Relink, None, || {
        let rules = relink::Rules::of(&locked.project.recipe);
        let supply = relink::Supply::of(inputs);
        let job = relink::Job { tree, prefix: Path::new(PREFIX), supply, rules: &rules, in_place: false };
        let report = relink::relink(&job, jobs, reporter)?;
        let changed: BTreeSet<String> = report.changed.iter().map(|path| path.display().to_string()).collect();
        let copied = match inputs.runtime {
            Runtime::Copied => format!(", {} libraries of the inputs", report.copied.len()),
            Runtime::Referenced => String::new(),
        };
        Ok::<_, PipelineError>((changed, format!("{} ELF files{copied}", report.files)))
    })?;
    changed.retain(|path| path.starts_with("lib/") || path.starts_with("bin/"));
    install::refresh_records(tree, layout, &changed, jobs)?;
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
