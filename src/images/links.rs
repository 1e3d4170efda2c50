//! What a manifest or an index refers to: all that moving or checking an image needs of its documents.
//!
//! Strict, unlike the reading of layouts for a table: a document that two clients read as two things is an old attack
//! (CVE-2021-41190), so it is what its descriptor says, or nothing.

use serde::{Deserialize, de::IgnoredAny};

use super::{
    Descriptor, Manifest, ReadError, media_type,
    read::{parse, read_index, read_manifest},
};

/// The descriptors in a document, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Links {
    Index {
        manifests: Vec<Descriptor>,
    },
    Image {
        config: Descriptor,
        layers: Vec<Descriptor>,
    },
    /// A manifest that is no image: a signature, a list of materials, or whatever else is kept beside images
    /// (`manifest.md`, "Guidelines for Artifact Usage"). What its blobs are is between those who wrote and read it.
    Artifact {
        blobs: Vec<Descriptor>,
    },
}

/// Which of the fields are there that make a document one thing or the other.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    manifests: Option<IgnoredAny>,
    #[serde(default)]
    artifact_type: Option<String>,
    #[serde(default)]
    config: Option<IgnoredAny>,
    #[serde(default)]
    layers: Option<IgnoredAny>,
}

impl Links {
    /// Reads a manifest or an index. `media_type` is what its descriptor or the registry says, which its own `mediaType`
    /// must not contradict.
    pub fn read(bytes: &[u8], media_type: &str) -> Result<Self, ReadError> {
        let kind: Kind = parse("manifest or index", bytes)?;
        if let Some(own) = kind.media_type.filter(|own| own != media_type) {
            return Err(ReadError::Contradiction { own, said: media_type.to_owned() });
        }
        let has = (kind.manifests.is_some(), kind.config.is_some(), kind.layers.is_some());
        match (media_type, has) {
            (media_type::INDEX | media_type::DOCKER_INDEX, (true, false, false)) => {
                Ok(Self::Index { manifests: read_index(bytes)? })
            }
            (media_type::MANIFEST | media_type::DOCKER_MANIFEST, (false, true, true)) => {
                let Manifest { config, mut layers } = read_manifest(bytes)?;
                let typed = kind.artifact_type.is_some_and(|artifact| !artifact.is_empty());
                if typed || config.media_type == media_type::EMPTY {
                    layers.insert(0, config);
                    return Ok(Self::Artifact { blobs: layers });
                }
                Ok(Self::Image { config, layers })
            }
            (media_type::INDEX | media_type::DOCKER_INDEX, _) => {
                Err(ReadError::Fields("an index has `manifests` alone"))
            }
            (media_type::MANIFEST | media_type::DOCKER_MANIFEST, _) => {
                Err(ReadError::Fields("a manifest has `config` and `layers`, and no `manifests`"))
            }
            (other, _) => Err(ReadError::MediaType(other.to_owned())),
        }
    }

    /// What the document refers to, in order.
    pub fn children(&self) -> Vec<&Descriptor> {
        match self {
            Self::Index { manifests } => manifests.iter().collect(),
            Self::Image { config, layers } => std::iter::once(config).chain(layers).collect(),
            Self::Artifact { blobs } => blobs.iter().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Digest;

    #[test]
    fn a_manifest_without_an_image_is_an_artifact() {
        let descriptor =
            |media_type: &str| format!(r#"{{"mediaType":"{media_type}","digest":"{}","size":3}}"#, Digest::of("abc"));
        let manifest = |config: &str, more: &str| {
            let (config, layer) = (descriptor(config), descriptor("text/plain"));
            format!(r#"{{"schemaVersion":2,{more}"config":{config},"layers":[{layer}]}}"#)
        };
        let cases = [
            (manifest(media_type::CONFIG, ""), false),
            (manifest(media_type::CONFIG, r#""artifactType":"","#), false),
            (manifest(media_type::CONFIG, r#""artifactType":"application/x","#), true),
            (manifest(media_type::EMPTY, ""), true),
        ];
        for (text, artifact) in cases {
            let links = Links::read(text.as_bytes(), media_type::MANIFEST).unwrap();
            assert_eq!(matches!(links, Links::Artifact { .. }), artifact, "{text}");
            assert_eq!(links.children().len(), 2, "{text}");
        }
    }

    #[test]
    fn a_document_is_what_its_descriptor_says_or_nothing() {
        use media_type::{DOCKER_INDEX, DOCKER_MANIFEST, INDEX, MANIFEST};
        let descriptor =
            |media_type: &str| format!(r#"{{"mediaType":"{media_type}","digest":"{}","size":3}}"#, Digest::of("abc"));
        let (config, layer) = (descriptor("application/c"), descriptor("application/l"));
        let image = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layer}]}}"#);
        let index = format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{}]}}"#, descriptor(MANIFEST));
        let both = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[],"manifests":[]}}"#);
        let old = image.replace(":2", ":1");
        let bare = index.replace("sha256:", "");
        let cases = [
            (image.as_str(), MANIFEST, true),
            (image.as_str(), DOCKER_MANIFEST, true),
            (image.as_str(), INDEX, false),
            (image.as_str(), "text/plain", false),
            (old.as_str(), MANIFEST, false),
            (index.as_str(), INDEX, true),
            (index.as_str(), DOCKER_INDEX, false),
            (index.as_str(), MANIFEST, false),
            (bare.as_str(), INDEX, false),
            (both.as_str(), INDEX, false),
            (both.as_str(), MANIFEST, false),
            ("", INDEX, false),
            ("[]", INDEX, false),
            (r#"{"schemaVersion":2,"manifests":[{"mediaType":"x","digest":"sha512:00","size":1}]}"#, INDEX, false),
            (r#"{"schemaVersion":2,"manifests":[{"mediaType":"x","digest":"sha256:00","size":-1}]}"#, INDEX, false),
        ];
        for (text, media_type, good) in cases {
            let read = Links::read(text.as_bytes(), media_type);
            assert_eq!(read.is_ok(), good, "{text} as {media_type}: {read:?}");
        }
    }
}
