//! Programs: what they are, and making them smaller.

pub mod elf;
mod identity;
mod layout;
mod machine;
mod other;
pub mod strip;
mod tables;
