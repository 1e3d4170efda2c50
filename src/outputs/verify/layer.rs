//! One layer, read to its end: its `diff_id`, and what in it could harm or mislead whoever unpacks it.

use std::{
    collections::BTreeMap,
    io::{self, BufReader, Read},
};

use super::Code;
use crate::base::{Digest, digest::Hashing};

/// A layer that unpacks to more is taken for a bomb.
const LARGEST: u64 = 16 << 30;

/// More entries than the largest of distributions has.
const MOST_ENTRIES: usize = 2_000_000;

/// `PATH_MAX` many times over; the headers for long names and attributes are held in memory.
const LARGEST_EXTENSION: u64 = 1 << 20;

const MOST_PROBLEMS: usize = 100;

/// How a layer is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Zstd,
}

/// What was learnt from a layer.
#[derive(Clone, Debug, Default)]
pub(super) struct LayerFacts {
    /// Unknown when the layer cannot be unpacked to its end.
    pub(super) diff_id: Option<Digest>,
    /// Code, path and message.
    pub(super) problems: Vec<(Code, String, String)>,
    /// The ELF machines of programs and libraries, by path; of many for one machine the first few.
    pub(super) machines: Vec<(String, u16)>,
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

/// The machine that programs for a Go architecture have, if `machine` is neither that nor one that the same processors
/// run. (ELF's
/// `e_machine`: 386 is 3, ARM 40, x86-64 62, `AArch64` 183, BPF 247, which is for every machine.)
pub(super) fn foreign_machine(architecture: &str, machine: u16) -> Option<u16> {
    let (own, also) = match architecture {
        "amd64" => (62, 3),
        "arm64" => (183, 40),
        "arm" => (40, 40),
        "386" => (3, 3),
        "riscv64" => (243, 243),
        "ppc64le" => (21, 21),
        "s390x" => (22, 22),
        _ => return None,
    };
    (![own, also, 247].contains(&machine)).then_some(own)
}

/// Reads a layer; gives back the reader of its packed bytes, which may not be at its end.
pub(super) fn read<R: Read>(mut packed: Hashing<R>, compression: Compression) -> (LayerFacts, Hashing<R>) {
    let mut facts = LayerFacts::default();
    let unpacked = match compression {
        Compression::None => tar_and_rest(&mut packed, &mut facts),
        Compression::Gzip => {
            tar_and_rest(flate2::bufread::MultiGzDecoder::new(BufReader::new(&mut packed)), &mut facts)
        }
        Compression::Zstd => match zstd::Decoder::new(&mut packed) {
            Ok(mut decoder) => {
                // 128 MiB, the window that containers/image and containerd take.
                let bounded = decoder.window_log_max(27);
                bounded.and_then(|()| tar_and_rest(decoder, &mut facts))
            }
            Err(error) => Err(error),
        },
    };
    match unpacked {
        Ok(got) => facts.diff_id = got,
        Err(error) => facts.problem(Code::LayerCompression, "", format!("it cannot be unpacked: {error}")),
    }
    (facts, packed)
}

/// Reads the tar and what follows it. An error is one of unpacking; what is wrong with the tar becomes a problem.
fn tar_and_rest<R: Read>(unpacked: R, facts: &mut LayerFacts) -> io::Result<Option<Digest>> {
    let failed = std::cell::RefCell::new(None);
    let noticing = Noticing { inner: unpacked, failed: &failed };
    let mut stream = Hashing::new(noticing.take(LARGEST));
    let mut archive = tar::Archive::new(&mut stream);
    let read = entries(&mut archive, facts);
    if let Some(error) = failed.take() {
        return Err(error);
    }
    if let Err(error) = read {
        facts.problem(Code::LayerMalformed, "", format!("its tar is malformed: {error}"));
    }
    let copied = io::copy(&mut stream, &mut io::sink());
    if let Some(error) = failed.take() {
        return Err(error);
    }
    copied?;
    let (rest, got) = stream.finish();
    if rest.limit() == 0 {
        facts.problem(Code::LayerTooLarge, "", format!("it unpacks to more than {LARGEST} bytes"));
        return Ok(None);
    }
    Ok(Some(got.digest))
}

/// Remembers an error of the unpacker, which the tar reader would pass on as one of its own.
struct Noticing<'a, R> {
    inner: R,
    failed: &'a std::cell::RefCell<Option<io::Error>>,
}

impl<R: Read> Read for Noticing<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buf).map_err(|error| {
            let copy = io::Error::new(error.kind(), error.to_string());
            *self.failed.borrow_mut() = Some(error);
            copy
        })
    }
}

/// Names that stand in their own entries before the entry they are for.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

fn entries<R: Read>(archive: &mut tar::Archive<R>, facts: &mut LayerFacts) -> io::Result<()> {
    let malformed = |text: &str| io::Error::new(io::ErrorKind::InvalidData, text.to_owned());
    let mut seen = BTreeMap::new();
    let mut extensions = Extensions::default();
    // Raw, because the library would read a hostile long name of any length into memory.
    for (count, entry) in archive.entries()?.raw(true).enumerate() {
        let mut entry = entry?;
        if count >= MOST_ENTRIES {
            return Err(malformed("more entries than any honest layer has"));
        }
        let kind = entry.header().entry_type();
        let extends = kind.is_gnu_longname() || kind.is_gnu_longlink() || kind.is_pax_local_extensions();
        if extends || kind.is_pax_global_extensions() {
            if entry.size() > LARGEST_EXTENSION {
                return Err(malformed("a header of more than 1 MiB"));
            }
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            if kind.is_gnu_longname() {
                extensions.path = Some(until_nul(&bytes));
            } else if kind.is_gnu_longlink() {
                extensions.link = Some(until_nul(&bytes));
            } else if kind.is_pax_local_extensions() {
                pax(&bytes, &mut extensions)?;
            }
            continue;
        }
        if kind.is_gnu_sparse() {
            return Err(malformed("a sparse file, which not every runtime unpacks"));
        }
        let names = std::mem::take(&mut extensions);
        let path = names.path.unwrap_or_else(|| entry.path_bytes().into_owned());
        let path = facts.path(&path);
        let is_folder = kind.is_dir();
        if let Some(was_folder) = seen.insert(path.clone(), is_folder)
            // A folder that is named twice is one folder; of a file, which of the two counts is up to the runtime.
            && !(is_folder && was_folder)
        {
            facts.problem(Code::PathDuplicate, &path, "the layer holds it twice");
        }
        if kind.is_hard_link() {
            let link =
                names.link.or_else(|| entry.link_name_bytes().map(std::borrow::Cow::into_owned)).unwrap_or_default();
            if escapes(&link) {
                let link = String::from_utf8_lossy(&link).escape_debug().to_string();
                facts.problem(Code::LinkEscapes, &path, format!("it is a hard link to `{link}`"));
            }
        }
        if kind.is_block_special() || kind.is_character_special() {
            facts.problem(Code::PathDevice, &path, "it is a device node");
        }
        if kind.is_file() {
            facts.program(&path, &mut entry)?;
        }
    }
    Ok(())
}

impl LayerFacts {
    fn problem(&mut self, code: Code, path: &str, message: impl Into<String>) {
        if self.problems.len() < MOST_PROBLEMS {
            self.problems.push((code, path.to_owned(), message.into()));
        }
    }

    /// The one form of a path, with what is wrong with it noted.
    fn path(&mut self, bytes: &[u8]) -> String {
        let text = String::from_utf8_lossy(bytes).escape_debug().to_string();
        if escapes(bytes) {
            self.problem(Code::PathEscapes, &text, "it leaves the root file system");
        }
        let parts = text.split('/').filter(|part| !part.is_empty() && *part != ".");
        parts.collect::<Vec<_>>().join("/")
    }

    /// Notes the machine of an ELF program or library (`e_type` EXEC or DYN).
    fn program(&mut self, path: &str, entry: &mut impl Read) -> io::Result<()> {
        let mut head = Vec::new();
        entry.take(20).read_to_end(&mut head)?;
        if head.len() < 20 || !head.starts_with(b"\x7fELF") {
            return Ok(());
        }
        let number = |at: usize| {
            let pair = [head[at], head[at + 1]];
            if head[5] == 2 { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) }
        };
        let machine = number(18);
        let of_this = self.machines.iter().filter(|(_, known)| *known == machine).count();
        if matches!(number(16), 2 | 3) && of_this < 10 && self.machines.len() < MOST_PROBLEMS {
            self.machines.push((path.to_owned(), machine));
        }
        Ok(())
    }
}

/// Whether a path has a `..`, or begins at the root of whoever unpacks it.
fn escapes(path: &[u8]) -> bool {
    path.is_empty()
        || path.contains(&0)
        || path.starts_with(b"/")
        || path.split(|c| *c == b'/').any(|part| part == b"..")
}

fn until_nul(bytes: &[u8]) -> Vec<u8> {
    bytes.split(|c| *c == 0).next().unwrap_or_default().to_vec()
}

/// The names in a PAX extended header: records `<length> <key>=<value>\n`.
fn pax(bytes: &[u8], extensions: &mut Extensions) -> io::Result<()> {
    for record in tar::PaxExtensions::new(bytes) {
        let record = record?;
        match record.key_bytes() {
            b"path" => extensions.path = Some(record.value_bytes().to_vec()),
            b"linkpath" => extensions.link = Some(record.value_bytes().to_vec()),
            // Only files beyond 8 GiB need it, and raw entries do not honour it.
            b"size" => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a file whose size only a PAX record has"));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_leave_the_root_are_seen() {
        for path in ["..", "a/../b", "/etc", "", "a\0b", "../x"] {
            assert!(escapes(path.as_bytes()), "{path:?}");
        }
        for path in ["a", "./a", "a..b/...", "a/"] {
            assert!(!escapes(path.as_bytes()), "{path:?}");
        }
    }

    #[test]
    fn a_processor_runs_its_own_programs_and_its_forebears() {
        let cases = [("amd64", 62, None), ("amd64", 3, None), ("amd64", 183, Some(62)), ("arm", 183, Some(40))];
        for (architecture, machine, expected) in cases.into_iter().chain([("arm64", 247, None), ("mips", 1, None)]) {
            assert_eq!(foreign_machine(architecture, machine), expected, "{architecture} {machine}");
        }
    }
}
