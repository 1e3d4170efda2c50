//! The only place where stages are put in sequence, and where their concurrency is bounded.
//!
//! ```text
//! load_matrix -> plan -> locking::pin -> Work -> build -> layout, sizes
//! ```
//!
//! A [`Work`] is one run over one plan. Cells are built side by side; what several of them need (a component, a base, a
//! layer) is made by the first that asks and awaited by the others.

mod build;
pub mod cache;
mod components;
mod definitions;
mod error;
pub mod examine;
pub mod locking;
mod once;
mod packages;
pub mod publish;
mod rootfs;
pub mod smoke;
mod stock;
mod tools;
mod work;

pub use build::{Built, build};
pub use definitions::{LoadError, load_lock, load_matrix, lock_path, save_lock};
pub use error::{PipelineError, Step};
pub use packages::{Asking, debian::wanted_suite};
pub use stock::stock;
pub use work::{Options, Work};
