//! `kletimg login` and `kletimg logout`.

use std::{io::Read as _, path::PathBuf, process::ExitCode};

use super::super::{
    args,
    failure::Failure,
    session::{Session, block_on},
};
use crate::{
    images::reference::{InvalidReference, read_registry},
    outputs::{
        credentials::{Kept, Login, Secret},
        registry::Registry,
    },
    pipeline::publish::PublishError,
};

/// Tokens of cloud registries have a few kilobytes.
const LONGEST_PASSWORD: u64 = 64 << 10;

pub(super) fn login(session: &Session, args: &args::Login) -> Result<ExitCode, Failure> {
    let registry = named(&args.registry)?;
    let settings = session.registries(&args.registries, &args.ca)?;
    let file = login_file(session)?;
    let user = match &args.username {
        Some(user) => user.clone(),
        None => known_user(session, &registry)?,
    };
    if user.is_empty() || user.contains(':') {
        return Err(Failure::Usage("a user's name is not empty and has no `:` in it".to_owned()));
    }
    let login = Login::Password { user: user.clone(), password: password()? };
    let checked = block_on(Registry::check_login(&settings, &registry, login.clone()))?;
    checked.map_err(PublishError::from)?;
    let kept = settings.credentials.keep(&file, &registry, &login)?;
    super::print(&format!("logged in to {registry} as {user}"))?;
    session.progress.note(&match kept {
        Kept::Helper(name) => format!("the login is kept by docker-credential-{name}"),
        Kept::File => format!(
            "the login is kept in {}, where whoever can read the file can read the password: name a credential helper \
             there (`credHelpers`) to avoid that",
            file.display()
        ),
    });
    Ok(ExitCode::SUCCESS)
}

pub(super) fn logout(session: &Session, args: &args::Logout) -> Result<ExitCode, Failure> {
    let registry = named(&args.registry)?;
    let file = login_file(session)?;
    let found = session.credentials().forget(&file, &registry)?;
    super::print(&if found {
        format!("logged out of {registry}")
    } else {
        format!("there was no login of {registry} in {}", file.display())
    })?;
    Ok(ExitCode::SUCCESS)
}

fn named(registry: &str) -> Result<String, Failure> {
    let help = "\n  help: write a host such as registry.example:5000, or docker.io, without https:// and path";
    read_registry(registry).map_err(|error: InvalidReference| Failure::Usage(format!("{error}{help}")))
}

/// The file that logins go to.
fn login_file(session: &Session) -> Result<PathBuf, Failure> {
    session.environment.login_files.first().cloned().ok_or_else(|| {
        Failure::Usage("no file for logins is known: set DOCKER_CONFIG, REGISTRY_AUTH_FILE or HOME".to_owned())
    })
}

/// The user of the login that is there, as when a password has changed.
fn known_user(session: &Session, registry: &str) -> Result<String, Failure> {
    match session.credentials().find(registry, "")? {
        Some(Login::Password { user, .. }) => Ok(user),
        _ => Err(Failure::Usage(format!("nobody has logged in to {registry} before: give the name with --username"))),
    }
}

/// Standard input without the line's end, which `echo` and editors add.
fn password() -> Result<Secret, Failure> {
    let mut text = String::new();
    std::io::stdin()
        .lock()
        .take(LONGEST_PASSWORD + 1)
        .read_to_string(&mut text)
        .map_err(|error| Failure::Usage(format!("reading the password from standard input: {error}")))?;
    let password = text.strip_suffix('\n').unwrap_or(&text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    if password.is_empty() || password.len() as u64 > LONGEST_PASSWORD {
        return Err(Failure::Usage("the password on standard input is empty, or longer than 64 KiB".to_owned()));
    }
    Ok(Secret::new(password))
}
