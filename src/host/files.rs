//! Files that appear whole or not at all.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

/// A file operation that failed: what was being done, to which path, and what the system answered.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {}: {source}", path.display())]
pub struct FileError {
    pub doing: &'static str,
    pub path: PathBuf,
    pub source: io::Error,
}

impl FileError {
    /// Whether the file or its folder simply is not there.
    pub fn is_not_found(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}

/// Names the operation and the path in an error.
pub fn at<T>(doing: &'static str, path: &Path, result: io::Result<T>) -> Result<T, FileError> {
    result.map_err(|source| FileError { doing, path: path.to_owned(), source })
}

/// Opens a file for reading.
pub fn open(path: &Path) -> Result<File, FileError> {
    at("opening", path, File::open(path))
}

/// Reads a whole file that is known to be small. More than `limit` bytes are an error, not a truncation.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    at("reading", path, open(path)?.take(limit + 1).read_to_end(&mut bytes))?;
    if bytes.len() as u64 > limit {
        let too_large = io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {limit} bytes"));
        return at("reading", path, Err(too_large));
    }
    Ok(bytes)
}

/// Reads a small text file as UTF-8.
pub fn read_text(path: &Path, limit: u64) -> Result<String, FileError> {
    let text = String::from_utf8(read(path, limit)?)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("not UTF-8: {error}")));
    at("reading", path, text)
}

/// The length in bytes of a regular file, `None` when nothing is there or it is no regular file.
pub fn size(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().filter(fs::Metadata::is_file).map(|metadata| metadata.len())
}

/// The permission bits of a file, `None` when nothing is there.
pub fn mode(path: &Path) -> Option<u32> {
    fs::metadata(path).ok().map(|metadata| metadata.mode() & 0o7777)
}

/// Whether something is at this path.
pub fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Creates a folder and those above it.
pub fn create_folder(path: &Path) -> Result<(), FileError> {
    at("creating the folder", path, fs::create_dir_all(path))
}

/// The names in a folder, sorted. A folder that is not there has none.
pub fn names(folder: &Path) -> Result<Vec<String>, FileError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => at("listing", folder, entries)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(at("listing", folder, entry)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Creates one folder, which must not be there, with exactly these permissions.
pub fn create_new_folder(path: &Path, mode: u32) -> Result<(), FileError> {
    at("creating the folder", path, fs::create_dir(path))?;
    set_mode(path, mode)
}

/// Creates a file, which must not be there, with exactly these permissions. A link at its path is not followed.
///
/// Unlike [`Pending`], it is there before it is whole: for folders that are thrown away when something fails.
pub fn create_new(path: &Path, mode: u32) -> Result<File, FileError> {
    let file = at("creating", path, File::options().write(true).create_new(true).open(path))?;
    at("setting permissions of", path, file.set_permissions(fs::Permissions::from_mode(mode)))?;
    Ok(file)
}

/// Gives a file a second name in the same file system, which must not be there yet.
pub fn link_new(from: &Path, to: &Path) -> Result<(), FileError> {
    at("linking", to, fs::hard_link(from, to))
}

/// Removes a file; one that is already gone is no error.
pub fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => at("removing", path, result),
    }
}

/// Removes a folder with all it holds; one that is already gone is no error.
pub fn remove_folder(path: &Path) -> Result<(), FileError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => at("removing the folder", path, result),
    }
}

/// A file being written under a temporary name. Dropped without [`Self::commit`], it leaves nothing.
pub struct Pending {
    file: tempfile::NamedTempFile,
}

impl Pending {
    /// Begins a file that will be committed somewhere on the same file system as `folder`.
    pub fn new_in(folder: &Path) -> Result<Self, FileError> {
        create_folder(folder)?;
        Ok(Self { file: at("creating a file in", folder, tempfile::NamedTempFile::new_in(folder))? })
    }

    pub fn path(&self) -> &Path {
        self.file.path()
    }

    pub fn file(&self) -> &File {
        self.file.as_file()
    }

    /// Gives the file its permissions, brings it to the disk and then to `path`, in place of any file there.
    pub fn commit(self, path: &Path, mode: u32) -> Result<(), FileError> {
        let result = self
            .file
            .as_file()
            .set_permissions(fs::Permissions::from_mode(mode))
            .and_then(|()| self.file.as_file().sync_all());
        at("writing", path, result)?;
        if let Some(folder) = path.parent() {
            create_folder(folder)?;
        }
        at("writing", path, self.file.persist(path).map_err(|error| error.error))?;
        sync_folder_of(path)
    }
}

impl Write for Pending {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.file.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Writes a small file whole: temporary name, fsync, rename. A file that already holds these bytes is left alone.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    if size(path) == Some(bytes.len() as u64) && read(path, bytes.len() as u64).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut pending = Pending::new_in(folder)?;
    at("writing", path, pending.write_all(bytes))?;
    pending.commit(path, mode)
}

/// Makes a renamed or linked name durable: POSIX promises it only once the folder itself has been synced.
fn sync_folder_of(path: &Path) -> Result<(), FileError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    at("syncing the folder", folder, File::open(folder).and_then(|folder| folder.sync_all()))
}

/// Gives a file a second name, or copies it where the file system cannot link (another device, no links, too many).
/// A name that already leads to the same file, or to one of the same size and bytes, is left alone.
pub fn link(from: &Path, to: &Path) -> Result<(), FileError> {
    if let (Ok(from), Ok(to)) = (fs::metadata(from), fs::symlink_metadata(to))
        && from.ino() == to.ino()
        && from.dev() == to.dev()
    {
        return Ok(());
    }
    if let Some(folder) = to.parent() {
        create_folder(folder)?;
    }
    match fs::hard_link(from, to) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => at("linking", from, Err(error)),
        Err(_) => copy(from, to),
    }
}

/// Copies a file's bytes and permissions; the copy appears whole.
pub fn copy(from: &Path, to: &Path) -> Result<(), FileError> {
    let mut source = open(from)?;
    let mode = at("reading", from, source.metadata())?.mode() & 0o7777;
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut pending = Pending::new_in(folder)?;
    at("copying to", to, io::copy(&mut source, &mut pending))?;
    pending.commit(to, mode)
}

/// Sets permission bits, whatever the umask is.
pub fn set_mode(path: &Path, mode: u32) -> Result<(), FileError> {
    at("setting permissions of", path, fs::set_permissions(path, fs::Permissions::from_mode(mode)))
}

/// Creates a symbolic link.
pub fn symlink(target: &Path, path: &Path) -> Result<(), FileError> {
    at("linking", path, std::os::unix::fs::symlink(target, path))
}

/// A folder that vanishes with its value.
pub struct Scratch(tempfile::TempDir);

impl Scratch {
    pub fn new_in(folder: &Path) -> Result<Self, FileError> {
        create_folder(folder)?;
        Ok(Self(at("creating a folder in", folder, tempfile::TempDir::new_in(folder))?))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

/// An exclusive lock on a file, held until dropped, released by the system when the process dies.
pub struct FileLock(#[allow(dead_code, reason = "held for its lifetime")] File);

/// Waits for the exclusive lock on `path`, creating the file if needed.
pub fn lock(path: &Path) -> Result<FileLock, FileError> {
    if let Some(folder) = path.parent() {
        create_folder(folder)?;
    }
    let file = at("opening", path, File::options().create(true).truncate(false).write(true).open(path))?;
    at("locking", path, flock(&file, FlockOperation::LockExclusive).map_err(io::Error::from))?;
    Ok(FileLock(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_committed_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut pending = Pending::new_in(folder.path()).unwrap();
        pending.write_all(b"half").unwrap();
        drop(pending);
        assert_eq!(names(folder.path()).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_written_file_has_its_mode_and_is_not_written_twice() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        write(&path, b"one", 0o640).unwrap();
        assert_eq!(mode(&path), Some(0o640));
        let inode = fs::metadata(&path).unwrap().ino();
        write(&path, b"one", 0o640).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
        write(&path, b"two", 0o640).unwrap();
        assert_eq!(read(&path, 3).unwrap(), b"two");
        assert!(read(&path, 2).is_err());
    }
}
