//! Assembly: from an ordered list of parts (a base, an overlay, components) to one root file system cut into layers.
//!
//! A layer is a tree of its own that a runtime puts over the ones below it, so assembly keeps two views at once: what
//! each layer holds, and what stands at every path when all are put together. It guards what the overlay file systems
//! of the runtimes would do silently: a directory repeated by a later layer takes that layer's mode, a directory put
//! over a symbolic link hides everything behind the link, and a file put over another hides the other. So a directory
//! is repeated only where something below it needs it, and then as the earlier layer has it; paths below a symbolic link
//! go to the link's target; and only an overlay may replace a file.
//!
//! Nothing is read or written here: the contents stay in stored blobs, the layers become archives in
//! [`crate::layers`]. Which parts make which image is for the plan to say.

mod assemble;
mod inodes;
mod make;

use std::fmt;

use crate::base::{Entry, Node, Tree, TreePath, tree::InvalidPath};

pub use assemble::assemble;
pub use make::{directory, file, symlink, without};

/// The layer that a part's entries belong to, such as `base` or `kubelet`. It appears in the image's history.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LayerName(String);

impl LayerName {
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for LayerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What a part is, which decides what it may put in the place of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The root file system family's own files.
    Base,
    /// Configuration: may replace files of the base and of earlier overlays, and set the metadata of directories.
    Overlay,
    /// A program that the image is for. It replaces nothing, and nothing replaces it.
    Component,
}

/// Some entries of the image, from one source.
#[derive(Clone, Debug)]
pub struct Part {
    pub layer: LayerName,
    pub role: Role,
    pub tree: Tree,
    /// Where it comes from, for messages: `base alpine3.15`, `component kubelet`, `variants/plain.toml`.
    pub origin: String,
}

/// One layer's entries. Every hard link in it leads to a file of the same layer that stands before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    pub name: LayerName,
    pub tree: Tree,
}

/// An assembled root file system: what every layer holds, lowest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rootfs {
    layers: Vec<Layer>,
}

impl Rootfs {
    /// The layers, lowest first, also those without an entry.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// What a process in the image sees: for every path the entry of the highest layer that has it.
    pub fn merged(&self) -> Tree {
        inodes::merge(self.layers.iter().map(|layer| &layer.tree))
    }
}

/// Parts that do not make one root file system.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RootfsError {
    #[error(
        "putting `{path}` of {later} into the image: {earlier} has it already, and only an overlay may replace a file, \
         one of the base or of an earlier overlay: leave it out of one of the two"
    )]
    Collision { path: TreePath, earlier: String, later: String },
    #[error(
        "putting `{path}` of {later} into the image: it is a {later_kind} there and a {earlier_kind} in {earlier}: \
         neither can stand for the other, leave it out of one of the two"
    )]
    Kinds { path: TreePath, earlier: String, earlier_kind: &'static str, later: String, later_kind: &'static str },
    #[error(
        "putting `{path}` of {later} into the image: `{above}`, which would have to be a directory, is a file of \
         {earlier}"
    )]
    BelowAFile { path: TreePath, above: TreePath, earlier: String, later: String },
    #[error("putting `{path}` of {later} into the image: following the symbolic links above it does not end")]
    Links { path: TreePath, later: String },
    #[error("putting `{path}` of {later} into the image: {reason}")]
    Path { path: TreePath, later: String, reason: InvalidPath },
    #[error("putting `{path}` of {later} into the image: it is a hard link to `{target}`, which is no file of {later}")]
    DanglingHardlink { path: TreePath, target: TreePath, later: String },
    #[error(
        "putting `{path}` of {later} into the image: names that begin with `.wh.` mean deletion in an image's layer; \
         rename the file or leave it out"
    )]
    Whiteout { path: TreePath, later: String },
    #[error(
        "assembling the image: {origin} belongs to layer `{layer}`, but a part of another layer stands between it and \
         the others: list the parts layer by layer"
    )]
    LayersMixed { layer: LayerName, origin: String },
    #[error("removing `{path}` from {origin}: there is no such path; correct it or take it off the list")]
    NothingToRemove { path: TreePath, origin: String },
}

/// What an entry is, for messages.
const fn kind(entry: &Entry) -> &'static str {
    match entry.node {
        Node::Directory => "directory",
        Node::File(_) => "file",
        Node::Symlink(_) => "symbolic link",
        Node::Hardlink(_) => "hard link",
    }
}
