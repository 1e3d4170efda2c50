//! What nobody reads in an image, left out. Copyright files stay: the licences ask for it (Policy 12.5).

use crate::base::{Node, Tree, TreePath};

/// Manuals, translations, and what only Debian's own tools for developers and desktops look at.
const LEFT_OUT: [&str; 10] = [
    "usr/share/bug",
    "usr/share/doc-base",
    "usr/share/groff",
    "usr/share/info",
    "usr/share/linda",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/menu",
    "usr/share/reportbug",
];

/// Leaves out documentation, except copyright files and the links that lead to them.
pub(super) fn leave_out(tree: &mut Tree) {
    let leaves: Vec<_> = tree.entries.keys().filter(|path| !stays(tree, path)).cloned().collect();
    keep_linked_files(tree, &leaves);
    for path in &leaves {
        tree.entries.remove(path);
    }
    // Folders below doc that have lost all they held.
    let mut empty: Vec<TreePath> =
        tree.entries.keys().filter(|path| is_below(path, "usr/share/doc")).cloned().collect();
    empty.retain(|path| tree.entries[path].node == Node::Directory);
    for folder in empty.iter().rev() {
        let begin = format!("{folder}/");
        if !tree.entries.keys().any(|path| path.as_str().starts_with(&begin)) {
            tree.entries.remove(folder);
        }
    }
}

fn stays(tree: &Tree, path: &TreePath) -> bool {
    if LEFT_OUT.iter().any(|folder| is_below(path, folder)) {
        return false;
    }
    let Some(below) = path.as_str().strip_prefix("usr/share/doc/") else { return true };
    match (&tree.entries[path].node, below.split_once('/')) {
        (Node::Directory, _) | (Node::Symlink(_), None) => true,
        (_, Some((_, file))) => file == "copyright",
        (_, None) => false,
    }
}

fn is_below(path: &TreePath, folder: &str) -> bool {
    path.as_str().strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// A file that stays may be another name of one that goes: then it takes over the content.
fn keep_linked_files(tree: &mut Tree, leaves: &[TreePath]) {
    let gone: std::collections::BTreeSet<_> = leaves.iter().collect();
    let mut heirs: std::collections::BTreeMap<TreePath, TreePath> = std::collections::BTreeMap::new();
    let names: Vec<_> = tree
        .iter()
        .filter_map(|(path, entry)| match &entry.node {
            Node::Hardlink(first) if gone.contains(first) && !gone.contains(path) => {
                Some((path.clone(), first.clone()))
            }
            _ => None,
        })
        .collect();
    for (path, first) in names {
        let node = match heirs.get(&first) {
            Some(heir) => Node::Hardlink(heir.clone()),
            None => match tree.get(&first) {
                Some(entry) => entry.node.clone(),
                None => continue,
            },
        };
        heirs.entry(first).or_insert_with(|| path.clone());
        if let Some(entry) = tree.entries.get_mut(&path) {
            entry.node = node;
        }
    }
}
