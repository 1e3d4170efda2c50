//! Reading an image back: manifests first, then each blob once, everything checked before it is kept.

use std::io::Write;

use reqwest::{Method, Response, header};
use tokio::sync::mpsc::{self, Sender};

use super::{auth::Scope, client::Registry, error::RegistryError, meter::Meter, transport::Call, upload::WORTHWHILE};
use crate::{
    base::{
        Blob,
        digest::Hashing,
        progress::{Progress, SharedProgress},
    },
    images::{
        Descriptor, Links,
        reference::{Reference, Repository},
    },
    inputs::store::Store,
    outputs::source::{self, SourceError},
};

/// Some bytes of an answer, in whatever buffer they came.
type Piece = Box<dyn AsRef<[u8]> + Send>;

/// Brings a tag or digest with all its platforms into the store, and gives the descriptor of its root. What the store
/// has already is not fetched.
pub async fn pull(
    registry: &Registry,
    reference: &Reference,
    store: &Store,
    progress: &SharedProgress,
) -> Result<Descriptor, RegistryError> {
    let root = registry.manifest(reference).await?;
    store.put(&root.bytes).map_err(SourceError::from)?;
    let mut open = vec![root.links.clone()];
    let mut seen = 1_usize;
    while let Some(document) = open.pop() {
        for child in document.children() {
            if child.is_document() && matches!(document, Links::Index { .. }) {
                seen += 1;
                if seen > source::MOST_MANIFESTS {
                    return Err(SourceError::TooDeep { digest: root.descriptor.digest }.into());
                }
                open.push(registry.pull_manifest(&reference.repository, child, store).await?);
            } else if !child.is_foreign() && !store.has(&child.blob()) {
                registry.pull_blob(&reference.repository, child.blob(), store, progress.as_ref()).await?;
            }
        }
    }
    // The walk over what is now here is the proof that nothing is missing, and bounds its depth.
    source::manifests(store, &root.descriptor)?;
    Ok(root.descriptor)
}

impl Registry {
    async fn pull_manifest(
        &self,
        repository: &Repository,
        child: &Descriptor,
        store: &Store,
    ) -> Result<Links, RegistryError> {
        let manifest = self.manifest(&repository.at(child.digest)).await?;
        // Read as what the index says it is, not as what the registry delivers it as.
        let links = source::read_links(child, &manifest.bytes)?;
        store.put(&manifest.bytes).map_err(SourceError::from)?;
        Ok(links)
    }

    async fn pull_blob(
        &self,
        repository: &Repository,
        blob: Blob,
        store: &Store,
        progress: &dyn Progress,
    ) -> Result<(), RegistryError> {
        let meter = Meter::new(progress.start(&format!("pull {}", blob.digest.short()), Some(blob.size)));
        let writer = store.clone().into_writer().map_err(SourceError::from)?;
        let writer = self.read_blob(repository, blob, writer, &meter).await?;
        writer.finish_expecting(&blob.digest).map_err(SourceError::from)?;
        meter.done("fetched");
        Ok(())
    }

    /// Reads a blob into `sink`, going on where a connection broke. What was written is good only when this returns.
    pub async fn read_blob<W: Write + Send + 'static>(
        &self,
        repository: &Repository,
        blob: Blob,
        sink: W,
        meter: &Meter,
    ) -> Result<W, RegistryError> {
        let doing = format!("reading the blob {} of {repository}", blob.digest);
        let (sender, mut receiver) = mpsc::channel::<Piece>(4);
        // Files are written beside the connection, not between its reads.
        let writer = tokio::task::spawn_blocking(move || {
            let mut sink = Hashing::new(sink);
            while let Some(piece) = receiver.blocking_recv() {
                sink.write_all((*piece).as_ref())?;
            }
            sink.flush()?;
            Ok(sink.finish())
        });
        let fetched = self.fetch(repository, blob, &doing, meter, &sender).await;
        drop(sender);
        let written = writer.await.map_err(std::io::Error::other).and_then(|written: std::io::Result<_>| written);
        fetched?;
        let (sink, got) = written.map_err(|source| RegistryError::Sink { doing: doing.clone(), source })?;
        if got == blob {
            return Ok(sink);
        }
        Err(RegistryError::WrongDigest { doing, expected: blob.digest, actual: got.digest.to_string() })
    }

    /// Sends a blob's bytes to the writer, whatever it takes to get them.
    async fn fetch(
        &self,
        repository: &Repository,
        blob: Blob,
        doing: &str,
        meter: &Meter,
        writer: &Sender<Piece>,
    ) -> Result<(), RegistryError> {
        let mut tries = self.endpoint.http.begin();
        let (mut offset, mut checked_at) = (0, 0);
        loop {
            match self.fetch_from(repository, blob, doing, meter, writer, &mut offset).await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    if offset >= checked_at + WORTHWHILE {
                        checked_at = offset;
                        tries.progressed();
                    }
                    tries.again(error).await?;
                }
            }
        }
    }

    /// One attempt at the bytes from `offset` on, which moves with what was got.
    async fn fetch_from(
        &self,
        repository: &Repository,
        blob: Blob,
        doing: &str,
        meter: &Meter,
        writer: &Sender<Piece>,
        offset: &mut u64,
    ) -> Result<(), RegistryError> {
        let (mut response, mut skip) = self.open_blob(repository, blob, *offset, doing).await?;
        while let Some(piece) = self.endpoint.http.chunk(&mut response, doing).await? {
            let length = piece.as_ref().len() as u64;
            let piece: Piece = match usize::try_from(skip.min(length)) {
                Ok(0) => Box::new(piece),
                Ok(known) => Box::new(piece.as_ref()[known..].to_vec()),
                Err(_) => continue,
            };
            *offset += length - skip.min(length);
            skip -= skip.min(length);
            if *offset > blob.size {
                return Err(RegistryError::TooLarge { doing: doing.to_owned(), limit: blob.size });
            }
            meter.reached(*offset);
            // The writer ends early only when writing failed, which it tells itself.
            if writer.send(piece).await.is_err() {
                return Ok(());
            }
        }
        if *offset == blob.size {
            return Ok(());
        }
        let reason = format!("it ended after {offset} of {} bytes", blob.size);
        Err(RegistryError::Broken { doing: doing.to_owned(), reason })
    }

    /// Begins to read a blob at an offset. The number is how many bytes have to be passed over, where the registry
    /// starts at the beginning all the same.
    async fn open_blob(
        &self,
        repository: &Repository,
        blob: Blob,
        offset: u64,
        doing: &str,
    ) -> Result<(Response, u64), RegistryError> {
        let url = self.url(repository, "blobs", &blob.digest.to_string(), doing)?;
        let mut call = Call::new(Method::GET, url, Scope::pull(repository.path()), doing);
        if offset > 0 {
            call = call.header(header::RANGE, format!("bytes={offset}-"));
        }
        let response = self.endpoint.call_once(&call, &[200, 206]).await?;
        if response.status() == 200 {
            return Ok((response, offset));
        }
        let range = response.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
        let starts = range.is_some_and(|range| range.starts_with(&format!("bytes {offset}-")));
        if starts {
            return Ok((response, 0));
        }
        let value = range.unwrap_or_default().to_owned();
        Err(RegistryError::BadHeader { doing: doing.to_owned(), header: "Content-Range", value })
    }
}
