//! One layer, read to its end: its `diff_id`, and what in it could harm or mislead whoever unpacks it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read},
};

use super::Code;
use crate::{
    base::{Digest, digest::Hashing},
    outputs::entries::{self, Compression},
};

/// A layer that unpacks to more is taken for a bomb.
const LARGEST: u64 = 16 << 30;

const MOST_PROBLEMS: usize = 100;

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
    let unpacked = entries::unpacked(&mut packed, compression).and_then(|tar| tar_and_rest(tar, &mut facts));
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
    let read = examine(&mut archive, facts);
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

fn examine<R: Read>(archive: &mut tar::Archive<R>, facts: &mut LayerFacts) -> io::Result<()> {
    let mut seen = BTreeMap::new();
    let mut ways_out = BTreeSet::new();
    entries::each(archive, &mut |mut member| {
        let path = facts.path(&member.path);
        let is_folder = member.kind.is_dir();
        if let Some(was_folder) = seen.insert(path.clone(), is_folder)
            // A folder that is named twice is one folder; of a file, which of the two counts is up to the runtime.
            && !(is_folder && was_folder)
        {
            facts.problem(Code::PathDuplicate, &path, "the layer holds it twice");
        }
        let link = member.link.as_deref().unwrap_or_default();
        if member.kind.is_hard_link() && (entries::escapes(link) || goes_through(&entries::shown(link), &ways_out)) {
            let link = String::from_utf8_lossy(link).escape_debug().to_string();
            facts.problem(
                Code::LinkEscapes,
                &path,
                format!("it is a hard link to `{link}`, outside the root file system"),
            );
        }
        if goes_through(&path, &ways_out) {
            facts.problem(Code::LinkEscapes, &path, "it lies behind a symbolic link of the layer that leaves the root");
        }
        // A link that leads out is harmless until something is written through it: containers resolve it in their root.
        if member.kind.is_symlink() && leaves(&path, link) {
            ways_out.insert(path.clone());
        } else {
            ways_out.remove(&path);
        }
        if member.kind.is_block_special() || member.kind.is_character_special() {
            facts.problem(Code::PathDevice, &path, "it is a device node");
        }
        // Data may be anything: compilers have programs for every machine among their tests.
        let runs = member.mode & 0o111 != 0 || path.rsplit('/').next().is_some_and(|name| name.contains(".so"));
        if member.kind.is_file() && runs { facts.program(&path, &mut member.body) } else { Ok(()) }
    })
}

/// Whether a folder above the path is one of these links.
fn goes_through(path: &str, links: &BTreeSet<String>) -> bool {
    !links.is_empty() && path.match_indices('/').any(|(end, _)| links.contains(&path[..end]))
}

/// Whether a symbolic link leads out of the root for an unpacker that follows it outside of a container.
fn leaves(path: &str, target: &[u8]) -> bool {
    if target.starts_with(b"/") {
        return true;
    }
    let mut depth = path.matches('/').count();
    for part in target.split(|c| *c == b'/') {
        match part {
            b"" | b"." => {}
            b".." if depth == 0 => return true,
            b".." => depth -= 1,
            _ => depth += 1,
        }
    }
    false
}

impl LayerFacts {
    fn problem(&mut self, code: Code, path: &str, message: impl Into<String>) {
        if self.problems.len() < MOST_PROBLEMS {
            self.problems.push((code, path.to_owned(), message.into()));
        }
    }

    /// The one form of a path, with what is wrong with it noted.
    fn path(&mut self, bytes: &[u8]) -> String {
        let path = entries::shown(bytes);
        // A whiteout removes what its name says, which must be a name.
        let name = bytes.rsplit(|c| *c == b'/').next().and_then(|name| name.strip_prefix(b".wh."));
        if entries::escapes(bytes) || name.is_some_and(|hidden| [&b""[..], b".", b".."].contains(&hidden)) {
            let text = String::from_utf8_lossy(bytes).escape_debug().to_string();
            self.problem(Code::PathEscapes, &text, "it leaves the root file system");
        }
        path
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_lead_out_are_told_from_others() {
        for (path, target) in [("a", "/etc"), ("a", ".."), ("a/b", "../.."), ("a/b", "../c/../../x"), ("a", "b/../..")]
        {
            assert!(leaves(path, target.as_bytes()), "{path} -> {target}");
        }
        for (path, target) in [("a", "b"), ("a/b", ".."), ("a/b/c", "../../d"), ("lib", "usr/lib"), ("a", "./b/..")] {
            assert!(!leaves(path, target.as_bytes()), "{path} -> {target}");
        }
        let links = BTreeSet::from(["a/b".to_owned()]);
        assert!(goes_through("a/b/c", &links) && goes_through("a/b/c/d", &links));
        assert!(
            !goes_through("a/b", &links) && !goes_through("a/bc/d", &links) && !goes_through("a/b/c", &BTreeSet::new())
        );
    }

    #[test]
    fn a_processor_runs_its_own_programs_and_its_forebears() {
        let cases = [("amd64", 62, None), ("amd64", 3, None), ("amd64", 183, Some(62)), ("arm", 183, Some(40))];
        for (architecture, machine, expected) in cases.into_iter().chain([("arm64", 247, None), ("mips", 1, None)]) {
            assert_eq!(foreign_machine(architecture, machine), expected, "{architecture} {machine}");
        }
    }
}
