//! Writing: blobs, then the index that names them, then away with what nothing names any more.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use super::{BLOBS, INDEX, Layout, LayoutError, MARKER};
use crate::{
    base::{Blob, Digest},
    host::files,
    images::{self, Tag},
    inputs::store::{ActionKey, Store, StoreError},
};

/// What has changed in the folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Blobs that were not there.
    pub added: usize,
    /// Blobs that no tag needs any more.
    pub removed: usize,
    /// Names that led to an image and do not any more.
    pub forgotten: Vec<String>,
}

/// Makes the folder the layout of exactly these tags. What is already as it should be is left alone, so that a build with
/// nothing changed writes nothing.
///
/// `index.json` never names a blob that is not there: it comes after the blobs, and blobs are removed after it. A folder
/// that holds something else is refused.
pub fn write(store: &Store, folder: &Path, tags: &[Tag]) -> Result<Written, LayoutError> {
    let mut names = BTreeSet::new();
    if let Some(tag) = tags.iter().find(|tag| !names.insert(&tag.name)) {
        return Err(LayoutError::SameName { folder: folder.to_owned(), name: tag.name.clone() });
    }
    let blobs: BTreeMap<Digest, Blob> = tags.iter().flat_map(Tag::blobs).map(|d| (d.digest, d.blob())).collect();
    if let Some(blob) = blobs.values().find(|blob| !store.has(blob)) {
        return Err(StoreError::Missing { digest: blob.digest }.into());
    }
    files::create_folder(folder)?;
    // Two builds into one folder take turns; the lock lies in the store since the folder holds nothing but the layout.
    let key = ActionKey::new("layout", 1).field("folder", files::canonical(folder)?.display());
    let _lock = store.lock(&key)?;
    claim(folder)?;
    let forgotten = forgotten(folder, tags);
    let added = add(store, folder, blobs.keys())?;
    files::write(&folder.join(INDEX), &images::encode_layout_index(tags)?.bytes, 0o644)?;
    let removed = remove_others(folder, &blobs)?;
    Ok(Written { added, removed, forgotten })
}

/// The names that the layout has and the tags have not. A layout that cannot be read has none worth telling.
fn forgotten(folder: &Path, tags: &[Tag]) -> Vec<String> {
    let entries = Layout::open(folder).and_then(|layout| layout.entries()).unwrap_or_default();
    let names = entries.into_iter().filter_map(|entry| entry.name);
    names.filter(|name| !tags.iter().any(|tag| tag.name.as_str() == name)).collect()
}

/// Marks the folder as a layout, unless it is something else.
pub(super) fn claim(folder: &Path) -> Result<(), LayoutError> {
    let marker = folder.join(MARKER);
    let foreign = || files::names(folder).map(|names| names.iter().any(|name| !files::is_temporary(name)));
    if !files::exists(&marker) && foreign()? {
        return Err(LayoutError::Foreign { folder: folder.to_owned() });
    }
    Ok(files::write(&marker, images::LAYOUT_MARKER, 0o644)?)
}

fn add<'a>(store: &Store, folder: &Path, blobs: impl Iterator<Item = &'a Digest>) -> Result<usize, LayoutError> {
    let into = folder.join(BLOBS);
    files::create_folder(&into)?;
    let mut added = 0;
    for digest in blobs {
        let path = into.join(digest.hex());
        added += usize::from(!files::exists(&path));
        store.link(digest, &path)?;
    }
    if added > 0 {
        files::sync_folder(&into)?;
    }
    Ok(added)
}

/// Removes blobs that are not needed and what killed builds have left. Names that are none of these are not ours.
fn remove_others(folder: &Path, needed: &BTreeMap<Digest, Blob>) -> Result<usize, LayoutError> {
    let blobs = folder.join(BLOBS);
    let mut removed = 0;
    for name in files::names(&blobs)? {
        let unneeded = name.len() == 64 && name.parse().is_ok_and(|digest: Digest| !needed.contains_key(&digest));
        if unneeded || files::is_temporary(&name) {
            files::remove(&blobs.join(&name))?;
            removed += usize::from(unneeded);
        }
    }
    for name in files::names(folder)?.into_iter().filter(|name| files::is_temporary(name)) {
        files::remove(&folder.join(name))?;
    }
    Ok(removed)
}
