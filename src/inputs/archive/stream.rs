//! The bytes of an archive on their way: decompressed, counted against the limit, copied into the store.

use std::io::{self, BufRead, Read, Write};

use super::Compression;
use crate::inputs::store::BlobWriter;

/// Large enough that system calls do not show in a profile, small enough for many archives at once.
pub(super) const BUFFER: usize = 128 << 10;

/// What stops the bytes from inside a reader; `io::Error` carries it out.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("more than {limit} bytes")]
    TooLarge { limit: u64 },
    #[error("a directory too long to be read")]
    TooLong,
    #[error("writing to the store: {0}")]
    Write(#[source] io::Error),
}

/// Reads what a compression hides. Concatenated members and frames are read through, as `gzip`, `xz` and `zstd` do.
pub(in crate::inputs) fn decoder<'a>(
    from: impl BufRead + 'a,
    compression: Compression,
) -> io::Result<Box<dyn Read + 'a>> {
    // `xz -9` needs 65 MiB and so does Debian's dpkg-deb at its highest; a header may ask for 4 GiB.
    const XZ_MEMORY_KIB: u32 = 130 << 10;
    // 128 MiB, what `zstd` itself accepts without `--long`.
    const ZSTD_WINDOW_LOG: u32 = 27;
    Ok(match compression {
        Compression::None => Box::new(from),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(from)),
        Compression::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(from, true, XZ_MEMORY_KIB)),
        Compression::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(from)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
    })
}

/// A count of bytes that ends in an error, before the byte that exceeds it goes anywhere.
pub(super) struct Budget {
    limit: u64,
    spent: u64,
}

impl Budget {
    pub(super) const fn new(limit: u64) -> Self {
        Self { limit, spent: 0 }
    }

    pub(super) fn spend(&mut self, bytes: usize) -> io::Result<()> {
        self.spent += bytes as u64;
        if self.spent > self.limit {
            return Err(io::Error::other(Fault::TooLarge { limit: self.limit }));
        }
        Ok(())
    }
}

/// Passes bytes on within a budget, and a copy of them to a blob.
pub(super) struct Tee<'w, R> {
    from: R,
    to: Option<BlobWriter<'w>>,
    budget: Budget,
}

impl<'w, R> Tee<'w, R> {
    pub(super) const fn new(from: R, to: Option<BlobWriter<'w>>, limit: u64) -> Self {
        Self { from, to, budget: Budget::new(limit) }
    }

    pub(super) fn into_writer(self) -> Option<BlobWriter<'w>> {
        self.to
    }
}

impl<R: Read> Read for Tee<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(buf)?;
        self.budget.spend(n)?;
        if let Some(to) = &mut self.to {
            to.write_all(&buf[..n]).map_err(|error| io::Error::other(Fault::Write(error)))?;
        }
        Ok(n)
    }
}

/// Remembers whether the reader behind it has ended, and where: a tar must end by its own mark before that.
pub(super) struct Watch<R> {
    from: R,
    at: u64,
    ended: bool,
}

impl<R> Watch<R> {
    pub(super) const fn new(from: R) -> Self {
        Self { from, at: 0, ended: false }
    }

    pub(super) fn ended_at(&self) -> Option<u64> {
        self.ended.then_some(self.at)
    }

    pub(super) fn into_inner(self) -> R {
        self.from
    }
}

impl<R: Read> Read for Watch<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let result = self.from.read(buf);
        match &result {
            Ok(0) if !buf.is_empty() => self.ended = true,
            Ok(n) => self.at += *n as u64,
            Err(error) => self.ended |= error.kind() == io::ErrorKind::UnexpectedEof,
        }
        result
    }
}
