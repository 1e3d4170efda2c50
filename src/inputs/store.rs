//! The content-addressed store: blobs by SHA-256, and results of actions by a key over all that can change them.
//!
//! A blob is committed only under the digest of the bytes that were written, so whatever lies in the store is good, and
//! work that was interrupted leaves nothing but temporary files that the next `cache prune` removes. Two builds may
//! share a store: equal blobs have equal names, and [`Store::lock`] keeps two of them from doing one action at once.
//!
//! ```text
//! <root>/blobs/sha256/<hex>     read-only; `dist/` and other outputs are hard links to these
//! <root>/actions/<hex>.json     what an action gave: a small JSON value that names blobs
//! <root>/locks/<hex>            one for each action that was ever in progress
//! <root>/src/, tools/           unpacked sources and toolchains
//! <root>/logs/                  whole logs of compilers
//! <root>/scratch/               temporary files and folders
//! <root>/go-build/, go-mod/     caches of the Go compiler
//! <root>/zig/                   zig's
//! ```

use std::{
    borrow::Cow,
    io::{self, Read as _, Seek as _, SeekFrom, Write},
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};

pub use crate::base::ActionKey;
use crate::{
    base::{Blob, Content, Digest, digest::Hashing},
    host::files::{self, File, FileError, FileLock, Pending, Scratch},
};

/// The store in one folder, by default `kletimg` in the user's cache folder.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("the store holds no blob {digest}: run `kletimg cache verify`, then build again")]
    Missing { digest: Digest },
    #[error("the bytes have the digest {actual}, not {expected}")]
    WrongDigest { expected: Digest, actual: Digest },
    #[error("writing the result of an action: {0}")]
    Record(#[source] serde_json::Error),
}

impl Store {
    /// The store in `root`. Nothing is created before something is written.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A folder of the store that another program keeps its own cache in, such as `go-build`.
    pub fn folder(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Where the bytes of a blob lie, or would lie.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs/sha256").join(digest.hex())
    }

    /// The blob, if the store has it.
    pub fn blob(&self, digest: &Digest) -> Option<Blob> {
        files::size(&self.path(digest)).map(|size| Blob { digest: *digest, size })
    }

    /// Whether the store has this blob in this size.
    pub fn has(&self, blob: &Blob) -> bool {
        self.blob(&blob.digest).is_some_and(|found| found.size == blob.size)
    }

    /// Opens a blob for reading.
    pub fn open(&self, digest: &Digest) -> Result<File, StoreError> {
        match files::open(&self.path(digest)) {
            Err(error) if error.is_not_found() => Err(StoreError::Missing { digest: *digest }),
            opened => Ok(opened?),
        }
    }

    /// A reader of a slice of a blob. A slice that ends beyond the blob reads short; readers that were promised a size
    /// must check it.
    pub fn content(&self, content: &Content) -> Result<io::Take<File>, StoreError> {
        let mut file = self.open(&content.blob)?;
        let path = self.path(&content.blob);
        files::at("seeking in", &path, file.seek(SeekFrom::Start(content.offset)))?;
        Ok(file.take(content.size))
    }

    /// Begins a blob. It is in the store only once [`BlobWriter::finish`] has returned.
    pub fn writer(&self) -> Result<BlobWriter<'_>, StoreError> {
        BlobWriter::new(Cow::Borrowed(self))
    }

    /// Begins a blob whose writer does not borrow the store, so that it can be finished on another thread.
    pub fn into_writer(self) -> Result<BlobWriter<'static>, StoreError> {
        BlobWriter::new(Cow::Owned(self))
    }

    /// Stores bytes that are at hand.
    pub fn put(&self, bytes: &[u8]) -> Result<Blob, StoreError> {
        let blob = Blob { digest: Digest::of(bytes), size: bytes.len() as u64 };
        if self.has(&blob) {
            return Ok(blob);
        }
        let mut writer = self.writer()?;
        files::at("writing", &self.path(&blob.digest), writer.write_all(bytes))?;
        writer.finish()
    }

    /// Stores a copy of a file on this machine.
    pub fn put_file(&self, path: &Path) -> Result<Blob, StoreError> {
        let mut writer = self.writer()?;
        files::at("reading", path, io::copy(&mut files::open(path)?, &mut writer))?;
        writer.finish()
    }

    /// The recorded result of an action, if there is one that can be read. The caller checks that the blobs it names
    /// are still there.
    pub fn recorded<T: DeserializeOwned>(&self, key: &ActionKey) -> Option<T> {
        const LIMIT: u64 = 64 << 20;
        let record = files::read(&self.record_path(key), LIMIT).ok()?;
        let record: Record<T> = serde_json::from_slice(&record).ok()?;
        // The key's text is kept beside the result, so that a person can see what a record is for.
        (record.key == key.text()).then_some(record.result)
    }

    /// Records the result of an action.
    pub fn record<T: Serialize>(&self, key: &ActionKey, result: &T) -> Result<(), StoreError> {
        let record = Record { key: key.text().to_owned(), result };
        let bytes = serde_json::to_vec(&record).map_err(StoreError::Record)?;
        Ok(files::write(&self.record_path(key), &bytes, 0o644)?)
    }

    /// Waits until no other build, in this process or another, works on this action.
    pub fn lock(&self, key: &ActionKey) -> Result<FileLock, StoreError> {
        Ok(files::lock(&self.root.join("locks").join(key.digest().hex()))?)
    }

    /// A temporary folder on the store's file system, removed with its value.
    pub fn scratch(&self) -> Result<Scratch, StoreError> {
        Ok(Scratch::new_in(&self.root.join("scratch"))?)
    }

    /// Gives a blob a name outside the store, without copying where the file system can link.
    pub fn link(&self, digest: &Digest, to: &Path) -> Result<(), StoreError> {
        match files::link(&self.path(digest), to) {
            Err(error) if error.is_not_found() => Err(StoreError::Missing { digest: *digest }),
            result => Ok(result?),
        }
    }

    fn record_path(&self, key: &ActionKey) -> PathBuf {
        self.root.join("actions").join(format!("{}.json", key.digest().hex()))
    }
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Record<T> {
    key: String,
    result: T,
}

/// A blob being written.
pub struct BlobWriter<'a> {
    store: Cow<'a, Store>,
    hashing: Hashing<Pending>,
}

impl<'a> BlobWriter<'a> {
    fn new(store: Cow<'a, Store>) -> Result<Self, StoreError> {
        let pending = Pending::new_in(&store.root.join("scratch"))?;
        Ok(Self { store, hashing: Hashing::new(pending) })
    }

    /// Commits what was written under its digest.
    pub fn finish(self) -> Result<Blob, StoreError> {
        let (pending, blob) = self.hashing.finish();
        if !self.store.has(&blob) {
            pending.commit(&self.store.path(&blob.digest), 0o444)?;
        }
        Ok(blob)
    }

    /// Commits what was written, if it has the digest that was promised. Otherwise nothing is stored.
    pub fn finish_expecting(self, expected: &Digest) -> Result<Blob, StoreError> {
        let (pending, blob) = self.hashing.finish();
        if blob.digest != *expected {
            return Err(StoreError::WrongDigest { expected: *expected, actual: blob.digest });
        }
        if !self.store.has(&blob) {
            pending.commit(&self.store.path(&blob.digest), 0o444)?;
        }
        Ok(blob)
    }
}

impl Write for BlobWriter<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.hashing.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.hashing.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().join("store"));
        (folder, store)
    }

    #[test]
    fn a_blob_is_found_under_the_digest_of_its_bytes() {
        let (_folder, store) = store();
        let blob = store.put(b"hello").unwrap();
        assert_eq!(blob, Blob { digest: Digest::of("hello"), size: 5 });
        assert_eq!(store.blob(&blob.digest), Some(blob));
        assert_eq!(files::mode(&store.path(&blob.digest)), Some(0o444));
        let mut slice = String::new();
        let content = Content { blob: blob.digest, offset: 1, size: 3 };
        store.content(&content).unwrap().read_to_string(&mut slice).unwrap();
        assert_eq!(slice, "ell");
    }

    #[test]
    fn bytes_with_another_digest_are_not_stored() {
        let (_folder, store) = store();
        let mut writer = store.writer().unwrap();
        writer.write_all(b"other").unwrap();
        let error = writer.finish_expecting(&Digest::of("promised")).unwrap_err();
        assert!(matches!(error, StoreError::WrongDigest { .. }));
        assert!(store.blob(&Digest::of("other")).is_none());
        assert!(files::names(&store.root().join("scratch")).unwrap().is_empty());
    }

    #[test]
    fn an_action_is_found_again_only_under_all_its_fields() {
        let (_folder, store) = store();
        let key = ActionKey::new("strip", 1).field("input", "a");
        store.record(&key, &7_u32).unwrap();
        assert_eq!(store.recorded(&key), Some(7_u32));
        for other in [
            ActionKey::new("strip", 2).field("input", "a"),
            ActionKey::new("strip", 1).field("input", "b"),
            ActionKey::new("strip", 1).field("input", "a").field("level", ""),
        ] {
            assert_eq!(store.recorded::<u32>(&other), None);
        }
    }
}
