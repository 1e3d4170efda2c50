//! Alpine packages: against the real apk where it is at hand, and against everything that may be wrong with them.

mod support;

#[path = "apk/reference.rs"]
mod reference;
#[path = "apk/resolution.rs"]
mod resolution;
