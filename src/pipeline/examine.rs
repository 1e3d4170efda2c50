//! Looking at images wherever they are: choosing one platform of a place, reading it, proving it, running it.

use std::sync::Arc;

use super::publish::{self, PublishError, blocking};
use crate::{
    base::{Platform, progress::SharedProgress, size::Bytes},
    images::{LayoutEntry, PlatformImage},
    outputs::{
        archive::ReadArchiveError,
        inspect::{self, InspectError},
        layout::LayoutError,
        place::{OpenError, Opened, Place, called},
        platforms,
        registry::{RegistryError, Settings},
        source::{Source, SourceError},
        verify::{self, Code, Finding, Report},
    },
    report::Contents,
};

/// One image of a place, with its platforms.
#[derive(Clone)]
pub struct Examined {
    pub source: Arc<dyn Source>,
    pub entry: LayoutEntry,
    pub images: Vec<PlatformImage>,
}

/// Opens the only image of a place.
pub async fn examine(place: &Place, settings: &Settings, progress: &SharedProgress) -> Result<Examined, PublishError> {
    let opened = publish::open(place, settings, progress).await?;
    let entry = publish::only(place, &opened)?.clone();
    let (source, root) = (Arc::clone(&opened.source), entry.root.clone());
    let images = blocking("reading manifests", move || Ok(platforms(source.as_ref(), &root)?)).await?;
    Ok(Examined { source: opened.source, entry, images })
}

impl Examined {
    /// The image for a platform: the wanted one, this machine's, or the only one.
    pub fn platform(&self, place: &Place, wanted: Option<Platform>) -> Result<&PlatformImage, PublishError> {
        let of = |platform: Platform| self.images.iter().find(|image| image.platform.serves(platform));
        let found = match (wanted, self.images.as_slice()) {
            (Some(platform), _) => of(platform),
            (None, [image]) => Some(image),
            (None, _) => Platform::host().and_then(of),
        };
        found.ok_or_else(|| PublishError::Platform {
            place: place.to_string(),
            there: self.images.iter().map(|image| image.platform.to_string()).collect(),
        })
    }
}

/// Reads all files of one platform of an image.
pub async fn contents(
    place: &Place,
    settings: &Settings,
    platform: Option<Platform>,
    progress: &SharedProgress,
) -> Result<Contents, PublishError> {
    let examined = examine(place, settings, progress).await?;
    let image = examined.platform(place, platform)?.clone();
    let (source, name) = (examined.source, place.to_string());
    let task = progress.start(&format!("read {name} {}", image.platform), None);
    let read = blocking("reading layers", move || {
        let failed = |source| inspected(&name, source);
        let layers = inspect::files(source.as_ref(), &image).map_err(failed)?;
        Ok(Contents { image: name, platform: image.platform.to_string(), layers })
    })
    .await?;
    task.done(&Bytes(read.layers.iter().map(|layer| layer.compressed).sum()).to_string());
    Ok(read)
}

pub(super) fn inspected(place: &str, source: InspectError) -> PublishError {
    PublishError::Inspect { place: place.to_owned(), source }
}

/// Whether an image cannot be opened because it is not sound: that is a finding, and no failure to look for any.
fn damage(error: &PublishError) -> Option<Code> {
    match error {
        PublishError::Open(
            OpenError::Layout(LayoutError::Version { .. } | LayoutError::Index { .. } | LayoutError::Name { .. })
            | OpenError::Archive(
                ReadArchiveError::Document { .. }
                | ReadArchiveError::Missing { .. }
                | ReadArchiveError::Contradiction { .. }
                | ReadArchiveError::Renamed { .. },
            ),
        ) => Some(Code::PlaceMalformed),
        // That it is a layout was seen before: what is missing is its index.
        PublishError::Open(OpenError::Layout(LayoutError::File(error))) if error.is_not_found() => {
            Some(Code::PlaceMalformed)
        }
        PublishError::Registry(RegistryError::WrongDigest { .. }) => Some(Code::BlobDigest),
        PublishError::Registry(RegistryError::Source(SourceError::Manifest { .. })) => Some(Code::DocumentMalformed),
        _ => None,
    }
}

/// Proves every image of a place; what each is called, with what was found.
pub async fn verify(
    place: &Place,
    settings: &Settings,
    progress: &SharedProgress,
) -> Result<Vec<(String, Report)>, PublishError> {
    let opened = publish::open(place, settings, progress).await;
    let listener = Arc::clone(progress);
    let place = place.to_string();
    let Opened { source, entries } = match opened {
        Ok(opened) => opened,
        Err(error) => match damage(&error) {
            Some(code) => {
                let finding = Finding { code, subject: place.clone(), message: error.to_string() };
                return Ok(vec![(place, Report::of(finding))]);
            }
            None => return Err(error),
        },
    };
    blocking("verifying", move || {
        let prove = |entry: &LayoutEntry| {
            let task = listener.start(&format!("verify {place} {}", called(entry)), None);
            let report = verify::verify(source.as_ref(), &entry.root);
            task.done(&Bytes(report.bytes).to_string());
            (called(entry), report)
        };
        Ok(entries.iter().map(prove).collect())
    })
    .await
}
