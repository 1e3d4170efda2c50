//! What an image's config says, against its manifest and its place in the index.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Code, Verifier};
use crate::images::{Descriptor, OciPlatform, parse_config, words};

/// Of OCI's image config and of Docker's, whose form it has.
const CONFIGS: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];

#[derive(Deserialize)]
struct Raw {
    #[serde(flatten)]
    platform: OciPlatform,
    #[serde(default)]
    created: Option<String>,
    /// Only for its types, which runtimes insist on.
    #[serde(default, rename = "config")]
    _run: Option<RawRun>,
    rootfs: RawRootfs,
    #[serde(default)]
    history: Option<Vec<RawHistory>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawRun {
    #[serde(default)]
    _entrypoint: Option<Vec<String>>,
    #[serde(default)]
    _cmd: Option<Vec<String>>,
    #[serde(default)]
    _env: Option<Vec<String>>,
    #[serde(default)]
    _labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    _volumes: Option<BTreeMap<String, serde_json::Value>>,
    #[serde(default)]
    _user: Option<String>,
    #[serde(default)]
    _working_dir: Option<String>,
    #[serde(default)]
    _stop_signal: Option<String>,
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
        let raw: Raw = match parse_config(&bytes) {
            Ok(raw) => raw,
            Err(error) => {
                self.find(Code::ConfigMalformed, subject, error.to_string());
                return None;
            }
        };
        if raw.rootfs.kind != "layers" {
            self.find(Code::ConfigMalformed, &subject, "`rootfs.type` is not `layers`");
        }
        if let Some(created) = raw.created.as_deref().filter(|created| !is_rfc3339(created)) {
            let message = format!("its time `{}` is not one of RFC 3339", created.escape_debug());
            self.find(Code::ConfigMalformed, &subject, message);
        }
        self.platform(&raw.platform, node, &subject);
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
        Some(Config { architecture: raw.platform.architecture, diff_ids })
    }

    fn platform(&mut self, raw: &OciPlatform, node: &Descriptor, subject: &str) {
        if let Err(error) = words(raw) {
            self.find(Code::ConfigMalformed, subject, error.to_string());
        }
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

/// Whether a time is one that Go's parser takes: `2024-01-31T12:00:00Z`, with a fraction or an offset as it likes.
fn is_rfc3339(text: &str) -> bool {
    let digits = |part: &str, count: usize| part.len() == count && part.bytes().all(|c| c.is_ascii_digit());
    let Some((date, time)) = text.split_once('T') else { return false };
    let date: Vec<_> = date.split('-').collect();
    let zone = time.find(['Z', '+', '-']);
    let Some((clock, zone)) = zone.map(|at| time.split_at(at)) else { return false };
    let (clock, fraction) = clock.split_once('.').map_or((clock, None), |(clock, fraction)| (clock, Some(fraction)));
    let clock: Vec<_> = clock.split(':').collect();
    let offset: Vec<_> = zone.get(1..).unwrap_or_default().split(':').collect();
    matches!(date[..], [year, month, day] if digits(year, 4) && digits(month, 2) && digits(day, 2))
        && matches!(clock[..], [hour, minute, second] if [hour, minute, second].into_iter().all(|part| digits(part, 2)))
        && fraction.is_none_or(|fraction| !fraction.is_empty() && fraction.bytes().all(|c| c.is_ascii_digit()))
        && (zone == "Z" || matches!(offset[..], [hours, minutes] if digits(hours, 2) && digits(minutes, 2)))
}

#[cfg(test)]
mod tests {
    use super::is_rfc3339;

    #[test]
    fn times_are_those_of_rfc_3339() {
        for text in ["2024-01-31T12:00:00Z", "2024-01-31T12:00:00.123456789Z", "0001-01-01T00:00:00-07:00"] {
            assert!(is_rfc3339(text), "{text}");
        }
        for text in ["", "yesterday", "2024-01-31", "2024-01-31T12:00:00", "2024-01-31T12:00Z", "2024-01-31T12:00:00.Z"]
        {
            assert!(!is_rfc3339(text), "{text}");
        }
    }
}
