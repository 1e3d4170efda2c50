//! What an image's config says, against its manifest and its place in the index.

use serde::Deserialize;

use super::{Code, Verifier};
use crate::images::Descriptor;

/// Of OCI's image config and of Docker's, whose form it has.
const CONFIGS: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];

#[derive(Deserialize)]
struct Raw {
    architecture: String,
    os: String,
    #[serde(default)]
    variant: Option<String>,
    rootfs: RawRootfs,
    #[serde(default)]
    history: Option<Vec<RawHistory>>,
}

#[derive(Deserialize)]
struct RawRootfs {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    diff_ids: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct RawHistory {
    #[serde(default)]
    empty_layer: bool,
}

/// What the layers are held against.
pub(super) struct Config {
    pub(super) architecture: String,
    pub(super) diff_ids: Vec<String>,
}

impl Verifier<'_> {
    pub(super) fn config(&mut self, node: &Descriptor, config: &Descriptor, layers: usize) -> Option<Config> {
        let subject = format!("config {}", config.digest);
        if !CONFIGS.contains(&config.media_type.as_str()) {
            let message = format!("`{}` is not a media type of image configs", config.media_type.escape_debug());
            self.find(Code::MediaType, &subject, message);
        }
        let bytes = self.small(&config.blob(), &subject)?;
        let raw: Raw = match serde_json::from_slice(&bytes) {
            Ok(raw) => raw,
            Err(error) => {
                self.find(Code::ConfigMalformed, subject, error.to_string());
                return None;
            }
        };
        if raw.rootfs.kind != "layers" {
            self.find(Code::ConfigMalformed, &subject, "`rootfs.type` is not `layers`");
        }
        self.platform(&raw, node, &subject);
        let diff_ids = raw.rootfs.diff_ids.unwrap_or_default();
        if diff_ids.len() != layers {
            let message = format!("it has {} diff_ids for {layers} layers", diff_ids.len());
            self.find(Code::DiffIdCount, &subject, message);
        }
        let history = raw.history.unwrap_or_default();
        let described = history.iter().filter(|entry| !entry.empty_layer).count();
        if !history.is_empty() && described != layers {
            let message = format!("its history describes {described} layers, there are {layers}");
            self.find(Code::HistoryCount, &subject, message);
        }
        Some(Config { architecture: raw.architecture, diff_ids })
    }

    fn platform(&mut self, raw: &Raw, node: &Descriptor, subject: &str) {
        let own = format!("{}/{}", raw.os, raw.architecture);
        let variant = raw.variant.as_deref().filter(|variant| !variant.is_empty());
        let full = variant.map_or_else(|| own.clone(), |variant| format!("{own}/{variant}"));
        let said = node.platform.as_ref().map(ToString::to_string);
        if let Some(said) = &said {
            // Either side may leave the variant out; arm64 implies v8.
            let same = *said == full || *said == own || variant.is_none() && said.starts_with(&format!("{own}/"));
            if !same {
                self.find(Code::PlatformMismatch, subject, format!("it is for {full}, the index says {said}"));
            }
        }
        self.report.platforms.push(said.unwrap_or(full).escape_debug().to_string());
    }
}
