//! Proving an image, its own or another's, byte by byte.
//!
//! Every digest and size is recomputed from the bytes, every layer is unpacked in thought, and what the documents say is
//! held against each other and against the files. Nothing is trusted that an index or a registry claims. What is wrong
//! becomes a finding with a stable code; a finding never ends the search for others. Reading from a registry, and saying
//! what is to be done, are left to the callers.

mod config;
mod layer;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{Serialize, Serializer};

use self::layer::LayerFacts;
use super::{
    entries,
    source::{DEEPEST, LARGEST_MANIFEST, MOST_MANIFESTS, Source, SourceError},
};
use crate::{
    base::{Blob, Digest, digest::Hashing},
    images::{Descriptor, Links, OciPlatform},
};

/// Findings beyond these say nothing new: an archive of rubbish could give millions.
const MOST_FINDINGS: usize = 1000;

/// Something that is wrong with an image.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    pub code: Code,
    /// What it is about: `layer sha256:...`, with a path where one is at fault.
    pub subject: String,
    pub message: String,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $code:ident = $name:literal,)+) => {
        /// What kinds of things can be wrong. The names are stable: scripts look for them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $($(#[$doc])* $code,)+
        }

        impl Code {
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$code => $name,)+
                }
            }
        }
    };
}

codes! {
    /// A blob is referred to but not there.
    BlobMissing = "blob-missing",
    /// A blob is there but cannot be read.
    BlobUnreadable = "blob-unreadable",
    /// The bytes have another digest than the descriptor.
    BlobDigest = "blob-digest",
    /// The bytes are more or fewer than the descriptor says.
    BlobSize = "blob-size",
    /// A media type that has no place there.
    MediaType = "media-type",
    /// A manifest or index that is not what its media type says.
    DocumentMalformed = "document-malformed",
    /// A manifest, index or config beyond what registries take.
    DocumentTooLarge = "document-too-large",
    /// An index of too many levels or manifests.
    IndexTooDeep = "index-too-deep",
    /// A manifest in an index that no client can choose.
    PlatformMissing = "platform-missing",
    /// Two manifests of an index for one platform.
    PlatformDuplicate = "platform-duplicate",
    /// The index says another platform than the config.
    PlatformMismatch = "platform-mismatch",
    /// Nothing that could run is in it.
    ImageMissing = "image-missing",
    /// A config that is no image config.
    ConfigMalformed = "config-malformed",
    /// More or fewer `diff_ids` than layers.
    DiffIdCount = "diff-id-count",
    /// A layer's tar has another digest than the config says.
    DiffIdMismatch = "diff-id-mismatch",
    /// The history describes more or fewer layers than there are.
    HistoryCount = "history-count",
    /// A layer that cannot be unpacked as its media type says.
    LayerCompression = "layer-compression",
    /// A layer's tar that cannot be read to its end.
    LayerMalformed = "layer-malformed",
    /// A layer that unpacks to too much.
    LayerTooLarge = "layer-too-large",
    /// A path that leaves the root file system.
    PathEscapes = "path-escapes",
    /// A path that lies below a file.
    PathConflict = "path-conflict",
    /// A path that a layer holds twice.
    PathDuplicate = "path-duplicate",
    /// A device node.
    PathDevice = "path-device",
    /// A link to something outside the root file system, or a path that goes through one.
    LinkEscapes = "link-escapes",
    /// A program or library for another machine than the platform's.
    ElfMachine = "elf-machine",
    /// A layout or archive whose own files do not say what is in it.
    PlaceMalformed = "place-malformed",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// What was looked at, and what was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Sorted; empty for a sound image.
    pub findings: Vec<Finding>,
    pub platforms: Vec<String>,
    /// Blobs that were read, and their bytes.
    pub blobs: usize,
    pub bytes: u64,
}

impl Report {
    /// Of images that could not even be found, for this reason.
    pub fn of(finding: Finding) -> Self {
        Self { findings: vec![finding], ..Self::default() }
    }
}

/// Looks at everything that `root` leads to.
pub fn verify(source: &dyn Source, root: &Descriptor) -> Report {
    let mut verifier = Verifier {
        source,
        report: Report::default(),
        is_artifact: false,
        seen: BTreeSet::new(),
        read: BTreeMap::new(),
        layers: BTreeMap::new(),
    };
    verifier.document(root, 1);
    if verifier.report.platforms.is_empty() && verifier.report.findings.is_empty() && !verifier.is_artifact {
        let message = "it holds no image for any platform";
        verifier.find(Code::ImageMissing, format!("manifest {}", root.digest), message);
    }
    let mut report = verifier.report;
    report.findings.sort();
    report.findings.dedup();
    report
}

struct Verifier<'a> {
    source: &'a dyn Source,
    report: Report,
    /// What was asked for is itself something else than an image.
    is_artifact: bool,
    /// The descriptors of documents that were followed. Two that differ in anything are two claims about one blob, and
    /// each is held against it.
    seen: BTreeSet<(Digest, u64, String, Option<OciPlatform>)>,
    /// The blobs that were read, by the digest that they were asked for, and what they are.
    read: BTreeMap<Digest, Blob>,
    /// What was learnt from the layers, which images share, as layers of this media type.
    layers: BTreeMap<(Digest, String), LayerFacts>,
}

impl Verifier<'_> {
    fn find(&mut self, code: Code, subject: impl Into<String>, message: impl Into<String>) {
        if self.report.findings.len() < MOST_FINDINGS {
            self.report.findings.push(Finding { code, subject: subject.into(), message: message.into() });
        }
    }

    fn document(&mut self, node: &Descriptor, depth: usize) {
        let subject = format!("manifest {}", node.digest);
        if depth > DEEPEST || self.seen.len() >= MOST_MANIFESTS {
            return self.find(Code::IndexTooDeep, subject, "the index holds too many levels or manifests");
        }
        if !node.is_document() {
            let message = format!("`{}` is not a media type of manifests or indexes", node.media_type.escape_debug());
            self.find(Code::MediaType, &subject, message);
        }
        if !self.seen.insert((node.digest, node.size, node.media_type.clone(), node.platform.clone())) {
            return;
        }
        let Some(bytes) = self.small(&node.blob(), &subject) else { return };
        match Links::read(&bytes, &node.media_type) {
            Ok(Links::Index { manifests }) => self.index(&manifests, &subject, depth),
            Ok(Links::Image { config, layers }) => {
                if depth > 1 && node.platform.is_none() {
                    let message = "its index entry has no platform, so clients cannot select it";
                    self.find(Code::PlatformMissing, &subject, message);
                }
                self.image(node, &config, &layers);
            }
            Ok(Links::Artifact { blobs }) => {
                self.is_artifact |= depth == 1;
                self.plain_blobs(&blobs);
            }
            Err(error) => self.find(Code::DocumentMalformed, &subject, error.to_string()),
        }
    }

    fn index(&mut self, manifests: &[Descriptor], subject: &str, depth: usize) {
        let mut platforms = BTreeSet::new();
        for child in manifests {
            if let Some(platform) = &child.platform
                && !platforms.insert(platform)
                && !platform.is_unknown()
            {
                self.find(Code::PlatformDuplicate, subject, format!("two manifests are for {platform}"));
            }
            self.document(child, depth + 1);
        }
    }

    fn image(&mut self, node: &Descriptor, config: &Descriptor, layers: &[Descriptor]) {
        // BuildKit's attestations are manifests whose layers are statements, for a platform that nobody has.
        if node.platform.as_ref().is_some_and(OciPlatform::is_unknown) {
            self.plain_blobs(std::iter::once(config).chain(layers));
            return;
        }
        let config = self.config(node, config, layers.len());
        let mut machines = Vec::new();
        for (position, layer) in layers.iter().enumerate() {
            let subject = format!("layer {}", layer.digest);
            if layer.is_foreign() {
                continue;
            }
            let known = self.layers.get(&(layer.digest, layer.media_type.clone())).cloned();
            let facts = match (known, self.read.get(&layer.digest)) {
                (Some(facts), Some(got)) => {
                    self.compare(&layer.blob(), *got, &subject);
                    facts
                }
                _ => self.layer(layer, &subject),
            };
            let Some(config) = &config else { continue };
            if let (Some(expected), Some(actual)) = (config.diff_ids.get(position), facts.diff_id)
                && *expected != actual.to_string()
            {
                let message = format!("its tar has the digest {actual}, the config says {}", expected.escape_debug());
                self.find(Code::DiffIdMismatch, &subject, message);
            }
            machines.extend(facts.machines.into_iter().map(|(path, machine)| (layer.digest, path, machine)));
        }
        if let Some(config) = config {
            self.machines(&config.architecture, machines);
        }
    }

    /// Holds the programs of an image against its platform. Those that a processor runs beside its own, as many do of its
    /// forebear's, are right only beside its own: an image of them alone is for the other platform, and so is a kubelet.
    fn machines(&mut self, architecture: &str, programs: Vec<(Digest, String, u16)>) {
        let Some((own, forebear)) = layer::machines_of(architecture) else { return };
        let of_own = programs.iter().any(|(.., machine)| *machine == own);
        for (layer, path, machine) in programs {
            let name = path.rsplit('/').next().unwrap_or_default();
            let passes = machine == forebear && of_own && !layer::ALWAYS_OWN.contains(&name);
            if machine != own && machine != layer::EVERY_MACHINE && !passes {
                let message = format!("is for ELF machine {machine}, {architecture} has {own}");
                self.find(Code::ElfMachine, format!("layer {layer}: {path}"), message);
            }
        }
    }

    fn layer(&mut self, layer: &Descriptor, subject: &str) -> LayerFacts {
        let Some(compression) = entries::compression(&layer.media_type) else {
            let message = format!("`{}` is not a media type of layers", layer.media_type.escape_debug());
            self.find(Code::MediaType, subject, message);
            self.plain_blob(&layer.blob());
            return LayerFacts::default();
        };
        let reader = match self.source.open(&layer.blob(), 0) {
            Ok(reader) => reader,
            Err(error) => {
                self.unreadable(&error, subject);
                return LayerFacts::default();
            }
        };
        let (facts, rest) = layer::read(Hashing::new(reader), compression);
        for (code, path, message) in &facts.problems {
            let subject = if path.is_empty() { subject.to_owned() } else { format!("{subject}: {path}") };
            self.find(*code, subject, message.as_str());
        }
        self.finish(rest, &layer.blob(), subject);
        self.layers.insert((layer.digest, layer.media_type.clone()), facts.clone());
        facts
    }

    fn plain_blobs<'a>(&mut self, descriptors: impl IntoIterator<Item = &'a Descriptor>) {
        for descriptor in descriptors.into_iter().filter(|descriptor| !descriptor.is_foreign()) {
            self.plain_blob(&descriptor.blob());
        }
    }

    /// A blob whose meaning is not ours to judge.
    fn plain_blob(&mut self, blob: &Blob) {
        let subject = format!("blob {}", blob.digest);
        if let Some(got) = self.read.get(&blob.digest) {
            return self.compare(blob, *got, &subject);
        }
        match self.source.open(blob, 0) {
            Ok(reader) => self.finish(Hashing::new(reader), blob, &subject),
            Err(error) => self.unreadable(&error, &subject),
        }
    }

    /// Reads what is left of a blob and compares the whole with its descriptor.
    fn finish(&mut self, mut reader: Hashing<Box<dyn std::io::Read + Send>>, blob: &Blob, subject: &str) {
        if let Err(error) = std::io::copy(&mut reader, &mut std::io::sink()) {
            return self.find(Code::BlobUnreadable, subject, error.to_string());
        }
        let (_, got) = reader.finish();
        self.compare(blob, got, subject);
    }

    fn compare(&mut self, blob: &Blob, got: Blob, subject: &str) {
        if self.read.insert(blob.digest, got).is_none() {
            self.report.blobs += 1;
            self.report.bytes += got.size;
        }
        if got.size != blob.size {
            let message = format!("it has {} bytes, its descriptor says {}", got.size, blob.size);
            self.find(Code::BlobSize, subject, message);
        }
        if got.digest != blob.digest {
            self.find(Code::BlobDigest, subject, format!("its bytes have the digest {}", got.digest));
        }
    }

    /// A document's bytes, whatever they are, if they can be read.
    fn small(&mut self, blob: &Blob, subject: &str) -> Option<Vec<u8>> {
        use std::io::Read as _;
        let mut bytes = Vec::new();
        let read = self.source.open(blob, 0).map(|reader| reader.take(LARGEST_MANIFEST + 1).read_to_end(&mut bytes));
        match read {
            Ok(Ok(_)) if bytes.len() as u64 > LARGEST_MANIFEST => {
                self.find(Code::DocumentTooLarge, subject, format!("it has more than {LARGEST_MANIFEST} bytes"));
                None
            }
            Ok(Ok(_)) => {
                let got = Blob { digest: Digest::of(&bytes), size: bytes.len() as u64 };
                self.compare(blob, got, subject);
                Some(bytes)
            }
            Ok(Err(error)) => {
                self.find(Code::BlobUnreadable, subject, error.to_string());
                None
            }
            Err(error) => {
                self.unreadable(&error, subject);
                None
            }
        }
    }

    fn unreadable(&mut self, error: &SourceError, subject: &str) {
        let code = if error.is_missing() { Code::BlobMissing } else { Code::BlobUnreadable };
        self.find(code, subject, error.to_string());
    }
}
