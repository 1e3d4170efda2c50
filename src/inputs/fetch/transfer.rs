//! One file from one address: retried, resumed, bounded.
//!
//! A download that breaks off goes on where it stopped (`Range`) if the server can prove that the file is still the same
//! (`If-Range` with a strong entity tag or the time of the last change, RFC 9110 section 13.1.5), and begins again otherwise.
//! Whether the bytes are right is not judged here.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use reqwest::{
    Method, Response, StatusCode,
    header::{
        ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderName, HeaderValue, IF_RANGE,
        LAST_MODIFIED, RANGE, RETRY_AFTER,
    },
};
use url::Url;

use super::{
    Options,
    client::{self, Again, Http, Trust},
    error::Why,
    sink::Sink,
};
use crate::{host::files, inputs::store::StoreError};

/// How many bytes may come.
#[derive(Clone, Copy)]
pub(super) enum Bound {
    Exactly(u64),
    AtMost(u64),
}

/// Whether a download that came to its end was put together from pieces.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pieces {
    One,
    Several,
}

/// Whether there are other addresses to try after one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Others {
    Left,
    None,
}

/// Why an attempt failed.
pub(super) enum Failure {
    Remote {
        why: Why,
        again: Again,
    },
    /// The store cannot be written: no other address would help.
    Local(StoreError),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Local(error)
    }
}

impl From<(Why, Again)> for Failure {
    fn from((why, again): (Why, Again)) -> Self {
        Self::Remote { why, again }
    }
}

/// One address that a file is fetched from.
pub(super) struct Transfer<'a> {
    pub(super) http: &'a Http,
    pub(super) options: &'a Options,
    pub(super) url: &'a Url,
    pub(super) bound: Bound,
    validator: Option<HeaderValue>,
    /// The length of the whole file, once a server has said it.
    total: Option<u64>,
    pieces: Pieces,
}

impl<'a> Transfer<'a> {
    pub(super) const fn new(http: &'a Http, options: &'a Options, url: &'a Url, bound: Bound) -> Self {
        Self { http, options, url, bound, validator: None, total: None, pieces: Pieces::One }
    }

    /// Fetches the whole file into `sink`.
    pub(super) async fn run(mut self, sink: &mut Sink, others: Others) -> Result<Pieces, Failure> {
        // An attempt that brought this much is progress, and does not count against the retries.
        const PROGRESS: u64 = 1 << 20;
        if self.url.scheme() == "https" && self.http.trust == Trust::Nobody {
            return Err((Why::NoCertificates, Again::Never).into());
        }
        let backoff = || {
            ExponentialBuilder::new()
                .with_min_delay(self.options.first_pause)
                .with_max_delay(Duration::from_secs(10))
                .with_max_times(self.options.retries)
                .build()
        };
        let mut pauses = backoff();
        let mut unreachable = false;
        loop {
            let before = sink.received();
            let (why, again) = match self.attempt(sink).await {
                Ok(()) => return Ok(self.pieces),
                Err(Failure::Remote { why, again }) => (why, again),
                Err(local) => return Err(local),
            };
            if sink.received() >= before + PROGRESS {
                pauses = backoff();
            }
            let tired = match again {
                Again::Never => true,
                // It keeps a user waiting far longer than one that is not there.
                Again::Silent if sink.received() == 0 => {
                    others == Others::Left || std::mem::replace(&mut unreachable, true)
                }
                Again::Once => std::mem::replace(&mut unreachable, sink.received() == 0),
                Again::Silent | Again::Backoff => false,
            };
            let pause = pauses.next().filter(|_| !tired);
            let Some(pause) = pause else {
                let silent = again == Again::Silent && sink.received() == 0;
                return Err((why, if silent { Again::Silent } else { Again::Never }).into());
            };
            let asked = if let Why::Status { wait, .. } = &why { wait.map(Duration::from_secs) } else { None };
            tokio::time::sleep(asked.unwrap_or(pause)).await;
        }
    }

    async fn attempt(&mut self, sink: &mut Sink) -> Result<(), Failure> {
        let mut request = self.http.request(Method::GET, self.url).header(ACCEPT_ENCODING, "identity");
        match &self.validator {
            Some(validator) if sink.received() > 0 => {
                let range = format!("bytes={}-", sink.received());
                request = request.header(RANGE, range).header(IF_RANGE, validator.clone());
            }
            _ => sink.restart()?,
        }
        let response = request.send().await.map_err(|error| self.explain(&error, sink))?;
        self.accept(&response, sink)?;
        self.body(response, sink).await
    }

    /// Judges the head of a response, and brings `sink` to where its body begins.
    fn accept(&mut self, response: &Response, sink: &mut Sink) -> Result<(), Failure> {
        match response.status() {
            StatusCode::PARTIAL_CONTENT if sink.received() > 0 => {
                if let Some(total) = continues(response.headers(), sink.received(), self.total) {
                    self.pieces = Pieces::Several;
                    self.total = Some(total);
                    return Ok(());
                }
                // Another piece than was asked for, or one of another file.
                self.forget(sink)?;
                let reason = "the server continued with other bytes than it was asked for".to_owned();
                return Err((self.interrupted(sink, reason), Again::Backoff).into());
            }
            StatusCode::OK => {}
            StatusCode::RANGE_NOT_SATISFIABLE => {
                self.forget(sink)?;
                let reason = "the file became shorter meanwhile".to_owned();
                return Err((self.interrupted(sink, reason), Again::Backoff).into());
            }
            status => return Err(refused(status, response.headers()).into()),
        }
        self.forget(sink)?;
        self.validator = validator(response.headers());
        self.total = number(response.headers(), &CONTENT_LENGTH);
        match (self.bound, self.total) {
            (Bound::Exactly(expected), Some(actual)) if actual != expected => {
                Err((Why::WrongSize { expected, actual }, Again::Never).into())
            }
            (Bound::AtMost(limit), Some(actual)) if actual > limit => {
                Err((Why::TooLarge { limit }, Again::Never).into())
            }
            _ => Ok(()),
        }
    }

    async fn body(&mut self, mut response: Response, sink: &mut Sink) -> Result<(), Failure> {
        let limit = match self.bound {
            Bound::Exactly(size) | Bound::AtMost(size) => size,
        };
        while let Some(chunk) = response.chunk().await.map_err(|error| self.explain(&error, sink))? {
            if sink.received() + chunk.len() as u64 > limit {
                return Err((Why::TooLarge { limit }, Again::Never).into());
            }
            sink.write(&chunk)?;
        }
        let expected = match self.bound {
            Bound::Exactly(size) => Some(size),
            Bound::AtMost(_) => self.total,
        };
        match expected {
            Some(expected) if sink.received() < expected => {
                Err((self.interrupted(sink, "the server ended it".to_owned()), Again::Backoff).into())
            }
            _ => Ok(()),
        }
    }

    fn forget(&mut self, sink: &mut Sink) -> Result<(), StoreError> {
        self.validator = None;
        self.total = None;
        self.pieces = Pieces::One;
        sink.restart()
    }

    fn explain(&self, error: &reqwest::Error, sink: &Sink) -> Failure {
        let host = client::host_of(self.url).unwrap_or_default();
        match client::explain(error, &host, sink.received(), self.options) {
            (Why::Interrupted { reason, .. }, again) => (self.interrupted(sink, reason), again).into(),
            // The server was there a moment ago.
            (why @ Why::Unreachable { .. }, _) if sink.received() > 0 => (why, Again::Backoff).into(),
            other => other.into(),
        }
    }

    const fn interrupted(&self, sink: &Sink, reason: String) -> Why {
        let expected = match self.bound {
            Bound::Exactly(size) => Some(size),
            Bound::AtMost(_) => self.total,
        };
        Why::Interrupted { received: sink.received(), expected, reason }
    }
}

/// The total length, if this is the piece that begins at `at`, of a file as long as before.
fn continues(headers: &HeaderMap, at: u64, before: Option<u64>) -> Option<u64> {
    let range = headers.get(CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?;
    let (range, total) = range.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, total): (u64, u64, u64) = (first.parse().ok()?, last.parse().ok()?, total.parse().ok()?);
    (first == at && last < total && first <= last && before.is_none_or(|before| before == total)).then_some(total)
}

/// What proves that a file has not changed: weak entity tags do not.
fn validator(headers: &HeaderMap) -> Option<HeaderValue> {
    let strong = headers.get(ETAG).filter(|etag| etag.as_bytes().starts_with(b"\""));
    strong.or_else(|| headers.get(LAST_MODIFIED)).cloned()
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

fn refused(status: StatusCode, headers: &HeaderMap) -> (Why, Again) {
    // A server that asks for more is better left alone; the user may have a mirror.
    const LONGEST_WAIT: u64 = 30;
    let code = status.as_u16();
    match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => (Why::NotFound { status: code }, Again::Never),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => (Why::Denied { status: code }, Again::Never),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => busy(code, headers, LONGEST_WAIT),
        status if status.is_server_error() => busy(code, headers, LONGEST_WAIT),
        _ => (Why::Status { status: code, wait: None }, Again::Never),
    }
}

/// `Retry-After` in seconds is honoured; a date, which hardly any server sends, counts as none.
fn busy(status: u16, headers: &HeaderMap, longest_wait: u64) -> (Why, Again) {
    let wait = number(headers, &RETRY_AFTER);
    let again = if wait.is_some_and(|wait| wait > longest_wait) { Again::Never } else { Again::Backoff };
    (Why::Status { status, wait }, again)
}

/// Copies a file of this machine into `sink`. Blocks.
pub(super) fn copy_local(url: &Url, bound: Bound, sink: &mut Sink) -> Result<(), Failure> {
    let refuse = |why| Failure::from((why, Again::Never));
    let path = url.to_file_path().map_err(|()| refuse(Why::NotAUrl))?;
    let Some(actual) = files::size(&path) else { return Err(refuse(Why::MissingFile { path })) };
    match bound {
        Bound::Exactly(expected) if actual != expected => return Err(refuse(Why::WrongSize { expected, actual })),
        Bound::AtMost(limit) if actual > limit => return Err(refuse(Why::TooLarge { limit })),
        _ => {}
    }
    let mut file = files::open(&path).map_err(|error| refuse(Why::File(error)))?;
    let mut buffer = vec![0; 256 << 10];
    loop {
        let read = std::io::Read::read(&mut file, &mut buffer);
        let n = files::at("reading", &path, read).map_err(|error| refuse(Why::File(error)))?;
        if n == 0 {
            return Ok(());
        }
        // A file that grows while it is read is as large as it was.
        if sink.received() + n as u64 > actual {
            return Err(refuse(Why::WrongSize { expected: actual, actual: sink.received() + n as u64 }));
        }
        sink.write(&buffer[..n])?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn only_the_piece_that_was_asked_for_continues() {
        for (value, before, expected) in [
            ("bytes 10-99/100", None, Some(100)),
            ("bytes 10-50/100", Some(100), Some(100)),
            ("bytes 10-99/100", Some(101), None),
            ("bytes 11-99/100", None, None),
            ("bytes 0-99/100", None, None),
            ("bytes 10-100/100", None, None),
            ("bytes 10-9/100", None, None),
            ("bytes 10-99/*", None, None),
            ("bytes */100", None, None),
            ("items 10-99/100", None, None),
            ("bytes 10-99999999999999999999/100", None, None),
        ] {
            assert_eq!(continues(&headers(CONTENT_RANGE, value), 10, before), expected, "{value}");
        }
        assert_eq!(continues(&HeaderMap::new(), 10, None), None);
    }

    #[test]
    fn weak_etags_prove_nothing() {
        assert!(validator(&headers(ETAG, "\"a\"")).is_some());
        assert!(validator(&headers(ETAG, "W/\"a\"")).is_none());
        let mut both = headers(ETAG, "W/\"a\"");
        both.insert(LAST_MODIFIED, HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"));
        assert_eq!(validator(&both).unwrap(), "Thu, 01 Jan 1970 00:00:00 GMT");
    }

    #[test]
    fn waiting_has_an_end() {
        for (status, wait, expected) in
            [(429, "1", true), (503, "30", true), (503, "31", false), (429, "soon", true), (408, "-1", true)]
        {
            let status = StatusCode::from_u16(status).unwrap();
            let (_, again) = refused(status, &headers(RETRY_AFTER, wait));
            assert_eq!(again == Again::Backoff, expected, "{status} {wait}");
        }
        for status in [301, 400, 401, 403, 404, 410, 418] {
            let (_, again) = refused(StatusCode::from_u16(status).unwrap(), &HeaderMap::new());
            assert!(again == Again::Never, "{status}");
        }
    }
}
