//! The HTTP client: whom it trusts, how long it waits, where it lets itself be redirected.
//!
//! TLS is rustls with ring. Trusted are the system's certificate authorities and those of `--ca-cert`; a machine without
//! any can still fetch over http and from files, because every byte is checked by its digest anyway.

use std::error::Error as _;

use reqwest::{
    Client, Method, RequestBuilder,
    redirect::{Attempt, Policy},
};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};

use super::{
    Options, Proxies,
    error::{FetchError, Why, redacted},
    hosts::{Hosts, Proxy},
};
use crate::host::files;

/// A client, and whether it can trust anybody.
pub(super) struct Http {
    client: Client,
    /// Those that go through what is set for single hosts.
    others: Vec<(Proxy, Client)>,
    hosts: Hosts,
    pub(super) trust: Trust,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    Authorities,
    /// The machine has no CA certificates.
    Nobody,
}

/// Redirections that are not followed.
#[derive(Debug, thiserror::Error)]
enum Astray {
    #[error("it goes around in circles, or too far (more than 10 steps)")]
    TooFar,
    #[error("it leads from https down to {0}")]
    Downgrade(String),
}

impl Http {
    pub(super) fn new(options: &Options) -> Result<Self, FetchError> {
        // An error only says that the process has a provider already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let extra = authorities(options)?;
        let (client, trust) = build(options, &extra, None)?;
        let mut others = Vec::new();
        for way in options.hosts.ways() {
            others.push((way.clone(), build(options, &extra, Some(way))?.0));
        }
        Ok(Self { client, others, hosts: options.hosts.clone(), trust })
    }

    /// A request, by the way and with the login that are set for its address.
    pub(super) fn request(&self, method: Method, url: &url::Url) -> RequestBuilder {
        let way = self.hosts.proxy(url.as_str());
        let other = way.and_then(|way| self.others.iter().find(|(known, _)| known == way));
        let request = other.map_or(&self.client, |(_, client)| client).request(method, url.clone());
        match self.hosts.credentials(url) {
            Some((user, password)) => request.basic_auth(user, Some(password)),
            None => request,
        }
    }
}

fn build(
    options: &Options,
    extra: &[reqwest::Certificate],
    way: Option<&Proxy>,
) -> Result<(Client, Trust), FetchError> {
    let builder = || -> Result<_, FetchError> {
        Ok(match way {
            None => builder(options),
            Some(Proxy::Direct) => builder(options).no_proxy(),
            Some(Proxy::Through(url)) => builder(options).proxy(reqwest::Proxy::all(url).map_err(|error| {
                FetchError::Client(format!("the proxy {} of apt.conf: {}", redacted(url), cause(&error)))
            })?),
        })
    };
    if let Ok(client) = builder()?.tls_certs_merge(extra.to_vec()).build() {
        return Ok((client, Trust::Authorities));
    }
    // What can fail is only the system's trust: it has no certificates at all.
    let client = builder()?.tls_certs_only(extra.to_vec()).build();
    Ok((client.map_err(|error| FetchError::Client(cause(&error)))?, Trust::Nobody))
}

fn builder(options: &Options) -> reqwest::ClientBuilder {
    let builder = Client::builder()
        .user_agent(concat!("kletimg/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(options.connect_timeout)
        .read_timeout(options.stall_timeout)
        .referer(false)
        .redirect(Policy::custom(follow));
    match options.proxies {
        Proxies::System => builder,
        Proxies::None => builder.no_proxy(),
    }
}

fn follow(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    const FARTHEST: usize = 10;
    let secure = attempt.previous().iter().any(|url| url.scheme() == "https");
    if attempt.previous().len() > FARTHEST {
        attempt.error(Astray::TooFar)
    } else if secure && attempt.url().scheme() != "https" {
        let scheme = attempt.url().scheme().to_owned();
        attempt.error(Astray::Downgrade(scheme))
    } else {
        attempt.follow()
    }
}

/// The certificates in the files of `--ca-cert`.
fn authorities(options: &Options) -> Result<Vec<reqwest::Certificate>, FetchError> {
    const LARGEST: u64 = 16 << 20;
    let mut certificates = Vec::new();
    for path in &options.ca_certificates {
        let invalid = |why: String| FetchError::CaCertificate { path: path.clone(), why };
        let pem = files::read_stream(path, LARGEST).map_err(FetchError::CaFile)?;
        let before = certificates.len();
        for der in CertificateDer::pem_slice_iter(&pem) {
            let der = der.map_err(|error| invalid(format!("is no PEM file: {error}")))?;
            // Asked here, where the file can be named: the client would only say that some certificate is bad.
            let added = rustls::RootCertStore::empty().add(der.clone());
            added.map_err(|error| invalid(format!("holds a certificate that cannot be used: {error}")))?;
            let certificate = reqwest::Certificate::from_der(&der);
            certificates.push(certificate.map_err(|error| invalid(cause(&error)))?);
        }
        if certificates.len() == before {
            return Err(invalid("holds no certificate: give a file in PEM form".to_owned()));
        }
    }
    Ok(certificates)
}

/// Whether it makes sense to try the same address again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    Never,
    /// A host that cannot be reached now can hardly be in a minute: the user should not wait for it.
    Once,
    /// A host that took the question and then said nothing for as long as is waited.
    Silent,
    Backoff,
}

/// Puts an error of the client into words, without the URL, which may hold a password.
pub(super) fn explain(error: &reqwest::Error, host: &str, received: u64, options: &Options) -> (Why, Again) {
    let host = error.url().and_then(host_of).unwrap_or_else(|| host.to_owned());
    if error.is_redirect() {
        return (Why::Redirect { reason: cause(error) }, Again::Never);
    }
    if let Some(tls) = tls_cause(error) {
        return (Why::Tls { host, reason: tls }, Again::Never);
    }
    if error.is_connect() && error.is_timeout() {
        let reason = format!("no answer within {} s", options.connect_timeout.as_secs_f32());
        return (Why::Unreachable { host, reason }, Again::Never);
    }
    if error.is_connect() {
        return (Why::Unreachable { host, reason: cause(error) }, Again::Once);
    }
    if error.is_builder() {
        return (Why::Request { reason: cause(error) }, Again::Never);
    }
    let (reason, again) = if error.is_timeout() {
        (format!("no byte came for {} s", options.stall_timeout.as_secs_f32()), Again::Silent)
    } else {
        (cause(error), Again::Backoff)
    };
    (Why::Interrupted { received, expected: None, reason }, again)
}

/// The host of a URL, with the port where it is not the scheme's own.
pub(super) fn host_of(url: &url::Url) -> Option<String> {
    let host = url.host_str()?;
    Some(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
}

/// The innermost cause: the outer ones say only "error sending request".
fn cause(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = inner(innermost) {
        innermost = source;
    }
    innermost.to_string()
}

fn tls_cause(error: &reqwest::Error) -> Option<String> {
    let mut at = error.source();
    while let Some(source) = at {
        if let Some(tls) = source.downcast_ref::<rustls::Error>() {
            return Some(tls.to_string());
        }
        at = inner(source);
    }
    None
}

/// The next cause. An `io::Error` hides the error that it was made from behind the sources of that one.
fn inner<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e (dyn std::error::Error + 'static)> {
    let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    wrapped.map(|wrapped| wrapped as &(dyn std::error::Error + 'static)).or_else(|| error.source())
}
