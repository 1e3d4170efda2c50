//! The files of a package's data part, read from the unpacked tar archive in the store.
//!
//! Contents stay where they are: an entry points into the archive. What no root file system of ours may hold is refused
//! here: devices, pipes, paths that leave their root or that hold control characters. Each file is compared with the
//! checksum that its PAX header gives.

use std::{
    collections::BTreeMap,
    io::{self, Read},
};

use sha1::Digest as _;

use super::checksum::Checksum;
use crate::base::{Blob, Content, Node, TreePath};

/// One file, link or directory of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveEntry {
    pub path: TreePath,
    /// At most 0o7777.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// The owner's name, empty where the archive gives none.
    pub user: String,
    pub group: String,
    pub xattrs: BTreeMap<String, Vec<u8>>,
    pub node: Node,
    /// Of a file's bytes or a symbolic link's text.
    pub checksum: Option<Checksum>,
}

#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("reading its files: {0}")]
    Read(#[from] io::Error),
    #[error("it holds the path {path:?}, which {problem}")]
    Path { path: String, problem: &'static str },
    #[error("it holds `{path}`, which is {kind}: images hold only files, links and directories")]
    Kind { path: String, kind: &'static str },
    #[error("its file `{path}` is not what its checksum promises")]
    Checksum { path: String },
    #[error("its file `{path}` gives a checksum that is none")]
    NoChecksum { path: String },
    #[error("its file `{path}` has the owner or size {value}, which is too large")]
    Number { path: String, value: u64 },
    #[error("it holds more than {MAX_ENTRIES} files")]
    TooMany,
}

/// The largest packages of Alpine have some 100,000.
const MAX_ENTRIES: usize = 2_000_000;

/// Lists the files of a tar archive, which is stored as `data`.
pub fn entries(archive: impl Read, data: &Blob) -> Result<Vec<ArchiveEntry>, ArchiveError> {
    let mut archive = tar::Archive::new(archive);
    let mut entries = Vec::new();
    for entry in archive.entries()? {
        entries.extend(read(&mut entry?, data)?);
        if entries.len() > MAX_ENTRIES {
            return Err(ArchiveError::TooMany);
        }
    }
    Ok(entries)
}

/// `None` for what apk passes over: files at the top whose names begin with a dot, and `.keep_` files.
fn read<R: Read>(entry: &mut tar::Entry<'_, R>, data: &Blob) -> Result<Option<ArchiveEntry>, ArchiveError> {
    let kind = entry.header().entry_type();
    if kind.is_pax_global_extensions() {
        return Ok(None);
    }
    let text = text(&entry.path_bytes())?;
    let is_directory = kind.is_dir();
    if text.starts_with('.') && !text.starts_with("./") && !text.starts_with("..") {
        return Ok(None);
    }
    let path = path(&text)?;
    if !is_directory && path.file_name().starts_with(".keep_") && path.file_name().len() > ".keep_".len() {
        return Ok(None);
    }
    let extensions = extensions(entry, &text)?;
    let number = |value: u64| u32::try_from(value).map_err(|_| ArchiveError::Number { path: text.clone(), value });
    let header = entry.header();
    let name =
        |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default();
    let (mode, user, group) = (header.mode()?, name(header.username_bytes()), name(header.groupname_bytes()));
    let (uid, gid) = (number(header.uid()?)?, number(header.gid()?)?);
    let (node, checksum) = node(entry, &text, data, extensions.checksum)?;
    let xattrs = extensions.xattrs;
    Ok(Some(ArchiveEntry { path, mode: mode & 0o7777, uid, gid, user, group, xattrs, node, checksum }))
}

fn node<R: Read>(
    entry: &mut tar::Entry<'_, R>,
    path: &str,
    data: &Blob,
    promised: Option<Checksum>,
) -> Result<(Node, Option<Checksum>), ArchiveError> {
    let refuse = |kind| Err(ArchiveError::Kind { path: path.to_owned(), kind });
    let kind = entry.header().entry_type();
    let actual;
    let node = match kind {
        tar::EntryType::Directory => return Ok((Node::Directory, None)),
        tar::EntryType::Regular | tar::EntryType::Continuous => {
            let content = Content { blob: data.digest, offset: entry.raw_file_position(), size: entry.size() };
            if content.offset.checked_add(content.size).is_none_or(|end| end > data.size) {
                return Err(ArchiveError::Number { path: path.to_owned(), value: content.size });
            }
            actual = checksum(entry)?;
            Node::File(content)
        }
        tar::EntryType::Symlink => {
            let target = link(entry)?;
            actual = Checksum::of(target.as_bytes());
            if target.is_empty() || target.contains(|c: char| c.is_control()) {
                return Err(ArchiveError::Path { path: target, problem: "no symbolic link can lead to" });
            }
            Node::Symlink(target)
        }
        // Its checksum is that of the file it is another name of.
        tar::EntryType::Link => return Ok((Node::Hardlink(self::path(&link(entry)?)?), None)),
        tar::EntryType::Char | tar::EntryType::Block => return refuse("a device"),
        tar::EntryType::Fifo => return refuse("a pipe"),
        _ => return refuse("of a kind that is not known"),
    };
    if promised.is_some_and(|promised| promised != actual) {
        return Err(ArchiveError::Checksum { path: path.to_owned() });
    }
    Ok((node, promised))
}

fn link(entry: &tar::Entry<'_, impl Read>) -> Result<String, ArchiveError> {
    text(&entry.link_name_bytes().unwrap_or_default())
}

fn checksum(entry: &mut tar::Entry<'_, impl Read>) -> io::Result<Checksum> {
    let mut hasher = sha1::Sha1::new();
    let mut buffer = vec![0; 64 << 10];
    let mut left = entry.size();
    loop {
        let length = entry.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        hasher.update(&buffer[..length]);
        left = left.saturating_sub(length as u64);
    }
    if left > 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive ends within a file"));
    }
    Ok(hasher.into())
}

#[derive(Default)]
struct Extensions {
    checksum: Option<Checksum>,
    xattrs: BTreeMap<String, Vec<u8>>,
}

/// The PAX records that matter. As in apk, a checksum in MD5 counts for nothing.
fn extensions(entry: &mut tar::Entry<'_, impl Read>, path: &str) -> Result<Extensions, ArchiveError> {
    let mut found = Extensions::default();
    let Some(records) = entry.pax_extensions()? else { return Ok(found) };
    for record in records {
        let record = record?;
        let key = text(record.key_bytes())?;
        if key == "APK-TOOLS.checksum.SHA1" {
            let checksum = Checksum::from_hex(record.value_bytes());
            found.checksum = Some(checksum.ok_or_else(|| ArchiveError::NoChecksum { path: path.to_owned() })?);
        } else if let Some(name) = key.strip_prefix("SCHILY.xattr.") {
            found.xattrs.insert(name.to_owned(), record.value_bytes().to_vec());
        }
    }
    Ok(found)
}

fn text(bytes: &[u8]) -> Result<String, ArchiveError> {
    String::from_utf8(bytes.to_vec()).map_err(|error| ArchiveError::Path {
        path: String::from_utf8_lossy(error.as_bytes()).into_owned(),
        problem: "is not UTF-8",
    })
}

fn path(text: &str) -> Result<TreePath, ArchiveError> {
    let invalid = |problem| ArchiveError::Path { path: text.to_owned(), problem };
    if text.starts_with('/') {
        return Err(invalid("is absolute"));
    }
    if text.contains(|c: char| c.is_control()) {
        return Err(invalid("holds control characters"));
    }
    TreePath::new(text).map_err(|_| invalid("leaves its root or is no path"))
}
