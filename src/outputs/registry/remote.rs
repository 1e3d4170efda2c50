//! An image in a registry as a source of blobs: read when asked for, kept nowhere.
//!
//! So that copying between registries and verifying need no room on the disk. The manifests are fetched first, as
//! registries serve them at another place than blobs; what is wrong with one shows when it is asked for, so that a
//! verifier can tell it.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
};

use tokio::runtime::Handle;

use super::{client::Registry, error::RegistryError, meter::Meter};
use crate::{
    base::{
        Blob, Digest,
        progress::{Progress as _, Silent},
    },
    images::{
        Descriptor, Links,
        reference::{Reference, Repository},
    },
    outputs::source::{MOST_MANIFESTS, Manifest, Source, SourceError},
};

/// The manifests of one image that are kept in memory, in bytes: a thousand of usual size.
const MOST_BYTES: usize = 64 << 20;

/// An image of a registry.
pub struct Remote {
    registry: Registry,
    repository: Repository,
    manifests: BTreeMap<Digest, Vec<u8>>,
    runtime: Handle,
}

impl Remote {
    /// Finds an image and fetches its manifests; gives the descriptor that leads to them all. Must be called on a Tokio
    /// runtime, which the blobs are later fetched on.
    pub async fn open(registry: Registry, reference: &Reference) -> Result<(Self, Descriptor), RegistryError> {
        let root = registry.manifest(reference).await?;
        let descriptor = root.descriptor.clone();
        let repository = reference.repository.clone();
        let mut remote = Self { registry, repository, manifests: BTreeMap::new(), runtime: Handle::current() };
        let mut open = remote.keep(root);
        let mut bytes = 0;
        while let Some(child) = open.pop() {
            if remote.manifests.contains_key(&child.digest) {
                continue;
            }
            let manifest = match remote.registry.manifest(&remote.repository.at(child.digest)).await {
                Ok(manifest) => manifest,
                // Asked for again, it is missing; the bytes of another digest are as good as none.
                Err(RegistryError::NotFound { .. } | RegistryError::WrongDigest { .. } | RegistryError::Source(_)) => {
                    continue;
                }
                Err(error) => return Err(error),
            };
            bytes += manifest.bytes.len();
            if bytes > MOST_BYTES || remote.manifests.len() >= MOST_MANIFESTS {
                return Err(SourceError::TooDeep { digest: descriptor.digest }.into());
            }
            open.extend(remote.keep(manifest));
        }
        Ok((remote, descriptor))
    }

    /// Keeps a manifest and says which further ones it leads to.
    fn keep(&mut self, manifest: Manifest) -> Vec<Descriptor> {
        let further = match manifest.links {
            Links::Index { manifests } => manifests.into_iter().filter(Descriptor::is_document).collect(),
            Links::Image { .. } | Links::Artifact { .. } => Vec::new(),
        };
        self.manifests.insert(manifest.descriptor.digest, manifest.bytes);
        further
    }
}

impl Source for Remote {
    fn open(&self, blob: &Blob, from: u64) -> Result<Box<dyn Read + Send>, SourceError> {
        let digest = blob.digest;
        let read = |source| SourceError::Read { digest, source };
        if let Some(bytes) = self.manifests.get(&digest) {
            let mut bytes = io::Cursor::new(bytes.clone());
            bytes.set_position(from);
            return Ok(Box::new(bytes));
        }
        let (sender, receiver) = sync_channel(4);
        let (registry, repository, blob) = (self.registry.clone(), self.repository.clone(), *blob);
        self.runtime.spawn(async move {
            let sink = Pieces { sender: sender.clone() };
            let meter = Meter::new(Silent.start("", None));
            if let Err(error) = registry.read_blob(&repository, blob, sink, &meter).await {
                // Whoever reads hashes too: a verifier is to see the wrong digest, not an error in its place.
                if matches!(error, RegistryError::WrongDigest { .. }) {
                    return;
                }
                let kind = match error {
                    RegistryError::NotFound { .. } => io::ErrorKind::NotFound,
                    _ => io::ErrorKind::Other,
                };
                // The reader may be busy with what came before: waiting for it must not hold up the runtime.
                let told = Err(io::Error::new(kind, error.to_string()));
                let _ = tokio::task::spawn_blocking(move || sender.send(told)).await;
            }
        });
        let mut reader = Fetched { receiver, piece: io::Cursor::default() };
        // Whether it is there at all is seen with the first bytes.
        match reader.fill() {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(SourceError::Missing { digest }),
            Err(error) => return Err(read(error)),
        }
        io::copy(&mut (&mut reader).take(from), &mut io::sink()).map_err(read)?;
        Ok(Box::new(reader))
    }
}

/// Where the fetching task writes to.
struct Pieces {
    sender: SyncSender<io::Result<Vec<u8>>>,
}

impl Write for Pieces {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.sender.send(Ok(buf.to_vec())).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What has been fetched, to be read by a thread that may block.
struct Fetched {
    receiver: Receiver<io::Result<Vec<u8>>>,
    piece: io::Cursor<Vec<u8>>,
}

impl Fetched {
    /// Waits for bytes unless some are left. None come after the end.
    fn fill(&mut self) -> io::Result<()> {
        while self.piece.position() == self.piece.get_ref().len() as u64 {
            match self.receiver.recv() {
                Ok(piece) => self.piece = io::Cursor::new(piece?),
                Err(_) => break,
            }
        }
        Ok(())
    }
}

impl Read for Fetched {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.fill()?;
        self.piece.read(buf)
    }
}
