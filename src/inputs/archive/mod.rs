//! Archives become trees: every entry checked, every file a slice of one stored blob, nothing written to a folder.
//!
//! A decompressed tar is stored once, as it is, and its files point into it: no bytes are copied again, a layer is
//! later written straight from it, and a source tree of thirty thousand files costs one file in the store. What comes
//! out is recorded as an action, so that the second build reads a record instead of an archive.
//!
//! Archives are hostile until read to their end (`rules`): no path leaves the root, nothing is written through a link,
//! and sizes and counts are bounded while the bytes pass, so that a bomb ends in an error and not on the disk. Whoever
//! calls has checked the digest of the archive; signatures, as in apk, are not known here.

use std::{fmt, io};

use serde::{Deserialize, Serialize};

use crate::{
    base::{Blob, Content, Digest, Entry, Node, Tree, TreePath, size::Bytes},
    host::files::FileError,
    inputs::store::{ActionKey, BlobWriter, Store, StoreError},
};

mod deb;
pub mod materialise;
pub(crate) mod pax;
mod rules;
pub mod select;
mod stream;
mod tar;
mod zip;

pub use materialise::materialise;
pub use rules::Refusal;
pub(in crate::inputs) use stream::decoder;

/// Raised whenever the reading below changes what comes out of the same bytes.
const FORMAT: u32 = 1;

/// How a tar is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Compression {
    None,
    Gzip,
    Xz,
    Zstd,
}

/// What an archive is, as its name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    Tar(Compression),
    /// Also Python's wheels.
    Zip,
    /// A Debian package: the tree is that of its `data.tar`, the control files are left out.
    Deb,
    /// No archive: a tree of one executable file at [`PLAIN`].
    Plain,
}

/// Where the only file of a [`Format::Plain`] tree is.
pub const PLAIN: &str = "file";

impl Format {
    /// The format that a file name, path or URL ends with; a query or fragment of a URL does not count. `None` for
    /// names without a known ending, which are most likely [`Format::Plain`].
    pub fn of_name(name: &str) -> Option<Self> {
        const ENDINGS: [(&str, Format); 10] = [
            (".tar", Format::Tar(Compression::None)),
            (".tar.gz", Format::Tar(Compression::Gzip)),
            (".tgz", Format::Tar(Compression::Gzip)),
            (".tar.xz", Format::Tar(Compression::Xz)),
            (".txz", Format::Tar(Compression::Xz)),
            (".tar.zst", Format::Tar(Compression::Zstd)),
            (".tzst", Format::Tar(Compression::Zstd)),
            (".zip", Format::Zip),
            (".whl", Format::Zip),
            (".deb", Format::Deb),
        ];
        let name = name.split(['?', '#']).next().unwrap_or_default().to_ascii_lowercase();
        let file = name.rsplit('/').next().unwrap_or_default();
        ENDINGS
            .iter()
            .find(|(ending, _)| file.len() > ending.len() && file.ends_with(ending))
            .map(|(_, format)| *format)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tar(Compression::None) => "tar",
            Self::Tar(Compression::Gzip) => "tar.gz",
            Self::Tar(Compression::Xz) => "tar.xz",
            Self::Tar(Compression::Zstd) => "tar.zst",
            Self::Zip => "zip",
            Self::Deb => "deb",
            Self::Plain => "plain file",
        })
    }
}

/// What to do with device nodes, pipes and sockets in an archive. No image of ours holds any: a runtime makes `/dev`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Devices {
    #[default]
    Refuse,
    /// Leave them out, for root file systems that were packed with a `/dev`.
    Skip,
}

/// How much an archive may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes after decompression, padding included.
    pub bytes: u64,
    /// Bytes after decompression for each byte before it. Archives under 64 MiB decompressed may exceed it.
    pub ratio: u64,
    /// Entries, those left out included.
    pub entries: usize,
    pub devices: Devices,
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Limits {
    /// The largest honest archives are Kubernetes' server tarballs (1.2 GB), those with the most entries are toolchains
    /// (30,000), and the densest are sources in xz (about 10 to 1); zeros in gzip come to 1030 to 1.
    pub const DEFAULT: Self = Self { bytes: 4 << 30, ratio: 100, entries: 200_000, devices: Devices::Refuse };

    const RATIO_FROM: u64 = 64 << 20;

    /// The bytes that an archive of this length may decompress to.
    fn bytes_for(&self, compressed: u64) -> u64 {
        self.bytes.min(compressed.saturating_mul(self.ratio).max(Self::RATIO_FROM))
    }
}

/// Why an archive was not unpacked. Nothing of it was kept.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("unpacking the archive: the entry `{entry}` {why}")]
    Refused { entry: String, why: Refusal },
    #[error(
        "unpacking the archive: it holds more than {limit} entries; if that is meant, split it or take another archive"
    )]
    TooManyEntries { limit: usize },
    #[error(
        "unpacking the archive: it grows beyond {} ({limit} bytes), more than {compressed} packed bytes may hold: a \
         decompression bomb, or not the archive that was meant", Bytes(*limit)
    )]
    TooLarge { limit: u64, compressed: u64 },
    #[error(
        "unpacking the archive: it ends too early, after {at} unpacked bytes: download it again or check its digest"
    )]
    Truncated { at: u64 },
    #[error("unpacking the archive: it is no valid {format}: {source}")]
    Corrupt { format: Format, source: io::Error },
    #[error("unpacking the archive: it is no valid {format}: {why}")]
    Malformed { format: Format, why: &'static str },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    File(#[from] FileError),
}

/// What is recorded of an unpacked archive.
#[derive(Serialize, Deserialize)]
struct Record {
    /// The blob that the files are slices of.
    content: Blob,
    tree: Tree,
}

/// The tree of an archive that the store holds. The work is done once; blocks while another build does it.
pub fn unpack(store: &Store, blob: &Blob, format: Format, limits: &Limits) -> Result<Tree, ArchiveError> {
    if format == Format::Plain {
        return Ok(plain(blob));
    }
    if let Some(tree) = unpacked(store, &blob.digest, format, limits) {
        return Ok(tree);
    }
    let key = key(&blob.digest, format, limits);
    let _lock = store.lock(&key)?;
    if let Some(tree) = unpacked(store, &blob.digest, format, limits) {
        return Ok(tree);
    }
    let (content, tree) = Job { store, blob, format, limits }.read()?;
    let record = Record { content, tree };
    store.record(&key, &record)?;
    Ok(record.tree)
}

/// The tree of an archive that was unpacked before, for whoever need not have the archive itself.
pub fn unpacked(store: &Store, archive: &Digest, format: Format, limits: &Limits) -> Option<Tree> {
    let record = store.recorded::<Record>(&key(archive, format, limits))?;
    store.has(&record.content).then_some(record.tree)
}

fn key(archive: &Digest, format: Format, limits: &Limits) -> ActionKey {
    ActionKey::new("unpack", FORMAT)
        .field("archive", archive)
        .field("format", format)
        .field("limits", format_args!("{limits:?}"))
}

fn plain(blob: &Blob) -> Tree {
    let mut tree = Tree::new();
    // The constant is a valid path; a tree without it would be caught by whoever selects the file.
    if let Ok(path) = TreePath::new(PLAIN) {
        tree.insert(path, Entry::new(0o755, Node::File(Content::whole(*blob))));
    }
    tree
}

/// One archive being unpacked.
struct Job<'a> {
    store: &'a Store,
    blob: &'a Blob,
    format: Format,
    limits: &'a Limits,
}

/// Why reading stopped, before it is known which archive it was.
enum Stopped {
    Archive(ArchiveError),
    Io(io::Error),
    Malformed(&'static str),
}

impl From<ArchiveError> for Stopped {
    fn from(error: ArchiveError) -> Self {
        Self::Archive(error)
    }
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Job<'_> {
    fn read(&self) -> Result<(Blob, Tree), ArchiveError> {
        let mut file = io::BufReader::with_capacity(stream::BUFFER, self.store.open(&self.blob.digest)?);
        match self.format {
            Format::Tar(Compression::None) => self.tar(file, None),
            Format::Tar(compression) => {
                let decoder = stream::decoder(file, compression).map_err(|error| self.explain(error.into(), None))?;
                self.tar(decoder, Some(self.store.writer()?))
            }
            Format::Deb => {
                let (compression, size) = deb::seek_data(&mut file).map_err(|stopped| self.explain(stopped, None))?;
                let decoder = stream::decoder(io::Read::take(file, size), compression)
                    .map_err(|error| self.explain(error.into(), None))?;
                self.tar(decoder, Some(self.store.writer()?))
            }
            Format::Zip => self.zip(file),
            Format::Plain => Ok((*self.blob, plain(self.blob))),
        }
    }

    /// Reads a tar to its end, and stores it on the way unless the store has it already: then the files are slices of
    /// the archive itself.
    fn tar(&self, reader: impl io::Read, writer: Option<BlobWriter<'_>>) -> Result<(Blob, Tree), ArchiveError> {
        let kept = stream::Tee::new(reader, writer, self.limits.bytes_for(self.blob.size));
        let mut watch = stream::Watch::new(io::BufReader::with_capacity(stream::BUFFER, kept));
        let mut gathering = rules::Gathering::new(self.limits);
        tar::read(&mut watch, &mut gathering).map_err(|stopped| self.explain(stopped, watch.ended_at()))?;
        let mut tree = gathering.finish()?;
        let content = match watch.into_inner().into_inner().into_writer() {
            Some(writer) => writer.finish()?,
            None => *self.blob,
        };
        rules::place(&mut tree, content.digest);
        Ok((content, tree))
    }

    fn zip(&self, file: impl io::Read + io::Seek) -> Result<(Blob, Tree), ArchiveError> {
        let mut gathering = rules::Gathering::new(self.limits);
        let mut writer = self.store.writer()?;
        let limit = self.limits.bytes_for(self.blob.size);
        zip::read(file, &mut gathering, &mut writer, limit).map_err(|stopped| self.explain(stopped, None))?;
        let mut tree = gathering.finish()?;
        let content = writer.finish()?;
        rules::place(&mut tree, content.digest);
        Ok((content, tree))
    }

    /// Puts an error in the words of the archive. `ended_at` is where the bytes ended, if they did.
    fn explain(&self, stopped: Stopped, ended_at: Option<u64>) -> ArchiveError {
        let format = self.format;
        let source = match stopped {
            Stopped::Archive(error) => return error,
            Stopped::Malformed(why) => return ArchiveError::Malformed { format, why },
            Stopped::Io(source) => source,
        };
        match source.downcast::<stream::Fault>() {
            Ok(stream::Fault::TooLarge { limit }) => ArchiveError::TooLarge { limit, compressed: self.blob.size },
            Ok(stream::Fault::TooLong) => ArchiveError::TooManyEntries { limit: self.limits.entries },
            Ok(stream::Fault::Write(source)) => {
                FileError { doing: "writing to the store", path: self.store.root().to_owned(), source }.into()
            }
            Err(source) => match ended_at {
                Some(at) => ArchiveError::Truncated { at },
                None if source.kind() == io::ErrorKind::UnexpectedEof => ArchiveError::Truncated { at: 0 },
                None => ArchiveError::Corrupt { format, source },
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_read_from_the_name() {
        let cases = [
            ("kubernetes-src.tar.gz", Some(Format::Tar(Compression::Gzip))),
            ("https://h/cni-plugins-linux-arm-v0.9.1.tgz?x=1", Some(Format::Tar(Compression::Gzip))),
            ("https://h/a.tar.zst#frag", Some(Format::Tar(Compression::Zstd))),
            ("go_1.19.tar.xz", Some(Format::Tar(Compression::Xz))),
            ("A.TAR", Some(Format::Tar(Compression::None))),
            ("ziglang-0.13.0-py3-none-manylinux_x86_64.whl", Some(Format::Zip)),
            ("upx-ucl_4.2.2-1_amd64.deb", Some(Format::Deb)),
            ("https://dl.k8s.io/v1.26.0/bin/linux/amd64/kubelet", None),
            ("runc.amd64", None),
            ("x.tar.gz/file", None),
            (".zip", None),
            ("tar.bz2", None),
        ];
        for (name, format) in cases {
            assert_eq!(Format::of_name(name), format, "{name}");
        }
    }

    #[test]
    fn the_ratio_bounds_large_archives_only() {
        let limits = Limits { bytes: 1 << 30, ratio: 10, ..Limits::default() };
        for (compressed, bytes) in [(1, 64 << 20), (10 << 20, 100 << 20), (1 << 30, 1 << 30), (u64::MAX, 1 << 30)] {
            assert_eq!(limits.bytes_for(compressed), bytes, "{compressed}");
        }
    }
}
