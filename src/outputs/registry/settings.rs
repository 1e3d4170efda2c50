//! How registries are spoken to: what the user may say about them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use super::retry::Retry;
use crate::{base::progress::SharedProgress, outputs::credentials::Credentials};

/// How registries are spoken to.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Hosts, with their port if they have one, that may speak plain HTTP or have a certificate that nobody vouches for.
    /// The machine itself (`localhost`, 127.0.0.0/8, `::1`) may always speak plain HTTP.
    pub insecure: BTreeSet<String>,
    /// Where else the images of a registry are looked for first, when they are read: hosts with an optional path before
    /// the repository's, such as `mirror.example:5000/hub`.
    pub mirrors: BTreeMap<String, Vec<String>>,
    /// PEM files with further certificate authorities, beside those of the system.
    pub authorities: Vec<Vec<u8>>,
    pub credentials: Credentials,
    pub retry: Retry,
    /// Who is told that something has to be tried again.
    pub notes: Notes,
    /// How long nothing may move before a connection counts as dead.
    pub idle: Duration,
    /// Uploads in pieces of this many bytes, for registries behind proxies that limit a request's size. Without it a blob
    /// goes in one request, which is twice as fast.
    pub piece: Option<u64>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            insecure: BTreeSet::new(),
            mirrors: BTreeMap::new(),
            authorities: Vec::new(),
            credentials: Credentials::default(),
            retry: Retry::default(),
            notes: Notes::default(),
            // Registries that move a finished upload within their object storage take minutes for a large blob.
            idle: Duration::from_secs(300),
            piece: None,
        }
    }
}

/// Somebody who is told what goes on, or nobody.
#[derive(Clone, Default)]
pub struct Notes(Option<SharedProgress>);

impl Notes {
    pub fn to(progress: &SharedProgress) -> Self {
        Self(Some(SharedProgress::clone(progress)))
    }

    pub(super) fn say(&self, line: &str) {
        if let Some(progress) = &self.0 {
            progress.note(line);
        }
    }
}

impl fmt::Debug for Notes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Notes(..)" } else { "Notes" })
    }
}
