//! `akb place`: moves a finished tree to another folder.

use std::path::PathBuf;

use akb::place;

use crate::context::{Context, absolute};
use crate::failure::Failure;

/// Copy a finished tree to another folder, or mend one that was moved
///
/// Programs name their interpreter, and scripts name Python, by absolute paths; so a tree that is moved with mv
/// does not start. This command copies it with these paths changed. Its canonical hash stays the same, and is
/// checked on the way.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// A folder that `akb build` made
    tree: PathBuf,
    /// Where to put it [default: where it is now, after a move]
    to: Option<PathBuf>,
}

pub(crate) fn run(args: &Args, cx: &Context) -> Result<(), Failure> {
    let tree = absolute(&args.tree)?;
    let to = args.to.as_deref().map_or(Ok(tree.clone()), absolute)?;
    let receipt = place::receipt(&tree)?;
    let from = receipt.prefix.clone();
    let expected = receipt.hash;
    let moved = place::Receipt { prefix: to.clone(), ..receipt };
    let identity = place::replace(&tree, &from, &to, Some(expected), |_| moved, cx.settings.jobs)?;
    cx.print(&format!("{}  {}\n", identity.hash, to.display()));
    Ok(())
}
