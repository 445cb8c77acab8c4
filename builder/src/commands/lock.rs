//! `akb lock`: what uv.lock leaves open.

use std::path::Path;

use akb::pipeline::{self, Locking};

use crate::context::Context;
use crate::failure::Failure;
use crate::tools::SubjectArgs;

/// Write akb.lock: what uv.lock leaves open
///
/// The files chosen for one Python and platform, everything that builds the source distributions among them, and
/// the packages that Python, compilers and libraries come from; by name, size and hash, without addresses.
/// Versions of an akb.lock that is there are kept where they still fit.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    subject: SubjectArgs,
    /// Take the newest of everything, whatever akb.lock says now
    #[arg(long, conflicts_with = "check")]
    upgrade: bool,
    /// Only say whether akb.lock still fits uv.lock and the recipe; writes nothing and needs no network
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(args: &Args, cx: &Context) -> Result<(), Failure> {
    let order = args.subject.order(Path::new("result"), false, true)?;
    if args.check {
        let (sidecar, path) = pipeline::check_lock(&order)?;
        cx.print(&format!("{} fits: {} packages\n", path.display(), sidecar.packages.len()));
        return Ok(());
    }
    let workbench = args.subject.open(cx, false)?;
    let how = if args.upgrade { Locking::Upgrade } else { Locking::Keep };
    let (sidecar, path) = pipeline::lock(&order, how, &workbench.tools())?;
    let pins = sidecar.inputs.as_ref().map_or(0, |inputs| inputs.packages.len());
    let (packages, builds) = (sidecar.packages.len(), sidecar.builds.len());
    let mut text = format!("locked {packages} packages, {builds} that build them, {pins} input packages\n");
    if let Some(hash) = &sidecar.fetch_hash {
        text.push_str(&format!(" fetch {}\n", hash.sri()));
    }
    text.push_str(&format!("  lock {}\n", path.display()));
    cx.print(&text);
    Ok(())
}
