//! Reports: what would be built, and what every tag costs to pull and to store.
//!
//! Values in, text out; which stream or file it goes to is for the command line.

mod plan;
mod sizes;

pub use plan::plan_tables;
pub use sizes::{Cell, LayerSize, PlatformSizes, SizeTable, TagSizes};
