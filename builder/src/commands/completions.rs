//! `akb completions` and `akb man`: made from the table of commands.

use clap::CommandFactory as _;

use super::Cli;
use crate::context::Context;
use crate::failure::Failure;

/// Print completions for a shell
///
/// For bash: akb completions bash > ~/.local/share/bash-completion/completions/akb
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Which shell
    shell: clap_complete::Shell,
}

#[expect(clippy::unnecessary_wraps, reason = "every command has this form")]
pub(crate) fn run(args: &Args, cx: &Context) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "akb", &mut text);
    cx.print(&String::from_utf8_lossy(&text));
    Ok(())
}

/// Print the manual page of akb, or of one command
///
/// To read it: akb man | man -l -
#[derive(clap::Args, Debug)]
pub(crate) struct ManArgs {
    /// Which command [default: all of akb]
    command: Option<String>,
}

pub(crate) fn man(args: &ManArgs, cx: &Context) -> Result<(), Failure> {
    let mut cli = Cli::command();
    cli.build();
    let page = match &args.command {
        None => cli,
        Some(name) => cli
            .find_subcommand(name)
            .cloned()
            .ok_or_else(|| Failure::usage(format!("there is no command `{name}`"), "akb --help lists the commands"))?
            .display_name(format!("akb-{name}")),
    };
    let mut text = Vec::new();
    clap_mangen::Man::new(page)
        .render(&mut text)
        .map_err(|error| Failure::io("write", std::path::Path::new("the manual page"), &error))?;
    cx.print(&String::from_utf8_lossy(&text));
    Ok(())
}
