//! The images of a tag by platform, from any source.

use std::collections::BTreeMap;

use super::source::{self, Manifest, Source, SourceError};
use crate::{
    base::Digest,
    images::{self, Descriptor, Links, PlatformImage},
};

/// The images that `root` leads to, in the order of its indexes. Attestations and whatever else is for no platform are
/// left out.
pub fn platforms(source: &dyn Source, root: &Descriptor) -> Result<Vec<PlatformImage>, SourceError> {
    let all = source::manifests(source, root)?;
    let all: BTreeMap<Digest, &Manifest> = all.iter().map(|manifest| (manifest.descriptor.digest, manifest)).collect();
    let mut found = Vec::new();
    // The root last in first out: children are put on in reverse, so that they come off in order. The walk ends, because
    // `manifests` has bounded the depth, and the count is bounded here.
    let mut open = vec![root.clone()];
    let mut seen = 0_usize;
    while let Some(node) = open.pop() {
        seen += 1;
        if seen > source::MOST_MANIFESTS {
            return Err(SourceError::TooDeep { digest: root.digest });
        }
        match all.get(&node.digest).map(|manifest| &manifest.links) {
            Some(Links::Index { manifests }) => {
                let honest =
                    |child: &&Descriptor| !child.platform.as_ref().is_some_and(images::OciPlatform::is_unknown);
                open.extend(manifests.iter().filter(honest).rev().cloned());
            }
            Some(Links::Image { config, layers }) => found.push(image(source, node, config, layers)?),
            Some(Links::Artifact { .. }) | None => {}
        }
    }
    Ok(found)
}

fn image(
    source: &dyn Source,
    manifest: Descriptor,
    config: &Descriptor,
    layers: &[Descriptor],
) -> Result<PlatformImage, SourceError> {
    let platform = if let Some(platform) = &manifest.platform {
        platform.clone()
    } else {
        let bytes = source::read_small(source, &config.blob(), source::LARGEST_MANIFEST)?;
        let wrong = |reason| SourceError::Manifest { digest: config.digest, reason };
        images::read_config(&bytes).map_err(wrong)?.platform
    };
    Ok(PlatformImage { platform, manifest, config: config.clone(), layers: layers.to_vec() })
}
