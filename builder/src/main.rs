//! The `akb` command: arguments in, events and results out. Only this crate prints or exits.

mod commands;
mod context;
mod failure;
mod patchelf;
mod render;
mod tools;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    if arguments.first().is_some_and(patchelf::is_meant) {
        return patchelf::main(arguments);
    }
    let arguments = commands::Cli::parse();
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
