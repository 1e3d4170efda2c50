//! What is said of a matrix, a filter or a lock that is not as it should be, and what a build does about it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod support;

use support::fixture::{Fixture, fails, succeeds};

#[test]
fn every_word_of_a_filter_is_one_that_the_matrix_has() {
    let fixture = Fixture::new();
    let unknown: [(&[&str], &[&str]); 7] = [
        (&["--variant", "plain,kubeproxy"], &["no `kubeproxy`: did you mean `kube-proxy`?", "plain, extra, kube-proxy"]),
        (&["--variant", "plain,"], &["no ``", "--variant takes"]),
        (&["--variant", "xyzzy", "--base", "plan9"], &["no `xyzzy`", "no `plan9`", "--base takes: alpine3.0"]),
        (&["--kubernetes", "1.26.0,1.99.0"], &["no `1.99.0`", "--kubernetes takes: 1.26.0"]),
        (&["--kubernetes", ">=1.27"], &["no `>=1.27`"]),
        (&["--base", "alpine3.0", "--base", "alpine3.1"], &["no `alpine3.1`: did you mean `alpine3.0`?"]),
        (&["--platform", "linux/amd64,linux/arm64"], &["no `linux/arm64`", "--platform takes: linux/amd64"]),
    ];
    fixture.edit("m/matrix.toml", "base = ", "platforms = [\"linux/amd64\"]\nbase = ");
    for (arguments, expected) in unknown {
        let message = fails(fixture.mirrored(&["matrix", "build"]).args(arguments), 2);
        for part in expected {
            assert!(message.contains(part), "{part} is not in: {message}");
        }
    }
    assert!(!fixture.path("m/dist").exists());
    succeeds(fixture.kletimg(&["matrix", "plan"]).args(["--platform", "all", "--kubernetes", "1.26"]));
}
