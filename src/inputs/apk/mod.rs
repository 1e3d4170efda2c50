//! Alpine packages (apk v2): signed indexes, the choice of packages, and the root file system that they make.
//!
//! ```text
//! repository  -> index        a signed APKINDEX, verified, then read
//! resolver                    which packages, in which order: what `apk add` would decide
//! package     -> archive      a package file, verified part by part; its files as slices of stored bytes
//! install     -> database     the tree that `apk add` would leave, with apk's own records in it
//! ```
//!
//! Nothing here fetches: bytes come as slices or as blobs of the store. Nothing runs what a package brings; what its
//! scripts would do is done here where it is known, and named where it is not. apk-tools 2.14 is the reference for
//! every decision; comments say which of its files a rule is from.

mod accounts;
mod applets;
pub mod archive;
pub mod checksum;
pub mod claims;
pub mod container;
mod database;
pub mod dependency;
pub mod index;
pub mod install;
pub mod package;
pub mod pkginfo;
mod record;
pub mod repository;
pub mod resolver;
mod restored;
pub mod scripts;
pub mod signature;
pub mod version;
