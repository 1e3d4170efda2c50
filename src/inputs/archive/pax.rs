//! The records of a PAX extended header: `LENGTH KEY=VALUE\n`, the length in decimal and counting itself.
//!
//! Every reader of tar here takes them from this module: the tar crate splits records at newlines, which breaks on values that hold one, and binary extended attributes do.
//! See <https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html#tag_20_92_13_03>.

use std::io::{self, Read};

/// The longest extended header, 1 MiB: names take 4 KiB at most, and Linux attributes 64 KiB each.
const LONGEST: u64 = 1 << 20;

/// The bytes of an extended header, which are held in memory. `None` where it is longer than any honest one.
pub(crate) fn header(entry: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    entry.take(LONGEST + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= LONGEST).then_some(bytes))
}

/// The records in order, or `None` where the header is malformed.
pub(crate) fn records(mut header: &[u8]) -> Option<Vec<(&str, &[u8])>> {
    let mut records = Vec::new();
    while !header.is_empty() {
        let space = header.iter().take(20).position(|byte| *byte == b' ')?;
        let length: usize = std::str::from_utf8(&header[..space]).ok()?.parse().ok()?;
        let record = header.get(space + 1..length)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|byte| *byte == b'=')?;
        records.push((std::str::from_utf8(&record[..equals]).ok()?, &record[equals + 1..]));
        header = &header[length..];
    }
    Some(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_may_hold_anything() {
        let header = b"12 path=a/b\n27 SCHILY.xattr.user.x=\n\x00=\n8 uid=1\n";
        let expected: Vec<(&str, &[u8])> = vec![("path", b"a/b"), ("SCHILY.xattr.user.x", b"\n\x00="), ("uid", b"1")];
        assert_eq!(records(header), Some(expected));
    }

    #[test]
    fn what_is_malformed_is_not_guessed() {
        for header in [
            &b"x path=a\n"[..],
            b"8 path=a\n",
            b"99 path=a\n",
            b"9 path=a ",
            b"0 path=a\n",
            b"1 ",
            b"7 patha\n",
            b"-9 path=a\n",
            b"99999999999999999999 a=b\n",
        ] {
            assert_eq!(records(header), None, "{}", String::from_utf8_lossy(header));
        }
    }
}
