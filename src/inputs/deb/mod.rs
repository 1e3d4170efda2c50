//! Debian as a base.

pub mod date;
pub mod openpgp;
pub mod packages;
pub mod relation;
pub mod release;
pub mod resolver;
pub mod sources;
pub mod stanza;
pub mod universe;
pub mod version;
