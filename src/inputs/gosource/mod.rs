//! Programs compiled from Go sources: any platform from any machine, the same bytes everywhere.
//!
//! [`toolchain`] finds Go and, for programs with C in them, zig, which is a C compiler for every platform with a static
//! musl beside it. [`build`] compiles: [`layout`] reads off the sources how they want to be built, [`sources`] lays them
//! on the disk, [`command`] says the whole command line and environment.
//!
//! The sources come as a tree in the store; unpacking and verifying archives is done before. Stripping and packing of
//! what comes out is done after, in `binaries`.

pub mod build;
mod command;
pub mod layout;
mod sources;
pub mod toolchain;
pub mod version;
