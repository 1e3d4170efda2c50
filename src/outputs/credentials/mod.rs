//! Logins of registries, from the files and helper programs that docker, podman and skopeo share.
//!
//! The format is `config.json` of the Docker CLI (cli/config/configfile/file.go) and its near twin, `auth.json` of
//! containers/image (containers-auth.json(5)), whose keys may also name a namespace or repository. Helper programs speak
//! the protocol of docker-credential-helpers: the server or the secret goes to their standard input, never into
//! arguments. Which files are read is decided by the settings; this module is given paths.

mod file;
mod helper;

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};

use self::file::{host_of, is_host_key, key, read, read_object, write};
use crate::host::files::FileError;

pub use helper::Helpers;

/// A text that no message, log or debug output shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the wire and nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How to prove who one is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    Password {
        user: String,
        password: Secret,
    },
    /// A refresh token of the registry's token service (`identitytoken`).
    Identity {
        token: Secret,
    },
    /// A bearer token that is sent to the registry as it is (`registrytoken`).
    Bearer {
        token: Secret,
    },
}

/// Where logins are looked for: files in order, and what helper programs are run with.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// `REGISTRY_AUTH_FILE`, `DOCKER_CONFIG/config.json`, ...: the first that knows the registry is used.
    pub files: Vec<PathBuf>,
    pub helpers: Helpers,
}

/// Where a login was put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// With the helper program of this name.
    Helper(String),
    /// In the file, merely encoded: whoever can read the file can read the password.
    File,
}

#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    #[error(transparent)]
    File(#[from] FileError),
    // Serde's own message may quote the file, and with it a password.
    #[error("reading {}: line {line}, column {column} is not what a Docker config.json holds: correct or remove it", path.display())]
    Malformed { path: PathBuf, line: usize, column: usize },
    #[error("reading {}: the entry of `{registry}` is not base64 of user:password: log in again with `kletimg login {registry}`", path.display())]
    Entry { path: PathBuf, registry: String },
    #[error(
        "reading {}: `{name}` cannot be the name of a credential helper: write what follows `docker-credential-`", path.display()
    )]
    HelperName { path: PathBuf, name: String },
    #[error("asking for the login of `{registry}`: docker-credential-{name} is not on PATH: install it, or take it out of {}", path.display())]
    NoHelper { path: PathBuf, registry: String, name: String },
    #[error("docker-credential-{name} {verb} for `{registry}` failed: {reason}")]
    Helper { name: String, verb: &'static str, registry: String, reason: String },
    #[error("a password for `{0}` must be given with a user name")]
    NoUser(String),
}

impl Credentials {
    /// The login for a repository of a registry, both as [`crate::images::reference::Repository`] has them. `None`: nobody
    /// has logged in there.
    pub fn find(&self, registry: &str, path: &str) -> Result<Option<Login>, CredentialsError> {
        for file in &self.files {
            let Some(config) = read(file)? else { continue };
            if let Some(name) = config.helper(registry)
                && let Some(login) = self.helpers.get(file, name, registry)?
            {
                return Ok(Some(login));
            }
            if let Some(login) = config.entry(registry, path, file)? {
                return Ok(Some(login));
            }
        }
        Ok(None)
    }

    /// Keeps a login, with the helper that `file` names for the registry, or else in the file itself. All else in the
    /// file stays as it is.
    pub fn keep(&self, file: &Path, registry: &str, login: &Login) -> Result<Kept, CredentialsError> {
        // Read through the typed form first, so that a file that is not understood is not rewritten.
        let helper = read(file)?.and_then(|config| config.helper(registry).map(str::to_owned));
        let mut config = read_object(file)?;
        let (kept, entry) = match helper {
            Some(name) => {
                self.helpers.store(file, &name, registry, login)?;
                (Kept::Helper(name), json!({}))
            }
            None => (Kept::File, login.entry(registry)?),
        };
        let mut auths = match config.remove("auths") {
            Some(Value::Object(auths)) => auths,
            _ => Map::new(),
        };
        auths.insert(key(registry), entry);
        config.insert("auths".to_owned(), Value::Object(auths));
        write(file, config)?;
        Ok(kept)
    }

    /// Forgets the login of a registry, in the file and with its helper. `false`: there was none in the file.
    pub fn forget(&self, file: &Path, registry: &str) -> Result<bool, CredentialsError> {
        let Some(parsed) = read(file)? else { return Ok(false) };
        if let Some(name) = parsed.helper(registry) {
            self.helpers.erase(file, name, registry)?;
        }
        let mut config = read_object(file)?;
        let Some(auths) = config.get_mut("auths").and_then(Value::as_object_mut) else { return Ok(false) };
        let before = auths.len();
        auths.retain(|key, _| !(is_host_key(key) && host_of(key) == registry));
        let found = auths.len() < before;
        if found {
            write(file, config)?;
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests;
