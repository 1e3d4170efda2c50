//! The operations of a registry: is a blob there, mount it, read and write manifests.

use std::sync::Arc;

use reqwest::{Method, Response, header};
use url::Url;

use super::{
    auth::{self, Auth, Scope},
    error::RegistryError,
    settings::Settings,
    transport::{Body, Call, Endpoint, Http, is_this_machine, printable},
};
use crate::{
    base::{Blob, Digest},
    images::{
        Descriptor,
        media_type::{DOCKER_INDEX, DOCKER_MANIFEST, INDEX, MANIFEST},
        reference::{Reference, Repository, api_host},
    },
    outputs::{
        credentials::Login,
        source::{self, LARGEST_MANIFEST, Manifest},
    },
};

const DIGEST: &str = "docker-content-digest";

/// A registry that has been reached. Clones share connections and tokens.
#[derive(Clone)]
pub struct Registry {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) piece: Option<u64>,
}

/// What became of the wish to mount a blob from a sibling repository.
pub(super) enum Mounted {
    Yes,
    /// The registry began an upload instead, at this URL.
    Upload(Url),
}

impl Registry {
    /// Reaches the registry that serves `repository`, and learns how it wants to be spoken to. The login is looked up
    /// for this repository, as some files keep logins for parts of a registry.
    pub async fn connect(settings: &Settings, repository: &Repository) -> Result<Self, RegistryError> {
        let login = settings.credentials.find(repository.registry(), repository.path())?;
        Self::reach(settings, repository.api_host(), login).await
    }

    /// Finds out whether a login is right, before it is kept. `registry` is a name such as `docker.io`.
    pub async fn check_login(settings: &Settings, registry: &str, login: Login) -> Result<(), RegistryError> {
        let reached = Self::reach(settings, api_host(registry), Some(login)).await?;
        let doing = format!("logging in to {registry}");
        let call = Call::new(Method::GET, reached.endpoint.base.clone(), Scope::default(), doing);
        reached.endpoint.call(&call, &[200]).await.map(drop)
    }

    async fn reach(settings: &Settings, host: &str, login: Option<Login>) -> Result<Self, RegistryError> {
        let http = Http::new(settings, host)?;
        let plain_allowed = settings.insecure.contains(host) || is_this_machine(host);
        let (base, answer) = match ping(&http, "https", login.as_ref()).await {
            // Whose certificate is not accepted speaks TLS, and would not answer anything else.
            Err(secure @ (RegistryError::Untrusted { .. } | RegistryError::Certificate { .. })) => return Err(secure),
            Err(secure) if plain_allowed => match ping(&http, "http", login.as_ref()).await {
                Ok(found) => found,
                // Whoever gives an answer on http is meant; 400 is what a server that wants TLS answers there.
                Err(RegistryError::Unreachable { .. } | RegistryError::NotARegistry { status: 400, .. }) => {
                    return Err(secure);
                }
                Err(RegistryError::GaveUp { last, .. }) if matches!(*last, RegistryError::Broken { .. }) => {
                    return Err(secure);
                }
                Err(plain) => return Err(plain),
            },
            found => found?,
        };
        let challenge = (answer.status() == 401).then(|| auth::challenge(answer.headers())).flatten();
        let auth = Auth::new(login, base.scheme() == "http", challenge);
        Ok(Self { endpoint: Arc::new(Endpoint { http, base, auth }), piece: settings.piece })
    }

    /// Whether the repository has this blob, in this size.
    pub async fn has_blob(&self, repository: &Repository, blob: &Blob) -> Result<bool, RegistryError> {
        let doing = format!("looking for the blob {} in {repository}", blob.digest);
        let url = self.url(repository, "blobs", &blob.digest.to_string(), &doing)?;
        // The scope of the push that the question belongs to, so that one token serves both.
        let call = Call::new(Method::HEAD, url, Scope::push(repository.path()), doing);
        match self.endpoint.call(&call, &[200]).await {
            Ok(response) => {
                let length = response.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
                Ok(length.is_none_or(|length| length.parse() == Ok(blob.size)))
            }
            Err(RegistryError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Asks the registry to take a blob from a sibling repository, which moves no bytes.
    pub(super) async fn mount(
        &self,
        repository: &Repository,
        blob: &Blob,
        sibling: &Repository,
    ) -> Result<Mounted, RegistryError> {
        let doing = format!("mounting the blob {} from {sibling} in {repository}", blob.digest);
        let mut url = self.url(repository, "blobs", "uploads/", &doing)?;
        url.query_pairs_mut().append_pair("mount", &blob.digest.to_string()).append_pair("from", sibling.path());
        let scope = Scope::push(repository.path()).and(Scope::pull(sibling.path()));
        let call = Call::new(Method::POST, url.clone(), scope, doing);
        let response = self.endpoint.call(&call, &[201, 202]).await?;
        if response.status() == 201 {
            check_digest(&response, &blob.digest, &call.doing)?;
            return Ok(Mounted::Yes);
        }
        Ok(Mounted::Upload(self.endpoint.location(&response, &url, &call.doing)?))
    }

    /// The digest that a tag has now. `None`: there is no such tag.
    pub async fn tag_digest(&self, reference: &Reference) -> Result<Option<Digest>, RegistryError> {
        let doing = format!("looking for {reference}");
        let call = self.manifest_call(&Method::HEAD, reference, &doing)?;
        let response = match self.endpoint.call(&call, &[200]).await {
            Ok(response) => response,
            Err(RegistryError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        if let Some(digest) = digest_of(&response, &doing)? {
            return Ok(Some(digest));
        }
        // The header is optional; the bytes are not.
        Ok(Some(self.manifest(reference).await?.descriptor.digest))
    }

    /// Reads a manifest or an index, and checks it against the digest that was asked for or that the registry names.
    pub async fn manifest(&self, reference: &Reference) -> Result<Manifest, RegistryError> {
        let doing = format!("reading {reference}");
        let call = self.manifest_call(&Method::GET, reference, &doing)?;
        let response = self.endpoint.call(&call, &[200]).await?;
        let media_type = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type = media_type.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_owned();
        let said = digest_of(&response, &doing)?;
        let bytes = self.endpoint.http.bytes(response, &doing, LARGEST_MANIFEST).await?;
        let digest = Digest::of(&bytes);
        for expected in reference.digest.into_iter().chain(said) {
            if expected != digest {
                return Err(RegistryError::WrongDigest { doing, expected, actual: digest.to_string() });
            }
        }
        let descriptor = Descriptor::new(&media_type, Blob { digest, size: bytes.len() as u64 });
        let links = source::read_links(&descriptor, &bytes)?;
        Ok(Manifest { descriptor, bytes, links })
    }

    /// Writes a manifest or an index under its digest, or under a tag, and confirms that it is there.
    pub(super) async fn put_manifest(&self, reference: &Reference, manifest: &Manifest) -> Result<(), RegistryError> {
        let digest = manifest.descriptor.digest;
        let doing = format!("writing {reference}");
        let call = self
            .manifest_call(&Method::PUT, reference, &doing)?
            .header(header::CONTENT_TYPE, &manifest.descriptor.media_type)
            .body(Body::Bytes(manifest.bytes.clone()));
        let response = self.endpoint.call(&call, &[200, 201, 202]).await?;
        check_digest(&response, &digest, &doing)?;
        match self.tag_digest(reference).await? {
            Some(there) if there == digest => Ok(()),
            Some(there) => Err(RegistryError::WrongDigest { doing, expected: digest, actual: there.to_string() }),
            None => Err(RegistryError::Lost { doing }),
        }
    }

    fn manifest_call(&self, method: &Method, reference: &Reference, doing: &str) -> Result<Call, RegistryError> {
        let repository = &reference.repository;
        let name = match reference.digest {
            Some(digest) => digest.to_string(),
            None => reference.tag_or_latest().to_string(),
        };
        let url = self.url(repository, "manifests", &name, doing)?;
        let scope = match *method {
            Method::GET => Scope::pull(repository.path()),
            _ => Scope::push(repository.path()),
        };
        let call = Call::new(method.clone(), url, scope, doing);
        if *method == Method::PUT {
            return Ok(call);
        }
        Ok(call.header(header::ACCEPT, [INDEX, MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST].join(", ")))
    }

    pub(super) fn url(
        &self,
        repository: &Repository,
        kind: &str,
        name: &str,
        doing: &str,
    ) -> Result<Url, RegistryError> {
        // Repositories, tags and digests are of characters that a URL's path takes as they are.
        self.endpoint
            .base
            .join(&format!("{}/{kind}/{name}", repository.path()))
            .map_err(|error| RegistryError::Malformed { doing: doing.to_owned(), reason: error.to_string() })
    }
}

/// Holds the registry to the digest that it names, if it names one.
pub(super) fn check_digest(answer: &Response, expected: &Digest, doing: &str) -> Result<(), RegistryError> {
    match digest_of(answer, doing)? {
        Some(actual) if actual != *expected => {
            let (doing, expected) = (doing.to_owned(), *expected);
            Err(RegistryError::WrongDigest { doing, expected, actual: actual.to_string() })
        }
        _ => Ok(()),
    }
}

fn digest_of(answer: &Response, doing: &str) -> Result<Option<Digest>, RegistryError> {
    let Some(value) = answer.headers().get(DIGEST) else { return Ok(None) };
    let text = String::from_utf8_lossy(value.as_bytes());
    let digest = text.strip_prefix("sha256:").and_then(|hex| hex.parse().ok());
    digest.map(Some).ok_or_else(|| RegistryError::BadHeader {
        doing: doing.to_owned(),
        header: "Docker-Content-Digest",
        value: printable(&text, 100),
    })
}

/// Asks `/v2/` whether this is a registry.
async fn ping(http: &Http, scheme: &str, login: Option<&Login>) -> Result<(Url, Response), RegistryError> {
    let doing = format!("reaching the registry {}", http.host);
    let base = Url::parse(&format!("{scheme}://{}/v2/", http.host));
    let base =
        base.map_err(|error| RegistryError::Unreachable { host: http.host.clone(), reason: error.to_string() })?;
    let auth = Auth::new(login.cloned(), false, None);
    let mut tries = http.begin();
    loop {
        let error = match http.exchange(http.request(Method::GET, base.clone()), &doing, None).await {
            Ok(response) if matches!(response.status().as_u16(), 200 | 401) => return Ok((base, response)),
            Ok(response) => match http.refusal(response, &doing, &auth).await {
                RegistryError::NotFound { .. } => {
                    return Err(RegistryError::NotARegistry { host: http.host.clone(), status: 404 });
                }
                RegistryError::Refused { status, .. } => {
                    return Err(RegistryError::NotARegistry { host: http.host.clone(), status });
                }
                error => error,
            },
            // Nobody listens there: a mistyped name is told at once rather than after all the waits.
            Err(error @ RegistryError::Unreachable { .. }) => return Err(error),
            Err(error) => error,
        };
        tries.again(error).await?;
    }
}
