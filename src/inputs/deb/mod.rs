//! Debian as a base: signed indexes, the choice of packages, and the root file system that they make.
//!
//! ```text
//! sources, settings
//!          -> machine     where this machine reaches a Debian archive, and whose signatures count
//! openpgp  -> release     a suite's release file, verified, and the indexes it vouches for
//! packages -> universe    what the indexes offer; source_packages for tarballs
//! resolver                which packages: what `apt-get install` would decide
//! control  -> package     one package's file
//! rootfs      packages put together as dpkg would, running nothing
//! units       what systemd starts by itself, where a variant asks for it
//! ```
//!
//! Nothing here fetches or unpacks data: bytes come as slices, packages as trees of the store. References are Debian
//! Policy for formats, apt 2.6 for decisions, dpkg 1.21 for what is installed.

pub mod control;
pub mod date;
pub mod machine;
pub mod openpgp;
pub mod package;
pub mod packages;
pub mod relation;
pub mod release;
pub mod resolver;
pub mod rootfs;
pub mod settings;
pub mod source_packages;
pub mod sources;
pub mod stanza;
pub mod units;
pub mod universe;
pub mod version;
