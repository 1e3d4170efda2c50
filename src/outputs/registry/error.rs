//! What can go wrong with a registry, in words that say what to do next.

use std::time::Duration;

use crate::{
    base::Digest,
    images::reference::Reference,
    outputs::{credentials::CredentialsError, source::SourceError},
};

#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error("preparing TLS for registries: {0}: check the file given with --ca-cert")]
    Tls(String),
    #[error("reaching the registry {host}: {reason}: check its name, the network and HTTPS_PROXY")]
    Unreachable { host: String, reason: String },
    #[error(
        "reaching the registry {host}: its certificate was not accepted: {reason}: give the CA that signed it with \
         --ca-cert, or allow this host with --insecure-registry {host}"
    )]
    Untrusted { host: String, reason: String },
    #[error(
        "reaching the registry {host}: its certificate is not valid: {reason}: have it renewed, use the name that it is for, \
         or allow this host with --insecure-registry {host}"
    )]
    Certificate { host: String, reason: String },
    #[error(
        "reaching the registry {host}: it does not speak TLS ({reason}): if it is meant to be plain HTTP, allow that with \
         --insecure-registry {host}"
    )]
    PlainHttp { host: String, reason: String },
    #[error("{host} answers {status} at /v2/: it is not a container registry: check the name")]
    NotARegistry { host: String, status: u16 },
    #[error("{doing}: the connection broke: {reason}")]
    Broken { doing: String, reason: String },
    #[error("{doing}: no data for {} s", after.as_secs())]
    Stalled { doing: String, after: Duration },
    #[error("{doing}: the registry answers {status}{detail}")]
    Busy { doing: String, status: u16, detail: String, wait: Option<Duration> },
    #[error(
        "{doing}: the registry asks to wait {} s, longer than kletimg waits: try again later, with fewer parallel jobs", wait.as_secs()
    )]
    MustWait { doing: String, wait: Duration },
    #[error(
        "{last} (gave up after {attempts} attempts: check the registry and the network, then try again; blobs that were sent \
         are kept)"
    )]
    GaveUp { attempts: u32, last: Box<RegistryError> },
    #[error("{doing}: the registry answers {status}{detail}")]
    Refused { doing: String, status: u16, detail: String },
    #[error(
        "{doing}: {host}, or a proxy before it, limits the size of uploads (413{detail}): raise that limit, such as \
         client_max_body_size of nginx"
    )]
    TooBig { doing: String, host: String, detail: String },
    #[error(
        "{doing}: {host} does not take this (405{detail}): it may be read-only, or a mirror: push to another registry"
    )]
    Unsupported { doing: String, host: String, detail: String },
    #[error("{doing}: {host} is out of disk space ({status}{detail}): free space there, then push again")]
    Full { doing: String, host: String, status: u16, detail: String },
    #[error("{doing}: not logged in to {host}{detail}: run `kletimg login {host}`")]
    LoginNeeded { doing: String, host: String, detail: String },
    #[error(
        "{doing}: {host} does not accept the login{user}{detail}: the password or token is wrong or has expired; run \
         `kletimg login {host}`"
    )]
    LoginRefused { doing: String, host: String, user: String, detail: String },
    #[error("{doing}: {host} does not allow that{user}{detail}: ask for push rights, or log in as another user")]
    Forbidden { doing: String, host: String, user: String, detail: String },
    #[error(
        "{doing}: not found in the registry{detail}: check the name; some registries require the repository to be created first"
    )]
    NotFound { doing: String, detail: String },
    #[error("the registry's token service {realm} is not encrypted: no login is sent there")]
    UnsafeRealm { realm: String },
    #[error("{doing}: the answer has no {header} header: the registry does not follow the distribution specification")]
    NoHeader { doing: String, header: &'static str },
    #[error("{doing}: the {header} header of the answer is invalid: `{value}`")]
    BadHeader { doing: String, header: &'static str, value: String },
    #[error("{doing}: too many redirects, or one to an address that is not encrypted: {to}")]
    BadRedirect { doing: String, to: String },
    #[error("{doing}: expected the digest {expected}, the registry has {actual}")]
    WrongDigest { doing: String, expected: Digest, actual: String },
    #[error("{doing}: the registry accepted it but does not have it: nothing was tagged; check the registry's logs")]
    Lost { doing: String },
    #[error("{doing}: the answer is larger than the {limit} bytes that are taken")]
    TooLarge { doing: String, limit: u64 },
    #[error("{doing}: {reason}")]
    Malformed { doing: String, reason: String },
    #[error("{doing}: writing what was fetched: {source}")]
    Sink { doing: String, source: std::io::Error },
    #[error(
        "{} with another digest, and no published version is silently replaced: {}: push with --overwrite to move {}",
        if conflicts.len() == 1 { "a tag exists" } else { "tags exist" }, list(conflicts),
        if conflicts.len() == 1 { "it" } else { "them" }
    )]
    TagExists { conflicts: Vec<Conflict> },
    #[error("{reference} would be pushed twice with different contents: give the tags different names")]
    Ambiguous { reference: Reference },
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// A tag that exists with another digest than the one to be pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    pub reference: Reference,
    pub there: Digest,
    pub ours: Digest,
    /// Of a tag that is meant to move: what its followers would lose.
    pub loss: Option<String>,
}

fn list(conflicts: &[Conflict]) -> String {
    let lines = conflicts.iter().map(|c| match &c.loss {
        Some(loss) => format!("{} is {}, ours is {} ({loss})", c.reference, c.there, c.ours),
        None => format!("{} is {}, ours is {}", c.reference, c.there, c.ours),
    });
    lines.collect::<Vec<_>>().join("; ")
}

impl RegistryError {
    /// The exit code for this error: 3 where a check said no, 1 where the trouble is on this machine, 4 for the registry
    /// and credentials.
    pub fn exit_hint(&self) -> u8 {
        match self {
            Self::TagExists { .. } => 3,
            Self::Source(_) | Self::Sink { .. } | Self::Ambiguous { .. } => 1,
            Self::GaveUp { last, .. } => last.exit_hint(),
            _ => 4,
        }
    }

    /// Whether the same request may go well if it is made again.
    pub(super) fn is_transient(&self) -> bool {
        matches!(self, Self::Broken { .. } | Self::Stalled { .. } | Self::Busy { .. } | Self::Unreachable { .. })
    }

    /// What an honest and a lying registry have in common: it says that bytes are wrong.
    pub(super) fn is_digest_dispute(&self) -> bool {
        matches!(self, Self::Refused { status: 400, detail, .. } if detail.contains("DIGEST_INVALID"))
    }
}
