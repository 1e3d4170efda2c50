//! The index of a repository, signed by nobody: container, text, and the choice of its first package.
#![no_main]

use kletimg::inputs::apk::{
    index::Index,
    repository::{Trust, VerifiedIndex},
    resolver::{Repository, World, resolve},
    signature::Keyring,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = VerifiedIndex::open(bytes, &Keyring::new(), Trust::AllowUnsigned);
    let Ok(index) = Index::parse(bytes.to_vec()) else { return };
    let Some(first) = index.packages().next() else { return };
    let world = World::parse([first.name()]).expect("a package's name is a dependency");
    let _ = resolve(&[Repository { tag: None, index: &index }], &world);
});
