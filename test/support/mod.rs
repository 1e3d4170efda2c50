//! What the integration tests share.
#![allow(dead_code, unreachable_pub, reason = "every test program uses its own part of this")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_macros, reason = "a test says why it is skipped")]

use std::path::PathBuf;

pub mod archives;
pub mod fixture;
pub mod image;
pub mod lying_registry;
pub mod registry;
pub mod server;
pub mod tls;

pub mod parts {
    //! Real parts that a test may need: programs, servers, data of a distribution.
    //!
    //! A test that lacks a part prints why it is skipped and passes. When `KLETIMG_TEST_REQUIRE` names the part (names
    //! joined by commas), the lack is a failure instead; `.ci/run` names them all.

    use std::path::PathBuf;

    /// `Some(value)` when the part is there; otherwise prints the reason, or fails where the part is required.
    pub fn need<T>(part: &str, value: Option<T>, reason: &str) -> Option<T> {
        if value.is_none() {
            let required = std::env::var("KLETIMG_TEST_REQUIRE").unwrap_or_default();
            assert!(
                !required.split(',').any(|name| name.trim() == part),
                "KLETIMG_TEST_REQUIRE names `{part}`, but {reason}"
            );
            super::say(&format!("skipped: needs `{part}`, but {reason}"));
        }
        value
    }

    /// A program on `PATH`. The part has the program's name.
    pub fn program(name: &str) -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file());
        need(name, found, &format!("`{name}` is not on PATH"))
    }

    /// The real Alpine data: the folder `shared/alpine` beside the checkout, or `KLETIMG_ALPINE_DATA`. The part is
    /// called `alpine-data`.
    pub fn alpine_data() -> Option<PathBuf> {
        let folder = std::env::var_os("KLETIMG_ALPINE_DATA")
            .map_or_else(|| std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/alpine"), PathBuf::from);
        let found = folder.join("minirootfs/SHA512SUMS").is_file().then_some(folder);
        need("alpine-data", found, "there is no folder with Alpine's data (set KLETIMG_ALPINE_DATA)")
    }
}

/// Tells whoever runs the tests. Unlike what `eprintln!` writes, it is seen of tests that pass.
pub fn say(line: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// A port where nobody listens, and that no other test will take: below those that the system gives out by itself.
pub fn free_port() -> u16 {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 10_000 + u16::try_from(std::process::id() % 200).unwrap() * 100;
    loop {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed) % 100;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Runs a program that was just written. A thread that starts another one at the same moment holds it open for writing for
/// an instant, in which it cannot be run.
pub fn run_new(command: &mut std::process::Command) -> std::process::Output {
    for _ in 0..1000 {
        match command.output() {
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
            ended => return ended.unwrap(),
        }
    }
    panic!("{command:?} stays busy");
}

/// A folder of the checkout.
pub fn checkout() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
