//! One HTTP exchange with a registry: TLS, time limits, errors in words.
//!
//! Redirects are followed here rather than by the HTTP library, because the login must not travel to another origin and
//! the bodies of uploads have to be made anew. Repeating is left to the callers, which know what may be repeated.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use reqwest::{Certificate, Method, RequestBuilder, Response, StatusCode, header};
use serde::Deserialize;
use url::Url;

use super::{
    auth::{self, Auth, Challenge, Scope},
    error::RegistryError,
    retry::{Retry, Tries, retry_after},
    settings::{Notes, Settings},
    upload::Feed,
};

/// Enough for `/v2/` to storage and a hop between storage hosts.
const MOST_HOPS: usize = 5;

/// Errors are a few hundred bytes of JSON, or a proxy's HTML page.
const LARGEST_ERROR: u64 = 64 << 10;

/// The HTTP client for one registry host, and for where that leads: token services, storage.
pub(super) struct Http {
    client: reqwest::Client,
    /// The hosts whose certificates are not looked at, and a client that does not.
    insecure: Option<(BTreeSet<String>, reqwest::Client)>,
    pub(super) host: String,
    retry: Retry,
    notes: Notes,
    idle: Duration,
}

/// A request that can be made again.
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) scope: Scope,
    pub(super) headers: Vec<(header::HeaderName, String)>,
    pub(super) body: Body,
    /// What it is for, as errors say it: `uploading the blob sha256:... to h/a`.
    pub(super) doing: String,
}

pub(super) enum Body {
    None,
    Bytes(Vec<u8>),
    Blob(Arc<Feed>),
}

impl Call {
    pub(super) fn new(method: Method, url: Url, scope: Scope, doing: impl Into<String>) -> Self {
        Self { method, url, scope, headers: Vec::new(), body: Body::None, doing: doing.into() }
    }

    #[must_use]
    pub(super) fn header(mut self, name: header::HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    #[must_use]
    pub(super) fn body(mut self, body: Body) -> Self {
        self.body = body;
        self
    }
}

impl Http {
    pub(super) fn new(settings: &Settings, host: &str) -> Result<Self, RegistryError> {
        // The process may have chosen its provider already; it is the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut roots = Vec::new();
        for pem in &settings.authorities {
            let read = Certificate::from_pem_bundle(pem).map_err(|error| RegistryError::Tls(root_cause(&error)))?;
            if read.is_empty() {
                return Err(RegistryError::Tls("a CA file holds no certificate in PEM form".to_owned()));
            }
            roots.extend(read);
        }
        let client = |accept_any_certificate| {
            let mut builder = reqwest::Client::builder()
                .user_agent(concat!("kletimg/", env!("CARGO_PKG_VERSION")))
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(Duration::from_secs(30))
                .tls_danger_accept_invalid_certs(accept_any_certificate);
            if is_this_machine(host) {
                // A proxy's own localhost is not ours; other clients never ask one for it either.
                builder = builder.no_proxy();
            }
            if !roots.is_empty() {
                builder = builder.tls_certs_merge(roots.clone());
            }
            builder.build().map_err(|error| RegistryError::Tls(root_cause(&error)))
        };
        let insecure =
            if settings.insecure.is_empty() { None } else { Some((settings.insecure.clone(), client(true)?)) };
        Ok(Self {
            client: client(false)?,
            insecure,
            host: host.to_owned(),
            retry: settings.retry,
            notes: settings.notes.clone(),
            idle: settings.idle,
        })
    }

    /// Begins to try something.
    pub(super) fn begin(&self) -> Tries {
        self.retry.begin(self.notes.clone())
    }

    /// Begins a request. An insecure registry may lead to hosts that nobody called insecure: whose certificate counts is
    /// decided for each URL.
    pub(super) fn request(&self, method: Method, url: Url) -> RequestBuilder {
        let client = match &self.insecure {
            Some((hosts, client)) if is_one_of(&url, hosts) => client,
            _ => &self.client,
        };
        client.request(method, url)
    }

    /// Sends a request and waits for the head of its answer, as long as anything moves.
    pub(super) async fn exchange(
        &self,
        request: RequestBuilder,
        doing: &str,
        moved: Option<&AtomicU64>,
    ) -> Result<Response, RegistryError> {
        let mut pending = std::pin::pin!(request.send());
        let mut before = 0;
        loop {
            match tokio::time::timeout(self.idle, &mut pending).await {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(error)) => return Err(self.broken(&error, doing)),
                Err(_) => {
                    let now = moved.map_or(0, |moved| moved.load(Ordering::Relaxed));
                    if now == before {
                        return Err(RegistryError::Stalled { doing: doing.to_owned(), after: self.idle });
                    }
                    before = now;
                }
            }
        }
    }

    /// The next piece of an answer's body.
    pub(super) async fn chunk(
        &self,
        response: &mut Response,
        doing: &str,
    ) -> Result<Option<impl AsRef<[u8]> + Send + 'static>, RegistryError> {
        match tokio::time::timeout(self.idle, response.chunk()).await {
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(error)) => Err(self.broken(&error, doing)),
            Err(_) => Err(RegistryError::Stalled { doing: doing.to_owned(), after: self.idle }),
        }
    }

    /// A small answer's whole body.
    pub(super) async fn bytes(
        &self,
        mut response: Response,
        doing: &str,
        limit: u64,
    ) -> Result<Vec<u8>, RegistryError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk(&mut response, doing).await? {
            bytes.extend_from_slice(chunk.as_ref());
            if bytes.len() as u64 > limit {
                return Err(RegistryError::TooLarge { doing: doing.to_owned(), limit });
            }
        }
        Ok(bytes)
    }

    fn broken(&self, error: &reqwest::Error, doing: &str) -> RegistryError {
        let (host, reason) = (error.url().map_or_else(|| self.host.clone(), authority), root_cause(error));
        match tls_error(error) {
            Some(rustls::Error::InvalidCertificate(why)) if is_about_itself(why) => {
                RegistryError::Certificate { host, reason }
            }
            Some(rustls::Error::InvalidCertificate(_)) => RegistryError::Untrusted { host, reason },
            Some(rustls::Error::InvalidMessage(_)) => RegistryError::PlainHttp { host, reason },
            _ if error.is_connect() => RegistryError::Unreachable { host, reason },
            _ => RegistryError::Broken { doing: doing.to_owned(), reason },
        }
    }

    /// What an unexpected answer means.
    pub(super) async fn refusal(&self, response: Response, doing: &str, auth: &Auth) -> RegistryError {
        let status = response.status();
        let insufficient =
            matches!(auth::challenge(response.headers()), Some(Challenge::Bearer { insufficient: true, .. }));
        let wait = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let wait = wait.and_then(|value| retry_after(value, SystemTime::now()));
        // An error's body that cannot be read leaves its status to say.
        let body = self.bytes(response, doing, LARGEST_ERROR).await.unwrap_or_default();
        let (doing, host, user) = (doing.to_owned(), self.host.clone(), auth.user());
        let detail = auth.masked(detail(&body));
        let full = String::from_utf8_lossy(&body);
        let full = status.is_server_error() && (full.contains("no space left") || full.contains(r#""Err":28"#));
        match status.as_u16() {
            status if full || status == 507 => RegistryError::Full { doing, host, status, detail },
            401 if insufficient && auth.login.is_some() => RegistryError::Forbidden { doing, host, user, detail },
            401 if auth.login.is_some() => RegistryError::LoginRefused { doing, host, user, detail },
            401 => RegistryError::LoginNeeded { doing, host, detail },
            403 => RegistryError::Forbidden { doing, host, user, detail },
            404 => RegistryError::NotFound { doing, detail },
            405 => RegistryError::Unsupported { doing, host, detail },
            413 => RegistryError::TooBig { doing, host, detail },
            status @ (408 | 429 | 500 | 502 | 503 | 504) => RegistryError::Busy { doing, status, detail, wait },
            status => RegistryError::Refused { doing, status, detail },
        }
    }
}

/// A registry's API: where it is and who we are there.
pub(super) struct Endpoint {
    pub(super) http: Http,
    pub(super) base: Url,
    pub(super) auth: Auth,
}

impl Endpoint {
    /// Sends a request once, with a login if the registry wants one, and follows where it leads. Any status is an answer.
    pub(super) async fn send(&self, call: &Call) -> Result<Response, RegistryError> {
        let (mut url, mut hops, mut renewed) = (call.url.clone(), 0, false);
        loop {
            let ours = url.origin() == self.base.origin();
            let login = if ours { self.auth.header(&self.http, &call.scope).await? } else { None };
            let mut request = self.http.request(call.method.clone(), url.clone());
            for (name, value) in &call.headers {
                request = request.header(name, value);
            }
            if let Some(login) = &login {
                request = request.header(header::AUTHORIZATION, login);
            }
            let moved = match &call.body {
                // A POST without a length is refused by some proxies (411).
                Body::None if call.method == Method::POST => {
                    request = request.header(header::CONTENT_LENGTH, 0);
                    None
                }
                Body::None => None,
                Body::Bytes(bytes) => {
                    request = request.body(bytes.clone());
                    None
                }
                Body::Blob(feed) => {
                    request = request.header(header::CONTENT_LENGTH, feed.length()).body(feed.body());
                    Some(feed.moved())
                }
            };
            let response = self.http.exchange(request, &call.doing, moved).await;
            if let Body::Blob(feed) = &call.body {
                feed.check()?;
            }
            let response = response?;
            let status = response.status();
            if status == StatusCode::UNAUTHORIZED && ours && !renewed {
                renewed = true;
                if self.auth.refused(response.headers(), &call.scope, login.as_ref()).await {
                    continue;
                }
            } else if follows(&call.method, status) && response.headers().contains_key(header::LOCATION) {
                hops += 1;
                url = self.location(&response, &url, &call.doing)?;
                if hops > MOST_HOPS {
                    return Err(RegistryError::BadRedirect { doing: call.doing.clone(), to: place(&url) });
                }
                continue;
            }
            return Ok(response);
        }
    }

    /// Sends a request that may be repeated until it is answered with one of `expected`.
    pub(super) async fn call(&self, call: &Call, expected: &[u16]) -> Result<Response, RegistryError> {
        let mut tries = self.http.begin();
        loop {
            match self.call_once(call, expected).await {
                Ok(response) => return Ok(response),
                Err(error) => tries.again(error).await?,
            }
        }
    }

    pub(super) async fn call_once(&self, call: &Call, expected: &[u16]) -> Result<Response, RegistryError> {
        let response = self.send(call).await?;
        if expected.contains(&response.status().as_u16()) {
            return Ok(response);
        }
        Err(self.http.refusal(response, &call.doing, &self.auth).await)
    }

    /// The URL in an answer's Location, relative or absolute.
    pub(super) fn location(&self, response: &Response, from: &Url, doing: &str) -> Result<Url, RegistryError> {
        let header = "Location";
        let value = response.headers().get(header::LOCATION);
        let value = value.ok_or_else(|| RegistryError::NoHeader { doing: doing.to_owned(), header })?;
        let bad = || RegistryError::BadHeader {
            doing: doing.to_owned(),
            header,
            value: printable(&String::from_utf8_lossy(value.as_bytes()), 200),
        };
        let mut url = value.to_str().ok().and_then(|value| from.join(value).ok()).ok_or_else(bad)?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(bad());
        }
        if self.base.scheme() == "https" && url.scheme() == "http" {
            // A registry behind a proxy that ends TLS often does not know that it is reached by https.
            let same_host = url.host() == self.base.host() && (url.port().is_none() || url.port() == self.base.port());
            if !same_host || url.set_scheme("https").is_err() {
                return Err(RegistryError::BadRedirect { doing: doing.to_owned(), to: place(&url) });
            }
        }
        Ok(url)
    }
}

/// Whether a certificate is wrong whoever signed it.
const fn is_about_itself(why: &rustls::CertificateError) -> bool {
    use rustls::CertificateError::{
        Expired, ExpiredContext, NotValidForName, NotValidForNameContext, NotValidYet, NotValidYetContext, Revoked,
    };
    matches!(
        why,
        Expired
            | ExpiredContext { .. }
            | NotValidForName
            | NotValidForNameContext { .. }
            | NotValidYet
            | NotValidYetContext { .. }
            | Revoked
    )
}

/// Whether a host is the machine itself.
pub(super) fn is_this_machine(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|c| c.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Only safe methods follow redirects that may turn them into GET.
fn follows(method: &Method, status: StatusCode) -> bool {
    match status.as_u16() {
        307 | 308 => true,
        301..=303 => *method == Method::GET || *method == Method::HEAD,
        _ => false,
    }
}

/// The host of a URL as registries are named: with its port where that is not the scheme's own.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Whether a URL's host is among these names, which may say a port that goes without saying.
fn is_one_of(url: &Url, hosts: &BTreeSet<String>) -> bool {
    let short = authority(url);
    let port = url.port_or_known_default().unwrap_or_default();
    let long = format!("{}:{port}", url.host_str().unwrap_or_default());
    hosts.iter().any(|host| [&short, &long].into_iter().any(|name| name.eq_ignore_ascii_case(host)))
}

/// A URL without its query, which may hold a signature.
fn place(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    printable(url.as_str(), 200)
}

#[derive(Deserialize)]
struct Errors {
    errors: Vec<OneError>,
}

#[derive(Deserialize)]
struct OneError {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// What the registry says about an error, as ` (CODE: message)`, or nothing.
fn detail(body: &[u8]) -> String {
    let Ok(Errors { errors }) = serde_json::from_slice(body) else { return String::new() };
    let texts = errors.into_iter().take(3).map(|error| format!("{}: {}", error.code, error.message));
    let text = texts.collect::<Vec<_>>().join("; ");
    if text.is_empty() { text } else { format!(" ({})", printable(&text, 400)) }
}

/// A stranger's text without characters that could steer a terminal, and of bounded length.
pub(super) fn printable(text: &str, length: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(length).collect()
}

fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    printable(&cause.to_string(), 300)
}

/// The TLS library's own error, which lies below several of the HTTP library's and hides within I/O errors: those pass
/// over what they hold when they are asked for their source.
fn tls_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        let held = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = held.map(|held| held as &(dyn std::error::Error + 'static)).or_else(|| error.source());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_readable_and_harmless() {
        let cases = [
            (r#"{"errors":[{"code":"DENIED","message":"no\u001b[2J"}]}"#, " (DENIED: no[2J)"),
            (r#"{"errors":[]}"#, ""),
            ("<html>", ""),
            ("", ""),
        ];
        for (body, expected) in cases {
            assert_eq!(detail(body.as_bytes()), expected);
        }
    }

    #[test]
    fn only_what_is_safe_to_repeat_elsewhere_follows_a_redirect() {
        let status = |code| StatusCode::from_u16(code).unwrap();
        assert!(follows(&Method::PUT, status(307)) && follows(&Method::GET, status(302)));
        assert!(!follows(&Method::PUT, status(302)) && !follows(&Method::GET, status(304)));
    }

    #[test]
    fn only_the_hosts_that_were_named_are_insecure() {
        let hosts = BTreeSet::from(["H.lan:5000".to_owned(), "plain.lan:443".to_owned(), "[::1]:5000".to_owned()]);
        for url in ["https://h.lan:5000/v2/", "https://plain.lan/", "https://[::1]:5000/"] {
            assert!(is_one_of(&Url::parse(url).unwrap(), &hosts), "{url}");
        }
        for url in ["https://h.lan/", "https://auth.lan:5000/", "https://h.lan:5001/", "http://plain.lan/"] {
            assert!(!is_one_of(&Url::parse(url).unwrap(), &hosts), "{url}");
        }
    }

    #[test]
    fn this_machine_is_told_from_others() {
        for host in ["localhost", "localhost:5000", "127.0.0.1", "127.1.2.3:80", "[::1]:5000", "[::1]"] {
            assert!(is_this_machine(host), "{host}");
        }
        for host in ["localhost.example.com", "10.0.0.1:5000", "example.com", "[::2]:1", "localhost:5000:1"] {
            assert!(!is_this_machine(host), "{host}");
        }
    }
}
