//! Everything that may be wrong with a repository, through the command: what is said, and that nothing is half-written.

use std::{fs, process::Command};

use super::{
    MATRIX,
    repository::{Built, Tar, gzip, index, signature},
    support::fixture::{Fixture, fails, hex, succeeds},
};

const BASE: &str = r#"
keys = ["keys/test.rsa.pub"]
[[repositories]]
url = "https://packages.invalid/main"
[[packages]]
names = ["a"]
why = "what is asked for"
"#;

pub(crate) struct Repository {
    pub(crate) fixture: Fixture,
}

impl Repository {
    pub(crate) fn new() -> Self {
        let fixture = Fixture::new();
        fixture.write("m/matrix.toml", MATRIX);
        fixture.write("m/alpine/3.19.toml", BASE);
        fixture.write("m/alpine/keys/test.rsa.pub", include_str!("../apk/key.rsa.pub"));
        fixture.write("m/alpine/keys/stranger.rsa.pub", include_str!("../apk/stranger.rsa.pub"));
        Self { fixture }
    }

    pub(crate) fn publish(&self, index: &[u8], packages: &[Built]) {
        let _ = fs::remove_dir_all(self.fixture.path("repository"));
        self.fixture.write("repository/x86_64/APKINDEX.tar.gz", index);
        for package in packages {
            self.fixture.write(&format!("repository/x86_64/{}-1-r0.apk", package.name), package.bytes());
        }
    }

    pub(crate) fn build(&self) -> Command {
        self.kletimg(&["matrix", "build"])
    }

    pub(crate) fn kletimg(&self, arguments: &[&str]) -> Command {
        let mut command = self.fixture.mirrored(arguments);
        let folder = self.fixture.path("repository");
        command.arg("--mirror").arg(format!("https://packages.invalid/main=file://{}", folder.display()));
        command
    }

    /// A build must fail, say this, and leave no image, no lock that pins what was refused, and no temporary file.
    fn refuses(&self, what: &str, expected: &[&str]) {
        let error = fails(&mut self.build(), 1);
        for text in expected {
            assert!(error.contains(text), "{what}: {text} is not in: {error}");
        }
        assert!(!self.fixture.path("m/dist").exists(), "{what}");
        let lock = fs::read_to_string(self.fixture.path("m/matrix.lock")).unwrap_or_default();
        // What has nothing to do with it may be pinned.
        assert!(!lock.contains("packages.invalid") || what == "one path", "{what}: {lock}");
    }
}

fn files() -> Tar {
    Tar::default().folder("usr").file("usr/a", b"bytes")
}

fn a(data: Tar) -> Built {
    Built::new("a", "", "size = 1\n", data)
}

/// The bytes of an index without their signature.
fn unsigned(signed: &[u8]) -> Vec<u8> {
    let rest = &signed[10..];
    rest[rest.windows(3).position(|bytes| bytes == [0x1f, 0x8b, 8]).unwrap()..].to_vec()
}

#[test]
fn indexes_that_nobody_should_trust_are_refused() {
    let repository = Repository::new();
    let good = index(&a(files()).record());
    repository.publish(&unsigned(&good), &[a(files())]);
    repository.refuses("unsigned", &["the index of https://packages.invalid/main", "is not signed", "allow-unsigned"]);

    let other = unsigned(&index(&(a(files()).record() + "\n")));
    let swapped = [&good[..good.len() - unsigned(&good).len()], &other].concat();
    repository.publish(&swapped, &[a(files())]);
    repository.refuses("other bytes", &["test.rsa.pub is not of these bytes"]);

    let wrong = [signature(b"something else"), unsigned(&good)].concat();
    repository.publish(&wrong, &[a(files())]);
    repository.refuses("wrong signature", &["test.rsa.pub is not of these bytes"]);

    for (index, text) in [(&b""[..], "gzip archive"), (b"<html>", "gzip archive"), (&good[..5], "ends too early")] {
        repository.publish(index, &[a(files())]);
        repository.refuses("no index", &["the index of https://packages.invalid/main", text]);
    }

    repository.publish(&good[..good.len() - 20], &[a(files())]);
    repository.refuses("truncated", &["the index of https://packages.invalid/main"]);

    repository.publish(&good, &[a(files())]);
    repository.fixture.edit("m/alpine/3.19.toml", "keys/test", "keys/stranger");
    repository.refuses("unknown key", &["signed by test.rsa.pub, which is not among the keys"]);

    // Both will do where the definition says so, for this repository; a known key's wrong signature never does.
    let url = "url = \"https://packages.invalid/main\"";
    repository.fixture.edit("m/alpine/3.19.toml", url, &format!("{url}\nallow-unsigned = true"));
    succeeds(&mut repository.build());
    let lock = fs::read_to_string(repository.fixture.path("m/matrix.lock")).unwrap();
    assert!(lock.contains("unsigned as allowed"), "{lock}");

    // What was accepted on that word is locked no more when the word is taken back.
    succeeds(&mut repository.kletimg(&["matrix", "build", "--locked"]));
    repository.fixture.edit("m/alpine/3.19.toml", "allow-unsigned = true", "");
    let error = fails(&mut repository.kletimg(&["matrix", "build", "--locked"]), 2);
    assert!(error.contains("packages of alpine3.19 linux/amd64"), "{error}");
    let error = fails(&mut repository.kletimg(&["matrix", "lock"]), 1);
    assert!(error.contains("which is not among the keys"), "{error}");
    repository.fixture.edit("m/alpine/3.19.toml", "keys/stranger", "keys/test");
    succeeds(&mut repository.kletimg(&["matrix", "lock"]));
    let lock = fs::read_to_string(repository.fixture.path("m/matrix.lock")).unwrap();
    assert!(
        !lock.contains("unsigned as allowed") && lock.contains("APKINDEX.tar.gz, signed by test.rsa.pub"),
        "{lock}"
    );
    repository.fixture.edit("m/alpine/3.19.toml", "keys/test", "keys/stranger");
    repository.fixture.edit("m/alpine/3.19.toml", url, &format!("{url}\nallow-unsigned = true"));
    fs::remove_file(repository.fixture.path("m/matrix.lock")).unwrap();
    fs::remove_dir_all(repository.fixture.path("m/dist")).unwrap();
    repository.fixture.edit("m/alpine/3.19.toml", "keys/stranger", "keys/test");
    repository.publish(&wrong, &[a(files())]);
    repository.refuses("wrong signature, unsigned allowed", &["test.rsa.pub is not of these bytes"]);
}

#[test]
fn broken_records_are_named_by_their_line() {
    let repository = Repository::new();
    let record = |number: usize| format!("C:Q1qZk+NkcGgWq6PiVxeFDCbJzQ2J0=\nP:p{number}\nV:1-r0\nS:1\nI:1\n\n");
    let nameless = "C:Q1qZk+NkcGgWq6PiVxeFDCbJzQ2J0=\nV:1-r0\n\n";
    repository.publish(&index(&(a(files()).record() + "\n" + nameless)), &[a(files())]);
    repository.refuses("nameless", &["the index of https://packages.invalid/main", "has no name (P)"]);

    let mut records: Vec<String> = (0..23_000).map(record).collect();
    records[20_000] = record(20_000).replace("V:1-r0", "V:one");
    repository.publish(&index(&records.concat()), &[a(files())]);
    repository.refuses("one of many", &["line 120003 of the index: `one` is not a package version"]);
}

#[test]
fn packages_that_are_not_what_was_promised_are_refused() {
    let repository = Repository::new();
    let promised = || a(files());
    let mut record = promised().record();
    repository.publish(&index(&record), &[a(files().file("usr/b", b"more"))]);
    repository.refuses("another package", &["a-1-r0"]);
    let size = |built: &Built| format!("S:{}", built.bytes().len());
    let other = a(files().file("usr/b", b"more"));
    record = record.replace(&size(&promised()), &size(&other));
    repository.publish(&index(&record), &[other]);
    repository.refuses("another package of its size", &["a-1-r0", "its control part has the checksum"]);

    let mut package = promised();
    let length = package.data.len();
    package.data = gzip(&files().file("usr/c", b"").whole());
    package.data.resize(length, 0);
    repository.publish(&index(&promised().record()), &[package]);
    repository.refuses("datahash", &["a-1-r0", "its data part has the digest"]);

    let mut package = promised();
    package.data.truncate(package.data.len() - 1);
    repository.publish(&index(&promised().record()), &[package]);
    repository.refuses("truncated", &["a-1-r0"]);

    for (path, expected) in [("../../etc/cron", "leaves its root"), ("/etc/cron", "is absolute")] {
        let package = a(files().file(path, b"x"));
        repository.publish(&index(&package.record()), &[package]);
        repository.refuses(path, &["a-1-r0", expected]);
    }
}

#[test]
fn requests_that_cannot_be_met_are_refused() {
    let repository = Repository::new();
    let b = || Built::new("b", "D:!a\n", "size = 1\ndepend = !a\n", Tar::default().folder("opt"));
    let records = a(files()).record() + "\n" + &b().record();
    repository.publish(&index(&records), &[a(files()), b()]);
    repository.fixture.edit("m/alpine/3.19.toml", "[\"a\"]", "[\"a\", \"b\"]");
    repository.refuses("conflict", &["choosing the packages of alpine3.19 linux/amd64", "b-1-r0 refuses it with `!a`"]);
    repository.fixture.edit("m/alpine/3.19.toml", "\"b\"", "\"c\"");
    repository.refuses("unknown", &["no repository has `c` (asked for by the list of packages)"]);
    repository.fixture.edit("m/alpine/3.19.toml", "[\"a\", \"c\"]", "[\"a>2\"]");
    repository.refuses("unsatisfiable", &["`a>2` was asked for, but only a-1-r0 can be installed"]);
    repository.fixture.edit("m/alpine/3.19.toml", "a>2", "a>>");
    repository.refuses("no dependency", &["`a>>` is not a dependency"]);

    let b = || Built::new("b", "", "size = 1\n", files());
    let records = a(files()).record() + "\n" + &b().record();
    repository.publish(&index(&records), &[a(files()), b()]);
    repository.fixture.edit("m/alpine/3.19.toml", "\"a>>\"", "\"a\", \"b\"");
    repository.refuses("one path", &["a-1-r0 and b-1-r0 both bring the file `usr/a`"]);
}

/// Alpine never does it, but whoever has a repository of their own may.
#[test]
fn a_package_that_was_published_anew_under_its_version_is_pinned_anew() {
    let repository = Repository::new();
    let publish = |package: Built| {
        repository.publish(&index(&package.record()), std::slice::from_ref(&package));
        hex(&package.bytes())
    };
    let pins = |digest: &str| {
        let lock = fs::read_to_string(repository.fixture.path("m/matrix.lock")).unwrap();
        lock.contains(digest)
    };
    let first = publish(a(files()));
    succeeds(&mut repository.build());
    assert!(pins(&first));
    // As long as before, and the store has the old one.
    let second = publish(a(Tar::default().folder("usr").file("usr/a", b"byteS")));
    succeeds(&mut repository.kletimg(&["matrix", "lock", "--update", "alpine3.19"]));
    assert!(pins(&second) && !pins(&first));
    fs::remove_dir_all(repository.fixture.path("store")).unwrap();
    succeeds(&mut repository.build());

    // And when the store has none.
    fs::remove_dir_all(repository.fixture.path("store")).unwrap();
    let third = publish(a(Tar::default().folder("usr").file("usr/a", b"bYtes")));
    succeeds(&mut repository.kletimg(&["matrix", "lock", "--update", "alpine3.19"]));
    assert!(pins(&third) && !pins(&second));
    succeeds(&mut repository.build());
}
