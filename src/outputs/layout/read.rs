//! Reading: every document is checked against the digest that named it; layers are there and have their size.
//!
//! That is what listing and measuring need. The layers' bytes are hashed only when [`measure`] has to unpack one.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use super::{BLOBS, Layout, LayoutError};
use crate::{
    base::Blob,
    host::files,
    images::{self, Descriptor, LONGEST, LayoutEntry, Links, PlatformImage, ReadError, RefName, Tag},
    layers,
};

/// Levels of indexes below `index.json`. Real ones have one, or two where a tool has copied a whole layout.
const DEEPEST: usize = 4;

/// Documents that all tags together may lead to; indexes that name each other many times multiply.
const MOST: usize = 20_000;

/// The tags of a layout, ours or another tool's, in the order of its `index.json`. An image that has no name there is
/// called by its digest.
pub fn read(folder: &Path) -> Result<Vec<Tag>, LayoutError> {
    let mut read = 0;
    let mut tags = Vec::new();
    for LayoutEntry { name, reference, root } in Layout::open(folder)?.entries()? {
        let name: RefName = name
            .unwrap_or_else(|| root.digest.to_string())
            .parse()
            .map_err(|reason| LayoutError::Name { folder: folder.to_owned(), reason })?;
        let mut walk = Walk { folder, tag: &name, read: &mut read, nested: Vec::new(), images: Vec::new() };
        if !root.is_document() {
            return Err(LayoutError::Kind { folder: folder.to_owned(), tag: name, media_type: root.media_type });
        }
        walk.descend(&root, 0)?;
        let Walk { nested, images, .. } = walk;
        tags.push(Tag { name, reference, root, nested, images });
    }
    Ok(tags)
}

/// Fills in the extracted sizes that other tools' layouts do not state, by unpacking those layers.
pub fn measure(folder: &Path, tags: &mut [Tag]) -> Result<(), LayoutError> {
    let mut measured = BTreeMap::new();
    for tag in tags {
        let name = &tag.name;
        for layer in tag.images.iter_mut().flat_map(|image| &mut image.layers) {
            if layer.extracted().is_some() {
                continue;
            }
            let extracted = match measured.get(&layer.digest) {
                Some(extracted) => *extracted,
                None => unpack(folder, name, layer)?,
            };
            measured.insert(layer.digest, extracted);
            layer.set_extracted(extracted);
        }
    }
    Ok(())
}

fn unpack(folder: &Path, tag: &RefName, layer: &Descriptor) -> Result<u64, LayoutError> {
    let file = files::open(&blob_path(folder, layer))?;
    let info = layers::measure(std::io::BufReader::new(file), &layer.media_type).map_err(|reason| {
        LayoutError::Layer { folder: folder.to_owned(), tag: tag.clone(), digest: layer.digest, reason }
    })?;
    if info.blob == layer.blob() {
        return Ok(info.extracted);
    }
    let Blob { digest: actual, size } = info.blob;
    let reason = ReadError::Digest { promised: layer.blob(), actual, size };
    Err(LayoutError::Document { folder: folder.to_owned(), tag: tag.clone(), digest: layer.digest, reason })
}

/// The way from a tag down to its manifests.
struct Walk<'a> {
    folder: &'a Path,
    tag: &'a RefName,
    read: &'a mut usize,
    nested: Vec<Descriptor>,
    images: Vec<PlatformImage>,
}

impl Walk<'_> {
    fn descend(&mut self, descriptor: &Descriptor, depth: usize) -> Result<(), LayoutError> {
        if !descriptor.is_index() {
            return self.image(descriptor);
        }
        if depth > DEEPEST {
            return Err(LayoutError::TooDeep {
                folder: self.folder.to_owned(),
                tag: self.tag.clone(),
                deepest: DEEPEST,
            });
        }
        let bytes = self.document(descriptor)?;
        let children = images::read_index(&bytes).map_err(|reason| self.in_document(descriptor, reason))?;
        for child in &children {
            // Attestations of BuildKit are listed as images for the platform unknown/unknown. Entries of other types are
            // to be ignored (`image-index.md`).
            if child.platform.as_ref().is_some_and(images::OciPlatform::is_unknown) {
                continue;
            }
            if child.is_index() {
                self.nested.push(child.clone());
                self.descend(child, depth + 1)?;
            } else if child.is_document() {
                self.image(child)?;
            }
        }
        Ok(())
    }

    fn image(&mut self, descriptor: &Descriptor) -> Result<(), LayoutError> {
        let bytes = self.document(descriptor)?;
        if matches!(Links::read(&bytes, &descriptor.media_type), Ok(Links::Artifact { .. })) {
            return Ok(());
        }
        let manifest = images::read_manifest(&bytes).map_err(|reason| self.in_document(descriptor, reason))?;
        let bytes = self.document(&manifest.config)?;
        let config = images::read_config(&bytes).map_err(|reason| self.in_document(&manifest.config, reason))?;
        let distinct: BTreeSet<Blob> = manifest.layers.iter().map(Descriptor::blob).collect();
        for blob in distinct {
            self.present(blob)?;
        }
        self.images.push(PlatformImage {
            platform: descriptor.platform.clone().unwrap_or(config.platform),
            manifest: descriptor.clone(),
            config: manifest.config,
            layers: manifest.layers,
        });
        Ok(())
    }

    /// The bytes of a document, checked against its descriptor.
    fn document(&mut self, descriptor: &Descriptor) -> Result<Vec<u8>, LayoutError> {
        *self.read += 1;
        if *self.read > MOST {
            return Err(LayoutError::TooMany { folder: self.folder.to_owned(), tag: self.tag.clone(), most: MOST });
        }
        if descriptor.size > LONGEST {
            let reason = ReadError::TooLong { document: "document", size: descriptor.size };
            return Err(self.in_document(descriptor, reason));
        }
        self.present(descriptor.blob())?;
        let bytes = files::read(&blob_path(self.folder, descriptor), LONGEST)?;
        images::check(&bytes, descriptor.blob()).map_err(|reason| self.in_document(descriptor, reason))?;
        Ok(bytes)
    }

    /// Whether a regular file of the right size is there. It comes before every opening: a pipe would block.
    fn present(&self, blob: Blob) -> Result<(), LayoutError> {
        let size = files::size(&self.folder.join(BLOBS).join(blob.digest.hex()));
        if size == Some(blob.size) {
            return Ok(());
        }
        Err(LayoutError::Missing { folder: self.folder.to_owned(), tag: self.tag.clone(), blob, size })
    }

    fn in_document(&self, descriptor: &Descriptor, reason: ReadError) -> LayoutError {
        let (folder, tag) = (self.folder.to_owned(), self.tag.clone());
        LayoutError::Document { folder, tag, digest: descriptor.digest, reason }
    }
}

fn blob_path(folder: &Path, descriptor: &Descriptor) -> PathBuf {
    folder.join(BLOBS).join(descriptor.digest.hex())
}
