//! The command line: arguments are parsed, settings resolved, one stage sequence called, its result printed.
//!
//! Results go to standard output, everything else to standard error. This is the only module that prints.

mod args;
mod failure;
mod filter;
mod output;
mod progress;
mod session;
mod verbs;

use std::process::ExitCode;

use clap::Parser as _;

/// Runs kletimg with the arguments of the process.
pub fn run() -> ExitCode {
    let arguments = args::Arguments::parse();
    match verbs::run(arguments) {
        Ok(code) => code,
        Err(failure) => failure.show(),
    }
}
