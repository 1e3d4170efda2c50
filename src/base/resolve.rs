//! Where a path leads when the symbolic links on its way are followed, as in a process whose root is the tree.

use std::collections::VecDeque;

use super::{Node, TreePath, tree::InvalidPath};

/// Why a path leads nowhere.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unresolved {
    /// More links than Linux follows, most likely a circle.
    TooManyLinks,
    /// This path, which is on the way, is no directory.
    NotADirectory(TreePath),
    Invalid(InvalidPath),
}

/// Follows every symbolic link in `path`, the last part's too. `None` is the root itself.
///
/// As in a chroot, an absolute link begins at the tree's root and `..` at the root stays there. Parts that do not
/// exist are kept as they are: they will be made.
pub(crate) fn resolve<'a>(
    path: &str,
    node: impl Fn(&TreePath) -> Option<&'a Node>,
) -> Result<Option<TreePath>, Unresolved> {
    // As many as Linux follows in one path (MAXSYMLINKS in include/linux/namei.h).
    const MOST_LINKS: usize = 40;
    let mut ahead: VecDeque<&str> = path.split('/').collect();
    let mut here: Option<TreePath> = None;
    let mut links = 0;
    while let Some(part) = ahead.pop_front() {
        match part {
            "" | "." => continue,
            ".." => {
                here = here.and_then(|path| path.parent());
                continue;
            }
            _ => {}
        }
        let next = here.as_ref().map_or_else(|| TreePath::new(part), |path| path.join(part));
        let next = next.map_err(Unresolved::Invalid)?;
        match node(&next) {
            Some(Node::Symlink(target)) => {
                links += 1;
                if links > MOST_LINKS {
                    return Err(Unresolved::TooManyLinks);
                }
                if target.starts_with('/') {
                    here = None;
                }
                for part in target.split('/').rev() {
                    ahead.push_front(part);
                }
            }
            Some(Node::File(_) | Node::Hardlink(_)) => return Err(Unresolved::NotADirectory(next)),
            Some(Node::Directory) | None => here = Some(next),
        }
    }
    Ok(here)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::base::{Content, Digest};

    #[test]
    fn links_are_followed_as_in_a_chroot() {
        let links = [
            ("lib", "usr/lib"),
            ("var/run", "/run"),
            ("up", "../../etc"),
            ("a/b", "../lib/x"),
            ("top", "/"),
            ("one", "two"),
            ("two", "one"),
            ("long", &"d/".repeat(3000)),
        ];
        let mut nodes: BTreeMap<TreePath, Node> = links
            .iter()
            .map(|(path, target)| (TreePath::new(path).unwrap(), Node::Symlink((*target).to_owned())))
            .collect();
        let content = Content { blob: Digest::of("x"), offset: 0, size: 1 };
        nodes.insert(TreePath::new("file").unwrap(), Node::File(content));
        let resolve = |path: &str| resolve(path, |path| nodes.get(path)).map(|path| path.map(|path| path.to_string()));
        let cases = [
            ("usr/bin", Some("usr/bin")),
            ("lib/modules", Some("usr/lib/modules")),
            ("var/run/x", Some("run/x")),
            ("up/passwd", Some("etc/passwd")),
            ("a/b/c", Some("usr/lib/x/c")),
            ("top", None),
            ("top/lib", Some("usr/lib")),
        ];
        for (path, expected) in cases {
            assert_eq!(resolve(path), Ok(expected.map(str::to_owned)), "{path}");
        }
        assert_eq!(resolve("one/x"), Err(Unresolved::TooManyLinks));
        assert_eq!(resolve("file/x"), Err(Unresolved::NotADirectory(TreePath::new("file").unwrap())));
        assert!(matches!(resolve("long"), Err(Unresolved::Invalid(InvalidPath::TooLong(_)))));
    }
}
