//! Archives made by hand, so that they can be wrong in ways that no honest tool writes.

use std::io::Write as _;

use tar::{EntryType, Header};

/// A tar being written.
#[derive(Default)]
pub struct Tar(Vec<u8>);

impl Tar {
    pub fn new() -> Self {
        Self::default()
    }

    /// One entry with exactly this name, link and data, whatever they are.
    pub fn entry(self, kind: EntryType, name: &str, link: &str, data: &[u8]) -> Self {
        let mut header = Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_mode(if kind.is_dir() { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(data.len() as u64);
        header.set_entry_type(kind);
        header.set_cksum();
        self.header(&header, data)
    }

    /// A header as it is, and data padded to a block.
    pub fn header(mut self, header: &Header, data: &[u8]) -> Self {
        self.0.extend(header.as_bytes());
        self.0.extend(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub fn file(self, name: &str, data: &[u8]) -> Self {
        self.entry(EntryType::Regular, name, "", data)
    }

    pub fn folder(self, name: &str) -> Self {
        self.entry(EntryType::Directory, name, "", b"")
    }

    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, name, target, b"")
    }

    pub fn hardlink(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Link, name, target, b"")
    }

    /// PAX records for the entry that follows.
    pub fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut data = Vec::new();
        for (key, value) in records {
            let rest = 1 + key.len() + 1 + value.len() + 1;
            let mut length = rest + 1;
            while rest + length.to_string().len() != length {
                length = rest + length.to_string().len();
            }
            data.extend(format!("{length} {key}=").bytes());
            data.extend(*value);
            data.push(b'\n');
        }
        self.entry(EntryType::XHeader, "PaxHeaders/x", "", &data)
    }

    /// With the two blocks of zeros that end a tar.
    pub fn finish(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }

    /// Without them.
    pub fn unfinished(self) -> Vec<u8> {
        self.0
    }
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// `members` as `ar` has them.
pub fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, data) in members {
        bytes.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100_644, data.len()).bytes());
        bytes.extend(*data);
        bytes.resize(bytes.len().next_multiple_of(2), b'\n');
    }
    bytes
}

/// A Debian package around this data.
pub fn deb(data_name: &str, data: &[u8]) -> Vec<u8> {
    let control = gzip(&Tar::new().file("./control", b"Package: x\n").finish());
    ar(&[("debian-binary", b"2.0\n"), ("control.tar.gz", &control), (data_name, data)])
}

/// What a [`zip`] holds.
pub enum Zipped<'a> {
    File(&'a [u8]),
    Symlink(&'a str),
    Folder,
    /// So many zeros.
    Zeros(u64),
}

pub fn zip(members: &[(&str, u32, Zipped<'_>)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, mode, what) in members {
        let options = zip::write::SimpleFileOptions::default().unix_permissions(*mode).large_file(true);
        match what {
            Zipped::Folder => writer.add_directory(*name, options).unwrap(),
            Zipped::Symlink(target) => writer.add_symlink(*name, *target, options).unwrap(),
            Zipped::File(data) => {
                writer.start_file(*name, options).unwrap();
                writer.write_all(data).unwrap();
            }
            Zipped::Zeros(count) => {
                writer.start_file(*name, options).unwrap();
                std::io::copy(&mut std::io::Read::take(std::io::repeat(0), *count), &mut writer).unwrap();
            }
        }
    }
    writer.finish().unwrap().into_inner()
}
