//! Where copies go and what they are called there; archives as other programs take them.

use kletimg::images::media_type::MANIFEST;

use super::*;

#[test]
fn a_copy_is_called_what_it_was_told_to_be_called() {
    let Some(registry) = RealRegistry::start(Guard::Open) else { return };
    let built = Built::new("localhost:1");
    let from = format!("dist:{TAG}");
    let copy = |to: &str| built.kletimg(&["image", "copy", "-q", &from, to]);
    let line = |to: &str| text(&succeeds(&mut copy(to))).trim().to_owned();
    let (name, wrong) = (format!("{}/a/b", registry.host), Digest::of("wrong"));
    let latest = line(&name);
    let digest = latest.strip_prefix(&format!("{name}:latest@")).unwrap().to_owned();
    // A digest says what the image should be; alone, it is also what it is found by.
    assert_eq!(line(&format!("{name}@{digest}")), format!("{name}@{digest}"));
    assert_eq!(line(&format!("{name}:both@{digest}")), format!("{name}:both@{digest}"));
    succeeds(&mut built.kletimg(&["image", "verify", &format!("{name}:both"), &format!("{name}@{digest}")]));
    for to in [format!("{name}@{wrong}"), format!("{name}:new@{wrong}")] {
        let message = fails(&mut copy(&to), 2);
        assert!(message.contains(&digest) && message.contains("leave the digest out"), "{message}");
    }
    fails(&mut built.kletimg(&["image", "verify", &format!("{name}:new")]), 4);

    assert_eq!(line("./new.tar"), format!("{TAG}@{digest}"));
    succeeds(&mut built.kletimg(&["image", "verify", "new.tar", &format!("oci-archive:new.tar:{TAG}")]));
    assert_eq!(line("docker-archive:named.tar:mine"), format!("docker.io/library/mine:latest@{digest}"));
    succeeds(&mut built.kletimg(&["image", "ls", "docker-archive:named.tar:docker.io/library/mine:latest"]));
    for (to, part) in [
        ("oci:there:a b", "cannot name a tag"),
        ("oci-archive:there.tar:a b", "cannot name a tag"),
        ("docker-archive:there.tar:A", "upper case"),
        (&format!("docker-archive:there.tar:a@{digest}"), "docker-archive:FILE:"),
    ] {
        let message = fails(&mut copy(to), 2);
        assert!(message.contains(part), "{to}: {message}");
    }
    assert!(!built.fixture.path("m/there").exists() && !built.fixture.path("m/there.tar").exists());
}

/// Attestations and signatures lie beside the images of an index: they travel with them, and are no images.
#[test]
fn what_lies_beside_an_image_travels_with_it() {
    let Some(registry) = RealRegistry::start(Guard::Open) else { return };
    let built = Built::new("localhost:1");
    let dist = built.fixture.path("m/dist");
    let blob = |digest: &str| dist.join("blobs/sha256").join(digest.trim_start_matches("sha256:"));
    let put = |bytes: &[u8]| {
        let digest = Digest::of(bytes).to_string();
        fs::write(blob(&digest), bytes).unwrap();
        (digest, bytes.len())
    };
    let descriptor = |media_type: &str, bytes: &[u8]| {
        let (digest, size) = put(bytes);
        serde_json::json!({ "mediaType": media_type, "digest": digest, "size": size })
    };
    let mut layout: Value = serde_json::from_slice(&fs::read(dist.join("index.json")).unwrap()).unwrap();
    let named = |entry: &Value| entry["annotations"]["org.opencontainers.image.ref.name"] == TAG;
    let entry = layout["manifests"].as_array_mut().unwrap().iter_mut().find(|entry| named(entry)).unwrap();
    let mut index: Value = serde_json::from_slice(&fs::read(blob(entry["digest"].as_str().unwrap())).unwrap()).unwrap();
    let beside = |config: Value, more: Value| {
        let mut manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config,
            "layers": [descriptor("application/vnd.in-toto+json", b"a statement")],
        });
        manifest.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        descriptor(MANIFEST, manifest.to_string().as_bytes())
    };
    let config = br#"{"architecture":"unknown","os":"unknown","rootfs":{"type":"layers","diff_ids":[]}}"#;
    let mut attestation = beside(descriptor("application/vnd.oci.image.config.v1+json", config), serde_json::json!({}));
    attestation["platform"] = serde_json::json!({ "architecture": "unknown", "os": "unknown" });
    let empty = descriptor("application/vnd.oci.empty.v1+json", b"{}");
    let signature = beside(empty, serde_json::json!({ "artifactType": "application/x", "annotations": { "a": "b" } }));
    index["manifests"].as_array_mut().unwrap().extend([attestation, signature]);
    let (digest, size) = put(index.to_string().as_bytes());
    entry["digest"] = digest.clone().into();
    entry["size"] = size.into();
    fs::write(dist.join("index.json"), layout.to_string()).unwrap();

    let (from, remote) = (format!("dist:{TAG}"), format!("{}/a/b:t", registry.host));
    for (from, to) in [(&from, remote.as_str()), (&remote, "oci:there:t"), (&remote, "there.tar")] {
        let copied = text(&succeeds(&mut built.kletimg(&["image", "copy", "-q", from, to])));
        assert!(copied.trim().ends_with(&digest), "{copied}");
    }
    succeeds(&mut built.kletimg(&["image", "verify", &from, &remote, "oci:there:t", "there.tar"]));
    let costs = json(&succeeds(&mut built.kletimg(&["image", "cost", &remote, "--from", &from, "--format", "json"])));
    assert_eq!(costs["platforms"].as_array().unwrap().len(), 3, "{costs}");
    let sizes = text(&succeeds(&mut built.kletimg(&["size", "table", "there"])));
    assert!(sizes.contains("arm64") && !sizes.contains("unknown"), "{sizes}");
    succeeds(&mut built.kletimg(&["image", "copy", "-q", &remote, "docker-archive:one.tar:a:b"]));
    succeeds(&mut built.kletimg(&["image", "ls", &remote, "--platform", "linux/arm64"]));
}

#[test]
fn what_is_no_image_is_not_shown() {
    let built = Built::new("localhost:1");
    built.fixture.write("m/text.tar", "root:x:0:0:\x1b[2Jroot:/root:/bin/bash\n".repeat(40));
    let message = fails(&mut built.kletimg(&["image", "ls", "text.tar"]), 1);
    assert!(message.contains("not a tar archive") && !message.contains("root"), "{message:?}");
    let message = fails(&mut built.kletimg(&["image", "ls", "missing.tar"]), 1);
    assert!(message.contains("missing.tar"), "{message}");
    let message = fails(&mut built.kletimg(&["image", "ls", &Digest::of("x").to_string()]), 2);
    assert!(message.contains("write the repository before it"), "{message}");
}

/// A layout or archive that cannot even be opened is not sound; that one is not there is another matter.
#[test]
fn what_a_place_says_of_itself_is_proved_too() {
    let built = Built::new("localhost:1");
    succeeds(&mut built.kletimg(&["image", "copy", "dist", "all.tar"]));
    let found = |place: &str| {
        let output = built.kletimg(&["image", "verify", "-q", place]).output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{place}: {}", String::from_utf8_lossy(&output.stderr));
        text(&output)
    };
    for file in ["m/dist/index.json", "m/dist/oci-layout"] {
        let sound = fs::read(built.fixture.path(file)).unwrap();
        for at in (0..sound.len() * 8).step_by(97) {
            let mut broken = sound.clone();
            broken[at / 8] ^= 1 << (at % 8);
            fs::write(built.fixture.path(file), &broken).unwrap();
            let output = built.kletimg(&["image", "verify", "-q", "dist"]).output().unwrap();
            // Names and spaces may be others; nothing else goes unnoticed or is taken for a failure of ours.
            let noticed = output.status.code() == Some(3) && !output.stdout.is_empty();
            let named = output.status.success() && digests_of(&broken) == digests_of(&sound);
            assert!(noticed || named, "{file}, bit {at}: {}", String::from_utf8_lossy(&output.stderr));
        }
        fs::write(built.fixture.path(file), b"{").unwrap();
        assert!(found("dist").contains(": place-malformed: "), "{file}");
        fs::write(built.fixture.path(file), sound).unwrap();
    }
    succeeds(&mut built.kletimg(&["image", "verify", "dist"]));
    fs::rename(built.fixture.path("m/dist/index.json"), built.fixture.path("index.json")).unwrap();
    assert!(found("dist").contains(": place-malformed: "), "without an index");
    // An archive that was cut off.
    let all = fs::read(built.fixture.path("m/all.tar")).unwrap();
    fs::write(built.fixture.path("m/cut.tar"), &all[..all.len() * 2 / 3]).unwrap();
    assert!(found("cut.tar").contains(": blob-"));
    fails(&mut built.kletimg(&["image", "verify", "nowhere.tar"]), 1);
    fails(&mut built.kletimg(&["image", "verify", "oci:nowhere"]), 1);
}

/// Everything in a document but what people call things.
fn digests_of(index: &[u8]) -> Option<Vec<(Value, Value, Value)>> {
    let value: Value = serde_json::from_slice(index).ok()?;
    let of = |entry: &Value| (entry["digest"].clone(), entry["size"].clone(), entry["mediaType"].clone());
    Some(value["manifests"].as_array().into_iter().flatten().map(of).collect())
}

#[test]
fn podman_loads_what_was_written() {
    let Some(podman) = parts::program("podman") else { return };
    let built = Built::new("localhost:1");
    let root = built.fixture.path("podman").display().to_string();
    let storage = ["--root", &root, "--runroot", &root, "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"];
    let podman = |args: &[&str]| tool(&podman.display().to_string(), &[&storage[..], args].concat());
    let file = built.fixture.path("m/one.tar").display().to_string();
    for (to, name) in [
        ("docker-archive:one.tar:kletimg.invalid/podman:t", "kletimg.invalid/podman:t"),
        ("oci-archive:one.tar", &built.reference(TAG)),
    ] {
        succeeds(&mut built.kletimg(&["image", "copy", &format!("dist:{TAG}"), to]));
        let loaded = podman(&["load", "-q", "-i", &file]);
        let named = loaded.trim().rsplit_once(": ").map_or("", |(_, named)| named);
        assert!(named == name || named.starts_with("sha256:"), "{loaded}");
        // An archive in OCI's form may be loaded without a name.
        assert_eq!(podman(&["image", "inspect", "--format", "{{.Os}}", named]).trim(), "linux", "{loaded}");
    }
    assert!(podman(&["images", "-q", "kletimg.invalid/podman:t"]).lines().count() == 1);
}

/// containerd's own client, with the containerd that the Docker Engine of this machine has.
#[test]
fn containerd_imports_what_was_written() {
    let Some(program) = parts::program("ctr") else { return };
    let sockets = ["/run/containerd/containerd.sock", "/run/docker/containerd/containerd.sock"];
    let found = sockets.into_iter().find(|socket| Path::new(socket).exists());
    let Some(socket) = parts::need("containerd", found, "there is no socket of a containerd") else { return };
    let built = Built::new("localhost:1");
    let namespace = format!("kletimg-test-{}", std::process::id());
    let ctr = |args: &[&str]| tool(&program.display().to_string(), &[&["-a", socket, "-n", &namespace], args].concat());
    for (from, to) in [("dist", "oci-archive:x.tar"), (&format!("dist:{TAG}"), "docker-archive:y.tar")] {
        succeeds(&mut built.kletimg(&["image", "copy", from, to]));
    }
    for (file, images) in [("m/x.tar", 3), ("m/y.tar", 1)] {
        ctr(&["images", "import", "--all-platforms", &built.fixture.path(file).display().to_string()]);
        let checked = ctr(&["images", "check"]);
        let complete = checked.lines().filter(|line| line.contains(" complete ")).count();
        for image in ctr(&["images", "ls", "-q"]).lines() {
            ctr(&["images", "rm", "--sync", image]);
        }
        assert_eq!(complete, images, "{checked}");
    }
    // What the images leave behind is collected in the background, and only then may the namespace go.
    let removed = (0..300).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        Command::new(&program).args(["-a", socket, "namespaces", "rm", &namespace]).output().unwrap().status.success()
    });
    assert!(removed, "the namespace {namespace} is left over");
}
