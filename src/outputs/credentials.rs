//! Logins of registries, from the files and helper programs that docker, podman and skopeo share.
//!
//! The format is `config.json` of the Docker CLI (cli/config/configfile/file.go) and its near twin, `auth.json` of
//! containers/image (containers-auth.json(5)), whose keys may also name a namespace or repository. Helper programs speak
//! the protocol of docker-credential-helpers: the server or the secret goes to their standard input, never into
//! arguments. Which files are read is decided by the settings; this module is given paths.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::host::{
    files::{self, FileError},
    process::{self, Ended, Program},
};

/// A real file has a few entries.
const LARGEST_FILE: u64 = 1 << 20;

/// Docker Hub's key in these files, since the days of the first registry API.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// The user name by which helpers and token services say that the secret is an identity token.
const TOKEN_USER: &str = "<token>";

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

/// What `docker-credential-*` programs are run with.
#[derive(Clone, Debug, Default)]
pub struct Helpers {
    /// A `PATH` to find them in.
    pub search_path: OsString,
    /// Their whole environment. Most need `HOME`, those of desktops also `DBUS_SESSION_BUS_ADDRESS` or `DISPLAY`.
    pub env: Vec<(OsString, OsString)>,
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

impl Login {
    fn entry(&self, registry: &str) -> Result<Value, CredentialsError> {
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
struct Config {
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
    fn helper(&self, registry: &str) -> Option<&str> {
        let named = self.cred_helpers.iter().find(|(key, _)| host_of(key) == registry).map(|(_, name)| name.as_str());
        named.or(Some(self.creds_store.as_str())).filter(|name| !name.is_empty())
    }

    /// The most specific entry: `quay.io/a/b`, `quay.io/a`, then `quay.io` in any of its spellings.
    fn entry(&self, registry: &str, path: &str, file: &Path) -> Result<Option<Login>, CredentialsError> {
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

#[derive(Deserialize)]
struct HelperAnswer {
    #[serde(rename = "Username")]
    user: String,
    #[serde(rename = "Secret")]
    secret: String,
}

impl Helpers {
    fn get(&self, file: &Path, name: &str, registry: &str) -> Result<Option<Login>, CredentialsError> {
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

    fn store(&self, file: &Path, name: &str, registry: &str, login: &Login) -> Result<(), CredentialsError> {
        let (user, secret) = match login {
            Login::Password { user, password } => (user.as_str(), password),
            Login::Identity { token } | Login::Bearer { token } => (TOKEN_USER, token),
        };
        let input = json!({ "ServerURL": key(registry), "Username": user, "Secret": secret.expose() }).to_string();
        let ended = self.run(file, name, "store", registry, input)?;
        if ended.status.success() { Ok(()) } else { Err(failed(name, "store", registry, &ended, Some(secret))) }
    }

    fn erase(&self, file: &Path, name: &str, registry: &str) -> Result<(), CredentialsError> {
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

/// The name of a registry's entry.
fn key(registry: &str) -> String {
    if registry == "docker.io" { DOCKER_HUB.to_owned() } else { registry.to_owned() }
}

fn is_url(key: &str) -> bool {
    key.starts_with("https://") || key.starts_with("http://")
}

/// Whether a key names a whole registry: `host`, or a URL such as `https://host/v1/`.
fn is_host_key(key: &str) -> bool {
    is_url(key) || !key.contains('/')
}

/// The registry that a key is for, however it is spelled.
fn host_of(key: &str) -> &str {
    let rest = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    match rest.split('/').next().unwrap_or(rest) {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    }
}

fn read_bytes(file: &Path) -> Result<Option<Vec<u8>>, CredentialsError> {
    match files::read(file, LARGEST_FILE) {
        Ok(bytes) if bytes.iter().all(u8::is_ascii_whitespace) => Ok(None),
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn malformed(path: &Path, error: &serde_json::Error) -> CredentialsError {
    CredentialsError::Malformed { path: path.to_owned(), line: error.line(), column: error.column() }
}

fn read(file: &Path) -> Result<Option<Config>, CredentialsError> {
    let Some(bytes) = read_bytes(file)? else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| malformed(file, &error))
}

fn read_object(file: &Path) -> Result<Map<String, Value>, CredentialsError> {
    let Some(bytes) = read_bytes(file)? else { return Ok(Map::new()) };
    serde_json::from_slice(&bytes).map_err(|error| malformed(file, &error))
}

/// Only the owner may read the file; it appears whole. A symbolic link, as dotfile managers make, stays one.
fn write(file: &Path, config: Map<String, Value>) -> Result<(), CredentialsError> {
    let file = files::resolve(file);
    let bytes = format!("{:#}\n", Value::Object(config)).into_bytes();
    files::write(&file, &bytes, 0o600)?;
    Ok(files::set_mode(&file, 0o600)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(user: &str, password: &str) -> Login {
        Login::Password { user: user.to_owned(), password: Secret::new(password) }
    }

    fn with_file(text: &str) -> (tempfile::TempDir, PathBuf, Credentials) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.json");
        files::write(&file, text.as_bytes(), 0o644).unwrap();
        let credentials = Credentials { files: vec![file.clone()], helpers: Helpers::default() };
        (folder, file, credentials)
    }

    /// A helper that keeps what it was given in a file beside it, and shows what it saw.
    fn helper(folder: &Path, name: &str, script: &str) -> Helpers {
        let text = format!("#!/bin/sh\ncd '{}'\n{script}", folder.display());
        files::write(&folder.join(format!("docker-credential-{name}")), text.as_bytes(), 0o755).unwrap();
        let search_path = folder.as_os_str().to_owned();
        Helpers { search_path, env: vec![("PATH".into(), "/usr/bin:/bin".into())] }
    }

    #[test]
    fn every_spelling_of_an_entry_is_found() {
        let up = BASE64.encode("u:p:q");
        let cases = [
            (format!(r#"{{"auths":{{"quay.io":{{"auth":"{up}"}}}}}}"#), "quay.io", Some(password("u", "p:q"))),
            (
                format!(r#"{{"auths":{{"https://quay.io/v2/":{{"auth":"{up}"}}}}}}"#),
                "quay.io",
                Some(password("u", "p:q")),
            ),
            (format!(r#"{{"auths":{{"{DOCKER_HUB}":{{"auth":"{up}"}}}}}}"#), "docker.io", Some(password("u", "p:q"))),
            (
                r#"{"auths":{"docker.io":{"username":"u","password":"p"}}}"#.to_owned(),
                "docker.io",
                Some(password("u", "p")),
            ),
            (
                r#"{"auths":{"h:5000":{"auth":"PHRva2VuPjo=","identitytoken":"t"}}}"#.to_owned(),
                "h:5000",
                Some(Login::Identity { token: Secret::new("t") }),
            ),
            (r#"{"auths":{"h":{}}}"#.to_owned(), "h", None),
            (format!(r#"{{"auths":{{"h/a":{{"auth":"{up}"}}}}}}"#), "h", Some(password("u", "p:q"))),
            (format!(r#"{{"auths":{{"h/x":{{"auth":"{up}"}}}}}}"#), "h", None),
            (format!(r#"{{"auths":{{"h.evil":{{"auth":"{up}"}}}}}}"#), "h", None),
            ("{}".to_owned(), "h", None),
            ("  \n".to_owned(), "h", None),
        ];
        for (text, registry, expected) in cases {
            let (_folder, _file, credentials) = with_file(&text);
            assert_eq!(credentials.find(registry, "a/b").unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn the_most_specific_entry_is_used() {
        let [whole, space, other] = ["u:1", "u:2", "u:3"].map(|text| BASE64.encode(text));
        let text = format!(
            r#"{{"auths":{{"h":{{"auth":"{whole}"}},"h/a":{{"auth":"{space}"}},"h/a/c":{{"auth":"{other}"}}}}}}"#
        );
        let (_folder, _file, credentials) = with_file(&text);
        for (path, expected) in [("a/b", "2"), ("a/c", "3"), ("ab", "1"), ("x/a/c", "1")] {
            assert_eq!(credentials.find("h", path).unwrap(), Some(password("u", expected)), "{path}");
        }
    }

    #[test]
    fn a_malformed_file_is_named_without_its_secrets() {
        let texts =
            [r#"{"auths":{"h":"hunter2"}}"#, r#"{"auths":{"h":{"auth":"aHVudGVyMg=="}}}"#, "hunter2", r#"["hunter2"]"#];
        for text in texts {
            let (_folder, file, credentials) = with_file(text);
            let error = credentials.find("h", "a").unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(shown.contains("config.json"), "{shown}");
            assert!(!shown.contains("hunter2") && !shown.contains("aHVudGVyMg"), "{shown}");
            if !text.contains("auth\"") {
                assert!(credentials.keep(&file, "h", &password("u", "p")).is_err(), "{text} is not overwritten");
            }
        }
        assert_eq!(format!("{:?}", password("u", "hunter2")), r#"Password { user: "u", password: *** }"#);
    }

    #[test]
    fn a_login_is_kept_and_forgotten_with_all_else_as_it_was() {
        let (folder, file, credentials) = with_file(r#"{"proxies":{"default":{}},"auths":{"other":{"auth":"dTpw"}}}"#);
        for registry in ["localhost:5000", "docker.io"] {
            assert_eq!(credentials.keep(&file, registry, &password("me", "s3:t")).unwrap(), Kept::File);
            assert_eq!(files::mode(&file), Some(0o600));
            assert_eq!(credentials.find(registry, "a").unwrap(), Some(password("me", "s3:t")));
            assert_eq!(credentials.find("other", "a").unwrap(), Some(password("u", "p")));
            assert!(credentials.forget(&file, registry).unwrap());
            assert!(!credentials.forget(&file, registry).unwrap());
            assert_eq!(credentials.find(registry, "a").unwrap(), None);
        }
        assert!(files::read_text(&file, 1000).unwrap().contains("proxies"));
        assert_eq!(files::names(folder.path()).unwrap(), ["config.json"]);
        let new = folder.path().join("new/config.json");
        assert_eq!(credentials.keep(&new, "h", &Login::Identity { token: Secret::new("t") }).unwrap(), Kept::File);
        assert_eq!(files::mode(&new), Some(0o600));
    }

    #[test]
    fn a_symbolic_link_to_the_file_stays_one() {
        let (folder, file, credentials) = with_file("{}");
        let link = folder.path().join("link.json");
        files::symlink(&file, &link).unwrap();
        credentials.keep(&link, "h", &password("u", "p")).unwrap();
        assert_eq!(credentials.find("h", "a").unwrap(), Some(password("u", "p")));
    }

    #[test]
    fn a_helper_is_asked_on_its_standard_input() {
        let (folder, file, mut credentials) = with_file(r#"{"credHelpers":{"h:5000":"mem"}}"#);
        let script = r#"case $1 in
            store) cat > kept; echo "$@" > args;;
            get) cat > asked; if [ -e kept ]; then cat kept; else echo 'credentials not found in native keychain'; exit 1; fi;;
            erase) rm kept;;
        esac"#;
        credentials.helpers = helper(folder.path(), "mem", script);
        assert_eq!(credentials.find("h:5000", "a").unwrap(), None);
        assert_eq!(files::read_text(&folder.path().join("asked"), 100).unwrap(), "h:5000");
        let kept = credentials.keep(&file, "h:5000", &password("u", "s3cret")).unwrap();
        assert_eq!(kept, Kept::Helper("mem".to_owned()));
        assert_eq!(files::read_text(&folder.path().join("args"), 100).unwrap(), "store\n");
        assert!(!files::read_text(&file, 1000).unwrap().contains("s3cret"));
        assert_eq!(credentials.find("h:5000", "a").unwrap(), Some(password("u", "s3cret")));
        credentials.forget(&file, "h:5000").unwrap();
        assert_eq!(credentials.find("h:5000", "a").unwrap(), None);
    }

    #[test]
    fn a_helper_that_fails_is_told_without_secrets() {
        let (folder, file, mut credentials) = with_file(r#"{"credsStore":"bad"}"#);
        assert!(matches!(credentials.find("h", "a"), Err(CredentialsError::NoHelper { .. })));
        credentials.helpers = helper(folder.path(), "bad", "cat; exit 3");
        let error = credentials.keep(&file, "h", &password("u", "s3cret")).unwrap_err().to_string();
        assert!(error.contains("docker-credential-bad store") && !error.contains("s3cret"), "{error}");
        credentials.helpers = helper(folder.path(), "bad", "echo nonsense");
        assert!(matches!(credentials.find("h", "a"), Err(CredentialsError::Helper { .. })));
        for name in ["../bad", "a b", "a/b"] {
            let (_folder, _file, credentials) = with_file(&format!(r#"{{"credsStore":"{name}"}}"#));
            assert!(matches!(credentials.find("h", "a"), Err(CredentialsError::HelperName { .. })), "{name}");
        }
    }
}
