//! Publishers' checksum files, in the forms that the projects around Kubernetes use. Pure.
//!
//! - the bare digest (dl.k8s.io, cri-tools)
//! - what `sha256sum` prints, one or many lines, names with or without folders (containerd, runc, older cri-tools)
//! - what BSD's `sha256` and `openssl dgst` print: `SHA256 (file) = digest`
//! - JSON with a digest beside a URL or file name (<https://ziglang.org/download/index.json>, <https://go.dev/dl/?mode=json>)
//!
//! The algorithm is told by the number of digits. SHA-1 and MD5 prove nothing any more and are refused.

use std::{fmt, str::FromStr};

use serde_json::Value;

use crate::base::Digest;

/// The digest of a file in one of the two algorithms that publishers use.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Sum {
    Sha256(Digest),
    Sha512([u8; 64]),
}

/// Where the digest of a file that has not been locked yet comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// The publisher's checksum file.
    File { url: String },
    /// A digest that is written in the matrix file.
    Given(Sum),
}

/// Why a checksum file does not vouch for a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChecksumError {
    #[error("it does not name `{file}`{}", named(names))]
    Missing { file: String, names: Vec<String> },
    #[error("it gives `{file}` two different digests")]
    Ambiguous { file: String },
    #[error("it gives `{file}` only a digest of {algorithm}, which proves nothing: use one of SHA-256 or SHA-512")]
    Unsupported { file: String, algorithm: String },
    #[error("it holds no digest at all; is it a checksum file?")]
    Empty,
    #[error("it begins as JSON but is none: {0}")]
    Json(String),
    #[error("`{0}` is no digest: write 64 (SHA-256) or 128 (SHA-512) hexadecimal digits")]
    NoSum(String),
}

fn named(names: &[String]) -> String {
    match names {
        [] => String::new(),
        names => format!("; it names `{}`", names.join("`, `")),
    }
}

/// The digest that a checksum file's `text` gives for the file at `url`.
///
/// A name in the file may have other folders before it than the URL has; when several names fit, the one that has most
/// parts in common with the URL does.
pub fn find(text: &str, url: &str) -> Result<Sum, ChecksumError> {
    let wanted = Wanted::new(url);
    let text = text.trim_start_matches('\u{feff}').trim();
    let listed = if text.starts_with(['{', '[']) { json(text, &wanted)? } else { lines(text) };
    if listed.is_empty() {
        return Err(if text.starts_with(['{', '[']) { wanted.missing(&[]) } else { ChecksumError::Empty });
    }
    if let [Listed { digits, name: None, label }] = listed.as_slice() {
        return sum(digits, label.as_deref(), &wanted);
    }
    let best = listed.iter().map(|listed| wanted.fits(listed.name.as_deref())).max().unwrap_or(0);
    if best == 0 {
        return Err(wanted.missing(&listed));
    }
    let fitting = listed.iter().filter(|listed| wanted.fits(listed.name.as_deref()) == best);
    let mut sums: Vec<_> = fitting.map(|listed| sum(&listed.digits, listed.label.as_deref(), &wanted)).collect();
    // SHA-256 first: with it, a file that is stored already need not be fetched.
    sums.sort_by_key(|sum| match sum {
        Ok(Sum::Sha256(_)) => 0,
        Ok(Sum::Sha512(_)) => 1,
        Err(_) => 2,
    });
    let same = |a: &Sum, b: &Sum| std::mem::discriminant(a) == std::mem::discriminant(b);
    let chosen = sums.first().cloned().unwrap_or(Err(ChecksumError::Empty))?;
    if sums.iter().flatten().any(|other| same(other, &chosen) && *other != chosen) {
        return Err(ChecksumError::Ambiguous { file: wanted.file });
    }
    Ok(chosen)
}

/// A digest in a checksum file, not judged yet.
struct Listed {
    digits: String,
    name: Option<String>,
    /// The algorithm, where the file says it.
    label: Option<String>,
}

/// The file that is looked for.
struct Wanted {
    url: String,
    file: String,
    /// The parts of its path, the last one first.
    parts: Vec<String>,
}

impl Wanted {
    fn new(url: &str) -> Self {
        let path = url.split(['?', '#']).next().unwrap_or_default();
        let parts: Vec<_> = path.rsplit('/').map(decoded).collect();
        Self { url: url.to_owned(), file: parts.first().cloned().unwrap_or_default(), parts }
    }

    /// How many parts at the end a name has in common with the URL.
    fn fits(&self, name: Option<&str>) -> usize {
        let common = |name: &str| name.rsplit('/').zip(&self.parts).take_while(|(a, b)| *a == b.as_str()).count();
        name.map_or(0, common)
    }

    fn missing(&self, listed: &[Listed]) -> ChecksumError {
        let names = listed.iter().filter_map(|listed| listed.name.clone());
        ChecksumError::Missing { file: self.file.clone(), names: names.take(5).collect() }
    }
}

/// Undoes percent-encoding, as in `kubernetes_1.20.5%2Breally1.20.2`.
fn decoded(part: &str) -> String {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let [first, after @ ..] = rest {
        let digit = |index: usize| after.get(index).and_then(|byte| char::from(*byte).to_digit(16));
        let escaped = (*first == b'%').then(|| Some(digit(0)? << 4 | digit(1)?)).flatten();
        if let Some(byte) = escaped.and_then(|byte| u8::try_from(byte).ok()) {
            bytes.push(byte);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn lines(text: &str) -> Vec<Listed> {
    text.lines().filter_map(|line| bsd(line.trim()).or_else(|| coreutils(line.trim()))).collect()
}

/// `SHA256 (file) = digest`, or `SHA2-256(file)= digest`.
fn bsd(line: &str) -> Option<Listed> {
    let (label, rest) = line.split_once('(')?;
    let (name, digits) = rest.rsplit_once(')')?;
    let digits = digits.trim_start().strip_prefix('=')?.trim();
    let label = label.trim().to_owned();
    is_hex(digits).then(|| Listed { digits: digits.to_owned(), name: Some(name.to_owned()), label: Some(label) })
}

/// `digest`, `digest  file` or `digest *file`.
fn coreutils(line: &str) -> Option<Listed> {
    let (digits, name) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let (label, digits) = match digits.split_once(':') {
        Some((label, digits)) => (Some(label.to_owned()), digits),
        None => (None, digits),
    };
    let name = name.trim_start();
    let name = name.strip_prefix('*').unwrap_or(name);
    let name = (!name.is_empty()).then(|| name.to_owned());
    is_hex(digits).then(|| Listed { digits: digits.to_owned(), name, label })
}

/// MD5's 32 digits are the fewest that anybody calls a checksum.
fn is_hex(text: &str) -> bool {
    text.len() >= 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The digests of all objects that name the wanted URL or file.
fn json(text: &str, wanted: &Wanted) -> Result<Vec<Listed>, ChecksumError> {
    let value: Value = serde_json::from_str(text).map_err(|error| ChecksumError::Json(error.to_string()))?;
    let mut listed = Vec::new();
    let mut ahead = vec![&value];
    while let Some(value) = ahead.pop() {
        match value {
            Value::Array(values) => ahead.extend(values),
            Value::Object(object) => {
                ahead.extend(object.values());
                let says = |key, text: &str| object.get(key).and_then(Value::as_str) == Some(text);
                if says("tarball", &wanted.url) || says("url", &wanted.url) || says("filename", &wanted.file) {
                    let digests = ["shasum", "sha256", "sha512"].iter().filter_map(|key| object.get(*key)?.as_str());
                    let name = || Some(wanted.file.clone());
                    listed.extend(digests.map(|digits| Listed {
                        digits: digits.to_owned(),
                        name: name(),
                        label: None,
                    }));
                }
            }
            _ => {}
        }
    }
    Ok(listed)
}

/// Judges digits by their number, and by the algorithm where it is said: SHA-512/256 and BLAKE2s have 64 digits too.
fn sum(digits: &str, label: Option<&str>, wanted: &Wanted) -> Result<Sum, ChecksumError> {
    let unsupported = |algorithm: &str| {
        Err(ChecksumError::Unsupported { file: wanted.file.clone(), algorithm: algorithm.to_owned() })
    };
    let fits = match label.map(str::to_ascii_lowercase).as_deref() {
        None => true,
        Some("sha256" | "sha2-256" | "sha-256") => digits.len() == 64,
        Some("sha512" | "sha2-512" | "sha-512") => digits.len() == 128,
        Some(_) => false,
    };
    match (digits.len(), label) {
        (64 | 128, _) if fits => digits.parse(),
        (_, Some(label)) => unsupported(label),
        (32, None) => unsupported("MD5"),
        (40, None) => unsupported("SHA-1"),
        (digits, None) => unsupported(&format!("{digits} digits")),
    }
}

impl Sum {
    /// `sha256` or `sha512`.
    pub const fn algorithm(&self) -> &'static str {
        match self {
            Self::Sha256(_) => "sha256",
            Self::Sha512(_) => "sha512",
        }
    }
}

impl FromStr for Sum {
    type Err = ChecksumError;

    /// Reads hexadecimal digits, with or without `sha256:` or `sha512:` before them.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let no_sum = || ChecksumError::NoSum(text.chars().take(200).collect());
        let Some(hex) = text.strip_prefix("sha512:").or_else(|| (text.len() == 128).then_some(text)) else {
            return text.parse().map(Self::Sha256).map_err(|_| no_sum());
        };
        // Two halves, each as long as a SHA-256 digest, which knows how to read itself.
        let half = |range: std::ops::Range<usize>| -> Option<Digest> { hex.get(range)?.parse().ok() };
        let (Some(first), Some(second)) = (half(0..64), half(64..128)) else { return Err(no_sum()) };
        if hex.len() != 128 {
            return Err(no_sum());
        }
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(first.as_bytes());
        bytes[32..].copy_from_slice(second.as_bytes());
        Ok(Self::Sha512(bytes))
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(digest) => fmt::Display::fmt(digest, f),
            Self::Sha512(bytes) => {
                f.write_str("sha512:")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

impl fmt::Debug for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://h/releases/v1.0/linux/amd64/tool-1.0%2Bx.tar.gz?raw=1";

    fn hex(digit: char, count: usize) -> String {
        digit.to_string().repeat(count)
    }

    fn found(text: &str) -> Option<char> {
        let text =
            text.replace("HASH1", &hex('1', 64)).replace("HASH2", &hex('2', 64)).replace("HASH5", &hex('5', 128));
        let sum = find(&text, URL).ok()?.to_string();
        assert!(sum.starts_with(if sum.ends_with('5') { "sha512:" } else { "sha256:" }));
        sum.chars().last()
    }

    #[test]
    fn every_form_is_read() {
        let json = r#"{"0.13.0": {"notes": "n", "x86_64-linux": {"tarball": "URL", "shasum": "HASH1", "size": "3"},
            "aarch64-linux": {"tarball": "https://h/other", "shasum": "HASH2"}}}"#;
        for (text, expected) in [
            ("HASH1", '1'),
            ("  HASH1\n\n", '1'),
            ("\u{feff}HASH5\r\n", '5'),
            ("sha256:HASH1", '1'),
            ("HASH1  tool-1.0+x.tar.gz", '1'),
            ("HASH1 *tool-1.0+x.tar.gz\n", '1'),
            ("HASH1  /tmp/build/tool-1.0+x.tar.gz", '1'),
            ("HASH2  other\nHASH1  ./tool-1.0+x.tar.gz\r\n", '1'),
            ("HASH2  arm64/tool-1.0+x.tar.gz\nHASH1  linux/amd64/tool-1.0+x.tar.gz", '1'),
            ("HASH1  a/tool-1.0+x.tar.gz\nHASH1  b/tool-1.0+x.tar.gz", '1'),
            ("# a comment\nHASH1  tool-1.0+x.tar.gz\nHASH5  tool-1.0+x.tar.gz", '1'),
            ("SHA256 (tool-1.0+x.tar.gz) = HASH1", '1'),
            ("SHA2-512(tool-1.0+x.tar.gz)= HASH5", '5'),
            (
                "SHA1 (tool-1.0+x.tar.gz) = 1111111111111111111111111111111111111111\nSHA512 (tool-1.0+x.tar.gz) = HASH5",
                '5',
            ),
            (&json.replace("URL", URL), '1'),
            (r#"[{"files": [{"filename": "tool-1.0+x.tar.gz", "sha256": "HASH1", "kind": "archive"}]}]"#, '1'),
        ] {
            assert_eq!(found(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_does_not_vouch_for_the_file_is_explained() {
        for (text, words) in [
            ("", "no digest at all"),
            ("<html><body>404</body></html>", "no digest at all"),
            (
                "HASH2  other.tar.gz\nHASH1  more.tar.gz",
                "does not name `tool-1.0+x.tar.gz`; it names `other.tar.gz`, `more",
            ),
            ("HASH1  other.tar.gz", "does not name"),
            ("HASH1  nottool-1.0+x.tar.gz", "does not name"),
            ("HASH1\nHASH2", "does not name"),
            ("HASH1  a/tool-1.0+x.tar.gz\nHASH2  b/tool-1.0+x.tar.gz", "two different digests"),
            ("0123456789abcdef0123456789abcdef  tool-1.0+x.tar.gz", "MD5"),
            ("0123456789abcdef0123456789abcdef01234567", "SHA-1"),
            ("SHA512/256 (tool-1.0+x.tar.gz) = HASH1", "SHA512/256"),
            ("BLAKE2s (tool-1.0+x.tar.gz) = HASH1", "BLAKE2s"),
            ("{\"a\": {\"tarball\": \"https://h/other\", \"shasum\": \"HASH1\"}}", "does not name"),
            ("{\"a\": ", "JSON"),
        ] {
            let text = text.replace("HASH1", &hex('1', 64)).replace("HASH2", &hex('2', 64));
            let error = find(&text, URL).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(find(&deep, URL).is_err());
    }

    #[test]
    fn sums_are_told_apart_by_their_length() {
        for text in
            [hex('a', 64), hex('a', 128), format!("sha256:{}", hex('a', 64)), format!("sha512:{}", hex('a', 128))]
        {
            let sum: Sum = text.parse().unwrap();
            let written = sum.to_string();
            assert_eq!(written.split_once(':'), Some((sum.algorithm(), text.rsplit(':').next().unwrap())));
        }
        for text in
            [hex('a', 63), hex('g', 64), hex('a', 129), format!("sha512:{}", hex('a', 64)), "sha1:00".to_owned()]
        {
            assert!(text.parse::<Sum>().is_err(), "{text}");
        }
        assert!("é".repeat(64).parse::<Sum>().is_err());
    }
}
