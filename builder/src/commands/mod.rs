//! The table of commands: help, completions and the man page are made from it.

mod plan;
mod unpack;

use crate::context::{Context, Globals};
use crate::failure::Failure;

/// Turns a locked Python project into a finished, relinked, reproducible tree.
#[derive(clap::Parser)]
#[command(name = "akb", version, propagate_version = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    Plan(plan::Args),
    Unpack(unpack::Args),
}

impl Command {
    pub(crate) fn run(&self, cx: &Context) -> Result<(), Failure> {
        match self {
            Self::Plan(args) => plan::run(args, cx),
            Self::Unpack(args) => unpack::run(args, cx),
        }
    }
}
