//! gzip in parallel, with bytes that do not depend on how parallel.
//!
//! The input is cut every [`MEMBER`] bytes and each piece becomes a gzip member of its own; members one after another are
//! one gzip file (RFC 1952, section 2.2), which Go's, zlib's and GNU's readers all take as such. The price is measured:
//! 0.05 % of the size at 4 MiB.

use std::{
    collections::VecDeque,
    io::{self, Write},
    mem,
    sync::mpsc,
};

use super::GzipLevel;

/// Input bytes per member.
pub(super) const MEMBER: usize = 4 << 20;

/// A compressed member on its way from a thread.
type Waiting = mpsc::Receiver<io::Result<Vec<u8>>>;

/// Compresses what is written to it. At most `threads` members are in work, and one is being filled.
pub(super) struct ParallelGzip<W> {
    out: W,
    level: GzipLevel,
    member: Vec<u8>,
    written: bool,
    threads: usize,
    /// None when the caller's thread does it all.
    pool: Option<rayon::ThreadPool>,
    waiting: VecDeque<Waiting>,
}

impl<W: Write> ParallelGzip<W> {
    pub(super) fn new(out: W, level: GzipLevel, threads: usize) -> io::Result<Self> {
        // A pool of its own: a caller that sits in a shared pool's thread could wait for itself.
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        let pool = if threads > 1 { Some(pool.build().map_err(io::Error::other)?) } else { None };
        let member = Vec::with_capacity(MEMBER);
        Ok(Self { out, level, member, written: false, threads, pool, waiting: VecDeque::new() })
    }

    /// Compresses what is left and gives the output back. Nothing written still makes a valid gzip file.
    pub(super) fn finish(mut self) -> io::Result<W> {
        if !self.member.is_empty() || !self.written {
            self.end_member()?;
        }
        while let Some(waiting) = self.waiting.pop_front() {
            self.out.write_all(&receive(&waiting)?)?;
        }
        Ok(self.out)
    }

    fn end_member(&mut self) -> io::Result<()> {
        self.written = true;
        let Some(pool) = &self.pool else {
            let compressed = compress(&self.member, self.level)?;
            self.member.clear();
            return self.out.write_all(&compressed);
        };
        if self.waiting.len() == self.threads
            && let Some(first) = self.waiting.pop_front()
        {
            self.out.write_all(&receive(&first)?)?;
        }
        let member = mem::replace(&mut self.member, Vec::with_capacity(MEMBER));
        let (send, waiting) = mpsc::channel();
        let level = self.level;
        pool.spawn(move || {
            // Nobody listens any more when the writer has met an error and is gone.
            let _ = send.send(compress(&member, level));
        });
        self.waiting.push_back(waiting);
        Ok(())
    }
}

impl<W: Write> Write for ParallelGzip<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.member.len() == MEMBER {
            self.end_member()?;
        }
        let taken = buf.len().min(MEMBER - self.member.len());
        self.member.extend_from_slice(&buf[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn receive(waiting: &Waiting) -> io::Result<Vec<u8>> {
    waiting.recv().map_err(io::Error::other)?
}

/// One member. libdeflate's header has no name, no time and "unknown" as operating system.
fn compress(member: &[u8], level: GzipLevel) -> io::Result<Vec<u8>> {
    let level = libdeflater::CompressionLvl::new(i32::from(level.get()))
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, format!("{error:?}")))?;
    let mut compressor = libdeflater::Compressor::new(level);
    let mut compressed = vec![0; compressor.gzip_compress_bound(member.len())];
    let length = compressor.gzip_compress(member, &mut compressed).map_err(io::Error::other)?;
    compressed.truncate(length);
    compressed.shrink_to_fit();
    Ok(compressed)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn gzip(bytes: &[u8], threads: usize, pieces: usize) -> Vec<u8> {
        let mut gzip = ParallelGzip::new(Vec::new(), GzipLevel::new(1).unwrap(), threads).unwrap();
        for piece in bytes.chunks(pieces) {
            gzip.write_all(piece).unwrap();
            gzip.flush().unwrap();
        }
        gzip.finish().unwrap()
    }

    #[test]
    fn the_bytes_are_the_same_for_every_number_of_threads_and_way_of_writing() {
        let mut state = 1_u32;
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0] & 0x0f
        };
        let bytes: Vec<u8> = (0..=MEMBER * 2).map(|_| noise()).collect();
        for length in [0, 1, MEMBER, MEMBER * 2, MEMBER * 2 + 1] {
            let one = gzip(&bytes[..length], 1, 1 << 20);
            for (threads, pieces) in [(1, 999_999), (2, 1 << 20), (4, MEMBER * 3), (64, 70_001)] {
                assert!(one == gzip(&bytes[..length], threads, pieces), "{length} bytes, {threads} threads");
            }
            let mut back = Vec::new();
            flate2::read::MultiGzDecoder::new(one.as_slice()).read_to_end(&mut back).unwrap();
            assert!(back == bytes[..length], "{length} bytes");
        }
    }

    #[test]
    fn the_header_says_nothing_of_this_machine() {
        let bytes = gzip(b"x", 1, 1);
        assert_eq!(bytes[..4], [0x1f, 0x8b, 8, 0], "magic, deflate, no flags: no name, no comment");
        assert_eq!(bytes[4..8], [0; 4], "no time");
        assert_eq!(bytes[9], 255, "unknown operating system");
    }

    #[test]
    fn an_output_that_fails_fails_the_writer() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        for threads in [1, 2] {
            let mut gzip = ParallelGzip::new(Full, GzipLevel::new(1).unwrap(), threads).unwrap();
            let error = gzip.write_all(&vec![0; MEMBER * 5]).and_then(|()| gzip.finish().map(|_| ())).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        }
    }
}
