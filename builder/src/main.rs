//! The `akb` command: arguments in, events and results out. Only this crate prints or exits.

mod commands;
mod context;
mod failure;
mod patchelf;
mod render;
mod tools;

use std::ffi::OsString;
use std::process::ExitCode;

use akb::nix::Attributes;
use clap::Parser as _;

/// Without arguments, run by Nix, akb is a derivation's builder.
fn meant(typed: Vec<OsString>) -> Vec<OsString> {
    if typed.len() <= 1 && Attributes::are_there(&context::env) {
        return vec!["akb".into(), "nix-build".into()];
    }
    typed
}

fn main() -> ExitCode {
    let typed: Vec<OsString> = std::env::args_os().collect();
    if typed.first().is_some_and(patchelf::is_meant) {
        return patchelf::main(typed);
    }
    let arguments = commands::Cli::parse_from(meant(typed));
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
