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
    images::reference::{Repository, read_registry},
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
    let mut settings = session.registries(&reading.registries, &reading.ca)?;
    for mirror in &reading.registry_mirror {
        let wrong =
            || Failure::Usage(format!("`{mirror}` is not a mirror\n  help: write docker.io=mirror.lan:5000/hub"));
        let (registry, host) = mirror.split_once('=').ok_or_else(wrong)?;
        let registry = read_registry(registry).map_err(|_| wrong())?;
        let host = host.trim_end_matches('/');
        // Whatever comes after it, the mirror must make a name of a repository.
        format!("{host}/x").parse::<Repository>().ok().filter(|_| host.contains(['.', ':'])).ok_or_else(wrong)?;
        settings.mirrors.entry(registry).or_default().push(host.to_owned());
    }
    Ok(settings)
}
