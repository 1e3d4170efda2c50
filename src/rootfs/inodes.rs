//! Which names of a tree are one file.
//!
//! While trees are merged, a name of a shared file can be replaced, and its other names must keep the old bytes. So
//! every name carries a whole file entry and a mark that tells which file it is; only the finished tree says "hard
//! link" again. The first name in the order of the paths then holds the content, as archives are read from front to
//! back, and the result does not depend on which name the input called the first.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::{Entry, Node, Tree, TreePath};

/// A file's identity: the number of the tree it comes from, and one of its names there.
pub(super) type Inode = (usize, TreePath);

/// A tree in the making, in which files with several names are marked.
#[derive(Default)]
pub(super) struct Inodes {
    tree: Tree,
    marks: BTreeMap<TreePath, Inode>,
}

impl Inodes {
    pub(super) fn contains(&self, path: &TreePath) -> bool {
        self.tree.get(path).is_some()
    }

    /// Puts an entry in the place of any other.
    pub(super) fn put(&mut self, path: TreePath, entry: Entry) {
        self.marks.remove(&path);
        self.tree.insert(path, entry);
    }

    /// Puts a file that all names with the same mark share.
    pub(super) fn put_shared(&mut self, path: TreePath, entry: Entry, inode: Inode) {
        self.marks.insert(path.clone(), inode);
        self.tree.insert(path, entry);
    }

    /// The tree with hard links for all but the first name of every file.
    pub(super) fn finish(mut self) -> Tree {
        let mut names: BTreeMap<Inode, Vec<TreePath>> = BTreeMap::new();
        for (path, inode) in self.marks {
            names.entry(inode).or_default().push(path);
        }
        for paths in names.into_values() {
            let Some((first, others)) = paths.split_first() else { continue };
            for path in others {
                if let Some(entry) = self.tree.entries.get_mut(path) {
                    entry.node = Node::Hardlink(first.clone());
                }
            }
        }
        self.tree
    }
}

/// One tree from several, the later ones over the earlier ones. Hard links within a tree must lead to files of it.
pub(super) fn merge<'a>(trees: impl Iterator<Item = &'a Tree>) -> Tree {
    let mut merged = Inodes::default();
    for (number, tree) in trees.enumerate() {
        let link = |entry: &'a Entry| if let Node::Hardlink(target) = &entry.node { Some(target) } else { None };
        let shared: BTreeSet<&TreePath> = tree.iter().filter_map(|(_, entry)| link(entry)).collect();
        for (path, entry) in tree.iter() {
            if let Some(target) = link(entry) {
                if let Some(file) = tree.get(target) {
                    merged.put_shared(path.clone(), file.clone(), (number, target.clone()));
                }
            } else if shared.contains(path) {
                merged.put_shared(path.clone(), entry.clone(), (number, path.clone()));
            } else {
                merged.put(path.clone(), entry.clone());
            }
        }
    }
    merged.finish()
}
