//! The store seen as a whole: what it holds, what can go, and whether its bytes are what they should be.

use std::{io, path::Path};

use crate::{
    base::{Digest, digest::Hashing},
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

/// The folders of a store, what they are for, and whether a plain prune empties them. What stays costs a compile or a
/// download to get again.
const FOLDERS: [(&str, &str, bool); 10] = [
    ("blobs", "inputs, programs, layers and images by digest", false),
    ("actions", "what was made from what", false),
    ("go-build", "the Go compiler's cache", false),
    ("go-mod", "Go modules", false),
    ("zig", "zig's cache", false),
    ("src", "unpacked sources", true),
    ("tools", "unpacked toolchains", true),
    ("logs", "compilers' logs", true),
    ("locks", "of builds that run", true),
    ("scratch", "left by builds that were stopped", true),
];

/// Counts what the store holds.
pub fn info(store: &Store) -> Result<Vec<Holding>, FileError> {
    FOLDERS
        .into_iter()
        .map(|(name, what, _)| {
            let (files, size) = files::usage(&store.folder(name))?;
            Ok(Holding { name, what, files, size })
        })
        .collect()
}

/// Removes what a build makes again by itself; with `Everything`, the whole store. Returns the bytes that were freed.
///
/// A build that runs at the same time in this store may fail, and succeeds when it is started again.
pub fn prune(store: &Store, extent: Extent) -> Result<u64, FileError> {
    let mut freed = 0;
    for (name, _, always) in FOLDERS {
        if always || extent == Extent::Everything {
            let folder = store.folder(name);
            freed += files::usage(&folder)?.1;
            files::remove_folder(&folder)?;
        }
    }
    Ok(freed)
}

/// How much a prune removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// What takes seconds to make again.
    Derived,
    Everything,
}

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    pub good: u64,
    /// In bytes, of the good ones.
    pub size: u64,
    /// Files whose bytes did not have the digest of their name; they have been removed.
    pub damaged: Vec<String>,
}

/// Reads every blob and removes those whose bytes do not have their digest, so that the next build makes or downloads
/// them again.
pub fn verify(store: &Store) -> Result<Verified, FileError> {
    let folder = store.folder("blobs").join("sha256");
    let mut verified = Verified::default();
    for name in files::names(&folder)? {
        let path = folder.join(&name);
        match (name.parse::<Digest>(), digest_of(&path)?) {
            (Ok(expected), (actual, size)) if expected == actual => {
                verified.good += 1;
                verified.size += size;
            }
            _ => {
                files::remove(&path)?;
                verified.damaged.push(name);
            }
        }
    }
    Ok(verified)
}

fn digest_of(path: &Path) -> Result<(Digest, u64), FileError> {
    let mut hashing = Hashing::new(files::open(path)?);
    files::at("reading", path, io::copy(&mut hashing, &mut io::sink()))?;
    let (_, blob) = hashing.finish();
    Ok((blob.digest, blob.size))
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
        let verified = verify(&store).unwrap();
        assert_eq!((verified.good, verified.size), (1, 4));
        assert_eq!(verified.damaged, [bad.digest.hex()]);
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
        assert_eq!(prune(&store, Extent::Everything).unwrap(), 4);
        assert!(!store.has(&blob));
    }
}
