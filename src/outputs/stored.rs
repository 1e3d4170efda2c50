//! Layers and images in the store: made when they are not there yet, found when they are.

use std::{
    collections::BTreeMap,
    io::{self, Read},
};

use crate::{
    base::{Content, Epoch, Tree},
    images::{self, Descriptor, Document, EncodeError, Image, PlatformImage, RefName, Tag},
    inputs::store::{Store, StoreError},
    layers::{Codec, Contents, LayerError, LayerInfo, layer_key, write_layer},
};

#[derive(Debug, thiserror::Error)]
pub enum StoredError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Layer(#[from] LayerError),
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

impl Contents for Store {
    fn open(&self, content: &Content) -> io::Result<Box<dyn Read + '_>> {
        Ok(Box::new(self.content(content).map_err(io::Error::other)?))
    }
}

/// The layer of these entries, from the store if any build has made it before. Two builds that want the same layer make
/// it once: the second waits.
pub fn store_layer(
    store: &Store,
    tree: &Tree,
    epoch: Epoch,
    codec: Codec,
    threads: usize,
) -> Result<LayerInfo, StoredError> {
    let key = layer_key(tree, epoch, codec);
    let known = || store.recorded::<LayerInfo>(&key).filter(|info| store.has(&info.blob));
    if let Some(info) = known() {
        return Ok(info);
    }
    let _lock = store.lock(&key)?;
    if let Some(info) = known() {
        return Ok(info);
    }
    let mut writer = store.writer()?;
    let info = write_layer(store, tree, epoch, codec, threads, &mut writer)?;
    writer.finish_expecting(&info.blob.digest)?;
    store.record(&key, &info)?;
    Ok(info)
}

/// The tag of these images, in the order given, with all its documents in the store. `annotations` are the index's.
pub fn store_tag(
    store: &Store,
    name: RefName,
    reference: Option<String>,
    images: &[Image],
    annotations: &BTreeMap<String, String>,
) -> Result<Tag, StoredError> {
    let put = |document: &Document| store.put(&document.bytes);
    let mut listed: Vec<PlatformImage> = Vec::new();
    for image in images {
        let encoded = images::encode_image(image)?;
        put(&encoded.config)?;
        put(&encoded.manifest)?;
        listed.push(encoded.image);
    }
    let index = images::encode_index(&listed, annotations)?;
    let root = Descriptor::new(images::media_type::INDEX, put(&index)?);
    Ok(Tag { name, reference, root, nested: Vec::new(), images: listed })
}
