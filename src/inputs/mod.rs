//! Bytes from outside, and the store that keeps them and everything made from them.

pub mod apk;
pub mod archive;
pub mod deb;
pub mod fetch;
pub mod gosource;
pub mod store;
