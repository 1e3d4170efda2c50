//! The archive itself: POSIX pax interchange format, one header per entry, in the order of the paths.
//!
//! A ustar header says all it can; what it cannot hold (names over 100 bytes or not in ASCII, numbers over its octal
//! digits, extended attributes) goes into a pax header before it, and only then is there one. See "pax Interchange Format"
//! in POSIX.1-2017, `pax`. Extended attributes are `SCHILY.xattr.` records, as GNU tar, Docker and containerd write them.

use std::io::{self, Read as _, Write};

use tar::{EntryType, Header};

use super::{Contents, LayerError};
use crate::base::{Content, Entry, Epoch, Node, Tree, TreePath};

const BLOCK: u64 = 512;

/// The highest values of ustar's octal fields: seven digits for owners, eleven for sizes and times.
const HIGHEST_ID: u64 = 0o7_777_777;
const HIGHEST_NUMBER: u64 = 0o77_777_777_777;

/// Writes the whole archive, with the two zero blocks that end it.
pub(super) fn write(
    contents: &dyn Contents,
    tree: &Tree,
    epoch: Epoch,
    out: &mut impl Write,
) -> Result<(), LayerError> {
    let mut buffer = vec![0; 128 << 10];
    for (path, entry) in tree.iter() {
        match &entry.node {
            Node::Directory => write_header(path, entry, EntryType::Directory, "", 0, epoch, out)?,
            Node::Symlink(target) => write_header(path, entry, EntryType::Symlink, target, 0, epoch, out)?,
            Node::File(content) => write_file(contents, path, entry, content, epoch, &mut buffer, out)?,
            Node::Hardlink(target) => match tree.get(target) {
                Some(Entry { node: Node::File(content), .. }) if target > path => {
                    // A reader would meet the link before the file.
                    write_file(contents, path, entry, content, epoch, &mut buffer, out)?;
                }
                Some(file) if matches!(file.node, Node::File(_)) => {
                    write_header(path, file, EntryType::Link, target.as_str(), 0, epoch, out)?;
                }
                _ => return Err(LayerError::DanglingHardlink { path: path.clone(), target: target.clone() }),
            },
        }
    }
    out.write_all(&[0; 1024])?;
    Ok(())
}

fn write_file(
    contents: &dyn Contents,
    path: &TreePath,
    entry: &Entry,
    content: &Content,
    epoch: Epoch,
    buffer: &mut [u8],
    out: &mut impl Write,
) -> Result<(), LayerError> {
    write_header(path, entry, EntryType::Regular, "", content.size, epoch, out)?;
    let reading = |source| LayerError::Read { path: path.clone(), source };
    let mut reader = contents.open(content).map_err(reading)?.take(content.size);
    let mut copied = 0;
    loop {
        let read = match reader.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read.map_err(reading)?,
        };
        if read == 0 {
            break;
        }
        out.write_all(&buffer[..read])?;
        copied += read as u64;
    }
    if copied != content.size {
        return Err(LayerError::Short { path: path.clone(), expected: content.size, actual: copied });
    }
    pad(content.size, out)
}

fn write_header(
    path: &TreePath,
    entry: &Entry,
    kind: EntryType,
    link: &str,
    size: u64,
    epoch: Epoch,
    out: &mut impl Write,
) -> Result<(), LayerError> {
    let mut name = path.as_str().to_owned();
    if kind == EntryType::Directory {
        name.push('/');
    }
    let mut pax = Pax::default();
    let mut header = Header::new_ustar();
    if let Some(ustar) = header.as_ustar_mut() {
        pax.text("path", &name, &mut ustar.name);
        pax.text("linkpath", link, &mut ustar.linkname);
    }
    header.set_entry_type(kind);
    header.set_mode(entry.mode & 0o7777);
    header.set_uid(pax.number("uid", u64::from(entry.uid), HIGHEST_ID));
    header.set_gid(pax.number("gid", u64::from(entry.gid), HIGHEST_ID));
    header.set_size(pax.number("size", size, HIGHEST_NUMBER));
    header.set_mtime(pax.number("mtime", epoch.seconds(), HIGHEST_NUMBER));
    header.set_cksum();
    for (name, value) in &entry.xattrs {
        // The first `=` ends the keyword, and readers take names as C strings.
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(LayerError::AttributeName { path: path.clone(), name: name.clone() });
        }
        pax.record(&format!("SCHILY.xattr.{name}"), value);
    }
    pax.write(out)?;
    out.write_all(header.as_bytes())?;
    Ok(())
}

/// The records of one pax header.
#[derive(Default)]
struct Pax {
    records: Vec<u8>,
}

impl Pax {
    /// Puts a text into a header's field, and into a record where the field cannot hold it.
    fn text(&mut self, keyword: &str, text: &str, field: &mut [u8; 100]) {
        let kept = text.len().min(field.len());
        field[..kept].copy_from_slice(&text.as_bytes()[..kept]);
        if kept < text.len() || !text.is_ascii() {
            self.record(keyword, text.as_bytes());
        }
    }

    /// The number for a header's field: itself, or zero where only a record can hold it.
    fn number(&mut self, keyword: &str, number: u64, highest: u64) -> u64 {
        if number <= highest {
            return number;
        }
        self.record(keyword, number.to_string().as_bytes());
        0
    }

    /// `length keyword=value` and a line feed, where the length counts its own digits.
    fn record(&mut self, keyword: &str, value: &[u8]) {
        let rest = " =\n".len() + keyword.len() + value.len();
        let mut length = rest + 1;
        while length != rest + length.to_string().len() {
            length = rest + length.to_string().len();
        }
        self.records.extend_from_slice(format!("{length} {keyword}=").as_bytes());
        self.records.extend_from_slice(value);
        self.records.push(b'\n');
    }

    fn write(&self, out: &mut impl Write) -> Result<(), LayerError> {
        if self.records.is_empty() {
            return Ok(());
        }
        let mut header = Header::new_ustar();
        if let Some(ustar) = header.as_ustar_mut() {
            // Seen only by readers that do not know pax, which unpack it as a file.
            ustar.name[..10].copy_from_slice(b"PaxHeaders");
        }
        header.set_entry_type(EntryType::XHeader);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(self.records.len() as u64);
        header.set_cksum();
        out.write_all(header.as_bytes())?;
        out.write_all(&self.records)?;
        pad(self.records.len() as u64, out)
    }
}

/// Fills the last block.
fn pad(size: u64, out: &mut impl Write) -> Result<(), LayerError> {
    let filling = (BLOCK - size % BLOCK) % BLOCK;
    io::copy(&mut io::repeat(0).take(filling), out)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_record_counts_its_own_digits() {
        for (value, length) in [(0, 5), (3, 8), (4, 9), (5, 11), (93, 99), (94, 101), (992, 999), (993, 1001)] {
            let mut pax = Pax::default();
            pax.record("k", "\n".repeat(value).as_bytes());
            let text = String::from_utf8(pax.records.clone()).unwrap();
            assert!(text.starts_with(&format!("{length} k=")), "{value}");
            assert_eq!(pax.records.len(), length, "{value}");
        }
    }
}
