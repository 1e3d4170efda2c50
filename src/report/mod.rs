//! Reports: what would be built, and what every tag costs to pull and to store.
//!
//! Values in, text out; which stream or file it goes to is for the command line.

mod contents;
mod cost;
mod plan;
mod publication;
mod sizes;

pub use contents::{Change, Contents, Difference, LayerUse};
pub use cost::{Cost, costs, costs_text};
pub use plan::plan_tables;
pub use publication::{PlatformFacts, TagFacts};
pub use sizes::{Cell, LayerSize, PlatformSizes, SizeTable, TagSizes};
