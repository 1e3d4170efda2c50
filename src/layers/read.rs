//! Measuring a layer that somebody else made, or that says nothing of its extracted size.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;

use super::LayerInfo;
use crate::base::digest::Hashing;

/// The most that a layer may unpack to, 8 GiB. Past it lies a bomb, or a file whose size a tar header cannot hold.
const LARGEST: u64 = 8 << 30;

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("reading a layer: `{0}` is no media type of a layer that kletimg reads")]
    MediaType(String),
    #[error("reading a layer: it unpacks to more than {} MiB", LARGEST >> 20)]
    TooLarge,
    #[error("reading a layer: {0}")]
    Read(#[from] io::Error),
}

/// Reads a whole layer of this OCI or Docker media type and says what it is.
///
/// Extracted counts regular files by the sizes in the archive's headers, as [`super::write_layer`] does.
pub fn measure(compressed: impl Read, media_type: &str) -> Result<LayerInfo, ReadError> {
    let compressed = Hashing::new(compressed);
    match media_type.rsplit_once(['+', '.']).map(|(_, suffix)| suffix) {
        Some("gzip") => walk(MultiGzDecoder::new(compressed), MultiGzDecoder::into_inner),
        Some("zstd") => walk(zstd::Decoder::new(compressed)?, |decoder| decoder.finish().into_inner()),
        Some("tar") => walk(compressed, |reader| reader),
        _ => Err(ReadError::MediaType(media_type.to_owned())),
    }
}

fn walk<R: Read, D: Read>(decoder: D, inner: impl FnOnce(D) -> Hashing<R>) -> Result<LayerInfo, ReadError> {
    let mut archive = tar::Archive::new(Hashing::new(decoder.take(LARGEST + 1)));
    let extracted = files(&mut archive);
    let mut rest = archive.into_inner();
    let drained = io::copy(&mut rest, &mut io::sink());
    let (decoder, uncompressed) = rest.finish();
    if uncompressed.size > LARGEST {
        return Err(ReadError::TooLarge);
    }
    let extracted = extracted?;
    drained?;
    // A compressed stream may end before its file does; what follows belongs to the blob all the same.
    let mut compressed = inner(decoder.into_inner());
    io::copy(&mut compressed, &mut io::sink())?;
    let (_, blob) = compressed.finish();
    Ok(LayerInfo { diff_id: uncompressed.digest, blob, uncompressed: uncompressed.size, extracted })
}

/// The sum of the regular files' sizes. The raw entries are enough, and a pax header of any length is passed over
/// instead of held in memory.
fn files<R: Read>(archive: &mut tar::Archive<R>) -> io::Result<u64> {
    let mut extracted = 0_u64;
    for entry in archive.entries()?.raw(true) {
        let entry = entry?;
        if matches!(entry.header().entry_type(), tar::EntryType::Regular | tar::EntryType::Continuous) {
            extracted = extracted.saturating_add(entry.header().size()?);
        }
    }
    Ok(extracted)
}
