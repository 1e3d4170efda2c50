//! A registry in this process that keeps to the specification until it is told not to.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard},
};

use kletimg::base::Digest;

/// What goes wrong with a request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This answer, instead of doing anything.
    Answer(u16, &'static str, String),
    /// This status before the body is read, and the connection closed.
    Early(u16),
    /// 413 for bodies of more bytes, as a proxy answers once it has read the head.
    LargerThan(usize),
    /// The connection is closed after so many bytes of the body, which the registry keeps.
    DropAfter(usize),
    /// The connection is closed when all is done, before the answer.
    DropAnswer,
    /// The upload is forgotten first.
    ForgetUpload,
    /// Done, but the answer lacks this header.
    Without(&'static str),
    /// Done, but the answer has this header instead of the true one.
    Instead(&'static str, String),
    /// Said to be done, but not done.
    Pretend,
    /// The whole blob, whatever range was asked for.
    IgnoreRange,
    /// The answer's body has a flipped bit.
    Flip,
    /// The answer's body ends after so many bytes.
    CutBody(usize),
}

/// A fault for the requests with this method whose path has this part: passes over `skip` of them, then holds `times`.
#[derive(Clone, Debug)]
pub struct Rule {
    pub method: &'static str,
    pub part: &'static str,
    pub skip: usize,
    pub times: usize,
    pub fault: Fault,
}

pub fn rule(method: &'static str, part: &'static str, times: usize, fault: Fault) -> Rule {
    Rule { method, part, skip: 0, times, fault }
}

#[derive(Default)]
pub struct State {
    pub blobs: BTreeMap<String, Vec<u8>>,
    /// By `repository:tag` and `repository@digest`: media type and bytes.
    pub manifests: BTreeMap<String, (String, Vec<u8>)>,
    pub uploads: BTreeMap<String, Vec<u8>>,
    pub rules: Vec<Rule>,
    /// Every request: method, path, query.
    pub requests: Vec<String>,
    /// Tokens that are taken, where any are wanted: each serves for so many requests.
    pub tokens: Option<BTreeMap<String, usize>>,
    /// How many requests a token serves for.
    pub token_lasts: usize,
    /// The Authorization headers that the token service saw.
    pub logins: Vec<Option<String>>,
    counter: usize,
}

#[derive(Clone)]
pub struct LyingRegistry {
    state: Arc<Mutex<State>>,
    pub host: String,
}

struct Request {
    method: String,
    path: String,
    query: BTreeMap<String, String>,
    headers: BTreeMap<String, String>,
    length: usize,
}

struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

fn answer(status: u16, headers: &[(&'static str, &str)], body: &[u8]) -> Answer {
    let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Answer { status, headers, body: body.to_vec() }
}

impl LyingRegistry {
    pub fn start(rules: Vec<Rule>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = format!("127.0.0.1:{}", listener.local_addr().unwrap().port());
        let state = State { rules, token_lasts: usize::MAX, ..State::default() };
        let registry = Self { state: Arc::new(Mutex::new(state)), host };
        let served = registry.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let served = served.clone();
                std::thread::spawn(move || while served.serve(&stream).is_some() {});
            }
        });
        registry
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The requests with this method, or with any where it is `*`, whose path has this part.
    pub fn count(&self, method: &str, part: &str) -> usize {
        let prefix = format!("{method} ");
        let fits = |request: &&String| method == "*" || request.starts_with(&prefix);
        self.state().requests.iter().filter(fits).filter(|request| request.contains(part)).count()
    }

    /// One request; `None` closes the connection.
    fn serve(&self, mut stream: &TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream);
        let request = read_head(&mut reader)?;
        let fault = {
            let mut state = self.state();
            state.requests.push(format!("{} {} {:?}", request.method, request.path, request.query));
            state.fault(&request)
        };
        if let Some(Fault::Early(status)) = fault {
            stream.write_all(format!("HTTP/1.1 {status} -\r\ncontent-length: 0\r\n\r\n").as_bytes()).ok()?;
            return None;
        }
        let wanted = match fault {
            Some(Fault::DropAfter(bytes)) => bytes.min(request.length),
            _ => request.length,
        };
        let mut body = vec![0; wanted];
        reader.read_exact(&mut body).ok()?;
        let mut answer = match &fault {
            Some(Fault::LargerThan(most)) if request.length > *most => answer(413, &[], b""),
            Some(Fault::Answer(status, header, value)) => answer(*status, &[(*header, value.as_str())], b""),
            Some(Fault::DropAfter(_)) => {
                if let Some(upload) = self.state().uploads.get_mut(&request.path) {
                    upload.extend(&body);
                }
                return None;
            }
            _ => self.state().answer(&request, body, fault.as_ref()),
        };
        match fault {
            Some(Fault::DropAnswer) => return None,
            Some(Fault::Without(name)) => answer.headers.retain(|(header, _)| *header != name),
            Some(Fault::Instead(name, ref value)) => {
                answer.headers.retain(|(header, _)| *header != name);
                answer.headers.push((name, value.clone()));
            }
            Some(Fault::Flip) => answer.body[0] ^= 1,
            _ => {}
        }
        let mut head = format!("HTTP/1.1 {} -\r\n", answer.status);
        if !answer.headers.iter().any(|(name, _)| *name == "content-length") {
            answer.headers.push(("content-length", answer.body.len().to_string()));
        }
        for (name, value) in answer.headers.iter().filter(|(name, _)| !name.is_empty()) {
            head.extend([*name, ": ", value.as_str(), "\r\n"]);
        }
        stream.write_all(format!("{head}\r\n").as_bytes()).ok()?;
        if request.method != "HEAD" {
            if let Some(Fault::CutBody(bytes)) = fault {
                stream.write_all(&answer.body[..bytes.min(answer.body.len())]).ok()?;
                return None;
            }
            stream.write_all(&answer.body).ok()?;
        }
        // Bytes read ahead are lost with the reader; clients that do not pipeline send none.
        Some(())
    }
}

fn read_head(reader: &mut BufReader<&TcpStream>) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let url = url::Url::parse(&format!("http://x{target}")).ok()?;
    let query = url.query_pairs().into_owned().collect();
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    Some(Request { method, path: url.path().to_owned(), query, headers, length })
}

impl State {
    fn fault(&mut self, request: &Request) -> Option<Fault> {
        let fits = |rule: &&mut Rule| {
            rule.times > 0 && (rule.method == request.method || rule.method == "*") && request.path.contains(rule.part)
        };
        let rule = self.rules.iter_mut().find(fits)?;
        if rule.skip > 0 {
            rule.skip -= 1;
            return None;
        }
        rule.times -= 1;
        Some(rule.fault.clone())
    }

    fn answer(&mut self, request: &Request, body: Vec<u8>, fault: Option<&Fault>) -> Answer {
        let path = request.path.as_str();
        if path == "/token" {
            return self.token(request);
        }
        if let Some(denied) = self.denied(request) {
            return denied;
        }
        if path == "/v2/" {
            return answer(200, &[], b"{}");
        }
        let path = path.trim_start_matches("/v2/").to_owned();
        if path.contains("/blobs/uploads/") {
            return self.upload(request, &path, body, fault);
        }
        if let Some((_, digest)) = path.split_once("/blobs/") {
            return match self.blobs.get(digest) {
                Some(bytes) => {
                    let range = request.headers.get("range").map(String::as_str);
                    ranged(bytes, range.filter(|_| !matches!(fault, Some(Fault::IgnoreRange))))
                }
                None => answer(404, &[], br#"{"errors":[{"code":"BLOB_UNKNOWN","message":"-"}]}"#),
            };
        }
        let Some((repository, name)) = path.split_once("/manifests/") else { return answer(404, &[], b"") };
        self.manifest(request, repository, name, body, fault)
    }

    fn token(&mut self, request: &Request) -> Answer {
        self.logins.push(request.headers.get("authorization").cloned());
        self.counter += 1;
        let token = format!("token-{}", self.counter);
        if let Some(tokens) = &mut self.tokens {
            tokens.insert(token.clone(), self.token_lasts);
        }
        answer(200, &[], format!(r#"{{"token":"{token}","expires_in":300}}"#).as_bytes())
    }

    fn denied(&mut self, request: &Request) -> Option<Answer> {
        let host = request.headers.get("host").cloned().unwrap_or_default();
        let tokens = self.tokens.as_mut()?;
        let token = request.headers.get("authorization").and_then(|value| value.strip_prefix("Bearer "));
        if let Some(left) = token.and_then(|token| tokens.get_mut(token)).filter(|left| **left > 0) {
            *left -= 1;
            return None;
        }
        let challenge = format!(r#"Bearer realm="http://{host}/token",service="test""#);
        Some(answer(401, &[("www-authenticate", challenge.as_str())], b""))
    }

    fn upload(&mut self, request: &Request, path: &str, body: Vec<u8>, fault: Option<&Fault>) -> Answer {
        let place = format!("/v2/{path}");
        if matches!(fault, Some(Fault::ForgetUpload)) {
            self.uploads.remove(&place);
        }
        if request.method == "POST" {
            self.counter += 1;
            let place = format!("{place}{}", self.counter);
            self.uploads.insert(place.clone(), Vec::new());
            return answer(202, &[("location", place.as_str())], b"");
        }
        let Some(upload) = self.uploads.get_mut(&place) else {
            return answer(404, &[], br#"{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN","message":"-"}]}"#);
        };
        if let Some(range) = request.headers.get("content-range")
            && range.split('-').next() != Some(upload.len().to_string().as_str())
        {
            return answer(416, &[], b"");
        }
        upload.extend(body);
        let range = format!("0-{}", upload.len().saturating_sub(1));
        match request.method.as_str() {
            "GET" => answer(204, &[("location", place.as_str()), ("range", range.as_str())], b""),
            "PATCH" => answer(202, &[("location", place.as_str()), ("range", range.as_str())], b""),
            "DELETE" => {
                self.uploads.remove(&place);
                answer(204, &[], b"")
            }
            _ => {
                let bytes = self.uploads.remove(&place).unwrap();
                let (actual, wanted) = (Digest::of(&bytes).to_string(), request.query["digest"].clone());
                if actual != wanted {
                    return answer(400, &[], br#"{"errors":[{"code":"DIGEST_INVALID","message":"-"}]}"#);
                }
                if !matches!(fault, Some(Fault::Pretend)) {
                    self.blobs.insert(actual, bytes);
                }
                answer(201, &[("location", "/"), ("docker-content-digest", wanted.as_str())], b"")
            }
        }
    }

    fn manifest(
        &mut self,
        request: &Request,
        repository: &str,
        name: &str,
        body: Vec<u8>,
        fault: Option<&Fault>,
    ) -> Answer {
        let key = |name: &str| {
            if name.starts_with("sha256:") { format!("{repository}@{name}") } else { format!("{repository}:{name}") }
        };
        if request.method == "PUT" {
            let digest = Digest::of(&body).to_string();
            let media_type = request.headers["content-type"].clone();
            if !matches!(fault, Some(Fault::Pretend)) {
                self.manifests.insert(key(&digest), (media_type.clone(), body.clone()));
                self.manifests.insert(key(name), (media_type, body));
            }
            return answer(201, &[("docker-content-digest", digest.as_str())], b"");
        }
        match self.manifests.get(&key(name)) {
            Some((media_type, bytes)) => {
                let digest = Digest::of(bytes).to_string();
                answer(200, &[("content-type", media_type.as_str()), ("docker-content-digest", digest.as_str())], bytes)
            }
            None => answer(404, &[], br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"-"}]}"#),
        }
    }

    /// Every manifest that a tag leads to, and every blob of it, is here.
    pub fn tags_are_whole(&self) -> bool {
        let refers_to_nothing_missing = |bytes: &[u8], repository: &str| {
            let value: serde_json::Value = serde_json::from_slice(bytes).unwrap();
            let descriptors =
                ["manifests", "layers"].iter().flat_map(|name| value[*name].as_array().into_iter().flatten());
            descriptors.chain(value.get("config")).all(|descriptor| {
                let digest = descriptor["digest"].as_str().unwrap();
                self.blobs.contains_key(digest) || self.manifests.contains_key(&format!("{repository}@{digest}"))
            })
        };
        let repository = |key: &str| key.split(['@', ':']).next().unwrap_or_default().to_owned();
        self.manifests.iter().all(|(key, (_, bytes))| refers_to_nothing_missing(bytes, &repository(key)))
    }

    pub fn tags(&self) -> usize {
        self.manifests.keys().filter(|key| !key.contains('@')).count()
    }
}

fn ranged(bytes: &[u8], range: Option<&str>) -> Answer {
    let from = range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    match from {
        Some(from) if from < bytes.len() => {
            let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
            answer(206, &[("content-range", range.as_str())], &bytes[from..])
        }
        _ => answer(200, &[], bytes),
    }
}
