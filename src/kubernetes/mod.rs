//! What each Kubernetes minor demands of its node. Pure facts, each with the upstream file or release note it was read
//! in, so that the next minor can be checked against the same place.

pub mod flags;
