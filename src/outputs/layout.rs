//! An OCI image layout: the folder in which skopeo, umoci, crane and others find images (`image-layout.md`).
//!
//! ```text
//! oci-layout            says that the folder is one
//! index.json            the tags by name, written last
//! blobs/sha256/<hex>    hard links to the store
//! ```
//!
//! Every tag is an index, also one of a single platform, so that a tag's kind does not depend on what was built.
//! umoci 0.4.7 resolves a name down to manifests and refuses a tag of several platforms as ambiguous: there
//! `skopeo copy --override-arch arm64 oci:dist:TAG oci:one:TAG` picks one first.

mod add;
mod open;
mod read;
mod write;

use std::path::PathBuf;

use crate::{
    base::{Blob, Digest},
    host::files::FileError,
    images::{self, EncodeError, InvalidRefName, RefName},
    inputs::store::StoreError,
    layers,
    outputs::source::SourceError,
};

pub use add::{Added, add};
pub use open::Layout;
pub use read::{measure, read};
pub use write::{Written, write};

/// The folder that images are written to and read from unless another one is named.
pub const DEFAULT_FOLDER: &str = "dist";

const MARKER: &str = "oci-layout";
const INDEX: &str = "index.json";
const BLOBS: &str = "blobs/sha256";

#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Encode(#[from] EncodeError),
    #[error(
        "writing images to {}: the folder holds other files and is no OCI layout (it has no `oci-layout`): name a new \
         or an empty folder, or empty this one", .folder.display()
    )]
    Foreign { folder: PathBuf },
    #[error("writing images to {}: two tags have the name `{name}`: give one of them another", .folder.display())]
    SameName { folder: PathBuf, name: RefName },
    #[error(
        "reading images from {}: there is no OCI layout (no `oci-layout` file): build one with `kletimg matrix build`, \
         or name another folder", .folder.display()
    )]
    NoLayout { folder: PathBuf },
    #[error("reading images from {}: `oci-layout` names no version 1.0.x, the one that is read", .folder.display())]
    Version { folder: PathBuf },
    #[error("reading `index.json` in {}: {reason}", .folder.display())]
    Index { folder: PathBuf, reason: images::ReadError },
    #[error("reading the names in {}: {reason}", .folder.display())]
    Name { folder: PathBuf, reason: InvalidRefName },
    #[error(
        "reading tag `{tag}` in {}: the blob {} of {} bytes is not there{}: build the tag again", .folder.display(),
        .blob.digest, .blob.size, found(*.size)
    )]
    Missing { folder: PathBuf, tag: RefName, blob: Blob, size: Option<u64> },
    #[error("reading tag `{tag}` in {}: blob {digest}: {reason}: build the tag again", .folder.display())]
    Document { folder: PathBuf, tag: RefName, digest: Digest, reason: images::ReadError },
    #[error("reading tag `{tag}` in {}: layer {digest}: {reason}", .folder.display())]
    Layer { folder: PathBuf, tag: RefName, digest: Digest, reason: layers::ReadError },
    #[error("reading tag `{tag}` in {}: its indexes hold one another more than {deepest} levels deep", .folder.display())]
    TooDeep { folder: PathBuf, tag: RefName, deepest: usize },
    #[error("reading tag `{tag}` in {}: all tags together lead to more than {most} manifests", .folder.display())]
    TooMany { folder: PathBuf, tag: RefName, most: usize },
    #[error("reading tag `{tag}` in {}: it is a `{media_type}`, neither an index nor an image", .folder.display())]
    Kind { folder: PathBuf, tag: RefName, media_type: String },
}

fn found(size: Option<u64>) -> String {
    size.map_or_else(String::new, |size| format!(" (a file of {size} bytes is)"))
}
