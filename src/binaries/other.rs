//! What a file is that is no ELF file, so far as its first bytes tell: enough for a message that helps.

use std::fmt;

/// A file that is no ELF file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotElf {
    Empty,
    /// A script, with the interpreter that its first line names.
    Script {
        interpreter: String,
    },
    /// A file format with a name, such as `a gzip archive`.
    Format(&'static str),
    Text,
    Data,
}

/// First bytes by which a format is known. These are what one gets instead of a program: the archive it should have
/// been unpacked from, the program of another system, the web page of a proxy.
const FORMATS: [(&[u8], &str); 11] = [
    (b"\x1f\x8b", "a gzip archive"),
    (b"\xfd7zXZ\0", "an xz archive"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (b"PK\x03\x04", "a zip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"!<arch>\n", "an ar archive (a .deb package or a static library)"),
    (b"MZ", "a Windows program"),
    (b"\xcf\xfa\xed\xfe", "a macOS program"),
    (b"\xca\xfe\xba\xbe", "a macOS program for several machines"),
    (b"\0asm", "a WebAssembly module"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file it stands for"),
];

/// Says what a file is from its first bytes (512 are enough).
pub(super) fn identify(start: &[u8]) -> NotElf {
    const TAR_MAGIC: std::ops::Range<usize> = 257..262;
    if start.is_empty() {
        return NotElf::Empty;
    }
    if let Some(line) = start.strip_prefix(b"#!") {
        let line = String::from_utf8_lossy(line.split(|byte| *byte == b'\n').next().unwrap_or_default());
        let interpreter = line.split_whitespace().next().unwrap_or_default().chars().take(128).collect();
        return NotElf::Script { interpreter };
    }
    if let Some((_, format)) = FORMATS.iter().find(|(magic, _)| start.starts_with(magic)) {
        return NotElf::Format(format);
    }
    if start.get(TAR_MAGIC) == Some(b"ustar") {
        return NotElf::Format("a tar archive");
    }
    let page = start.trim_ascii_start();
    if ["<!doctype html", "<html"]
        .iter()
        .any(|tag| page.get(..tag.len()).is_some_and(|beginning| beginning.eq_ignore_ascii_case(tag.as_bytes())))
    {
        return NotElf::Format("a web page");
    }
    let printable = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace() || *byte >= 0x80;
    if start.iter().all(printable) { NotElf::Text } else { NotElf::Data }
}

impl fmt::Display for NotElf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("an empty file"),
            Self::Script { interpreter } => write!(f, "a script for `{}`", interpreter.escape_debug()),
            Self::Format(format) => f.write_str(format),
            Self::Text => f.write_str("a text file"),
            Self::Data => f.write_str("data of an unknown format"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_their_first_bytes() {
        let mut tar = vec![0; 512];
        tar[257..262].copy_from_slice(b"ustar");
        let script = |interpreter: &str| NotElf::Script { interpreter: interpreter.to_owned() };
        let cases: [(&[u8], NotElf); 10] = [
            (b"", NotElf::Empty),
            (b"#!/bin/sh\nexit 0\n", script("/bin/sh")),
            (b"#! /usr/bin/env python3", script("/usr/bin/env")),
            (b"#!", script("")),
            (b"\x1f\x8b\x08\0", NotElf::Format("a gzip archive")),
            (b"\n<!DOCTYPE HTML><html>", NotElf::Format("a web page")),
            (&tar, NotElf::Format("a tar archive")),
            (b"hello\n", NotElf::Text),
            (b"\x7fEL", NotElf::Data),
            (b"\0\0\0", NotElf::Data),
        ];
        for (start, expected) in cases {
            assert_eq!(identify(start), expected, "{start:?}");
        }
    }
}
