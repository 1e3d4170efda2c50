//! Small images, sound in every digest, made in a store.

use std::io::Write as _;

use kletimg::{
    base::{Blob, Digest},
    images::{
        Descriptor,
        media_type::{INDEX, MANIFEST},
    },
    inputs::store::Store,
};
use serde_json::{Value, json};

/// Bytes that do not compress and differ by `seed`.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A layer of one file: its blob, and the digest of its tar.
pub fn layer(store: &Store, name: &str, content: &[u8]) -> (Blob, Digest) {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o755);
    header.set_cksum();
    builder.append_data(&mut header, name, content).unwrap();
    let tar = builder.into_inner().unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar).unwrap();
    (store.put(&gzip.finish().unwrap()).unwrap(), Digest::of(&tar))
}

pub fn put(store: &Store, value: &Value) -> Blob {
    store.put(value.to_string().as_bytes()).unwrap()
}

pub fn descriptor(media_type: &str, blob: Blob) -> Value {
    json!({ "mediaType": media_type, "digest": blob.digest, "size": blob.size })
}

/// An image for one architecture: its manifest's descriptor.
pub fn image(store: &Store, architecture: &str, layers: &[(Blob, Digest)]) -> Value {
    let diff_ids: Vec<_> = layers.iter().map(|(_, diff_id)| diff_id).collect();
    let history: Vec<_> = layers.iter().map(|_| json!({ "created_by": "kletimg" })).collect();
    let config = put(
        store,
        &json!({
            "architecture": architecture, "os": "linux", "config": { "Cmd": ["/hello"] },
            "rootfs": { "type": "layers", "diff_ids": diff_ids }, "history": history,
        }),
    );
    let layers: Vec<_> =
        layers.iter().map(|(blob, _)| descriptor("application/vnd.oci.image.layer.v1.tar+gzip", *blob)).collect();
    let manifest = put(
        store,
        &json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": descriptor("application/vnd.oci.image.config.v1+json", config), "layers": layers,
        }),
    );
    let mut descriptor = descriptor(MANIFEST, manifest);
    descriptor["platform"] = json!({ "architecture": architecture, "os": "linux" });
    descriptor
}

/// An index over images.
pub fn index(store: &Store, manifests: &[Value]) -> Descriptor {
    let blob = put(store, &json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests }));
    Descriptor::new(INDEX, blob)
}

/// An index of amd64 and arm64 with a shared layer, one layer each of `size` bytes, and digests that differ by `seed`.
pub fn multi_arch(store: &Store, seed: u64, size: usize) -> Descriptor {
    let shared = layer(store, "etc/os-release", b"NAME=shared\n");
    let images: Vec<_> = ["amd64", "arm64"]
        .iter()
        .zip(seed * 10..)
        .map(|(architecture, seed)| image(store, architecture, &[shared, layer(store, "hello", &noise(seed, size))]))
        .collect();
    index(store, &images)
}
