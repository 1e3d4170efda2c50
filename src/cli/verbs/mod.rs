//! One file for each verb: resolve, call, print.

mod build;
mod cache;
mod image;
mod lock;
mod locked;
mod login;
mod plan;
mod publish;
mod size;

use std::process::ExitCode;

use clap::CommandFactory as _;

use super::{
    args::{Arguments, Matrix, Verb},
    failure::Failure,
    session::Session,
};

pub(super) fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let Arguments { global, verb } = arguments;
    if let Verb::Completion { shell } = verb {
        // Not straight to standard output: the generator panics where a reader closes it early.
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Arguments::command(), "kletimg", &mut script);
        print(&String::from_utf8_lossy(&script))?;
        return Ok(ExitCode::SUCCESS);
    }
    let session = Session::new(&global)?;
    match verb {
        Verb::Matrix(Matrix::Plan(args)) => plan::run(&session, &args),
        Verb::Matrix(Matrix::Build(args)) => build::run(&session, &args),
        Verb::Matrix(Matrix::Lock(args)) => lock::lock(&session, &args),
        Verb::Matrix(Matrix::Fetch(args)) => lock::fetch(&session, &args),
        Verb::Matrix(Matrix::Push(args)) => publish::push(&session, &args),
        Verb::Matrix(Matrix::Load(args)) => publish::load(&session, &args),
        Verb::Image(args) => image::run(&session, &args),
        Verb::Login(args) => login::login(&session, &args),
        Verb::Logout(args) => login::logout(&session, &args),
        Verb::Size(args) => size::run(&args),
        Verb::Cache(args) => cache::run(&session, &args),
        Verb::Completion { .. } => Ok(ExitCode::SUCCESS),
    }
}

/// Prints a result to standard output.
fn print(text: &str) -> Result<(), Failure> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}

/// Prints a result as JSON.
fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    print(&serde_json::to_string_pretty(value).map_err(std::io::Error::from)?)
}
