//! Reading a tar: ustar, GNU and PAX, as `tar`, Go, Python and dpkg write them.
//!
//! The tar crate finds the headers and checks their sums; extended headers are read here, because the crate would take
//! them into memory at whatever length they claim. Where two tools could read a header in two ways (sizes that
//! contradict each other, links that carry data), it is refused.

use std::{
    collections::BTreeMap,
    io::{self, Read},
};

use tar::{Archive, EntryType, Header};

use super::{
    ArchiveError, Stopped, pax,
    rules::{self, Gathering, Kind, Refusal, Special},
    stream::Watch,
};
use crate::base::{Entry, Node};

/// What extended headers say about the entry that follows them.
#[derive(Default)]
struct Extended {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: Option<Vec<u8>>,
}

/// Reads all entries into `gathering`, and the stream to its end.
pub(super) fn read<R: Read>(watch: &mut Watch<R>, gathering: &mut Gathering<'_>) -> Result<(), Stopped> {
    let mut archive = Archive::new(&mut *watch);
    let mut extended = Extended::default();
    for entry in archive.entries()?.raw(true) {
        let mut entry = entry?;
        let once = |field: &mut Option<Vec<u8>>, bytes| match field.replace(bytes) {
            None => Ok(()),
            Some(_) => Err(Stopped::Malformed("two extended headers of one kind describe one entry")),
        };
        match entry.header().entry_type() {
            EntryType::GNULongName => once(&mut extended.name, extension(&mut entry)?)?,
            EntryType::GNULongLink => once(&mut extended.link, extension(&mut entry)?)?,
            EntryType::XHeader => once(&mut extended.pax, extension(&mut entry)?)?,
            EntryType::XGlobalHeader => check_global(&extension(&mut entry)?)?,
            _ => {
                let (offset, size) = (entry.raw_file_position(), entry.header().entry_size()?);
                let extended = std::mem::take(&mut extended);
                Member { header: entry.header(), extended, offset, size }.gather(gathering)?;
            }
        }
    }
    if watch.ended_at().is_some() {
        // Without the two blocks of zeros nobody can tell whether entries are missing.
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    if extended.name.is_some() || extended.link.is_some() || extended.pax.is_some() {
        return Err(Stopped::Malformed("an extended header describes an entry that does not come"));
    }
    // Padding, and the checksums of the compression behind it.
    io::copy(watch, &mut io::sink())?;
    Ok(())
}

fn extension(entry: &mut impl Read) -> Result<Vec<u8>, Stopped> {
    pax::header(entry)?.ok_or(Stopped::Malformed("an extended header is longer than 1 MiB"))
}

/// Global headers may carry comments, as `git archive` puts the commit there, but nothing that changes entries.
fn check_global(header: &[u8]) -> Result<(), Stopped> {
    let records = pax::records(header).ok_or(Stopped::Malformed("a global PAX header is malformed"))?;
    let harmless = |key: &str| matches!(key, "comment" | "mtime" | "atime" | "ctime" | "charset" | "hdrcharset");
    if records.iter().all(|(key, _)| harmless(key)) {
        Ok(())
    } else {
        Err(Stopped::Malformed("a global PAX header changes names, sizes, owners or attributes of all entries"))
    }
}

/// One entry with all its headers.
struct Member<'a> {
    header: &'a Header,
    extended: Extended,
    offset: u64,
    size: u64,
}

/// What the PAX header of an entry overrides.
#[derive(Default)]
struct Overrides<'a> {
    path: Option<&'a [u8]>,
    link: Option<&'a [u8]>,
    uid: Option<u64>,
    gid: Option<u64>,
    xattrs: BTreeMap<String, Vec<u8>>,
}

impl Member<'_> {
    fn gather(&self, gathering: &mut Gathering<'_>) -> Result<(), ArchiveError> {
        let plain_name = self.header.path_bytes();
        let named = String::from_utf8_lossy(self.extended.name.as_deref().unwrap_or(&plain_name)).into_owned();
        let overrides = self.overrides().map_err(|why| rules::refuse(&named, why))?;
        let name = overrides.path.or(self.extended.name.as_deref().map(trimmed)).unwrap_or(&plain_name);
        let plain_link = self.header.link_name_bytes().unwrap_or_default();
        let link = overrides.link.or(self.extended.link.as_deref().map(trimmed)).unwrap_or(&plain_link);

        let attributes: usize = overrides.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
        gathering.count(name.len() + link.len() + attributes)?;
        let Some(path) = rules::path(name)? else { return Ok(()) };
        let refuse = |why| rules::refuse(path.as_str(), why);
        let node = match self.header.entry_type() {
            // Before POSIX, a directory was a file whose name ends with a slash.
            EntryType::Regular if name.ends_with(b"/") => Node::Directory,
            EntryType::Regular | EntryType::Continuous => rules::slice(self.offset, self.size),
            EntryType::Directory => Node::Directory,
            EntryType::Symlink => {
                let target = String::from_utf8(link.to_vec()).map_err(|_| refuse(Refusal::NotUtf8))?;
                Node::Symlink(target)
            }
            EntryType::Link if self.size > 0 => return Err(refuse(Refusal::HasData(Kind::Hardlink))),
            EntryType::Link => return gathering.add_hardlink(path, link),
            EntryType::Char | EntryType::Block => return gathering.add_special(&path, Special::Device),
            EntryType::Fifo => return gathering.add_special(&path, Special::Fifo),
            EntryType::GNUSparse => return Err(refuse(Refusal::Sparse)),
            other => return Err(refuse(Refusal::UnknownKind(char::from(other.as_byte())))),
        };
        match &node {
            Node::Directory if self.size > 0 => return Err(refuse(Refusal::HasData(Kind::Directory))),
            Node::Symlink(_) if self.size > 0 => return Err(refuse(Refusal::HasData(Kind::Symlink))),
            _ => {}
        }
        let entry = self.entry(node, &overrides).map_err(refuse)?;
        gathering.add(path, entry)
    }

    fn entry(&self, node: Node, overrides: &Overrides<'_>) -> Result<Entry, Refusal> {
        let old = self.header.as_old();
        let owner = |number: Option<u64>, field: &[u8; 8], header: io::Result<u64>| {
            // Archivers that know no owners leave the fields blank.
            let blank = field.iter().all(|byte| matches!(byte, 0 | b' '));
            let header = if blank { Ok(0) } else { header };
            let number = number.map_or(header, Ok).map_err(|_| Refusal::Header("its owner is no number"))?;
            u32::try_from(number).map_err(|_| Refusal::Header("its owner is beyond 32 bits"))
        };
        Ok(Entry {
            mode: self.header.mode().map_err(|_| Refusal::Header("its mode is no number"))? & 0o7777,
            uid: owner(overrides.uid, &old.uid, self.header.uid())?,
            gid: owner(overrides.gid, &old.gid, self.header.gid())?,
            xattrs: overrides.xattrs.clone(),
            node,
        })
    }

    fn overrides(&self) -> Result<Overrides<'_>, Refusal> {
        let mut overrides = Overrides::default();
        let Some(header) = &self.extended.pax else { return Ok(overrides) };
        let number = |value: &[u8]| std::str::from_utf8(value).ok().and_then(|text| text.parse::<u64>().ok());
        for (key, value) in pax::records(header).ok_or(Refusal::Header("its PAX records are malformed"))? {
            match key {
                "path" => overrides.path = Some(value),
                "linkpath" => overrides.link = Some(value),
                "uid" => overrides.uid = Some(number(value).ok_or(Refusal::Header("its PAX uid is no number"))?),
                "gid" => overrides.gid = Some(number(value).ok_or(Refusal::Header("its PAX gid is no number"))?),
                // Needed only from 8 GiB on, which no limit allows; below it, two sizes are a trap for some reader.
                "size" if number(value) != Some(self.size) => {
                    return Err(Refusal::Header("its two sizes contradict each other"));
                }
                key if key.starts_with("GNU.sparse.") => return Err(Refusal::Sparse),
                key => {
                    if let Some(name) = key.strip_prefix("SCHILY.xattr.") {
                        overrides.xattrs.insert(name.to_owned(), value.to_vec());
                    }
                }
            }
        }
        Ok(overrides)
    }
}

/// GNU's long names end with a NUL that is not part of them.
fn trimmed(name: &[u8]) -> &[u8] {
    name.strip_suffix(b"\0").unwrap_or(name)
}
