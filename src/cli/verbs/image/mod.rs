//! `kletimg image`: look into an image, prove it, compare it, copy it, run it.

mod copy;

use std::process::ExitCode;

use super::super::{args::Image, failure::Failure, session::Session};

pub(super) fn run(session: &Session, args: &Image) -> Result<ExitCode, Failure> {
    match args {
        Image::Copy(args) => copy::run(session, args),
        _ => Err(Failure::Usage("not yet".to_owned())),
    }
}
