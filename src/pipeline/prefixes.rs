//! The packages of the inputs as two folders that run from where they are.

use std::path::{Path, PathBuf};

use super::gather::InputSource;
use super::single::open;
use super::{Order, PipelineError, Tools, staged};
use crate::inputs::debian::relocate::{self, Outputs, Relocated};
use crate::report::Stage;

/// Makes the runtime and the development files of the input packages that the lock of `order` pins.
pub fn prefixes(order: &Order, out: &Outputs, tools: &Tools<'_>) -> Result<Relocated, PipelineError> {
    let locked = open(order)?;
    if locked.sidecar.inputs.is_none() {
        return Err(PipelineError::NoPins { path: locked.project.sidecar_path });
    }
    let inputs = InputSource::of(&locked, tools)?.realise(tools)?;
    let usr = inputs.locate(Path::new("/usr")).unwrap_or_default();
    let tree: PathBuf = usr.parent().map(Path::to_owned).unwrap_or_default();
    staged(tools.reporter, Stage::Place, None, || {
        let done = relocate::relocate(&tree, out, &inputs.target, tools.settings.jobs.get(), tools.reporter)?;
        let (runtime, dev) = (done.runtime.files, done.dev.files);
        let mut summary = format!("{runtime} files of the runtime, {dev} development files");
        if order.bytecode {
            let compiled = relocate::bytecode(&inputs, &out.runtime, tools.settings.jobs, tools.reporter)?;
            summary.push_str(&format!(", {} bytecode files", compiled.files));
        }
        Ok::<_, PipelineError>((done, summary))
    })
}
