//! The name under which the result of a piece of work is kept.

use super::Digest;

/// Names an action: what it is, the version of our code for it, and every parameter and input that can change its
/// result.
///
/// The fields are hashed in the order they are given, each with its name and length, so that no two different lists of
/// fields give the same key.
#[derive(Clone, Debug)]
pub struct ActionKey {
    text: String,
}

impl ActionKey {
    /// `format` is to be raised whenever our code for the action changes what comes out.
    pub fn new(action: &str, format: u32) -> Self {
        Self { text: String::new() }.field("action", action).field("format", format)
    }

    #[must_use]
    pub fn field(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        use std::fmt::Write as _;
        let value = value.to_string();
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{name} {}:{value}", value.len());
        self
    }

    /// The fields in the form that is hashed, for a person who wants to know what a record is for.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn digest(&self) -> Digest {
        Digest::of(&self.text)
    }
}
