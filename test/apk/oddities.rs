//! Archives that are damaged in every place: whatever comes out is an error or a sound result, and never a panic.
//!
//! The signature is made after the damage, so that the readers behind it see it. `fuzz/` does the same without an end.

use kletimg::{
    base::{Blob, Digest, Node},
    inputs::apk::{
        archive, container,
        repository::{Trust, VerifiedIndex},
    },
};
use proptest::prelude::*;

use crate::repository::{Tar, gzip, index, keys, signature};

fn archive() -> Vec<u8> {
    Tar::default()
        .folder("usr")
        .file("usr/a", b"some bytes")
        .entry("usr/b", tar::EntryType::Symlink, "a", 0o777, b"")
        .raw("usr/c", tar::EntryType::Link, "usr/a", 0o644, b"")
        .pax("SCHILY.xattr.security.capability", "x")
        .file("usr/d", &[7; 1000])
        .whole()
}

/// Changes bytes, and cuts the end off.
fn damage(mut bytes: Vec<u8>, changes: &[(prop::sample::Index, u8)], length: prop::sample::Index) -> Vec<u8> {
    for (at, byte) in changes {
        let at = at.index(bytes.len());
        bytes[at] = *byte;
    }
    bytes.truncate(length.index(2 * bytes.len()));
    bytes
}

fn changes() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6)
}

proptest! {
    #[test]
    fn damaged_data_is_an_error_or_stays_inside(changes in changes(), length in any::<prop::sample::Index>()) {
        let bytes = damage(archive(), &changes, length);
        let data = Blob { digest: Digest::of(&bytes), size: bytes.len() as u64 };
        if let Ok(entries) = archive::entries(&bytes[..], &data) {
            for entry in entries {
                prop_assert!(entry.mode <= 0o7777);
                if let Node::File(content) = entry.node {
                    prop_assert!(content.offset + content.size <= data.size);
                }
            }
        }
    }

    #[test]
    fn damaged_containers_are_errors(changes in changes(), length in any::<prop::sample::Index>()) {
        let bytes = damage(index("C:Q1qZk+NkcGgWq6PiVxeFDCbJzQ2J0=\nP:a\nV:1\n\n"), &changes, length);
        let _ = VerifiedIndex::open(&bytes, &keys(), Trust::AllowUnsigned);
        let _ = container::member(&bytes[..], "a member", 1 << 16);
        let inside = gzip(&bytes);
        let signed = [signature(&inside), inside].concat();
        prop_assert!(VerifiedIndex::open(&signed, &keys(), Trust::Signed).is_err());
    }
}
