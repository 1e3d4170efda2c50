//! Blobs on their way to a registry: streamed, checked, and resumed where a connection broke.
//!
//! A blob normally goes in one request (POST, then PUT with all bytes). When that breaks, the registry is asked how much
//! of it arrived, and the rest follows (PATCH, then PUT without bytes); a session that the registry no longer knows is
//! begun anew. Whatever happened, the blob counts as sent only when the registry finds it.

use std::{
    io::{self, Read},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use reqwest::{Method, Response, header};
use url::Url;

use super::{
    auth::Scope,
    client::{Registry, check_digest},
    error::RegistryError,
    meter::Meter,
    transport::{Body, Call, printable},
};
use crate::{
    base::{Blob, digest::Hashing},
    images::reference::Repository,
    outputs::source::{Source, SourceError},
};

/// Read and sent at once. Larger pieces gain nothing on a local network, and three of these are in memory per upload.
const PIECE: usize = 256 << 10;

/// Progress of this much since the last failure means that the connection is worth going on with.
pub(super) const WORTHWHILE: u64 = 1 << 20;

/// A stretch of a blob as the body of a request. Every attempt at the request reads it anew.
pub(super) struct Feed {
    source: Arc<dyn Source>,
    blob: Blob,
    from: u64,
    to: u64,
    meter: Arc<Meter>,
    moved: Arc<AtomicU64>,
    failure: Arc<Mutex<Option<SourceError>>>,
}

impl Feed {
    pub(super) const fn length(&self) -> u64 {
        self.to - self.from
    }

    /// Grows while bytes are taken.
    pub(super) fn moved(&self) -> &AtomicU64 {
        &self.moved
    }

    /// The error of the source that made a request fail, if it was the source.
    pub(super) fn check(&self) -> Result<(), RegistryError> {
        match self.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(failure) => Err(failure.into()),
            None => Ok(()),
        }
    }

    pub(super) fn body(&self) -> reqwest::Body {
        let (sender, receiver) = tokio::sync::mpsc::channel(2);
        let (source, blob, from, to) = (Arc::clone(&self.source), self.blob, self.from, self.to);
        let (meter, moved, failure) = (Arc::clone(&self.meter), Arc::clone(&self.moved), Arc::clone(&self.failure));
        tokio::task::spawn_blocking(move || {
            let mut offset = from;
            let sent = read_pieces(source.as_ref(), &blob, from, to, |piece| {
                offset += piece.len() as u64;
                let taken = sender.blocking_send(Ok(piece)).is_ok();
                moved.fetch_add(1, Ordering::Relaxed);
                meter.reached(offset);
                taken
            });
            if let Err(error) = sent {
                *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                // Breaks the request off, so that the registry cannot take what was read for the whole.
                let _ = sender.blocking_send(Err(io::Error::other("the source of the blob failed")));
            }
        });
        let pieces = futures::stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|piece: io::Result<Vec<u8>>| (piece, receiver))
        });
        reqwest::Body::wrap_stream(pieces)
    }
}

/// Gives a stretch of a blob piece by piece, until `take` wants no more. Of a whole blob the last piece is given only when
/// the digest of all of it is right.
fn read_pieces(
    source: &dyn Source,
    blob: &Blob,
    from: u64,
    to: u64,
    mut take: impl FnMut(Vec<u8>) -> bool,
) -> Result<(), SourceError> {
    let whole = from == 0 && to == blob.size;
    let mut reader = Hashing::new(source.open(blob, from)?);
    let mut left = to - from;
    while left > 0 {
        let mut piece = vec![0; usize::try_from(left).map_or(PIECE, |left| left.min(PIECE))];
        match reader.read_exact(&mut piece) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                let (_, got) = reader.finish();
                return Err(SourceError::damaged(blob, Blob { size: from + got.size, ..got }));
            }
            Err(source) => return Err(SourceError::Read { digest: blob.digest, source }),
        }
        left -= piece.len() as u64;
        if whole && left == 0 {
            let (_, got) = reader.finish();
            if got == *blob {
                take(piece);
                return Ok(());
            }
            return Err(SourceError::damaged(blob, got));
        }
        if !take(piece) {
            return Ok(());
        }
    }
    Ok(())
}

/// Reads a blob through to see whether it is what its name says, before it goes out in stretches.
async fn check_source(source: &Arc<dyn Source>, blob: Blob) -> Result<(), RegistryError> {
    let source = Arc::clone(source);
    let checked =
        tokio::task::spawn_blocking(move || read_pieces(source.as_ref(), &blob, 0, blob.size, |_| true)).await;
    // The task does not panic and is not aborted; were it, nothing would have been proved.
    let failed = |error| SourceError::Read { digest: blob.digest, source: io::Error::other(error) };
    Ok(checked.map_err(failed)??)
}

/// An upload that the registry has begun: where the next bytes go, and from which offset.
struct Session {
    url: Url,
    offset: u64,
}

/// One blob to send.
struct Upload<'a> {
    registry: &'a Registry,
    repository: &'a Repository,
    source: &'a Arc<dyn Source>,
    blob: Blob,
    meter: &'a Arc<Meter>,
    doing: String,
    /// The most bytes of one request.
    piece: AtomicU64,
}

/// What is tried in turn where a request is too large for a registry or a proxy before it: most limits are 10 MiB or more,
/// and nginx's own is 1 MiB.
const SMALLER_PIECES: [u64; 2] = [8 << 20, 768 << 10];

impl Registry {
    /// Sends a blob. `begun` is an upload that the registry offered when a mount was asked for.
    pub(super) async fn upload(
        &self,
        repository: &Repository,
        source: &Arc<dyn Source>,
        blob: Blob,
        begun: Option<Url>,
        meter: &Arc<Meter>,
    ) -> Result<(), RegistryError> {
        let doing = format!("uploading the blob {} to {repository}", blob.digest);
        let piece = AtomicU64::new(self.piece.unwrap_or(u64::MAX).max(1));
        let upload = Upload { registry: self, repository, source, blob, meter, doing, piece };
        let mut session = begun.map(|url| Session { url, offset: 0 });
        let sent = upload.send(&mut session).await;
        if sent.is_err() {
            upload.cancel(session.take()).await;
        }
        sent?;
        if self.has_blob(repository, &blob).await? { Ok(()) } else { Err(RegistryError::Lost { doing: upload.doing }) }
    }
}

impl Upload<'_> {
    async fn send(&self, session: &mut Option<Session>) -> Result<(), RegistryError> {
        let mut tries = self.registry.endpoint.http.begin();
        let mut disputed = false;
        let mut checked_at = 0;
        loop {
            let resumed = session.as_ref().is_some_and(|session| session.offset > 0);
            let error = match self.attempt(session).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if matches!(error, RegistryError::TooBig { .. }) && self.take_smaller_pieces() {
                self.cancel(session.take()).await;
                continue;
            }
            if error.is_digest_dispute() {
                // What was sent is right: it was hashed on its way. A registry that puts a resumed upload together
                // wrongly gets one chance to have it whole.
                *session = None;
                if resumed && !disputed {
                    disputed = true;
                    continue;
                }
                return Err(error);
            }
            let gone = session.is_some() && matches!(error, RegistryError::NotFound { .. });
            if gone {
                *session = None;
                let (doing, detail) = (self.doing.clone(), " (it has lost the upload)".to_owned());
                tries.again(RegistryError::Busy { doing, status: 404, detail, wait: None }).await?;
            } else {
                let error = match error {
                    // The registry has another part of the upload than we think it has: it says which when asked.
                    RegistryError::Refused { doing, status: 416, detail } => {
                        RegistryError::Busy { doing, status: 416, detail, wait: None }
                    }
                    error => error,
                };
                tries.again(error).await?;
                *session = self.ask(session.take()).await?;
            }
            // The answer may be what was lost.
            if session.is_none() && self.registry.has_blob(self.repository, &self.blob).await? {
                return Ok(());
            }
            let offset = session.as_ref().map_or(0, |session| session.offset);
            if offset >= checked_at + WORTHWHILE {
                checked_at = offset;
                tries.progressed();
            }
        }
    }

    /// Whether there is a smaller size to try.
    fn take_smaller_pieces(&self) -> bool {
        let most = self.piece.load(Ordering::Relaxed).min(self.blob.size);
        let smaller = SMALLER_PIECES.into_iter().find(|smaller| *smaller < most);
        if let Some(smaller) = smaller {
            self.piece.store(smaller, Ordering::Relaxed);
        }
        smaller.is_some()
    }

    /// Begins an upload or goes on with one. An error leaves in `session` what is known of it.
    async fn attempt(&self, session: &mut Option<Session>) -> Result<(), RegistryError> {
        let current = match session {
            Some(current) => current,
            None => session.insert(self.begin().await?),
        };
        let piece = self.piece.load(Ordering::Relaxed);
        if current.offset == 0 && self.blob.size <= piece {
            return self.finish(current, self.feed(0, self.blob.size)).await;
        }
        check_source(self.source, self.blob).await?;
        while current.offset < self.blob.size {
            let to = current.offset.saturating_add(piece).min(self.blob.size);
            self.append(current, to).await?;
        }
        self.finish(current, Body::None).await
    }

    async fn begin(&self) -> Result<Session, RegistryError> {
        let url = self.registry.url(self.repository, "blobs", "uploads/", &self.doing)?;
        let response = self.registry.endpoint.call_once(&self.call(Method::POST, url.clone()), &[202]).await?;
        Ok(Session { url: self.registry.endpoint.location(&response, &url, &self.doing)?, offset: 0 })
    }

    /// Sends the bytes up to the offset `to`.
    async fn append(&self, session: &mut Session, to: u64) -> Result<(), RegistryError> {
        let call = self
            .call(Method::PATCH, session.url.clone())
            .header(header::CONTENT_TYPE, "application/octet-stream")
            // Both ends are counted, and there is no `bytes` before them: the specification's own form.
            .header(header::CONTENT_RANGE, format!("{}-{}", session.offset, to - 1))
            .body(self.feed(session.offset, to));
        let response = self.registry.endpoint.call_once(&call, &[202, 204]).await?;
        let url = self.registry.endpoint.location(&response, &session.url, &self.doing)?;
        *session = Session { url, offset: arrived(&response, &self.doing)?.unwrap_or(to) };
        if session.offset == to {
            return Ok(());
        }
        let reason = format!("of {to} bytes {} have arrived", session.offset);
        Err(RegistryError::Broken { doing: self.doing.clone(), reason })
    }

    /// Sends the last bytes, if any are left, and the digest that the whole must have.
    async fn finish(&self, session: &Session, body: Body) -> Result<(), RegistryError> {
        let mut url = session.url.clone();
        url.query_pairs_mut().append_pair("digest", &self.blob.digest.to_string());
        let mut call = self.call(Method::PUT, url).header(header::CONTENT_TYPE, "application/octet-stream");
        if matches!(body, Body::None) {
            call = call.header(header::CONTENT_LENGTH, "0");
        }
        let response = self.registry.endpoint.call_once(&call.body(body), &[201, 204]).await?;
        check_digest(&response, &self.blob.digest, &self.doing)
    }

    /// Asks how far an upload has come. `None`: it has to be begun anew.
    async fn ask(&self, session: Option<Session>) -> Result<Option<Session>, RegistryError> {
        let Some(session) = session else { return Ok(None) };
        let call = self.call(Method::GET, session.url.clone());
        let response = match self.registry.endpoint.call(&call, &[204, 200, 202]).await {
            Ok(response) => response,
            Err(RegistryError::NotFound { .. } | RegistryError::Refused { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        // An answer without a range or a place says nothing to go on with. `0-0` is said of one byte and of none.
        match arrived(&response, &self.doing)? {
            Some(offset) if offset > 1 && offset <= self.blob.size => {
                let url = self.registry.endpoint.location(&response, &session.url, &self.doing);
                Ok(url.ok().map(|url| Session { url, offset }))
            }
            _ => {
                self.cancel(Some(session)).await;
                Ok(None)
            }
        }
    }

    /// Tells the registry that an upload will not go on: a full disk is not to be left fuller. Whether it hears does not
    /// matter, as registries remove old uploads themselves.
    async fn cancel(&self, session: Option<Session>) {
        if let Some(session) = session {
            let _ = self.registry.endpoint.send(&self.call(Method::DELETE, session.url)).await;
        }
    }

    fn feed(&self, from: u64, to: u64) -> Body {
        Body::Blob(Arc::new(Feed {
            source: Arc::clone(self.source),
            blob: self.blob,
            from,
            to,
            meter: Arc::clone(self.meter),
            moved: Arc::default(),
            failure: Arc::default(),
        }))
    }

    fn call(&self, method: Method, url: Url) -> Call {
        Call::new(method, url, Scope::push(self.repository.path()), self.doing.as_str())
    }
}

/// How many bytes of an upload the registry has, by its Range header (`0-1023`: 1024).
fn arrived(response: &Response, doing: &str) -> Result<Option<u64>, RegistryError> {
    let Some(value) = response.headers().get(header::RANGE) else { return Ok(None) };
    let text = String::from_utf8_lossy(value.as_bytes());
    read_range(&text).map(Some).ok_or_else(|| RegistryError::BadHeader {
        doing: doing.to_owned(),
        header: "Range",
        value: printable(&text, 100),
    })
}

fn read_range(text: &str) -> Option<u64> {
    let range = text.trim().trim_start_matches("bytes").trim_start_matches(['=', ' ']);
    let last: u64 = range.strip_prefix("0-")?.parse().ok()?;
    last.checked_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Digest;

    /// A source of one blob's bytes, whatever is asked for.
    struct Bytes(Vec<u8>);

    impl Source for Bytes {
        fn open(&self, _: &Blob, from: u64) -> Result<Box<dyn Read + Send>, SourceError> {
            let from = usize::try_from(from).unwrap_or(usize::MAX).min(self.0.len());
            Ok(Box::new(io::Cursor::new(self.0[from..].to_vec())))
        }
    }

    #[test]
    fn ranges_are_those_of_the_specification() {
        let cases = [("0-0", Some(1)), ("0-1023", Some(1024)), ("bytes=0-9", Some(10)), ("1-9", None), ("", None)];
        for (text, expected) in cases.into_iter().chain([("0-18446744073709551615", None), ("0--1", None)]) {
            assert_eq!(read_range(text), expected, "{text}");
        }
    }

    #[test]
    fn the_last_piece_of_a_damaged_blob_is_not_given() {
        let good = vec![7; PIECE * 2 + 5];
        let blob = Blob { digest: Digest::of(&good), size: good.len() as u64 };
        let mut flipped = good.clone();
        flipped[3] ^= 1;
        let cases = [(good.clone(), true), (flipped, false), (good[..good.len() - 1].to_vec(), false), (vec![], false)];
        for (bytes, sound) in cases {
            let mut given = 0;
            let result = read_pieces(&Bytes(bytes), &blob, 0, blob.size, |piece| {
                given += piece.len() as u64;
                true
            });
            assert_eq!((result.is_ok(), given == blob.size), (sound, sound));
        }
        let mut rest = Vec::new();
        read_pieces(&Bytes(good.clone()), &blob, 10, blob.size, |piece| {
            rest.extend(piece);
            true
        })
        .unwrap();
        assert_eq!(rest, good[10..]);
    }
}
