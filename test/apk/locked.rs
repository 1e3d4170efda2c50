//! Packages read without an index, as a lock pins them, and root file systems in layers.

use std::fs;

use kletimg::{
    base::{Accounts, Digest, Node, Tree, TreePath},
    inputs::{
        apk::{
            install::{Installed, RECORDS, Setup, install, install_in_layers},
            package::{VerifiedPackage, open_package, verify_package},
            repository::{Trust, VerifiedIndex},
            resolver::{Repository, World, resolve},
            signature::Keyring,
        },
        store::Store,
    },
};

use crate::{
    reference::alpine_keys,
    repository::{Built, Tar, keys, open, read, signature, strangers},
    support::parts,
};

pub(crate) fn assemble(store: &Store, packages: &[VerifiedPackage]) -> Installed {
    install(store, packages, &setup()).unwrap()
}

pub(crate) fn setup() -> Setup<'static> {
    static EMPTY: std::sync::OnceLock<(World, Keyring, Accounts)> = std::sync::OnceLock::new();
    let (world, keys, accounts) = EMPTY.get_or_init(|| (World::default(), keys(), Accounts::default()));
    Setup { world, arch: "x86_64", repositories: &[], keys, accounts, applets: "" }
}

#[test]
fn every_package_of_a_repository_is_read_alike_with_and_without_its_index() {
    let Some(data) = parts::alpine_data() else { return };
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path());
    let keys = alpine_keys(&data);
    let repository = data.join("repo-3.19.1/x86_64");
    let bytes = fs::read(repository.join("APKINDEX.tar.gz")).unwrap();
    let index = VerifiedIndex::open(&bytes, &keys, Trust::Signed).unwrap();
    let repositories = [Repository { tag: None, index: index.index() }];
    let mut names = std::collections::BTreeSet::new();
    for package in index.index().packages() {
        let world = World::parse([package.name()]).unwrap();
        let selected = resolve(&repositories, &world).unwrap();
        let selected = selected.iter().find(|selected| selected.package().name() == package.name()).unwrap();
        let blob = store.put_file(&repository.join(package.file_name())).unwrap();
        let verified = verify_package(&store, &blob, selected, &keys).unwrap();
        let opened = open_package(&store, &blob, None, &keys).unwrap();
        assert_eq!(verified.info, opened.info);
        let (verified, opened) = (assemble(&store, &[verified]), assemble(&store, &[opened]));
        assert_eq!(text(&store, &verified.tree), text(&store, &opened.tree));
        assert_eq!(verified.tree, opened.tree);
        assert_eq!(verified.undeclared, opened.undeclared);
        names.insert(package.name());
    }
    assert_eq!(names.len(), 100);
}

/// `lib/apk/db/installed`.
pub(crate) fn text(store: &Store, tree: &Tree) -> String {
    let path = TreePath::new("lib/apk/db/installed").unwrap();
    let Node::File(content) = &tree.get(&path).unwrap().node else { panic!("not a file") };
    std::io::read_to_string(store.content(content).unwrap()).unwrap()
}

const INFO: &str = "size = 4096\npkgdesc = a = b\nurl = https://a\nlicense = MIT\norigin = o\nmaintainer = M <m@b.c>\n\
                    builddate = 7\ncommit = c0ffee\nprovider_priority = 3\ndepend = b>1\ndepend = !c\nprovides = d=1 e\n\
                    install_if = f g=2\nreplaces = h\nreplaces_priority = 2\narch = noarch\n";

const LINES: &str = "o:o\nm:M <m@b.c>\nt:7\nc:c0ffee\nk:3\nD:b>1 !c\np:d=1 e\ni:f g=2\n";

#[test]
fn every_field_of_a_record_is_in_the_package_too() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path());
    let package = Built::new("a", LINES, INFO, Tar::default().folder("usr").file("usr/a", b"bytes"));
    let described = |record: &str| record.replace("T:\nU:\nL:\n", "T:a = b\nU:https://a\nL:MIT\n");
    let others = "C:Q1qZk+NkcGgWq6PiVxeFDCbJzQ2J0=\nP:b\nV:2\n\n";
    let edge = open(&(described(&package.record()) + others));
    let repositories = [Repository { tag: Some("edge"), index: edge.index() }];
    let selected = resolve(&repositories, &World::parse(["a@edge", "b@edge"]).unwrap()).unwrap();
    let selected = selected.iter().find(|selected| selected.package().name() == "a").unwrap();
    let blob = store.put(&package.bytes()).unwrap();
    let verified = verify_package(&store, &blob, selected, &keys()).unwrap();
    let opened = open_package(&store, &blob, Some("edge"), &keys()).unwrap();
    let text = text(&store, &assemble(&store, &[verified]).tree);
    assert_eq!(text, self::text(&store, &assemble(&store, &[opened]).tree));
    for line in ["A:x86_64", "T:a = b", "t:7", "k:3", "D:b>1 !c", "p:d=1 e", "i:f g=2", "r:h", "q:2", "s:edge"] {
        assert!(text.lines().any(|other| other == line), "{line}: {text}");
    }
}

#[test]
fn a_pinned_package_is_still_followed_from_part_to_part() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path());
    let built = || Built::new("a", "", "size = 1\n", Tar::default().folder("usr").file("usr/a", b"bytes"));
    let open = |bytes: &[u8], keys: Keyring| open_package(&store, &store.put(bytes).unwrap(), None, &keys);
    let good = built().bytes();
    assert_eq!(open(&good, keys()).unwrap().title(), "a-1-r0");
    assert_eq!(open(&good, strangers()).unwrap().entries.len(), 2, "the lock vouches for it");
    let refuse = |bytes: &[u8], expected: &str| {
        let error = open(bytes, keys()).unwrap_err().to_string();
        let name = format!("reading the package {}: ", Digest::of(bytes));
        assert!(error.starts_with(&name) && error.contains(expected), "{expected}: {error}");
    };
    let mut package = built();
    package.data.truncate(package.data.len() - 1);
    refuse(&package.bytes(), "its data part has the digest");
    let mut package = built();
    package.signature = signature(b"something else");
    refuse(&package.bytes(), "its signature by test.rsa.pub is not of these bytes");
    let package = Built::new("../a", "", "size = 1\n", Tar::default());
    refuse(&package.bytes(), "`../a` is not a package name");
    refuse(b"", "does not begin as a gzip archive");
    for length in 0..good.len() {
        assert!(open(&good[..length], keys()).is_err(), "{length}");
    }
}

/// A gzip member of 20 MB that says little: empty blocks, and then `bytes`.
fn bloated(bytes: &[u8]) -> Vec<u8> {
    let mut member = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    member.extend([0, 0, 0, 0xff, 0xff].repeat(4 << 20));
    let length = u16::try_from(bytes.len()).unwrap();
    member.push(1);
    member.extend(length.to_le_bytes());
    member.extend((!length).to_le_bytes());
    member.extend(bytes);
    let mut sum = flate2::Crc::new();
    sum.update(bytes);
    member.extend(sum.sum().to_le_bytes());
    member.extend(u32::from(length).to_le_bytes());
    member
}

#[test]
fn a_control_part_that_is_large_only_in_its_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path());
    let mut package = Built::new("a", "", "size = 1\n", Tar::default().folder("usr").file("usr/a", b"bytes"));
    package.signature.clear();
    let control = std::io::read_to_string(flate2::read::GzDecoder::new(&package.control[..])).unwrap();
    package.control = bloated(control.as_bytes());
    let blob = store.put(&package.bytes()).unwrap();
    let error = open_package(&store, &blob, None, &keys()).unwrap_err().to_string();
    assert!(error.contains("more than 16777216 bytes"), "{error}");
}

fn busybox() -> Built {
    let data = Tar::default()
        .folder("bin")
        .file("bin/busybox", b"elf")
        .folder("etc")
        .folder("etc/busybox-paths.d")
        .file("etc/busybox-paths.d/busybox", b"/bin/mount\n/usr/bin/du\n");
    Built::new("busybox", "", "size = 1\n", data)
}

fn mount() -> Built {
    Built::new("mount", "", "size = 1\n", Tar::default().folder("bin").file("bin/mount", b"util-linux"))
}

#[test]
fn the_base_layer_is_the_same_whatever_lies_above_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path());
    let du =
        Built::new("du", "", "size = 1\n", Tar::default().folder("usr").folder("usr/bin").file("usr/bin/du", b"gnu"));
    let layers = |packages: &[Built]| {
        let packages = read(&store, packages).unwrap();
        let layers = install_in_layers(&store, &packages, &setup(), |package| package.name() == "busybox").unwrap();
        // One above the other they are the whole.
        let mut merged = layers.base.clone();
        merged.entries.extend(layers.additional.clone().entries);
        merged.entries.extend(layers.records.clone().entries);
        assert_eq!(merged, assemble(&store, &packages).tree);
        layers
    };
    let (alone, more, other) = (layers(&[busybox()]), layers(&[busybox(), mount()]), layers(&[busybox(), du]));
    assert_eq!(alone.base, more.base);
    assert_eq!(alone.base, other.base);
    assert_eq!(alone.additional, Tree::new());
    let paths = |tree: &Tree| tree.iter().map(|(path, _)| path.to_string()).collect::<Vec<_>>();
    assert_eq!(paths(&more.additional), ["bin/mount"]);
    assert_eq!(paths(&other.additional), ["usr/bin/du"]);
    assert_eq!(paths(&more.records), RECORDS);
    let mount = TreePath::new("bin/mount").unwrap();
    assert_eq!(more.base.get(&mount).unwrap().node, Node::Symlink("/bin/busybox".to_owned()));
}
