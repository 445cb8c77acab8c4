//! `akb build`: the whole way.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use akb::pipeline::{self, Built};

use crate::context::Context;
use crate::failure::Failure;
use crate::render::{size, time};
use crate::tools::SubjectArgs;

/// Build a locked project into a folder that runs by itself
///
/// Fetches what uv.lock and akb.lock name, compiles what is source in a sandbox, installs it beside a Python and
/// the libraries that it needs, and relinks it all. The folder then needs nothing of this machine but its kernel.
/// The same locks give the same hash on every machine, in every folder. Without akb.lock it is made first.
///
/// Example: akb build authentik-deps@2026.2.0
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    subject: SubjectArgs,
    /// Folder to make; an older one that akb made there is replaced
    #[arg(short, long, value_name = "FOLDER", default_value = "result")]
    out: PathBuf,
    /// Go by akb.lock alone: fail where it is missing, out of date, or pins what is gone
    #[arg(long)]
    locked: bool,
    /// Compile no bytecode
    #[arg(long)]
    no_bytecode: bool,
}

pub(crate) fn run(args: &Args, cx: &Context) -> Result<(), Failure> {
    let started = Instant::now();
    let order = args.subject.order(&args.out, args.locked, !args.no_bytecode)?;
    let workbench = args.subject.open(cx, args.locked)?;
    let mut tools = workbench.tools();
    tools.given = args.subject.given(&order, cx)?;
    let built = pipeline::build(&order, &tools)?;
    if cx.json {
        cx.print(&format!("{}\n", serde_json::json!(built)));
    } else if cx.quiet {
        cx.print(&format!("{}\n", built.hash));
    } else {
        cx.print(&summary(&built, &time(started.elapsed())));
    }
    Ok(())
}

fn summary(built: &Built, elapsed: &str) -> String {
    let mut text = String::new();
    let from = if built.cached { ", the tree from the cache" } else { "" };
    let _ = writeln!(
        text,
        "built {}: {} packages, {} files, {} in {elapsed}{from}",
        built.name,
        built.packages,
        built.files,
        size(built.nar_size)
    );
    if let Some(path) = &built.recorded {
        let _ = writeln!(text, " lock {}", path.display());
    }
    let _ = writeln!(text, " hash {}", built.hash);
    let _ = writeln!(text, "  out {}", built.out.display());
    text
}
