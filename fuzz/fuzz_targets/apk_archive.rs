//! The data part of a package, unpacked.
#![no_main]

use kletimg::{
    base::{Blob, Digest, Node},
    inputs::apk::archive,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let data = Blob { digest: Digest::of(bytes), size: bytes.len() as u64 };
    let Ok(entries) = archive::entries(bytes, &data) else { return };
    for entry in entries {
        assert!(entry.mode <= 0o7777);
        if let Node::File(content) = entry.node {
            assert!(content.offset + content.size <= data.size);
        }
    }
});
