//! Where the bytes of an image come from when it is published, archived or verified: an OCI layout, the store, an
//! archive. And the little of a manifest that delivering it needs: what it refers to.
//!
//! Everything an image consists of (layers, config, manifests, indexes) is a blob here, found by digest. Whoever
//! delivers one reads manifests only to follow their descriptors and passes the bytes on as they are; the meaning of
//! configs and annotations is left to `images`.

use std::io::{self, Read, Seek as _, SeekFrom, Write};

use serde::Deserialize;

use crate::{
    base::{Blob, Digest, Platform, digest::Hashing},
    images::reference::Reference,
    inputs::store::{Store, StoreError},
};

/// Registries refuse manifests beyond 4 MiB (distribution specification, "Pushing Manifests").
pub const LARGEST_MANIFEST: u64 = 4 << 20;

/// An index of indexes is allowed; more levels than this are a loop in the making.
const DEEPEST: usize = 4;

/// More manifests behind one tag than any honest index has.
pub(super) const MOST_MANIFESTS: usize = 1024;

pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// Blobs by digest.
pub trait Source: Send + Sync {
    /// The bytes of a blob from the offset `from` on. Readers check what they read against the digest.
    fn open(&self, blob: &Blob, from: u64) -> Result<Box<dyn Read + Send>, SourceError>;
}

impl Source for Store {
    fn open(&self, blob: &Blob, from: u64) -> Result<Box<dyn Read + Send>, SourceError> {
        let mut file = Store::open(self, &blob.digest)?;
        file.seek(SeekFrom::Start(from)).map_err(|source| SourceError::Read { digest: blob.digest, source })?;
        Ok(Box::new(file))
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("reading the blob {digest} of the image: {source}")]
    Read { digest: Digest, source: io::Error },
    #[error("the image refers to the blob {digest}, which is not there: build it again")]
    Missing { digest: Digest },
    #[error(
        "the blob {expected} of the image is damaged: its bytes have the digest {actual} (expected {size} bytes): remove it \
         and build again"
    )]
    Damaged { expected: Digest, actual: Digest, size: u64 },
    #[error("the manifest {digest} has {size} bytes, more than the {LARGEST_MANIFEST} that registries take")]
    LargeManifest { digest: Digest, size: u64 },
    #[error("reading the manifest {digest}: {reason}")]
    Manifest { digest: Digest, reason: String },
    #[error("the image {digest} has no manifest for {platform}: it has {there}")]
    NoPlatform { digest: Digest, platform: Platform, there: String },
    #[error("the index {digest} holds more than {DEEPEST} levels or {MOST_MANIFESTS} manifests")]
    TooDeep { digest: Digest },
}

impl SourceError {
    /// Whether the blob is simply not there.
    pub const fn is_missing(&self) -> bool {
        matches!(self, Self::Missing { .. } | Self::Store(StoreError::Missing { .. }))
    }
}

/// A reference from one document to a blob, as OCI descriptors have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    pub media_type: String,
    pub blob: Blob,
    /// `os/architecture[/variant]` where the descriptor says it.
    pub platform: Option<String>,
}

/// A name, and the index or manifest that it leads to.
#[derive(Clone, Debug)]
pub struct Tag {
    pub reference: Reference,
    pub root: Descriptor,
}

/// What a manifest or an index refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    Index { manifests: Vec<Descriptor> },
    Image { config: Descriptor, layers: Vec<Descriptor> },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDocument {
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    manifests: Option<Vec<RawDescriptor>>,
    #[serde(default)]
    config: Option<RawDescriptor>,
    #[serde(default)]
    layers: Option<Vec<RawDescriptor>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    platform: Option<RawPlatform>,
}

#[derive(Deserialize)]
struct RawPlatform {
    architecture: String,
    os: String,
    #[serde(default)]
    variant: Option<String>,
}

impl Descriptor {
    pub fn is_manifest(&self) -> bool {
        matches!(self.media_type.as_str(), OCI_INDEX | OCI_MANIFEST | DOCKER_LIST | DOCKER_MANIFEST)
    }

    /// Layers that registries do not carry: their licence forbids it and they have URLs of their own.
    pub fn is_foreign(&self) -> bool {
        self.media_type.contains(".nondistributable.") || self.media_type.contains(".foreign.")
    }
}

impl Document {
    /// Reads a manifest or an index. `media_type` is what its descriptor or the registry says, which its own
    /// `mediaType` must not contradict: one document that two clients read as two things is an old attack
    /// (CVE-2021-41190).
    pub fn read(digest: Digest, bytes: &[u8], media_type: &str) -> Result<Self, SourceError> {
        let wrong = |reason: String| SourceError::Manifest { digest, reason };
        let raw: RawDocument = serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
        if let Some(own) = raw.media_type.as_deref().filter(|own| *own != media_type) {
            return Err(wrong(format!("it calls itself `{own}` but is delivered as `{media_type}`")));
        }
        let all = |raw: Vec<RawDescriptor>| {
            raw.into_iter().map(|raw| raw.read().map_err(wrong)).collect::<Result<Vec<_>, _>>()
        };
        match (media_type, raw) {
            (OCI_INDEX | DOCKER_LIST, RawDocument { manifests: Some(manifests), layers: None, config: None, .. }) => {
                Ok(Self::Index { manifests: all(manifests)? })
            }
            (
                OCI_MANIFEST | DOCKER_MANIFEST,
                RawDocument { manifests: None, config: Some(config), layers: Some(layers), .. },
            ) => Ok(Self::Image { config: config.read().map_err(wrong)?, layers: all(layers)? }),
            (OCI_INDEX | DOCKER_LIST, _) => Err(wrong("an index has `manifests` and nothing else".to_owned())),
            (OCI_MANIFEST | DOCKER_MANIFEST, _) => Err(wrong("a manifest has `config` and `layers`".to_owned())),
            (other, _) => Err(wrong(format!("`{other}` is no media type of an image's manifest or index"))),
        }
    }

    /// What it refers to, in order.
    pub fn children(&self) -> Vec<&Descriptor> {
        match self {
            Self::Index { manifests } => manifests.iter().collect(),
            Self::Image { config, layers } => std::iter::once(config).chain(layers).collect(),
        }
    }
}

impl RawDescriptor {
    fn read(self) -> Result<Descriptor, String> {
        let digest = self.digest.strip_prefix("sha256:").and_then(|hex| hex.parse().ok());
        let digest = digest.ok_or_else(|| format!("`{}` is not a sha256 digest", self.digest.escape_debug()))?;
        let platform = self.platform.map(|platform| match platform.variant.filter(|variant| !variant.is_empty()) {
            Some(variant) => format!("{}/{}/{variant}", platform.os, platform.architecture),
            None => format!("{}/{}", platform.os, platform.architecture),
        });
        Ok(Descriptor { media_type: self.media_type, blob: Blob { digest, size: self.size }, platform })
    }
}

/// A manifest or an index with its bytes, checked against its descriptor.
#[derive(Clone, Debug)]
pub struct Manifest {
    pub descriptor: Descriptor,
    pub bytes: Vec<u8>,
    pub document: Document,
}

impl Manifest {
    /// Checks bytes against the descriptor that led to them.
    pub fn check(descriptor: Descriptor, bytes: Vec<u8>) -> Result<Self, SourceError> {
        let actual = Digest::of(&bytes);
        let expected = descriptor.blob;
        if actual != expected.digest || bytes.len() as u64 != expected.size {
            return Err(SourceError::Damaged { expected: expected.digest, actual, size: expected.size });
        }
        let document = Document::read(expected.digest, &bytes, &descriptor.media_type)?;
        Ok(Self { descriptor, bytes, document })
    }
}

/// Reads a small blob whole, checked.
pub fn read_small(source: &dyn Source, blob: &Blob, limit: u64) -> Result<Vec<u8>, SourceError> {
    if blob.size > limit {
        return Err(SourceError::LargeManifest { digest: blob.digest, size: blob.size });
    }
    let mut bytes = Vec::new();
    let mut reader = source.open(blob, 0)?.take(blob.size + 1);
    reader.read_to_end(&mut bytes).map_err(|source| SourceError::Read { digest: blob.digest, source })?;
    let actual = Digest::of(&bytes);
    if actual == blob.digest && bytes.len() as u64 == blob.size {
        return Ok(bytes);
    }
    Err(SourceError::Damaged { expected: blob.digest, actual, size: blob.size })
}

/// Copies a whole blob and checks it. What was written is good only when this returns.
pub fn copy_blob(source: &dyn Source, blob: &Blob, out: &mut dyn Write) -> Result<(), CopyError> {
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
    if got == *blob {
        return Ok(());
    }
    Err(SourceError::Damaged { expected: blob.digest, actual: got.digest, size: blob.size }.into())
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
    let images = all.iter().filter(|manifest| matches!(manifest.document, Document::Image { .. }));
    let wanted = |manifest: &&Manifest| {
        let name = manifest.descriptor.platform.as_deref();
        // arm64's variant v8 is implied, and Docker's older indexes spell it out.
        name.is_none_or(|name| name == platform.name() || name.strip_suffix("/v8") == Some(platform.name()))
    };
    if let Some(found) = images.clone().find(wanted) {
        return Ok(found.clone());
    }
    let there: Vec<_> = images.filter_map(|manifest| manifest.descriptor.platform.as_deref()).collect();
    Err(SourceError::NoPlatform { digest: root.blob.digest, platform, there: there.join(", ") })
}

/// All manifests and indexes below `root`, each once, those that are referred to before those that refer to them: the
/// order in which a registry can take them.
pub fn manifests(source: &dyn Source, root: &Descriptor) -> Result<Vec<Manifest>, SourceError> {
    let mut found = Vec::new();
    collect(source, root, 1, &mut found)?;
    Ok(found)
}

fn collect(source: &dyn Source, node: &Descriptor, depth: usize, found: &mut Vec<Manifest>) -> Result<(), SourceError> {
    if found.iter().any(|manifest| manifest.descriptor.blob.digest == node.blob.digest) {
        return Ok(());
    }
    if depth > DEEPEST || found.len() >= MOST_MANIFESTS {
        return Err(SourceError::TooDeep { digest: node.blob.digest });
    }
    let manifest = Manifest::check(node.clone(), read_small(source, &node.blob, LARGEST_MANIFEST)?)?;
    if let Document::Index { manifests } = &manifest.document {
        for child in manifests {
            collect(source, child, depth + 1, found)?;
        }
    }
    found.push(manifest);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(media_type: &str) -> String {
        format!(r#"{{"mediaType":"{media_type}","digest":"{}","size":3}}"#, Digest::of("abc"))
    }

    #[test]
    fn a_document_is_what_its_descriptor_says_or_nothing() {
        let (config, layer) = (descriptor("application/c"), descriptor("application/l"));
        let image = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layer}]}}"#);
        let index = format!(r#"{{"mediaType":"{OCI_INDEX}","manifests":[{}]}}"#, descriptor(OCI_MANIFEST));
        let both = format!(r#"{{"config":{config},"layers":[],"manifests":[]}}"#);
        let cases = [
            (image.as_str(), OCI_MANIFEST, true),
            (image.as_str(), DOCKER_MANIFEST, true),
            (image.as_str(), OCI_INDEX, false),
            (image.as_str(), "text/plain", false),
            (index.as_str(), OCI_INDEX, true),
            (index.as_str(), DOCKER_LIST, false),
            (index.as_str(), OCI_MANIFEST, false),
            (both.as_str(), OCI_INDEX, false),
            (both.as_str(), OCI_MANIFEST, false),
            ("", OCI_INDEX, false),
            ("[]", OCI_INDEX, false),
            (r#"{"manifests":[{"mediaType":"x","digest":"sha512:00","size":1}]}"#, OCI_INDEX, false),
            (r#"{"manifests":[{"mediaType":"x","digest":"sha256:00","size":-1}]}"#, OCI_INDEX, false),
        ];
        for (text, media_type, good) in cases {
            let read = Document::read(Digest::of(text), text.as_bytes(), media_type);
            assert_eq!(read.is_ok(), good, "{text} as {media_type}: {read:?}");
        }
    }

    #[test]
    fn manifests_come_before_what_refers_to_them_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        let put = |text: String, media_type: &str| {
            let blob = store.put(text.as_bytes()).unwrap();
            (format!(r#"{{"mediaType":"{media_type}","digest":"{}","size":{}}}"#, blob.digest, blob.size), blob)
        };
        let (image, image_blob) =
            put(format!(r#"{{"config":{},"layers":[]}}"#, descriptor("application/c")), OCI_MANIFEST);
        let (inner, inner_blob) = put(format!(r#"{{"manifests":[{image},{image}]}}"#), OCI_INDEX);
        let (_, outer) = put(format!(r#"{{"manifests":[{image},{inner}]}}"#), OCI_INDEX);
        let root = Descriptor { media_type: OCI_INDEX.to_owned(), blob: outer, platform: None };
        let order: Vec<_> = manifests(&store, &root).unwrap().iter().map(|m| m.descriptor.blob).collect();
        assert_eq!(order, [image_blob, inner_blob, outer]);

        let mut level = image;
        for _ in 0..DEEPEST {
            level = put(format!(r#"{{"manifests":[{level}]}}"#), OCI_INDEX).0;
        }
        let deep: RawDescriptor = serde_json::from_str(&level).unwrap();
        assert!(matches!(manifests(&store, &deep.read().unwrap()), Err(SourceError::TooDeep { .. })));
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
