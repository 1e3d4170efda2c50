//! The files that logins are kept in: read in every spelling, written so that all else stays as it is.

use std::{collections::BTreeMap, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{CredentialsError, Login, Secret};
use crate::host::files;

/// A real file has a few entries.
const LARGEST_FILE: u64 = 1 << 20;

/// Docker Hub's key in these files, since the days of the first registry API.
pub(super) const DOCKER_HUB: &str = "https://index.docker.io/v1/";

impl Login {
    pub(super) fn entry(&self, registry: &str) -> Result<Value, CredentialsError> {
        match self {
            Self::Password { user, .. } if user.is_empty() => Err(CredentialsError::NoUser(registry.to_owned())),
            Self::Password { user, password } => {
                Ok(json!({ "auth": BASE64.encode(format!("{user}:{}", password.expose())) }))
            }
            Self::Identity { token } => {
                Ok(json!({ "auth": BASE64.encode("<token>:"), "identitytoken": token.expose() }))
            }
            Self::Bearer { token } => Ok(json!({ "registrytoken": token.expose() })),
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Config {
    auths: BTreeMap<String, Entry>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

impl Config {
    pub(super) fn helper(&self, registry: &str) -> Option<&str> {
        let named = self.cred_helpers.iter().find(|(key, _)| host_of(key) == registry).map(|(_, name)| name.as_str());
        named.or(Some(self.creds_store.as_str())).filter(|name| !name.is_empty())
    }

    /// The most specific entry: `quay.io/a/b`, `quay.io/a`, then `quay.io` in any of its spellings.
    pub(super) fn entry(&self, registry: &str, path: &str, file: &Path) -> Result<Option<Login>, CredentialsError> {
        let whole = format!("{registry}/{path}");
        let mut name = whole.as_str();
        while name.len() > registry.len() {
            if let Some(entry) = self.auths.get(name)
                && let Some(login) = entry.login(registry, file)?
            {
                return Ok(Some(login));
            }
            name = name.rsplit_once('/').map_or("", |(above, _)| above);
        }
        let exact = self.auths.get(&key(registry)).into_iter();
        let spelled = self.auths.iter().filter(|(key, _)| is_host_key(key) && host_of(key) == registry);
        for entry in exact.chain(spelled.map(|(_, entry)| entry)) {
            if let Some(login) = entry.login(registry, file)? {
                return Ok(Some(login));
            }
        }
        Ok(None)
    }
}

impl Entry {
    fn login(&self, registry: &str, file: &Path) -> Result<Option<Login>, CredentialsError> {
        if !self.identitytoken.is_empty() {
            return Ok(Some(Login::Identity { token: Secret::new(&self.identitytoken) }));
        }
        if !self.registrytoken.is_empty() {
            return Ok(Some(Login::Bearer { token: Secret::new(&self.registrytoken) }));
        }
        if !self.auth.is_empty() {
            let wrong = || CredentialsError::Entry { path: file.to_owned(), registry: registry.to_owned() };
            let bytes = BASE64.decode(self.auth.trim()).map_err(|_| wrong())?;
            let text = String::from_utf8(bytes).map_err(|_| wrong())?;
            // Docker itself trims the NUL bytes that old versions wrote.
            let (user, password) = text.trim_end_matches('\0').split_once(':').ok_or_else(wrong)?;
            return Ok(Some(Login::Password { user: user.to_owned(), password: Secret::new(password) }));
        }
        let plain = !self.username.is_empty() && !self.password.is_empty();
        Ok(plain.then(|| Login::Password { user: self.username.clone(), password: Secret::new(&self.password) }))
    }
}

/// The name of a registry's entry.
pub(super) fn key(registry: &str) -> String {
    if registry == "docker.io" { DOCKER_HUB.to_owned() } else { registry.to_owned() }
}

fn is_url(key: &str) -> bool {
    key.starts_with("https://") || key.starts_with("http://")
}

/// Whether a key names a whole registry: `host`, or a URL such as `https://host/v1/`.
pub(super) fn is_host_key(key: &str) -> bool {
    is_url(key) || !key.contains('/')
}

/// The registry that a key is for, however it is spelled.
pub(super) fn host_of(key: &str) -> &str {
    let rest = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    match rest.split('/').next().unwrap_or(rest) {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    }
}

fn read_bytes(file: &Path) -> Result<Option<Vec<u8>>, CredentialsError> {
    match files::read_stream(file, LARGEST_FILE) {
        Ok(bytes) if bytes.iter().all(u8::is_ascii_whitespace) => Ok(None),
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn malformed(path: &Path, error: &serde_json::Error) -> CredentialsError {
    CredentialsError::Malformed { path: path.to_owned(), line: error.line(), column: error.column() }
}

pub(super) fn read(file: &Path) -> Result<Option<Config>, CredentialsError> {
    let Some(bytes) = read_bytes(file)? else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| malformed(file, &error))
}

pub(super) fn read_object(file: &Path) -> Result<Map<String, Value>, CredentialsError> {
    let Some(bytes) = read_bytes(file)? else { return Ok(Map::new()) };
    serde_json::from_slice(&bytes).map_err(|error| malformed(file, &error))
}

/// Only the owner may read the file; it appears whole. A symbolic link, as dotfile managers make, stays one.
pub(super) fn write(file: &Path, config: Map<String, Value>) -> Result<(), CredentialsError> {
    let file = files::resolve(file);
    let bytes = format!("{:#}\n", Value::Object(config)).into_bytes();
    files::write(&file, &bytes, 0o600)?;
    Ok(files::set_mode(&file, 0o600)?)
}
