//! Everything that may be wrong with indexes, packages and requests: each a clear error, and nothing half-written.

use kletimg::{
    base::{Accounts, Digest, Node, TreePath},
    inputs::{
        apk::{
            install::{Installed, Setup, install},
            repository::{Trust, VerifiedIndex},
            resolver::{Repository, World, resolve},
        },
        store::Store,
    },
};

use crate::repository::{Built, KEY, Tar, gzip, index, keys, open, read, signature, signature_by, strangers};

fn record(name: &str, lines: &str) -> String {
    format!("C:Q1qZk+NkcGgWq6PiVxeFDCbJzQ2J0=\nP:{name}\nV:1-r0\nS:1\nI:1\n{lines}\n")
}

#[test]
fn an_index_must_be_signed_by_a_known_key_over_its_bytes() {
    let good = index(&record("a", ""));
    let unsigned = good[signature(b"").len()..].to_vec();
    let unsigned = unsigned[unsigned.windows(3).position(|bytes| bytes == [0x1f, 0x8b, 8]).unwrap()..].to_vec();
    let other = index(&record("b", ""));
    let other_rest = &other[other.len() - unsigned.len()..];
    let swapped = [&good[..good.len() - unsigned.len()], other_rest].concat();
    let cases = [
        (unsigned.clone(), keys(), "the index is not signed"),
        (good.clone(), strangers(), "signed by test.rsa.pub, which is not among the keys"),
        (swapped.clone(), keys(), "the signature of the index by test.rsa.pub is not of these bytes"),
    ];
    for (bytes, keys, expected) in cases {
        let error = VerifiedIndex::open(&bytes, &keys, Trust::Signed).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert!(VerifiedIndex::open(&unsigned, &keys(), Trust::AllowUnsigned).is_ok());
    assert!(VerifiedIndex::open(&good, &strangers(), Trust::AllowUnsigned).is_ok());
    assert!(VerifiedIndex::open(&swapped, &keys(), Trust::AllowUnsigned).is_err(), "a known key's wrong signature");
    for length in 0..good.len() {
        assert!(VerifiedIndex::open(&good[..length], &keys(), Trust::Signed).is_err(), "{length}");
    }
}

#[test]
fn signatures_over_each_hash_are_known() {
    use ring::signature::{RSA_PKCS1_SHA256, RSA_PKCS1_SHA512};
    let signed = index(&record("a", ""));
    let rest = &signed[signature(b"").len()..];
    let rest = &rest[rest.windows(3).position(|bytes| bytes == [0x1f, 0x8b, 8]).unwrap()..];
    let open = |name: &str, padding| {
        let bytes = [signature_by(name, padding, rest), rest.to_vec()].concat();
        VerifiedIndex::open(&bytes, &keys(), Trust::Signed).map(|index| index.signed_by().map(str::to_owned))
    };
    for (name, padding) in [("RSA256", &RSA_PKCS1_SHA256), ("RSA512", &RSA_PKCS1_SHA512)] {
        assert_eq!(open(name, padding).unwrap().as_deref(), Some(KEY));
    }
    // A hash that the name does not promise is no signature.
    assert!(open("RSA256", &RSA_PKCS1_SHA512).is_err());
    assert!(open("RSA", &RSA_PKCS1_SHA256).is_err());
    assert!(open("RSA1024", &RSA_PKCS1_SHA512).unwrap_err().to_string().contains("is not signed"));
}

#[test]
fn a_large_index_with_one_broken_record_is_refused_by_its_line() {
    let mut records: Vec<_> = (0..23_000).map(|n| record(&format!("p{n}"), "")).collect();
    records[20_000] = "C:Q1qZk+NkcGgWq6PiVxeFDCbJzQ2J0=\nV:1-r0\n\n".to_owned();
    let error = VerifiedIndex::open(&index(&records.concat()), &keys(), Trust::Signed).unwrap_err().to_string();
    assert_eq!(error, "the record of the index that begins at line 120001 has no name (P)");
}

fn files() -> Tar {
    Tar::default().folder("usr").file("usr/a", b"bytes")
}

#[test]
fn a_package_must_be_what_the_index_says() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path());
    let refuse = |built: Built, expected: &str| {
        let error = read(&store, &[built]).unwrap_err().to_string();
        assert!(error.starts_with("reading the package a-1-r0: ") && error.contains(expected), "{expected}: {error}");
    };
    let built = |data: Tar| Built::new("a", "", "", data);
    assert_eq!(read(&store, &[built(files())]).unwrap()[0].entries.len(), 2);

    let other_data = gzip(&files().file("usr/b", b"more").whole());
    let mut package = built(files());
    package.data.clone_from(&other_data);
    refuse(package, "its data part has the digest");
    let mut package = built(files());
    package.data.truncate(package.data.len() - 1);
    refuse(package, "its data part has the digest");
    let mut package = built(files());
    package.data.clear();
    refuse(package, "its data part has the digest");
    let mut package = built(files());
    package.signature = signature(b"something else");
    refuse(package, "its signature by test.rsa.pub is not of these bytes");
    let mut package = built(files());
    package.name = "b".to_owned();
    let error = read(&store, &[package]).unwrap_err().to_string();
    assert!(error.contains("it says of itself that it is a-1-r0"), "{error}");

    // What was refused has left nothing that looks like its unpacked data.
    assert!(store.blob(&Digest::of(files().file("usr/b", b"more").whole())).is_none());
}

#[test]
fn a_package_that_differs_from_the_index_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path());
    let (promised, other) = (Built::new("a", "", "", files()), Built::new("a", "", "", files().file("usr/b", b"")));
    let select = |record: &str| {
        let index = open(record);
        resolve(&[Repository { tag: None, index: index.index() }], &World::parse(["a"]).unwrap()).unwrap()
    };
    let blob = store.put(&other.bytes()).unwrap();
    let refuse = |record: &str| {
        let selected = select(record);
        kletimg::inputs::apk::package::verify_package(&store, &blob, &selected[0], &keys()).unwrap_err().to_string()
    };
    assert!(refuse(&promised.record()).contains("the index says"), "size");
    let size = format!("S:{}", promised.bytes().len());
    let record = promised.record().replace(&size, &format!("S:{}", other.bytes().len()));
    assert!(refuse(&record).contains("its control part has the checksum"), "checksum");
}

#[test]
fn paths_and_kinds_that_no_image_should_hold_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path());
    let regular = |name: &str| files().file(name, b"");
    let of_kind = |kind, link: &str| files().entry("usr/b", kind, link, 0o644, b"");
    let cases = [
        (regular("../b"), "leaves its root"),
        (regular("usr/../../b"), "leaves its root"),
        (regular("/usr/b"), "is absolute"),
        (regular("usr/b\n"), "control characters"),
        (of_kind(tar::EntryType::Char, ""), "which is a device"),
        (of_kind(tar::EntryType::Fifo, ""), "which is a pipe"),
        (of_kind(tar::EntryType::Link, "../../etc/shadow"), "leaves its root"),
        (of_kind(tar::EntryType::GNUSparse, ""), "sparse"),
        (
            files().pax("APK-TOOLS.checksum.SHA1", &"0".repeat(40)).raw(
                "usr/b",
                tar::EntryType::Regular,
                "",
                0o644,
                b"x",
            ),
            "not what its checksum promises",
        ),
        (
            files().pax("APK-TOOLS.checksum.SHA1", "no").raw("usr/b", tar::EntryType::Regular, "", 0o644, b"x"),
            "checksum that is none",
        ),
    ];
    for (data, expected) in cases {
        let error = read(&store, &[Built::new("a", "", "", data)]).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

fn assemble(store: &Store, packages: &[Built]) -> Result<Installed, String> {
    let packages = read(store, packages).unwrap();
    let (world, keys, accounts) = (World::default(), keys(), Accounts::default());
    let setup =
        Setup { world: &world, arch: "x86_64", repositories: &[], keys: &keys, accounts: &accounts, applets: "" };
    install(store, &packages, &setup).map_err(|error| error.to_string())
}

#[test]
fn two_packages_with_one_path_are_refused_unless_one_replaces_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path());
    let b = |info: &str| Built::new("b", "", info, Tar::default().folder("usr").file("usr/a", b"other"));
    let a = |info: &str| Built::new("a", "", info, files());
    let error = assemble(&store, &[a(""), b("")]).unwrap_err();
    assert_eq!(
        error,
        "a-1-r0 and b-1-r0 both bring the file `usr/a`, and neither replaces the other: leave one of them out"
    );
    let content = |packages: &[Built]| {
        let installed = assemble(&store, packages).unwrap();
        let Node::File(content) = installed.tree.get(&TreePath::new("usr/a").unwrap()).unwrap().node.clone() else {
            panic!("not a file")
        };
        std::io::read_to_string(store.content(&content).unwrap()).unwrap()
    };
    assert_eq!(content(&[a(""), b("replaces = a\n")]), "other");
    assert_eq!(content(&[a(""), b("replaces = a<2\n")]), "other");
    assert_eq!(content(&[a("replaces = b\nreplaces_priority = 5\n"), b("replaces = a\n")]), "bytes");
    assert!(assemble(&store, &[a(""), b("replaces = a>2\n")]).is_err());

    let directory = Built::new("b", "", "", Tar::default().folder("usr").folder("usr/a"));
    let error = assemble(&store, &[a(""), directory]).unwrap_err();
    assert!(error.starts_with("`usr/a` is a directory in b-1-r0 and a file or link in a-1-r0"), "{error}");
    for through in [
        Tar::default().folder("usr").entry("usr/l", tar::EntryType::Symlink, "../etc", 0o777, b"").file("usr/l/b", b""),
        Tar::default().folder("usr").entry("usr/l", tar::EntryType::Symlink, "../etc", 0o777, b"").folder("usr/l"),
    ] {
        let error = assemble(&store, &[Built::new("b", "", "", through)]).unwrap_err();
        assert!(error.contains("`usr/l") && error.contains("director"), "{error}");
    }
    let homeless = Built::new("b", "", "", Tar::default().file("var/b", b""));
    let error = assemble(&store, &[homeless]).unwrap_err();
    assert!(error.starts_with("b-1-r0 brings `var/b` but not the directory"), "{error}");
}

#[test]
fn requests_that_cannot_be_met_are_explained_in_their_own_words() {
    let record = |name: &str, version: &str, lines: &str| {
        let checksum = kletimg::inputs::apk::checksum::Checksum::of(format!("{name}-{version}").as_bytes());
        format!("C:{checksum}\nP:{name}\nV:{version}\nS:1\nI:1\n{lines}\n")
    };
    let records = [
        record("kubelet", "1.28.4-r3", "D:iptables\n"),
        record("iptables", "1.8-r0", ""),
        record("old", "1-r0", "D:!iptables\n"),
        record("new", "1-r0", "D:lib>=2\n"),
        record("lib", "1-r0", ""),
        record("exim", "1-r0", "p:mta\n"),
        record("postfix", "1-r0", "p:mta\n"),
        record("mailer", "1-r0", "D:mta\n"),
        record("one", "1-r0", "p:same=1\n"),
        record("two", "1-r0", "p:same=2\n"),
    ]
    .concat();
    let index = open(&records);
    let edge = open(&record("kubelet", "1.30-r0", "D:iptables\n"));
    let repositories =
        [Repository { tag: None, index: index.index() }, Repository { tag: Some("edge"), index: edge.index() }];
    let cases = [
        ("cri-tools", "no repository has `cri-tools` (asked for by the list of packages): check its spelling"),
        ("kubelet>=1.35", "`kubelet>=1.35` was asked for, but only kubelet-1.28.4-r3 can be installed"),
        (
            "kubelet old",
            "iptables-1.8-r0 (asked for by kubelet-1.28.4-r3) would be installed, but old-1-r0 refuses it with `!iptables`",
        ),
        ("new", "new-1-r0 needs `lib>=2`, but only lib-1-r0 can be installed"),
        ("mailer", "`mta` (asked for by mailer-1-r0) is provided by exim-1-r0, postfix-1-r0: add the one you want"),
        ("one two", "one-1-r0 and two-1-r0 cannot be together: both provide `same`"),
        ("kubelet=1.30-r0", "kubelet-1.30-r0 (asked for by the list of packages) is only in repositories tagged @edge"),
        ("kubelet@none", "asks for the repository tag @none, which no repository has"),
    ];
    for (request, expected) in cases {
        let error = resolve(&repositories, &World::parse(request.split(' ')).unwrap()).unwrap_err().to_string();
        assert!(error.contains(expected), "{request}: {error}");
    }
    let titles = |request: &str| -> Vec<String> {
        let selected = resolve(&repositories, &World::parse(request.split(' ')).unwrap()).unwrap();
        let title = |selected: &kletimg::inputs::apk::resolver::Selected| {
            format!("{}{:?}", selected.package().file_name(), selected.tag)
        };
        selected.iter().map(title).collect()
    };
    assert_eq!(titles("kubelet"), ["iptables-1.8-r0.apkNone", "kubelet-1.28.4-r3.apkNone"]);
    assert_eq!(titles("kubelet@edge"), ["iptables-1.8-r0.apkNone", "kubelet-1.30-r0.apkSome(\"edge\")"]);
}

/// Here apk itself says that its reporter "did not find the broken constraints": what the search stumbled over is not
/// needed by what it ends with.
#[test]
fn a_refusal_has_a_reason_even_where_apk_knows_none() {
    let record = |name: &str, version: &str, lines: &str| {
        let checksum = kletimg::inputs::apk::checksum::Checksum::of(format!("{name}-{version}").as_bytes());
        format!("C:{checksum}\nP:{name}\nV:{version}\nS:1\nI:1\n{lines}\n")
    };
    let first = [
        record("a", "1.1-r1", "D:!g>~2.0_p1-r3 g cmd:y\np:g\nk:100\ni:v h\n"),
        record("a", "1.0-r0", "D:g>1.1-r0 a !a\ni:g\n"),
        record("c", "2.0", "p:v\n"),
        record("e", "2.0_p1-r3", "D:w<=3_alpha2-r0 i=1 i<~2\n"),
        record("f", "1", "D:c\ni:w\n"),
        record("f", "1.1-r1", "D:f=1.0-r0\np:b i\n"),
        record("f", "1.0-r0", ""),
        record("h", "2.0", "k:10\n"),
        record("i", "1.10", "D:h<=1.1-r1\np:h=1.1-r0\n"),
    ];
    let second = [
        record("a", "2.0_rc1", "D:c e\n"),
        record("b", "2", "D:h\np:g\ni:so:x\n"),
        record("d", "2.0_p1-r3", "D:b\ni:i~2.0_rc1\n"),
        record("g", "1", "D:!v\np:d\n"),
        record("h", "2", "D:h !so:x>1.1-r0\np:e=2\n"),
    ];
    let indexes = [open(&first.concat()), open(&second.concat())];
    let repositories = indexes.each_ref().map(|index| Repository { tag: None, index: index.index() });
    let error = resolve(&repositories, &World::parse(["b", "g"]).unwrap()).unwrap_err().to_string();
    assert!(error.lines().count() > 1, "{error}");
}
