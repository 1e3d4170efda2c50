//! Debian: the resolver against the machine's own apt, and real repositories' files through the whole chain.
#![allow(unreachable_pub, reason = "a test program has no outside")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod support;

#[path = "deb/apt.rs"]
mod apt;
#[path = "deb/assembling.rs"]
mod assembling;
#[path = "deb/gnupg.rs"]
mod gnupg;
#[path = "deb/hostile.rs"]
mod hostile;
#[path = "deb/keys.rs"]
mod keys;
#[path = "deb/real.rs"]
mod real;
#[path = "deb/resolving.rs"]
mod resolving;
#[path = "deb/signed.rs"]
mod signed;
