//! From values to documents.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    Descriptor, Document, EncodeError, EncodedImage, Image, ImageConfig, OciPlatform, PlatformImage, Tag, annotation,
    json::{ConfigJson, HistoryJson, IndexJson, ManifestJson, RootfsJson, RunJson},
    media_type,
};
use crate::base::{Blob, Digest};

/// The config and the manifest of an image. Layer descriptors state the extracted size, so that a layout tells all that
/// a size table needs.
pub fn encode_image(image: &Image) -> Result<EncodedImage, EncodeError> {
    let config = document(&config_json(image))?;
    let layers: Vec<Descriptor> = image
        .layers
        .iter()
        .map(|layer| {
            let mut descriptor = Descriptor::new(layer.codec.media_type(), layer.info.blob);
            descriptor.set_extracted(layer.info.extracted);
            descriptor
        })
        .collect();
    let mut annotations = image.annotations.clone();
    annotations.insert(annotation::CREATED.to_owned(), image.created.rfc3339());
    let config_descriptor = Descriptor::new(media_type::CONFIG, config.blob);
    let manifest = document(&ManifestJson {
        schema_version: 2,
        media_type: media_type::MANIFEST.to_owned(),
        config: config_descriptor.clone(),
        layers: layers.clone(),
        annotations,
    })?;
    let image = PlatformImage {
        platform: OciPlatform::from(image.platform),
        manifest: Descriptor::new(media_type::MANIFEST, manifest.blob),
        config: config_descriptor,
        layers,
    };
    Ok(EncodedImage { config, manifest, image })
}

/// The index that joins the images of one tag, in the order given.
pub fn encode_index(images: &[PlatformImage], annotations: &BTreeMap<String, String>) -> Result<Document, EncodeError> {
    let manifests = images
        .iter()
        .map(|image| Descriptor { platform: Some(image.platform.clone()), ..image.manifest.clone() })
        .collect();
    index(manifests, annotations.clone())
}

/// The `index.json` of a layout: every tag by its root, in the order given.
pub fn encode_layout_index(tags: &[Tag]) -> Result<Document, EncodeError> {
    let manifests = tags
        .iter()
        .map(|tag| {
            let mut root = Descriptor::new(&tag.root.media_type, tag.root.blob());
            root.annotations.insert(annotation::REF_NAME.to_owned(), tag.name.to_string());
            if let Some(reference) = &tag.reference {
                root.annotations.insert(annotation::CONTAINERD_NAME.to_owned(), reference.clone());
            }
            root
        })
        .collect();
    index(manifests, BTreeMap::new())
}

fn index(manifests: Vec<Descriptor>, annotations: BTreeMap<String, String>) -> Result<Document, EncodeError> {
    document(&IndexJson { schema_version: 2, media_type: media_type::INDEX.to_owned(), manifests, annotations })
}

fn config_json(image: &Image) -> ConfigJson {
    let created = image.created.rfc3339();
    let ImageConfig { entrypoint, cmd, env, labels, stop_signal, volumes, user, working_dir } = image.config.clone();
    let history = |layer: &super::ImageLayer| HistoryJson {
        created: created.clone(),
        created_by: format!("kletimg: {}", layer.name),
    };
    ConfigJson {
        created: Some(created.clone()),
        platform: OciPlatform::from(image.platform),
        config: RunJson {
            user,
            env,
            entrypoint,
            cmd,
            volumes: volumes.into_iter().collect(),
            working_dir,
            labels,
            stop_signal,
        },
        rootfs: RootfsJson {
            kind: "layers".to_owned(),
            diff_ids: image.layers.iter().map(|layer| layer.info.diff_id).collect(),
        },
        history: image.layers.iter().map(history).collect(),
    }
}

fn document(value: &impl Serialize) -> Result<Document, EncodeError> {
    let bytes = serde_json::to_vec(value)?;
    Ok(Document { blob: Blob { digest: Digest::of(&bytes), size: bytes.len() as u64 }, bytes })
}
