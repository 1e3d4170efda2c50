//! Where the bytes of a download go: a blob of the store or, for small files, memory. Hashed and counted as they pass.

use std::{
    io::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use sha2::{Digest as _, Sha512};

use super::checksum::Sum;
use crate::{
    base::{Blob, progress::Task},
    host::files::FileError,
    inputs::store::{BlobWriter, Store, StoreError},
};

/// Tells progress, which cannot go back: bytes that come a second time are not told again.
pub(super) struct Meter {
    pub(super) task: Box<dyn Task>,
    told: AtomicU64,
}

impl Meter {
    pub(super) fn new(task: Box<dyn Task>) -> Arc<Self> {
        Arc::new(Self { task, told: AtomicU64::new(0) })
    }

    fn received(&self, bytes: u64) {
        let told = self.told.fetch_max(bytes, Ordering::Relaxed);
        if bytes > told {
            self.task.advance(bytes - told);
        }
    }
}

/// A file arriving.
pub(super) struct Sink {
    to: To,
    received: u64,
}

enum To {
    Memory(Vec<u8>),
    Blob { store: Store, writer: Box<BlobWriter<'static>>, sha512: Option<Box<Sha512>>, meter: Arc<Meter> },
}

impl Sink {
    pub(super) const fn memory() -> Self {
        Self { to: To::Memory(Vec::new()), received: 0 }
    }

    /// A blob that will be checked against `expected`.
    pub(super) fn blob(store: &Store, expected: &Sum, meter: &Arc<Meter>) -> Result<Self, StoreError> {
        let sha512 = matches!(expected, Sum::Sha512(_)).then(Box::default);
        let writer = Box::new(store.clone().into_writer()?);
        let to = To::Blob { store: store.clone(), writer, sha512, meter: Arc::clone(meter) };
        Ok(Self { to, received: 0 })
    }

    /// A blob that the caller judges when it is whole.
    pub(super) fn unverified(store: &Store, meter: &Arc<Meter>) -> Result<Self, StoreError> {
        let writer = Box::new(store.clone().into_writer()?);
        Ok(Self { to: To::Blob { store: store.clone(), writer, sha512: None, meter: Arc::clone(meter) }, received: 0 })
    }

    /// Brings the blob into the store under whatever digest it has. `None` for a sink in memory. Syncs the disk.
    pub(super) fn store(self) -> Result<Option<Blob>, StoreError> {
        match self.to {
            To::Blob { writer, .. } => writer.finish().map(Some),
            To::Memory(_) => Ok(None),
        }
    }

    /// Bytes so far.
    pub(super) const fn received(&self) -> u64 {
        self.received
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.received += bytes.len() as u64;
        match &mut self.to {
            To::Memory(kept) => kept.extend_from_slice(bytes),
            To::Blob { store, writer, sha512, meter } => {
                let failed = |source| FileError { doing: "writing to", path: store.root().to_owned(), source };
                writer.write_all(bytes).map_err(failed)?;
                if let Some(sha512) = sha512 {
                    sha512.update(bytes);
                }
                meter.received(self.received);
            }
        }
        Ok(())
    }

    /// Forgets what came so far.
    pub(super) fn restart(&mut self) -> Result<(), StoreError> {
        if self.received == 0 {
            return Ok(());
        }
        self.received = 0;
        match &mut self.to {
            To::Memory(kept) => kept.clear(),
            To::Blob { store, writer, sha512, .. } => {
                **writer = store.clone().into_writer()?;
                *sha512 = sha512.as_ref().map(|_| Box::default());
            }
        }
        Ok(())
    }

    /// The bytes of a sink in memory.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        match self.to {
            To::Memory(kept) => kept,
            To::Blob { .. } => Vec::new(),
        }
    }

    /// Brings the blob into the store if its bytes are the expected ones; otherwise stores nothing and tells the digest
    /// that they have. Syncs the disk: not to be called where others wait.
    pub(super) fn finish(self, expected: &Sum) -> Result<Result<Blob, Sum>, StoreError> {
        let (writer, sha512) = match self.to {
            To::Blob { writer, sha512, .. } => (writer, sha512),
            To::Memory(kept) => return Ok(Err(Sum::Sha256(crate::base::Digest::of(kept)))),
        };
        match expected {
            Sum::Sha256(digest) => match writer.finish_expecting(digest) {
                Err(StoreError::WrongDigest { actual, .. }) => Ok(Err(Sum::Sha256(actual))),
                finished => finished.map(Ok),
            },
            Sum::Sha512(_) => match sha512.map(|hasher| Sum::Sha512(hasher.finalize().into())) {
                Some(actual) if actual == *expected => writer.finish().map(Ok),
                actual => Ok(Err(actual.unwrap_or(Sum::Sha512([0; 64])))),
            },
        }
    }
}
