//! Reading a zip: its files are stored one behind the other in one blob.
//!
//! The central directory counts, as it does for every unpacker; local headers that differ from it are not looked at.
//! Modes and links are those of Unix where the archive says that it was made there, as Python's wheels do.

use std::io::{self, Read, Seek, Write};

use zip::{ZipArchive, read::ZipFile, result::ZipError};

use super::{
    Stopped,
    rules::{self, Gathering, Refusal, Special},
    stream::{Budget, Fault},
};
use crate::{
    base::{Entry, Node},
    inputs::store::BlobWriter,
};

/// The type bits of a Unix mode.
const TYPE: u32 = 0o170_000;

/// Reads all entries into `gathering` and their bytes into `writer`.
pub(super) fn read(
    file: impl Read + Seek,
    gathering: &mut Gathering<'_>,
    writer: &mut BlobWriter<'_>,
    limit: u64,
) -> Result<(), Stopped> {
    let mut archive = ZipArchive::new(file).map_err(explain)?;
    let mut budget = Budget::new(limit);
    let mut offset = 0;
    for index in 0..archive.len() {
        let name = archive.name_for_index(index).unwrap_or_default().to_owned();
        let mut member = archive.by_index(index).map_err(|error| match error {
            ZipError::UnsupportedArchive(why) => rules::refuse(name, Refusal::Packing(why.to_owned())).into(),
            error => explain(error),
        })?;
        gathering.count(member.name_raw().len())?;
        let Some(path) = rules::path(member.name_raw())? else { continue };
        let mode = member.unix_mode().unwrap_or_default();
        let node = match mode & TYPE {
            0o040_000 => Node::Directory,
            _ if member.is_dir() => Node::Directory,
            0 | 0o100_000 => {
                let size = copy(&mut member, writer, &mut budget)?;
                offset += size;
                rules::slice(offset - size, size)
            }
            0o120_000 => symlink(&mut member, path.as_str())?,
            0o010_000 => {
                gathering.add_special(&path, Special::Fifo)?;
                continue;
            }
            0o140_000 => {
                gathering.add_special(&path, Special::Socket)?;
                continue;
            }
            _ => {
                gathering.add_special(&path, Special::Device)?;
                continue;
            }
        };
        gathering.add(path, Entry::new(permissions(mode, &node), node))?;
    }
    Ok(())
}

/// Archives that were not made on Unix have no permissions: those of a plain umask then.
const fn permissions(mode: u32, node: &Node) -> u32 {
    match (mode & 0o7777, node) {
        (_, Node::Symlink(_)) => 0o777,
        (0, Node::Directory) => 0o755,
        (0, _) => 0o644,
        (mode, _) => mode,
    }
}

fn copy(from: &mut impl Read, to: &mut BlobWriter<'_>, budget: &mut Budget) -> io::Result<u64> {
    let mut buffer = vec![0; 64 << 10];
    let mut size = 0;
    loop {
        let n = from.read(&mut buffer)?;
        if n == 0 {
            return Ok(size);
        }
        budget.spend(n)?;
        to.write_all(&buffer[..n]).map_err(|error| io::Error::other(Fault::Write(error)))?;
        size += n as u64;
    }
}

fn symlink<R: Read + ?Sized>(member: &mut ZipFile<'_, R>, path: &str) -> Result<Node, Stopped> {
    const LONGEST: u64 = 4096;
    let mut target = Vec::new();
    member.take(LONGEST + 1).read_to_end(&mut target)?;
    let text = String::from_utf8(target).ok().filter(|target| target.len() as u64 <= LONGEST);
    let target =
        text.ok_or_else(|| rules::refuse(path, Refusal::Header("its link target is too long or not UTF-8")))?;
    Ok(Node::Symlink(target))
}

fn explain(error: ZipError) -> Stopped {
    match error {
        ZipError::Io(error) => Stopped::Io(error),
        ZipError::InvalidArchive(why) => Stopped::Io(io::Error::new(io::ErrorKind::InvalidData, why.into_owned())),
        other => Stopped::Io(io::Error::other(other)),
    }
}
