//! A program file from which only so much is read.
//!
//! A file of 100 MB has some kilobytes of tables. What `object` asks for goes through [`Bounded`], which refuses more
//! than [`BUDGET`] bytes in all, whatever sizes a hostile file claims.

use std::{
    cell::Cell,
    io::{self, Read, Seek, SeekFrom},
    ops::Range,
};

use object::read::{ReadCache, ReadCacheOps, ReadRef};

use super::elf::ElfError;

/// Bytes of tables that are read of one file at most. The largest binaries met so far need less than 100 kB; the
/// greatest number of sections that a header can count without the extension takes 4 MiB.
const BUDGET: u64 = 16 << 20;

/// Longest name of a library or an interpreter. Linux allows 4096 bytes for a path.
pub(super) const LONGEST_NAME: usize = 4096;

/// Lets `read` take what it needs of the file in `source`. When it fails because the source did, the error says that.
pub(super) fn with<R, T>(source: R, read: impl FnOnce(Bounded<'_, R>) -> Result<T, ElfError>) -> Result<T, ElfError>
where
    R: Read + Seek,
{
    let cache = ReadCache::new(Stream { source, failure: None });
    let left = Cell::new(BUDGET);
    let result = read(Bounded { cache: &cache, left: &left });
    match (result, cache.into_inner().failure) {
        (Err(_), Some(failure)) => Err(ElfError::Reading(failure)),
        (result, _) => result,
    }
}

/// The file behind `object`'s cache. `object` forgets why a read failed; this remembers.
struct Stream<R> {
    source: R,
    failure: Option<io::Error>,
}

impl<R> Stream<R> {
    fn keep<T>(&mut self, result: io::Result<T>) -> Result<T, ()> {
        result.map_err(|failure| self.failure = Some(failure))
    }
}

impl<R: Read + Seek> ReadCacheOps for Stream<R> {
    fn len(&mut self) -> Result<u64, ()> {
        let length = self.source.seek(SeekFrom::End(0));
        self.keep(length)
    }

    fn seek(&mut self, position: u64) -> Result<u64, ()> {
        let position = self.source.seek(SeekFrom::Start(position));
        self.keep(position)
    }

    fn read(&mut self, buf: &mut [u8]) -> Result<usize, ()> {
        let count = self.source.read(buf);
        self.keep(count)
    }

    fn read_exact(&mut self, buf: &mut [u8]) -> Result<(), ()> {
        let done = self.source.read_exact(buf);
        self.keep(done)
    }
}

/// A view of the file that gives out no more than its budget.
pub(super) struct Bounded<'a, R: Read + Seek> {
    cache: &'a ReadCache<Stream<R>>,
    left: &'a Cell<u64>,
}

impl<R: Read + Seek> Clone for Bounded<'_, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R: Read + Seek> Copy for Bounded<'_, R> {}

impl<'a, R: Read + Seek> Bounded<'a, R> {
    pub(super) fn spend(self, size: u64) -> Result<(), ()> {
        self.left.set(self.left.get().checked_sub(size).ok_or(())?);
        Ok(())
    }

    pub(super) fn bytes(self, what: &'static str, offset: u64, size: u64) -> Result<&'a [u8], ElfError> {
        self.read_bytes_at(offset, size).map_err(|()| ElfError::Malformed { what })
    }

    /// A name that ends with a zero byte.
    pub(super) fn text(self, offset: u64) -> Option<String> {
        let end = offset.checked_add(LONGEST_NAME as u64)?.min(self.len().ok()?);
        let bytes = self.read_bytes_at_until(offset..end, 0).ok()?;
        String::from_utf8(bytes.to_vec()).ok()
    }
}

impl<'a, R: Read + Seek> ReadRef<'a> for Bounded<'a, R> {
    fn len(self) -> Result<u64, ()> {
        self.cache.len()
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'a [u8], ()> {
        self.spend(size)?;
        self.cache.read_bytes_at(offset, size)
    }

    fn read_bytes_at_until(self, range: Range<u64>, delimiter: u8) -> Result<&'a [u8], ()> {
        // The cache reads such strings in pieces of 256 bytes; most end in the first.
        self.spend(256)?;
        self.cache.read_bytes_at_until(range, delimiter)
    }
}
