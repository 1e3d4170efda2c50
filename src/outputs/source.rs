//! Where the bytes of an image come from when it is published, archived or verified: the store, an OCI layout, an archive,
//! a registry.
//!
//! Everything an image consists of (layers, config, manifests, indexes) is a blob here, found by digest. Whoever
//! delivers one reads manifests only to follow their descriptors ([`Links`]) and passes the bytes on as they are; what
//! documents mean is left to `images`.

use std::{
    cmp::Ordering,
    fmt,
    io::{self, Read, Seek as _, SeekFrom, Write},
};

use crate::{
    base::{Blob, Digest, Platform, digest::Hashing},
    images::{Descriptor, LayoutEntry, Links, ReadError, reference::Reference},
    inputs::store::{Store, StoreError},
};

/// Registries refuse manifests beyond 4 MiB (distribution specification, "Pushing Manifests").
pub const LARGEST_MANIFEST: u64 = 4 << 20;

/// An index of indexes is allowed; more levels than this are a loop in the making.
pub(super) const DEEPEST: usize = 4;

/// More manifests behind one tag than any honest index has.
pub(super) const MOST_MANIFESTS: usize = 1024;

/// Blobs by digest.
pub trait Source: Send + Sync {
    /// The bytes of a blob from the offset `from` on. Readers check what they read against the digest.
    fn open(&self, blob: &Blob, from: u64) -> Result<Box<dyn Read + Send>, SourceError>;

    /// The size of a blob in bytes, where that is known without reading it.
    fn size(&self, _digest: &Digest) -> Option<u64> {
        None
    }
}

impl Source for Store {
    fn open(&self, blob: &Blob, from: u64) -> Result<Box<dyn Read + Send>, SourceError> {
        let mut file = Store::open(self, &blob.digest)?;
        file.seek(SeekFrom::Start(from)).map_err(|source| SourceError::Read { digest: blob.digest, source })?;
        Ok(Box::new(file))
    }

    fn size(&self, digest: &Digest) -> Option<u64> {
        self.blob(digest).map(|blob| blob.size)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("reading the blob {digest} of the image: {source}")]
    Read { digest: Digest, source: io::Error },
    #[error("the image refers to the blob {digest}, which is not there: build or copy it again")]
    Missing { digest: Digest },
    #[error(
        "the blob {} of the image should have {} bytes, but {found}: it or the manifest that names it is damaged: build or \
         copy the image again", .expected.digest, .expected.size
    )]
    Damaged { expected: Blob, found: Found },
    #[error("the manifest {digest} has {size} bytes, more than the {LARGEST_MANIFEST} that registries take")]
    LargeManifest { digest: Digest, size: u64 },
    #[error("reading the manifest {digest}: {reason}")]
    Manifest { digest: Digest, reason: ReadError },
    #[error("the image {digest} has no manifest for {platform}: it has {there}")]
    NoPlatform { digest: Digest, platform: Platform, there: String },
    #[error("the index {digest} holds more than {DEEPEST} levels or {MOST_MANIFESTS} manifests")]
    TooDeep { digest: Digest },
}

/// What a damaged blob is instead of what its descriptor says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Its size in bytes.
    Size(u64),
    /// It goes on where it should end; how far was not looked at.
    More,
    /// The digest of its bytes.
    Digest(Digest),
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size(size) => write!(f, "it has {size}"),
            Self::More => f.write_str("it has more"),
            Self::Digest(digest) => write!(f, "it has others, with the digest {digest}"),
        }
    }
}

impl SourceError {
    /// The error for a blob that was read to its end, or beyond what was expected, and is `got`.
    pub(super) fn damaged(expected: &Blob, got: Blob) -> Self {
        let found = match got.size.cmp(&expected.size) {
            Ordering::Less => Found::Size(got.size),
            Ordering::Equal => Found::Digest(got.digest),
            Ordering::Greater => Found::More,
        };
        Self::Damaged { expected: *expected, found }
    }

    /// Whether the blob is simply not there.
    pub const fn is_missing(&self) -> bool {
        matches!(self, Self::Missing { .. } | Self::Store(StoreError::Missing { .. }))
    }
}

/// A name, and the index or manifest that it leads to.
#[derive(Clone, Debug)]
pub struct Tag {
    /// As layouts and archives call it: the tag, or `image:tag` where images have equal tags.
    pub name: String,
    pub reference: Reference,
    pub root: Descriptor,
    pub kind: TagKind,
}

/// Whether a tag is meant to lead to one image for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TagKind {
    #[default]
    Fixed,
    /// It follows the newest, such as `latest`.
    Moving,
}

impl Tag {
    /// A tag that is called by its tag alone.
    pub fn new(reference: Reference, root: Descriptor) -> Self {
        Self { name: reference.tag_or_latest().to_string(), reference, root, kind: TagKind::Fixed }
    }
}

impl From<&Tag> for LayoutEntry {
    fn from(tag: &Tag) -> Self {
        Self { name: Some(tag.name.clone()), reference: Some(tag.reference.to_string()), root: tag.root.clone() }
    }
}

/// A manifest or an index with its bytes, checked against its descriptor.
#[derive(Clone, Debug)]
pub struct Manifest {
    pub descriptor: Descriptor,
    pub bytes: Vec<u8>,
    pub links: Links,
}

impl Manifest {
    /// Checks bytes against the descriptor that led to them.
    pub fn check(descriptor: Descriptor, bytes: Vec<u8>) -> Result<Self, SourceError> {
        let (expected, got) = (descriptor.blob(), Blob { digest: Digest::of(&bytes), size: bytes.len() as u64 });
        if got != expected {
            return Err(SourceError::damaged(&expected, got));
        }
        let links = read_links(&descriptor, &bytes)?;
        Ok(Self { descriptor, bytes, links })
    }
}

/// Reads what a document refers to, as what its descriptor says it is.
pub(super) fn read_links(descriptor: &Descriptor, bytes: &[u8]) -> Result<Links, SourceError> {
    let manifest = |reason| SourceError::Manifest { digest: descriptor.digest, reason };
    Links::read(bytes, &descriptor.media_type).map_err(manifest)
}

/// Reads a small blob whole, checked.
pub fn read_small(source: &dyn Source, blob: &Blob, limit: u64) -> Result<Vec<u8>, SourceError> {
    if blob.size > limit {
        return Err(SourceError::LargeManifest { digest: blob.digest, size: blob.size });
    }
    let mut bytes = Vec::new();
    let mut reader = source.open(blob, 0)?.take(blob.size + 1);
    reader.read_to_end(&mut bytes).map_err(|source| SourceError::Read { digest: blob.digest, source })?;
    let got = Blob { digest: Digest::of(&bytes), size: bytes.len() as u64 };
    if got == *blob { Ok(bytes) } else { Err(SourceError::damaged(blob, got)) }
}

/// Compares a blob's size with its descriptor's, where the source knows it without reading. Whoever delivers blobs asks
/// this before the first byte leaves: what cannot be right is not worth beginning, and whoever takes it would complain
/// first and be blamed.
pub(super) fn check_size(source: &dyn Source, blob: &Blob) -> Result<(), SourceError> {
    match source.size(&blob.digest) {
        Some(size) if size != blob.size => Err(SourceError::Damaged { expected: *blob, found: Found::Size(size) }),
        _ => Ok(()),
    }
}

/// Copies a whole blob and checks it. What was written is good only when this returns.
pub fn copy_blob(source: &dyn Source, blob: &Blob, out: &mut dyn Write) -> Result<(), CopyError> {
    check_size(source, blob)?;
    // One byte more than promised is enough to see that there are more.
    let mut reader = Hashing::new(source.open(blob, 0)?.take(blob.size.saturating_add(1)));
    let mut piece = vec![0; 128 << 10];
    loop {
        let n = match reader.read(&mut piece) {
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => return Err(SourceError::Read { digest: blob.digest, source }.into()),
        };
        if n == 0 {
            break;
        }
        out.write_all(&piece[..n]).map_err(CopyError::Write)?;
    }
    let (_, got) = reader.finish();
    if got == *blob { Ok(()) } else { Err(SourceError::damaged(blob, got).into()) }
}

/// Why a copy failed: for want of the bytes, or of a place for them.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Write(io::Error),
}

/// The manifest for one platform of an image. An image that is not an index has one platform, which only its config
/// knows; it is taken as it is.
pub fn for_platform(source: &dyn Source, root: &Descriptor, platform: Platform) -> Result<Manifest, SourceError> {
    let all = manifests(source, root)?;
    let images = all.iter().filter(|manifest| matches!(manifest.links, Links::Image { .. }));
    let wanted = |manifest: &&Manifest| manifest.descriptor.platform.as_ref().is_none_or(|said| said.serves(platform));
    if let Some(found) = images.clone().find(wanted) {
        return Ok(found.clone());
    }
    let there: Vec<_> =
        images.filter_map(|manifest| manifest.descriptor.platform.as_ref().map(ToString::to_string)).collect();
    Err(SourceError::NoPlatform { digest: root.digest, platform, there: there.join(", ") })
}

/// All manifests and indexes below `root`, each once, those that are referred to before those that refer to them: the
/// order in which a registry can take them.
pub fn manifests(source: &dyn Source, root: &Descriptor) -> Result<Vec<Manifest>, SourceError> {
    let mut found = Vec::new();
    collect(source, root, 1, &mut found)?;
    Ok(found)
}

fn collect(source: &dyn Source, node: &Descriptor, depth: usize, found: &mut Vec<Manifest>) -> Result<(), SourceError> {
    if found.iter().any(|manifest| manifest.descriptor.digest == node.digest) {
        return Ok(());
    }
    if depth > DEEPEST || found.len() >= MOST_MANIFESTS {
        return Err(SourceError::TooDeep { digest: node.digest });
    }
    let manifest = Manifest::check(node.clone(), read_small(source, &node.blob(), LARGEST_MANIFEST)?)?;
    if let Links::Index { manifests } = &manifest.links {
        // Entries of other types are allowed and say nothing to us (`image-index.md`): they travel as blobs.
        for child in manifests.iter().filter(|child| child.is_document()) {
            collect(source, child, depth + 1, found)?;
        }
    }
    found.push(manifest);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::media_type;

    #[test]
    fn manifests_come_before_what_refers_to_them_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        let put = |text: String, media_type: &str| {
            let blob = store.put(text.as_bytes()).unwrap();
            (format!(r#"{{"mediaType":"{media_type}","digest":"{}","size":{}}}"#, blob.digest, blob.size), blob)
        };
        let (config, _) = put("{}".to_owned(), media_type::CONFIG);
        let image = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[]}}"#);
        let (image, image_blob) = put(image, media_type::MANIFEST);
        let index = |entries: &str| put(format!(r#"{{"schemaVersion":2,"manifests":[{entries}]}}"#), media_type::INDEX);
        let (inner, inner_blob) = index(&format!("{image},{image}"));
        let (_, outer) = index(&format!("{image},{inner}"));
        let root = Descriptor::new(media_type::INDEX, outer);
        let order: Vec<_> = manifests(&store, &root).unwrap().iter().map(|m| m.descriptor.blob()).collect();
        assert_eq!(order, [image_blob, inner_blob, outer]);

        let mut level = image;
        for _ in 0..DEEPEST {
            level = index(&level).0;
        }
        let deep: Descriptor = serde_json::from_str(&level).unwrap();
        assert!(matches!(manifests(&store, &deep), Err(SourceError::TooDeep { .. })));
    }

    #[test]
    fn a_damaged_blob_is_told_from_a_missing_one() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        let blob = store.put(b"good").unwrap();
        assert_eq!(read_small(&store, &blob, 10).unwrap(), b"good");
        let longer = Blob { size: 5, ..blob };
        assert!(matches!(read_small(&store, &longer, 10), Err(SourceError::Damaged { .. })));
        assert!(matches!(read_small(&store, &longer, 4), Err(SourceError::LargeManifest { .. })));
        let missing = Blob { digest: Digest::of("other"), size: 5 };
        assert!(matches!(read_small(&store, &missing, 10), Err(SourceError::Store(StoreError::Missing { .. }))));
    }
}
