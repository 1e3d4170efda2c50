//! Outputs: where finished images go: the store they are made in, the OCI layout on disk, registries, the Docker
//! Engine, and archives; and the proof that what lies there is what was made.
//!
//! This is the end of the pipeline that does input and output, through [`crate::host`] and the store. What the
//! documents say is decided in [`crate::images`], what the layers hold in [`crate::layers`].

pub mod archive;
pub mod credentials;
pub mod docker;
mod entries;
pub mod filesystem;
pub mod inspect;
pub mod layout;
pub mod place;
mod platforms;
pub mod registry;
pub mod source;
mod stored;
pub mod verify;

pub use platforms::platforms;
pub use stored::{StoredError, store_layer, store_tag};
