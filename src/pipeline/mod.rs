//! The only place where stages are put in sequence, and where their concurrency is bounded.

pub mod cache;
mod definitions;

pub use definitions::{LoadError, load_lock, load_matrix, lock_path, save_lock};
