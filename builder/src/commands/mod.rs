//! The table of commands: help, completions and the man page are made from it.

mod build;
mod completions;
mod elf;
mod fetch;
mod inputs;
mod install;
mod lock;
pub(crate) mod nix_build;
mod place;
pub(crate) mod plan;
mod references;
mod relink;
mod strip;
mod substitute;
mod unpack;
mod verify;
mod wheel;
mod why;

use crate::context::{Context, Globals};
use crate::failure::Failure;

/// Turns a locked Python project into a finished, relinked, reproducible tree.
///
/// Exit status: 0 done, 1 failed, 2 wrong command line or file of yours, 3 wrong hash, signature or hostile
/// archive, 4 network or index, 5 a compiler or backend failed, 6 verify found something, 7 this machine lacks
/// something.
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
    Build(build::Args),
    Plan(plan::Args),
    Lock(lock::Args),
    Inputs(inputs::Args),
    Fetch(fetch::Args),
    Unpack(unpack::Args),
    Wheel(wheel::Args),
    Install(install::Args),
    Substitute(substitute::Args),
    Relink(relink::Args),
    Place(place::Args),
    Verify(verify::Args),
    Strip(strip::Args),
    References(references::Args),
    Why(why::Args),
    NixBuild(nix_build::Args),
    Elf(elf::Args),
    Completions(completions::Args),
    Man(completions::ManArgs),
}

impl Command {
    pub(crate) fn run(&self, cx: &Context) -> Result<(), Failure> {
        match self {
            Self::Build(args) => build::run(args, cx),
            Self::Plan(args) => plan::run(args, cx),
            Self::Lock(args) => lock::run(args, cx),
            Self::Inputs(args) => inputs::run(args, cx),
            Self::Fetch(args) => fetch::run(args, cx),
            Self::Unpack(args) => unpack::run(args, cx),
            Self::Wheel(args) => wheel::run(args, cx),
            Self::Install(args) => install::run(args, cx),
            Self::Substitute(args) => substitute::run(args, cx),
            Self::Relink(args) => relink::run(args, cx),
            Self::Place(args) => place::run(args, cx),
            Self::Verify(args) => verify::run(args, cx),
            Self::Strip(args) => strip::run(args, cx),
            Self::References(args) => references::run(args, cx),
            Self::Why(args) => why::run(args, cx),
            Self::NixBuild(args) => nix_build::run(args, cx),
            Self::Elf(args) => elf::run(args, cx),
            Self::Completions(args) => completions::run(args, cx),
            Self::Man(args) => completions::man(args, cx),
        }
    }
}
