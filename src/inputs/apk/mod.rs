//! Alpine packages: signed indexes, the choice of packages, and the root file system that they make.

pub mod checksum;
pub mod container;
pub mod dependency;
pub mod index;
pub mod repository;
pub mod resolver;
pub mod signature;
pub mod version;
