//! The order of versions: total and antisymmetric, whatever the versions are.
#![no_main]

use kletimg::inputs::apk::version::Version;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|texts: (&str, &str, &str)| {
    let parsed = (Version::parse(texts.0), Version::parse(texts.1), Version::parse(texts.2));
    let (Ok(a), Ok(b), Ok(c)) = parsed else { return };
    assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
    if a <= b && b <= c {
        assert!(a <= c);
    }
});
