//! Container registries, by the OCI distribution specification
//! (<https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md>).
//!
//! A client of our own rather than a crate's, because of three promises: exactly the bytes that were hashed are sent, from
//! files and in bounded memory; an upload that breaks goes on where the registry has it, and every wait is bounded; and
//! nothing a registry answers, or leaves out of its answers, is taken on trust. A tag is moved last, after everything it
//! leads to has been confirmed.
//!
//! ```text
//! push -> (upload, client) -> transport -> auth        (pull, remote) -> client -> ...
//! ```
//!
//! What images mean is left to `images`, which logins exist to `credentials`, when to push to the pipeline.

mod auth;
mod client;
mod error;
mod meter;
mod pull;
mod push;
mod remote;
mod retry;
mod settings;
mod transport;
mod upload;

pub use client::Registry;
pub use error::{Conflict, RegistryError};
pub use meter::Meter;
pub use pull::pull;
pub use push::{Existing, Moved, Plan, PlannedTag, PushOptions, Pushed, plan, push};
pub use remote::Remote;
pub use retry::Retry;
pub use settings::{Notes, Settings};
