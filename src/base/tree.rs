//! A tree of files as an image holds it: ordered entries whose contents lie in stored blobs.
//!
//! Archives, packages and overlays are all read into this one type; assembly merges them, the layers are cut from the
//! result. A file's content is a *slice* of a blob, so that an archive is stored once, decompressed, and its thousand
//! files point into it.

use std::{borrow::Borrow, collections::BTreeMap, fmt, ops::Bound, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{Digest, text::serde_as_text};

/// A path inside a tree: relative, parts joined by `/`, no part empty, `.` or `..`, no NUL. Never empty: the root
/// itself has no entry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreePath(String);

/// A path that would leave its root, or that no archive should hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPath {
    #[error("the path `{0}` leaves its root with `..`")]
    Escapes(String),
    #[error("the path is empty")]
    Empty,
    #[error("the path {0:?} holds a NUL byte")]
    Nul(String),
    #[error("the path of {0} bytes is longer than the 4096 that Linux takes (PATH_MAX)")]
    TooLong(usize),
}

impl TreePath {
    /// Reads an archive's or a user's path. A leading `/` or `./`, doubled slashes, `.` parts and a trailing `/` mean
    /// nothing in a tree and are dropped; `..` is refused even where it would stay inside, because no honest archive
    /// has it.
    ///
    /// Archive readers that must refuse absolute paths do so before they call this.
    pub fn new(path: &str) -> Result<Self, InvalidPath> {
        if path.len() > 4096 {
            return Err(InvalidPath::TooLong(path.len()));
        }
        if path.contains('\0') {
            return Err(InvalidPath::Nul(path.to_owned()));
        }
        let mut parts = Vec::new();
        for part in path.split('/') {
            match part {
                "" | "." => {}
                ".." => return Err(InvalidPath::Escapes(path.to_owned())),
                part => parts.push(part),
            }
        }
        if parts.is_empty() {
            return Err(InvalidPath::Empty);
        }
        Ok(Self(parts.join("/")))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The directory that holds this path, `None` for a path at the top.
    pub fn parent(&self) -> Option<Self> {
        self.0.rsplit_once('/').map(|(parent, _)| Self(parent.to_owned()))
    }

    /// The last part.
    pub fn file_name(&self) -> &str {
        self.0.rsplit_once('/').map_or(self.0.as_str(), |(_, name)| name)
    }

    /// This path with one more relative path below it.
    pub fn join(&self, below: &str) -> Result<Self, InvalidPath> {
        Self::new(&format!("{}/{below}", self.0))
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TreePath {
    type Err = InvalidPath;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

/// Paths are ordered and equal as their texts are.
impl Borrow<str> for TreePath {
    fn borrow(&self) -> &str {
        &self.0
    }
}

serde_as_text!(TreePath);

/// `size` bytes of the stored blob `blob`, from `offset` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Content {
    pub blob: Digest,
    /// In bytes from the blob's beginning.
    pub offset: u64,
    /// In bytes.
    pub size: u64,
}

impl Content {
    /// The whole of a blob.
    pub const fn whole(blob: super::Blob) -> Self {
        Self { blob: blob.digest, offset: 0, size: blob.size }
    }
}

/// What an entry is. Device nodes, sockets and pipes have no place in an image of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Node {
    Directory,
    File(Content),
    /// The link's text, as `readlink` gives it.
    Symlink(String),
    /// Another name of the file at this path.
    Hardlink(TreePath),
}

/// One path of a tree. Entries carry no time: every time in an image is the build's [`super::Epoch`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Permission bits with set-user-ID, set-group-ID and sticky: at most 0o7777.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Extended attributes by full name, such as `security.capability`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub xattrs: BTreeMap<String, Vec<u8>>,
    pub node: Node,
}

impl Entry {
    pub const fn new(mode: u32, node: Node) -> Self {
        Self { mode, uid: 0, gid: 0, xattrs: BTreeMap::new(), node }
    }

    pub const fn directory() -> Self {
        Self::new(0o755, Node::Directory)
    }

    pub fn symlink(target: impl Into<String>) -> Self {
        Self::new(0o777, Node::Symlink(target.into()))
    }
}

/// Entries by path. The order is that of the paths' bytes, in which every directory stands before what it holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tree {
    pub entries: BTreeMap<TreePath, Entry>,
}

impl Tree {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn get(&self, path: &TreePath) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// Puts an entry at a path, in the place of any that was there.
    pub fn insert(&mut self, path: TreePath, entry: Entry) -> Option<Entry> {
        self.entries.insert(path, entry)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&TreePath, &Entry)> {
        self.entries.iter()
    }

    /// Removes everything below a folder, which itself stays.
    pub fn remove_below(&mut self, folder: &TreePath) {
        remove_below(&mut self.entries, folder.as_str());
    }

    /// The sum of all files' bytes; hard links count once. This is "extracted" in the size tables.
    pub fn extracted(&self) -> u64 {
        self.entries.values().map(|entry| if let Node::File(content) = &entry.node { content.size } else { 0 }).sum()
    }
}

/// Removes everything below a folder from a map by path; the folder of an empty name has everything below it. What lies below one folder
/// lies side by side in the order of paths, so that this takes no longer than what is removed.
pub fn remove_below<K: Ord + Clone + Borrow<str>, V>(entries: &mut BTreeMap<K, V>, folder: &str) {
    let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
    let below: Vec<K> = entries
        .range::<str, _>((Bound::Included(prefix.as_str()), Bound::Unbounded))
        .map(|(path, _)| path)
        .take_while(|path| (*path).borrow().starts_with(&prefix))
        .cloned()
        .collect();
    for path in below {
        entries.remove::<str>(path.borrow());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_below_a_folder_is_removed_and_nothing_beside_it() {
        let all = ["a", "a-b", "a.c/d", "a/1", "a/1/2", "a0", "b/a/1"];
        for (folder, left) in [("a", vec!["a", "a-b", "a.c/d", "a0", "b/a/1"]), ("", vec![]), ("c", all.to_vec())] {
            let mut entries: BTreeMap<&str, usize> = all.into_iter().zip(0..).collect();
            remove_below(&mut entries, folder);
            assert_eq!(entries.into_keys().collect::<Vec<_>>(), left, "{folder}");
        }
    }

    #[test]
    fn paths_are_brought_to_one_form_or_refused() {
        for (text, expected) in [("/usr//bin/", "usr/bin"), ("./a", "a"), ("a/./b", "a/b"), ("...", "...")] {
            assert_eq!(TreePath::new(text).unwrap().as_str(), expected);
        }
        for text in ["", "/", ".", "../a", "a/../b", "a/..", "a\0b", &"a/".repeat(3000)] {
            assert!(TreePath::new(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_directory_stands_before_what_it_holds() {
        let mut tree = Tree::new();
        for path in ["usr/bin", "usr", "usr-local", "usr/bin/sh"] {
            tree.insert(TreePath::new(path).unwrap(), Entry::directory());
        }
        let order: Vec<_> = tree.iter().map(|(path, _)| path.as_str()).collect();
        assert!(order.iter().position(|p| *p == "usr") < order.iter().position(|p| *p == "usr/bin"));
        assert!(order.iter().position(|p| *p == "usr/bin") < order.iter().position(|p| *p == "usr/bin/sh"));
    }
}
