//! The sources of a tree, on the disk where the compiler wants them.
//!
//! They are laid out once for a source archive and shared by all platforms and components, below the import path, so
//! that the folder is a GOPATH whichever layout is used. The compiler writes nothing into it.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use super::layout::Inspected;
use crate::{
    base::{Digest, Node, Tree, TreePath, progress::Progress},
    host::{
        files::{self, FileError},
        work,
    },
    inputs::store::{ActionKey, Store, StoreError},
};

#[derive(Debug, thiserror::Error)]
pub enum SourcesError {
    #[error("the source archive has `{path}` below `{above}`, which is no folder")]
    BelowNoFolder { path: TreePath, above: TreePath },
    #[error(
        "`{path}` of the source archive has {found} bytes in the store instead of {size}: run `kletimg cache verify`"
    )]
    Short { path: TreePath, found: u64, size: u64 },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    File(#[from] FileError),
}

/// A GOPATH that holds the sources at `src/<import path>`.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) gopath: PathBuf,
    /// Where the sources are: `<gopath>/src/<import path>`.
    pub(super) folder: PathBuf,
}

/// Lays the sources out, unless an earlier build has done it. A build that was killed in between has left no folder
/// under this name.
pub(super) fn place(
    store: &Store,
    root: &Path,
    source: &Digest,
    tree: &Tree,
    inspected: &Inspected,
    progress: &dyn Progress,
) -> Result<Placed, SourcesError> {
    const FORMAT: u32 = 1;
    let key = ActionKey::new("go-sources", FORMAT).field("source", source).field("at", &inspected.import_path);
    let gopath = root.join("src").join(key.digest().hex());
    let folder = gopath.join("src").join(inspected.import_path.as_str());
    if !files::exists(&gopath) {
        let _alone = store.lock(&key)?;
        if !files::exists(&gopath) {
            let scratch = store.scratch()?;
            let filled = scratch.path().join("gopath");
            let to = filled.join("src").join(inspected.import_path.as_str());
            for (path, target) in materialise(store, tree, inspected.top.as_deref(), &to)? {
                progress.note(&format!("the link {path} -> {target} leads out of the source archive and is left out"));
            }
            work::publish(&scratch, Path::new("gopath"), &gopath)?;
        }
    }
    Ok(Placed { gopath, folder })
}

/// Writes what `tree` holds below `top` into `folder`. Returns the links that lead out of it and are left out.
fn materialise<'a>(
    store: &Store,
    tree: &'a Tree,
    top: Option<&str>,
    folder: &Path,
) -> Result<Vec<(&'a TreePath, &'a str)>, SourcesError> {
    files::create_folder(folder)?;
    let mut left_out = Vec::new();
    let mut above = BTreeSet::new();
    let mut hardlinks = Vec::new();
    for (path, entry) in tree.iter() {
        let Some(below) = relative(path, top) else { continue };
        folder_above(tree, path, folder, top, &mut above)?;
        let to = folder.join(below);
        match &entry.node {
            Node::Directory => files::create_folder(&to)?,
            Node::File(content) => {
                let mode = if entry.mode & 0o100 == 0 { 0o644 } else { 0o755 };
                let found = work::fill(&to, store.content(content)?, mode)?;
                if found != content.size {
                    return Err(SourcesError::Short { path: path.clone(), found, size: content.size });
                }
            }
            Node::Symlink(target) => {
                if stays(tree, top, below, target) {
                    files::symlink(Path::new(target), &to)?;
                } else {
                    left_out.push((path, target.as_str()));
                }
            }
            Node::Hardlink(target) => hardlinks.push((target, to)),
        }
    }
    // A hard link may stand before what it links to.
    for (target, to) in hardlinks {
        if let (Some(below), Some(Node::File(_))) = (relative(target, top), tree.get(target).map(|entry| &entry.node)) {
            files::link(&folder.join(below), &to)?;
        }
    }
    Ok(left_out)
}

fn relative<'a>(path: &'a TreePath, top: Option<&str>) -> Option<&'a str> {
    match top {
        None => Some(path.as_str()),
        Some(top) => path.as_str().strip_prefix(top)?.strip_prefix('/'),
    }
}

/// Makes the folder above a path. Nothing is ever written through a link of the archive's.
fn folder_above(
    tree: &Tree,
    path: &TreePath,
    folder: &Path,
    top: Option<&str>,
    made: &mut BTreeSet<TreePath>,
) -> Result<(), SourcesError> {
    let Some(parent) = path.parent() else { return Ok(()) };
    if made.contains(&parent) {
        return Ok(());
    }
    let mut above = Some(parent.clone());
    while let Some(one) = above {
        if tree.get(&one).is_some_and(|entry| entry.node != Node::Directory) {
            return Err(SourcesError::BelowNoFolder { path: path.clone(), above: one });
        }
        above = one.parent();
    }
    if let Some(below) = relative(&parent, top) {
        files::create_folder(&folder.join(below))?;
    }
    made.insert(parent);
    Ok(())
}

/// As many links as Linux follows for one path.
const MOST_LINKS: usize = 40;

/// Whether a link's target, seen from where the link is, stays inside the sources on all its way. A name on the way may be
/// a link itself, and `..` leads up from where that one ends.
fn stays(tree: &Tree, top: Option<&str>, link: &str, target: &str) -> bool {
    let mut at: Vec<&str> = link.split('/').collect();
    at.pop();
    let mut to_go: Vec<&str> = target.rsplit('/').collect();
    let (mut absolute, mut links) = (target.starts_with('/'), 0);
    while let Some(part) = to_go.pop() {
        match part {
            "" | "." => continue,
            ".." if at.pop().is_none() => return false,
            ".." => continue,
            part => at.push(part),
        }
        let here = top.into_iter().chain(at.iter().copied()).collect::<Vec<_>>().join("/");
        let node = TreePath::new(&here).ok().and_then(|path| tree.get(&path)).map(|entry| &entry.node);
        if let Some(Node::Symlink(next)) = node {
            at.pop();
            links += 1;
            absolute |= next.starts_with('/') || links > MOST_LINKS;
            to_go.extend(next.rsplit('/'));
        }
        if absolute {
            return false;
        }
    }
    !absolute
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::{Content, Entry, progress::Silent},
        inputs::gosource::layout::Mode,
    };

    fn inspected() -> Inspected {
        let import_path = TreePath::new("example.com/x").unwrap();
        Inspected { top: Some("x-1".into()), import_path, mode: Mode::Gopath, vendored: false, go: None }
    }

    fn placed(entries: &[(&str, Entry)]) -> Result<(tempfile::TempDir, Placed), SourcesError> {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        store.put(b"package main").unwrap();
        let entries = entries.iter().map(|(path, entry)| (TreePath::new(path).unwrap(), entry.clone()));
        let tree = Tree { entries: entries.collect() };
        let placed = place(&store, store.root(), &Digest::of("x"), &tree, &inspected(), &Silent)?;
        place(&store, store.root(), &Digest::of("x"), &Tree::new(), &inspected(), &Silent)?;
        assert_eq!(files::names(&folder.path().join("scratch")).unwrap(), Vec::<String>::new());
        Ok((folder, placed))
    }

    fn file(mode: u32) -> Entry {
        Entry::new(mode, Node::File(Content { blob: Digest::of("package main"), offset: 0, size: 7 }))
    }

    #[test]
    fn sources_lie_at_their_import_path_without_the_top_folder() {
        let hardlink = Entry::new(0o644, Node::Hardlink(TreePath::new("x-1/cmd/main.go").unwrap()));
        let entries = [
            ("x-1/again.go", hardlink),
            ("x-1/cmd/main.go", file(0o600)),
            ("x-1/hack/make.sh", file(0o700)),
            ("x-1/vendor/k8s.io/api", Entry::symlink("../../staging/api")),
        ];
        let (_folder, placed) = placed(&entries).unwrap();
        assert!(placed.folder.ends_with("src/example.com/x"));
        for (path, mode) in [("cmd/main.go", 0o644), ("hack/make.sh", 0o755), ("again.go", 0o644)] {
            assert_eq!(files::read(&placed.folder.join(path), 9).unwrap(), b"package");
            assert_eq!(files::mode(&placed.folder.join(path)), Some(mode), "{path}");
        }
        assert!(files::exists(&placed.folder.join("vendor/k8s.io/api")));
    }

    #[test]
    fn nothing_is_written_or_linked_outside() {
        let cases = [
            ("x-1/d/link", "../e", true),
            ("x-1/link", "d/e", true),
            ("x-1/link", "/etc", false),
            ("x-1/link", "..", false),
            ("x-1/d/link", "../../e", false),
            ("x-1/link", "a/../b", true),
            ("x-1/link", "a/../../b", false),
            ("x-1/testdata/link", "../cmd/../cmd/t", true),
            // Up from where `top` leads, which is the root.
            ("x-1/d/link", "top/../b", false),
            ("x-1/d/link", "top/b", true),
            ("x-1/d/link", "round/b", false),
            ("x-1/d/link", "out/b", false),
        ];
        for (path, target, fine) in cases {
            let others = [
                ("x-1/d/top", Entry::symlink("..")),
                ("x-1/d/round", Entry::symlink("round")),
                ("x-1/d/out", Entry::symlink("/")),
                (path, Entry::symlink(target)),
            ];
            let (_folder, placed) = placed(&others).unwrap();
            let link = placed.folder.join(path.strip_prefix("x-1/").unwrap());
            assert_eq!(files::exists(&link), fine, "{path} -> {target}");
        }
        let through =
            [("x-1/a", Entry::symlink("b")), ("x-1/a/c/main.go", file(0o644)), ("x-1/b/main.go", file(0o644))];
        assert!(matches!(placed(&through), Err(SourcesError::BelowNoFolder { .. })));
    }

    #[test]
    fn a_file_that_the_store_holds_only_in_part_is_an_error() {
        let long = Entry::new(0o644, Node::File(Content { blob: Digest::of("package main"), offset: 9, size: 7 }));
        assert!(matches!(placed(&[("x-1/main.go", long)]), Err(SourcesError::Short { found: 3, .. })));
    }
}
