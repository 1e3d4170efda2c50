//! SHA-1 as apk v2 uses it: `C:Q1<base64>` names a package by its control part, `Z:Q1<base64>` a file by its bytes.
//!
//! SHA-1 is what the format has. A package's bytes are also pinned by the SHA-256 of its data part, which the control
//! part holds, and by the lock.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha1::Digest as _;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Checksum([u8; 20]);

impl Checksum {
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha1::Sha1::digest(bytes).into())
    }

    /// Reads `Q1<base64>`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 20];
        let length = STANDARD.decode_slice(text.strip_prefix("Q1")?, &mut bytes).ok()?;
        (length == bytes.len()).then_some(Self(bytes))
    }

    /// Reads the 40 hexadecimal digits of a PAX header.
    pub fn from_hex(text: &[u8]) -> Option<Self> {
        let digit = |c: u8| char::from(c).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let mut bytes = [0; 20];
        if text.len() != 2 * bytes.len() {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Self(bytes))
    }

    pub const fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }
}

impl From<sha1::Sha1> for Checksum {
    fn from(hasher: sha1::Sha1) -> Self {
        Self(hasher.finalize().into())
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Q1{}", STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_read_in_both_spellings() {
        let checksum = Checksum::of(b"abc");
        assert_eq!(checksum.to_string(), "Q1qZk+NkcGgWq6PiVxeFDCbJzQ2J0=");
        assert_eq!(Checksum::parse("Q1qZk+NkcGgWq6PiVxeFDCbJzQ2J0="), Some(checksum));
        assert_eq!(Checksum::from_hex(b"a9993e364706816aba3e25717850c26c9cd0d89d"), Some(checksum));
        for text in ["", "Q1", "Q2qZk+NkcGgWq6PiVxeFDCbJzQ2J0=", "Q1qZk+", "Q1qZk+NkcGgWq6PiVxeFDCbJzQ2J0AAA="] {
            assert_eq!(Checksum::parse(text), None, "{text}");
        }
        assert_eq!(Checksum::from_hex(b"a9993e36"), None);
    }
}
