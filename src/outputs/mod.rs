pub mod credentials;
pub mod registry;
pub mod source;
