//! Programs: what they are, and making them smaller without making them something else.
//!
//! [`shrink`] is the sequence: inspect, compare the architecture, strip, pack, prove. Each step is also there by itself,
//! and each is an action of the store, done once per program however many tags hold it. Which component is stripped or
//! packed is the matrix's to say; here only what *can* be is decided, by looking at the file.

pub mod elf;
mod identity;
mod layout;
mod machine;
mod other;
pub mod pack;
pub mod prove;
#[cfg(test)]
mod sample;
mod shrink;
mod source;
pub mod strip;
mod tables;
pub mod upx;

pub use shrink::{PackRequest, Request, ShrinkError, Shrunk, Strip, shrink};
