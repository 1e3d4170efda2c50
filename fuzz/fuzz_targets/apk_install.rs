//! Packages from their files to a root file system: verified, claimed, installed, and cut into layers.
//!
//! The packages are well-formed archives of whatever the fuzzer makes of a few names, so that it is about what lies where
//! and not about sums and hashes. Its store lies below `TMPDIR`, which is best a folder in memory.
#![no_main]

use std::{fmt::Write as _, io::Write as _, sync::LazyLock};

use kletimg::{
    base::{Accounts, Digest, Node, Tree},
    inputs::{
        apk::{
            checksum::Checksum,
            index::Index,
            install::{Setup, install, install_in_layers},
            package::{VerifiedPackage, open_package, verify_package},
            resolver::{Repository, World, resolve},
            signature::Keyring,
        },
        store::Store,
    },
};
use libfuzzer_sys::fuzz_target;

/// Kind and mode, the two parts of the path, and what a link leads to.
type File = (u8, u8, u8, u8);

static STORE: LazyLock<Store> = LazyLock::new(|| {
    Store::new(std::env::temp_dir().join(format!("kletimg-fuzz-{}", std::process::id())))
});

fuzz_target!(|packages: Vec<Vec<File>>| {
    let packages: Vec<_> = packages.iter().take(4).enumerate().map(|(number, files)| Built::new(number, files)).collect();
    let records: String = packages.iter().map(Built::record).collect();
    let index = Index::parse(records.into_bytes()).expect("records of these packages");
    let keys = Keyring::new();
    let world = World::parse(packages.iter().map(|package| &package.name)).expect("names of packages");
    let selected = resolve(&[Repository { tag: None, index: &index }], &world).expect("nothing depends on anything");
    let mut verified = Vec::new();
    for selected in &selected {
        let package = packages.iter().find(|package| package.name == selected.package().name()).expect("one of these");
        let blob = STORE.put(&package.bytes()).expect("room in the store");
        let Ok(package) = verify_package(&STORE, &blob, selected, &keys) else { return };
        let opened = open_package(&STORE, &blob, None, &keys).expect("what is good with its index is good without");
        assert_eq!(opened.entries, package.entries);
        verified.push(package);
    }
    let accounts = Accounts::default();
    let (world, arch, applets) = (&world, "x86_64", "/bin/ls\n/usr/bin/awk\n/lib/a/b\n");
    let setup = Setup { world, arch, repositories: &[], keys: &keys, accounts: &accounts, applets };
    let Ok(installed) = install(&STORE, &verified, &setup) else { return };
    examine(&installed.tree);
    layered(&verified, &setup, &installed.tree);
});

/// Everything lies in a directory, and every name of a file leads to it.
fn examine(tree: &Tree) {
    for (path, entry) in tree.iter() {
        assert!(entry.mode <= 0o7777);
        if let Some(parent) = path.parent() {
            assert_eq!(tree.get(&parent).map(|entry| &entry.node), Some(&Node::Directory), "above {path}");
        }
        let mut node = &entry.node;
        for _ in 0..100 {
            let Node::Hardlink(target) = node else { break };
            node = &tree.get(target).expect("the file of a hard link").node;
        }
        assert!(!matches!(node, Node::Hardlink(_)), "{path} leads to no file");
    }
}

/// The layers, one above the other, have all that the whole has. A base that cannot be installed alone is no error here.
fn layered(packages: &[VerifiedPackage], setup: &Setup<'_>, whole: &Tree) {
    let Ok(layers) = install_in_layers(&STORE, packages, setup, |package| package.name() == "p0") else { return };
    for (path, entry) in whole.iter() {
        let above = layers.records.get(path).or_else(|| layers.additional.get(path));
        assert_eq!(above.or_else(|| layers.base.get(path)), Some(entry), "{path}");
    }
}

struct Built {
    name: String,
    control: Vec<u8>,
    data: Vec<u8>,
}

impl Built {
    fn new(number: usize, files: &[File]) -> Self {
        let name = format!("p{number}");
        let mut tar = Vec::new();
        for file in files.iter().take(32) {
            append(&mut tar, *file);
        }
        tar.extend([0; 1024]);
        let data = gzip(&tar);
        // The second package may take files of the first, and the third has its source.
        let more = ["origin = o\n", "replaces = p0\n", "origin = o\n", ""][number];
        let hash = Digest::of(&data).hex();
        let info = format!("pkgname = {name}\npkgver = 1-r0\nsize = 1\n{more}datahash = {hash}\n");
        let mut control = Vec::new();
        entry(&mut control, tar::EntryType::Regular, ".PKGINFO", "", 0o644, info.as_bytes());
        Self { name, control: gzip(&control), data }
    }

    fn bytes(&self) -> Vec<u8> {
        [&self.control[..], &self.data].concat()
    }

    fn record(&self) -> String {
        let size = self.control.len() + self.data.len();
        format!("C:{}\nP:{}\nV:1-r0\nS:{size}\nI:1\n\n", Checksum::of(&self.control), self.name)
    }
}

const NAMES: [&str; 12] =
    ["bin", "usr", "lib", "etc", "a", "b", "busybox", "bbsuid", "passwd", "usr/bin", "..", "lib/apk/db"];

const LINKS: [&str; 8] = ["a", "../b", "/usr", "usr/bin", "..", "lib", "bin/busybox", "a/b"];

fn append(tar: &mut Vec<u8>, (kind, first, second, link): File) {
    let name = |number: u8| NAMES[usize::from(number) % NAMES.len()];
    let path = if second < 64 { name(first).to_owned() } else { format!("{}/{}", name(first), name(second)) };
    let mode = [0o755, 0o644, 0o4711, 0o2755][usize::from(kind >> 6)];
    let link = LINKS[usize::from(link) % LINKS.len()];
    match kind % 4 {
        0 => entry(tar, tar::EntryType::Directory, &format!("{path}/"), "", mode, b""),
        1 => entry(tar, tar::EntryType::Regular, &path, "", mode, link.as_bytes()),
        2 => entry(tar, tar::EntryType::Symlink, &path, link, 0o777, b""),
        _ => entry(tar, tar::EntryType::Link, &path, link, mode, b""),
    }
}

fn entry(tar: &mut Vec<u8>, kind: tar::EntryType, name: &str, link: &str, mode: u32, bytes: &[u8]) {
    let summed = if kind.is_symlink() { link.as_bytes() } else { bytes };
    if kind.is_file() || kind.is_symlink() {
        let mut hex = String::new();
        for byte in Checksum::of(summed).as_bytes() {
            let _ = write!(hex, "{byte:02x}");
        }
        // 40 digits and the key make a record of always the same length.
        block(tar, tar::EntryType::XHeader, "pax", "", 0o644, format!("68 APK-TOOLS.checksum.SHA1={hex}\n").as_bytes());
    }
    block(tar, kind, name, link, mode, bytes);
}

fn block(tar: &mut Vec<u8>, kind: tar::EntryType, name: &str, link: &str, mode: u32, bytes: &[u8]) {
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
    tar.extend(header.as_bytes());
    tar.extend(bytes);
    tar.resize(tar.len().next_multiple_of(512), 0);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory")
}
