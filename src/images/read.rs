//! From documents to values. The bytes are somebody else's.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

use super::{
    Descriptor, DockerImage, OciPlatform,
    json::{AnnotatedJson, ConfigJson, DescriptionJson, IndexJson, ManifestJson},
    spelling,
};
use crate::base::{Blob, Digest};

/// The longest document that is read, 4 MiB: what registries take for a manifest (distribution's
/// `registry/handlers/manifests.go`, `maxManifestBodySize`).
pub(crate) const LONGEST: u64 = 4 << 20;

/// The most entries an index may have, and the most layers a manifest: overlayfs stacks 128, more is no image.
const MOST_MANIFESTS: usize = 10_000;
const MOST_LAYERS: usize = 256;

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("the {document} has {size} bytes, more than the {LONGEST} that are read")]
    TooLong { document: &'static str, size: u64 },
    #[error("the bytes have the digest {actual} and the length {size}, promised were {} and {}", .promised.digest, .promised.size)]
    Digest { promised: Blob, actual: Digest, size: u64 },
    #[error("it is no {document}: {reason}")]
    Json { document: &'static str, reason: serde_json::Error },
    #[error("it is no {document}: schemaVersion is {version}, 2 is the one that is read")]
    Schema { document: &'static str, version: u32 },
    #[error("it calls itself `{}` but is delivered as `{}`", .own.escape_debug(), .said.escape_debug())]
    Contradiction { own: String, said: String },
    #[error("{0}")]
    Fields(&'static str),
    #[error("`{}` is no media type of an image's manifest or index", .0.escape_debug())]
    MediaType(String),
    #[error("the {document} lists {count} {what}, more than the {most} that are read")]
    TooMany { document: &'static str, what: &'static str, count: usize, most: usize },
    #[error(
        "the platform {0:?} is not one: architecture, variant and os are words of letters, digits, `.`, `_` and `-`"
    )]
    Platform(String),
}

/// What a manifest holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    pub config: Descriptor,
    /// Lowest first.
    pub layers: Vec<Descriptor>,
}

/// What a config says about the layers and whom they run on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFacts {
    pub platform: OciPlatform,
    /// Lowest first.
    pub diff_ids: Vec<Digest>,
}

/// What a config tells people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    pub labels: BTreeMap<String, String>,
    /// What made each layer, as the history has it: free text.
    pub layers: Vec<String>,
}

/// Whether the bytes are those that a descriptor names.
pub fn check(bytes: &[u8], promised: Blob) -> Result<(), ReadError> {
    let (actual, size) = (Digest::of(bytes), bytes.len() as u64);
    if (actual, size) == (promised.digest, promised.size) {
        Ok(())
    } else {
        Err(ReadError::Digest { promised, actual, size })
    }
}

/// The entries of an index, or of a layout's `index.json`.
pub fn read_index(bytes: &[u8]) -> Result<Vec<Descriptor>, ReadError> {
    const DOCUMENT: &str = "image index";
    let index: IndexJson = parse(DOCUMENT, bytes)?;
    schema(DOCUMENT, index.schema_version)?;
    bounded(DOCUMENT, "manifests", index.manifests.len(), MOST_MANIFESTS)?;
    index.manifests.iter().filter_map(|manifest| manifest.platform.as_ref()).try_for_each(words)?;
    Ok(index.manifests)
}

pub fn read_manifest(bytes: &[u8]) -> Result<Manifest, ReadError> {
    const DOCUMENT: &str = "image manifest";
    let manifest: ManifestJson = parse(DOCUMENT, bytes)?;
    schema(DOCUMENT, manifest.schema_version)?;
    bounded(DOCUMENT, "layers", manifest.layers.len(), MOST_LAYERS)?;
    Ok(Manifest { config: manifest.config, layers: manifest.layers })
}

pub fn read_config(bytes: &[u8]) -> Result<ConfigFacts, ReadError> {
    const DOCUMENT: &str = "image config";
    let config: ConfigJson = parse_config(bytes)?;
    bounded(DOCUMENT, "diff_ids", config.rootfs.diff_ids.len(), MOST_LAYERS)?;
    words(&config.platform)?;
    Ok(ConfigFacts { platform: config.platform, diff_ids: config.rootfs.diff_ids })
}

/// What a config tells people: labels, and for every layer who made it. Unlike [`read_config`], what is missing is empty.
pub fn read_description(bytes: &[u8]) -> Result<Description, ReadError> {
    let config: DescriptionJson = parse_config(bytes)?;
    let layers = config.history.unwrap_or_default().into_iter().filter(|entry| !entry.empty_layer);
    let labels = config.config.and_then(|config| config.labels).unwrap_or_default();
    Ok(Description { labels, layers: layers.map(|entry| entry.created_by.unwrap_or_default()).collect() })
}

/// What a manifest or an index says about itself.
pub fn read_annotations(bytes: &[u8]) -> Result<BTreeMap<String, String>, ReadError> {
    let document: AnnotatedJson = parse("manifest or index", bytes)?;
    Ok(document.annotations)
}

/// The images of an archive of `docker save`.
pub fn read_docker_manifest(bytes: &[u8]) -> Result<Vec<DockerImage>, ReadError> {
    const DOCUMENT: &str = "manifest of docker save";
    let images: Vec<DockerImage> = parse_as(DOCUMENT, spelling::DOCKER, bytes)?;
    bounded(DOCUMENT, "images", images.len(), MOST_MANIFESTS)?;
    images.iter().try_for_each(|image| bounded(DOCUMENT, "layers", image.layers.len(), MOST_LAYERS))?;
    Ok(images)
}

/// Reads a manifest or an index into any type.
pub(super) fn parse<T: DeserializeOwned>(document: &'static str, bytes: &[u8]) -> Result<T, ReadError> {
    parse_as(document, spelling::MANIFEST, bytes)
}

/// Reads a config into any type.
pub(crate) fn parse_config<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ReadError> {
    parse_as("image config", spelling::CONFIG, bytes)
}

fn parse_as<T: DeserializeOwned>(document: &'static str, keys: &[&str], bytes: &[u8]) -> Result<T, ReadError> {
    if bytes.len() as u64 > LONGEST {
        return Err(ReadError::TooLong { document, size: bytes.len() as u64 });
    }
    let wrong = |reason| ReadError::Json { document, reason };
    spelling::check(bytes, keys).map_err(wrong)?;
    serde_json::from_slice(bytes).map_err(wrong)
}

const fn schema(document: &'static str, version: u32) -> Result<(), ReadError> {
    if version == 2 { Ok(()) } else { Err(ReadError::Schema { document, version }) }
}

const fn bounded(document: &'static str, what: &'static str, count: usize, most: usize) -> Result<(), ReadError> {
    if count <= most { Ok(()) } else { Err(ReadError::TooMany { document, what, count, most }) }
}

/// Platforms are printed: nothing in them may move a terminal's cursor.
pub(crate) fn words(platform: &OciPlatform) -> Result<(), ReadError> {
    let word = |text: &String| {
        (1..=32).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    if [&platform.os, &platform.architecture].into_iter().chain(&platform.variant).chain(&platform.os_version).all(word)
    {
        Ok(())
    } else {
        Err(ReadError::Platform(platform.to_string()))
    }
}
