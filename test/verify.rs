//! Sound images have no findings; each single corruption has one.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Cursor, Read, Write as _},
    process::Command,
    sync::Arc,
};

use kletimg::{
    base::{Blob, Digest, progress::SharedProgress, progress::Silent},
    images::{
        Descriptor,
        media_type::{DOCKER_INDEX, DOCKER_MANIFEST, INDEX, MANIFEST},
    },
    inputs::store::Store,
    outputs::{
        platforms,
        registry::{Registry, Settings, pull},
        source::{Source, SourceError, manifests},
        verify::{Code, verify},
    },
};
use serde_json::{Value, json};
use support::{
    fixture, image, parts,
    registry::{Guard, RealRegistry},
};

mod support;

/// Blobs in memory, by the digest they are asked for, which need not be theirs.
#[derive(Clone, Default)]
struct Blobs(BTreeMap<Digest, Vec<u8>>);

impl Source for Blobs {
    fn open(&self, blob: &Blob, from: u64) -> Result<Box<dyn Read + Send>, SourceError> {
        let bytes = self.0.get(&blob.digest).ok_or(SourceError::Missing { digest: blob.digest })?;
        let from = usize::try_from(from).unwrap();
        Ok(Box::new(Cursor::new(bytes[from..].to_vec())))
    }
}

impl Blobs {
    fn put(&mut self, bytes: &[u8]) -> Blob {
        let blob = Blob { digest: Digest::of(bytes), size: bytes.len() as u64 };
        self.0.insert(blob.digest, bytes.to_vec());
        blob
    }

    fn json(&mut self, value: &Value) -> Blob {
        self.put(value.to_string().as_bytes())
    }
}

/// The parts of an image, to be changed before it is put together.
struct Parts {
    tar: Vec<u8>,
    packed: Option<Vec<u8>>,
    config: Value,
    layer_type: &'static str,
    config_type: &'static str,
    manifest: fn(&mut Value),
    index: fn(&mut Value),
    index_type: &'static str,
}

fn tar_of(entries: &[(&str, tar::EntryType, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, kind, content) in entries {
        let mut header = tar::Header::new_gnu();
        // As a hostile archive has it; the library would not write such a path.
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        let link = matches!(kind, tar::EntryType::Link | tar::EntryType::Symlink);
        if link {
            header.as_mut_bytes()[157..157 + content.len()].copy_from_slice(content);
        }
        let content: &[u8] = if link { b"" } else { content };
        header.set_size(content.len() as u64);
        header.set_cksum();
        bytes.extend(header.as_bytes());
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

fn elf(machine: u8) -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0".to_vec();
    bytes.extend([machine, 0]);
    bytes.resize(64, 0);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

const FILE: tar::EntryType = tar::EntryType::Regular;

impl Parts {
    fn sound() -> Self {
        let tar = tar_of(&[("bin/", tar::EntryType::Directory, b""), ("bin/kubelet", FILE, &elf(62))]);
        Self {
            config: json!({
                "architecture": "amd64", "os": "linux",
                "rootfs": { "type": "layers", "diff_ids": [Digest::of(&tar)] },
                "history": [{ "created_by": "a" }, { "created_by": "b", "empty_layer": true }],
            }),
            tar,
            packed: None,
            layer_type: "application/vnd.oci.image.layer.v1.tar+gzip",
            config_type: "application/vnd.oci.image.config.v1+json",
            manifest: |_| {},
            index: |_| {},
            index_type: INDEX,
        }
    }

    fn with_tar(tar: Vec<u8>) -> Self {
        let mut parts = Self::sound();
        parts.config["rootfs"]["diff_ids"] = json!([Digest::of(&tar)]);
        Self { tar, ..parts }
    }

    fn with_config(change: impl Fn(&mut Value)) -> Self {
        let mut parts = Self::sound();
        change(&mut parts.config);
        parts
    }

    /// The image, and its blobs by kind: index, manifest, config, layer.
    fn build(&self) -> (Blobs, Descriptor, [Blob; 4]) {
        let mut blobs = Blobs::default();
        let layer = blobs.put(&self.packed.clone().unwrap_or_else(|| gzip(&self.tar)));
        let config = blobs.json(&self.config);
        let mut manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": image::descriptor(self.config_type, config), "layers": [image::descriptor(self.layer_type, layer)],
        });
        (self.manifest)(&mut manifest);
        let manifest = blobs.json(&manifest);
        let mut entry = image::descriptor(MANIFEST, manifest);
        entry["platform"] = json!({ "architecture": "amd64", "os": "linux" });
        let mut index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [entry] });
        (self.index)(&mut index);
        let index = blobs.json(&index);
        let root = Descriptor::new(self.index_type, index);
        (blobs, root, [index, manifest, config, layer])
    }
}

fn codes(source: &dyn Source, root: &Descriptor) -> BTreeSet<Code> {
    verify(source, root).findings.into_iter().map(|finding| finding.code).collect()
}

#[test]
fn a_sound_image_has_no_findings() {
    let zstd = Parts {
        packed: Some(zstd::encode_all(Parts::sound().tar.as_slice(), 3).unwrap()),
        layer_type: "application/vnd.oci.image.layer.v1.tar+zstd",
        ..Parts::sound()
    };
    let plain = Parts {
        packed: Some(Parts::sound().tar),
        layer_type: "application/vnd.oci.image.layer.v1.tar",
        ..Parts::sound()
    };
    for parts in [Parts::sound(), zstd, plain] {
        let (blobs, root, _) = parts.build();
        let report = verify(&blobs, &root);
        assert_eq!((report.findings, report.platforms, report.blobs), (vec![], vec!["linux/amd64".to_owned()], 4));
    }
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path());
    let report = verify(&store, &image::multi_arch(&store, 1, 1000));
    assert_eq!((report.findings, report.platforms.len()), (vec![], 2));
}

/// A program as data: of no use to whoever may not run it, and so for any machine.
fn data(content: &[u8]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    builder.append_data(&mut header, "usr/src/testdata/elf", content).unwrap();
    builder.into_inner().unwrap()
}

#[test]
fn what_others_rightly_do_is_sound() {
    use tar::EntryType::{Link, Symlink};
    let layer = tar_of(&[
        ("bin/", tar::EntryType::Directory, b""),
        // An attribute may hold anything, also a newline.
        ("x", tar::EntryType::XHeader, b"27 SCHILY.xattr.user.x=\n\x00=\n"),
        ("bin/a", FILE, b"1"),
        ("bin/b", Link, b"bin/a"),
        ("etc", Symlink, b"/usr/etc"),
        ("lib", Symlink, b"usr/lib"),
        ("lib/x", FILE, b"1"),
        (".wh.old", FILE, b""),
        ("bin/.wh..wh..opq", FILE, b""),
        ("bin/", tar::EntryType::Directory, b""),
    ]);
    let docker = Parts {
        layer_type: "application/vnd.docker.image.rootfs.diff.tar.gzip",
        config_type: "application/vnd.docker.container.image.v1+json",
        manifest: |m| m["mediaType"] = json!(DOCKER_MANIFEST),
        index: |i| {
            i["mediaType"] = json!(DOCKER_INDEX);
            i["manifests"][0]["mediaType"] = json!(DOCKER_MANIFEST);
        },
        index_type: DOCKER_INDEX,
        ..Parts::sound()
    };
    let foreign = Parts {
        manifest: |m| {
            let elsewhere = Blob { digest: Digest::of("elsewhere"), size: 7 };
            let kind = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
            m["layers"].as_array_mut().unwrap().insert(0, image::descriptor(kind, elsewhere));
        },
        ..Parts::with_config(|c| {
            c["rootfs"]["diff_ids"].as_array_mut().unwrap().insert(0, json!(Digest::of("its tar")));
            c["history"] = json!([{ "empty_layer": true }, {}, { "empty_layer": true }, {}]);
        })
    };
    let without_history = Parts::with_config(|c| c["history"] = Value::Null);
    let windows = Parts {
        index: |i| {
            i["manifests"][0]["platform"] = json!({ "architecture": "amd64", "os": "windows", "os.version": "10.0.1" });
            let mut other = i["manifests"][0].clone();
            other["platform"]["os.version"] = json!("10.0.2");
            i["manifests"].as_array_mut().unwrap().push(other);
        },
        ..Parts::with_config(|c| c["os"] = json!("windows"))
    };
    let beside = [("kubelet", FILE, &*elf(62)), ("lib/old", FILE, &elf(3))];
    let cases = [
        ("links and whiteouts", Parts::with_tar(layer)),
        ("a library of the forebear beside its own", Parts::with_tar(tar_of(&beside))),
        ("an absolute path, as ko writes it", Parts::with_tar(tar_of(&[("/ko-app/app", FILE, b"1")]))),
        ("data for another machine", Parts::with_tar(data(&elf(183)))),
        ("Docker's own types", docker),
        ("a layer that is had elsewhere", foreign),
        ("no history", without_history),
        ("two builds of Windows", windows),
    ];
    for (name, parts) in cases {
        let (blobs, root, _) = parts.build();
        assert_eq!(verify(&blobs, &root).findings, vec![], "{name}");
    }
}

/// Attestations, as buildx makes them, and artifacts of others, beside an image in its index.
#[test]
fn what_lies_beside_an_image_is_read_but_not_judged() {
    let (mut blobs, root, [index, ..]) = Parts::sound().build();
    let mut index: Value = serde_json::from_slice(&blobs.0[&index.digest]).unwrap();
    let statement = blobs.put(b"a statement");
    let empty = blobs.put(b"{}");
    let mut beside = |more: Value, config: &str| {
        let mut manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": image::descriptor(config, empty),
            "layers": [image::descriptor("application/vnd.in-toto+json", statement)],
        });
        manifest.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        image::descriptor(MANIFEST, blobs.json(&manifest))
    };
    let mut attestation = beside(json!({}), "application/vnd.oci.image.config.v1+json");
    attestation["platform"] = json!({ "architecture": "unknown", "os": "unknown" });
    let again = attestation.clone();
    let artifact = beside(json!({ "artifactType": "application/x" }), "application/vnd.oci.empty.v1+json");
    let noted = beside(json!({ "artifactType": "application/y", "annotations": { "a": "b" } }), "text/plain");
    index["manifests"].as_array_mut().unwrap().extend([attestation, again, artifact, noted]);
    let root = Descriptor::new(&root.media_type, blobs.json(&index));
    let report = verify(&blobs, &root);
    assert_eq!((report.findings, report.platforms.len()), (vec![], 1));
    let image = platforms(&blobs, &root).unwrap();
    assert_eq!(image.len(), 1, "and it is no image to anybody");
    blobs.0.insert(statement.digest, b"another!!!!".to_vec());
    assert_eq!(codes(&blobs, &root), BTreeSet::from([Code::BlobDigest]));
}

/// What an index or a manifest says of a blob must be right also where another has said it before.
#[test]
fn a_wrong_word_about_a_shared_blob_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path());
    let shared = image::layer(&store, "etc/os-release", b"NAME=shared\n");
    let sound = image::image(&store, "amd64", &[shared]);
    let twice = |change: &dyn Fn(&mut Value)| {
        let mut other = sound.clone();
        change(&mut other);
        codes(&store, &image::index(&store, &[sound.clone(), other]))
    };
    assert_eq!(twice(&|other| other["platform"]["architecture"] = "arm64".into()), [Code::PlatformMismatch].into());
    assert_eq!(twice(&|other| other["size"] = 1.into()), [Code::BlobSize, Code::PlatformDuplicate].into());

    let longer = (Blob { size: shared.0.size + 5, ..shared.0 }, shared.1);
    let both = [sound, image::image(&store, "arm64", &[longer])];
    assert_eq!(codes(&store, &image::index(&store, &both)), [Code::BlobSize].into());
}

#[test]
fn a_flipped_bit_is_found_in_every_blob() {
    let (sound, root, blobs) = Parts::sound().build();
    for (kind, blob) in ["index", "manifest", "config", "layer"].iter().zip(blobs) {
        for at in 0..blob.size * 8 {
            let mut broken = sound.clone();
            broken.0.get_mut(&blob.digest).unwrap()[usize::try_from(at / 8).unwrap()] ^= 1 << (at % 8);
            assert!(codes(&broken, &root).contains(&Code::BlobDigest), "{kind}, bit {at}");
        }
        for (code, bytes) in [(Code::BlobMissing, None), (Code::BlobSize, Some(1)), (Code::BlobSize, Some(0))] {
            let mut broken = sound.clone();
            let was = broken.0.remove(&blob.digest).unwrap();
            let longer = [was.as_slice(), b" "].concat();
            match bytes {
                Some(1) => broken.0.insert(blob.digest, longer),
                Some(_) => broken.0.insert(blob.digest, was[..was.len() - 1].to_vec()),
                None => None,
            };
            assert!(codes(&broken, &root).contains(&code), "{kind}, {code:?}");
        }
    }
}

/// Images whose digests are all right, with one thing that is not.
#[allow(clippy::too_many_lines, reason = "a table")]
fn corruptions() -> Vec<(&'static str, Parts, Code)> {
    let sound = Parts::sound;
    let device = tar::EntryType::Char;
    let packed = gzip(&sound().tar);
    let garbage = [packed.as_slice(), b"garbage"].concat();
    let cut = packed[..packed.len() - 9].to_vec();
    vec![
        (
            "a diff_id of another tar",
            Parts::with_config(|c| c["rootfs"]["diff_ids"][0] = json!(Digest::of("x"))),
            Code::DiffIdMismatch,
        ),
        ("a diff_id too few", Parts::with_config(|c| c["rootfs"]["diff_ids"] = json!([])), Code::DiffIdCount),
        ("no diff_ids", Parts::with_config(|c| c["rootfs"] = json!({ "type": "layers" })), Code::DiffIdCount),
        ("another kind of rootfs", Parts::with_config(|c| c["rootfs"]["type"] = json!("base")), Code::ConfigMalformed),
        (
            "a config without architecture",
            Parts::with_config(|c| c["architecture"] = Value::Null),
            Code::ConfigMalformed,
        ),
        ("another architecture", Parts::with_config(|c| c["architecture"] = json!("arm64")), Code::PlatformMismatch),
        ("another system", Parts::with_config(|c| c["os"] = json!("windows")), Code::PlatformMismatch),
        (
            "a variant of its own",
            Parts {
                index: |i| i["manifests"][0]["platform"]["variant"] = json!("v3"),
                ..Parts::with_config(|c| c["variant"] = json!("v2"))
            },
            Code::PlatformMismatch,
        ),
        ("too much history", Parts::with_config(|c| c["history"][1] = json!({})), Code::HistoryCount),
        ("a program for another machine", Parts::with_tar(tar_of(&[("k", FILE, &elf(183))])), Code::ElfMachine),
        ("a path twice", Parts::with_tar(tar_of(&[("a", FILE, b"1"), ("./a", FILE, b"2")])), Code::PathDuplicate),
        (
            "a folder that is also a file",
            Parts::with_tar(tar_of(&[("a/", tar::EntryType::Directory, b""), ("a", FILE, b"2")])),
            Code::PathDuplicate,
        ),
        ("a path above the root", Parts::with_tar(tar_of(&[("../a", FILE, b"1")])), Code::PathEscapes),
        ("a file below a file", Parts::with_tar(tar_of(&[("a", FILE, b"1"), ("a/b", FILE, b"2")])), Code::PathConflict),
        (
            "a file behind a link to a link to elsewhere",
            Parts::with_tar(tar_of(&[
                ("b", tar::EntryType::Symlink, b".."),
                ("a", tar::EntryType::Symlink, b"b"),
                ("a/x", FILE, b"1"),
            ])),
            Code::LinkEscapes,
        ),
        (
            "a kubelet for the forebear",
            Parts::with_tar(tar_of(&[("k", FILE, &elf(62)), ("kubelet", FILE, &elf(3))])),
            Code::ElfMachine,
        ),
        ("only programs for the forebear", Parts::with_tar(tar_of(&[("a", FILE, &elf(3))])), Code::ElfMachine),
        (
            "layers that only some programs see",
            Parts { manifest: |m| m["Layers"] = json!([]), ..sound() },
            Code::DocumentMalformed,
        ),
        (
            "a platform that only some programs see",
            Parts {
                index: |i| i["manifests"][0]["Platform"] = json!({ "architecture": "arm64", "os": "linux" }),
                ..sound()
            },
            Code::DocumentMalformed,
        ),
        (
            "an entrypoint that is no list",
            Parts::with_config(|c| c["config"] = json!({ "Entrypoint": "/x" })),
            Code::ConfigMalformed,
        ),
        ("a time that is none", Parts::with_config(|c| c["created"] = json!("yesterday")), Code::ConfigMalformed),
        ("an empty index", Parts { index: |i| i["manifests"] = json!([]), ..sound() }, Code::ImageMissing),
        (
            "a long path above the root",
            Parts::with_tar(tar_of(&[("x", tar::EntryType::GNULongName, b"a/../../b\0"), ("a", FILE, b"1")])),
            Code::PathEscapes,
        ),
        (
            "a PAX path above the root",
            Parts::with_tar(tar_of(&[("x", tar::EntryType::XHeader, b"15 path=a/../b\n"), ("a", FILE, b"1")])),
            Code::PathEscapes,
        ),
        (
            "a hard link above the root",
            Parts::with_tar(tar_of(&[("a", tar::EntryType::Link, b"../../etc/shadow")])),
            Code::LinkEscapes,
        ),
        (
            "a file behind a link to elsewhere",
            Parts::with_tar(tar_of(&[("a", tar::EntryType::Symlink, b"/etc"), ("a/passwd", FILE, b"1")])),
            Code::LinkEscapes,
        ),
        (
            "a hard link behind a link to elsewhere",
            Parts::with_tar(tar_of(&[
                ("a/b", tar::EntryType::Symlink, b"../.."),
                ("c", tar::EntryType::Link, b"a/b/etc/shadow"),
            ])),
            Code::LinkEscapes,
        ),
        ("a whiteout of the folder above", Parts::with_tar(tar_of(&[("a/.wh...", FILE, b"")])), Code::PathEscapes),
        ("a device", Parts::with_tar(tar_of(&[("dev/sda", device, b"")])), Code::PathDevice),
        (
            "a broken tar header",
            Parts::with_tar({
                let mut tar = tar_of(&[("a", FILE, b"1")]);
                tar[150] ^= 1;
                tar
            }),
            Code::LayerMalformed,
        ),
        (
            "a huge header",
            Parts::with_tar(tar_of(&[("x", tar::EntryType::GNULongName, &vec![b'a'; 2 << 20])])),
            Code::LayerMalformed,
        ),
        ("garbage after the gzip", Parts { packed: Some(garbage), ..sound() }, Code::LayerCompression),
        ("a gzip cut short", Parts { packed: Some(cut), ..sound() }, Code::LayerCompression),
        ("a tar that is called gzip", Parts { packed: Some(sound().tar), ..sound() }, Code::LayerCompression),
        (
            "a gzip that is called zstd",
            Parts { layer_type: "application/vnd.oci.image.layer.v1.tar+zstd", ..sound() },
            Code::LayerCompression,
        ),
        (
            "a gzip that is called tar",
            Parts { layer_type: "application/vnd.oci.image.layer.v1.tar", ..sound() },
            Code::DiffIdMismatch,
        ),
        ("a layer of no known type", Parts { layer_type: "text/plain", ..sound() }, Code::MediaType),
        ("a config of no known type", Parts { config_type: "text/plain", ..sound() }, Code::MediaType),
        ("an index delivered as a manifest", Parts { index_type: MANIFEST, ..sound() }, Code::DocumentMalformed),
        ("an index delivered as a text", Parts { index_type: "text/plain", ..sound() }, Code::MediaType),
        (
            "a manifest that is an index too",
            Parts { manifest: |m| m["manifests"] = json!([]), ..sound() },
            Code::DocumentMalformed,
        ),
        (
            "a manifest without layers",
            Parts { manifest: |m| m["layers"] = Value::Null, ..sound() },
            Code::DocumentMalformed,
        ),
        (
            "a manifest with a wrong size",
            Parts { manifest: |m| m["layers"][0]["size"] = json!(7), ..sound() },
            Code::BlobSize,
        ),
        (
            "a config with a wrong size",
            Parts { manifest: |m| m["config"]["size"] = json!(7), ..sound() },
            Code::BlobSize,
        ),
        (
            "a manifest of schema 1",
            Parts { manifest: |m| m["schemaVersion"] = json!(1), ..sound() },
            Code::DocumentMalformed,
        ),
        (
            "an index with a wrong size",
            Parts { index: |i| i["manifests"][0]["size"] = json!(7), ..sound() },
            Code::BlobSize,
        ),
        (
            "an index without platforms",
            Parts { index: |i| i["manifests"][0]["platform"] = Value::Null, ..sound() },
            Code::PlatformMissing,
        ),
        (
            "a manifest of no known type in an index",
            Parts { index: |i| i["manifests"][0]["mediaType"] = json!("application/x"), ..sound() },
            Code::MediaType,
        ),
        (
            "a platform twice",
            Parts {
                index: |i| {
                    let again = i["manifests"][0].clone();
                    i["manifests"].as_array_mut().unwrap().push(again);
                },
                ..sound()
            },
            Code::PlatformDuplicate,
        ),
        (
            "an index to nowhere",
            Parts { index: |i| i["manifests"][0]["digest"] = json!(Digest::of("nowhere")), ..sound() },
            Code::BlobMissing,
        ),
        (
            "a digest of another kind",
            Parts { index: |i| i["manifests"][0]["digest"] = json!("sha512:00"), ..sound() },
            Code::DocumentMalformed,
        ),
    ]
}

#[test]
fn every_single_corruption_is_found() {
    for (name, parts, code) in corruptions() {
        let (blobs, root, _) = parts.build();
        let report = verify(&blobs, &root);
        let codes: BTreeSet<_> = report.findings.iter().map(|finding| finding.code).collect();
        assert!(codes.contains(&code), "{name}: {:?}", report.findings);
        assert!(report.findings.iter().all(|finding| !finding.message.contains(char::is_control)), "{name}");
    }
}

/// The same as whoever types the command sees it: the finding on standard output, and exit code 3.
#[test]
fn the_program_tells_every_corruption_with_exit_code_3() {
    let folder = tempfile::tempdir().unwrap();
    let verify = |parts: &Parts| {
        let (blobs, root, _) = parts.build();
        let layout = folder.path().join(root.digest.hex());
        std::fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
        std::fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        let index = json!({ "schemaVersion": 2, "manifests": [image::descriptor(&root.media_type, root.blob())] });
        std::fs::write(layout.join("index.json"), index.to_string()).unwrap();
        for (digest, bytes) in &blobs.0 {
            std::fs::write(layout.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
        }
        let mut command = Command::new(fixture::program());
        command.args(["image", "verify", "--quiet"]).arg(&layout).env("KLETIMG_STORE", folder.path().join("store"));
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(verify(&Parts::sound()).0, Some(0));
    let corruptions = corruptions();
    assert!(corruptions.len() >= 25);
    for (name, parts, code) in corruptions {
        let (status, said) = verify(&parts);
        assert!(status == Some(3) && said.contains(&format!(": {code}: ")), "{name}: {said}");
    }
}

/// Every value in a document, by its JSON pointer.
fn leaves(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| leaves(value, &format!("{at}/{key}"), found)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(n, value)| leaves(value, &format!("{at}/{n}"), found));
        }
        _ => found.push(at.to_owned()),
    }
}

/// The value with one bit of it flipped, in every way that leaves it what it is.
fn flipped(value: &Value) -> Vec<Value> {
    match value {
        Value::String(text) => {
            let flip = |at: usize, bit: u8| {
                let mut bytes = text.clone().into_bytes();
                bytes[at] ^= bit;
                String::from_utf8(bytes).unwrap()
            };
            (0..text.len()).flat_map(|at| [1, 2, 4, 32].map(|bit| flip(at, bit).into())).collect()
        }
        Value::Number(number) => (0..20).map(|bit| (number.as_u64().unwrap() ^ (1 << bit)).into()).collect(),
        Value::Bool(value) => vec![(!value).into()],
        _ => Vec::new(),
    }
}

/// Digests are right again after the flip, as those of whoever makes an image with a mistake in it.
#[test]
fn a_flipped_bit_is_found_in_every_field() {
    let (sound, root, [index, manifest, config, _]) = Parts::sound().build();
    let names = ["config", "manifest", "index"];
    let blobs = [config, manifest, index];
    let read = |blob: &Blob| -> Value { serde_json::from_slice(&sound.0[&blob.digest]).unwrap() };
    let mut tried = 0;
    for (level, name) in names.iter().enumerate() {
        let document = read(&blobs[level]);
        let mut fields = Vec::new();
        leaves(&document, "", &mut fields);
        // Who made a layer is a text of any kind.
        for field in fields.iter().filter(|field| !field.ends_with("/created_by")) {
            for value in flipped(document.pointer(field).unwrap()) {
                let mut broken = sound.clone();
                let mut changed = document.clone();
                *changed.pointer_mut(field).unwrap() = value.clone();
                let mut blob = broken.json(&changed);
                for (above, descriptor) in [(1, "/config"), (2, "/manifests/0")].into_iter().skip(level) {
                    let mut parent = read(&blobs[above]);
                    let pointed = parent.pointer_mut(descriptor).unwrap();
                    pointed["digest"] = json!(blob.digest);
                    pointed["size"] = json!(blob.size);
                    blob = broken.json(&parent);
                }
                tried += 1;
                let found = codes(&broken, &Descriptor::new(&root.media_type, blob));
                assert!(!found.is_empty(), "{name}{field} as {value} goes unnoticed");
            }
        }
    }
    assert!(tried > 1000, "{tried}");
}

/// A source whose blobs break off in the middle, as a failing disk's do.
struct Failing(Blobs, Digest);

struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Err(std::io::Error::other("input/output error"))
    }
}

impl Source for Failing {
    fn open(&self, blob: &Blob, from: u64) -> Result<Box<dyn Read + Send>, SourceError> {
        let whole = self.0.open(blob, from)?;
        if blob.digest != self.1 {
            return Ok(whole);
        }
        Ok(Box::new(whole.take(blob.size / 2).chain(Broken)))
    }
}

#[test]
fn what_cannot_be_read_is_found_wherever_it_is() {
    let (sound, root, blobs) = Parts::sound().build();
    for (kind, blob) in ["index", "manifest", "config", "layer"].iter().zip(blobs) {
        let found = codes(&Failing(sound.clone(), blob.digest), &root);
        assert!(found.contains(&Code::BlobUnreadable), "{kind}: {found:?}");
    }
}

#[test]
fn what_has_no_end_is_given_up() {
    let (mut blobs, mut root, _) = Parts::sound().build();
    let level = |blobs: &mut Blobs, root: &Descriptor| {
        let inner = image::descriptor(INDEX, root.blob());
        let outer = blobs.json(&json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [inner] }));
        Descriptor::new(INDEX, outer)
    };
    for depth in 1..=4 {
        assert_eq!(codes(&blobs, &root).contains(&Code::IndexTooDeep), depth > 3, "{depth} levels of indexes");
        root = level(&mut blobs, &root);
    }
    // One entry beyond what registries take.
    let padding = "x".repeat(5 << 20);
    let huge = blobs.json(&json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [], "x": padding }));
    assert!(codes(&blobs, &Descriptor::new(INDEX, huge)).contains(&Code::DocumentTooLarge));
}

/// Sixteen GiB of zeros are 16 MiB of gzip, and of zstd half a MiB: only the latter is quick enough for a test.
#[test]
fn a_layer_that_unpacks_to_too_much_is_found() {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    let zeros = vec![0; 64 << 20];
    for _ in 0..=(16 << 30) / zeros.len() {
        encoder.write_all(&zeros).unwrap();
    }
    let packed = Some(encoder.finish().unwrap());
    let parts = Parts { packed, layer_type: "application/vnd.oci.image.layer.v1.tar+zstd", ..Parts::sound() };
    let (blobs, root, _) = parts.build();
    assert!(codes(&blobs, &root).contains(&Code::LayerTooLarge));
}

fn run(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn images_of_others_are_sound_too() {
    let Some(registry) = RealRegistry::start(Guard::Open) else { return };
    let Some(_) = parts::program("skopeo") else { return };
    let Some(docker) = parts::program("docker") else { return };
    let docker = docker.to_string_lossy();
    let answers = Command::new(docker.as_ref()).arg("version").output().unwrap().status.success();
    let Some(()) = parts::need("docker-engine", answers.then_some(()), "no Engine answers") else { return };

    let folder = registry.folder.path().join("context");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("hello"), "hello").unwrap();
    std::fs::write(folder.join("Dockerfile"), "FROM scratch\nCOPY hello /bin/\nENV A=b\nCOPY hello /etc/\n").unwrap();
    let name = format!("{}/docker:t", registry.host);
    let folder = folder.to_string_lossy();
    run(&docker, &["build", "--quiet", "--tag", &name, &folder]);
    run(&docker, &["push", "--quiet", &name]);
    run(&docker, &["image", "rm", &name]);
    let copy = format!("{}/skopeo:t", registry.host);
    let (from, to) = (format!("docker://{name}"), format!("docker://{copy}"));
    run("skopeo", &["copy", "--format", "oci", "--src-tls-verify=false", "--dest-tls-verify=false", &from, &to]);

    let silent: SharedProgress = Arc::new(Silent);
    for name in [name, copy] {
        let reference: kletimg::images::reference::Reference = name.parse().unwrap();
        let connected = Registry::connect(&Settings::default(), &reference.repository).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        let root = pull(&connected, &reference, &store, &silent).await.unwrap();
        let report = verify(&store, &root);
        assert_eq!((report.findings, report.platforms.len()), (vec![], 1), "{name}");
        assert_eq!(report.blobs, 4, "{name}: {:?}", manifests(&store, &root));
    }
}
