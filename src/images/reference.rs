//! Names of images: `docker.io/library/alpine:3.22`, `localhost:5000/edge/kubelet@sha256:...`.
//!
//! Read and normalised as Docker does it (distribution/reference, `normalize.go`): a name without a registry is Docker
//! Hub's, a name of one part there is in `library/`. The grammar is that of the OCI distribution specification for
//! repositories and tags, so whatever was read here can stand in a URL without escaping.

use std::{fmt, str::FromStr};

use crate::base::{Digest, text::serde_as_text};

/// Longer texts are no references: a name has at most 255 bytes, a tag 128, a digest 71, a registry 261.
const LONGEST: usize = 1024;

/// A repository of a registry, such as `docker.io/cloudtogo4edge/kubelet`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository {
    registry: String,
    path: String,
}

/// A repository with a tag, a digest, both or neither.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    pub repository: Repository,
    pub tag: Option<TagName>,
    pub digest: Option<Digest>,
}

/// A tag: at most 128 letters, digits, `_`, `.` and `-`, the first no `.` or `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TagName(String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReference {
    #[error("the image name is empty: write it as registry/repository:tag")]
    Empty,
    #[error("the image name of {0} bytes is too long: a repository has at most 255 characters, a tag 128")]
    TooLong(usize),
    #[error("`{0}` has upper case letters in the repository: write them in lower case")]
    UpperCase(String),
    #[error("`{text}` is not an image name: `{part}` is no host such as `docker.io` or `localhost:5000`")]
    Registry { text: String, part: String },
    #[error(
        "`{text}` is not an image name: the repository `{part}` may hold lower case letters and digits, joined by `.`, \
         `_`, `__` or dashes, and `/` between its parts"
    )]
    Path { text: String, part: String },
    #[error("`{0}` is not a tag: write at most 128 letters, digits, `_`, `.` and `-`, not beginning with `.` or `-`")]
    Tag(String),
    #[error("`{text}` is not an image name: after `@` stands `sha256:` and 64 hexadecimal digits")]
    Digest { text: String },
    #[error("`{0}` looks like an image's digest, not like a name: write the repository before it, and `@sha256:`")]
    BareDigest(String),
    #[error("`{0}` names a tag or digest where only a repository is wanted: leave it out")]
    NotARepository(String),
}

impl Repository {
    /// The registry as Docker names it, `docker.io` for Docker Hub; with the port if one was given.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The host that serves the registry's API. Docker Hub's is not the one that is written.
    pub fn api_host(&self) -> &str {
        api_host(&self.registry)
    }

    /// The name within the registry.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// This repository with a tag.
    pub fn tagged(&self, tag: TagName) -> Reference {
        Reference { repository: self.clone(), tag: Some(tag), digest: None }
    }

    /// This repository with a digest.
    pub fn at(&self, digest: Digest) -> Reference {
        Reference { repository: self.clone(), tag: None, digest: Some(digest) }
    }
}

/// Reads a registry's name, as `kletimg login` is given it.
pub fn read_registry(text: &str) -> Result<String, InvalidReference> {
    let name = if text == "index.docker.io" { "docker.io" } else { text };
    if is_host(name) {
        return Ok(name.to_owned());
    }
    Err(InvalidReference::Registry { text: clipped(text), part: clipped(name) })
}

/// The host that serves the API of the registry with this name.
pub fn api_host(registry: &str) -> &str {
    if registry == "docker.io" { "registry-1.docker.io" } else { registry }
}

impl Reference {
    /// The tag, and `latest` where neither a tag nor a digest was written.
    pub fn tag_or_latest(&self) -> TagName {
        self.tag.clone().unwrap_or_else(|| TagName("latest".to_owned()))
    }
}

impl TagName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TagName {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let word = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
        let (first, rest) = text.as_bytes().split_first().ok_or_else(|| InvalidReference::Tag(String::new()))?;
        let valid = word(*first) && rest.len() < 128 && rest.iter().all(|c| word(*c) || *c == b'.' || *c == b'-');
        if valid { Ok(Self(text.to_owned())) } else { Err(InvalidReference::Tag(clipped(text))) }
    }
}

impl FromStr for Repository {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let reference: Reference = text.parse()?;
        if reference.tag.is_some() || reference.digest.is_some() {
            return Err(InvalidReference::NotARepository(text.to_owned()));
        }
        Ok(reference.repository)
    }
}

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(InvalidReference::Empty);
        }
        if text.len() > LONGEST {
            return Err(InvalidReference::TooLong(text.len()));
        }
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(read_digest(text, digest)?)),
            None => (text, None),
        };
        // A colon after the last slash begins a tag; one before it belongs to the registry's port.
        let after_slash = name.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match name[after_slash..].split_once(':') {
            Some((last, tag)) => (&name[..after_slash + last.len()], Some(tag.parse()?)),
            None => (name, None),
        };
        let is_hex = |text: &str| text.len() == 64 && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
        if is_hex(name) || name == "sha256" && tag.as_ref().is_some_and(|tag: &TagName| is_hex(tag.as_str())) {
            return Err(InvalidReference::BareDigest(text.to_owned()));
        }
        Ok(Self { repository: read_repository(text, name)?, tag, digest })
    }
}

fn read_digest(text: &str, digest: &str) -> Result<Digest, InvalidReference> {
    let wrong = || InvalidReference::Digest { text: text.to_owned() };
    // Without the algorithm or in upper case it would be read by `Digest`, but no registry takes it so.
    let lower = digest.starts_with("sha256:") && !digest.bytes().any(|c| c.is_ascii_uppercase());
    if lower { digest.parse().map_err(|_| wrong()) } else { Err(wrong()) }
}

fn read_repository(text: &str, name: &str) -> Result<Repository, InvalidReference> {
    let looks_like_a_host = |first: &str| {
        first.contains(['.', ':']) || first == "localhost" || first.bytes().any(|c| c.is_ascii_uppercase())
    };
    let (registry, path) = match name.split_once('/') {
        Some((first, rest)) if looks_like_a_host(first) => (first, rest),
        _ => ("docker.io", name),
    };
    let registry = read_registry(registry)
        .map_err(|_| InvalidReference::Registry { text: text.to_owned(), part: registry.to_owned() })?;
    if path.bytes().any(|c| c.is_ascii_uppercase()) {
        return Err(InvalidReference::UpperCase(text.to_owned()));
    }
    if path.len() > 255 {
        return Err(InvalidReference::TooLong(path.len()));
    }
    if !path.split('/').all(is_path_part) {
        return Err(InvalidReference::Path { text: text.to_owned(), part: path.to_owned() });
    }
    let path = if registry == "docker.io" && !path.contains('/') { format!("library/{path}") } else { path.to_owned() };
    Ok(Repository { registry, path })
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`, the distribution specification's name component.
fn is_path_part(part: &str) -> bool {
    let plain = |c: u8| c.is_ascii_digit() || c.is_ascii_lowercase();
    let bytes = part.as_bytes();
    let ends_plain = bytes.first().is_some_and(|c| plain(*c)) && bytes.last().is_some_and(|c| plain(*c));
    let separators = bytes.split(|c| plain(*c)).filter(|run| !run.is_empty());
    ends_plain && separators.into_iter().all(|run| matches!(run, b"." | b"_" | b"__") || run.iter().all(|c| *c == b'-'))
}

/// A host name or address with an optional port.
fn is_host(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return false;
            }
            (None, if rest.is_empty() { None } else { Some(rest.strip_prefix(':').unwrap_or("")) })
        }
        None => match text.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(text), None),
        },
    };
    let label = |label: &str| {
        let bytes = label.as_bytes();
        bytes.len() <= 63
            && bytes.iter().all(|c| c.is_ascii_alphanumeric() || *c == b'-')
            && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
            && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
    };
    host.is_none_or(|host| host.len() <= 255 && host.split('.').all(label))
        && port.is_none_or(|port| port.bytes().all(|c| c.is_ascii_digit()) && port.parse::<u16>().is_ok())
}

fn clipped(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}

impl fmt::Display for TagName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.path)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.repository, f)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

serde_as_text!(TagName, Repository, Reference);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn names_are_completed_as_docker_does() {
        let at = format!("a/b@sha256:{HEX}");
        let at_full = format!("docker.io/a/b@sha256:{HEX}");
        let cases = [
            ("alpine", "docker.io/library/alpine"),
            ("alpine:3.22", "docker.io/library/alpine:3.22"),
            ("docker.io/alpine", "docker.io/library/alpine"),
            ("index.docker.io/alpine", "docker.io/library/alpine"),
            ("cloudtogo4edge/kubelet:v1.26.0-cni", "docker.io/cloudtogo4edge/kubelet:v1.26.0-cni"),
            ("localhost/a", "localhost/a"),
            ("localhost:5000/a/b:t", "localhost:5000/a/b:t"),
            ("127.0.0.1:5000/a", "127.0.0.1:5000/a"),
            ("[::1]:5000/a", "[::1]:5000/a"),
            ("[::1]/a", "[::1]/a"),
            ("Host/a", "Host/a"),
            ("ghcr.io/a--b/c__d/e.f_g", "ghcr.io/a--b/c__d/e.f_g"),
            ("localhost:5000", "docker.io/library/localhost:5000"),
            (at.as_str(), at_full.as_str()),
        ];
        for (text, full) in cases {
            let reference: Reference = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(reference.to_string(), full);
            assert_eq!(full.parse(), Ok(reference), "{full} reads back as itself");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = "a".repeat(256);
        let upper_digest = format!("a@sha256:{}", HEX.to_uppercase());
        let no_algorithm = format!("a@{HEX}");
        let texts = [
            "",
            ":",
            "@",
            "/",
            "a/",
            "/a",
            "a//b",
            "A",
            "a/B",
            "a:",
            "a:.t",
            "a:-t",
            "a:t/b:",
            "a b",
            "a.-b",
            "a___b",
            "-a",
            "a_",
            "h:/a",
            "h:65536/a",
            "h:+1/a",
            "h..x/a",
            "-h.x/a",
            "[::1/a",
            "[x]:1/a",
            "[::1]x/a",
            "a@sha256:00",
            "a@sha512:00",
            "ä",
            "a\n",
            "a:t\u{202e}",
            "https://a/b",
            HEX,
            &format!("sha256:{HEX}"),
            &long,
            &upper_digest,
            &no_algorithm,
            &format!("a:{}", "t".repeat(129)),
            &"a/".repeat(1000),
        ];
        for text in texts {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
        assert!(matches!("a:t".parse::<Repository>(), Err(InvalidReference::NotARepository(_))));
    }

    #[test]
    fn registries_are_named_without_scheme_or_path() {
        assert_eq!(read_registry("index.docker.io").unwrap(), "docker.io");
        assert_eq!(read_registry("localhost:5000").unwrap(), "localhost:5000");
        for text in ["", "https://quay.io", "quay.io/a", "a b", "quay.io:"] {
            assert!(read_registry(text).is_err(), "{text}");
        }
    }

    #[test]
    fn docker_hub_is_reached_under_another_name() {
        assert_eq!("alpine".parse::<Repository>().unwrap().api_host(), "registry-1.docker.io");
        assert_eq!("quay.io/a".parse::<Repository>().unwrap().api_host(), "quay.io");
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_is_read_reads_back(text in ".{0,80}") {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(reference.to_string().parse::<Reference>(), Ok(reference));
            }
        }

        #[test]
        fn near_names_read_back(text in r"[a-zA-Z0-9.:/@_\[\]-]{1,40}") {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(reference.to_string().parse::<Reference>(), Ok(reference));
            }
        }
    }
}
