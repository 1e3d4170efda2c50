//! The machine: the only place that touches `std::fs` and `std::process`.
//!
//! Every stage that does input or output goes through here, so that the rules hold once: files appear whole or not at
//! all, permissions do not depend on the umask, programs run with a clean environment and are stopped when we are, unless
//! that is by SIGKILL, which leaves nobody to do it.

pub mod files;
pub mod process;
pub mod work;
