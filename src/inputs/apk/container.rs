//! The outer form of indexes and packages: gzip members, one after another, that together unpack to one tar archive.
//!
//! ```text
//! signature member(s)   .SIGN.RSA.<key>            over the compressed bytes of what follows
//! control member        .PKGINFO, scripts          (an index: everything that is left, DESCRIPTION and APKINDEX)
//! data member(s)        the package's files        pinned by `datahash` in .PKGINFO
//! ```
//!
//! Signatures and hashes are over *compressed* bytes, so the members are told apart by inflating and counting what that
//! took. A signature is looked for only in a member's first file name, and nothing here believes what it has unpacked:
//! sizes are bounded before, the callers verify before they use.

use std::io::{self, BufRead, Read};

use flate2::bufread::{GzDecoder, MultiGzDecoder};

use super::signature::Signature;

/// What is wrong with the form of an archive.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    #[error("unpacking {what}: {source}")]
    Unpack { what: &'static str, source: io::Error },
    #[error("it does not begin as a gzip archive does, or ends too early: {0}")]
    NotGzip(#[source] io::Error),
    #[error("unpacking {what}: more than {limit} bytes come out")]
    TooLarge { what: &'static str, limit: u64 },
    #[error("the archive ends before {what}")]
    Ends { what: &'static str },
    #[error("{what} holds the file `{name}` a second time")]
    Twice { what: &'static str, name: String },
}

/// A signature is 512 bytes for Alpine's longest keys, in a tar archive of a few blocks.
const MAX_SIGNATURE: u64 = 64 << 10;

/// More signatures than anybody makes.
const MAX_SIGNATURES: usize = 16;

/// A file of a small archive.
#[derive(Clone, Debug)]
pub struct Member<'a> {
    pub name: String,
    pub bytes: &'a [u8],
}

/// Reads the signature members that an archive begins with. Gives the signatures and how many compressed bytes they take;
/// what the signatures cover begins there.
pub fn signatures<R: BufRead>(read: impl Fn(u64) -> io::Result<R>) -> Result<(Vec<Signature>, u64), ContainerError> {
    const WHAT: &str = "the signature";
    let unpack = |source| ContainerError::Unpack { what: WHAT, source };
    let (mut signatures, mut position) = (Vec::new(), 0);
    for _ in 0..MAX_SIGNATURES {
        if !begins_with_signature(read(position).map_err(unpack)?).map_err(ContainerError::NotGzip)? {
            break;
        }
        let (tar, length) = member(read(position).map_err(unpack)?, WHAT, MAX_SIGNATURE)?;
        for file in files(&tar, WHAT)? {
            signatures.extend(Signature::from_file(&file.name, file.bytes));
        }
        position += length;
    }
    Ok((signatures, position))
}

fn begins_with_signature(source: impl BufRead) -> io::Result<bool> {
    const PREFIX: &[u8] = b".SIGN.";
    let mut name = [0; PREFIX.len()];
    GzDecoder::new(source).read_exact(&mut name)?;
    Ok(name == PREFIX)
}

/// Unpacks the one gzip member that `source` begins with. Gives what comes out and the member's compressed length.
pub fn member(source: impl BufRead, what: &'static str, limit: u64) -> Result<(Vec<u8>, u64), ContainerError> {
    let mut decoder = GzDecoder::new(Counting { inner: source, count: 0 });
    let unpacked = read_bounded(&mut decoder, what, limit)?;
    Ok((unpacked, decoder.into_inner().count))
}

/// Unpacks all the gzip members of a slice.
pub fn members(bytes: &[u8], what: &'static str, limit: u64) -> Result<Vec<u8>, ContainerError> {
    read_bounded(&mut MultiGzDecoder::new(bytes), what, limit)
}

fn read_bounded(source: &mut impl Read, what: &'static str, limit: u64) -> Result<Vec<u8>, ContainerError> {
    let mut unpacked = Vec::new();
    source.take(limit + 1).read_to_end(&mut unpacked).map_err(|source| ContainerError::Unpack { what, source })?;
    if unpacked.len() as u64 > limit {
        return Err(ContainerError::TooLarge { what, limit });
    }
    Ok(unpacked)
}

/// The regular files of a tar archive in memory. Alpine cuts the empty blocks off that would end it.
pub fn files<'a>(tar: &'a [u8], what: &'static str) -> Result<Vec<Member<'a>>, ContainerError> {
    let unpack = |source| ContainerError::Unpack { what, source };
    let mut files: Vec<Member<'a>> = Vec::new();
    for entry in tar::Archive::new(tar).entries().map_err(unpack)? {
        let entry = entry.map_err(unpack)?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let position = |position: u64| usize::try_from(position).unwrap_or(usize::MAX);
        let begin = position(entry.raw_file_position());
        let bytes = tar
            .get(begin..begin.saturating_add(position(entry.size())))
            .ok_or(ContainerError::Ends { what: "the end of a file" })?;
        if files.iter().any(|file| file.name == name) {
            return Err(ContainerError::Twice { what, name });
        }
        files.push(Member { name, bytes });
    }
    Ok(files)
}

/// Counts the bytes that a reader's user has taken.
struct Counting<R> {
    inner: R,
    count: u64,
}

impl<R: BufRead> Read for Counting<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buf)?;
        self.count += read as u64;
        Ok(read)
    }
}

impl<R: BufRead> BufRead for Counting<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.inner.consume(amount);
        self.count += amount as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn members_are_told_apart_to_the_byte() {
        let parts = [gzip(b"one"), gzip(&vec![7; 100_000]), gzip(b"")];
        let all = parts.concat();
        let mut position = 0;
        for part in &parts {
            let (_, length) = member(&all[position..], "a part", 1 << 20).unwrap();
            assert_eq!(length, part.len() as u64);
            position += part.len();
        }
        assert_eq!(members(&all, "all", 1 << 20).unwrap().len(), 100_003);
    }

    #[test]
    fn truncated_damaged_and_swelling_members_are_errors() {
        let good = gzip(&vec![7; 100_000]);
        assert!(matches!(member(&good[..], "a part", 99_999), Err(ContainerError::TooLarge { limit: 99_999, .. })));
        for length in 0..good.len() {
            assert!(member(&good[..length], "a part", 1 << 20).is_err(), "{length}");
            assert!(length == 0 || members(&good[..length], "a part", 1 << 20).is_err(), "{length}");
        }
        let mut damaged = good;
        let sum = damaged.len() - 6;
        damaged[sum] ^= 1;
        assert!(member(&damaged[..], "a part", 1 << 20).is_err());
        assert!(member(&b"no gzip"[..], "a part", 1 << 20).is_err());
    }
}
