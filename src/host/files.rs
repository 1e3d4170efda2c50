//! Files that appear whole or not at all.

/// An open file, for stages that hold one; what is done by path is done here.
pub use std::fs::File;
use std::{
    fs,
    io::{self, Read, Seek as _, SeekFrom, Write},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, OFlags, flock};

use crate::base::{Blob, digest::Hashing};

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

/// Opens a regular file for reading. A pipe would be waited for without end, and nobody could stop that; a device has no
/// end either, but for the one that stands in for an empty file.
pub fn open(path: &Path) -> Result<File, FileError> {
    let no_waiting = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let opened = File::options().read(true).custom_flags(no_waiting).open(path);
    let checked = opened.and_then(|file| match file.metadata()?.file_type() {
        kind if kind.is_file() || is_null(&file) => Ok(file),
        kind if kind.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        _ => Err(io::Error::other("it is no regular file but a device, a pipe or a socket")),
    });
    at("opening", path, checked)
}

/// Whether this is `/dev/null`.
fn is_null(file: &File) -> bool {
    let null = rustix::fs::makedev(1, 3);
    file.metadata().is_ok_and(|metadata| metadata.file_type().is_char_device() && metadata.rdev() == null)
}

/// Reads a whole file that is known to be small. More than `limit` bytes are an error, not a truncation.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    read_all(open(path)?, path, limit)
}

/// The same for what a user names on the command line or in the environment, which may be the end of a pipe: `<(pass show
/// ca)`.
pub fn read_stream(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    read_all(at("opening", path, File::open(path))?, path, limit)
}

fn read_all(file: File, path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    at("reading", path, file.take(limit + 1).read_to_end(&mut bytes))?;
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

/// The digest and the length of a file's bytes.
pub fn blob(path: &Path) -> Result<Blob, FileError> {
    let mut hashing = Hashing::new(open(path)?);
    at("reading", path, io::copy(&mut hashing, &mut io::sink()))?;
    Ok(hashing.finish().1)
}

/// The last `limit` bytes of a file as text; what is not UTF-8 is replaced.
pub fn tail(path: &Path, limit: u64) -> Result<String, FileError> {
    let mut file = open(path)?;
    let length = at("reading", path, file.metadata())?.len();
    let mut bytes = Vec::new();
    let read = file.seek(SeekFrom::Start(length.saturating_sub(limit))).and_then(|_| file.read_to_end(&mut bytes));
    at("reading", path, read)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The absolute path of what is at `path`, with every symbolic link resolved.
pub fn canonical(path: &Path) -> Result<PathBuf, FileError> {
    at("resolving", path, fs::canonicalize(path))
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

/// Whether there is a folder at this path, or at the end of the link that is.
pub fn is_folder(path: &Path) -> bool {
    path.is_dir()
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

/// What a folder holds in all its depth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub files: u64,
    /// In bytes.
    pub size: u64,
    /// The bytes of files that have no other name: those that removing the folder gives back.
    pub alone: u64,
}

/// Counts what a folder holds. Links are not followed; a folder that is not there holds nothing.
pub fn usage(folder: &Path) -> Result<Usage, FileError> {
    let mut usage = Usage::default();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => at("listing", &folder, entries)?,
        };
        for entry in entries {
            let entry = at("listing", &folder, entry)?;
            // What vanishes while it is counted belongs to a build that runs.
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                folders.push(entry.path());
            } else {
                usage.files += 1;
                usage.size += metadata.len();
                usage.alone += if metadata.nlink() == 1 { metadata.len() } else { 0 };
            }
        }
    }
    Ok(usage)
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

/// Gives a folder that is whole its final name. Where another process was faster, its folder stays, and ours is for the
/// caller's scratch to remove.
pub fn rename_folder(from: &Path, to: &Path) -> Result<(), FileError> {
    if let Some(parent) = to.parent() {
        create_folder(parent)?;
    }
    match fs::rename(from, to) {
        Err(_) if to.is_dir() => Ok(()),
        renamed => at("renaming to", to, renamed),
    }
}

/// Removes a file; one that is already gone is no error.
pub fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => at("removing", path, result),
    }
}

/// Removes a folder with all it holds; one that is already gone is no error. Folders that may not be written to, as Go
/// makes those of its module cache, are made writable first.
pub fn remove_folder(path: &Path) -> Result<(), FileError> {
    let removed = match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            make_writable(path);
            fs::remove_dir_all(path)
        }
        removed => removed,
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => at("removing the folder", path, result),
    }
}

/// Gives the owner all rights to the folders below; what cannot be changed shows when it cannot be removed.
fn make_writable(folder: &Path) {
    let _ = fs::set_permissions(folder, fs::Permissions::from_mode(0o700));
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        make_writable(&entry.path());
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

/// Writes a small file whole: temporary name, fsync, rename. A file that already holds these bytes is left alone, but for
/// its permissions.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    if size(path) == Some(bytes.len() as u64) && read(path, bytes.len() as u64).is_ok_and(|old| old == bytes) {
        return if self::mode(path) == Some(mode) { Ok(()) } else { set_mode(path, mode) };
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut pending = Pending::new_in(folder)?;
    at("writing", path, pending.write_all(bytes))?;
    pending.commit(path, mode)
}

fn sync_folder_of(path: &Path) -> Result<(), FileError> {
    sync_folder(path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")))
}

/// Makes names that were renamed or linked durable: POSIX promises it only once the folder itself has been synced.
pub fn sync_folder(folder: &Path) -> Result<(), FileError> {
    at("syncing the folder", folder, File::open(folder).and_then(|folder| folder.sync_all()))
}

/// Gives a file a second name, or copies it where the file system cannot link (another device, no links, too many).
/// A name that already leads to the same file, or to a copy of it where it cannot be linked, is left alone; any other
/// file under that name is replaced.
pub fn link(from: &Path, to: &Path) -> Result<(), FileError> {
    if let (Ok(from), Ok(to)) = (fs::metadata(from), fs::symlink_metadata(to))
        && from.ino() == to.ino()
        && from.dev() == to.dev()
    {
        return Ok(());
    }
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create_folder(folder)?;
    let linked = match fs::hard_link(from, to) {
        // Only a rename puts one file in the place of another.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => tempfile::Builder::new()
            .make_in(folder, |name| fs::hard_link(from, name))
            .and_then(|link| link.persist(to).map_err(|error| error.error)),
        linked => linked,
    };
    match linked {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => at("linking", from, Err(error)),
        Err(_) if same_bytes(from, to) => Ok(()),
        Err(_) => copy(from, to),
    }
}

/// Whether both are regular files with the same bytes.
fn same_bytes(one: &Path, other: &Path) -> bool {
    let is_file = |path| fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file());
    if !is_file(other) || size(one) != size(other) {
        return false;
    }
    let (Ok(mut one), Ok(mut other)) = (File::open(one), File::open(other)) else { return false };
    let (mut left, mut right) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let Ok(read) = one.read(&mut left) else { return false };
        if read == 0 {
            return true;
        }
        if other.read_exact(&mut right[..read]).is_err() || left[..read] != right[..read] {
            return false;
        }
    }
}

/// Whether a name is one that [`Pending`] or [`link`] gives while a file is not finished. One that stays belongs to a
/// process that was killed.
pub fn is_temporary(name: &str) -> bool {
    // What tempfile makes: `.tmp` and six letters or digits.
    name.strip_prefix(".tmp").is_some_and(|rest| rest.len() == 6 && rest.bytes().all(|b| b.is_ascii_alphanumeric()))
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

/// Copies a file's bytes to a new file with these permissions, for use within this run: the copy is not brought to the
/// disk, and one that fails half-way stays. It belongs in a [`Scratch`].
pub fn copy_into_scratch(from: &Path, to: &Path, mode: u32) -> Result<(), FileError> {
    let mut source = open(from)?;
    let mut copy = at("creating", to, File::create_new(to))?;
    at("copying to", to, io::copy(&mut source, &mut copy))?;
    set_mode(to, mode)
}

/// Sets permission bits, whatever the umask is.
pub fn set_mode(path: &Path, mode: u32) -> Result<(), FileError> {
    at("setting permissions of", path, fs::set_permissions(path, fs::Permissions::from_mode(mode)))
}

/// Where a path leads when its symbolic links are followed; the path itself when nothing is there yet.
pub fn resolve(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
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

    #[test]
    fn only_regular_files_are_opened() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
        for path in [pipe.as_path(), Path::new("/dev/zero"), folder.path()] {
            assert!(open(path).is_err() && blob(path).is_err() && read(path, 9).is_err(), "{}", path.display());
        }
        assert_eq!(read(Path::new("/dev/null"), 9).unwrap(), b"");
    }

    #[test]
    fn a_link_replaces_another_file_and_leaves_itself_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        let inode = |path: &Path| fs::symlink_metadata(path).unwrap().ino();
        write(&from, b"new", 0o444).unwrap();
        write(&to, b"old", 0o644).unwrap();
        link(&from, &to).unwrap();
        assert_eq!((inode(&to), read(&to, 9).unwrap()), (inode(&from), b"new".to_vec()));
        link(&from, &to).unwrap();
        remove(&to).unwrap();
        symlink(Path::new("/dev/null"), &to).unwrap();
        link(&from, &to).unwrap();
        assert_eq!(inode(&to), inode(&from));
        assert_eq!(names(folder.path()).unwrap(), ["from", "to"]);
        assert!(link(&folder.path().join("gone"), &to).unwrap_err().is_not_found());
    }

    #[test]
    fn bytes_are_compared_to_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            write(&folder.path().join(name), bytes, 0o644).unwrap();
            folder.path().join(name)
        };
        let mut long = vec![1; 200_000];
        let one = file("one", &long);
        let same = file("same", &long);
        long[199_999] = 2;
        assert!(same_bytes(&one, &same));
        assert!(!same_bytes(&one, &file("other", &long)));
        assert!(!same_bytes(&one, &file("short", &long[..9])));
    }

    #[test]
    fn temporary_names_are_known() {
        let folder = tempfile::tempdir().unwrap();
        let pending = Pending::new_in(folder.path()).unwrap();
        assert!(is_temporary(&names(folder.path()).unwrap()[0]));
        drop(pending);
        assert!(!is_temporary(".tmp") && !is_temporary("index.json") && !is_temporary(".tmp-notes"));
    }
}
