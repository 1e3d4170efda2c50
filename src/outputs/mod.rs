pub mod archive;
pub mod credentials;
pub mod docker;
pub mod registry;
pub mod source;
pub mod verify;
