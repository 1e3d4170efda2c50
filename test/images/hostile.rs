//! Layouts that want to mislead their reader.

use std::{fs, path::Path};

use kletimg::{
    base::{Blob, Digest},
    layers::Codec,
    outputs::layout,
};

use crate::fixture::{Fixture, TAG, build};

/// A sound layout, and what its `index.json` says.
fn sound() -> (Fixture, String) {
    let fixture = Fixture::new();
    let tags = build(&fixture.store, Codec::Gzip(kletimg::layers::GzipLevel::new(1).unwrap()), 2);
    layout::write(&fixture.store, &fixture.dist, &tags[..1]).unwrap();
    let index = fs::read_to_string(fixture.dist.join("index.json")).unwrap();
    (fixture, index)
}

fn error(fixture: &Fixture) -> String {
    layout::read(&fixture.dist).unwrap_err().to_string()
}

fn replace(path: &Path, bytes: impl AsRef<[u8]>) {
    let _ = fs::remove_file(path);
    fs::write(path, bytes).unwrap();
}

/// Puts a document into the layout and gives its descriptor.
fn put(fixture: &Fixture, media_type: &str, bytes: impl AsRef<[u8]>) -> String {
    let blob = Blob { digest: Digest::of(&bytes), size: bytes.as_ref().len() as u64 };
    replace(&fixture.blob(&blob.digest), bytes);
    format!(r#"{{"mediaType":"{media_type}","digest":"{}","size":{}}}"#, blob.digest, blob.size)
}

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

fn index(manifests: &str) -> String {
    format!(r#"{{"schemaVersion":2,"manifests":[{manifests}]}}"#)
}

#[test]
fn what_is_no_layout_is_called_so() {
    let (fixture, _) = sound();
    fs::remove_file(fixture.dist.join("oci-layout")).unwrap();
    assert!(error(&fixture).contains("there is no OCI layout (no `oci-layout` file): build one with"));
    for marker in ["", "{}", r#"{"imageLayoutVersion":"2.0.0"}"#] {
        replace(&fixture.dist.join("oci-layout"), marker);
        assert!(error(&fixture).contains("names no version 1.0.x"), "{marker}");
    }
}

#[test]
fn an_index_json_that_misleads_is_refused() {
    let (fixture, sound) = sound();
    let gone = Digest::of("gone");
    let entry = |media_type: &str, name: &str| {
        format!(
            r#"{{"mediaType":"{media_type}","digest":"{gone}","size":7,"annotations":{{"org.opencontainers.image.ref.name":"{name}"}}}}"#
        )
    };
    let cases = [
        (String::new(), "reading `index.json`"),
        (" ".repeat(5 << 20), "larger than 4194304 bytes"),
        (
            index(&entry(INDEX, "gone")),
            &*format!("tag `gone` in {}: the blob {gone} of 7 bytes is not there", fixture.dist.display()),
        ),
        (index(&entry("application/pdf", "x")), "a `application/pdf`, neither an index nor an image"),
        (index(&entry(INDEX, r"\u001b[2J")), r#""\u{1b}[2J" cannot name a tag"#),
        (sound.replace(r#""size":"#, r#""size":9"#), "bytes is not there (a file of "),
        (sound.replace(r#""size":"#, r#""size":99999999"#), "more than the 4194304 that are read"),
    ];
    for (text, expected) in cases {
        replace(&fixture.dist.join("index.json"), &text);
        let message = error(&fixture);
        assert!(message.contains(expected), "{message}\nhas no\n{expected}");
    }
}

#[test]
fn every_damaged_document_is_found() {
    let (fixture, _) = sound();
    let tag = layout::read(&fixture.dist).unwrap().remove(0);
    for blob in tag.blobs() {
        let path = fixture.blob(&blob.digest);
        let bytes = fs::read(&path).unwrap();
        replace(&path, &bytes[..bytes.len() - 1]);
        let message = error(&fixture);
        assert!(message.contains(&blob.digest.to_string()) && message.contains(TAG), "{message}");
        let mut flipped = bytes.clone();
        flipped[bytes.len() / 2] ^= 1;
        replace(&path, &flipped);
        if blob.media_type.ends_with("json") {
            let message = error(&fixture);
            assert!(message.contains(&Digest::of(&flipped).to_string()), "{message}");
        } else {
            // Reading leaves layers packed; measuring unpacks those that do not state their size.
            let mut tags = layout::read(&fixture.dist).unwrap();
            tags[0].images.iter_mut().flat_map(|image| &mut image.layers).for_each(|layer| layer.annotations.clear());
            assert!(layout::measure(&fixture.dist, &mut tags).is_err());
        }
        replace(&path, &bytes);
        layout::read(&fixture.dist).unwrap();
    }
}

#[test]
fn indexes_within_indexes_have_an_end() {
    let (fixture, _) = sound();
    let write = |descriptor: &str| replace(&fixture.dist.join("index.json"), index(descriptor));
    // A circle needs a document that holds its own digest: whatever it claims, the digest is found wrong.
    let own = Digest::of("own");
    let size = index(&format!(r#"{{"mediaType":"{INDEX}","digest":"{own}","size":100}}"#)).len();
    let circle = format!(r#"{{"mediaType":"{INDEX}","digest":"{own}","size":{size}}}"#);
    replace(&fixture.blob(&own), index(&circle));
    write(&circle);
    assert!(error(&fixture).contains("the bytes have the digest"));
    // A tower.
    let mut top = put(&fixture, INDEX, index(""));
    for _ in 0..6 {
        top = put(&fixture, INDEX, index(&top));
    }
    write(&top);
    assert!(error(&fixture).contains("more than 4 levels deep"));
    // A pyramid: 100 times 100 times 100 ways to one manifest.
    let config =
        put(&fixture, CONFIG, r#"{"architecture":"arm","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#);
    let manifest = put(&fixture, MANIFEST, format!(r#"{{"schemaVersion":2,"config":{config},"layers":[]}}"#));
    let mut top = manifest;
    for _ in 0..3 {
        top = put(&fixture, INDEX, index(&vec![top; 100].join(",")));
    }
    write(&top);
    assert!(error(&fixture).contains("lead to more than 20000"));
}

#[test]
fn an_image_without_a_name_is_called_by_its_digest() {
    let (fixture, _) = sound();
    let config =
        put(&fixture, CONFIG, r#"{"architecture":"arm","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#);
    let manifest = put(&fixture, MANIFEST, format!(r#"{{"schemaVersion":2,"config":{config},"layers":[]}}"#));
    replace(&fixture.dist.join("index.json"), index(&manifest));
    let tags = layout::read(&fixture.dist).unwrap();
    assert_eq!(tags[0].name.as_str(), tags[0].root.digest.to_string());
    assert_eq!(tags[0].images[0].platform.to_string(), "linux/arm");
}

#[test]
fn a_blob_that_is_no_file_is_not_opened() {
    let (fixture, _) = sound();
    let tag = layout::read(&fixture.dist).unwrap().remove(0);
    let path = fixture.blob(&tag.images[0].config.digest);
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
    assert!(error(&fixture).contains("is not there"));
}
