//! How layers are compressed, with the media types that say so.
//!
//! gzip at the highest level is the default because everything that pulls images reads it; zstd is smaller and faster
//! to unpack, and needs Docker 23 or containerd 1.5 (FACTS: Docker 20.10 answers "invalid tar header").

use std::io::{self, Write};

use super::gzip::ParallelGzip;

/// A compression and its level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    Gzip(GzipLevel),
    Zstd(ZstdLevel),
    None,
}

/// A level of libdeflate's gzip: 1 to 12, 12 by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GzipLevel(u8);

/// A level of zstd: 1 to 19, 19 by default. The "ultra" levels above would make every device that unpacks the layer
/// hold a window of 32 MiB and more, for 1 % of the size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ZstdLevel(u8);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{level} is no compression level of {codec}: write 1 (fastest) to {highest} (smallest)")]
pub struct InvalidLevel {
    pub codec: &'static str,
    pub level: u8,
    pub highest: u8,
}

impl GzipLevel {
    pub const HIGHEST: Self = Self(12);

    pub const fn new(level: u8) -> Result<Self, InvalidLevel> {
        if 1 <= level && level <= Self::HIGHEST.0 {
            Ok(Self(level))
        } else {
            Err(InvalidLevel { codec: "gzip", level, highest: Self::HIGHEST.0 })
        }
    }

    pub(super) const fn get(self) -> u8 {
        self.0
    }
}

impl ZstdLevel {
    pub const HIGHEST: Self = Self(19);

    pub const fn new(level: u8) -> Result<Self, InvalidLevel> {
        if 1 <= level && level <= Self::HIGHEST.0 {
            Ok(Self(level))
        } else {
            Err(InvalidLevel { codec: "zstd", level, highest: Self::HIGHEST.0 })
        }
    }
}

impl Default for Codec {
    fn default() -> Self {
        Self::Gzip(GzipLevel::HIGHEST)
    }
}

/// The version of libdeflate, which does not tell it at run time. Compressed bytes may change with it.
const LIBDEFLATE: &str = "1.26.1";

impl Codec {
    /// The OCI media type of a layer in this compression.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Gzip(_) => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Zstd(_) => "application/vnd.oci.image.layer.v1.tar+zstd",
            Self::None => "application/vnd.oci.image.layer.v1.tar",
        }
    }

    /// Everything about the codec that compressed bytes depend on.
    pub(super) fn describe(self) -> String {
        match self {
            Self::Gzip(level) => {
                format!("gzip {} in members of {}, libdeflate {LIBDEFLATE}", level.0, super::gzip::MEMBER)
            }
            Self::Zstd(level) => {
                format!("zstd {} in jobs of {ZSTD_JOB}, zstd {}", level.0, zstd::zstd_safe::version_string())
            }
            Self::None => "none".to_owned(),
        }
    }

    pub(super) fn encoder<W: Write>(self, out: W, threads: usize) -> io::Result<Encoder<W>> {
        Ok(match self {
            Self::Gzip(level) => Encoder::Gzip(ParallelGzip::new(out, level, threads)?),
            Self::Zstd(level) => Encoder::Zstd(zstd_encoder(out, level, threads)?),
            Self::None => Encoder::None(out),
        })
    }
}

/// Input bytes per zstd job: the size of level 19's window. Left to itself zstd takes four times as much, and holds it
/// several times per worker.
const ZSTD_JOB: u32 = 8 << 20;

/// One frame, cut into jobs even for one thread: zstd gives the same bytes for every number of workers but none.
fn zstd_encoder<W: Write>(out: W, level: ZstdLevel, threads: usize) -> io::Result<zstd::Encoder<'static, W>> {
    let mut encoder = zstd::Encoder::new(out, i32::from(level.0))?;
    encoder.multithread(u32::try_from(threads.max(1)).unwrap_or(u32::MAX))?;
    encoder.set_parameter(zstd::zstd_safe::CParameter::JobSize(ZSTD_JOB))?;
    encoder.include_checksum(true)?;
    Ok(encoder)
}

pub(super) enum Encoder<W: Write> {
    Gzip(ParallelGzip<W>),
    Zstd(zstd::Encoder<'static, W>),
    None(W),
}

impl<W: Write> Encoder<W> {
    /// Writes what is still held back and gives the output back.
    pub(super) fn finish(self) -> io::Result<W> {
        match self {
            Self::Gzip(gzip) => gzip.finish(),
            Self::Zstd(zstd) => zstd.finish(),
            Self::None(out) => Ok(out),
        }
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(gzip) => gzip.write(buf),
            Self::Zstd(zstd) => zstd.write(buf),
            Self::None(out) => out.write(buf),
        }
    }

    /// Does nothing: where a compressed stream is cut must depend on its input alone.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_outside_the_range_are_refused() {
        for level in [1, 6, 12] {
            assert_eq!(GzipLevel::new(level).unwrap().get(), level);
        }
        assert!(GzipLevel::new(0).is_err() && GzipLevel::new(13).is_err());
        assert!(ZstdLevel::new(0).is_err() && ZstdLevel::new(20).is_err());
        assert!(GzipLevel::new(13).unwrap_err().to_string().ends_with("write 1 (fastest) to 12 (smallest)"));
    }

    #[test]
    fn the_version_of_libdeflate_is_the_locked_one() {
        let locked = format!("name = \"libdeflate-sys\"\nversion = \"{LIBDEFLATE}\"\n");
        assert!(include_str!("../../Cargo.lock").contains(&locked), "LIBDEFLATE has to be {locked}");
    }
}
