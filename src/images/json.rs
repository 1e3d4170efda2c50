//! The shapes of the documents. Fields are declared in the order in which they are written; what the specification
//! has and we neither write nor need is skipped when read.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{Deserialize, Serialize};

use super::{annotation, media_type};
use crate::base::{Blob, Digest, Platform};

/// What a descriptor points to: type, digest and size, and what is said about it on the way (`descriptor.md`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    #[serde(default)]
    pub media_type: String,
    #[serde(deserialize_with = "with_algorithm")]
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<OciPlatform>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_as_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Descriptor {
    pub fn new(media_type: &str, blob: Blob) -> Self {
        let Blob { digest, size } = blob;
        Self { media_type: media_type.to_owned(), digest, size, platform: None, annotations: BTreeMap::new() }
    }

    pub const fn blob(&self) -> Blob {
        Blob { digest: self.digest, size: self.size }
    }

    /// Whether it leads to a manifest or an index.
    pub fn is_document(&self) -> bool {
        self.is_index() || [media_type::MANIFEST, media_type::DOCKER_MANIFEST].contains(&self.media_type.as_str())
    }

    pub fn is_index(&self) -> bool {
        [media_type::INDEX, media_type::DOCKER_INDEX].contains(&self.media_type.as_str())
    }

    /// Layers that registries do not carry: their licence forbids it and they have URLs of their own.
    pub fn is_foreign(&self) -> bool {
        self.media_type.contains(".nondistributable.") || self.media_type.contains(".foreign.")
    }

    /// The bytes of a layer's files, as its writer states them.
    pub fn extracted(&self) -> Option<u64> {
        self.annotations.get(annotation::EXTRACTED_SIZE)?.parse().ok()
    }

    /// States the bytes of a layer's files.
    pub fn set_extracted(&mut self, bytes: u64) {
        self.annotations.insert(annotation::EXTRACTED_SIZE.to_owned(), bytes.to_string());
    }
}

/// A platform as indexes and configs write it; any, not only ours. Displayed as `linux/arm/v7`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OciPlatform {
    pub architecture: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    pub os: String,
    /// Which build of Windows; an index may hold several for one architecture.
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
}

impl OciPlatform {
    /// The platform of manifests that are for no machine, such as the attestations of buildx.
    pub fn is_unknown(&self) -> bool {
        self.os == "unknown" && self.architecture == "unknown"
    }

    /// Whether images for both run on the same machines, however they spell it.
    pub fn is_same(&self, other: &Self) -> bool {
        let plain = |platform: &Self| match platform.to_string() {
            name if name == "linux/arm64/v8" => "linux/arm64".to_owned(),
            name => name,
        };
        (plain(self), &self.os_version) == (plain(other), &other.os_version)
    }

    /// Whether an image for this platform is one for ours. arm64's variant v8 is implied, and Docker's older indexes spell
    /// it out.
    pub fn serves(&self, platform: Platform) -> bool {
        let name = self.to_string();
        name == platform.name() || name.strip_suffix("/v8") == Some(platform.name())
    }
}

impl From<Platform> for OciPlatform {
    fn from(platform: Platform) -> Self {
        Self {
            architecture: platform.go_arch().to_owned(),
            variant: platform.variant().map(str::to_owned),
            os: "linux".to_owned(),
            os_version: None,
        }
    }
}

impl fmt::Display for OciPlatform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

/// One image in an archive of `docker save`: names of files in the archive, and what the image is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DockerImage {
    pub config: String,
    #[serde(default, deserialize_with = "null_as_empty")]
    pub repo_tags: Vec<String>,
    /// Lowest first.
    pub layers: Vec<String>,
}

/// `image-index.md`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct IndexJson {
    pub(super) schema_version: u32,
    #[serde(default)]
    pub(super) media_type: String,
    #[serde(default)]
    pub(super) manifests: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_as_empty")]
    pub(super) annotations: BTreeMap<String, String>,
}

/// `manifest.md`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ManifestJson {
    pub(super) schema_version: u32,
    #[serde(default)]
    pub(super) media_type: String,
    pub(super) config: Descriptor,
    pub(super) layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_as_empty")]
    pub(super) annotations: BTreeMap<String, String>,
}

/// The part that manifests and indexes have in common.
#[derive(Deserialize)]
pub(super) struct AnnotatedJson {
    #[serde(default, deserialize_with = "null_as_empty")]
    pub(super) annotations: BTreeMap<String, String>,
}

/// `config.md`, the image itself.
#[derive(Serialize, Deserialize)]
pub(super) struct ConfigJson {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) created: Option<String>,
    #[serde(flatten)]
    pub(super) platform: OciPlatform,
    #[serde(default, skip_deserializing)]
    pub(super) config: RunJson,
    pub(super) rootfs: RootfsJson,
    #[serde(default, skip_deserializing)]
    pub(super) history: Vec<HistoryJson>,
}

/// `config.md`, how to run it. The names have capitals because Go's encoder once gave them.
#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RunJson {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) env: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) entrypoint: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) cmd: Vec<String>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty", serialize_with = "as_keys")]
    pub(super) volumes: BTreeSet<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) working_dir: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stop_signal: Option<String>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct RootfsJson {
    #[serde(rename = "type", default)]
    pub(super) kind: String,
    pub(super) diff_ids: Vec<Digest>,
}

/// The parts of `config.md` that people read, of anybody's config.
#[derive(Deserialize)]
pub(super) struct DescriptionJson {
    #[serde(default)]
    pub(super) config: Option<LabelsJson>,
    #[serde(default)]
    pub(super) history: Option<Vec<MadeJson>>,
}

#[derive(Deserialize)]
pub(super) struct LabelsJson {
    #[serde(rename = "Labels", default)]
    pub(super) labels: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
pub(super) struct MadeJson {
    #[serde(default)]
    pub(super) created_by: Option<String>,
    #[serde(default)]
    pub(super) empty_layer: bool,
}

#[derive(Serialize)]
pub(super) struct HistoryJson {
    pub(super) created: String,
    pub(super) created_by: String,
}

/// Digests in documents have their algorithm before them and no capitals (`descriptor.md`); elsewhere kletimg takes both.
/// One that is spelled in another way is one that other programs do not find.
fn with_algorithm<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
    use serde::de::Error as _;
    let text = String::deserialize(deserializer)?;
    let digest = text.parse().map_err(D::Error::custom)?;
    if !text.starts_with("sha256:") {
        return Err(D::Error::custom("a digest without its algorithm"));
    }
    if text.bytes().any(|c| c.is_ascii_uppercase()) {
        return Err(D::Error::custom("a digest with capital letters"));
    }
    Ok(digest)
}

/// Go writes an absent map or list as `null`.
fn null_as_empty<'de, D: serde::Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A set as Go writes it: a map to empty objects.
fn as_keys<S: serde::Serializer>(set: &BTreeSet<String>, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Nothing {}
    serializer.collect_map(set.iter().map(|key| (key, Nothing {})))
}
