//! kletimg: a factory for containerized-kubelet images.
//!
//! ```text
//! matrix -> plan -> inputs -> binaries -> rootfs -> layers -> images -> outputs
//!                                                               \-> report
//! ```
//!
//! `ARCHITECTURE.md` is the map; `test/direction.rs` holds the directions.

pub mod base;
pub mod host;
pub mod kubernetes;
pub mod matrix;
pub mod plan;

pub mod inputs;

pub mod binaries;
pub mod rootfs;

pub mod layers;

pub mod images;

pub mod outputs;
pub mod report;

pub mod cli;
pub mod pipeline;
pub mod settings;
