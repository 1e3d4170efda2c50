//! A layout as a source of blobs: its names, and its files by digest.
//!
//! Nothing is checked here but that the folder is a layout and that its index can be read: who uses the blobs checks them,
//! and the verifier wants to see what is wrong rather than be told that something is.

use std::{
    io::{Read, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{BLOBS, INDEX, LayoutError, MARKER};
use crate::{
    base::{Blob, Digest},
    host::files,
    images::{self, LONGEST, LayoutEntry, RefName, annotation},
    outputs::source::{Source, SourceError},
};

/// A folder that is a layout.
#[derive(Clone, Debug)]
pub struct Layout {
    folder: PathBuf,
}

impl Layout {
    pub fn open(folder: &Path) -> Result<Self, LayoutError> {
        check_version(folder)?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// What `index.json` names, in its order.
    pub fn entries(&self) -> Result<Vec<LayoutEntry>, LayoutError> {
        let index = files::read(&self.folder.join(INDEX), LONGEST)?;
        let roots =
            images::read_index(&index).map_err(|reason| LayoutError::Index { folder: self.folder.clone(), reason })?;
        let entry = |root: images::Descriptor| {
            let name = root.annotations.get(annotation::REF_NAME).map(|name| name.parse::<RefName>()).transpose();
            let name = name.map_err(|reason| LayoutError::Name { folder: self.folder.clone(), reason })?;
            let reference = root.annotations.get(annotation::CONTAINERD_NAME).cloned();
            Ok(LayoutEntry { name: name.map(|name| name.to_string()), reference, root })
        };
        roots.into_iter().map(entry).collect()
    }
}

impl Source for Layout {
    fn open(&self, blob: &Blob, from: u64) -> Result<Box<dyn Read + Send>, SourceError> {
        let digest = blob.digest;
        let path = self.folder.join(BLOBS).join(digest.hex());
        // A pipe in its place would block whoever opens it.
        if files::size(&path).is_none() {
            return Err(SourceError::Missing { digest });
        }
        let mut file = files::open(&path).map_err(|error| SourceError::Read { digest, source: error.source })?;
        file.seek(SeekFrom::Start(from)).map_err(|source| SourceError::Read { digest, source })?;
        Ok(Box::new(file))
    }

    fn size(&self, digest: &Digest) -> Option<u64> {
        files::size(&self.folder.join(BLOBS).join(digest.hex()))
    }
}

/// `oci-layout` (`image-layout.md`): of version 1.0.0 everywhere so far.
fn check_version(folder: &Path) -> Result<(), LayoutError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Marker {
        image_layout_version: String,
    }
    let marker = match files::read(&folder.join(MARKER), 4096) {
        Err(error) if error.is_not_found() => return Err(LayoutError::NoLayout { folder: folder.to_owned() }),
        marker => marker?,
    };
    match serde_json::from_slice::<Marker>(&marker) {
        Ok(marker) if marker.image_layout_version.starts_with("1.0.") => Ok(()),
        _ => Err(LayoutError::Version { folder: folder.to_owned() }),
    }
}
