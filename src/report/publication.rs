//! What was built or published, for programs: tags, digests, platforms and sizes.

use serde::Serialize;

use crate::{
    base::Digest,
    images::{Descriptor, PlatformImage},
};

/// A tag as `--metadata-file` has it.
#[derive(Clone, Debug, Serialize)]
pub struct TagFacts {
    pub reference: String,
    pub digest: Digest,
    pub media_type: String,
    pub platforms: Vec<PlatformFacts>,
}

/// One platform of a tag.
#[derive(Clone, Debug, Serialize)]
pub struct PlatformFacts {
    pub platform: String,
    /// Of the manifest.
    pub digest: Digest,
    /// Of the config, by which old Docker Engines name an image.
    pub config: Digest,
    /// The bytes of manifest, config and layers, as they travel.
    pub size: u64,
    /// The bytes of the files, where the layers state them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extracted: Option<u64>,
}

impl TagFacts {
    pub fn new(reference: &impl ToString, root: &Descriptor, images: &[PlatformImage]) -> Self {
        Self {
            reference: reference.to_string(),
            digest: root.digest,
            media_type: root.media_type.clone(),
            platforms: images.iter().map(PlatformFacts::from).collect(),
        }
    }

    /// The reference with the digest that it had here, for deployments that pin what they run.
    pub fn pinned(&self) -> String {
        format!("{}@{}", self.reference, self.digest)
    }
}

impl From<&PlatformImage> for PlatformFacts {
    fn from(image: &PlatformImage) -> Self {
        let parts = image.layers.iter().chain([&image.config, &image.manifest]);
        Self {
            platform: image.platform.to_string(),
            digest: image.manifest.digest,
            config: image.config.digest,
            size: parts.fold(0, |sum, part| sum.saturating_add(part.size)),
            extracted: image
                .layers
                .iter()
                .map(Descriptor::extracted)
                .try_fold(0, |sum: u64, bytes| Some(sum.saturating_add(bytes?))),
        }
    }
}
