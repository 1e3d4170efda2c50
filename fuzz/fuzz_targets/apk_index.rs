//! The index of a repository, signed by nobody: container, text, and the choice of its first packages.
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
    let names = |count| index.packages().take(count).map(|package| package.name());
    for count in [1, 8] {
        let world = World::parse(names(count)).expect("a package's name is a dependency");
        if let Err(error) = resolve(&[Repository { tag: None, index: &index }], &world) {
            assert!(error.to_string().lines().count() > 1, "a refusal without a reason: {error}");
        }
    }
});
