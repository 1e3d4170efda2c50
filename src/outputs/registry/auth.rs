//! Who we are to a registry: challenges, and the tokens that answer them.
//!
//! A registry says in `WWW-Authenticate` whether it wants a password (Basic) or a token of its token service (Bearer,
//! distribution's "Token Authentication Specification"). Tokens are for a scope, such as `repository:a/b:pull,push`; they
//! are kept until shortly before they expire, and one that the registry no longer takes is replaced once.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use reqwest::{
    Method, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE},
};
use serde::Deserialize;
use tokio::sync::Mutex;
use url::{Url, form_urlencoded};

use super::{
    error::RegistryError,
    transport::{self, Http},
};
use crate::outputs::credentials::{Login, Secret};

/// A token answer is a few KiB; tokens with many claims reach some tens.
const LARGEST_ANSWER: u64 = 1 << 20;

/// What a request wants to do, as token services understand it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Scope(BTreeSet<String>);

impl Scope {
    pub(super) fn pull(path: &str) -> Self {
        Self(BTreeSet::from([format!("repository:{path}:pull")]))
    }

    pub(super) fn push(path: &str) -> Self {
        Self(BTreeSet::from([format!("repository:{path}:pull,push")]))
    }

    #[must_use]
    pub(super) fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }
}

/// What a registry asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String>, scope: Option<String>, insufficient: bool },
}

/// A token and when to stop using it.
struct Token {
    header: HeaderValue,
    until: Instant,
}

/// The login at one registry, with the tokens it has earned.
pub(super) struct Auth {
    pub(super) login: Option<Login>,
    /// Tokens go to an unencrypted service only when the registry itself is not encrypted.
    plain: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    challenge: Option<Challenge>,
    tokens: BTreeMap<Scope, Token>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    expires_in: Option<u64>,
}

impl Auth {
    pub(super) fn new(login: Option<Login>, plain: bool, challenge: Option<Challenge>) -> Self {
        Self { login, plain, state: Mutex::new(State { challenge, tokens: BTreeMap::new() }) }
    }

    /// The `Authorization` for a request, if the registry has asked for one.
    pub(super) async fn header(&self, http: &Http, scope: &Scope) -> Result<Option<HeaderValue>, RegistryError> {
        // Held while a token is fetched, so that parallel requests wait for one token instead of fetching their own.
        let mut state = self.state.lock().await;
        if let Some(Login::Bearer { token }) = &self.login {
            return Ok(bearer(token.expose()));
        }
        let Some(challenge) = state.challenge.clone() else { return Ok(None) };
        let Challenge::Bearer { realm, service, scope: asked, .. } = challenge else {
            return Ok(self.basic());
        };
        if let Some(token) = state.tokens.get(scope).filter(|token| token.until > Instant::now()) {
            return Ok(Some(token.header.clone()));
        }
        let token = self.fetch(http, &realm, service.as_deref(), scope, asked.as_deref()).await?;
        let header = token.header.clone();
        state.tokens.insert(scope.clone(), token);
        Ok(Some(header))
    }

    /// Takes note of a 401. `false`: there is nothing more that could be offered.
    pub(super) async fn refused(&self, headers: &HeaderMap, scope: &Scope, used: Option<&HeaderValue>) -> bool {
        let Some(challenge) = challenge(headers) else { return false };
        let mut state = self.state.lock().await;
        let worth_it = match &challenge {
            // A password that was sent and refused stays refused.
            Challenge::Basic => used.is_none() && self.basic().is_some(),
            Challenge::Bearer { .. } => !matches!(self.login, Some(Login::Bearer { .. })),
        };
        // Another request may have replaced the token meanwhile; then that one is worth trying.
        if state.tokens.get(scope).is_some_and(|token| Some(&token.header) == used) {
            state.tokens.remove(scope);
        }
        state.challenge = Some(challenge);
        worth_it
    }

    fn basic(&self) -> Option<HeaderValue> {
        match &self.login {
            Some(Login::Password { user, password }) => basic(user, password),
            _ => None,
        }
    }

    async fn fetch(
        &self,
        http: &Http,
        realm: &str,
        service: Option<&str>,
        scope: &Scope,
        asked: Option<&str>,
    ) -> Result<Token, RegistryError> {
        let mut url =
            Url::parse(realm).map_err(|_| RegistryError::UnsafeRealm { realm: realm.escape_debug().to_string() })?;
        if url.scheme() != "https" && !(self.plain && url.scheme() == "http") {
            return Err(RegistryError::UnsafeRealm { realm: url.to_string() });
        }
        let mut scopes: BTreeSet<&str> = scope.0.iter().map(String::as_str).collect();
        scopes.extend(asked.into_iter().flat_map(str::split_ascii_whitespace));
        let began = Instant::now();
        let request = if let Some(Login::Identity { token }) = &self.login {
            let mut form = form_urlencoded::Serializer::new(String::new());
            form.append_pair("grant_type", "refresh_token").append_pair("refresh_token", token.expose());
            form.append_pair("client_id", "kletimg").append_pair("service", service.unwrap_or_default());
            form.append_pair("scope", &scopes.into_iter().collect::<Vec<_>>().join(" "));
            let body = form.finish();
            http.request(Method::POST, url).header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(body)
        } else {
            let mut query = url.query_pairs_mut();
            query.extend_pairs(service.map(|service| ("service", service)));
            query.extend_pairs(scopes.iter().map(|scope| ("scope", *scope)));
            drop(query);
            let mut request = http.request(Method::GET, url);
            if let Some(header) = self.basic() {
                request = request.header(AUTHORIZATION, header);
            }
            request
        };
        let answer = self.ask(http, request).await?;
        let text = answer.token.or(answer.access_token).filter(|token| !token.is_empty());
        let header = text.and_then(|token| bearer(&token)).ok_or_else(|| RegistryError::Malformed {
            doing: doing(http),
            reason: "the token service answers without a token".to_owned(),
        })?;
        // 60 s is the specification's default. A tenth is given up, so that a token does not expire on its way.
        let lifetime = answer.expires_in.unwrap_or(60).clamp(1, 86_400);
        Ok(Token { header, until: began + Duration::from_millis(lifetime * 900) })
    }

    async fn ask(&self, http: &Http, request: reqwest::RequestBuilder) -> Result<Answer, RegistryError> {
        let mut tries = http.begin();
        loop {
            let attempt = async {
                // The bodies are texts, which can always be cloned.
                let request = request.try_clone().ok_or_else(|| RegistryError::Malformed {
                    doing: doing(http),
                    reason: "the request cannot be repeated".to_owned(),
                })?;
                let response = http.exchange(request, &doing(http), None).await?;
                if response.status() != StatusCode::OK {
                    return Err(self.token_refused(http, response).await);
                }
                let bytes = http.bytes(response, &doing(http), LARGEST_ANSWER).await?;
                // Not serde's message: it may quote the token.
                serde_json::from_slice(&bytes).map_err(|_| RegistryError::Malformed {
                    doing: doing(http),
                    reason: "the token service's answer is not the JSON of a token".to_owned(),
                })
            };
            match attempt.await {
                Ok(answer) => return Ok(answer),
                Err(error) => tries.again(error).await?,
            }
        }
    }

    async fn token_refused(&self, http: &Http, response: reqwest::Response) -> RegistryError {
        let error = http.refusal(response, &doing(http), self).await;
        // Token services answer a wrong password or refresh token with 400, 401 or 403 alike.
        match error {
            RegistryError::Refused { doing, status: 400, detail } if self.login.is_some() => {
                RegistryError::LoginRefused { doing, host: http.host.clone(), user: self.user(), detail }
            }
            RegistryError::Forbidden { doing, host, user, detail } if self.login.is_some() => {
                RegistryError::LoginRefused { doing, host, user, detail }
            }
            other => other,
        }
    }

    /// What a registry says, without the secrets that it was sent: some quote the request in their errors.
    pub(super) fn masked(&self, text: String) -> String {
        let secrets = match &self.login {
            Some(Login::Password { user, password }) => {
                let both = format!("{user}:{}", password.expose());
                vec![BASE64.encode(&both), BASE64.encode(password.expose()), password.expose().to_owned()]
            }
            Some(Login::Identity { token } | Login::Bearer { token }) => vec![token.expose().to_owned()],
            None => Vec::new(),
        };
        // A secret of a letter or two would make nonsense of the message, and is none.
        let hidden = secrets.iter().filter(|secret| secret.len() > 3);
        hidden.fold(text, |text, secret| text.replace(secret.as_str(), "***"))
    }

    /// ` of <user>` for messages.
    pub(super) fn user(&self) -> String {
        match &self.login {
            Some(Login::Password { user, .. }) => format!(" of `{}`", transport::printable(user, 100)),
            _ => String::new(),
        }
    }
}

fn doing(http: &Http) -> String {
    format!("logging in to {}", http.host)
}

fn basic(user: &str, password: &Secret) -> Option<HeaderValue> {
    secret(&format!("Basic {}", BASE64.encode(format!("{user}:{}", password.expose()))))
}

fn bearer(token: &str) -> Option<HeaderValue> {
    secret(&format!("Bearer {token}"))
}

/// A header value that debug output does not show. `None`: it holds characters that no header may have.
fn secret(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The challenge of an answer; a token is preferred where several are offered.
pub(super) fn challenge(headers: &HeaderMap) -> Option<Challenge> {
    let mut found = None;
    for value in headers.get_all(WWW_AUTHENTICATE).iter().take(16) {
        for challenge in value.to_str().map(read_challenges).unwrap_or_default() {
            if matches!(challenge, Challenge::Bearer { .. }) {
                return Some(challenge);
            }
            found = Some(challenge);
        }
    }
    found
}

/// Reads a WWW-Authenticate value (RFC 9110, 11.6.1): schemes, each with parameters `name=token` or `name="quoted"`.
fn read_challenges(value: &str) -> Vec<Challenge> {
    let mut found: Vec<(String, BTreeMap<String, String>)> = Vec::new();
    let mut rest = value.trim_start_matches([' ', ',', '\t']);
    while !rest.is_empty() {
        let end = rest.find([' ', '\t', ',', '=']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if let Some(text) = after.strip_prefix('=') {
            let (text, after) = parameter(text);
            if let Some((_, parameters)) = found.last_mut() {
                parameters.insert(word.to_ascii_lowercase(), text);
            }
            rest = after;
        } else {
            found.push((word.to_ascii_lowercase(), BTreeMap::new()));
            rest = after;
        }
        rest = rest.trim_start_matches([' ', ',', '\t']);
    }
    let read = |(scheme, mut parameters): (String, BTreeMap<String, String>)| match scheme.as_str() {
        "basic" => Some(Challenge::Basic),
        "bearer" => Some(Challenge::Bearer {
            realm: parameters.remove("realm")?,
            service: parameters.remove("service"),
            scope: parameters.remove("scope"),
            insufficient: parameters.get("error").is_some_and(|error| error == "insufficient_scope"),
        }),
        _ => None,
    };
    found.into_iter().filter_map(read).collect()
}

/// A parameter's value, and what follows it. A quoted text that does not end takes the rest.
fn parameter(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            _ => value.push(character),
        }
    }
    (value, "")
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth").field("login", &self.login).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>, insufficient: bool) -> Challenge {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Challenge::Bearer { realm: realm.to_owned(), service: owned(service), scope: owned(scope), insufficient }
    }

    #[test]
    fn challenges_are_read_in_all_their_forms() {
        let cases = [
            (
                r#"Bearer realm="https://a/t",service="s",scope="repository:a/b:pull,push""#,
                vec![bearer("https://a/t", Some("s"), Some("repository:a/b:pull,push"), false)],
            ),
            (r#"bearer  realm=https://a , error="insufficient_scope""#, vec![bearer("https://a", None, None, true)]),
            (r#"Basic realm="a, Bearer realm=x""#, vec![Challenge::Basic]),
            (r#"Basic realm="x", Bearer realm="y\"z""#, vec![Challenge::Basic, bearer("y\"z", None, None, false)]),
            ("Bearer service=x", vec![]),
            (r#"Bearer realm="open"#, vec![bearer("open", None, None, false)]),
            ("Negotiate", vec![]),
            ("", vec![]),
            ("=,=\"", vec![]),
        ];
        for (value, expected) in cases {
            assert_eq!(read_challenges(value), expected, "{value}");
        }
    }

    proptest! {
        #[test]
        fn no_challenge_panics(value in r#"[a-zA-Z="\\, äé]{0,60}"#) {
            read_challenges(&value);
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let auth = Auth::new(Some(Login::Password { user: "u".into(), password: Secret::new("hunter2") }), false, None);
        let header = auth.basic().unwrap();
        let shown = format!("{auth:?} {header:?}");
        assert!(!shown.contains("hunter2") && !shown.contains("Basic "), "{shown}");
        assert!(basic("u", &Secret::new("ok")).is_some());
        assert!(super::bearer("a\nb").is_none());
    }
}
