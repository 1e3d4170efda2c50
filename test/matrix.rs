//! What is said of a matrix, a filter or a lock that is not as it should be, and what a build does about it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
};

use support::fixture::{Fixture, fails, hex, succeeds};

#[test]
fn every_word_of_a_filter_is_one_that_the_matrix_has() {
    let fixture = Fixture::new();
    let unknown: [(&[&str], &[&str]); 7] = [
        (&["--variant", "plain,kubeproxy"], &["no `kubeproxy`: did you mean `kube-proxy`?", "plain, extra, kube-proxy"]),
        (&["--variant", "plain,"], &["no ``", "--variant takes"]),
        (&["--variant", "xyzzy", "--base", "plan9"], &["no `xyzzy`", "no `plan9`", "--base takes: alpine3.0"]),
        (&["--kubernetes", "1.26.0,1.99.0"], &["no `1.99.0`", "--kubernetes takes: 1.26.0"]),
        (&["--kubernetes", ">=1.27"], &["no `>=1.27`"]),
        (&["--base", "alpine3.0", "--base", "alpine3.1"], &["no `alpine3.1`: did you mean `alpine3.0`?"]),
        (&["--platform", "linux/amd64,linux/arm64"], &["no `linux/arm64`", "--platform takes: linux/amd64"]),
    ];
    fixture.edit("m/matrix.toml", "base = ", "platforms = [\"linux/amd64\"]\nbase = ");
    for (arguments, expected) in unknown {
        let message = fails(fixture.mirrored(&["matrix", "build"]).args(arguments), 2);
        for part in expected {
            assert!(message.contains(part), "{part} is not in: {message}");
        }
    }
    assert!(!fixture.path("m/dist").exists());
    succeeds(fixture.kletimg(&["matrix", "plan"]).args(["--platform", "all", "--kubernetes", "1.26"]));
}

/// Where the store has what the fixture publishes under a name.
fn stored(fixture: &Fixture, name: &str) -> PathBuf {
    fixture.path("store/blobs/sha256").join(hex(&fs::read(fixture.path(&format!("upstream/{name}"))).unwrap()))
}

fn damage(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_damaged_input_of_the_store_is_not_used() {
    let expected = Fixture::new().build();
    let (kubelet, base) = ("kubelet-amd64", "base-aarch64.tar.gz");
    for damaged in [&b"#!/bin/sh\necho another amd64\n"[..], b"#!/bin/sh\n", b""] {
        let fixture = Fixture::new();
        succeeds(&mut fixture.mirrored(&["matrix", "fetch"]));
        for name in [kubelet, base] {
            damage(&stored(&fixture, name), damaged);
        }
        let output = succeeds(&mut fixture.mirrored(&["matrix", "build", "--locked"]));
        let notes = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(notes.contains("kubelet 1.26.0 linux/amd64 was damaged and is fetched anew"), "{notes}");
        assert!(notes.contains("base alpine3.0 linux/arm64 was damaged and is fetched anew"), "{notes}");
        assert_eq!(fixture.index(), expected);
        assert_eq!(fs::read(stored(&fixture, kubelet)).unwrap(), fs::read(fixture.path("upstream/kubelet-amd64")).unwrap());
    }
}

#[test]
fn a_build_of_what_is_there_reads_no_input() {
    let fixture = Fixture::new();
    let expected = fixture.build();
    let archives = ["x86_64", "aarch64", "armv7"].map(|arch| format!("base-{arch}.tar.gz"));
    let tools = ["amd64", "arm64", "arm"].map(|arch| format!("tool-{arch}.tar.gz"));
    for name in archives.iter().chain(&tools) {
        fs::remove_file(stored(&fixture, name)).unwrap();
    }
    succeeds(&mut fixture.kletimg(&["matrix", "build", "--locked", "--offline"]));
    assert_eq!(fixture.index(), expected);
}

#[test]
fn what_may_have_been_made_from_a_damaged_file_is_made_anew() {
    let fixture = Fixture::new();
    let expected = fixture.build();
    damage(&stored(&fixture, "tool-arm.tar.gz"), b"no archive");
    let verified = fixture.kletimg(&["cache", "verify"]).output().unwrap();
    let told = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert_eq!(verified.status.code(), Some(3), "{told}");
    assert!(told.contains("results forgotten"), "{told}");
    assert!(!fixture.path("store/actions").exists());
    assert_eq!(fixture.build(), expected);
}
