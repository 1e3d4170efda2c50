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
use crate::{
    base::{Blob, Content, Node, TreePath},
    inputs::archive::pax,
};

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
    #[error("its file `{path}` has no checksum, without which apk takes a package for broken: build it with abuild")]
    Unsummed { path: String },
    #[error("its file `{path}` gives a checksum that is none")]
    NoChecksum { path: String },
    #[error("its file `{path}` has the owner or size {value}, which is too large")]
    Number { path: String, value: u64 },
    #[error("it holds more than {MAX_ENTRIES} files")]
    TooMany,
    #[error("it holds {0}")]
    Header(&'static str),
}

/// The largest packages of Alpine have some 100,000.
const MAX_ENTRIES: usize = 2_000_000;

/// Lists the files of a tar archive, which is stored as `data`.
pub fn entries(archive: impl Read, data: &Blob) -> Result<Vec<ArchiveEntry>, ArchiveError> {
    let mut archive = tar::Archive::new(archive);
    let mut entries = Vec::new();
    let mut extensions = Extensions::default();
    // Raw, because the library would read extended headers of any length, and splits their records at newlines.
    for entry in archive.entries()?.raw(true) {
        let mut entry = entry?;
        let kind = entry.header().entry_type();
        if kind.is_gnu_longname() {
            extensions.path = Some(until_nul(extension(&mut entry)?));
        } else if kind.is_gnu_longlink() {
            extensions.link = Some(until_nul(extension(&mut entry)?));
        } else if kind.is_pax_local_extensions() {
            extensions.read(&extension(&mut entry)?)?;
        } else if !kind.is_pax_global_extensions() {
            entries.extend(read(&mut entry, std::mem::take(&mut extensions), data)?);
        }
        if entries.len() > MAX_ENTRIES {
            return Err(ArchiveError::TooMany);
        }
    }
    Ok(entries)
}

/// `None` for what apk passes over: paths that begin with a dot (`./usr` too), and `.keep_` files.
fn read<R: Read>(
    entry: &mut tar::Entry<'_, R>,
    extensions: Extensions,
    data: &Blob,
) -> Result<Option<ArchiveEntry>, ArchiveError> {
    let text = match extensions.path {
        Some(path) => self::text(&path)?,
        None => self::text(&entry.path_bytes())?,
    };
    let is_directory = entry.header().entry_type().is_dir();
    if text.starts_with('.') && !text.starts_with("..") {
        return Ok(None);
    }
    let path = path(&text)?;
    if !is_directory && path.file_name().starts_with(".keep_") && path.file_name().len() > ".keep_".len() {
        return Ok(None);
    }
    let is_none = || ArchiveError::NoChecksum { path: text.clone() };
    let promised = extensions.checksum.map(|hex| Checksum::from_hex(&hex).ok_or_else(is_none)).transpose()?;
    let link = match (extensions.link, entry.link_name_bytes()) {
        (Some(link), _) => self::text(&link)?,
        (None, Some(link)) => self::text(&link)?,
        (None, None) => String::new(),
    };
    let number = |value: u64| u32::try_from(value).map_err(|_| ArchiveError::Number { path: text.clone(), value });
    let header = entry.header();
    let name =
        |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default();
    let (mode, user, group) = (header.mode()?, name(header.username_bytes()), name(header.groupname_bytes()));
    let (uid, gid) = (number(header.uid()?)?, number(header.gid()?)?);
    let (node, checksum) = node(entry, &text, link, data, promised)?;
    let xattrs = extensions.xattrs;
    Ok(Some(ArchiveEntry { path, mode: mode & 0o7777, uid, gid, user, group, xattrs, node, checksum }))
}

fn node<R: Read>(
    entry: &mut tar::Entry<'_, R>,
    path: &str,
    link: String,
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
            actual = Checksum::of(link.as_bytes());
            if link.is_empty() || link.contains(|c: char| c.is_control()) {
                return Err(ArchiveError::Path { path: link, problem: "no symbolic link can lead to" });
            }
            Node::Symlink(link)
        }
        // Its checksum is that of the file it is another name of.
        tar::EntryType::Link => return Ok((Node::Hardlink(self::path(&link)?), None)),
        tar::EntryType::Char | tar::EntryType::Block => return refuse("a device"),
        tar::EntryType::Fifo => return refuse("a pipe"),
        tar::EntryType::GNUSparse => return refuse("a sparse file"),
        _ => return refuse("of a kind that is not known"),
    };
    match promised {
        Some(promised) if promised == actual => Ok((node, Some(promised))),
        Some(_) => Err(ArchiveError::Checksum { path: path.to_owned() }),
        None => Err(ArchiveError::Unsummed { path: path.to_owned() }),
    }
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

/// What extended headers say about the entry that follows them.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    /// Of the file, in hexadecimal digits.
    checksum: Option<Vec<u8>>,
    xattrs: BTreeMap<String, Vec<u8>>,
}

impl Extensions {
    /// The PAX records that matter. As in apk, a checksum in MD5 counts for nothing.
    fn read(&mut self, header: &[u8]) -> Result<(), ArchiveError> {
        for (key, value) in pax::records(header).ok_or(ArchiveError::Header("a malformed PAX header"))? {
            match key {
                "path" => self.path = Some(value.to_vec()),
                "linkpath" => self.link = Some(value.to_vec()),
                // Only files beyond 8 GiB need it, and raw entries do not honour it.
                "size" => return Err(ArchiveError::Header("a file whose size only a PAX record has")),
                "APK-TOOLS.checksum.SHA1" => self.checksum = Some(value.to_vec()),
                key => {
                    if let Some(name) = key.strip_prefix("SCHILY.xattr.") {
                        self.xattrs.insert(name.to_owned(), value.to_vec());
                    }
                }
            }
        }
        Ok(())
    }
}

fn extension(entry: &mut impl Read) -> Result<Vec<u8>, ArchiveError> {
    pax::header(entry)?.ok_or(ArchiveError::Header("an extended header of more than 1 MiB"))
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
        bytes.truncate(end);
    }
    bytes
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
