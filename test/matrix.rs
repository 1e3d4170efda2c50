//! What is said of a matrix, a filter or a lock that is not as it should be, and what a build does about it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use kletimg::base::Platform;
use support::{
    fixture::{Fixture, fails, hex, state, succeeds},
    parts,
};

#[test]
fn every_word_of_a_filter_is_one_that_the_matrix_has() {
    let fixture = Fixture::new();
    let unknown: [(&[&str], &[&str]); 7] = [
        (
            &["--variant", "plain,kubeproxy"],
            &["no `kubeproxy`: did you mean `kube-proxy`?", "plain, extra, kube-proxy"],
        ),
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
        assert_eq!(
            fs::read(stored(&fixture, kubelet)).unwrap(),
            fs::read(fixture.path("upstream/kubelet-amd64")).unwrap()
        );
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

/// The kubelet of the fixture as a file on this machine.
fn with_local_kubelet() -> Fixture {
    let fixture = Fixture::new();
    fixture.edit("m/matrix.toml", "base = ", "platforms = [\"linux/amd64\"]\nbase = ");
    fixture.write(
        "m/components/kubelet.toml",
        "daemon = true\ndirectory = \"/usr/bin\"\n[[way]]\nkind = \"file\"\npath = \"kubelet\"\n",
    );
    fixture.write("m/components/kubelet", "#!/bin/sh\necho one\n");
    fixture
}

#[test]
fn a_local_file_is_pinned_like_any_other_input() {
    let fixture = with_local_kubelet();
    let first = fixture.build();
    let lock = fs::read_to_string(fixture.path("m/matrix.lock")).unwrap();
    assert!(lock.contains("url = \"file:components/kubelet\""), "{lock}");
    // The name of the file in the lock is the same wherever kletimg is started.
    let file = fixture.path("m/matrix.toml").display().to_string();
    succeeds(fixture.mirrored(&["matrix", "build", "--locked", "--file", &file]).current_dir(fixture.path("")));
    fixture.write("m/components/kubelet", "#!/bin/sh\necho two\n");
    let message = fails(&mut fixture.mirrored(&["matrix", "build", "--locked"]), 1);
    assert!(message.contains("components/kubelet is not what matrix.lock pins"), "{message}");
    assert!(message.contains("kletimg matrix lock --update kubelet"), "{message}");
    fails(&mut fixture.mirrored(&["matrix", "lock", "--locked"]), 2);
    assert_eq!(fixture.index(), first);
    let output = succeeds(&mut fixture.mirrored(&["matrix", "build"]));
    let notes = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(notes.contains("components/kubelet has changed since it was locked and is pinned anew"), "{notes}");
    assert_ne!(fixture.index(), first);
    fixture.write("m/components/kubelet", "#!/bin/sh\necho one\n");
    succeeds(&mut fixture.mirrored(&["matrix", "lock", "--update", "kubelet"]));
    succeeds(&mut fixture.mirrored(&["matrix", "build", "--locked"]));
    assert_eq!(fixture.index(), first);
}

#[test]
fn a_local_file_that_is_missing_is_named_before_anything_is_built() {
    let fixture = with_local_kubelet();
    fs::remove_file(fixture.path("m/components/kubelet")).unwrap();
    let plan = succeeds(&mut fixture.kletimg(&["matrix", "plan"]));
    let text = String::from_utf8_lossy(&plan.stdout).into_owned();
    assert!(text.contains("components/kubelet is not there"), "{text}");
}

#[test]
fn what_could_be_pinned_stays_pinned_when_something_else_could_not() {
    let fixture = Fixture::new();
    fs::remove_file(fixture.path("upstream/kubelet-arm64")).unwrap();
    let message = fails(&mut fixture.mirrored(&["matrix", "build"]), 1);
    assert!(message.contains("kubelet 1.26.0 linux/arm64"), "{message}");
    let lock = fs::read_to_string(fixture.path("m/matrix.lock")).unwrap();
    assert_eq!(lock.matches("[[input]]").count(), 8, "{lock}");
    // What is to be pinned anew stays as it was when that fails.
    fails(&mut fixture.mirrored(&["matrix", "lock", "--update"]), 1);
    assert_eq!(fs::read_to_string(fixture.path("m/matrix.lock")).unwrap(), lock);
}

#[test]
fn builds_at_the_same_time_keep_what_each_of_them_pins() {
    for _ in 0..4 {
        let fixture = Fixture::new();
        fixture.edit("m/matrix.toml", "source-date-epoch = 1600000000\n", "");
        let platforms = ["linux/amd64", "linux/arm64", "linux/arm/v7"];
        let children = platforms.map(|platform| {
            let dest = format!("type=oci,dest={}", platform.replace('/', "-"));
            let mut command = fixture.mirrored(&["matrix", "build", "--platform", platform, "--output", &dest]);
            command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap()
        });
        for mut child in children {
            assert!(child.wait().unwrap().success());
        }
        succeeds(&mut fixture.mirrored(&["matrix", "lock", "--locked"]));
    }
}

#[test]
fn a_packed_program_that_has_no_check_is_built_once() {
    let (Some(cc), Some(_), Some(host)) = (parts::program("cc"), parts::program("upx"), Platform::host()) else {
        return;
    };
    let fixture = Fixture::new();
    fixture.edit("m/matrix.toml", "base = ", &format!("platforms = [\"{host}\"]\nbase = "));
    fixture
        .write("m/components/tool.toml", "directory = \"/opt/bin\"\n[[way]]\nkind = \"file\"\npath = \"../../tool\"\n");
    fixture.write("tool.c", "#include <stdio.h>\nint main(void) { return printf(\"tool\\n\") < 0; }\n");
    succeeds(Command::new(cc).args(["-static", "-o", "tool", "tool.c"]).current_dir(fixture.path("")));
    let output = succeeds(&mut fixture.mirrored(&["matrix", "build"]));
    let notes = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(notes.contains("no check is declared for it"), "{notes}");
    let before = state(&fixture.path(""));
    let output = succeeds(&mut fixture.mirrored(&["matrix", "build", "--locked"]));
    let notes = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!notes.contains("shrink"), "{notes}");
    assert_eq!(state(&fixture.path("")), before);
}

#[test]
fn what_the_texts_alone_do_not_tell_is_found_before_the_build() {
    let cases = [
        ("m/matrix.toml", "source-date-epoch", "pack = \"-9 --brute\"\nsource-date-epoch", "matrix.toml:6:8: "),
        ("m/variants/plain.toml", "text = \"hello\\n\"", "source = \"motd\"", "there is no file variants/motd"),
    ];
    for (file, from, to, expected) in cases {
        let fixture = Fixture::new();
        fixture.edit(file, from, to);
        let message = fails(&mut fixture.kletimg(&["matrix", "plan"]), 2);
        assert!(message.contains(expected), "{message}");
        assert!(message.contains("1 problem found"), "{message}");
    }
}

#[test]
fn one_cause_is_told_once() {
    let fixture = Fixture::new();
    let message = fails(&mut fixture.kletimg(&["matrix", "build", "--offline"]), 1);
    assert_eq!(message.matches("error: ").count(), 1, "{message}");
    assert!(message.contains("likewise: ") && message.contains("tool 1.26.0 linux/arm64"), "{message}");
    fixture.write("taken", "no folder");
    let store = fixture.path("taken").display().to_string();
    let message = fails(&mut fixture.mirrored(&["matrix", "build", "--store", &store]), 1);
    assert_eq!(message.matches("error: ").count(), 1, "{message}");
}

#[test]
fn a_matrix_file_that_is_no_text_is_wrong_usage() {
    let fixture = Fixture::new();
    fixture.write("m/latin.toml", b"repository = \"\xe9\"");
    for file in ["latin.toml", "variants"] {
        let message = fails(&mut fixture.kletimg(&["matrix", "plan", "--file", file]), 2);
        assert!(message.contains("`--file`") && message.contains(file), "{message}");
    }
    let message = fails(&mut fixture.kletimg(&["image", "ls", "registry.invalid/x:1", "--ca-cert", "/nonexist"]), 2);
    assert!(message.contains("--ca-cert"), "{message}");
}
