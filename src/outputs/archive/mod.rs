//! Images as one tar file: for `skopeo copy oci-archive:`, `ctr images import`, `podman load` and `docker load`.
//!
//! The same image gives the same bytes: entries are sorted, have no times and belong to nobody, and blobs go in as they
//! are. A Docker archive is an OCI layout with a `manifest.json` beside it, because Engines before 25 read nothing else
//! (moby, image/tarexport/load.go) and containerd reads the layout.

mod read;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
};

use super::source::{self, CopyError, Manifest, Source, SourceError, Tag};
use crate::{
    base::{Blob, Digest, Platform},
    images::{self, DockerImage, EncodeError, LayoutEntry, Links},
};

pub use read::{ArchiveFile, ReadArchiveError};

/// The files of an archive, in the order in which they are written.
pub struct Archive {
    files: Vec<(String, Content)>,
    /// What Docker calls the images after loading: config digest and manifest digest by name.
    pub(super) images: BTreeMap<String, (Digest, Digest)>,
}

enum Content {
    Bytes(Vec<u8>),
    Blob(Blob),
}

#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Encode(#[from] EncodeError),
    #[error("writing the archive: {0}")]
    Write(#[source] io::Error),
    #[error("two images are to be called {0}: give each its own name")]
    Ambiguous(String),
}

impl Archive {
    /// An OCI layout with all platforms of the images.
    pub fn oci(source: &dyn Source, entries: &[LayoutEntry]) -> Result<Self, ArchiveError> {
        let mut blobs = BTreeSet::new();
        for entry in entries {
            for manifest in source::manifests(source, &entry.root)? {
                add_blobs(source, &manifest, &mut blobs)?;
            }
        }
        Ok(Self { files: layout(entries.to_vec(), None, blobs)?, images: BTreeMap::new() })
    }

    /// What the Docker Engine loads: one platform of the tags.
    pub fn docker(source: &dyn Source, tags: &[Tag], platform: Platform) -> Result<Self, ArchiveError> {
        let mut blobs = BTreeSet::new();
        let (mut entries, mut loads) = (Vec::new(), BTreeMap::<Digest, DockerImage>::new());
        let mut images = BTreeMap::new();
        for tag in tags {
            let manifest = source::for_platform(source, &tag.root, platform)?;
            add_blobs(source, &manifest, &mut blobs)?;
            entries.push(LayoutEntry { root: manifest.descriptor.clone(), ..LayoutEntry::from(tag) });
            let Links::Image { config, layers } = &manifest.links else { continue };
            let name = tag.reference.to_string();
            images.insert(name.clone(), (config.digest, manifest.descriptor.digest));
            let load = loads.entry(manifest.descriptor.digest).or_insert_with(|| DockerImage {
                config: path(&config.digest),
                repo_tags: Vec::new(),
                layers: layers.iter().map(|layer| path(&layer.digest)).collect(),
            });
            if !load.repo_tags.contains(&name) {
                load.repo_tags.push(name);
                load.repo_tags.sort();
            }
        }
        let loads: Vec<_> = loads.into_values().collect();
        let loads = images::encode_docker_manifest(&loads)?;
        Ok(Self { files: layout(entries, Some(loads.bytes), blobs)?, images })
    }

    /// The archive's length in bytes.
    pub fn size(&self) -> u64 {
        // Sizes come from outside: one that no archive has is found when the blob is read.
        let padded = |size: u64| size.div_ceil(512).saturating_mul(512).saturating_add(512);
        let files = self.files.iter().map(|(_, content)| match content {
            Content::Bytes(bytes) => padded(bytes.len() as u64),
            Content::Blob(blob) => padded(blob.size),
        });
        // Two folders, and the two empty blocks that end a tar.
        files.fold(2 * 512 + 1024, u64::saturating_add)
    }

    /// Writes the archive. Every blob is checked on its way; when this fails, what was written is no archive.
    pub fn write(&self, source: &dyn Source, out: &mut dyn Write) -> Result<(), ArchiveError> {
        for folder in ["blobs/", "blobs/sha256/"] {
            let mut header = header(0, 0o755);
            header.set_entry_type(tar::EntryType::Directory);
            write_header(out, header, folder)?;
        }
        for (name, content) in &self.files {
            let size = match content {
                Content::Bytes(bytes) => {
                    write_header(out, header(bytes.len() as u64, 0o644), name)?;
                    out.write_all(bytes).map_err(ArchiveError::Write)?;
                    bytes.len() as u64
                }
                Content::Blob(blob) => {
                    write_header(out, header(blob.size, 0o644), name)?;
                    source::copy_blob(source, blob, out)?;
                    blob.size
                }
            };
            let padding = usize::try_from(size.next_multiple_of(512) - size).unwrap_or_default();
            out.write_all(&[0; 512][..padding]).map_err(ArchiveError::Write)?;
        }
        out.write_all(&[0; 1024]).and_then(|()| out.flush()).map_err(ArchiveError::Write)
    }
}

impl From<CopyError> for ArchiveError {
    fn from(error: CopyError) -> Self {
        match error {
            CopyError::Source(error) => Self::Source(error),
            CopyError::Write(error) => Self::Write(error),
        }
    }
}

/// The entries of `index.json` in the order of their names, each once, named for tools that look for a tag (image-spec,
/// annotations) and for containerd, which wants the whole name. Where two images have one short name, they have their
/// long ones in its place.
fn named(mut entries: Vec<LayoutEntry>) -> Result<Vec<LayoutEntry>, ArchiveError> {
    let order = |entry: &LayoutEntry| (entry.reference.clone(), entry.name.clone(), entry.root.digest);
    entries.sort_by_cached_key(order);
    entries.dedup_by(|a, b| order(a) == order(b));
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for name in entries.iter().filter_map(|entry| entry.name.clone()) {
        *counts.entry(name).or_default() += 1;
    }
    let shared = |entry: &LayoutEntry| entry.name.as_ref().is_some_and(|name| counts[name] > 1);
    for entry in entries.iter_mut().filter(|entry| shared(entry)) {
        entry.name = entry.reference.clone().or(entry.name.take());
    }
    let mut names = BTreeSet::new();
    match entries.iter().filter_map(|entry| entry.name.as_ref()).find(|name| !names.insert(*name)) {
        Some(twice) => Err(ArchiveError::Ambiguous(twice.clone())),
        None => Ok(entries),
    }
}

fn add_blobs(source: &dyn Source, manifest: &Manifest, blobs: &mut BTreeSet<Blob>) -> Result<(), SourceError> {
    blobs.insert(manifest.descriptor.blob());
    let is_index = matches!(manifest.links, Links::Index { .. });
    let children = manifest.links.children().into_iter();
    // The documents below an index come here themselves.
    for child in children.filter(|child| !(child.is_foreign() || is_index && child.is_document())) {
        source::check_size(source, &child.blob())?;
        blobs.insert(child.blob());
    }
    Ok(())
}

fn layout(
    entries: Vec<LayoutEntry>,
    docker: Option<Vec<u8>>,
    blobs: BTreeSet<Blob>,
) -> Result<Vec<(String, Content)>, ArchiveError> {
    let index = images::encode_layout_entries(&named(entries)?)?;
    let mut files = vec![
        ("oci-layout".to_owned(), Content::Bytes(images::LAYOUT_MARKER.to_vec())),
        ("index.json".to_owned(), Content::Bytes(index.bytes)),
    ];
    if let Some(docker) = docker {
        files.push(("manifest.json".to_owned(), Content::Bytes(docker)));
    }
    files.extend(blobs.into_iter().map(|blob| (path(&blob.digest), Content::Blob(blob))));
    Ok(files)
}

fn path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn header(size: u64, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_size(size);
    header.set_mode(mode);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn write_header(out: &mut dyn Write, mut header: tar::Header, name: &str) -> Result<(), ArchiveError> {
    header.set_path(name).map_err(ArchiveError::Write)?;
    header.set_cksum();
    out.write_all(header.as_bytes()).map_err(ArchiveError::Write)
}
