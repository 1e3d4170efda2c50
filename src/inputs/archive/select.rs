//! Choosing from an archive's tree: one member, or what lies below one folder. Pure.

use crate::base::{Content, Entry, Node, Tree, TreePath, tree::InvalidPath};

/// Why an archive does not give what was asked of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    #[error("selecting `{path}` from the archive: there is no such entry{}", listed(near))]
    Missing { path: String, near: Vec<String> },
    #[error("selecting `{path}` from the archive: it is a directory; name a file in it")]
    Directory { path: TreePath },
    #[error("selecting `{path}` from the archive: it is a symbolic link; name the file that it leads to, `{target}`")]
    Symlink { path: TreePath, target: String },
    #[error("selecting from the archive: {0}")]
    Path(#[from] InvalidPath),
}

fn listed(near: &[String]) -> String {
    match near {
        [] => String::new(),
        near => format!("; near to it are `{}`", near.join("`, `")),
    }
}

/// The bytes of the file at `path`, through a hard link where it is one.
pub fn member(tree: &Tree, path: &str) -> Result<Content, SelectError> {
    let at = TreePath::new(path)?;
    match tree.get(&at).map(|entry| &entry.node) {
        Some(Node::File(content)) => Ok(*content),
        Some(Node::Hardlink(file)) => member(tree, file.as_str()),
        Some(Node::Directory) => Err(SelectError::Directory { path: at }),
        Some(Node::Symlink(target)) => Err(SelectError::Symlink { path: at, target: target.clone() }),
        None => Err(SelectError::Missing { path: path.to_owned(), near: near(tree, &at) }),
    }
}

/// Up to three files that may have been meant: those of the same name elsewhere first, then the most similar ones.
fn near(tree: &Tree, wanted: &TreePath) -> Vec<String> {
    const SIMILAR: f64 = 0.8;
    let score = |path: &TreePath| {
        if path.file_name() == wanted.file_name() {
            return 2.0;
        }
        let names = strsim::jaro_winkler(path.file_name(), wanted.file_name());
        names.max(strsim::jaro_winkler(path.as_str(), wanted.as_str()))
    };
    let mut scored: Vec<_> = tree
        .iter()
        .filter(|(_, entry)| matches!(entry.node, Node::File(_) | Node::Hardlink(_)))
        .map(|(path, _)| (score(path), path))
        .filter(|(score, _)| *score > SIMILAR)
        .collect();
    scored.sort_by(|(a, left), (b, right)| b.total_cmp(a).then_with(|| left.cmp(right)));
    scored.into_iter().take(3).map(|(_, path)| path.to_string()).collect()
}

/// The one folder at the top that holds everything, as in source archives; `None` where there is more than one name at
/// the top, or where it is a file.
pub fn single_top_folder(tree: &Tree) -> Option<&str> {
    let (first, _) = tree.iter().next()?;
    let top = first.as_str().split('/').next()?;
    let holds = |(path, entry): (&TreePath, &Entry)| {
        let rest = path.as_str().strip_prefix(top);
        rest.is_some_and(|rest| rest.starts_with('/') || rest.is_empty() && entry.node == Node::Directory)
    };
    tree.iter().all(holds).then_some(top)
}

/// What lies below a folder, with paths relative to it. Hard links that lead to files outside of it become those
/// files, the first by path; further links to the same file lead to that one.
pub fn below(tree: &Tree, folder: &TreePath) -> Result<Tree, SelectError> {
    let prefix = format!("{folder}/");
    let inside = |path: &TreePath| path.as_str().strip_prefix(&prefix).map(TreePath::new).transpose();
    let mut selected = Tree::new();
    let mut moved = std::collections::BTreeMap::new();
    for (path, entry) in tree.iter() {
        let Some(path) = inside(path)? else { continue };
        let node = match &entry.node {
            Node::Hardlink(file) => match (inside(file)?, moved.get(file)) {
                (Some(file), _) => Node::Hardlink(file),
                (None, Some(first)) => Node::Hardlink(TreePath::clone(first)),
                (None, None) => {
                    moved.insert(file.clone(), path.clone());
                    Node::File(member(tree, file.as_str())?)
                }
            },
            node => node.clone(),
        };
        selected.insert(path, Entry { node, ..entry.clone() });
    }
    if selected.entries.is_empty() {
        return Err(SelectError::Missing { path: folder.to_string(), near: near(tree, folder) });
    }
    Ok(selected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Digest;

    fn content(size: u64) -> Content {
        Content { blob: Digest::of("x"), offset: 0, size }
    }

    fn tree(entries: &[(&str, Node)]) -> Tree {
        let mut tree = Tree::new();
        for (path, node) in entries {
            tree.insert(TreePath::new(path).unwrap(), Entry::new(0o644, node.clone()));
        }
        tree
    }

    fn file(size: u64) -> Node {
        Node::File(content(size))
    }

    fn hard(path: &str) -> Node {
        Node::Hardlink(TreePath::new(path).unwrap())
    }

    #[test]
    fn a_member_is_found_or_its_neighbours_are_named() {
        let tree = tree(&[
            ("bin/flannel-amd64", file(1)),
            ("bin/hard", hard("bin/flannel-amd64")),
            ("bin/link", Node::Symlink("flannel-amd64".to_owned())),
            ("doc/LICENSE", file(2)),
            ("bin", Node::Directory),
        ]);
        assert_eq!(member(&tree, "./bin/flannel-amd64"), Ok(content(1)));
        assert_eq!(member(&tree, "bin/hard"), Ok(content(1)));
        let words = |path| member(&tree, path).unwrap_err().to_string();
        assert!(words("LICENSE").contains("near to it are `doc/LICENSE`"), "{}", words("LICENSE"));
        assert!(words("bin/flannel-arm64").contains("`bin/flannel-amd64`"), "{}", words("bin/flannel-arm64"));
        assert!(words("zzz").ends_with("no such entry"), "{}", words("zzz"));
        assert!(words("bin").contains("directory"), "{}", words("bin"));
        assert!(words("bin/link").contains("`flannel-amd64`"), "{}", words("bin/link"));
        assert!(words("../x").contains(".."), "{}", words("../x"));
    }

    #[test]
    fn the_top_folder_must_hold_everything() {
        let cases: [(&[(&str, Node)], Option<&str>); 6] = [
            (&[("k8s", Node::Directory), ("k8s/a", file(1))], Some("k8s")),
            (&[("k8s/a", file(1)), ("k8s/b", file(1))], Some("k8s")),
            (&[("k8s/a", file(1)), ("k8s-b", file(1))], None),
            (&[("a", file(1))], None),
            (&[("a", Node::Directory)], Some("a")),
            (&[], None),
        ];
        for (entries, expected) in cases {
            assert_eq!(single_top_folder(&tree(entries)), expected, "{entries:?}");
        }
    }

    #[test]
    fn what_lies_below_a_folder_stays_whole() {
        let tree = tree(&[
            ("out", file(9)),
            ("top", Node::Directory),
            ("top/a", file(1)),
            ("top/b/c", hard("top/a")),
            ("top/x", hard("out")),
            ("top/y", hard("out")),
        ]);
        let selected = below(&tree, &TreePath::new("top").unwrap()).unwrap();
        let nodes: Vec<_> = selected.iter().map(|(path, entry)| (path.as_str(), entry.node.clone())).collect();
        assert_eq!(nodes, [("a", file(1)), ("b/c", hard("a")), ("x", file(9)), ("y", hard("x"))]);
        assert!(below(&tree, &TreePath::new("none").unwrap()).is_err());
    }
}
