//! What each Kubernetes minor demands of its node and of whoever compiles it. Pure facts, each with the upstream file or
//! release note it was read in, so that the next minor can be checked against the same place.

pub mod build;
pub mod flags;
