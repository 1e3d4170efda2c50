//! The pure words that every stage speaks: platforms, digests, versions, sizes, trees of files, and how a stage
//! tells that work goes on.
//!
//! Nothing here does input or output, reads the environment, or knows of any later stage. A type belongs here only
//! when at least two stages exchange it.

pub mod account;
pub mod action;
pub mod digest;
pub mod epoch;
pub mod platform;
pub mod progress;
pub(crate) mod resolve;
pub mod size;
pub(crate) mod text;
pub mod tree;
pub mod version;

pub use account::{Accounts, Group, User};
pub use action::ActionKey;
pub use digest::{Blob, Digest};
pub use epoch::Epoch;
pub use platform::Platform;
pub use tree::{Content, Entry, Node, Tree, TreePath};
pub use version::{Version, VersionRange};
