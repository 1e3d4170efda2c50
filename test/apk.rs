//! Alpine packages: against the real apk where it is at hand, and against everything that may be wrong with them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where something is wrong")]
#![allow(clippy::disallowed_macros, reason = "a test says why it is skipped")]

mod support;

#[path = "apk/bases.rs"]
mod bases;
#[path = "apk/chance.rs"]
mod chance;
#[path = "apk/installation.rs"]
mod installation;
#[path = "apk/locked.rs"]
mod locked;
#[path = "apk/oddities.rs"]
mod oddities;
#[path = "apk/places.rs"]
mod places;
#[path = "apk/reference.rs"]
mod reference;
#[path = "apk/refusals.rs"]
mod refusals;
#[path = "apk/repository.rs"]
mod repository;
#[path = "apk/resolution.rs"]
mod resolution;
#[path = "apk/shell.rs"]
mod shell;
