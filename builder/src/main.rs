//! The `akb` command: arguments in, events and results out. Only this crate prints or exits.

mod commands;
mod context;
mod failure;
mod render;
mod tools;

use std::ffi::OsString;
use std::process::ExitCode;

use akb::nix::Attributes;
use clap::Parser as _;

/// What was typed. Without arguments, run by Nix, akb is a derivation's builder.
fn arguments() -> Vec<OsString> {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    if arguments.len() <= 1 && Attributes::are_there(&context::env) {
        arguments = vec!["akb".into(), "nix-build".into()];
    }
    arguments
}

fn main() -> ExitCode {
    let arguments = commands::Cli::parse_from(arguments());
    let context = match context::Context::new(&arguments.globals) {
        Ok(context) => context,
        Err(failure) => {
            eprint!("{}", failure.render(|_, text| text.to_owned()));
            return ExitCode::from(failure.code as u8);
        }
    };
    match arguments.command.run(&context) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            context.fail(&failure);
            ExitCode::from(failure.code as u8)
        }
    }
}
