//! Outputs: where finished images go, beginning with the store they are made in and the OCI layout on disk.
//!
//! This is the end of the pipeline that does input and output, through [`crate::host`] and the store. What the
//! documents say is decided in [`crate::images`], what the layers hold in [`crate::layers`].

pub mod layout;
mod stored;

pub use stored::{StoredError, store_layer, store_tag};
