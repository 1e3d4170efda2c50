//! The store seen as a whole: what it holds, what can go, and whether its bytes are what they should be.

use std::path::Path;

use crate::{
    base::Digest,
    host::files::{self, FileError},
    inputs::store::Store,
};

/// What one folder of the store holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    pub name: &'static str,
    pub what: &'static str,
    pub files: u64,
    /// In bytes.
    pub size: u64,
}

/// The folders of a store, what they are for, and which prune empties them. What stays costs a compile or a download to
/// get again. Locks stay always: they are empty, and two builds that hold the lock of one name, before and after it was
/// removed, would not know of each other.
const FOLDERS: [(&str, &str, Option<Extent>); 10] = [
    ("blobs", "inputs, programs, layers and images by digest", Some(Extent::Everything)),
    ("actions", "what was made from what", Some(Extent::Everything)),
    ("go-build", "the Go compiler's cache", Some(Extent::Everything)),
    ("go-mod", "Go modules", Some(Extent::Everything)),
    ("zig", "zig's cache", Some(Extent::Everything)),
    ("src", "unpacked sources", Some(Extent::Derived)),
    ("tools", "unpacked toolchains", Some(Extent::Derived)),
    ("logs", "compilers' logs", Some(Extent::Derived)),
    ("locks", "that keep builds apart", None),
    ("scratch", "left by builds that were stopped", Some(Extent::Derived)),
];

/// Counts what the store holds.
pub fn info(store: &Store) -> Result<Vec<Holding>, FileError> {
    FOLDERS
        .into_iter()
        .map(|(name, what, _)| {
            let files::Usage { files, size, .. } = files::usage(&store.folder(name))?;
            Ok(Holding { name, what, files, size })
        })
        .collect()
}

/// Removes what a build makes again by itself; with `Everything`, all that the store holds. Returns the bytes that were
/// freed, without those of blobs that outputs still hold.
///
/// A build that runs at the same time in this store may fail, and succeeds when it is started again.
pub fn prune(store: &Store, extent: Extent) -> Result<u64, FileError> {
    let mut freed = 0;
    for (name, ..) in FOLDERS.iter().filter(|(_, _, goes)| goes.is_some_and(|goes| goes <= extent)) {
        let folder = store.folder(name);
        freed += files::usage(&folder)?.alone;
        files::remove_folder(&folder)?;
    }
    Ok(freed)
}

/// How much a prune removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extent {
    /// What takes seconds to make again.
    Derived,
    Everything,
}

/// What a verification found.
#[derive(Debug, Default)]
pub struct Verified {
    pub good: u64,
    /// In bytes, of the good ones.
    pub size: u64,
    /// Files that could not be read or whose bytes did not have the digest of their name; they have been removed.
    pub damaged: Vec<String>,
    /// Those of them that could not be removed.
    pub stuck: Vec<FileError>,
    /// How many results were forgotten because they may have been made from damaged files.
    pub forgotten: usize,
}

/// Reads every blob and removes those whose bytes do not have their digest, so that the next build makes or downloads
/// them again. Then no result can be relied on: one may have been made from a damaged file, and another from that. They
/// are forgotten; what was made rightly is made again with the same bytes.
pub fn verify(store: &Store) -> Result<Verified, FileError> {
    let folder = store.folder("blobs").join("sha256");
    let mut verified = Verified::default();
    for name in files::names(&folder)? {
        let path = folder.join(&name);
        match (name.parse::<Digest>(), files::blob(&path)) {
            (Ok(expected), Ok(actual)) if expected == actual.digest => {
                verified.good += 1;
                verified.size += actual.size;
            }
            _ => {
                verified.stuck.extend(remove(&path).err());
                verified.damaged.push(name);
            }
        }
    }
    if !verified.damaged.is_empty() {
        let results = store.folder("actions");
        verified.forgotten = files::names(&results)?.len();
        files::remove_folder(&results)?;
    }
    Ok(verified)
}

/// Whatever lies in the place of a blob.
fn remove(path: &Path) -> Result<(), FileError> {
    if files::is_folder(path) { files::remove_folder(path) } else { files::remove(path) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_blob_is_found_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        let (good, bad) = (store.put(b"good").unwrap(), store.put(b"bad!").unwrap());
        files::set_mode(&store.path(&bad.digest), 0o644).unwrap();
        files::write(&store.path(&bad.digest), b"flip", 0o444).unwrap();
        let key = crate::base::ActionKey::new("test", 1);
        store.record(&key, &1).unwrap();
        let verified = verify(&store).unwrap();
        assert_eq!((store.recorded::<u8>(&key), verified.forgotten), (None, 1));
        assert_eq!((verified.good, verified.size), (1, 4));
        assert_eq!(verified.damaged, [bad.digest.hex()]);
        files::create_folder(&store.folder("blobs").join("sha256/folder")).unwrap();
        assert_eq!(verify(&store).unwrap().damaged, ["folder"]);
        assert!(store.has(&good) && !store.has(&bad));
        assert_eq!(verify(&store).unwrap().damaged, Vec::<String>::new());
    }

    #[test]
    fn pruning_keeps_blobs_unless_everything_goes() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        let blob = store.put(b"kept").unwrap();
        files::write(&store.folder("scratch").join("left"), b"12345", 0o644).unwrap();
        assert_eq!(prune(&store, Extent::Derived).unwrap(), 5);
        assert!(store.has(&blob));
        let lock = store.lock(&crate::base::ActionKey::new("test", 1)).unwrap();
        let linked = store.put(b"linked").unwrap();
        files::link(&store.path(&linked.digest), &folder.path().join("output")).unwrap();
        assert_eq!(prune(&store, Extent::Everything).unwrap(), 4);
        assert!(!store.has(&blob) && !store.has(&linked));
        assert_eq!(files::names(&store.folder("locks")).unwrap().len(), 1);
        drop(lock);
    }
}
