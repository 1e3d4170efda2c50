//! The control part of a Debian package: what it is, and what it would run.
//!
//! A package is an `ar` archive of `debian-binary`, `control.tar.*` and `data.tar.*` (deb(5)). The data becomes a tree
//! elsewhere; the control part is some kilobytes of texts and is read into memory whole, with bounds.

use std::{
    collections::BTreeMap,
    io::{self, BufReader, Read, Seek, SeekFrom},
};

use crate::inputs::archive::{self, Compression};

/// The files of a control part by name, such as `control`, `conffiles` and `postinst`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Control {
    files: BTreeMap<String, Vec<u8>>,
}

#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error("reading the package: {0}")]
    Io(#[from] io::Error),
    #[error("reading the package: {0}")]
    Malformed(&'static str),
    #[error("reading the package: its control part is larger than {LARGEST} bytes")]
    TooLarge,
}

/// The largest control part of bookworm has 3 MB (lists of checksums).
const LARGEST: u64 = 32 << 20;

impl Control {
    /// Reads the control part of a `.deb`.
    pub fn read(mut deb: impl Read + Seek) -> Result<Self, ControlError> {
        let (name, size) = find_control(&mut deb)?;
        let compression = match name.as_str() {
            "control.tar" => Compression::None,
            "control.tar.gz" => Compression::Gzip,
            "control.tar.xz" => Compression::Xz,
            "control.tar.zst" => Compression::Zstd,
            _ => {
                return Err(ControlError::Malformed(
                    "its control part is compressed in a way other than gz, xz and zst",
                ));
            }
        };
        Self::read_tar(archive::decoder(BufReader::new(deb.take(size)), compression)?)
    }

    fn read_tar(tar: impl Read) -> Result<Self, ControlError> {
        let mut files = BTreeMap::new();
        let mut left = LARGEST;
        let mut archive = tar::Archive::new(tar.take(LARGEST + 1));
        for entry in archive.entries()? {
            let entry = entry?;
            let path = entry.path()?.to_string_lossy().into_owned();
            let name = path.trim_start_matches("./");
            if !entry.header().entry_type().is_file() || name.contains('/') {
                continue;
            }
            let name = name.to_owned();
            let mut bytes = Vec::new();
            let size = entry.size();
            left = left.checked_sub(size).ok_or(ControlError::TooLarge)?;
            if entry.take(size).read_to_end(&mut bytes)? as u64 != size {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            files.insert(name, bytes);
        }
        if files.contains_key("control") {
            Ok(Self { files })
        } else {
            Err(ControlError::Malformed("its control part holds no file `control`"))
        }
    }

    /// A control part of these files, for tests and tools.
    pub fn from_files(files: BTreeMap<String, Vec<u8>>) -> Self {
        Self { files }
    }

    /// A file as text. Bytes that are not UTF-8 are replaced: scripts of old packages have names in Latin-1.
    pub fn text(&self, name: &str) -> Option<String> {
        self.files.get(name).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    /// Whether there is such a file.
    pub fn has(&self, name: &str) -> bool {
        self.files.contains_key(name)
    }
}

/// Brings the reader to the control part: its name and size in bytes.
fn find_control(deb: &mut (impl Read + Seek)) -> Result<(String, u64), ControlError> {
    const MEMBERS: usize = 4;
    let mut magic = [0; 8];
    deb.read_exact(&mut magic)?;
    if &magic != b"!<arch>\n" {
        return Err(ControlError::Malformed("it is no ar archive"));
    }
    for _ in 0..MEMBERS {
        let mut header = [0; 60];
        deb.read_exact(&mut header)?;
        let text =
            std::str::from_utf8(&header).map_err(|_| ControlError::Malformed("a member's header is not text"))?;
        // Other bytes than ASCII would move the fields, which stand at fixed places.
        if !text.is_ascii() || !text.ends_with("`\n") {
            return Err(ControlError::Malformed("a member's header does not end as ar's do"));
        }
        let (name, size) = (text[..16].trim_end().trim_end_matches('/'), text[48..58].trim_end());
        let size: u64 = size.parse().map_err(|_| ControlError::Malformed("a member's size is no number"))?;
        if name.starts_with("control.tar") {
            return if size > LARGEST { Err(ControlError::TooLarge) } else { Ok((name.to_owned(), size)) };
        }
        // Members begin at even places.
        let skipped = size.checked_add(size % 2).and_then(|size| i64::try_from(size).ok());
        deb.seek(SeekFrom::Current(skipped.ok_or(ControlError::Malformed("a member's size is no number"))?))?;
    }
    Err(ControlError::Malformed("it has no control part"))
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write as _};

    use super::*;

    fn tar(files: &[(&str, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, text) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, text.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn deb(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = b"!<arch>\n".to_vec();
        for (name, data) in members {
            bytes.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100_644, data.len()).bytes());
            bytes.extend(*data);
            bytes.resize(bytes.len().next_multiple_of(2), b'\n');
        }
        bytes
    }

    const CONTROL: &str = "Package: a\nVersion: 1\nArchitecture: all\n";

    #[test]
    fn a_control_part_is_read_in_each_compression() {
        let tar = tar(&[("./control", CONTROL), ("./postinst", "#!/bin/sh\n"), ("./x/control", "no")]);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&tar).unwrap();
        let mut xz = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).unwrap();
        xz.write_all(&tar).unwrap();
        let zstd = zstd::encode_all(&tar[..], 1).unwrap();
        let parts = [
            ("control.tar", tar),
            ("control.tar.gz", gzip.finish().unwrap()),
            ("control.tar.xz/", xz.finish().unwrap()),
            ("control.tar.zst", zstd),
        ];
        for (name, part) in parts {
            let control = Control::read(Cursor::new(deb(&[("debian-binary", b"2.0\n"), (name, &part)]))).unwrap();
            assert!(control.has("postinst") && !control.has("prerm"), "{name}");
            assert_eq!(control.text("control").unwrap(), CONTROL);
        }
    }

    #[test]
    fn what_is_no_package_is_refused() {
        let good = tar(&[("control", CONTROL)]);
        for bytes in [
            b"".to_vec(),
            b"!<arch>\n".to_vec(),
            deb(&[("debian-binary", b"2.0\n")]),
            deb(&[("control.tar.bz2", &good)]),
            deb(&[("control.tar", &tar(&[("postinst", "x")]))]),
            deb(&[("control.tar", &good[..700])])[..500].to_vec(),
            deb(&[("control.tar.xz", &good)]),
            deb(&[("control.tar.gz", b"")]),
            deb(&[("control.tar", &good)]).iter().map(|b| if *b == b'`' { b'x' } else { *b }).collect(),
            String::from_utf8_lossy(&deb(&[("debian-binary", b"2.0\n"), ("control.tar", b"")]))
                .replace("4         `", "-4        `")
                .into_bytes(),
        ] {
            assert!(Control::read(Cursor::new(&bytes)).is_err(), "{}", String::from_utf8_lossy(&bytes));
        }
    }
}
