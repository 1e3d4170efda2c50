//! Images: the JSON documents that make layers an image, and nothing else writes them.
//!
//! A document's digest is its name, so its bytes are made once, from fields in a fixed order and sorted maps, and travel
//! as bytes from then on. Reading is the other half: documents of layouts and registries come from outside, are bounded
//! in size and count, and are checked against the digest that named them before anything in them is believed.
//!
//! Formats: the OCI image specification 1.0.2 (`config.md`, `manifest.md`, `image-index.md`, `annotations.md`). Blobs lie
//! in the store or a layout; putting them there is for [`crate::outputs`].

mod build;
mod json;
mod links;
mod name;
mod read;
pub mod reference;
mod spelling;

use std::collections::BTreeMap;

use crate::{
    base::{Blob, Epoch, Platform},
    layers::{Codec, LayerInfo},
    rootfs::LayerName,
};

pub use build::{
    LAYOUT_MARKER, encode_docker_manifest, encode_image, encode_index, encode_layout_entries, encode_layout_index,
    encode_manifest,
};
pub use json::{Descriptor, DockerImage, OciPlatform};
pub use links::Links;
pub use name::{InvalidRefName, RefName};
pub use read::{
    ConfigFacts, Description, Manifest, ReadError, check, read_annotations, read_config, read_description,
    read_docker_manifest, read_index, read_manifest,
};
pub(crate) use read::{LONGEST, parse_config, words};

/// Annotation keys. The `org.opencontainers` ones are pre-defined in `annotations.md`.
pub mod annotation {
    pub const CREATED: &str = "org.opencontainers.image.created";
    pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
    pub const TITLE: &str = "org.opencontainers.image.title";
    pub const VERSION: &str = "org.opencontainers.image.version";
    /// The full reference of a tag. containerd names an imported image by it (`images/image.go`, `AnnotationImageName`).
    pub const CONTAINERD_NAME: &str = "io.containerd.image.name";
    /// Ours, on a layer's descriptor: the bytes of its files, so that nobody has to unpack it to know them.
    pub const EXTRACTED_SIZE: &str = "io.github.cloudtogo.kletimg.extracted-size";
}

/// Media types of the documents. The Docker ones are read, never written.
pub mod media_type {
    pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// Of a config that says nothing: `{}`.
    pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";
    pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    pub const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
}

/// How a container of the image is to be run. Empty lists and maps leave their field out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageConfig {
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    /// `NAME=value`, in this order.
    pub env: Vec<String>,
    pub labels: BTreeMap<String, String>,
    /// Such as `SIGTERM`.
    pub stop_signal: Option<String>,
    /// Absolute paths in the image.
    pub volumes: Vec<String>,
    /// `uid[:gid]` or names; root when absent.
    pub user: Option<String>,
    pub working_dir: Option<String>,
}

/// One layer of an image to be made, lowest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageLayer {
    /// The layer's name in the image's history.
    pub name: LayerName,
    pub codec: Codec,
    pub info: LayerInfo,
}

/// An image for one platform, to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub platform: Platform,
    pub config: ImageConfig,
    pub layers: Vec<ImageLayer>,
    pub created: Epoch,
    /// Of the manifest. The time of creation is added to them.
    pub annotations: BTreeMap<String, String>,
}

/// A document: exactly the bytes that were hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    pub blob: Blob,
    pub bytes: Vec<u8>,
}

/// The documents of an image, and the image as its index lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedImage {
    pub config: Document,
    pub manifest: Document,
    pub image: PlatformImage,
}

/// An image of one platform by its parts, made or read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlatformImage {
    pub platform: OciPlatform,
    pub manifest: Descriptor,
    pub config: Descriptor,
    pub layers: Vec<Descriptor>,
}

/// A name in a layout's `index.json`, and what it leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayoutEntry {
    /// As the layout calls it; images without a name are found by digest.
    pub name: Option<String>,
    /// With registry and repository.
    pub reference: Option<String>,
    pub root: Descriptor,
}

/// A tag: a name for all platforms of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    pub name: RefName,
    /// With registry and repository, such as `docker.io/cloudtogo4edge/kubelet:v1.26.0-alpine3.22`.
    pub reference: Option<String>,
    /// The index that joins the images; in foreign layouts it may be a manifest itself.
    pub root: Descriptor,
    /// Indexes between the root and the manifests, which only foreign layouts have.
    pub nested: Vec<Descriptor>,
    pub images: Vec<PlatformImage>,
}

impl From<&Tag> for LayoutEntry {
    fn from(tag: &Tag) -> Self {
        Self { name: Some(tag.name.to_string()), reference: tag.reference.clone(), root: tag.root.clone() }
    }
}

impl Tag {
    /// Every blob that the tag needs, the root last; blobs that images share come more than once.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        self.images
            .iter()
            .flat_map(|image| image.layers.iter().chain([&image.config, &image.manifest]))
            .chain(&self.nested)
            .chain([&self.root])
    }
}

/// Values that cannot be written as JSON, which no value of these types is.
#[derive(Debug, thiserror::Error)]
#[error("writing an image's JSON: {0}")]
pub struct EncodeError(#[from] serde_json::Error);

#[cfg(test)]
mod tests;
