//! A suite's release file: what the suite is, until when it may be believed, and the digests of its indexes.
//!
//! It is the one signed thing in a Debian archive; every index is trusted because its SHA-256 stands here, and every
//! package because its SHA-256 stands in an index. Its date guards against a mirror that shows an old state: a suite
//! that changes (security) says until when a state is valid, a stable one does not change and does not say.

use std::{
    collections::BTreeMap,
    io::{self, Read},
};

use super::{
    date::{self, InvalidDate},
    openpgp::SignedText,
    stanza::{MalformedLine, stanzas},
    universe::Pin,
};
use crate::{
    base::{Blob, Digest, Epoch, digest::NotADigest},
    inputs::archive::{self, Compression},
};

/// What a release file says, as [`Release::parse`] reads it from signed text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// Whose archive it is: `Debian`, or `Debian Backports`. Empty where it does not say.
    pub origin: String,
    pub suite: String,
    pub codename: String,
    pub date: Epoch,
    pub valid_until: Option<Epoch>,
    /// Whether indexes can be fetched by their digest, which does not change under the reader.
    pub by_hash: bool,
    pub architectures: Vec<String>,
    pub components: Vec<String>,
    pub pin: Pin,
    /// Digest and size in bytes of every file, by its path below the suite's folder.
    pub files: BTreeMap<String, Blob>,
}

/// An index in one of the ways it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexFile {
    /// Below the suite's folder, such as `main/binary-amd64/Packages.xz`.
    pub path: String,
    pub compression: Compression,
    /// The bytes to be fetched.
    pub stored: Blob,
    /// The bytes after decompression.
    pub contents: Blob,
}

#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    #[error("reading the release file: {0}")]
    Line(#[from] MalformedLine),
    #[error("reading the release file: it has no field {0}")]
    Lacks(&'static str),
    #[error("reading the release file: {0}")]
    Date(#[from] InvalidDate),
    #[error("reading the release file: {path}: {source}")]
    Digest { path: String, source: NotADigest },
    #[error("reading the release file: `{0}` is no line of digest, size and path")]
    File(String),
    #[error(
        "the mirror answers for the suite {suite} ({codename}) where {asked} was asked for: correct the suite's name"
    )]
    OtherSuite { asked: String, suite: String, codename: String },
    #[error(
        "this is the archive of {origin}, not Debian's: if it is what you want, write its address as `mirror` in the base \
         definition, with its `keys`"
    )]
    OtherOrigin { origin: String },
    #[error(
        "the release file of {suite} was valid until {} and it is {}: the mirror is out of date (take another), this \
         machine's clock is wrong, or an old state is wanted (`check-valid-until = false` in the base definition)", until.rfc3339(), now.rfc3339()
    )]
    Expired { suite: String, until: Epoch, now: Epoch },
    #[error(
        "the release file of {suite} is from {}, later than now ({}): check this machine's clock",
        date.rfc3339(), now.rfc3339()
    )]
    FromTheFuture { suite: String, date: Epoch, now: Epoch },
    #[error("the suite {suite} has no component {component}: it has {}", components.join(", "))]
    NoComponent { suite: String, component: String, components: Vec<String> },
    #[error("the suite {suite} has no architecture {architecture}: it has {}", architectures.join(", "))]
    NoArchitecture { suite: String, architecture: String, architectures: Vec<String> },
    #[error("the suite {suite} lists no index {path}")]
    NoIndex { suite: String, path: String },
}

/// Why an index cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    #[error("decompressing {path}: {source}")]
    Decompress { path: String, source: io::Error },
    #[error(
        "{path}: {what} have the digest {actual} ({actual_size} bytes), the release file promises {expected} \
         ({expected_size} bytes): the mirror is being updated or lies; try again or take another"
    )]
    WrongDigest {
        path: String,
        what: &'static str,
        actual: Digest,
        actual_size: u64,
        expected: Digest,
        expected_size: u64,
    },
    #[error("{path} is not UTF-8")]
    NotUtf8 { path: String },
    #[error("{path} would have {size} bytes, more than the {LARGEST} that are read")]
    TooLarge { path: String, size: u64 },
}

/// Sid's largest index has 60 MB.
const LARGEST: u64 = 1 << 30;

impl Release {
    /// Reads a signed release file.
    pub fn parse(signed: &SignedText) -> Result<Self, ReleaseError> {
        let stanza = stanzas(signed.text()).next().ok_or(ReleaseError::Lacks("Suite"))?;
        let mut fields = BTreeMap::new();
        for field in stanza.fields() {
            let (name, value) = field?;
            fields.entry(name.to_ascii_lowercase()).or_insert(value);
        }
        let get = |name: &'static str| fields.get(&name.to_ascii_lowercase()).copied();
        // Names stand in messages: one line of each is enough.
        let text = |name| get(name).unwrap_or_default().lines().next().unwrap_or_default().to_owned();
        let words = |name| get(name).unwrap_or_default().split_ascii_whitespace().map(str::to_owned).collect();
        let yes = |name| get(name) == Some("yes");
        Ok(Self {
            origin: text("Origin"),
            suite: text("Suite"),
            codename: text("Codename"),
            date: date::parse(get("Date").ok_or(ReleaseError::Lacks("Date"))?)?,
            valid_until: get("Valid-Until").map(date::parse).transpose()?,
            by_hash: yes("Acquire-By-Hash"),
            architectures: words("Architectures"),
            components: words("Components"),
            pin: match (yes("NotAutomatic"), yes("ButAutomaticUpgrades")) {
                (false, _) => Pin::Normal,
                (true, true) => Pin::OnlyUpgrades,
                (true, false) => Pin::NotAutomatic,
            },
            files: files(get("SHA256").ok_or(ReleaseError::Lacks("SHA256"))?)?,
        })
    }

    /// Whether this is the suite that was asked for, by its codename or its suite name.
    pub fn check_suite(&self, asked: &str) -> Result<(), ReleaseError> {
        if asked == self.codename || asked == self.suite {
            return Ok(());
        }
        let (suite, codename) = (self.suite.clone(), self.codename.clone());
        Err(ReleaseError::OtherSuite { asked: asked.to_owned(), suite, codename })
    }

    /// Whether this is Debian's own archive, as far as it says whose it is. A machine's apt has sources of other
    /// publishers, whose suites may be called like Debian's; a caller whose user named the mirror does not ask.
    pub fn check_origin(&self) -> Result<(), ReleaseError> {
        if self.origin.is_empty() || self.origin.split(' ').next() == Some("Debian") {
            return Ok(());
        }
        Err(ReleaseError::OtherOrigin { origin: self.origin.clone() })
    }

    /// Whether this state of the suite may be believed now. A caller that wants an old state on purpose (a lock, a
    /// snapshot, `Check-Valid-Until: no`) does not ask.
    pub fn check_time(&self, now: Epoch) -> Result<(), ReleaseError> {
        self.check_date(now)?;
        match self.valid_until {
            Some(until) if until < now => Err(ReleaseError::Expired { suite: self.codename.clone(), until, now }),
            _ => Ok(()),
        }
    }

    /// Whether this state of the suite is one of today or before, as every old state is.
    pub fn check_date(&self, now: Epoch) -> Result<(), ReleaseError> {
        // A clock may be some minutes behind that of the archive.
        const SKEW: u64 = 600;
        if self.date.seconds() > now.seconds() + SKEW {
            return Err(ReleaseError::FromTheFuture { suite: self.codename.clone(), date: self.date, now });
        }
        Ok(())
    }

    /// The ways in which the packages of a component are listed for an architecture, the smallest first.
    pub fn packages(&self, component: &str, architecture: &str) -> Result<Vec<IndexFile>, ReleaseError> {
        if !self.architectures.iter().any(|known| known == architecture) {
            let (suite, architectures) = (self.codename.clone(), self.architectures.clone());
            return Err(ReleaseError::NoArchitecture { suite, architecture: architecture.to_owned(), architectures });
        }
        self.index(component, &format!("binary-{architecture}/Packages"))
    }

    /// The ways in which the source packages of a component are listed, the smallest first.
    pub fn sources(&self, component: &str) -> Result<Vec<IndexFile>, ReleaseError> {
        self.index(component, "source/Sources")
    }

    fn index(&self, component: &str, file: &str) -> Result<Vec<IndexFile>, ReleaseError> {
        // The security archive lists `updates/main` and keeps it under `main`.
        if !self.components.iter().any(|known| known.rsplit('/').next() == Some(component) || known == component) {
            let (suite, components) = (self.codename.clone(), self.components.clone());
            return Err(ReleaseError::NoComponent { suite, component: component.to_owned(), components });
        }
        let plain = format!("{component}/{file}");
        let no_index = || ReleaseError::NoIndex { suite: self.codename.clone(), path: plain.clone() };
        let contents = *self.files.get(&plain).ok_or_else(no_index)?;
        let ways = [(".xz", Compression::Xz), (".gz", Compression::Gzip), ("", Compression::None)];
        let listed = ways.into_iter().filter_map(|(suffix, compression)| {
            let path = format!("{plain}{suffix}");
            let stored = *self.files.get(&path)?;
            Some(IndexFile { path, compression, stored, contents })
        });
        Ok(listed.collect())
    }
}

/// The lines of a section of digests. Paths that would leave the suite's folder are refused.
fn files(section: &str) -> Result<BTreeMap<String, Blob>, ReleaseError> {
    let mut files = BTreeMap::new();
    for line in section.lines().filter(|line| !line.trim().is_empty()) {
        let malformed = || ReleaseError::File(line.trim().chars().take(200).collect());
        let mut words = line.split_ascii_whitespace();
        let (Some(digest), Some(size), Some(path), None) = (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(malformed());
        };
        if path.starts_with('/') || path.split('/').any(|part| part == "..") {
            return Err(malformed());
        }
        let digest = digest.parse().map_err(|source| ReleaseError::Digest { path: path.to_owned(), source })?;
        files.insert(path.to_owned(), Blob { digest, size: size.parse().map_err(|_| malformed())? });
    }
    Ok(files)
}

impl IndexFile {
    /// The path under which to fetch it below the suite's folder: by its digest where the archive offers that, since a
    /// file fetched by name may already belong to the next state of the suite.
    pub fn location(&self, release: &Release) -> String {
        match self.path.rsplit_once('/') {
            Some((folder, _)) if release.by_hash => format!("{folder}/by-hash/SHA256/{}", self.stored.digest.hex()),
            _ => self.path.clone(),
        }
    }

    /// Checks fetched bytes against the release file and gives the index's text.
    pub fn read(&self, stored: &[u8]) -> Result<String, IndexError> {
        self.check("the bytes", stored, self.stored)?;
        if self.contents.size > LARGEST {
            return Err(IndexError::TooLarge { path: self.path.clone(), size: self.contents.size });
        }
        let text = self.decompress(stored)?;
        self.check("the decompressed bytes", &text, self.contents)?;
        String::from_utf8(text).map_err(|_| IndexError::NotUtf8 { path: self.path.clone() })
    }

    /// Reads at most one byte more than was promised, which is enough to see that it is too much.
    fn decompress(&self, stored: &[u8]) -> Result<Vec<u8>, IndexError> {
        let mut bytes = Vec::new();
        archive::decoder(stored, self.compression)
            .and_then(|reader| reader.take(self.contents.size + 1).read_to_end(&mut bytes))
            .map_err(|source| IndexError::Decompress { path: self.path.clone(), source })?;
        Ok(bytes)
    }

    fn check(&self, what: &'static str, bytes: &[u8], expected: Blob) -> Result<(), IndexError> {
        let (actual, actual_size) = (Digest::of(bytes), bytes.len() as u64);
        if actual == expected.digest && actual_size == expected.size {
            return Ok(());
        }
        let (expected, expected_size) = (expected.digest, expected.size);
        Err(IndexError::WrongDigest { path: self.path.clone(), what, actual, actual_size, expected, expected_size })
    }
}
