//! Making and trimming the trees that parts consist of.

use std::collections::BTreeSet;

use super::{RootfsError, inodes::Inodes};
use crate::base::{Content, Entry, Node, Tree, TreePath};

/// A file of root with these permission bits.
pub const fn file(content: Content, mode: u32) -> Entry {
    Entry::new(mode, Node::File(content))
}

/// A symbolic link with this text.
pub fn symlink(target: impl Into<String>) -> Entry {
    Entry::symlink(target)
}

/// A directory of root with these permission bits.
pub const fn directory(mode: u32) -> Entry {
    Entry::new(mode, Node::Directory)
}

/// The tree without these paths and all below them, dropped before a layer is made so that no layer carries their bytes.
///
/// A hard link to a file that is dropped becomes the file. A path that is not there is an error, since a list that no
/// longer fits its base hides what it was meant to remove. `origin` names the tree in that error.
pub fn without(tree: &Tree, paths: &[TreePath], origin: &str) -> Result<Tree, RootfsError> {
    let dropped: BTreeSet<&TreePath> = paths.iter().collect();
    if let Some(path) = dropped.iter().find(|path| tree.get(path).is_none()) {
        return Err(RootfsError::NothingToRemove { path: (**path).clone(), origin: origin.to_owned() });
    }
    let mut kept = Inodes::default();
    for (path, entry) in tree.iter() {
        if above_and_itself(path).any(|path| dropped.contains(&path)) {
            continue;
        }
        match &entry.node {
            Node::Directory | Node::Symlink(_) => kept.put(path.clone(), entry.clone()),
            Node::File(_) => kept.put_shared(path.clone(), entry.clone(), (0, path.clone())),
            Node::Hardlink(target) => {
                let Some((target, file)) = linked_file(tree, target) else {
                    return Err(RootfsError::DanglingHardlink {
                        path: path.clone(),
                        target: target.clone(),
                        later: origin.to_owned(),
                    });
                };
                kept.put_shared(path.clone(), file.clone(), (0, target.clone()));
            }
        }
    }
    Ok(kept.finish())
}

/// The file at the end of a chain of hard links, `None` when there is none.
pub(super) fn linked_file<'a>(tree: &'a Tree, target: &'a TreePath) -> Option<(&'a TreePath, &'a Entry)> {
    // Archives give hard links to the file itself; longer chains than this are circles.
    const LONGEST_CHAIN: usize = 40;
    let mut target = target;
    for _ in 0..LONGEST_CHAIN {
        let entry = tree.get(target)?;
        match &entry.node {
            Node::File(_) => return Some((target, entry)),
            Node::Hardlink(next) => target = next,
            Node::Directory | Node::Symlink(_) => return None,
        }
    }
    None
}

fn above_and_itself(path: &TreePath) -> impl Iterator<Item = TreePath> {
    std::iter::successors(Some(path.clone()), TreePath::parent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Digest;

    fn path(text: &str) -> TreePath {
        TreePath::new(text).unwrap()
    }

    fn tree(entries: Vec<(&str, Entry)>) -> Tree {
        Tree { entries: entries.into_iter().map(|(p, entry)| (path(p), entry)).collect() }
    }

    fn content(text: &str) -> Content {
        Content { blob: Digest::of(text), offset: 0, size: text.len() as u64 }
    }

    fn hardlink(to: &str) -> Entry {
        Entry::new(0o644, Node::Hardlink(path(to)))
    }

    #[test]
    fn a_removed_path_takes_all_below_it_and_nothing_beside_it() {
        let all = tree(vec![
            ("usr", directory(0o755)),
            ("usr/share", directory(0o755)),
            ("usr/share/man", directory(0o755)),
            ("usr/share/manual", file(content("kept"), 0o644)),
            ("usr/share/man/a", file(content("a"), 0o644)),
        ]);
        let kept = without(&all, &[path("usr/share/man")], "base x").unwrap();
        let paths: Vec<_> = kept.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(paths, ["usr", "usr/share", "usr/share/manual"]);
        let error = without(&all, &[path("usr/shar")], "base x").unwrap_err();
        assert_eq!(
            error.to_string(),
            "removing `usr/shar` from base x: there is no such path; correct it or take it off the list"
        );
    }

    #[test]
    fn a_hard_link_to_a_removed_file_becomes_the_file() {
        let all = tree(vec![("a", file(content("x"), 0o755)), ("b", hardlink("a")), ("c", hardlink("b"))]);
        let kept = without(&all, &[path("a")], "base x").unwrap();
        assert_eq!(kept.get(&path("b")), Some(&file(content("x"), 0o755)));
        assert_eq!(kept.get(&path("c")), Some(&Entry::new(0o755, Node::Hardlink(path("b")))));
    }

    #[test]
    fn a_circle_of_hard_links_is_an_error() {
        let all = tree(vec![("a", hardlink("b")), ("b", hardlink("a")), ("c", directory(0o755))]);
        assert!(matches!(without(&all, &[path("c")], "x"), Err(RootfsError::DanglingHardlink { .. })));
    }
}
