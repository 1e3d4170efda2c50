//! Alpine packages: signed indexes, the choice of packages, and the root file system that they make.

pub mod dependency;
pub mod version;
