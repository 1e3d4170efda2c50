//! Files from outside, by URL: checked by digest, stored as blobs, fetched once.
//!
//! Nothing that comes through here is trusted for where it came from. A pinned file has the digest of the lock; a file
//! that is fetched for the first time has the one of its publisher's checksum file or of the matrix file. That is why
//! mirrors, http and files of this machine are as good as https, and why a wrong byte is never kept.
//!
//! One fetch tries the mirrors of the URL and then the URL itself (`mirrors`); each address is retried and resumed
//! (`transfer`), its bytes hashed and written while they pass (`sink`). Registries and signatures are not known here.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
    time::Duration,
};

use tokio::sync::Semaphore;
use url::Url;

use crate::{
    base::{Blob, Digest, progress::SharedProgress},
    host::files,
    inputs::store::{Store, StoreError},
};

pub mod checksum;
mod client;
mod error;
pub mod hosts;
pub mod mirrors;
mod sink;
mod transfer;

pub use checksum::{Checksum, Sum};
pub use error::{FetchError, Tried, Why};
pub use mirrors::{Mirrors, Original};

use client::{Again, Http};
use error::redacted;
use sink::{Meter, Sink};
use transfer::{Bound, Failure, Others, Pieces, Transfer};

/// How to fetch.
#[derive(Clone, Debug)]
pub struct Options {
    pub network: Network,
    /// Downloads at the same time, at least one.
    pub parallel: usize,
    pub mirrors: Mirrors,
    /// PEM files with certificate authorities that are trusted beside the system's.
    pub ca_certificates: Vec<PathBuf>,
    pub proxies: Proxies,
    /// What is set for single hosts, over the proxies of the environment.
    pub hosts: hosts::Hosts,
    /// Until a connection stands, name resolution included.
    pub connect_timeout: Duration,
    /// Between two pieces of a body, and until the head of a response.
    pub stall_timeout: Duration,
    /// After the first attempt, at one address, without progress in between.
    pub retries: usize,
    /// Before the first retry; it doubles with each.
    pub first_pause: Duration,
    /// The largest file whose size is not pinned, in bytes.
    pub largest: u64,
}

/// Whether the network may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    #[default]
    Online,
    /// Only the store, and `file://` addresses.
    Offline,
}

/// Which proxies are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proxies {
    /// Those of `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`.
    #[default]
    System,
    None,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            network: Network::Online,
            parallel: 4,
            mirrors: Mirrors::default(),
            ca_certificates: Vec::new(),
            proxies: Proxies::System,
            hosts: hosts::Hosts::default(),
            // A host that does not answer in five seconds is not there, or not worth waiting for.
            connect_timeout: Duration::from_secs(5),
            stall_timeout: Duration::from_secs(30),
            retries: 5,
            first_pause: Duration::from_millis(500),
            largest: 4 << 30,
        }
    }
}

/// A file that was fetched for the first time, and what vouches for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct First {
    pub blob: Blob,
    pub evidence: Evidence,
}

/// What a file was verified by before it was locked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// The publisher's checksum file, at this URL.
    ChecksumFile { url: String, sum: Sum },
    /// The digest in the matrix file.
    Given { sum: Sum },
}

impl std::fmt::Display for Evidence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ChecksumFile { url, sum } => write!(f, "{} of {}", sum.algorithm(), redacted(url)),
            Self::Given { sum } => write!(f, "{} of the matrix file", sum.algorithm()),
        }
    }
}

/// Fetches files into a store. Shared by all who need inputs: it bounds what they download at the same time.
pub struct Fetcher {
    store: Store,
    options: Options,
    progress: SharedProgress,
    permits: Semaphore,
    http: OnceLock<Http>,
    /// Hosts that could not be reached, or that took a question and never sent a byte: for the rest of the run others are asked first, so that a mirror that is down
    /// costs its timeout once and not for every file.
    down: Mutex<BTreeSet<String>>,
    /// One lock per digest that is being fetched, so that nobody fetches it twice.
    fetching: Mutex<BTreeMap<Digest, Weak<tokio::sync::Mutex<()>>>>,
    /// What of the store was read in this run and has its digest.
    sound: Mutex<BTreeSet<Digest>>,
}

impl Fetcher {
    pub fn new(store: Store, options: Options, progress: SharedProgress) -> Self {
        let permits = Semaphore::new(options.parallel.max(1));
        let (down, fetching, sound) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { store, options, progress, permits, http: OnceLock::new(), down, fetching, sound }
    }

    /// The file with this digest: from the store if it is there, whatever the URL; else from its mirrors and the URL.
    /// `what` names it for people. `size` in bytes, where it is pinned too.
    pub async fn pinned(&self, what: &str, url: &str, expected: Digest, size: Option<u64>) -> Result<Blob, FetchError> {
        let alone = self.alone(expected);
        let _alone = alone.lock().await;
        let blob = match self.held(what, expected, size).await? {
            Some(blob) => blob,
            None => self.blob(what, url, Sum::Sha256(expected), size).await?,
        };
        self.sound.lock().unwrap_or_else(PoisonError::into_inner).insert(expected);
        Ok(blob)
    }

    /// The store's copy. A disk may have damaged it since it was stored, so it is read when it is used first in a run;
    /// one that has other bytes is removed, for another to be fetched.
    async fn held(&self, what: &str, expected: Digest, size: Option<u64>) -> Result<Option<Blob>, FetchError> {
        let Some(blob) = self.store.blob(&expected) else { return Ok(None) };
        let is_whole = size.is_none_or(|size| size == blob.size);
        if is_whole && self.sound.lock().unwrap_or_else(PoisonError::into_inner).contains(&expected) {
            return Ok(Some(blob));
        }
        let _permit = self.permits.acquire().await;
        let path = self.store.path(&expected);
        let read = path.clone();
        if is_whole && blocking(move || files::blob(&read)).await.is_ok_and(|read| read.digest == expected) {
            return Ok(Some(blob));
        }
        files::remove(&path).map_err(StoreError::from)?;
        self.progress.note(&format!("the store's copy of {what} was damaged and is fetched anew"));
        Ok(None)
    }

    /// The file at a URL, verified by what its publisher or the matrix file says of it.
    pub async fn first(&self, what: &str, url: &str, checksum: &Checksum) -> Result<First, FetchError> {
        let evidence = match checksum {
            Checksum::Given(sum) => Evidence::Given { sum: *sum },
            Checksum::File { url: file } => {
                Evidence::ChecksumFile { url: file.clone(), sum: self.published(what, url, file).await? }
            }
        };
        let (Evidence::ChecksumFile { sum, .. } | Evidence::Given { sum }) = &evidence;
        let blob = match sum {
            Sum::Sha256(digest) => self.pinned(what, url, *digest, None).await?,
            Sum::Sha512(_) => self.blob(what, url, *sum, None).await?,
        };
        Ok(First { blob, evidence })
    }

    /// A file whose SHA-256 nobody has published, of a known size in bytes. `accept` says by other means whether its
    /// bytes are right; a mirror whose file it refuses is passed over for the next. Until then the store has the bytes
    /// only under their own digest, where nothing looks for them.
    pub async fn accepted<T: Send + 'static, E: std::fmt::Display + Send + 'static>(
        &self,
        what: &str,
        url: &str,
        size: u64,
        accept: impl Fn(Blob) -> Result<T, E> + Clone + Send + 'static,
    ) -> Result<(Blob, T), FetchError> {
        let targets = self.targets(what, url)?;
        let _permit = self.permits.acquire().await;
        let meter = Meter::new(self.progress.start(what, Some(size)));
        let mut tried = Vec::new();
        for (target, others) in in_turn(targets) {
            let sink = Sink::unverified(&self.store, &meter)?;
            let why = match self.receive(&target, others, Bound::Exactly(size), sink).await? {
                Ok((sink, _)) => {
                    let accept = accept.clone();
                    let judged = blocking(move || {
                        let Some(blob) = sink.store()? else { return Ok(None) };
                        Ok::<_, StoreError>(Some(accept(blob).map(|value| (blob, value))))
                    });
                    match judged.await? {
                        Some(Ok((blob, value))) => {
                            meter.task.done(&crate::base::size::Bytes(blob.size).to_string());
                            return Ok((blob, value));
                        }
                        Some(Err(refusal)) => Why::Refused(refusal.to_string()),
                        None => continue,
                    }
                }
                Err(why) => why,
            };
            tried.push(Tried { url: redacted(&target).to_string(), why });
        }
        Err(self.failed(what, url, tried))
    }

    /// A file of at most `limit` bytes that is not stored, such as an index. Nothing has verified it.
    pub async fn small(&self, what: &str, url: &str, limit: u64) -> Result<Vec<u8>, FetchError> {
        let accept = |_: &str, _: &[u8]| Ok::<_, std::convert::Infallible>(());
        Ok(self.small_accepted(what, url, limit, accept).await?.0)
    }

    /// A file of at most `limit` bytes that is not stored and whose size nobody knows. `accept` is given the address that
    /// was asked and its bytes and says whether they are right; a mirror whose file it refuses is passed over for the
    /// next.
    pub async fn small_accepted<T, E: std::fmt::Display>(
        &self,
        what: &str,
        url: &str,
        limit: u64,
        accept: impl Fn(&str, &[u8]) -> Result<T, E>,
    ) -> Result<(Vec<u8>, T), FetchError> {
        let _permit = self.permits.acquire().await;
        let mut tried = Vec::new();
        for (target, others) in in_turn(self.targets(what, url)?) {
            let sink = Sink::memory();
            let why = match self.receive(&target, others, Bound::AtMost(limit), sink).await? {
                Ok((sink, _)) => {
                    let bytes = sink.into_bytes();
                    match accept(&target, &bytes) {
                        Ok(value) => return Ok((bytes, value)),
                        Err(refusal) => Why::Refused(refusal.to_string()),
                    }
                }
                Err(why) => why,
            };
            tried.push(Tried { url: redacted(&target).to_string(), why });
        }
        Err(self.failed(what, url, tried))
    }

    /// Whether there is an address to try for a URL at all.
    pub fn has_address(&self, url: &str) -> bool {
        self.options.mirrors.why_none(url).is_none()
    }

    /// The digest that the checksum file at `file` gives for `url`.
    async fn published(&self, what: &str, url: &str, file: &str) -> Result<Sum, FetchError> {
        // Go's list of all its releases is 4 MB.
        const LARGEST: u64 = 16 << 20;
        let bytes = self.small(&format!("the checksum file of {what}"), file, LARGEST).await?;
        let (what, shown) = (what.to_owned(), redacted(file).to_string());
        match String::from_utf8(bytes) {
            Ok(text) => checksum::find(&text, url).map_err(|source| FetchError::Checksum { what, url: shown, source }),
            Err(_) => Err(FetchError::ChecksumNotText { what, url: shown }),
        }
    }

    async fn blob(&self, what: &str, url: &str, expected: Sum, size: Option<u64>) -> Result<Blob, FetchError> {
        let targets = self.targets(what, url)?;
        let _permit = self.permits.acquire().await;
        let meter = Meter::new(self.progress.start(what, size));
        let mut tried = Vec::new();
        for (target, others) in in_turn(targets) {
            match self.verified((&target, others), expected, size, &meter).await? {
                Ok(blob) => {
                    meter.task.done(&crate::base::size::Bytes(blob.size).to_string());
                    return Ok(blob);
                }
                Err(why) => tried.push(Tried { url: redacted(&target).to_string(), why }),
            }
        }
        Err(self.failed(what, url, tried))
    }

    /// The file at one address, if its bytes are right. A file that was put together from pieces gets a second chance in
    /// one piece, because a server may have changed it in between without saying so.
    async fn verified(
        &self,
        (target, others): (&str, Others),
        expected: Sum,
        size: Option<u64>,
        meter: &Arc<Meter>,
    ) -> Result<Result<Blob, Why>, FetchError> {
        let bound = size.map_or(Bound::AtMost(self.options.largest), Bound::Exactly);
        let mut chances = 2;
        loop {
            chances -= 1;
            let sink = Sink::blob(&self.store, &expected, meter)?;
            let (sink, pieces) = match self.receive(target, others, bound, sink).await? {
                Ok(received) => received,
                Err(why) => return Ok(Err(why)),
            };
            match blocking(move || sink.finish(&expected)).await? {
                Ok(blob) => return Ok(Ok(blob)),
                Err(_) if pieces == Pieces::Several && chances > 0 => {}
                Err(actual) => return Ok(Err(Why::WrongSum { expected, actual })),
            }
        }
    }

    /// The bytes at one address, unverified.
    async fn receive(
        &self,
        target: &str,
        others: Others,
        bound: Bound,
        mut sink: Sink,
    ) -> Result<Result<(Sink, Pieces), Why>, FetchError> {
        let received = match Url::parse(target) {
            Ok(url) if url.scheme() == "file" => {
                let (copied, returned) = blocking(move || (transfer::copy_local(&url, bound, &mut sink), sink)).await;
                sink = returned;
                copied.map(|()| Pieces::One)
            }
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => {
                Transfer::new(self.http()?, &self.options, &url, bound).run(&mut sink, others).await
            }
            _ => Err(Failure::Remote { why: Why::NotAUrl, again: Again::Never }),
        };
        match received {
            Ok(pieces) => Ok(Ok((sink, pieces))),
            Err(Failure::Remote { why, again }) => {
                let silent =
                    (again == Again::Silent).then(|| Url::parse(target).ok().as_ref().and_then(client::host_of));
                let down = if let Why::Unreachable { host, .. } = &why { Some(host.clone()) } else { silent.flatten() };
                self.down.lock().unwrap_or_else(PoisonError::into_inner).extend(down);
                Ok(Err(why))
            }
            Err(Failure::Local(error)) => Err(error.into()),
        }
    }

    /// The addresses to try: offline, only files of this machine.
    fn targets(&self, what: &str, url: &str) -> Result<Vec<String>, FetchError> {
        let mut targets = self.options.mirrors.targets(url);
        if let Some(why) = self.options.mirrors.why_none(url).filter(|_| self.options.network == Network::Online) {
            return Err(FetchError::NoMirror { what: what.to_owned(), why });
        }
        if self.options.network == Network::Offline {
            targets.retain(|target| target.starts_with("file:"));
        }
        if targets.is_empty() {
            return Err(FetchError::Offline { what: what.to_owned(), url: redacted(url).to_string() });
        }
        let down = self.down.lock().unwrap_or_else(PoisonError::into_inner);
        if !down.is_empty() {
            let host = |target: &String| Url::parse(target).ok().as_ref().and_then(client::host_of);
            targets.sort_by_key(|target| host(target).is_some_and(|host| down.contains(&host)));
        }
        Ok(targets)
    }

    /// Where a file was looked for in vain, in the order in which its mirrors were named.
    fn failed(&self, what: &str, url: &str, mut tried: Vec<Tried>) -> FetchError {
        let named: Vec<_> =
            self.options.mirrors.targets(url).iter().map(|target| redacted(target).to_string()).collect();
        tried.sort_by_key(|tried| named.iter().position(|target| *target == tried.url));
        FetchError::Failed { what: what.to_owned(), tried }
    }

    /// The client, made when it is first needed: reading the system's certificates takes a while, and may fail.
    fn http(&self) -> Result<&Http, FetchError> {
        if let Some(http) = self.http.get() {
            return Ok(http);
        }
        let http = Http::new(&self.options)?;
        Ok(self.http.get_or_init(|| http))
    }

    fn alone(&self, digest: Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut fetching = self.fetching.lock().unwrap_or_else(PoisonError::into_inner);
        fetching.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = fetching.get(&digest).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::default();
        fetching.insert(digest, Arc::downgrade(&lock));
        lock
    }
}

/// Addresses one after the other, each with whether there are more to try.
fn in_turn(targets: Vec<String>) -> impl Iterator<Item = (String, Others)> {
    let last = targets.len().saturating_sub(1);
    let others = move |number| if number < last { Others::Left } else { Others::None };
    targets.into_iter().enumerate().map(move |(number, target)| (target, others(number)))
}

/// Runs what waits for the disk where it may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down, and so are we.
            Err(_) => std::future::pending().await,
        },
    }
}
