//! The entries of a layer, read one after the other in bounded memory, whatever the layer is.
//!
//! Long names that stand in entries of their own are put together here, so that whoever looks at a layer sees each
//! entry once, by the name that a runtime would give it. What to make of the entries is left to the verifier, which
//! judges them, and to the inspection, which lists them.

use std::io::{self, BufReader, Read};

use crate::inputs::archive::pax;

/// More entries than the largest of distributions has.
const MOST_ENTRIES: usize = 2_000_000;

/// `PATH_MAX` of Linux, in bytes: what is longer cannot be unpacked.
const LONGEST_NAME: usize = 4096;

/// The names of a layer in bytes, all together, which whoever looks at it keeps in memory: three times those of a
/// distribution with half a million files.
const MOST_NAMES: usize = 128 << 20;

/// How a layer is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Zstd,
}

/// One entry, with its whole name.
pub(super) struct Member<'a> {
    /// As the archive has it, which need not be sound.
    pub(super) path: Vec<u8>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) kind: tar::EntryType,
    pub(super) mode: u32,
    pub(super) body: &'a mut dyn Read,
}

/// How a media type says that a layer is packed; `None` where it is no layer.
pub(super) fn compression(media_type: &str) -> Option<Compression> {
    match media_type {
        "application/vnd.oci.image.layer.v1.tar" | "application/vnd.docker.image.rootfs.diff.tar" => {
            Some(Compression::None)
        }
        "application/vnd.oci.image.layer.v1.tar+gzip" | "application/vnd.docker.image.rootfs.diff.tar.gzip" => {
            Some(Compression::Gzip)
        }
        "application/vnd.oci.image.layer.v1.tar+zstd" | "application/vnd.docker.image.rootfs.diff.tar.zstd" => {
            Some(Compression::Zstd)
        }
        _ => None,
    }
}

/// The tar in a layer.
pub(super) fn unpacked<'a>(packed: impl Read + 'a, compression: Compression) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match compression {
        Compression::None => Box::new(packed),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(BufReader::new(packed))),
        Compression::Zstd => {
            let mut decoder = zstd::Decoder::new(packed)?;
            // 128 MiB, the window that containers/image and containerd take.
            decoder.window_log_max(27)?;
            Box::new(decoder)
        }
    })
}

/// Names that stand in their own entries before the entry they are for.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

/// Shows every entry to `visit`.
pub(super) fn each<R: Read>(
    archive: &mut tar::Archive<R>,
    visit: &mut dyn FnMut(Member<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let mut extensions = Extensions::default();
    let mut names_in_all = 0;
    // Raw, because the library would read a hostile long name of any length into memory.
    for (count, entry) in archive.entries()?.raw(true).enumerate() {
        let mut entry = entry.map_err(printable)?;
        if count >= MOST_ENTRIES {
            return Err(malformed("more entries than any honest layer has"));
        }
        let kind = entry.header().entry_type();
        if kind.is_gnu_longname() || kind.is_gnu_longlink() || kind.is_pax_local_extensions() {
            extensions.read(kind, &extension(&mut entry)?)?;
            continue;
        }
        if kind.is_pax_global_extensions() {
            extension(&mut entry)?;
            continue;
        }
        if kind.is_gnu_sparse() {
            return Err(malformed("a sparse file, which not every runtime unpacks"));
        }
        let names = std::mem::take(&mut extensions);
        let path = names.path.unwrap_or_else(|| entry.path_bytes().into_owned());
        let link = names.link.or_else(|| entry.link_name_bytes().map(std::borrow::Cow::into_owned));
        let link_length = link.as_ref().map_or(0, Vec::len);
        if path.len().max(link_length) > LONGEST_NAME {
            return Err(malformed("a path or link of more than 4096 bytes"));
        }
        names_in_all += path.len() + link_length;
        if names_in_all > MOST_NAMES {
            return Err(malformed("paths of more than 128 MiB in all"));
        }
        visit(Member { path, link, kind, mode: entry.header().mode().unwrap_or_default(), body: &mut entry })?;
    }
    Ok(())
}

fn extension(entry: &mut impl Read) -> io::Result<Vec<u8>> {
    pax::header(entry)?.ok_or_else(|| malformed("a header of more than 1 MiB"))
}

impl Extensions {
    fn read(&mut self, kind: tar::EntryType, bytes: &[u8]) -> io::Result<()> {
        if kind.is_gnu_longname() {
            self.path = Some(until_nul(bytes));
        } else if kind.is_gnu_longlink() {
            self.link = Some(until_nul(bytes));
        } else {
            self.pax(bytes)?;
        }
        Ok(())
    }

    /// The names in a PAX extended header: records `<length> <key>=<value>\n`.
    fn pax(&mut self, bytes: &[u8]) -> io::Result<()> {
        for (key, value) in pax::records(bytes).ok_or_else(|| malformed("a PAX header whose records are malformed"))? {
            match key {
                "path" => self.path = Some(value.to_vec()),
                "linkpath" => self.link = Some(value.to_vec()),
                // Only files beyond 8 GiB need it, and raw entries do not honour it.
                "size" => return Err(malformed("a file whose size only a PAX record has")),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Whether a path has a `..`, or is none. One that begins with a slash begins at the image's root for every runtime; ko
/// writes such paths.
pub(super) fn escapes(path: &[u8]) -> bool {
    path.is_empty() || path.contains(&0) || path.split(|c| *c == b'/').any(|part| part == b"..")
}

/// The one form of a path, fit to be printed.
pub(super) fn shown(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path).escape_debug().to_string();
    text.split('/').filter(|part| !part.is_empty() && *part != ".").collect::<Vec<_>>().join("/")
}

/// An error of the tar library, which quotes what it stumbled over, without characters that could steer a terminal.
fn printable(error: io::Error) -> io::Error {
    let text = error.to_string();
    if text.contains(char::is_control) {
        return io::Error::new(error.kind(), text.escape_debug().to_string());
    }
    error
}

fn until_nul(bytes: &[u8]) -> Vec<u8> {
    bytes.split(|c| *c == 0).next().unwrap_or_default().to_vec()
}

fn malformed(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_leave_the_root_are_seen() {
        for path in ["..", "a/../b", "/../etc", "", "a\0b", "../x"] {
            assert!(escapes(path.as_bytes()), "{path:?}");
        }
        for path in ["a", "/etc", "./a", "a..b/...", "a/"] {
            assert!(!escapes(path.as_bytes()), "{path:?}");
        }
    }
}
