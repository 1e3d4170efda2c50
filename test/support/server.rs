//! An HTTP server that lies, breaks off, stalls and fails as it is told, and remembers what it was asked.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// How a response ends.
#[derive(Clone, Copy)]
pub enum Ends {
    Properly,
    /// The connection is closed after so many bytes of the body.
    CutAfter(usize),
    /// The connection is reset after so many bytes.
    ResetAfter(usize),
    /// Nothing more comes after so many bytes, and the connection stays open.
    StallsAfter(usize),
}

/// What to do with `Range`.
#[derive(Clone)]
pub enum Ranges {
    Ignored,
    /// Answered when `If-Range` is this value.
    For(String),
    /// Always answered, from this offset instead of the right one.
    From(usize),
    /// Always answered, whatever `If-Range` says.
    Unchecked,
}

/// One response.
#[derive(Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub ends: Ends,
    pub ranges: Ranges,
    /// Whether `Content-Length` is sent; without it the end of the connection is the end of the body.
    pub length: bool,
}

impl Reply {
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::status(200).body(body)
    }

    pub fn status(status: u16) -> Self {
        let (ends, ranges) = (Ends::Properly, Ranges::Ignored);
        Self { status, headers: Vec::new(), body: Vec::new(), ends, ranges, length: true }
    }

    pub fn redirect(to: &str) -> Self {
        Self::status(302).header("Location", to)
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn ends(mut self, ends: Ends) -> Self {
        self.ends = ends;
        self
    }

    pub fn ranges(mut self, ranges: Ranges) -> Self {
        self.ranges = ranges;
        self
    }

    pub fn without_length(mut self) -> Self {
        self.length = false;
        self
    }

    /// With an entity tag, for which ranges are answered.
    pub fn tagged(self, tag: &str) -> Self {
        let tag = format!("\"{tag}\"");
        self.header("ETag", &tag).ranges(Ranges::For(tag))
    }
}

/// What the server was asked. Header names are in lower case.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub headers: BTreeMap<String, String>,
}

#[derive(Default)]
struct State {
    routes: Mutex<BTreeMap<String, Vec<Reply>>>,
    asked: Mutex<Vec<Asked>>,
    busy: AtomicUsize,
    busiest: AtomicUsize,
}

/// A server on a port of its own; it lives as long as the runtime that it was started in.
pub struct Server {
    pub url: String,
    state: Arc<State>,
}

impl Server {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(State::default());
        let serving = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&serving);
                tokio::spawn(async move {
                    let busy = state.busy.fetch_add(1, Ordering::SeqCst) + 1;
                    state.busiest.fetch_max(busy, Ordering::SeqCst);
                    let _ = serve(stream, &state).await;
                    state.busy.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { url, state }
    }

    /// The replies at a path, one for each request; the last one is repeated.
    pub fn on(&self, path: &str, replies: impl IntoIterator<Item = Reply>) -> String {
        let mut replies: Vec<_> = replies.into_iter().collect();
        replies.reverse();
        self.state.routes.lock().unwrap().insert(path.to_owned(), replies);
        format!("{}{path}", self.url)
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.state.asked.lock().unwrap().clone()
    }

    /// The most requests that were answered at the same time.
    pub fn busiest(&self) -> usize {
        self.state.busiest.load(Ordering::SeqCst)
    }
}

/// An address where nobody listens.
pub fn nobody() -> String {
    format!("http://127.0.0.1:{}", super::free_port())
}

async fn serve(mut stream: TcpStream, state: &State) -> std::io::Result<()> {
    let Some(asked) = read(&mut stream).await? else { return Ok(()) };
    state.asked.lock().unwrap().push(asked.clone());
    let reply = {
        let mut routes = state.routes.lock().unwrap();
        match routes.get_mut(&asked.path) {
            Some(replies) if replies.len() > 1 => replies.pop(),
            Some(replies) => replies.last().cloned(),
            None => None,
        }
        .unwrap_or_else(|| Reply::status(404))
    };
    write(stream, &asked, &reply).await
}

async fn read(stream: &mut TcpStream) -> std::io::Result<Option<Asked>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).await? == 0 {
            return Ok(None);
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head);
    let mut lines = head.lines();
    let mut first = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
    let headers = lines.filter_map(|line| line.split_once(": "));
    Ok(Some(Asked {
        method: first.next().unwrap_or_default(),
        path: first.next().unwrap_or_default(),
        headers: headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect(),
    }))
}

async fn write(mut stream: TcpStream, asked: &Asked, reply: &Reply) -> std::io::Result<()> {
    let start =
        asked.headers.get("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let offset: Option<usize> = match &reply.ranges {
        Ranges::Ignored => None,
        Ranges::For(tag) => start.filter(|_| asked.headers.get("if-range").is_none_or(|asked| asked == tag)),
        Ranges::From(offset) => start.map(|_| *offset),
        Ranges::Unchecked => start,
    };
    let total = reply.body.len();
    let body = &reply.body[offset.unwrap_or(0)..];
    let status = if offset.is_some() { 206 } else { reply.status };
    let mut head = vec![format!("HTTP/1.1 {status} Whatever"), "Connection: close".to_owned()];
    if reply.length {
        head.push(format!("Content-Length: {}", body.len()));
    }
    if let Some(offset) = offset {
        head.push(format!("Content-Range: bytes {offset}-{}/{total}", total - 1));
    }
    head.extend(reply.headers.iter().map(|(name, value)| format!("{name}: {value}")));
    stream.write_all(format!("{}\r\n\r\n", head.join("\r\n")).as_bytes()).await?;
    if asked.method == "HEAD" {
        return stream.shutdown().await;
    }
    let part = match reply.ends {
        Ends::Properly => body,
        Ends::CutAfter(end) | Ends::ResetAfter(end) | Ends::StallsAfter(end) => &body[..end.min(body.len())],
    };
    stream.write_all(part).await?;
    stream.flush().await?;
    match reply.ends {
        Ends::Properly | Ends::CutAfter(_) => stream.shutdown().await,
        Ends::ResetAfter(_) => {
            // What was sent must arrive before the reset throws it away.
            tokio::time::sleep(Duration::from_millis(500)).await;
            stream.set_zero_linger()
        }
        Ends::StallsAfter(_) => {
            // Until the other side gives up.
            stream.read_u8().await.map(|_| ())
        }
    }
}
