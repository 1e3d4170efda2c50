//! From values to documents.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    Descriptor, DockerImage, Document, EncodeError, EncodedImage, Image, ImageConfig, LayoutEntry, OciPlatform,
    PlatformImage, Tag, annotation,
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
    encode_layout_entries(&tags.iter().map(LayoutEntry::from).collect::<Vec<_>>())
}

/// The `index.json` of a layout by its entries, in the order given.
pub fn encode_layout_entries(entries: &[LayoutEntry]) -> Result<Document, EncodeError> {
    let manifests = entries
        .iter()
        .map(|entry| {
            let mut root = Descriptor::new(&entry.root.media_type, entry.root.blob());
            root.platform.clone_from(&entry.root.platform);
            let named = [(annotation::REF_NAME, &entry.name), (annotation::CONTAINERD_NAME, &entry.reference)];
            root.annotations.extend(named.into_iter().filter_map(|(key, name)| Some((key.to_owned(), name.clone()?))));
            root
        })
        .collect();
    index(manifests, BTreeMap::new())
}

/// The manifest of an image whose parts are there already.
pub fn encode_manifest(config: Descriptor, layers: Vec<Descriptor>) -> Result<Document, EncodeError> {
    document(&ManifestJson {
        schema_version: 2,
        media_type: media_type::MANIFEST.to_owned(),
        config,
        layers,
        annotations: BTreeMap::new(),
    })
}

/// The `oci-layout` file, which makes a folder or an archive a layout.
pub const LAYOUT_MARKER: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// The `manifest.json` of an archive for Docker Engines before 25, which read nothing else.
pub fn encode_docker_manifest(images: &[DockerImage]) -> Result<Document, EncodeError> {
    document(&images)
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
