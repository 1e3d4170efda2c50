//! Writing a tree to a real folder, for compilers and other programs that want files.
//!
//! The folder must be new or empty, and every folder in it is one that was made here: nothing is written through a
//! link, whatever the tree says. The bytes are copied, because slices of a blob cannot be linked; nothing is synced,
//! because a folder that did not survive a crash is made again from the store.

use std::{
    collections::HashSet,
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use crate::{
    base::{Content, Digest, Entry, Node, Tree, TreePath},
    host::files::{self, FileError},
    inputs::store::{Store, StoreError},
};

/// Why a tree was not written. What was written of it remains, in a folder that the caller throws away.
#[derive(Debug, thiserror::Error)]
pub enum MaterialiseError {
    #[error("writing files to {}: the folder is not empty", folder.display())]
    NotEmpty { folder: PathBuf },
    #[error("writing `{path}`: blob {blob} ends before the file does; run `kletimg cache verify`")]
    Short { path: TreePath, blob: Digest },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    File(#[from] FileError),
}

/// Writes `tree` to `folder`: files, folders and links with their permissions, but without owners, attributes,
/// set-user-ID and the like, which mean nothing in a work folder. Folders can always be written by their owner, so that
/// they can be removed. Absolute link targets are made relative: the folder is their root.
pub fn materialise(store: &Store, tree: &Tree, folder: &Path) -> Result<(), MaterialiseError> {
    files::create_folder(folder)?;
    if !files::names(folder)?.is_empty() {
        return Err(MaterialiseError::NotEmpty { folder: folder.to_owned() });
    }
    let mut writing = Writing { folder, tree, made: HashSet::new() };
    let mut contents = Vec::new();
    for (path, entry) in tree.iter() {
        writing.parents(path)?;
        let place = folder.join(path.as_str());
        match &entry.node {
            Node::Directory => writing.directory(path)?,
            Node::File(content) => contents.push((content, path, entry)),
            Node::Symlink(target) => files::symlink(Path::new(&relative(path, target)), &place)?,
            // Only once all files are there.
            Node::Hardlink(_) => {}
        }
    }
    // In the order of the blobs, so that they are read from front to back.
    contents.sort_unstable_by_key(|(content, path, _)| (content.blob, content.offset, *path));
    write_files(store, folder, &contents)?;
    for (path, entry) in tree.iter() {
        if let Node::Hardlink(file) = &entry.node {
            files::link_new(&folder.join(file.as_str()), &folder.join(path.as_str()))?;
        }
    }
    Ok(())
}

struct Writing<'a> {
    folder: &'a Path,
    tree: &'a Tree,
    made: HashSet<TreePath>,
}

impl Writing<'_> {
    /// Makes the folders above a path that the tree has no entries for, or that come later in its order.
    fn parents(&mut self, path: &TreePath) -> Result<(), FileError> {
        let missing = std::iter::successors(path.parent(), TreePath::parent);
        let missing: Vec<_> = missing.take_while(|parent| !self.made.contains(parent)).collect();
        missing.iter().rev().try_for_each(|parent| self.directory(parent))
    }

    fn directory(&mut self, path: &TreePath) -> Result<(), FileError> {
        if self.made.contains(path) {
            return Ok(());
        }
        let mode = self.tree.get(path).filter(|entry| entry.node == Node::Directory).map_or(0o755, |entry| entry.mode);
        files::create_new_folder(&self.folder.join(path.as_str()), mode & 0o777 | 0o700)?;
        self.made.insert(path.clone());
        Ok(())
    }
}

fn write_files(
    store: &Store,
    folder: &Path,
    contents: &[(&Content, &TreePath, &Entry)],
) -> Result<(), MaterialiseError> {
    let mut buffer = vec![0; 256 << 10];
    let mut open = None;
    for (content, path, entry) in contents {
        let blob = match open.take() {
            Some((digest, blob)) if digest == content.blob => blob,
            _ => store.open(&content.blob)?,
        };
        let place = folder.join(path.as_str());
        let mut file = files::create_new(&place, entry.mode & 0o777)?;
        let (mut at, end) = (content.offset, content.offset.saturating_add(content.size));
        while at < end {
            let wanted = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
            match blob.read_exact_at(&mut buffer[..wanted], at) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(MaterialiseError::Short { path: (*path).clone(), blob: content.blob });
                }
                read => files::at("reading", &store.path(&content.blob), read)?,
            }
            files::at("writing", &place, file.write_all(&buffer[..wanted]))?;
            at += wanted as u64;
        }
        open = Some((content.blob, blob));
    }
    Ok(())
}

/// A link target that leads to the same place of the tree, seen from the link.
fn relative(path: &TreePath, target: &str) -> String {
    let Some(from_root) = target.strip_prefix('/') else { return target.to_owned() };
    let depth = path.as_str().matches('/').count();
    match (depth, from_root.trim_start_matches('/')) {
        (0, "") => ".".to_owned(),
        (depth, "") => vec![".."; depth].join("/"),
        (depth, below) => format!("{}{below}", "../".repeat(depth)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    fn tree(entries: &[(&str, u32, Node)]) -> Tree {
        let mut tree = Tree::new();
        for (path, mode, node) in entries {
            tree.insert(TreePath::new(path).unwrap(), Entry::new(*mode, node.clone()));
        }
        tree
    }

    fn link(target: &str) -> Node {
        Node::Symlink(target.to_owned())
    }

    #[test]
    fn a_tree_becomes_files() {
        let scratch = tempfile::tempdir().unwrap();
        let store = Store::new(scratch.path().join("store"));
        let blob = store.put(b"..hello world..").unwrap();
        let slice = |offset, size| Node::File(Content { blob: blob.digest, offset, size });
        let tree = tree(&[
            ("bin", 0o555, Node::Directory),
            ("bin/tool", 0o4755, slice(2, 5)),
            ("deep/er/data", 0o640, slice(8, 5)),
            ("deep/er/link", 0o777, link("/bin/tool")),
            ("hard", 0o640, Node::Hardlink(TreePath::new("deep/er/data").unwrap())),
            ("empty", 0o600, slice(0, 0)),
        ]);
        let folder = scratch.path().join("out");
        materialise(&store, &tree, &folder).unwrap();
        assert_eq!(files::read(&folder.join("bin/tool"), 9).unwrap(), b"hello");
        assert_eq!(files::mode(&folder.join("bin/tool")), Some(0o755));
        assert_eq!(files::mode(&folder.join("bin")), Some(0o755));
        assert_eq!(files::read(&folder.join("deep/er/link"), 9).unwrap(), b"hello");
        assert_eq!(files::read(&folder.join("hard"), 9).unwrap(), b"world");
        assert_eq!(std::fs::metadata(folder.join("hard")).unwrap().nlink(), 2);
        assert_eq!(files::size(&folder.join("empty")), Some(0));
        assert!(matches!(materialise(&store, &tree, &folder), Err(MaterialiseError::NotEmpty { .. })));
    }

    #[test]
    fn nothing_is_written_through_a_link() {
        let scratch = tempfile::tempdir().unwrap();
        let store = Store::new(scratch.path().join("store"));
        let outside = scratch.path().join("outside");
        files::create_folder(&outside).unwrap();
        let blob = store.put(b"x").unwrap();
        for target in ["../outside", outside.to_str().unwrap()] {
            let tree = tree(&[("a", 0o777, link(target)), ("a/x", 0o644, Node::File(Content::whole(blob)))]);
            let folder = tempfile::tempdir_in(scratch.path()).unwrap();
            assert!(materialise(&store, &tree, folder.path()).is_err());
            assert!(files::names(&outside).unwrap().is_empty());
        }
    }

    #[test]
    fn a_slice_beyond_its_blob_is_an_error() {
        let scratch = tempfile::tempdir().unwrap();
        let store = Store::new(scratch.path().join("store"));
        let blob = store.put(b"x").unwrap();
        for (offset, size) in [(0, 2), (2, 1), (1, 1 << 40)] {
            let node = Node::File(Content { blob: blob.digest, offset, size });
            let folder = tempfile::tempdir_in(scratch.path()).unwrap();
            let result = materialise(&store, &tree(&[("a", 0o644, node)]), folder.path());
            assert!(matches!(result, Err(MaterialiseError::Short { .. })), "{offset} {size}: {result:?}");
        }
    }

    #[test]
    fn absolute_targets_are_seen_from_the_link() {
        for (path, target, expected) in [
            ("a", "/b", "b"),
            ("a/b", "/c/d", "../c/d"),
            ("a", "/", "."),
            ("a/b/c", "/", "../.."),
            ("a/b", "../c", "../c"),
        ] {
            assert_eq!(relative(&TreePath::new(path).unwrap(), target), expected);
        }
    }
}
