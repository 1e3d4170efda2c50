//! The outer archive of a Debian package: `ar` with `debian-binary`, `control.tar.*` and `data.tar.*`.
//!
//! See deb(5). Only the place of the data is looked for; what it may hold is the tar's affair. Nothing but Debian
//! still uses `ar` for data, and of its many dialects this is the plain one, so a reader of thirty lines does.

use std::io::{self, Read, Seek, SeekFrom};

use super::{Compression, Stopped};

/// Brings `file` to the first byte of `data.tar.*`, and tells its compression and its length in bytes.
pub(super) fn seek_data(file: &mut (impl Read + Seek)) -> Result<(Compression, u64), Stopped> {
    // Real packages have three members; deb(5) allows others that begin with an underscore.
    const MEMBERS: usize = 16;
    let mut magic = [0; 8];
    file.read_exact(&mut magic)?;
    if &magic != b"!<arch>\n" {
        return Err(Stopped::Malformed("it does not begin as an ar archive"));
    }
    for index in 0..MEMBERS {
        let (name, size) = member(file)?;
        match name.as_str() {
            "debian-binary" if index == 0 => check_version(file, size)?,
            _ if index == 0 => return Err(Stopped::Malformed("its first member is not debian-binary")),
            "data.tar" => return Ok((Compression::None, size)),
            "data.tar.gz" => return Ok((Compression::Gzip, size)),
            "data.tar.xz" => return Ok((Compression::Xz, size)),
            "data.tar.zst" => return Ok((Compression::Zstd, size)),
            name if name.starts_with("data.tar") => {
                return Err(Stopped::Malformed("its data.tar is compressed in a way other than gz, xz and zst"));
            }
            name if name.starts_with("control.tar") || name.starts_with('_') => skip(file, size)?,
            _ => return Err(Stopped::Malformed("it holds a member that is neither control.tar nor data.tar")),
        }
    }
    Err(Stopped::Malformed("it has no data.tar among its first members"))
}

/// Reads the header of a member: its name and its length.
fn member(file: &mut impl Read) -> Result<(String, u64), Stopped> {
    let mut header = [0; 60];
    file.read_exact(&mut header)?;
    if &header[58..] != b"`\n" {
        return Err(Stopped::Malformed("a member's header does not end as ar's do"));
    }
    let field = |range: std::ops::Range<usize>| std::str::from_utf8(&header[range]).map(str::trim_end);
    let (Ok(name), Ok(size)) = (field(0..16), field(48..58)) else {
        return Err(Stopped::Malformed("a member's header is not text"));
    };
    let size = size.parse().map_err(|_| Stopped::Malformed("a member's size is no number"))?;
    // dpkg writes names without a slash at the end, GNU ar with one.
    Ok((name.strip_suffix('/').unwrap_or(name).to_owned(), size))
}

fn check_version(file: &mut impl Read, size: u64) -> Result<(), Stopped> {
    let mut version = [0; 4];
    if size != version.len() as u64 {
        return Err(Stopped::Malformed("its debian-binary is not four bytes long"));
    }
    file.read_exact(&mut version)?;
    if version.starts_with(b"2.") {
        Ok(())
    } else {
        Err(Stopped::Malformed("it is a package of a format other than 2.x"))
    }
}

/// Members begin at even offsets.
fn skip(file: &mut impl Seek, size: u64) -> io::Result<()> {
    let padded = size.checked_add(size % 2).and_then(|size| i64::try_from(size).ok());
    let padded = padded.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
    file.seek(SeekFrom::Current(padded)).map(|_| ())
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = b"!<arch>\n".to_vec();
        for (name, data) in members {
            bytes.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100_644, data.len()).bytes());
            bytes.extend(*data);
            if data.len() % 2 == 1 {
                bytes.push(b'\n');
            }
        }
        bytes
    }

    #[test]
    fn the_data_is_found_behind_the_control_files() {
        let deb = ar(&[("debian-binary", b"2.0\n"), ("control.tar.gz", b"odd"), ("data.tar.zst/", b"data")]);
        let mut file = Cursor::new(&deb);
        let Ok((compression, size)) = seek_data(&mut file) else { panic!("not found") };
        assert_eq!((compression, size), (Compression::Zstd, 4));
        assert_eq!(&deb[usize::try_from(file.position()).unwrap()..], b"data");
    }

    #[test]
    fn what_is_no_package_is_refused() {
        let binary: (&str, &[u8]) = ("debian-binary", b"2.0\n");
        for bytes in [
            b"".to_vec(),
            b"!<arch>\n".to_vec(),
            b"PK\x03\x04 and more".to_vec(),
            ar(&[("data.tar.gz", b"x")]),
            ar(&[("debian-binary", b"3.0\n"), ("data.tar.gz", b"x")]),
            ar(&[("debian-binary", b"2.0"), ("data.tar.gz", b"x")]),
            ar(&[binary, ("data.tar.bz2", b"x")]),
            ar(&[binary, ("evil", b"x"), ("data.tar.gz", b"x")]),
            ar(&[binary, ("control.tar.gz", b"x")]),
            ar(&[binary, ("data.tar.gz", b"x")]).iter().map(|b| if *b == b'`' { b'x' } else { *b }).collect(),
        ] {
            assert!(seek_data(&mut Cursor::new(&bytes)).is_err(), "{}", String::from_utf8_lossy(&bytes));
        }
    }
}
