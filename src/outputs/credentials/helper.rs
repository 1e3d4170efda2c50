//! Credential helpers: programs that keep logins in a keyring, by the protocol of docker-credential-helpers.

use std::{ffi::OsString, path::Path};

use serde::Deserialize;
use serde_json::json;

use super::{CredentialsError, Login, Secret, file::key};
use crate::host::process::{self, Ended, Program};

/// The user name by which helpers and token services say that the secret is an identity token.
const TOKEN_USER: &str = "<token>";

/// What `docker-credential-*` programs are run with.
#[derive(Clone, Debug, Default)]
pub struct Helpers {
    /// A `PATH` to find them in.
    pub search_path: OsString,
    /// Their whole environment. Most need `HOME`, those of desktops also `DBUS_SESSION_BUS_ADDRESS` or `DISPLAY`.
    pub env: Vec<(OsString, OsString)>,
}

#[derive(Deserialize)]
struct HelperAnswer {
    #[serde(rename = "Username")]
    user: String,
    #[serde(rename = "Secret")]
    secret: String,
}

impl Helpers {
    pub(super) fn get(&self, file: &Path, name: &str, registry: &str) -> Result<Option<Login>, CredentialsError> {
        let ended = self.run(file, name, "get", registry, key(registry))?;
        if !ended.status.success() {
            // The library of docker-credential-helpers knows this condition by its text alone.
            let said = ended.text();
            if said.contains("credentials not found in native keychain") || said.contains("no credentials server URL") {
                return Ok(None);
            }
            return Err(failed(name, "get", registry, &ended, None));
        }
        let answer: HelperAnswer = serde_json::from_slice(&ended.stdout).map_err(|_| CredentialsError::Helper {
            name: name.to_owned(),
            verb: "get",
            registry: registry.to_owned(),
            reason: "its answer is not the JSON of a credential helper".to_owned(),
        })?;
        let secret = Secret::new(answer.secret);
        Ok(Some(match answer.user.as_str() {
            TOKEN_USER => Login::Identity { token: secret },
            _ => Login::Password { user: answer.user, password: secret },
        }))
    }

    pub(super) fn store(&self, file: &Path, name: &str, registry: &str, login: &Login) -> Result<(), CredentialsError> {
        let (user, secret) = match login {
            Login::Password { user, password } => (user.as_str(), password),
            Login::Identity { token } | Login::Bearer { token } => (TOKEN_USER, token),
        };
        let input = json!({ "ServerURL": key(registry), "Username": user, "Secret": secret.expose() }).to_string();
        let ended = self.run(file, name, "store", registry, input)?;
        if ended.status.success() { Ok(()) } else { Err(failed(name, "store", registry, &ended, Some(secret))) }
    }

    pub(super) fn erase(&self, file: &Path, name: &str, registry: &str) -> Result<(), CredentialsError> {
        let ended = self.run(file, name, "erase", registry, key(registry))?;
        // Having nothing to erase is no failure of a logout, and helpers differ in whether they call it one.
        let nothing = ended.text().contains("not found");
        if ended.status.success() || nothing { Ok(()) } else { Err(failed(name, "erase", registry, &ended, None)) }
    }

    fn run(
        &self,
        file: &Path,
        name: &str,
        verb: &'static str,
        registry: &str,
        input: String,
    ) -> Result<Ended, CredentialsError> {
        let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
        if name.is_empty() || !name.bytes().all(plain) {
            return Err(CredentialsError::HelperName { path: file.to_owned(), name: name.to_owned() });
        }
        let program = process::find(&format!("docker-credential-{name}"), &self.search_path).ok_or_else(|| {
            CredentialsError::NoHelper { path: file.to_owned(), registry: registry.to_owned(), name: name.to_owned() }
        })?;
        let mut program = Program::new(program).arg(verb);
        program.env.clone_from(&self.env);
        program.run_with_input(input.into_bytes()).map_err(|error| CredentialsError::Helper {
            name: name.to_owned(),
            verb,
            registry: registry.to_owned(),
            reason: error.to_string(),
        })
    }
}

/// A helper's own words, without the secret if it repeats it.
fn failed(name: &str, verb: &'static str, registry: &str, ended: &Ended, secret: Option<&Secret>) -> CredentialsError {
    let mut said: String = ended.text().trim().chars().filter(|c| !c.is_control()).collect();
    if let Some(secret) = secret.filter(|secret| !secret.expose().is_empty()) {
        said = said.replace(secret.expose(), "***");
    }
    let said: String = said.chars().take(300).collect();
    let reason = if said.is_empty() { process::describe(ended.status) } else { said };
    CredentialsError::Helper { name: name.to_owned(), verb, registry: registry.to_owned(), reason }
}
