//! `kletimg image`: look into an image, prove it, compare it, copy it, run it.

mod copy;
mod look;
mod run;
mod verify;

use std::process::ExitCode;

use crate::{
    cli::{
        args::{Image, Reading},
        failure::Failure,
        session::Session,
    },
    outputs::registry::Settings,
};

pub(super) fn run(session: &Session, args: &Image) -> Result<ExitCode, Failure> {
    match args {
        Image::Ls(args) => look::ls(session, args),
        Image::Verify(args) => verify::run(session, args),
        Image::Diff(args) => look::diff(session, args),
        Image::Copy(args) => copy::run(session, args),
        Image::Run(args) => run::run(session, args),
        Image::Cost(args) => look::cost(session, args),
    }
}

fn registries(session: &Session, reading: &Reading) -> Result<Settings, Failure> {
    session.registries(&reading.registries, &reading.ca)
}
