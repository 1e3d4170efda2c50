//! Reports: what every tag costs to pull and to store.
//!
//! Values in, text out; which stream or file it goes to is for the command line.

mod sizes;

pub use sizes::{Cell, LayerSize, PlatformSizes, SizeTable, TagSizes};
