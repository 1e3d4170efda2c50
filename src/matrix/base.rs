//! `alpine/*.toml`: the root file systems that images stand on.

use super::{
    Origin, Overlay,
    problem::{At, Located},
    read::Table,
};
use crate::base::{TreePath, VersionRange};

/// A base: a mini root file system, what is taken out of it, and what is laid over it.
#[derive(Clone, Debug)]
pub struct Base {
    pub name: String,
    pub rootfs: Origin,
    /// Paths that the images do not need, removed with all below them.
    pub remove: Vec<Located<TreePath>>,
    pub files: Vec<Overlay>,
    /// The Kubernetes versions that this base is meant for.
    pub kubernetes: VersionRange,
    pub at: At,
}

impl Base {
    pub(super) fn read(name: &str, table: &Table<'_>) -> Option<Self> {
        let _ = table.string("description");
        let rootfs = table
            .require("rootfs", "[rootfs]\nurl = \"https://dl-cdn.alpinelinux.org/...\"")
            .and_then(|rootfs| rootfs.table(Origin::read));
        Some(Self {
            name: name.to_owned(),
            remove: table.list("remove").unwrap_or_default(),
            files: table.each("files", Overlay::read),
            kubernetes: table.parsed("kubernetes").unwrap_or_else(VersionRange::any),
            rootfs: rootfs?,
            at: table.at().clone(),
        })
    }
}
