use oci_spec::image as oci;

use super::*;
use crate::base::Digest;

fn layer(name: &str, size: u64) -> ImageLayer {
    let blob = Blob { digest: Digest::of(name), size };
    let info =
        LayerInfo { diff_id: Digest::of([name, "diff"].concat()), blob, uncompressed: size * 3, extracted: size * 2 };
    ImageLayer { name: LayerName::new(name), codec: Codec::default(), info }
}

fn image(platform: Platform) -> Image {
    let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Image {
        platform,
        config: ImageConfig {
            entrypoint: vec!["kubelet".to_owned()],
            cmd: vec!["--v=2".to_owned()],
            env: vec!["PATH=/usr/bin".to_owned()],
            labels: map(&[("z", "1"), ("a", "2"), ("m", "3")]),
            stop_signal: Some("SIGTERM".to_owned()),
            volumes: vec!["/var/lib/kubelet".to_owned(), "/etc/x".to_owned()],
            user: None,
            working_dir: Some("/".to_owned()),
        },
        layers: vec![layer("base", 10), layer("kubelet", 20)],
        created: Epoch::try_from(1_610_543_721).unwrap(),
        annotations: map(&[(annotation::VERSION, "1.20.2"), (annotation::TITLE, "kubelet")]),
    }
}

fn tag(name: &str) -> Tag {
    let images: Vec<_> = [Platform::Amd64, Platform::ArmV7].map(|p| encode_image(&image(p)).unwrap().image).to_vec();
    let index = encode_index(&images, &BTreeMap::new()).unwrap();
    let root = Descriptor::new(media_type::INDEX, index.blob);
    Tag {
        name: name.parse().unwrap(),
        reference: Some(format!("docker.io/x/kubelet:{name}")),
        root,
        nested: vec![],
        images,
    }
}

#[test]
fn documents_are_written_in_a_fixed_order() {
    let encoded = encode_image(&image(Platform::ArmV7)).unwrap();
    let config = String::from_utf8(encoded.config.bytes).unwrap();
    let (base, kubelet) = (layer("base", 10), layer("kubelet", 20));
    let expected = format!(
        concat!(
            r#"{{"created":"2021-01-13T13:15:21Z","architecture":"arm","variant":"v7","os":"linux","#,
            r#""config":{{"Env":["PATH=/usr/bin"],"Entrypoint":["kubelet"],"Cmd":["--v=2"],"#,
            r#""Volumes":{{"/etc/x":{{}},"/var/lib/kubelet":{{}}}},"WorkingDir":"/","#,
            r#""Labels":{{"a":"2","m":"3","z":"1"}},"StopSignal":"SIGTERM"}},"#,
            r#""rootfs":{{"type":"layers","diff_ids":["{}","{}"]}},"#,
            r#""history":[{{"created":"2021-01-13T13:15:21Z","created_by":"kletimg: base"}},"#,
            r#"{{"created":"2021-01-13T13:15:21Z","created_by":"kletimg: kubelet"}}]}}"#,
        ),
        base.info.diff_id, kubelet.info.diff_id
    );
    assert_eq!(config, expected);
    let manifest = String::from_utf8(encoded.manifest.bytes).unwrap();
    let expected = format!(
        concat!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","#,
            r#""config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":{}}},"#,
            r#""layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"{}","size":10,"#,
            r#""annotations":{{"io.github.cloudtogo.kletimg.extracted-size":"20"}}}},"#,
            r#"{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"{}","size":20,"#,
            r#""annotations":{{"io.github.cloudtogo.kletimg.extracted-size":"40"}}}}],"#,
            r#""annotations":{{"org.opencontainers.image.created":"2021-01-13T13:15:21Z","#,
            r#""org.opencontainers.image.title":"kubelet","org.opencontainers.image.version":"1.20.2"}}}}"#,
        ),
        encoded.config.blob.digest, encoded.config.blob.size, base.info.blob.digest, kubelet.info.blob.digest
    );
    assert_eq!(manifest, expected);
}

/// oci-spec is an independent reading of the specification.
#[test]
fn another_implementation_reads_the_same() {
    let encoded = encode_image(&image(Platform::ArmV7)).unwrap();
    let config = oci::ImageConfiguration::from_reader(encoded.config.bytes.as_slice()).unwrap();
    assert_eq!((config.architecture(), config.os()), (&oci::Arch::ARM, &oci::Os::Linux));
    assert_eq!(config.rootfs().diff_ids().len(), 2);
    let run = config.config().as_ref().unwrap();
    assert_eq!(run.entrypoint().as_deref(), Some(&["kubelet".to_owned()][..]));
    assert_eq!(run.volumes().as_ref().unwrap().len(), 2);
    assert_eq!(run.labels().as_ref().unwrap()["m"], "3");
    let manifest = oci::ImageManifest::from_reader(encoded.manifest.bytes.as_slice()).unwrap();
    assert_eq!(manifest.config().digest().to_string(), encoded.config.blob.digest.to_string());
    assert_eq!(manifest.layers()[1].size(), 20);

    let tag = tag("v1");
    let index = encode_index(&tag.images, &BTreeMap::new()).unwrap();
    let index = oci::ImageIndex::from_reader(index.bytes.as_slice()).unwrap();
    let variants: Vec<_> = index.manifests().iter().map(|m| m.platform().as_ref().unwrap().variant().clone()).collect();
    assert_eq!(variants, [None, Some("v7".to_owned())]);
}

#[test]
fn documents_are_read_back_as_they_were_written() {
    let encoded = encode_image(&image(Platform::Arm64)).unwrap();
    let manifest = read_manifest(&encoded.manifest.bytes).unwrap();
    assert_eq!((&manifest.config, &manifest.layers), (&encoded.image.config, &encoded.image.layers));
    assert_eq!(manifest.layers[0].extracted(), Some(20));
    let config = read_config(&encoded.config.bytes).unwrap();
    assert_eq!(config.platform.to_string(), "linux/arm64");
    assert_eq!(config.diff_ids, [layer("base", 1).info.diff_id, layer("kubelet", 1).info.diff_id]);
    check(&encoded.config.bytes, encoded.config.blob).unwrap();

    let tag = tag("kube-proxy:v1");
    let roots = read_index(&encode_layout_index(std::slice::from_ref(&tag)).unwrap().bytes).unwrap();
    assert_eq!(roots[0].annotations[annotation::REF_NAME], "kube-proxy:v1");
    assert_eq!(roots[0].annotations[annotation::CONTAINERD_NAME], "docker.io/x/kubelet:kube-proxy:v1");
    assert_eq!(tag.blobs().count(), 2 * 4 + 1);
}

#[test]
fn hostile_documents_are_refused() {
    let huge = vec![b' '; 5 << 20];
    let deep = format!(r#"{{"x":{}"#, "[".repeat(100_000));
    let digest = Digest::of("");
    let descriptor = format!(r#"{{"mediaType":"x","digest":"{digest}","size":1}}"#);
    let many = vec![descriptor.as_str(); 10_001].join(",");
    let cases: Vec<(String, &str)> = vec![
        (String::from_utf8(huge).unwrap(), "more than the 4194304"),
        (deep, "recursion limit exceeded"),
        ("{}".to_owned(), "missing field `schemaVersion`"),
        (r#"{"schemaVersion":1,"manifests":[]}"#.to_owned(), "schemaVersion is 1"),
        (format!(r#"{{"schemaVersion":2,"manifests":[{many}]}}"#), "lists 10001 manifests"),
        (
            r#"{"schemaVersion":2,"manifests":[{"mediaType":"x","digest":"sha512:00","size":1}]}"#.to_owned(),
            "`sha512:00` is not a SHA-256 digest",
        ),
        (
            r#"{"schemaVersion":2,"manifests":[{"mediaType":"x","digest":"../../etc/passwd","size":1}]}"#.to_owned(),
            "is not a",
        ),
        (format!(r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"x","digest":"{digest}","size":-1}}]}}"#), "-1"),
        (
            format!(
                r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"x","digest":"{digest}","size":1,"platform":{{"os":"linux","architecture":"\u001b[2J"}}}}]}}"#
            ),
            r#"the platform "linux/\u{1b}[2J" is not one"#,
        ),
    ];
    for (text, expected) in cases {
        let message = read_index(text.as_bytes()).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
    let message = check(b"x", Blob { digest, size: 0 }).unwrap_err().to_string();
    assert!(message.contains(&digest.to_string()) && message.contains(&Digest::of("x").to_string()), "{message}");
}
