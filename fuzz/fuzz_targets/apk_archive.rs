//! The parts of a package, unpacked: the files of its data part, and the scripts of its control part.
#![no_main]

use kletimg::{
    base::{Blob, Digest, Node},
    inputs::apk::{archive, container},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let bytes = with_good_sums(bytes);
    let data = Blob { digest: Digest::of(&bytes), size: bytes.len() as u64 };
    if let Ok(files) = container::files(&bytes, "the control part") {
        assert!(files.iter().map(|file| file.bytes.len()).sum::<usize>() <= bytes.len());
    }
    let Ok(entries) = archive::entries(&bytes[..], &data) else { return };
    for entry in entries {
        assert!(entry.mode <= 0o7777);
        assert!(entry.path.as_str().split('/').all(|part| !part.is_empty() && part != ".."));
        if let Node::File(content) = entry.node {
            assert!(content.offset + content.size <= data.size);
        }
    }
});

/// Whole blocks, each with the sum of a header that is right: no fuzzer finds such sums, and no attacker is kept off by them.
fn with_good_sums(bytes: &[u8]) -> Vec<u8> {
    const BLOCK: usize = 512;
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    for block in bytes.chunks_exact_mut(BLOCK).filter(|block| block.iter().any(|byte| *byte != 0)) {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    bytes
}
