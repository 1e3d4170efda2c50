//! What a device that has an image must fetch for another: the layers that the old one does not have.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use serde::Serialize;

use crate::{
    base::{Digest, size::Bytes},
    images::PlatformImage,
};

/// The cost of one platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cost {
    pub platform: String,
    /// Whether the old image is for this platform too. If not, everything must be fetched.
    pub updates: bool,
    /// The layers to be fetched, and their bytes.
    pub layers: usize,
    pub bytes: u64,
    /// All layers of the image, and their bytes: the cost for a device that has nothing.
    pub all_layers: usize,
    pub all_bytes: u64,
}

/// By platform, in the order of the new image. Layers alone count, each once: what a registry serves is told by digest,
/// and what a device has, it has by digest.
pub fn costs(new: &[PlatformImage], old: &[PlatformImage]) -> Vec<Cost> {
    new.iter()
        .map(|image| {
            let before = old.iter().find(|old| old.platform.is_same(&image.platform));
            let there: BTreeSet<Digest> = before.iter().flat_map(|old| &old.layers).map(|layer| layer.digest).collect();
            let all: BTreeMap<Digest, u64> = image.layers.iter().map(|layer| (layer.digest, layer.size)).collect();
            let needed: Vec<u64> =
                all.iter().filter(|(digest, _)| !there.contains(digest)).map(|(_, size)| *size).collect();
            Cost {
                platform: image.platform.to_string(),
                updates: before.is_some(),
                layers: needed.len(),
                bytes: needed.into_iter().fold(0, u64::saturating_add),
                all_layers: all.len(),
                all_bytes: all.into_values().fold(0, u64::saturating_add),
            }
        })
        .collect()
}

/// One line for every platform.
pub fn costs_text(costs: &[Cost]) -> String {
    let mut text = String::new();
    for cost in costs {
        let Cost { platform, layers, bytes, all_layers, all_bytes, updates } = cost;
        let note = if *updates { "" } else { ", since the old image is not for this platform" };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{platform:<16} {:>11} of {:<11} {layers} of {all_layers} layers{note}",
            Bytes(*bytes).to_string(),
            Bytes(*all_bytes).to_string()
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::{Blob, Platform},
        images::{Descriptor, media_type},
    };

    #[test]
    fn only_layers_that_are_not_there_count_and_each_once() {
        let layer = |name: &str, size| Descriptor::new(media_type::LAYER, Blob { digest: Digest::of(name), size });
        let image = |platform: Platform, layers: &[Descriptor]| PlatformImage {
            platform: platform.into(),
            manifest: layer("m", 1 << 40),
            config: layer("c", 1 << 40),
            layers: layers.to_vec(),
        };
        let (base, old, new) = (layer("base", 100), layer("old", 20), layer("new", 30));
        let before = [image(Platform::Amd64, &[base.clone(), old])];
        let after =
            [image(Platform::Amd64, &[base.clone(), new.clone(), new.clone()]), image(Platform::Arm64, &[base, new])];
        let costs = costs(&after, &before);
        assert_eq!((costs[0].bytes, costs[0].layers, costs[0].all_bytes, costs[0].all_layers), (30, 1, 130, 2));
        assert_eq!((costs[1].bytes, costs[1].updates), (130, false));
        assert!(costs_text(&costs).contains("30 B of 130 B"), "{}", costs_text(&costs));
        // Docker's older indexes spell the variant out.
        let mut spelled = after[1].clone();
        spelled.platform.variant = Some("v8".to_owned());
        assert_eq!(super::costs(&after[1..], &[spelled])[0].bytes, 0);
    }
}
