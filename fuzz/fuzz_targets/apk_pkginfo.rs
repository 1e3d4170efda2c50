//! What a package says of itself.
#![no_main]

use kletimg::inputs::apk::pkginfo::PackageInfo;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(info) = PackageInfo::parse(bytes) {
        assert_eq!(info.replaces().count(), info.replaces.len());
    }
});
