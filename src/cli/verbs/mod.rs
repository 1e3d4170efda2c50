//! One file for each verb: resolve, call, print.

mod plan;

use std::process::ExitCode;

use clap::CommandFactory as _;

use super::{
    args::{Arguments, Filter, Matrix, Platforms, Verb},
    failure::Failure,
};
use crate::{base::Platform, plan as planning, settings::Environment};

pub(super) fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let environment = Environment::read()?;
    let Arguments { global, verb } = arguments;
    match verb {
        Verb::Matrix(Matrix::Plan(args)) => plan::run(&global, &environment, &args),
        Verb::Completion { shell } => {
            clap_complete::generate(shell, &mut Arguments::command(), "kletimg", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
        _ => unreachable!(),
    }
}

/// What `--kubernetes`, `--variant`, `--platform` and `--base` say.
fn filter(args: &Filter) -> planning::Filter {
    let mut platforms = Vec::new();
    for wanted in &args.platform {
        match wanted {
            Platforms::All => platforms.extend(Platform::ALL),
            Platforms::One(platform) => platforms.push(*platform),
        }
    }
    planning::Filter {
        kubernetes: args.kubernetes.clone(),
        variants: args.variant.clone(),
        platforms,
        bases: args.base.clone(),
    }
}
