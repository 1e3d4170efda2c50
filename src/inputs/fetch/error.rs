//! What can go wrong between us and a file, in words that say what to do next.

use std::{fmt, path::PathBuf};

use super::checksum::{ChecksumError, Sum};
use crate::{base::size::Bytes, host::files::FileError, inputs::store::StoreError};

/// Why a file did not come. URLs are shown without user and password.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error(
        "fetching {what}: {url} is not in the store, and `--offline` forbids to download it: run `kletimg matrix fetch` \
         where there is a network, or drop `--offline`"
    )]
    Offline { what: String, url: String },
    #[error("fetching {what}: {why}")]
    NoMirror { what: String, why: String },
    #[error("fetching {what}: {}{}", places(tried), advice(tried))]
    Failed { what: String, tried: Vec<Tried> },
    #[error(
        "fetching {what}: the checksum file {url}: {source}; name another one as `checksum`, or write the digest itself there as \
         `sha256:` and 64 hexadecimal digits"
    )]
    Checksum { what: String, url: String, source: ChecksumError },
    #[error("fetching {what}: the checksum file {url} is not text")]
    ChecksumNotText { what: String, url: String },
    #[error("reading the CA certificates of `--ca-cert`: {0}")]
    CaFile(#[source] FileError),
    #[error("reading the CA certificates of `--ca-cert`: {} {why}", path.display())]
    CaCertificate { path: PathBuf, why: String },
    #[error("preparing to download: {0}")]
    Client(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl FetchError {
    /// The places where a file was looked for, if all that went wrong is that none of them has it.
    pub fn nowhere(&self) -> Option<String> {
        let Self::Failed { tried, .. } = self else { return None };
        let none = |tried: &Tried| matches!(tried.why, Why::NotFound { .. } | Why::MissingFile { .. });
        let places: Vec<_> = tried.iter().map(|tried| tried.url.as_str()).collect();
        tried.iter().all(none).then(|| places.join(", "))
    }
}

/// One address that was tried, and why it did not give the file.
#[derive(Debug)]
pub struct Tried {
    /// Without user and password.
    pub url: String,
    pub why: Why,
}

/// Why one address did not give the file.
#[derive(Debug, thiserror::Error)]
pub enum Why {
    #[error("cannot reach {host}: {reason}")]
    Unreachable { host: String, reason: String },
    #[error("no trusted connection to {host}: {reason}")]
    Tls { host: String, reason: String },
    #[error("this machine has no CA certificates, so no https server can be trusted")]
    NoCertificates,
    #[error("there is no such file (HTTP {status})")]
    NotFound { status: u16 },
    #[error("the server refuses access (HTTP {status})")]
    Denied { status: u16 },
    #[error("the server answers with HTTP {status}{}", asked(*wait))]
    Status { status: u16, wait: Option<u64> },
    #[error("the redirection is not followed: {reason}")]
    Redirect { reason: String },
    #[error("the download broke off after {received}{} bytes: {reason}", of(*expected))]
    Interrupted { received: u64, expected: Option<u64>, reason: String },
    #[error("it is larger than {} ({limit} bytes)", Bytes(*limit))]
    TooLarge { limit: u64 },
    #[error("it is {actual} bytes long, not {expected}")]
    WrongSize { expected: u64, actual: u64 },
    #[error("it has the digest {actual}, not {expected}")]
    WrongSum { expected: Sum, actual: Sum },
    /// What its signatures say.
    #[error("{0}")]
    Refused(String),
    #[error("there is no file {}", path.display())]
    MissingFile { path: PathBuf },
    #[error(transparent)]
    File(FileError),
    #[error("it is no http://, https:// or file:/// URL")]
    NotAUrl,
    #[error("the request cannot be made: {reason}")]
    Request { reason: String },
}

fn asked(wait: Option<u64>) -> String {
    wait.map_or_else(String::new, |seconds| format!(" and asks to wait {seconds} s"))
}

fn of(expected: Option<u64>) -> String {
    expected.map_or_else(String::new, |expected| format!(" of {expected}"))
}

fn places(tried: &[Tried]) -> String {
    match tried {
        [one] => format!("{}: {}", one.url, one.why),
        many => {
            let lines: Vec<_> = many.iter().map(|tried| format!("\n  {}: {}", tried.url, tried.why)).collect();
            format!("no place gave it:{}", lines.concat())
        }
    }
}

/// What to do about the last address, which is the original unless the mirrors stand alone. Where another one did give
/// something, what was wrong with that is the thing to look at, and not that the last could not be reached.
fn advice(tried: &[Tried]) -> String {
    let of_content = |tried: &&Tried| {
        matches!(tried.why, Why::TooLarge { .. } | Why::WrongSize { .. } | Why::WrongSum { .. } | Why::Refused(_))
    };
    let Some(last) = tried.iter().rev().find(of_content).or(tried.last()) else { return String::new() };
    let separator = if tried.len() > 1 { "\n" } else { "; " };
    let origin = last.url.split('/').take(3).collect::<Vec<_>>().join("/");
    let text = match &last.why {
        Why::Unreachable { .. } => format!(
            "check the connection and HTTPS_PROXY, name a mirror with `--mirror {origin}/=URL`, or use what is stored \
             with `--offline`"
        ),
        Why::Tls { .. } => {
            "if a proxy or mirror has a certificate authority of its own, name it with `--ca-cert FILE`".to_owned()
        }
        Why::NoCertificates => {
            "install the package ca-certificates, or name a PEM file with `--ca-cert FILE`".to_owned()
        }
        Why::NotFound { .. } => {
            "check the version and the URL in the matrix file; upstream may have moved or deleted it".to_owned()
        }
        Why::Denied { .. } => {
            format!("check the URL and its credentials, or name a mirror with `--mirror {origin}/=URL`")
        }
        Why::Status { .. } | Why::Interrupted { .. } => {
            format!("try again later, or name a mirror with `--mirror {origin}/=URL`")
        }
        Why::Redirect { .. } => format!("name a mirror with `--mirror {origin}/=URL`"),
        // What was asked for has no digest yet: an index, or a package that an index names.
        Why::Refused(_) | Why::TooLarge { .. } => {
            "nothing of it was kept: what is wrong with it is for its publisher to repair, unless it came to harm on its way \
             or in a mirror: try again later, or name another mirror with `--mirror`"
                .to_owned()
        }
        Why::WrongSize { .. } | Why::WrongSum { .. } => {
            "nothing of it was kept: if the publisher replaced the file on purpose, run `kletimg matrix lock --update`; \
             if not, do not trust that server"
                .to_owned()
        }
        Why::MissingFile { .. } | Why::File(_) => "put the file there, or correct the path or the mirror".to_owned(),
        Why::NotAUrl | Why::Request { .. } => "correct the URL in the matrix file or the mirror".to_owned(),
    };
    format!("{separator}{text}")
}

/// A URL, or what should be one, without user and password.
pub(super) fn redacted(url: &str) -> impl fmt::Display + '_ {
    struct Redacted<'a>(&'a str);
    impl fmt::Display for Redacted<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let mut rest = self.0;
            // More than one URL may be in the text, as in `PREFIX=URL`.
            while let Some((before, after)) = rest.split_once("://") {
                let authority = &after[..after.find(['/', '?', '#']).unwrap_or(after.len())];
                f.write_str(before)?;
                f.write_str("://")?;
                rest = &after[authority.rfind('@').map_or(0, |at| at + 1)..];
            }
            f.write_str(rest)
        }
    }
    Redacted(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_shown() {
        for (url, shown) in [
            ("https://h/a", "https://h/a"),
            ("https://user:pass@h:8080/a@b?c=@", "https://h:8080/a@b?c=@"),
            ("https://token@h", "https://h"),
            ("https://a@b@h/", "https://h/"),
            ("https://u:p@h/=http://u:p@m/x", "https://h/=http://m/x"),
            ("not a url", "not a url"),
            ("", ""),
        ] {
            assert_eq!(redacted(url).to_string(), shown);
        }
    }

    #[test]
    fn an_error_names_every_place_and_what_to_do() {
        let tried = |url: &str, why| Tried { url: url.to_owned(), why };
        let unreachable = || Why::Unreachable { host: "dl.k8s.io".to_owned(), reason: "refused".to_owned() };
        let one =
            FetchError::Failed { what: "kubelet".to_owned(), tried: vec![tried("https://dl.k8s.io/x", unreachable())] };
        assert_eq!(
            one.to_string(),
            "fetching kubelet: https://dl.k8s.io/x: cannot reach dl.k8s.io: refused; check the connection and HTTPS_PROXY, \
             name a mirror with `--mirror https://dl.k8s.io/=URL`, or use what is stored with `--offline`"
        );
        let two = FetchError::Failed {
            what: "kubelet".to_owned(),
            tried: vec![
                tried("http://m/x", Why::NotFound { status: 404 }),
                tried("https://dl.k8s.io/x", unreachable()),
            ],
        };
        let lines: Vec<_> = two.to_string().lines().map(str::to_owned).collect();
        assert_eq!(lines.len(), 4, "{two}");
        assert_eq!(lines[1], "  http://m/x: there is no such file (HTTP 404)");
    }

    #[test]
    fn what_was_wrong_with_a_file_comes_before_what_could_not_be_reached() {
        let tried = |url: &str, why| Tried { url: url.to_owned(), why };
        let refused = Why::Refused("the index is not signed".to_owned());
        let unreachable = Why::Unreachable { host: "h".to_owned(), reason: "refused".to_owned() };
        let error = FetchError::Failed {
            what: "the index".to_owned(),
            tried: vec![tried("file:///m/x", refused), tried("https://h/x", unreachable)],
        };
        let error = error.to_string();
        assert!(error.contains("or in a mirror") && !error.contains("HTTPS_PROXY"), "{error}");
    }
}
