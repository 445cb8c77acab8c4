//! `akb fetch`: the files of a lock.

use std::path::{Path, PathBuf};

use akb::fetch;
use akb::pipeline::{self, Files};

use crate::context::{Context, absolute};
use crate::failure::Failure;
use crate::tools::SubjectArgs;

/// Fetch every file that a lock names, and check it
///
/// Finds wheels and source distributions by file name and hash through the indexes, keeps them in the cache, and
/// prints the NAR hash of the folder of them all, which akb.lock holds too. A later build with --offline needs no
/// network for them. What is there already is not asked for; what broke off goes on where it stopped.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    subject: SubjectArgs,
    /// Also copy the files into this new folder
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The pinned packages that Python, compilers and libraries come from, instead of the Python packages
    #[arg(long)]
    input_packages: bool,
}

pub(crate) fn run(args: &Args, cx: &Context) -> Result<(), Failure> {
    let order = args.subject.order(Path::new("result"), true, true)?;
    let bench = args.subject.open(cx, false)?;
    let tools = bench.tools();
    let Files { files, hash } =
        if args.input_packages { pipeline::fetch_inputs(&order, &tools)? } else { pipeline::fetch(&order, &tools)? };
    if let Some(out) = &args.out {
        fetch::copy(&files, &absolute(out)?)?;
    }
    cx.print(&format!("{} files  {}\n", files.len(), hash.sri()));
    Ok(())
}
