//! Publishing and proving as users do it: the program against a real registry, the Docker Engine and other tools.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod support;

#[path = "publish/copies.rs"]
mod copies;
#[path = "publish/trouble.rs"]
mod trouble;

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use kletimg::{base::Digest, images::LayoutEntry, inputs::store::Store, outputs::layout};
use serde_json::Value;
use support::{
    fixture::{Fixture, fails, hex, peak, succeeds},
    image::{self, noise},
    parts,
    registry::{Guard, RealRegistry},
};

const TAG: &str = "v1.26.0-alpine3.0";

/// The fixture's matrix with its repositories in a registry, built.
struct Built {
    fixture: Fixture,
    host: String,
}

impl Built {
    fn new(host: &str) -> Self {
        let fixture = Fixture::new();
        fixture.edit("m/matrix.toml", "docker.io/example", &format!("{host}/edge"));
        fixture.build();
        Self { fixture, host: host.to_owned() }
    }

    fn kletimg(&self, args: &[&str]) -> Command {
        let mut command = self.fixture.kletimg(args);
        command.env("DOCKER_CONFIG", self.fixture.path("docker"));
        command
    }

    /// The same against a registry with TLS and a login.
    fn trusting(&self, registry: &RealRegistry, args: &[&str]) -> Command {
        let mut command = self.kletimg(args);
        command.args(["--ca-cert"]).arg(registry.folder.path().join("ca.pem"));
        command.env("REGISTRY_AUTH_FILE", registry.login_file("edge", "s3cret"));
        command
    }

    fn reference(&self, tag: &str) -> String {
        format!("{}/edge/kubelet:{tag}", self.host)
    }
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn tool(program: &str, args: &[&str]) -> String {
    text(&succeeds(Command::new(program).args(args)))
}

/// Runs a command with this on its standard input.
fn with_input(command: &mut Command, input: &str) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// The digests that `--metadata-file` and `--format json` tell, by reference.
fn digests(value: &Value) -> Vec<(String, String)> {
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    value["tags"].as_array().unwrap().iter().map(|tag| (word(&tag["reference"]), word(&tag["digest"]))).collect()
}

#[test]
fn everybody_agrees_on_what_was_pushed() {
    let Some(registry) = RealRegistry::start(Guard::TlsAndPassword) else { return };
    let Some(_) = parts::program("skopeo") else { return };
    let built = Built::new(&registry.host);
    let dry = succeeds(&mut built.trusting(&registry, &["matrix", "push", "--dry-run"]));
    assert!(text(&dry).lines().all(|line| line.ends_with(" would be new")), "{}", text(&dry));

    let args = ["matrix", "push", "--format", "json", "--metadata-file", "meta.json", "--image-refs", "refs"];
    let pushed = json(&succeeds(&mut built.trusting(&registry, &args)));
    assert_eq!(pushed["tags"].as_array().unwrap().len(), 3);
    assert!(pushed["tags"].as_array().unwrap().iter().all(|tag| tag["change"] == "new"));
    assert_eq!(pushed["tags"][0]["platforms"].as_array().unwrap().len(), 3);
    let metadata: Value = serde_json::from_slice(&fs::read(built.fixture.path("m/meta.json")).unwrap()).unwrap();
    let mut told = digests(&metadata);
    told.sort();
    assert_eq!(told, digests(&pushed));
    let refs = fs::read_to_string(built.fixture.path("m/refs")).unwrap();
    assert_eq!(refs.lines().count(), 3);

    let again = json(&succeeds(&mut built.trusting(&registry, &args)));
    assert_eq!((&again["blobs"]["sent"], &again["blobs"]["manifests"]), (&0.into(), &0.into()));
    assert!(again["tags"].as_array().unwrap().iter().all(|tag| tag["change"] == "unchanged"));

    let login = registry.login_file("edge", "s3cret").display().to_string();
    let certificates = registry.folder.path().join("certificates");
    fs::create_dir(&certificates).unwrap();
    fs::write(certificates.join("ca.crt"), registry.authority()).unwrap();
    let certificates = certificates.display().to_string();
    for (reference, digest) in &told {
        assert!(refs.contains(&format!("{reference}@{digest}\n")), "{refs}");
        let name = format!("docker://{reference}");
        let args = ["inspect", "--authfile", &login, "--cert-dir", &certificates, "--raw", &name];
        assert_eq!(Digest::of(tool("skopeo", &args)).to_string(), *digest);
        let to = format!("dir:{}", built.fixture.path("copy").display());
        tool("skopeo", &["copy", "--all", "--authfile", &login, "--src-cert-dir", &certificates, &name, &to]);
        let verified =
            json(&succeeds(&mut built.trusting(&registry, &["image", "verify", "--format", "json", reference])));
        assert_eq!(verified["images"][0]["report"]["findings"], Value::Array(Vec::new()), "{verified}");
        assert_eq!(verified["images"][0]["report"]["platforms"].as_array().unwrap().len(), 3);
    }
}

#[test]
fn a_filter_chooses_what_is_pushed_and_must_fit_what_was_built() {
    let Some(registry) = RealRegistry::start(Guard::Open) else { return };
    let built = Built::new(&registry.host);
    let pushed = json(&succeeds(&mut built.kletimg(&["matrix", "push", "--variant", "extra", "--format", "json"])));
    let names: Vec<_> = digests(&pushed).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, [built.reference("v1.26.0-extra-alpine3.0")]);
    fails(&mut built.kletimg(&["matrix", "push", "--variant", "none"]), 2);
    built.fixture.edit("m/matrix.toml", "[\"1.26.0\"]", "[\"1.26.0\", \"1.27.0\"]");
    let message = fails(&mut built.kletimg(&["matrix", "push", "--kubernetes", "1.27"]), 2);
    assert!(message.contains("v1.27.0-alpine3.0") && message.contains("kletimg matrix build"), "{message}");
}

#[test]
fn what_was_built_is_held_against_the_matrix_before_it_is_pushed() {
    let Some(registry) = RealRegistry::start(Guard::Open) else { return };
    let built = Built::new(&registry.host);
    // What is built and what the matrix says are not quite the same.
    built.fixture.edit("m/matrix.toml", "[\"1.26.0\"]", "[\"1.26.0\", \"1.27.0\"]");
    let said = words(&succeeds(&mut built.kletimg(&["matrix", "push", "--dry-run"])));
    assert!(
        said.contains("warning: matrix.toml has tags that dist does not hold: ") && said.contains("v1.27.0-"),
        "{said}"
    );
    built.fixture.edit("m/matrix.toml", "[\"1.26.0\", \"1.27.0\"]", "[\"1.26.0\"]");
    let one = ["matrix", "build", "--variant", "plain", "--platform", "linux/arm64"];
    let said = words(&succeeds(&mut built.fixture.mirrored(&one)));
    assert!(said.contains("warning: dist holds what was built last, and no longer "), "{said}");
    let said = words(&succeeds(&mut built.kletimg(&["matrix", "push", "-q", "--dry-run"])));
    assert!(said.contains("was built without linux/amd64, linux/arm/v7"), "{said}");
    // Of two places neither is guessed.
    built.fixture.edit("m/matrix.toml", "/edge/kubelet", "/other/kubelet");
    let message = fails(&mut built.kletimg(&["matrix", "push"]), 2);
    assert!(message.contains("/edge/kubelet:") && message.contains("/other/kubelet:"), "{message}");
    fails(&mut built.kletimg(&["matrix", "push", "-f", "absent.toml"]), 2);
}

#[test]
fn a_dry_run_tells_of_every_tag_what_a_push_would_do() {
    let Some(registry) = RealRegistry::start(Guard::Open) else { return };
    let built = Built::new(&registry.host);
    succeeds(&mut built.kletimg(&["matrix", "push", "--variant", "plain"]));
    built.fixture.edit("m/variants/plain.toml", "hello", "bye");
    built.fixture.build();
    let output = built.kletimg(&["matrix", "push", "--dry-run", "--image-refs", "refs"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    let ends = |end: &str| text(&output).lines().filter(|line| line.contains(end)).count();
    assert_eq!((ends(" would be new"), ends(" would not be moved from sha256:")), (2, 1), "{}", text(&output));
    assert!(!built.fixture.path("m/refs").exists(), "nothing is there that they would name");
}

/// Both streams.
fn words(output: &Output) -> String {
    format!("{}{}", text(output), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn extra_tags_follow_the_newest() {
    let Some(registry) = RealRegistry::start(Guard::Open) else { return };
    let fixture = Fixture::new();
    fixture.edit("m/matrix.toml", "docker.io/example", &format!("{}/edge", registry.host));
    let rules = "[[extra-tag]]\ntag = \"v{minor}{-variant}\"\n[[extra-tag]]\ntag = \"latest\"\nvariant = \"plain\"\n";
    fixture.edit("m/matrix.toml", "[images.kube-proxy]", &format!("{rules}[images.kube-proxy]"));
    let plan = text(&succeeds(&mut fixture.kletimg(&["matrix", "plan"])));
    assert!(plan.contains("also latest") && plan.contains("also v1.26-extra"), "{plan}");
    fixture.build();
    let built = Built { fixture, host: registry.host.clone() };
    let push = || json(&succeeds(&mut built.kletimg(&["matrix", "push", "--format", "json"])));
    let digest = |pushed: &Value, tag: &str| {
        let wanted = built.reference(tag);
        digests(pushed).into_iter().find(|(name, _)| *name == wanted).unwrap().1
    };
    let first = push();
    assert_eq!(first["tags"].as_array().unwrap().len(), 3 + 3 + 1);
    assert_eq!(digest(&first, "latest"), digest(&first, TAG));

    built.fixture.edit("m/matrix.toml", "[\"1.26.0\"]", "[\"1.26.1\", \"1.26.0\"]");
    succeeds(&mut built.fixture.mirrored(&["matrix", "build", "--kubernetes", "1.26.1"]));
    let second = push();
    assert_eq!(digest(&second, "v1.26"), digest(&second, "v1.26.1-alpine3.0"));
    assert_ne!(digest(&second, "v1.26"), digest(&first, "v1.26"));
    let moved = second["tags"].as_array().unwrap().iter().filter(|tag| tag["change"] == "moved").count();
    assert_eq!(moved, 4, "without --overwrite, since such tags are meant to move: {second}");
    // A build of the older version alone does not take them back.
    succeeds(&mut built.fixture.mirrored(&["matrix", "build", "--kubernetes", "1.26.0"]));
    assert_eq!(push()["tags"].as_array().unwrap().len(), 3);
}

#[test]
fn a_build_can_push_and_write_archives_at_once() {
    let Some(registry) = RealRegistry::start(Guard::Open) else { return };
    let fixture = Fixture::new();
    fixture.edit("m/matrix.toml", "docker.io/example", &format!("{}/edge", registry.host));
    let args = ["matrix", "build", "--push", "-o", "type=oci-archive,dest=all.tar", "--metadata-file", "meta.json"];
    succeeds(&mut fixture.mirrored(&args));
    assert!(!fixture.path("m/dist").exists(), "no layout was asked for");
    let metadata: Value = serde_json::from_slice(&fs::read(fixture.path("m/meta.json")).unwrap()).unwrap();
    for (reference, digest) in digests(&metadata) {
        let verified = json(&succeeds(&mut fixture.kletimg(&["image", "verify", "--format", "json", &reference])));
        assert_eq!(verified["images"][0]["report"]["findings"], Value::Array(Vec::new()), "{reference} {digest}");
    }
    succeeds(&mut fixture.kletimg(&["image", "verify", "oci-archive:all.tar"]));
    let registry_only = succeeds(&mut fixture.mirrored(&["matrix", "build", "-o", "type=registry"]));
    assert!(String::from_utf8_lossy(&registry_only.stderr).contains("3 unchanged; 0 blobs sent"));
}

#[test]
fn a_push_that_was_killed_is_completed_by_the_next() {
    let Some(registry) = RealRegistry::start(Guard::Open) else { return };
    let fixture = Fixture::new();
    fixture.edit("m/matrix.toml", "docker.io/example", &format!("{}/edge", registry.host));
    for (go, seed) in [("amd64", 1), ("arm64", 2), ("arm", 3)] {
        let program = [b"#!/bin/sh\n".as_slice(), &noise(seed, 24 << 20)].concat();
        fixture.publish(&format!("kubelet-{go}"), &program);
    }
    fixture.build();
    let built = Built { fixture, host: registry.host.clone() };
    let data = registry.folder.path().join("data");
    let arrived = || kletimg::host::files::usage(&data).map_or(0, |usage| usage.size);
    for more in [1, 8 << 20, 40 << 20] {
        let before = arrived();
        let mut child = built.kletimg(&["matrix", "push", "-j", "1"]).stderr(Stdio::null()).spawn().unwrap();
        while arrived() < before + more && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // Whatever was killed when: a tag that is there leads to a whole image.
        let output = built.kletimg(&["image", "verify", &built.reference(TAG)]).output().unwrap();
        assert!(matches!(output.status.code(), Some(0 | 4)), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let held = peak(&mut built.kletimg(&["matrix", "push"]));
    assert!(held < 150 << 10, "a push held {held} KiB");
    let second = format!("{}/copy/kubelet:t", registry.host);
    let copy = ["image", "copy", &built.reference(TAG), &second];
    let held = peak(&mut built.kletimg(&copy));
    assert!(held < 150 << 10, "a copy held {held} KiB");
    succeeds(&mut built.kletimg(&["image", "verify", &built.reference(TAG), &second]));
    let again = json(&succeeds(&mut built.kletimg(&["matrix", "push", "--format", "json"])));
    assert_eq!(again["blobs"]["sent"], 0);
}

#[test]
fn what_stands_in_the_way_is_told_with_what_to_do() {
    let Some(registry) = RealRegistry::start(Guard::TlsAndPassword) else { return };
    let built = Built::new(&registry.host);
    let push = ["matrix", "push"];
    let message = fails(&mut built.kletimg(&push), 4);
    assert!(message.contains("--ca-cert") && message.lines().count() == 1, "{message}");
    let certificate = registry.folder.path().join("ca.pem");
    let with_login = |password: &str| {
        let mut command = built.kletimg(&push);
        command.arg("--ca-cert").arg(&certificate);
        command.env("REGISTRY_AUTH_FILE", registry.login_file("edge", password));
        command
    };
    let message = fails(&mut with_login("wr0ng"), 4);
    assert!(message.contains("kletimg login") && !message.contains("wr0ng"), "{message}");
    let mut nobody = built.kletimg(&push);
    let message = fails(nobody.arg("--ca-cert").arg(&certificate), 4);
    assert!(message.contains("not logged in") && message.contains("kletimg login"), "{message}");
    succeeds(&mut with_login("s3cret"));

    // The same tags with other contents.
    built.fixture.publish("kubelet-amd64", b"#!/bin/sh\necho another\n");
    fs::remove_file(built.fixture.path("m/matrix.lock")).unwrap();
    built.fixture.build();
    let message = fails(&mut with_login("s3cret"), 3);
    assert!(message.contains("--overwrite") && message.contains(TAG), "{message}");
    fails(with_login("s3cret").arg("--dry-run"), 3);
    let moved = succeeds(with_login("s3cret").arg("--overwrite"));
    assert!(text(&moved).contains(" moved from sha256:"), "{}", text(&moved));

    let Some(open) = RealRegistry::start(Guard::Open) else { return };
    let copy = ["image", "copy", &format!("dist:{TAG}"), &format!("{}/a:t", open.host)];
    succeeds(&mut built.kletimg(&copy));
    // Nobody there.
    drop(open);
    let message = fails(&mut built.kletimg(&copy), 4);
    assert!(message.contains("check its name"), "{message}");
    let message = fails(&mut built.kletimg(&["matrix", "push", "--ca-cert", "matrix.toml"]), 4);
    assert!(message.contains("--ca-cert"), "{message}");
}

/// A server that speaks plain HTTP at an address of this machine that is not its loopback, as registries in labs do.
fn plain_http() -> Option<String> {
    let address = std::net::UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        // Nothing is sent: the system only says which of its addresses it would send from.
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    let address = address.ok().map(|address| address.ip()).filter(|address| !address.is_loopback());
    let address = parts::need("network-address", address, "this machine has no address but the loopback's")?;
    let listener = std::net::TcpListener::bind((address, 0)).unwrap();
    let host = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let read = std::io::Read::read(&mut stream, &mut request).unwrap_or(0);
            // What is no request is the beginning of TLS.
            let status = if request[..read].starts_with(b"GET ") { "404 Not Found" } else { "400 Bad Request" };
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    Some(host)
}

#[test]
fn plain_http_is_not_spoken_unasked() {
    let Some(host) = plain_http() else { return };
    let built = Built::new("localhost:1");
    let copy = ["image", "copy", &format!("dist:{TAG}"), &format!("{host}/a:t")];
    let message = fails(&mut built.kletimg(&copy), 4);
    assert!(message.contains(&format!("--insecure-registry {host}")), "{message}");
    let message = fails(built.kletimg(&copy).args(["--insecure-registry", &host]), 4);
    assert!(message.contains("is not a container registry"), "spoken when asked: {message}");
}

#[test]
fn a_registry_that_may_only_be_read_says_so() {
    let Some(registry) = RealRegistry::start(Guard::ReadOnly) else { return };
    let built = Built::new(&registry.host);
    let message = fails(&mut built.kletimg(&["matrix", "push"]), 4);
    assert!(message.contains("405") && message.contains("it may be read-only"), "{message}");
    assert_eq!(message.lines().filter(|line| line.starts_with("error:")).count(), 1, "{message}");
}

#[test]
fn a_login_is_checked_kept_used_and_forgotten() {
    let Some(registry) = RealRegistry::start(Guard::TlsAndPassword) else { return };
    let built = Built::new(&registry.host);
    let certificate = registry.folder.path().join("ca.pem");
    let host = registry.host.as_str();
    let login = |args: &[&str], password: &str| {
        let mut command = built.kletimg(&["login", host, "--password-stdin"]);
        command.args(args).arg("--ca-cert").arg(&certificate);
        with_input(&mut command, password)
    };
    let wrong = login(&["-u", "edge"], "wr0ng\n");
    let message = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert_eq!(wrong.status.code(), Some(4), "{message}");
    assert!(!message.contains("wr0ng"), "{message}");
    let file = built.fixture.path("docker/config.json");
    assert!(!file.exists(), "a wrong password is not kept");
    assert_eq!(login(&[], "s3cret").status.code(), Some(2), "no user is known yet");
    assert_eq!(login(&["-u", "edge"], "").status.code(), Some(2), "no password");

    let done = login(&["-u", "edge"], "s3cret\r\n");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(text(&done), format!("logged in to {host} as edge\n"));
    assert!(login(&[], "s3cret").status.success(), "the user is known now");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let push = |code: Option<i32>| {
        let output = built.kletimg(&["matrix", "push"]).arg("--ca-cert").arg(&certificate).output().unwrap();
        assert_eq!(output.status.code(), code, "{}", String::from_utf8_lossy(&output.stderr));
    };
    push(Some(0));
    if parts::program("skopeo").is_some() {
        let said = tool("skopeo", &["login", "--get-login", "--authfile", &file.display().to_string(), host]);
        assert_eq!(said.trim(), "edge", "other tools find it");
    }
    assert_eq!(text(&succeeds(&mut built.kletimg(&["logout", host]))), format!("logged out of {host}\n"));
    assert!(text(&succeeds(&mut built.kletimg(&["logout", host]))).contains("there was no login"));
    push(Some(4));
    fails(&mut built.kletimg(&["login", "https://x/y", "-u", "u", "--password-stdin"]), 2);
}

#[test]
fn copies_keep_digests_and_verify_tells_a_flipped_bit() {
    let Some(registry) = RealRegistry::start(Guard::Open) else { return };
    let built = Built::new(&registry.host);
    let from = format!("dist:{TAG}");
    let remote = format!("{}/copy/kubelet:t", registry.host);
    let second = format!("{}/other/kubelet:t", registry.host);
    let steps = [
        (from.as_str(), remote.as_str()),
        (&remote, &second),
        (&second, "oci:there:x"),
        ("oci:there:x", "oci-archive:x.tar"),
        ("x.tar", "oci:back:x"),
    ];
    let digest = |output: &Output| text(output).trim().rsplit_once('@').unwrap().1.to_owned();
    let mut known = None;
    for (from, to) in steps {
        let copied = digest(&succeeds(&mut built.kletimg(&["image", "copy", from, to])));
        assert_eq!(*known.get_or_insert_with(|| copied.clone()), copied, "{from} to {to}");
    }
    // Another tag beside it, and the first once more: both stay.
    succeeds(&mut built.kletimg(&["image", "copy", "dist:kube-proxy:v1.26.0-alpine3.0", "back"]));
    succeeds(&mut built.kletimg(&["image", "copy", "oci:there:x", "oci:back:x"]));
    let verified = json(&succeeds(&mut built.kletimg(&["image", "verify", "back", "--format", "json"])));
    assert_eq!(verified["images"].as_array().unwrap().len(), 2);
    if parts::program("skopeo").is_some() {
        let raw = tool("skopeo", &["inspect", "--raw", &format!("oci:{}:x", built.fixture.path("m/back").display())]);
        assert_eq!(Some(Digest::of(raw).to_string()), known);
    }
    // A whole layout in one archive.
    succeeds(&mut built.kletimg(&["image", "copy", "dist", "oci-archive:all.tar"]));
    let verified = json(&succeeds(&mut built.kletimg(&["image", "verify", "all.tar", "--format", "json"])));
    assert_eq!(verified["images"].as_array().unwrap().len(), 3);
    let message = fails(&mut built.kletimg(&["image", "ls", "dist"]), 2);
    assert!(message.contains("several images") && message.contains(TAG), "{message}");
    let message = fails(&mut built.kletimg(&["image", "verify", "dist:nothing"]), 2);
    assert!(message.contains("nothing") && message.contains(TAG), "{message}");

    let blobs = built.fixture.path("m/back/blobs/sha256");
    for blob in fs::read_dir(blobs).unwrap().map(|entry| entry.unwrap().path()) {
        let sound = fs::read(&blob).unwrap();
        let mut broken = sound.clone();
        let middle = broken.len() / 2;
        broken[middle] ^= 4;
        replace(&blob, &broken);
        let output = built.kletimg(&["image", "verify", "back"]).output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(text(&output).contains("blob-digest"), "{}", text(&output));
        replace(&blob, &sound);
    }
    succeeds(&mut built.kletimg(&["image", "verify", "back"]));
}

#[test]
fn a_registry_that_serves_damaged_blobs_is_found_out() {
    let Some(registry) = RealRegistry::start(Guard::Open) else { return };
    let built = Built::new(&registry.host);
    succeeds(&mut built.kletimg(&["matrix", "push"]));
    let reference = built.reference(TAG);
    let listed = json(&succeeds(&mut built.kletimg(&["image", "ls", &reference, "--format", "json"])));
    let layer = listed["layers"][0]["digest"].as_str().unwrap().trim_start_matches("sha256:").to_owned();
    let data = registry.folder.path().join("data/docker/registry/v2/blobs/sha256");
    let blob = data.join(&layer[..2]).join(&layer).join("data");
    let mut bytes = fs::read(&blob).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&blob, &bytes).unwrap();
    let output = built.kletimg(&["image", "verify", &reference]).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text(&output).contains(&format!("blob-digest: layer sha256:{layer}")), "{}", text(&output));
    let message = fails(&mut built.kletimg(&["image", "copy", &reference, "oci:there"]), 1);
    assert!(message.contains(&layer) && !built.fixture.path("m/there/index.json").exists(), "{message}");
    fs::remove_file(&blob).unwrap();
    let output = built.kletimg(&["image", "verify", &reference]).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text(&output).contains(&format!("blob-missing: layer sha256:{layer}")), "{}", text(&output));
}

#[test]
fn a_mirror_is_asked_first_and_missed_without_harm() {
    let Some(registry) = RealRegistry::start(Guard::Open) else { return };
    let Some(mirror) = RealRegistry::start(Guard::Open) else { return };
    let built = Built::new(&registry.host);
    let (here, there) = (format!("{}/a/b:t", registry.host), format!("{}/hub/a/b:t", mirror.host));
    let from = format!("dist:{TAG}");
    succeeds(&mut built.kletimg(&["image", "copy", &from, &here]));
    let option = format!("--registry-mirror={}={}/hub", registry.host, mirror.host);
    let missed = succeeds(&mut built.kletimg(&["image", "verify", &here, &option]));
    assert!(String::from_utf8_lossy(&missed.stderr).contains("not from the mirror"));
    succeeds(&mut built.kletimg(&["image", "copy", &from, &there]));
    drop(registry);
    let verified = succeeds(&mut built.kletimg(&["image", "verify", &here, &option]));
    assert!(text(&verified).starts_with(&format!("{here}: sound")), "{}", text(&verified));
    fails(&mut built.kletimg(&["image", "verify", &here]), 4);
    fails(&mut built.kletimg(&["image", "verify", &here, "--registry-mirror", "docker.io"]), 2);
}

#[test]
fn sizes_that_no_file_has_end_in_an_error() {
    let built = Built::new("localhost:1");
    let index = built.fixture.path("m/dist/index.json");
    let layout: Value = serde_json::from_slice(&fs::read(&index).unwrap()).unwrap();
    let blob = |digest: &str| {
        let hex = digest.trim_start_matches("sha256:").to_owned();
        built.fixture.path("m/dist/blobs/sha256").join(hex)
    };
    let read = |digest: &Value| -> Value {
        serde_json::from_slice(&fs::read(blob(digest.as_str().unwrap())).unwrap()).unwrap()
    };
    let put = |value: &Value| {
        let bytes = value.to_string().into_bytes();
        let digest = Digest::of(&bytes).to_string();
        fs::write(blob(&digest), &bytes).unwrap();
        (digest, bytes.len())
    };
    // A manifest whose layers are as large as can be written, in an index that is right about it.
    let mut tag_index = read(&layout["manifests"][0]["digest"]);
    let mut manifest = read(&tag_index["manifests"][0]["digest"]);
    for layer in manifest["layers"].as_array_mut().unwrap() {
        layer["size"] = u64::MAX.into();
    }
    let (digest, size) = put(&manifest);
    tag_index["manifests"][0]["digest"] = digest.into();
    tag_index["manifests"][0]["size"] = size.into();
    let (digest, size) = put(&tag_index);
    let mut hostile = layout.clone();
    hostile["manifests"] = serde_json::json!([layout["manifests"][0].clone()]);
    hostile["manifests"][0]["digest"] = digest.into();
    hostile["manifests"][0]["size"] = size.into();
    fs::write(&index, hostile.to_string()).unwrap();

    let tag = format!(
        "dist:{}",
        hostile["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"].as_str().unwrap()
    );
    fails(&mut built.kletimg(&["image", "verify", &tag]), 3);
    for to in ["oci:there", "oci-archive:there.tar", "docker-archive:there.tar"] {
        fails(&mut built.kletimg(&["image", "copy", &tag, to]), 1);
        assert!(!built.fixture.path("m/there.tar").exists(), "{to}");
    }
    succeeds(&mut built.kletimg(&["image", "cost", &tag, "--from", &tag]));
    fails(&mut built.kletimg(&["image", "ls", &tag, "--platform", "linux/amd64"]), 1);
    fails(&mut built.kletimg(&["matrix", "push"]), 1);
    let Some(registry) = RealRegistry::start(Guard::Open) else { return };
    fails(&mut built.kletimg(&["image", "copy", &tag, &format!("{}/a:t", registry.host)]), 1);
}

fn replace(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn an_image_is_listed_compared_and_priced() {
    let built = Built::new("localhost:1");
    let (plain, extra) = (format!("dist:{TAG}"), "dist:v1.26.0-extra-alpine3.0");
    let files = text(&succeeds(&mut built.kletimg(&["image", "ls", &plain, "--platform", "linux/arm64"])));
    assert!(files.contains("kubelet      /usr/bin/kubelet"), "{files}");
    let components = text(&succeeds(&mut built.kletimg(&["image", "ls", &plain, "--by", "component"])));
    assert!(components.contains("kubelet") && components.contains("all"), "{components}");
    let listed = json(&succeeds(&mut built.kletimg(&["image", "ls", extra, "--format", "json"])));
    assert!(listed["layers"].as_array().unwrap().len() > 2, "{listed}");

    let difference = json(&succeeds(&mut built.kletimg(&["image", "diff", &plain, extra, "--format", "json"])));
    let added: Vec<_> =
        difference["files"].as_array().unwrap().iter().filter(|file| file["change"] == "added").collect();
    assert!(added.iter().any(|file| file["path"] == "opt/bin/a"), "{difference}");
    let same = text(&succeeds(&mut built.kletimg(&["image", "diff", &plain, &plain])));
    assert!(same.contains("are the same"), "{same}");

    let cost =
        |from: &str| json(&succeeds(&mut built.kletimg(&["image", "cost", extra, "--from", from, "--format", "json"])));
    let costs = cost(&plain);
    assert_eq!(costs["platforms"].as_array().unwrap().len(), 3);
    assert_eq!(costs["platforms"][0]["layers"], 1, "the layer of the tools alone: {costs}");
    assert_eq!(cost(extra)["platforms"][0]["bytes"], 0);
}

#[test]
fn archives_and_root_file_systems_are_reproducible_and_read_by_others() {
    let fixture = Fixture::new();
    let one = ["matrix", "build", "--variant", "plain", "--platform", "linux/amd64"];
    let outputs = [
        "type=docker,dest=docker.tar",
        "type=oci-archive,dest=oci.tar",
        "type=tar,dest=root.tar",
        "type=dir,dest=root",
    ];
    let build = |fixture: &Fixture| {
        let mut command = fixture.mirrored(&one);
        command.args(outputs.iter().flat_map(|output| ["-o", output]));
        succeeds(&mut command);
        ["docker.tar", "oci.tar", "root.tar"].map(|file| hex(&fs::read(fixture.path(&format!("m/{file}"))).unwrap()))
    };
    assert_eq!(build(&fixture), build(&Fixture::new()));
    let kubelet = fs::read_to_string(fixture.path("m/root/usr/bin/kubelet")).unwrap();
    assert_eq!(kubelet, "#!/bin/sh\necho kubelet amd64\n");
    if parts::program("tar").is_some() {
        let list = tool("tar", &["-tf", &fixture.path("m/root.tar").display().to_string()]);
        assert!(list.lines().any(|line| line == "usr/bin/kubelet"), "{list}");
    }
    if parts::program("skopeo").is_some() {
        let archive = format!("docker-archive:{}", fixture.path("m/docker.tar").display());
        assert!(tool("skopeo", &["inspect", &archive]).contains("amd64"));
    }
    succeeds(&mut fixture.kletimg(&["image", "verify", "docker-archive:docker.tar", "oci-archive:oci.tar"]));
    // A folder with files is not written into, and several images are no root file system.
    let mut again = fixture.mirrored(&one);
    let message = fails(again.args(["-o", "type=dir,dest=root"]), 1);
    assert!(message.contains("not empty"), "{message}");
    let mut several = fixture.mirrored(&["matrix", "build", "-o", "type=tar,dest=x.tar"]);
    let message = fails(&mut several, 2);
    assert!(message.contains("--platform") && !fixture.path("m/x.tar").exists(), "{message}");
}

/// The host of the Engine, and its client.
fn engine() -> Option<String> {
    let docker = parts::program("docker")?.display().to_string();
    let answers = Command::new(&docker).arg("version").output().unwrap().status.success();
    parts::need("docker-engine", answers.then_some(docker), "no Engine answers")
}

/// A kubelet that runs anywhere and does only that, in place of the fixture's scripts.
fn static_kubelet(fixture: &Fixture, does: &str) -> Option<()> {
    let _ = parts::program("cc")?;
    let source = fixture.path("kubelet.c");
    fs::write(&source, format!("#include <stdio.h>\n#include <unistd.h>\nint main(void) {{ {does} return 0; }}\n"))
        .unwrap();
    let program = fixture.path("kubelet");
    tool("cc", &["-static", "-Os", "-o", &program.display().to_string(), &source.display().to_string()]);
    let bytes = fs::read(&program).unwrap();
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    fixture.publish(&format!("kubelet-{arch}"), &bytes);
    Some(())
}

/// A fixture whose plain image has a kubelet that does this, the client of the Engine, and the tag.
fn in_the_engine(does: &str) -> Option<(Fixture, String, String)> {
    // Tests at the same time have tags of their own.
    static BEFORE: AtomicUsize = AtomicUsize::new(0);
    let docker = engine()?;
    let fixture = Fixture::new();
    let name = format!("kletimg.invalid/test-{}-{}", std::process::id(), BEFORE.fetch_add(1, Ordering::Relaxed));
    fixture.edit("m/matrix.toml", "docker.io/example/kubelet", &name);
    static_kubelet(&fixture, does)?;
    Some((fixture, docker, format!("{name}:{TAG}")))
}

fn with_engine(mut command: Command) -> Command {
    if let Some(host) = std::env::var_os("DOCKER_HOST") {
        command.env("DOCKER_HOST", host);
    }
    command
}

#[test]
fn what_was_built_runs_in_the_engine() {
    let Some((fixture, docker, tag)) = in_the_engine("puts(\"Kubernetes v1.26.0\");") else { return };
    succeeds(&mut with_engine(fixture.mirrored(&["matrix", "build", "--variant", "plain", "--load"])));
    assert_eq!(tool(&docker, &["run", "--rm", "--network", "none", &tag, "--version"]).trim(), "Kubernetes v1.26.0");
    let id = tool(&docker, &["image", "inspect", "--format", "{{.Id}}", &tag]);
    tool(&docker, &["image", "rm", &tag]);
    let loaded = succeeds(&mut with_engine(fixture.kletimg(&["matrix", "load"])));
    assert!(text(&loaded).starts_with(&format!("{tag} sha256:")), "{}", text(&loaded));
    tool(&docker, &["image", "rm", &tag]);

    let host = kletimg::base::Platform::host().unwrap().name();
    let run = ["image", "run", "dist", "--platform", host];
    let ran = text(&succeeds(&mut with_engine(fixture.kletimg(&run))));
    assert!(ran.contains("/usr/bin/kubelet") && ran.contains("passed: Kubernetes v1.26.0"), "{ran}");
    assert!(!images(&docker).contains(&id), "the Engine is left as it was");

    // A kubelet of another version than the tag says.
    static_kubelet(&fixture, "puts(\"Kubernetes v1.25.9\");").unwrap();
    fs::remove_file(fixture.path("m/matrix.lock")).unwrap();
    succeeds(&mut fixture.mirrored(&["matrix", "build", "--variant", "plain"]));
    let output = with_engine(fixture.kletimg(&run)).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert!(text(&output).contains("failed: it prints `Kubernetes v1.25.9`"), "{}", text(&output));

    let mut nobody = fixture.kletimg(&["matrix", "load"]);
    let message = fails(nobody.env("DOCKER_HOST", "unix:///nowhere/docker.sock"), 1);
    assert!(message.contains("DOCKER_HOST") && message.contains("/nowhere/docker.sock"), "{message}");
}

/// A layout of one image for this machine, with these bytes as its kubelet, under this tag.
fn with_kubelet(fixture: &Fixture, tag: &str, kubelet: &[u8]) {
    let store = Store::new(fixture.path("other-store"));
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let layer = image::layer(&store, "usr/bin/kubelet", kubelet);
    let root = image::index(&store, &[image::image(&store, arch, &[layer])]);
    let entry = LayoutEntry { name: Some(tag.to_owned()), reference: None, root };
    layout::add(&store, &fixture.path("m/other"), &store, &[entry]).unwrap();
}

#[test]
fn a_smoke_test_believes_neither_a_wrong_tag_nor_a_broken_program() {
    let Some((fixture, ..)) = in_the_engine("puts(\"Kubernetes v1.26.0\");") else { return };
    let kubelet = fs::read(fixture.path("kubelet")).unwrap();
    let cases: [(&str, &[u8], i32, &str); 5] = [
        ("v1.26.0-alpine3.0", &kubelet, 0, "passed: Kubernetes v1.26.0"),
        ("v1.99.0-alpine3.0", &kubelet, 3, "but the image is for 1.99.0"),
        ("v1.26.00", &kubelet, 0, "compared with no version"),
        ("v1.26.1", &kubelet, 3, "but the image is for 1.26.1"),
        ("v1.26.0", b"neither a program nor a script", 3, "failed: it is no program that"),
    ];
    for (tag, kubelet, code, said) in cases {
        with_kubelet(&fixture, tag, kubelet);
        let output = with_engine(fixture.kletimg(&["image", "run", &format!("other:{tag}")])).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{tag}: {}", text(&output));
        assert!(text(&output).contains(said), "{tag}: {}", text(&output));
    }
}

/// What images the Engine has, by their digests.
fn images(docker: &str) -> String {
    tool(docker, &["image", "ls", "--quiet", "--no-trunc"])
}

#[test]
fn a_smoke_test_that_is_interrupted_leaves_nothing_in_the_engine() {
    let Some((fixture, docker, tag)) = in_the_engine("sleep(600);") else { return };
    succeeds(&mut with_engine(fixture.mirrored(&["matrix", "build", "--variant", "plain", "--load"])));
    let id = tool(&docker, &["image", "inspect", "--format", "{{.Id}}", &tag]);
    tool(&docker, &["image", "rm", &tag]);

    let host = kletimg::base::Platform::host().unwrap().name();
    let mut run = with_engine(fixture.kletimg(&["image", "run", "dist", "--platform", host]));
    let mut child = run.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let ancestor = format!("ancestor={}", id.trim());
    let running = || {
        // The filter refuses an image that is not there yet.
        let listed = Command::new(&docker).args(["ps", "--quiet", "--filter", &ancestor]).output().unwrap();
        text(&listed).lines().any(|line| line.len() == 12)
    };
    let began = Instant::now();
    while !running() {
        assert!(began.elapsed().as_secs() < 120 && child.try_wait().unwrap().is_none(), "the kubelet does not run");
        std::thread::sleep(Duration::from_millis(50));
    }
    tool("kill", &["-INT", &child.id().to_string()]);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", text(&output));
    assert!(!running() && !images(&docker).contains(&id), "{}", text(&output));
}

/// The kernel of a machine for tests seldom knows other platforms, so that it is the emulator in the container that runs.
#[test]
fn other_platforms_run_under_emulation() {
    let Some(_) = engine() else { return };
    let Some(zig) = parts::program("zig") else { return };
    let emulator = parts::program("qemu-aarch64-static").or_else(|| parts::program("qemu-x86_64-static"));
    let Some(_) = parts::need("qemu", emulator, "there is no static emulator on PATH") else { return };
    let fixture = Fixture::new();
    let source = fixture.path("kubelet.c");
    fs::write(&source, "#include <stdio.h>\nint main(void) { puts(\"Kubernetes v1.26.0\"); return 0; }\n").unwrap();
    for (go, target) in
        [("amd64", "x86_64-linux-musl"), ("arm64", "aarch64-linux-musl"), ("arm", "arm-linux-musleabihf")]
    {
        let program = fixture.path(go);
        let (zig, source, to) =
            (zig.display().to_string(), source.display().to_string(), program.display().to_string());
        let mut command = Command::new(zig);
        // Without a cache of its own that lasts, zig compiles its libc for every target, which takes a minute each.
        command.env(
            "ZIG_GLOBAL_CACHE_DIR",
            std::env::var_os("ZIG_GLOBAL_CACHE_DIR").unwrap_or(fixture.path("zig").into()),
        );
        succeeds(command.args(["cc", "-target", target, "-static", "-Os", "-o", &to, &source]));
        fixture.publish(&format!("kubelet-{go}"), &fs::read(&program).unwrap());
    }
    succeeds(&mut fixture.mirrored(&["matrix", "build", "--variant", "plain"]));
    let mut run = fixture.kletimg(&["image", "run", "dist", "--format", "json"]);
    if let Some(host) = std::env::var_os("DOCKER_HOST") {
        run.env("DOCKER_HOST", host);
    }
    let ran = json(&succeeds(&mut run));
    let outcomes: Vec<_> = ran["programs"].as_array().unwrap().iter().map(|program| &program["outcome"]).collect();
    assert_eq!(outcomes, ["passed", "passed", "passed"], "{ran}");
    // Without an emulator it is said that nothing ran, and not that all is well.
    let folder = fixture.path("empty");
    fs::create_dir(&folder).unwrap();
    let other = if cfg!(target_arch = "aarch64") { "linux/amd64" } else { "linux/arm64" };
    let output = run.args(["--platform", other]).env("PATH", &folder).output().unwrap();
    let outcome = json(&output)["programs"][0]["outcome"].clone();
    match output.status.code() {
        Some(3) => assert_eq!(outcome, "not-run"),
        // The kernel knows the platform itself.
        code => assert_eq!((code, outcome), (Some(0), "passed".into())),
    }
}

#[test]
fn the_engine_pulls_and_runs_what_was_pushed() {
    let Some(registry) = RealRegistry::start(Guard::TlsAndPassword) else { return };
    let Some(docker) = engine() else { return };
    let fixture = Fixture::new();
    fixture.edit("m/matrix.toml", "docker.io/example", &format!("{}/edge", registry.host));
    if static_kubelet(&fixture, "puts(\"Kubernetes v1.26.0\");").is_none() {
        return;
    }
    let config = fixture.path("docker");
    fs::create_dir(&config).unwrap();
    fs::copy(registry.login_file("edge", "s3cret"), config.join("config.json")).unwrap();
    let logged_in = |mut command: Command| {
        command.arg("--ca-cert").arg(registry.folder.path().join("ca.pem")).env("DOCKER_CONFIG", &config);
        succeeds(&mut command)
    };
    logged_in(fixture.mirrored(&["matrix", "build", "--variant", "plain", "--push"]));
    let tag = format!("{}/edge/kubelet:{TAG}", registry.host);
    // Of this machine's registries the Engine takes any certificate.
    tool(&docker, &["--config", &config.display().to_string(), "pull", "--quiet", &tag]);
    assert_eq!(tool(&docker, &["run", "--rm", "--network", "none", &tag, "--version"]).trim(), "Kubernetes v1.26.0");
    let inspected: Value = serde_json::from_str(&tool(&docker, &["image", "inspect", &tag])).unwrap();
    let layout: Value = json(&logged_in(fixture.kletimg(&["matrix", "push", "--format", "json"])));
    let pinned = format!("{}/edge/kubelet@{}", registry.host, layout["tags"][0]["digest"].as_str().unwrap());
    assert_eq!(inspected[0]["RepoDigests"][0].as_str(), Some(pinned.as_str()));
    tool(&docker, &["image", "rm", &tag]);
}

/// What the Engine saves is read back: also what old Engines write, which is no layout.
#[test]
fn what_the_engine_saves_is_sound() {
    let Some(docker) = engine() else { return };
    let built = Built::new("localhost:1");
    let name = format!("kletimg.invalid/saved-{}", std::process::id());
    let folder = built.fixture.path("context");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("hello"), "hello").unwrap();
    fs::write(folder.join("Dockerfile"), "FROM scratch\nCOPY hello /bin/\nENV A=b\nCOPY hello /etc/\n").unwrap();
    tool(&docker, &["build", "--quiet", "--tag", &name, &folder.display().to_string()]);
    let file = built.fixture.path("m/saved.tar").display().to_string();
    tool(&docker, &["save", "-o", &file, &name]);
    tool(&docker, &["image", "rm", &name]);
    let verified = json(&succeeds(&mut built.kletimg(&["image", "verify", "saved.tar", "--format", "json"])));
    assert_eq!(verified["images"][0]["report"]["findings"], Value::Array(Vec::new()), "{verified}");
    let files = text(&succeeds(&mut built.kletimg(&["image", "ls", "docker-archive:saved.tar"])));
    assert!(files.contains("/etc/hello"), "{files}");
}

/// An image that the Engine has no part in: buildah needs none, and no root with the right options.
#[test]
fn what_buildah_makes_is_sound() {
    let Some(_) = parts::program("buildah") else { return };
    let built = Built::new("localhost:1");
    let root = built.fixture.path("buildah").display().to_string();
    let archive = format!("oci-archive:{}:t", built.fixture.path("m/buildah.tar").display());
    let context = built.fixture.path("context");
    fs::create_dir(&context).unwrap();
    fs::write(context.join("hello"), "hello").unwrap();
    fs::write(context.join("Containerfile"), "FROM scratch\nCOPY hello /bin/\n").unwrap();
    let storage = ["--root", &root, "--runroot", &root, "--storage-driver", "vfs"];
    // A user without subordinate IDs, or without a name, has no use of it.
    let tried = Command::new("buildah").args(storage).arg("images").output().unwrap();
    let why = format!("buildah does not work for this user: {}", String::from_utf8_lossy(&tried.stderr).trim());
    if parts::need("buildah", tried.status.success().then_some(()), &why).is_none() {
        return;
    }
    let buildah = |args: &[&str]| tool("buildah", &[&storage[..], args].concat());
    buildah(&["bud", "--isolation", "chroot", "-t", "t", &context.display().to_string()]);
    buildah(&["push", "t", &archive]);
    let verified = json(&succeeds(&mut built.kletimg(&["image", "verify", "buildah.tar", "--format", "json"])));
    assert_eq!(verified["images"][0]["report"]["findings"], Value::Array(Vec::new()), "{verified}");
}

#[test]
fn a_second_push_of_many_tags_is_quick_and_small() {
    let Some(registry) = RealRegistry::start(Guard::Open) else { return };
    let built = Built::new(&registry.host);
    let versions: Vec<_> = (0..5).map(|patch| format!("\"1.26.{patch}\"")).collect();
    built.fixture.edit("m/matrix.toml", "[\"1.26.0\"]", &format!("[{}]", versions.join(", ")));
    // Together the layers have more bytes than may be in memory at once.
    built.fixture.edit("m/components/kubelet.toml", "kubelet-{arch}", "kubelet-{kubernetes}-{arch}");
    for (go, seed) in [("amd64", 0), ("arm64", 5), ("arm", 10)] {
        for patch in 0..5 {
            let program = [b"#!/bin/sh\n".as_slice(), &noise(seed + patch + 1, 12 << 20)].concat();
            built.fixture.publish(&format!("kubelet-1.26.{patch}-{go}"), &program);
        }
    }
    built.fixture.build();
    let small = |what: &str, args: &[&str]| {
        let held = peak(&mut built.kletimg(args));
        assert!(held < 150 << 10, "{what} held {held} KiB");
        support::say(&format!("{what} held at most {} MiB", held >> 10));
    };
    small("a push of 15 tags", &["matrix", "push"]);
    small("a copy of 15 tags to an archive", &["image", "copy", "dist", "oci-archive:all.tar"]);
    small("a copy of 15 tags to a layout", &["image", "copy", "oci-archive:all.tar", "oci:other"]);
    let (one, other) = (built.reference(TAG), format!("{}/other/kubelet:t", registry.host));
    small("a copy of one tag between registries", &["image", "copy", &one, &other]);
    let took = (0..5).map(|_| {
        let began = Instant::now();
        let again = json(&succeeds(&mut built.kletimg(&["matrix", "push", "--format", "json"])));
        assert_eq!((again["tags"].as_array().unwrap().len(), &again["blobs"]["sent_bytes"]), (15, &0.into()));
        began.elapsed()
    });
    let took = took.min().unwrap();
    // How long is too long is for the benchmark to say.
    support::say(&format!("the second push of 15 tags took {:.2} s", took.as_secs_f64()));
}
