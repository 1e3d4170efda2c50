//! Bases of Alpine packages, from a definition to an image, with a repository that Alpine signed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_macros, reason = "a test says why it is skipped")]

mod support;

#[path = "alpine/definitions.rs"]
mod definitions;
#[allow(dead_code, reason = "the indexes of a whole release are for the tests of the resolver")]
#[path = "apk/reference.rs"]
mod reference;
#[path = "alpine/refusals.rs"]
mod refusals;
#[allow(dead_code, reason = "reading packages is for the tests of the library")]
#[path = "apk/repository.rs"]
mod repository;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use support::{
    fixture::{Fixture, HOST, fails, hex, succeeds},
    parts,
};

/// Where the real repository is published.
const REPOSITORY: &str = "https://dl-cdn.alpinelinux.org/alpine/v3.19/main";

const MATRIX: &str = r#"
repository = "docker.io/example/kubelet"
kubernetes = ["1.26.0"]
platforms = ["linux/amd64"]
variants = ["plain"]
base = "alpine3.19"
source-date-epoch = 1600000000
"#;

const BASE: &str = r#"
keys = [KEYS]
[[repositories]]
url = "https://dl-cdn.alpinelinux.org/alpine/v3.19/main"
[[packages]]
names = ["alpine-baselayout", "busybox", "busybox-binsh", "apk-tools", "musl-utils", "ca-certificates-bundle"]
why = "every image has them"
[[packages]]
names = ["e2fsprogs", "openssh-client-default"]
kubernetes = ">=1.20"
why = "some versions need them"
"#;

/// A matrix on the real repository, which is copied so that it can be changed.
struct Alpine {
    fixture: Fixture,
}

impl Alpine {
    fn new() -> Option<Self> {
        let data = parts::alpine_data()?;
        let fixture = Fixture::new();
        fixture.write("m/matrix.toml", MATRIX);
        let keys = reference::alpine_keys(&data);
        let mut names = Vec::new();
        for (name, pem) in keys.iter() {
            fixture.write(&format!("m/alpine/keys/{name}"), pem);
            names.push(format!("\"keys/{name}\""));
        }
        fixture.write("m/alpine/3.19.toml", BASE.replace("KEYS", &names.join(", ")));
        let copy = Self { fixture };
        for file in fs::read_dir(data.join("repo-3.19.1/x86_64")).unwrap() {
            let file = file.unwrap();
            let to = copy.repository().join(file.file_name());
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(file.path(), &to).unwrap();
            fs::set_permissions(&to, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        }
        Some(copy)
    }

    fn repository(&self) -> PathBuf {
        self.fixture.path("repository/x86_64")
    }

    /// kletimg with the copy in the place of the original.
    fn kletimg(&self, arguments: &[&str]) -> Command {
        let mut command = self.fixture.mirrored(arguments);
        let copy = self.fixture.path("repository");
        command.arg("--mirror").arg(format!("{REPOSITORY}=file://{}", copy.display()));
        command
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_slice(&succeeds(&mut self.fixture.kletimg(arguments)).stdout).unwrap()
    }

    fn layers(&self) -> Vec<(String, PathBuf)> {
        layers(&self.fixture)
    }
}

/// The layers of the only image, lowest first: their names and the files of their blobs.
fn layers(fixture: &Fixture) -> Vec<(String, PathBuf)> {
    let blob = |digest: &Value| {
        let hex = digest.as_str().unwrap().trim_start_matches("sha256:").to_owned();
        fixture.path("m/dist/blobs/sha256").join(hex)
    };
    let read = |path: &Path| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    let top = read(&fixture.path("m/dist/index.json"));
    let index = read(&blob(&top["manifests"][0]["digest"]));
    let manifest = read(&blob(&index["manifests"][0]["digest"]));
    let config = read(&blob(&manifest["config"]["digest"]));
    let names =
        config["history"].as_array().unwrap().iter().map(|step| step["created_by"].as_str().unwrap().to_owned());
    let blobs = manifest["layers"].as_array().unwrap().iter().map(|layer| blob(&layer["digest"]));
    names.zip(blobs).collect()
}

#[test]
fn apk_finds_its_own_in_an_image_of_packages() {
    let Some(alpine) = Alpine::new() else { return };
    let Some(()) = reference::chroot() else { return };
    succeeds(&mut alpine.kletimg(&["matrix", "build"]));
    let root = tempfile::tempdir().unwrap();
    let layers = alpine.layers();
    let order: Vec<_> = ["base", "packages", "configuration", "kubelet", "package-database"].into();
    assert_eq!(layers.len(), order.len(), "{layers:?}");
    for ((history, blob), name) in layers.iter().zip(order) {
        assert!(history.contains(name), "{history} is not of {name}");
        reference::run(Command::new("tar").arg("xpzf").arg(blob).arg("-C").arg(root.path()));
    }
    // As a runtime would.
    reference::run(Command::new("mknod").arg(root.path().join("dev/null")).args(["c", "1", "3"]));
    let inside = |arguments: &[&str]| {
        let output = Command::new("chroot").arg(root.path()).args(arguments).output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{arguments:?}: {text}");
        text
    };
    // What the variant lays over the packages is all that differs from them.
    assert_eq!(inside(&["/sbin/apk", "audit", "--system"]), "");
    let differs = inside(&["/sbin/apk", "audit"]);
    let differs: Vec<_> = differs.lines().filter(|line| !line.starts_with("A etc/apk/")).collect();
    assert_eq!(differs, ["U etc/motd"], "the variant's file, and what apk's own packages do not bring");
    let listed = inside(&["/sbin/apk", "info", "-vv"]);
    for name in ["busybox-1.36.1-r15", "e2fsprogs-1.47.0-r5", "openssh-client-default-9.6_p1-r0"] {
        assert!(listed.contains(name), "{listed}");
    }
    let added = inside(&["/sbin/apk", "add", "--no-network", "--repositories-file", "/dev/null"]);
    assert!(added.contains("OK: ") && !added.contains("ERROR"), "{added}");
    assert_eq!(
        inside(&["/bin/sh", "-c", "ls /usr/bin/kubelet && test -L /bin/ls && echo ok"]),
        "/usr/bin/kubelet\nok\n"
    );
}

#[test]
fn the_layer_of_shared_packages_does_not_know_the_others() {
    let Some(alpine) = Alpine::new() else { return };
    let base = |alpine: &Alpine| {
        succeeds(&mut alpine.kletimg(&["matrix", "build"]));
        let layers = alpine.layers();
        layers.iter().map(|(name, blob)| (name.clone(), hex(&fs::read(blob).unwrap()))).collect::<Vec<_>>()
    };
    let with = base(&alpine);
    alpine.fixture.edit("m/alpine/3.19.toml", ">=1.20", "<1.20");
    let without = base(&alpine);
    assert_eq!(with[0], without[0]);
    assert_eq!((with.len(), without.len()), (5, 4));
    assert_ne!(with[4], without[3], "apk's database names other packages");
}

#[test]
fn a_mirror_that_fetch_wrote_rebuilds_every_byte() {
    let Some(alpine) = Alpine::new() else { return };
    succeeds(&mut alpine.kletimg(&["matrix", "build"]));
    let index = alpine.fixture.index();
    let lock = fs::read_to_string(alpine.fixture.path("m/matrix.lock")).unwrap();
    let mirror = alpine.fixture.path("mirror");
    succeeds(alpine.kletimg(&["matrix", "fetch", "--locked"]).arg("--to").arg(&mirror));
    let published = mirror.join("dl-cdn.alpinelinux.org/alpine/v3.19/main/x86_64");
    assert!(published.join("APKINDEX.tar.gz").is_file() && published.join("busybox-1.36.1-r15.apk").is_file());

    // Alpine deletes, the store is lost, the network is down.
    fs::remove_dir_all(alpine.fixture.path("repository")).unwrap();
    fs::remove_dir_all(alpine.fixture.path("upstream")).unwrap();
    fs::remove_dir_all(alpine.fixture.path("store")).unwrap();
    fs::remove_dir_all(alpine.fixture.path("m/dist")).unwrap();
    let mut offline = alpine.fixture.kletimg(&["matrix", "build", "--locked", "--offline", "--mirror"]);
    succeeds(offline.arg(&mirror));
    assert_eq!(alpine.fixture.index(), index);

    // From the mirror alone the same packages are chosen again.
    fs::remove_file(alpine.fixture.path("m/matrix.lock")).unwrap();
    fs::remove_dir_all(alpine.fixture.path("store")).unwrap();
    for (name, sums) in [("base-x86_64.tar.gz", false), ("kubelet-amd64", true)] {
        if sums {
            let file = mirror.join("fixture.invalid").join(name);
            fs::write(file.with_file_name(format!("{name}.sha256")), hex(&fs::read(&file).unwrap())).unwrap();
        }
    }
    succeeds(alpine.fixture.kletimg(&["matrix", "lock", "--offline", "--mirror"]).arg(&mirror));
    let again = fs::read_to_string(alpine.fixture.path("m/matrix.lock")).unwrap();
    let selections = |lock: &str| lock.split("[[input]]").next().unwrap().to_owned();
    assert_eq!(selections(&again), selections(&lock));
}

#[test]
fn packages_are_chosen_from_the_index_that_the_lock_pins() {
    let Some(alpine) = Alpine::new() else { return };
    succeeds(&mut alpine.kletimg(&["matrix", "lock"]));
    let lock = || fs::read_to_string(alpine.fixture.path("m/matrix.lock")).unwrap();
    let before = lock();
    assert!(before.contains("signed by alpine-devel@lists.alpinelinux.org-6165ee59.rsa.pub"), "{before}");

    // One more package, and the mirror has another index by now.
    alpine.fixture.edit("m/alpine/3.19.toml", "\"e2fsprogs\"", "\"e2fsprogs\", \"tzdata\"");
    fs::write(alpine.repository().join("APKINDEX.tar.gz"), "another").unwrap();
    succeeds(&mut alpine.kletimg(&["matrix", "lock"]));
    assert!(lock().contains("tzdata-2023d-r0.apk"), "the store still had the pinned index");

    alpine.fixture.edit("m/alpine/3.19.toml", "\"tzdata\"", "\"tzdata\", \"wget\"");
    fs::remove_dir_all(alpine.fixture.path("store")).unwrap();
    let error = fails(&mut alpine.kletimg(&["matrix", "lock"]), 1);
    assert!(error.contains("is no longer what matrix.lock pins") && error.contains("--update alpine3.19"), "{error}");

    // What is locked can be built without any index; a new choice takes the index that is there.
    alpine.fixture.edit("m/alpine/3.19.toml", ", \"wget\"", "");
    succeeds(&mut alpine.kletimg(&["matrix", "build", "--locked"]));
    let error = fails(&mut alpine.kletimg(&["matrix", "lock", "--update", "alpine3.19"]), 1);
    assert!(error.contains("the index of https://dl-cdn.alpinelinux.org/alpine/v3.19/main"), "{error}");
}

#[test]
fn the_plan_names_packages_and_the_scripts_that_nothing_stands_in_for() {
    let Some(alpine) = Alpine::new() else { return };
    alpine.fixture.edit("m/alpine/3.19.toml", "\"e2fsprogs\"", "\"e2fsprogs\", \"chrony\"");
    let before = alpine.json(&["matrix", "plan", "--print"]);
    assert_eq!(before["stock"]["selections"][0]["state"], "unpinned");
    succeeds(&mut alpine.kletimg(&["matrix", "lock"]));
    let warnings = |plan: &Value| plan["stock"]["warnings"].to_string();
    let after = alpine.json(&["matrix", "plan", "--print"]);
    assert_eq!(after["stock"]["selections"][0]["state"], "pinned");
    assert!(warnings(&after).contains("pre-install script of chrony-4.5-r0"), "{}", warnings(&after));
    let table = String::from_utf8(succeeds(&mut alpine.fixture.kletimg(&["matrix", "plan"])).stdout).unwrap();
    assert!(table.contains("and chrony e2fsprogs openssh-client-default"), "{table}");

    let declared = "[[declared]]\npackage = \"chrony\"\nphases = [\"pre-install\"]\nwhy = \"no user is needed here\"\n";
    let definition = fs::read_to_string(alpine.fixture.path("m/alpine/3.19.toml")).unwrap();
    alpine.fixture.write("m/alpine/3.19.toml", format!("{definition}{declared}"));
    let after = alpine.json(&["matrix", "plan", "--print"]);
    assert!(!warnings(&after).contains("pre-install script of chrony"), "{}", warnings(&after));
}

#[test]
fn what_alpine_did_not_sign_is_not_used() {
    let Some(alpine) = Alpine::new() else { return };
    let refused = |expected: &[&str]| {
        let error = fails(&mut alpine.kletimg(&["matrix", "build"]), 1);
        for text in expected {
            assert!(error.contains(text), "{error}");
        }
        let lock = fs::read_to_string(alpine.fixture.path("m/matrix.lock")).unwrap_or_default();
        assert!(!lock.contains("dl-cdn.alpinelinux.org") && !alpine.fixture.path("m/dist").exists(), "{lock}");
    };
    let flip = |name: &str, from_end: usize| {
        let path = alpine.repository().join(name);
        let good = fs::read(&path).unwrap();
        let mut bad = good.clone();
        let position = bad.len() - from_end;
        bad[position] ^= 1;
        fs::write(&path, bad).unwrap();
        (path, good)
    };
    let (path, good) = flip("APKINDEX.tar.gz", 1000);
    refused(&["the index of https://dl-cdn.alpinelinux.org/alpine/v3.19/main", "signature"]);
    fs::write(path, good).unwrap();

    let (path, good) = flip("busybox-1.36.1-r15.apk", 1000);
    refused(&["busybox-1.36.1-r15", "data part has the digest"]);
    fs::write(&path, &good[..good.len() - 1]).unwrap();
    refused(&["busybox-1.36.1-r15.apk", "bytes"]);
    fs::write(path, good).unwrap();

    alpine.fixture.edit("m/alpine/3.19.toml", "-6165ee59.rsa.pub\"", "-6165ee59.rsa.pub.old\"");
    refused(&["-6165ee59.rsa.pub.old"]);
    alpine.fixture.edit("m/alpine/3.19.toml", "-6165ee59.rsa.pub.old\"", "-6165ee59.rsa.pub\"");

    alpine.fixture.edit("m/alpine/3.19.toml", "\"e2fsprogs\"", "\"e2fsprogs>2\", \"tzdata\"");
    refused(&["e2fsprogs>2", "1.47.0-r5"]);
    alpine.fixture.edit("m/alpine/3.19.toml", "e2fsprogs>2", "no-such-thing");
    refused(&["no repository has `no-such-thing`"]);
}

#[test]
fn all_that_is_wrong_with_a_definition_is_said_at_once() {
    let fixture = Fixture::new();
    fixture.write(
        "m/alpine/3.0.toml",
        r#"
[[repositories]]
url = "ftp://example.org"
[[packages]]
names = ["busybox"]
[[packages]]
names = ["ipset"]
why = "kube-proxy"
image = "kube-proxi"
[[declared]]
package = "kmod"
phases = ["post-instal"]
why = "no modules"
"#,
    );
    let error = fails(&mut fixture.kletimg(&["matrix", "plan", "--mirror", HOST]), 2);
    assert!(error.contains("mirror"), "{error}");
    let error = fails(&mut fixture.kletimg(&["matrix", "plan"]), 2);
    for expected in ["no http or https URL", "`why`", "post-install"] {
        assert!(error.contains(expected), "{error}");
    }
    fixture.edit("m/alpine/3.0.toml", "ftp", "https");
    fixture.edit("m/alpine/3.0.toml", "post-instal\"", "post-install\"");
    fixture.edit("m/alpine/3.0.toml", "[\"busybox\"]", "[\"busybox\"]\nwhy = \"the shell\"");
    let error = fails(&mut fixture.kletimg(&["matrix", "plan"]), 2);
    for expected in ["no key is given", "no variant belongs to the image `kube-proxi`", "kube-proxy"] {
        assert!(error.contains(expected), "{error}");
    }
}
