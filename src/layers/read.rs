//! Measuring a layer that somebody else made, or that says nothing of its extracted size.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;

use super::LayerInfo;
use crate::base::{digest::Hashing, size::Bytes};

/// The most that a layer may unpack to, 8 GiB. Past it lies a bomb, or a file whose size a tar header cannot hold.
const LARGEST: u64 = 8 << 30;

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("reading a layer: `{0}` is no media type of a layer that kletimg reads")]
    MediaType(String),
    #[error("reading a layer: it unpacks to more than {}", Bytes(*.largest))]
    TooLarge { largest: u64 },
    #[error("reading a layer: {0}")]
    Read(#[from] io::Error),
}

/// Reads a whole layer of this OCI or Docker media type and says what it is.
///
/// Extracted counts regular files by the sizes in the archive's headers, as [`super::write_layer`] does.
pub fn measure(compressed: impl Read, media_type: &str) -> Result<LayerInfo, ReadError> {
    measure_within(LARGEST, compressed, media_type)
}

fn measure_within(largest: u64, compressed: impl Read, media_type: &str) -> Result<LayerInfo, ReadError> {
    let compressed = Hashing::new(compressed);
    match media_type.rsplit_once(['+', '.']).map(|(_, suffix)| suffix) {
        Some("gzip") => walk(largest, MultiGzDecoder::new(compressed), MultiGzDecoder::into_inner),
        Some("zstd") => walk(largest, zstd::Decoder::new(compressed)?, |decoder| decoder.finish().into_inner()),
        Some("tar") => walk(largest, compressed, |reader| reader),
        _ => Err(ReadError::MediaType(media_type.to_owned())),
    }
}

fn walk<R: Read, D: Read>(
    largest: u64,
    decoder: D,
    inner: impl FnOnce(D) -> Hashing<R>,
) -> Result<LayerInfo, ReadError> {
    let mut archive = tar::Archive::new(Hashing::new(decoder.take(largest + 1)));
    let extracted = files(&mut archive);
    let mut rest = archive.into_inner();
    let drained = io::copy(&mut rest, &mut io::sink());
    let (decoder, uncompressed) = rest.finish();
    if uncompressed.size > largest {
        return Err(ReadError::TooLarge { largest });
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

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    const ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

    #[test]
    fn a_layer_that_unpacks_without_end_is_an_error() {
        let zeroes = vec![0; 4 << 20];
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(&zeroes).unwrap();
        let bombs = [(gzip.finish().unwrap(), GZIP), (zstd::encode_all(zeroes.as_slice(), 1).unwrap(), ZSTD)];
        for (bomb, media_type) in bombs {
            assert!(bomb.len() < 5000);
            let message = measure_within(1 << 20, bomb.as_slice(), media_type).unwrap_err().to_string();
            assert_eq!(message, "reading a layer: it unpacks to more than 1 MiB");
            assert_eq!(measure_within(4 << 20, bomb.as_slice(), media_type).unwrap().extracted, 0);
        }
    }

    #[test]
    fn a_header_that_promises_more_than_there_is_is_an_error() {
        let mut header = tar::Header::new_gnu();
        header.set_size(u64::MAX);
        header.set_cksum();
        assert!(matches!(
            measure(&header.as_bytes()[..], "application/vnd.oci.image.layer.v1.tar"),
            Err(ReadError::Read(_))
        ));
    }
}
