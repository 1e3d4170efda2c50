//! Repositories that the tests build and sign themselves, good and bad.

use std::{fmt::Write as _, io::Write as _};

use kletimg::{
    base::Digest,
    inputs::apk::{
        checksum::Checksum,
        package::{PackageError, VerifiedPackage, verify_package},
        repository::{Trust, VerifiedIndex},
        resolver::{Repository, Selected, World, resolve},
        signature::Keyring,
    },
    inputs::store::Store,
};
use ring::{
    rand::SystemRandom,
    signature::{RSA_PKCS1_SHA256, RsaEncoding, RsaKeyPair},
};
use sha1::Digest as _;

/// The name of the key beside this file, made for these tests.
pub(crate) const KEY: &str = "test.rsa.pub";

pub(crate) fn keys() -> Keyring {
    let mut keys = Keyring::new();
    keys.add(KEY, include_str!("key.rsa.pub")).unwrap();
    keys
}

/// A keyring that knows only somebody else.
pub(crate) fn strangers() -> Keyring {
    let mut keys = Keyring::new();
    keys.add("stranger.rsa.pub", include_str!("stranger.rsa.pub")).unwrap();
    keys
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The signature member over `signed`, by the test key.
pub(crate) fn signature(signed: &[u8]) -> Vec<u8> {
    signature_by("RSA256", &RSA_PKCS1_SHA256, signed)
}

/// The same with any hash, under any name.
pub(crate) fn signature_by(name: &str, padding: &'static dyn RsaEncoding, signed: &[u8]) -> Vec<u8> {
    let pair = RsaKeyPair::from_pkcs8(include_bytes!("key.pk8")).unwrap();
    let mut signature = vec![0; pair.public().modulus_len()];
    pair.sign(padding, &SystemRandom::new(), signed, &mut signature).unwrap();
    gzip(&Tar::default().plain(&format!(".SIGN.{name}.{KEY}"), &signature).cut())
}

#[derive(Default)]
pub(crate) struct Tar(Vec<u8>);

impl Tar {
    /// An entry with exactly this name, however bad.
    pub(crate) fn entry(mut self, name: &str, kind: tar::EntryType, link: &str, mode: u32, bytes: &[u8]) -> Self {
        let checksum = if kind.is_symlink() { link.as_bytes() } else { bytes };
        if kind.is_file() || kind.is_symlink() {
            let mut hex = String::new();
            for byte in sha1::Sha1::digest(checksum) {
                write!(hex, "{byte:02x}").unwrap();
            }
            self = self.pax("APK-TOOLS.checksum.SHA1", &hex);
        }
        self.raw(name, kind, link, mode, bytes)
    }

    /// A PAX header for the entry after it.
    pub(crate) fn pax(self, key: &str, value: &str) -> Self {
        let rest = format!(" {key}={value}\n");
        let fits = |length: &usize| length.to_string().len() + rest.len() == *length;
        let length = (rest.len()..rest.len() + 9).find(fits).unwrap();
        self.raw("pax", tar::EntryType::XHeader, "", 0o644, format!("{length}{rest}").as_bytes())
    }

    pub(crate) fn raw(mut self, name: &str, kind: tar::EntryType, link: &str, mode: u32, bytes: &[u8]) -> Self {
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(bytes.len() as u64);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_cksum();
        self.0.extend(header.as_bytes());
        self.0.extend(bytes);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn file(self, name: &str, bytes: &[u8]) -> Self {
        self.entry(name, tar::EntryType::Regular, "", 0o644, bytes)
    }

    /// A file without a checksum, as those of signatures and control parts are.
    pub(crate) fn plain(self, name: &str, bytes: &[u8]) -> Self {
        self.raw(name, tar::EntryType::Regular, "", 0o644, bytes)
    }

    pub(crate) fn folder(self, name: &str) -> Self {
        self.raw(&format!("{name}/"), tar::EntryType::Directory, "", 0o755, b"")
    }

    /// Without the blocks that end an archive, as members that others follow.
    pub(crate) fn cut(self) -> Vec<u8> {
        self.0
    }

    pub(crate) fn whole(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }
}

/// A package as abuild would make it.
pub(crate) struct Built {
    pub(crate) name: String,
    /// Lines for the index beside the usual ones.
    pub(crate) lines: String,
    pub(crate) signature: Vec<u8>,
    pub(crate) control: Vec<u8>,
    pub(crate) data: Vec<u8>,
}

impl Built {
    pub(crate) fn new(name: &str, lines: &str, info: &str, data: Tar) -> Self {
        Self::scripted(name, lines, info, data, &[])
    }

    /// With scripts, each by its phase.
    pub(crate) fn scripted(name: &str, lines: &str, info: &str, data: Tar, phases: &[&str]) -> Self {
        let data = gzip(&data.whole());
        let info = format!("pkgname = {name}\npkgver = 1-r0\n{info}datahash = {}\n", Digest::of(&data).hex());
        let control = Tar::default().plain(".PKGINFO", info.as_bytes());
        let control = phases.iter().fold(control, |tar, phase| tar.plain(&format!(".{phase}"), b"#!/bin/sh\n"));
        let control = gzip(&control.cut());
        Self { name: name.to_owned(), lines: lines.to_owned(), signature: signature(&control), control, data }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        [&self.signature[..], &self.control, &self.data].concat()
    }

    pub(crate) fn record(&self) -> String {
        let (checksum, size) = (Checksum::of(&self.control), self.bytes().len());
        format!("C:{checksum}\nP:{}\nV:1-r0\nA:x86_64\nS:{size}\nI:4096\nT:\nU:\nL:\n{}\n", self.name, self.lines)
    }
}

/// The signed index with these records.
pub(crate) fn index(records: &str) -> Vec<u8> {
    let rest = gzip(&Tar::default().plain("DESCRIPTION", b"test").plain("APKINDEX", records.as_bytes()).whole());
    [signature(&rest), rest].concat()
}

pub(crate) fn open(records: &str) -> VerifiedIndex {
    VerifiedIndex::open(&index(records), &keys(), Trust::Signed).unwrap()
}

/// Chooses and reads packages from a repository of exactly these.
pub(crate) fn read(store: &Store, packages: &[Built]) -> Result<Vec<VerifiedPackage>, PackageError> {
    let records: String = packages.iter().map(Built::record).collect();
    let index = open(&records);
    let world = World::parse(packages.iter().map(|package| &package.name)).unwrap();
    let selected = resolve(&[Repository { tag: None, index: index.index() }], &world).unwrap();
    let read = |selected: &Selected| {
        let package = packages.iter().find(|package| package.name == selected.package().name()).unwrap();
        verify_package(store, &store.put(&package.bytes()).unwrap(), selected, &keys())
    };
    selected.iter().map(read).collect()
}
