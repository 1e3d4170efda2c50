//! Adding tags to a layout that may hold others, from any source: what copying wants, where building replaces.

use std::path::Path;

use super::{BLOBS, INDEX, Layout, LayoutError, write::claim};
use crate::{
    base::Blob,
    host::files::{self, FileError, Pending},
    images::{self, LayoutEntry, Links},
    inputs::store::{ActionKey, Store},
    outputs::source::{self, CopyError, Source},
};

/// How many blobs were copied, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Added {
    pub blobs: usize,
    pub bytes: u64,
}

/// Copies everything that the entries lead to into the layout, and names it there. A name that the layout has already
/// leads to the new image afterwards; all others stay. Every blob is checked on its way, and the index comes last.
/// `store` is where the lock lies that keeps two of these apart.
pub fn add(store: &Store, folder: &Path, source: &dyn Source, entries: &[LayoutEntry]) -> Result<Added, LayoutError> {
    files::create_folder(folder)?;
    let key = ActionKey::new("layout", 1).field("folder", files::canonical(folder)?.display());
    let _lock = store.lock(&key)?;
    claim(folder)?;
    let index = folder.join(INDEX);
    let mut all = if files::exists(&index) { Layout::open(folder)?.entries()? } else { Vec::new() };
    let mut added = Added::default();
    for entry in entries {
        for manifest in source::manifests(source, &entry.root)? {
            let is_index = matches!(manifest.links, Links::Index { .. });
            let children = manifest.links.children().into_iter();
            for child in children.filter(|child| !(child.is_foreign() || is_index && child.is_document())) {
                added.count(copy(folder, source, child.blob())?);
            }
            added.count(copy(folder, source, manifest.descriptor.blob())?);
        }
        let same = |other: &LayoutEntry| match (&other.name, &entry.name) {
            (Some(other), Some(name)) => other == name,
            _ => other.root.digest == entry.root.digest,
        };
        all.retain(|other| !same(other));
        all.push(entry.clone());
    }
    all.sort_by(|a, b| (&a.name, a.root.digest).cmp(&(&b.name, b.root.digest)));
    files::write(&index, &images::encode_layout_entries(&all)?.bytes, 0o644)?;
    Ok(added)
}

impl Added {
    fn count(&mut self, blob: Option<Blob>) {
        if let Some(blob) = blob {
            self.blobs += 1;
            self.bytes += blob.size;
        }
    }
}

/// Copies a blob unless it is there. A file of its name whose bytes are others is replaced.
fn copy(folder: &Path, source: &dyn Source, blob: Blob) -> Result<Option<Blob>, LayoutError> {
    let blobs = folder.join(BLOBS);
    let path = blobs.join(blob.digest.hex());
    if files::size(&path) == Some(blob.size) && files::blob(&path)? == blob {
        return Ok(None);
    }
    let mut pending = Pending::new_in(&blobs)?;
    match source::copy_blob(source, &blob, &mut pending) {
        Ok(()) => {}
        Err(CopyError::Source(error)) => return Err(error.into()),
        Err(CopyError::Write(source)) => return Err(FileError { doing: "writing", path, source }.into()),
    }
    pending.commit(&path, 0o444)?;
    Ok(Some(blob))
}
