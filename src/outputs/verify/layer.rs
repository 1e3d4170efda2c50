//! One layer, read to its end: its `diff_id`, and what in it could harm or mislead whoever unpacks it.

use std::{
    collections::BTreeMap,
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

/// BPF, which is for every machine.
pub(super) const EVERY_MACHINE: u16 = 247;

/// Programs that nobody ships for another machine than the image's.
pub(super) const ALWAYS_OWN: [&str; 4] = ["kubelet", "kubeadm", "kube-proxy", "crictl"];

/// The machine that programs for a Go architecture have, and the one that the same processors run as well. (ELF's
/// `e_machine`: 386 is 3, ARM 40, x86-64 62, `AArch64` 183.)
pub(super) fn machines_of(architecture: &str) -> Option<(u16, u16)> {
    Some(match architecture {
        "amd64" => (62, 3),
        "arm64" => (183, 40),
        "arm" => (40, 40),
        "386" => (3, 3),
        "riscv64" => (243, 243),
        "ppc64le" => (21, 21),
        "s390x" => (22, 22),
        _ => return None,
    })
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

/// What a path of a layer is, as far as it matters for those below it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    Folder,
    Link,
    File,
}

fn examine<R: Read>(archive: &mut tar::Archive<R>, facts: &mut LayerFacts) -> io::Result<()> {
    let mut seen = BTreeMap::new();
    let mut links = BTreeMap::new();
    entries::each(archive, &mut |mut member| {
        let path = facts.path(&member.path);
        let kind = match member.kind {
            kind if kind.is_dir() => Seen::Folder,
            kind if kind.is_symlink() => Seen::Link,
            _ => Seen::File,
        };
        if let Some(was) = seen.insert(path.clone(), kind)
            // A folder that is named twice is one folder; of a file, which of the two counts is up to the runtime.
            && (was, kind) != (Seen::Folder, Seen::Folder)
        {
            facts.problem(Code::PathDuplicate, &path, "the layer holds it twice");
        }
        if path.match_indices('/').any(|(end, _)| seen.get(&path[..end]) == Some(&Seen::File)) {
            facts.problem(Code::PathConflict, &path, "it lies below a file of the layer");
        }
        let link = member.link.as_deref().unwrap_or_default();
        if member.kind.is_hard_link() && (entries::escapes(link) || leads_out(&entries::shown(link), &links)) {
            let link = String::from_utf8_lossy(link).escape_debug().to_string();
            facts.problem(
                Code::LinkEscapes,
                &path,
                format!("it is a hard link to `{link}`, outside the root file system"),
            );
        }
        if leads_out(&path, &links) {
            facts.problem(Code::LinkEscapes, &path, "it lies behind a symbolic link of the layer that leaves the root");
        }
        // A link that leads out is harmless until something is written through it: containers resolve it in their root.
        if kind == Seen::Link {
            links.insert(path.clone(), String::from_utf8_lossy(link).into_owned());
        } else {
            links.remove(&path);
        }
        if member.kind.is_block_special() || member.kind.is_character_special() {
            facts.problem(Code::PathDevice, &path, "it is a device node");
        }
        // Data may be anything: compilers have programs for every machine among their tests.
        let runs = member.mode & 0o111 != 0 || path.rsplit('/').next().is_some_and(|name| name.contains(".so"));
        if member.kind.is_file() && runs { facts.program(&path, &mut member.body) } else { Ok(()) }
    })
}

/// Links that are followed for one path, as many as Linux follows (`MAXSYMLINKS`).
const MOST_LINKS: usize = 40;

/// Whether an unpacker that follows the layer's own symbolic links leaves the root on its way to the folder of a path. A
/// path that goes round in circles leads nowhere.
fn leads_out(path: &str, links: &BTreeMap<String, String>) -> bool {
    let Some((folder, _)) = path.rsplit_once('/').filter(|_| !links.is_empty()) else { return false };
    let mut left: Vec<String> = folder.split('/').rev().map(str::to_owned).collect();
    let mut at: Vec<String> = Vec::new();
    let mut followed = 0;
    while let Some(part) = left.pop() {
        match part.as_str() {
            "" | "." => continue,
            ".." => {
                if at.pop().is_none() {
                    return true;
                }
                continue;
            }
            _ => at.push(part),
        }
        if let Some(target) = links.get(&at.join("/")) {
            if target.starts_with('/') {
                return true;
            }
            followed += 1;
            if followed > MOST_LINKS {
                return false;
            }
            at.pop();
            left.extend(target.split('/').rev().map(str::to_owned));
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
    fn paths_behind_links_that_lead_out_are_told_from_others() {
        let links =
            |links: &[(&str, &str)]| links.iter().map(|(at, to)| ((*at).to_owned(), (*to).to_owned())).collect();
        let out: [(&str, &[(&str, &str)]); 6] = [
            ("a/x", &[("a", "/etc")]),
            ("a/x", &[("a", "..")]),
            ("a/b/x", &[("a/b", "../..")]),
            ("a/x", &[("b", ".."), ("a", "b")]),
            ("p/r/x", &[("p/q", ".."), ("p/r", "q/..")]),
            ("a/c/d/x", &[("a/c", "b/../../..")]),
        ];
        for (path, with) in out {
            assert!(leads_out(path, &links(with)), "{path} {with:?}");
        }
        let inside: [(&str, &[(&str, &str)]); 6] = [
            ("a", &[("a", "/etc")]),
            ("ab/x", &[("a", "/etc")]),
            ("lib/x", &[("lib", "usr/lib")]),
            ("a/b/x", &[("a/b", "..")]),
            ("a/x", &[("a", "b"), ("b", "a")]),
            ("a/x", &[]),
        ];
        for (path, with) in inside {
            assert!(!leads_out(path, &links(with)), "{path} {with:?}");
        }
    }
}
