//! How a source tree wants to be built: its import path, the Go it asks for, and whether its dependencies lie in it.
//!
//! Go has had three ways. A GOPATH tree stands below `<GOPATH>/src/<import path>` and finds its dependencies in
//! `vendor/`; a module names them in `go.mod`; a workspace (`go.work`, Go 1.18) is several modules at once. Kubernetes was
//! built as a GOPATH tree up to 1.29 (`hack/lib/golang.sh` set `GO111MODULE=off`) and as a workspace since 1.30; its
//! older trees have a `go.mod` too, but newer versions of Go refuse to build them from it with `-mod=vendor`.

use super::version::GoVersion;
use crate::{
    base::{Node, Tree, TreePath},
    inputs::store::{Store, StoreError},
    kubernetes,
};

/// The layout that the user asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// What the tree itself says.
    #[default]
    Auto,
    Gopath,
    Module,
    Workspace,
}

/// What was read off a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspected {
    /// The folder above the sources, as most archives have one: `kubernetes-1.20.2`.
    pub top: Option<String>,
    /// The path that other code imports the sources by, `k8s.io/kubernetes`.
    pub import_path: TreePath,
    pub mode: Mode,
    /// Whether the dependencies lie in the tree.
    pub vendored: bool,
    /// The least Go, where the sources say it.
    pub go: Option<GoVersion>,
}

/// A layout that was decided on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Gopath,
    Module,
    Workspace,
}

#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    #[error("the source archive holds no files")]
    Empty,
    #[error(
        "the sources have no go.mod that names their import path: write it under [[way]] in the component's file, \
         components/NAME.toml (`import-path = \"k8s.io/kubernetes\"`)"
    )]
    NoImportPath,
    #[error("`{0}` is not an import path: write it as the sources import themselves, for example `k8s.io/kubernetes`")]
    ImportPath(String),
    #[error("the layout `{layout}` needs a {file}, and the sources have none: leave the layout to kletimg")]
    Lacks { layout: &'static str, file: &'static str },
    #[error("reading {file} of the sources: it is not a small text file")]
    NotText { file: String },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Reads off a tree how it is to be built. `asked` and `import_path` are the user's words, where there are any.
pub fn inspect(store: &Store, tree: &Tree, asked: Layout, import_path: Option<&str>) -> Result<Inspected, LayoutError> {
    let top = single_top(tree)?;
    let top = top.as_deref();
    let module = text(store, tree, top, "go.mod")?;
    let workspace = text(store, tree, top, "go.work")?;
    let named = import_path.or_else(|| directive(module.as_deref()?, "module")).ok_or(LayoutError::NoImportPath)?;
    let import_path = checked(named)?;
    let vendored = has(tree, top, "vendor");
    let mode = match (asked, &module, &workspace) {
        (Layout::Auto | Layout::Workspace, _, Some(_)) => Mode::Workspace,
        (Layout::Workspace, _, None) => return Err(LayoutError::Lacks { layout: "workspace", file: "go.work" }),
        (Layout::Module, None, _) => return Err(LayoutError::Lacks { layout: "module", file: "go.mod" }),
        (Layout::Gopath, ..) | (Layout::Auto, None, None) => Mode::Gopath,
        (Layout::Auto, Some(_), None) if import_path.as_str() == kubernetes::build::IMPORT_PATH => Mode::Gopath,
        (Layout::Auto | Layout::Module, Some(_), _) => Mode::Module,
    };
    let files = if mode == Mode::Workspace { [&workspace, &module] } else { [&module, &None] };
    let wanted = |file: &Option<String>| directive(file.as_deref()?, "go")?.parse().ok();
    let go = files.into_iter().filter_map(wanted).max();
    Ok(Inspected { top: top.map(str::to_owned), import_path, mode, vendored, go })
}

/// The folder that holds all else, if there is one.
fn single_top(tree: &Tree) -> Result<Option<String>, LayoutError> {
    let (Some((first, _)), Some((last, _))) = (tree.entries.first_key_value(), tree.entries.last_key_value()) else {
        return Err(LayoutError::Empty);
    };
    let top = |path: &TreePath| path.as_str().split('/').next().unwrap_or_default().to_owned();
    // Paths are sorted by bytes, so `a` and `a/b` may have `a-b` between them, but a common top has nothing beside it.
    let (first_top, last_top) = (top(first), top(last));
    let only = first_top == last_top && tree.entries.keys().all(|path| top(path) == first_top);
    let is_folder =
        first.as_str() != first_top || matches!(tree.get(first).map(|entry| &entry.node), Some(Node::Directory));
    Ok((only && is_folder).then_some(first_top))
}

fn below(top: Option<&str>, path: &str) -> String {
    top.map_or_else(|| path.to_owned(), |top| format!("{top}/{path}"))
}

/// Whether the sources have something at `path` or below it. Archives need not list their folders.
pub(super) fn has(tree: &Tree, top: Option<&str>, path: &str) -> bool {
    let (path, within) = (below(top, path), below(top, &format!("{path}/")));
    let Ok(first) = TreePath::new(&path) else { return false };
    tree.entries
        .range(first..)
        .map(|(found, _)| found.as_str())
        .take_while(|found| found.starts_with(&path))
        .any(|found| found == path || found.starts_with(&within))
}

/// Whether the sources have a symbolic link at `path`.
pub(super) fn is_link(tree: &Tree, top: Option<&str>, path: &str) -> bool {
    let entry = TreePath::new(&below(top, path)).ok().and_then(|path| tree.get(&path));
    entry.is_some_and(|entry| matches!(entry.node, Node::Symlink(_)))
}

fn text(store: &Store, tree: &Tree, top: Option<&str>, path: &str) -> Result<Option<String>, LayoutError> {
    use std::io::Read as _;
    const LIMIT: u64 = 4 << 20;
    let Some(node) = TreePath::new(&below(top, path)).ok().and_then(|path| Some(&tree.get(&path)?.node)) else {
        return Ok(None);
    };
    let not_text = || LayoutError::NotText { file: path.to_owned() };
    let Node::File(content) = node else { return Err(not_text()) };
    if content.size > LIMIT {
        return Err(not_text());
    }
    let mut text = String::new();
    store.content(content)?.read_to_string(&mut text).map_err(|_| not_text())?;
    Ok(Some(text))
}

/// The argument of a one-word directive of `go.mod` or `go.work` (<https://go.dev/ref/mod#go-mod-file>).
fn directive<'a>(file: &'a str, name: &str) -> Option<&'a str> {
    file.lines().find_map(|line| {
        let line = line.split("//").next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let argument = (words.next() == Some(name)).then(|| words.next()).flatten()?;
        let argument = argument.trim_matches(['"', '`']);
        (words.next().is_none() && argument != "(").then_some(argument)
    })
}

/// An import path becomes a path on the disk and a part of the command line.
fn checked(path: &str) -> Result<TreePath, LayoutError> {
    let wrong = || LayoutError::ImportPath(path.to_owned());
    let sound = path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte));
    let parts = path.split('/').all(|part| !part.is_empty() && !part.starts_with(['.', '-']));
    if sound && parts { TreePath::new(path).map_err(|_| wrong()) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Content, Entry};

    fn tree(store: &Store, files: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::new();
        for (path, text) in files {
            let content = Content::whole(store.put(text.as_bytes()).unwrap());
            tree.insert(TreePath::new(path).unwrap(), Entry::new(0o644, Node::File(content)));
        }
        tree
    }

    fn inspected(files: &[(&str, &str)], asked: Layout, import_path: Option<&str>) -> Result<Inspected, LayoutError> {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        inspect(&store, &tree(&store, files), asked, import_path)
    }

    const OLD: [(&str, &str); 3] = [
        ("kubernetes-1.20.2/go.mod", "// generated\nmodule k8s.io/kubernetes // here\n\ngo 1.15\n\nrequire (\n)\n"),
        ("kubernetes-1.20.2/cmd/kubelet/main.go", ""),
        ("kubernetes-1.20.2/vendor/modules.txt", ""),
    ];
    const NEW: [(&str, &str); 3] = [
        ("go.mod", "module k8s.io/kubernetes\ngo 1.22.0\n"),
        ("go.work", "go 1.22.3\nuse (\n\t.\n)\n"),
        ("vendor/modules.txt", ""),
    ];
    const PLAIN: [(&str, &str); 2] = [("x/go.mod", "module \"example.com/x/v2\"\n"), ("x/main.go", "")];

    #[test]
    fn the_layout_is_read_off_the_tree() {
        type Case<'a> = (&'a [(&'a str, &'a str)], Layout, Mode, bool, Option<&'a str>, Option<&'a str>);
        let cases: [Case; 5] = [
            (&OLD, Layout::Auto, Mode::Gopath, true, Some("kubernetes-1.20.2"), Some("go1.15")),
            (&OLD, Layout::Module, Mode::Module, true, Some("kubernetes-1.20.2"), Some("go1.15")),
            (&NEW, Layout::Auto, Mode::Workspace, true, None, Some("go1.22.3")),
            (&NEW, Layout::Module, Mode::Module, true, None, Some("go1.22.0")),
            (&PLAIN, Layout::Auto, Mode::Module, false, Some("x"), None),
        ];
        for (files, asked, mode, vendored, top, go) in cases {
            let found = inspected(files, asked, None).unwrap();
            assert_eq!((found.mode, found.vendored, found.top.as_deref()), (mode, vendored, top), "{files:?}");
            assert_eq!(found.go.map(|go| go.to_string()).as_deref(), go, "{files:?}");
        }
        let import_path = inspected(&PLAIN, Layout::Auto, None).unwrap().import_path;
        assert_eq!(import_path.as_str(), "example.com/x/v2");
    }

    #[test]
    fn a_tree_without_go_mod_needs_to_be_told_its_import_path() {
        let files = [("main.go", "package main"), ("vendor/example.com/y/y.go", "package y")];
        assert!(matches!(inspected(&files, Layout::Auto, None), Err(LayoutError::NoImportPath)));
        let found = inspected(&files, Layout::Auto, Some("example.com/x")).unwrap();
        assert_eq!((found.mode, found.vendored, found.top), (Mode::Gopath, true, None));
        assert!(matches!(inspected(&files, Layout::Module, Some("a.b/c")), Err(LayoutError::Lacks { .. })));
        assert!(matches!(inspected(&files, Layout::Workspace, Some("a.b/c")), Err(LayoutError::Lacks { .. })));
    }

    #[test]
    fn hostile_files_are_refused() {
        for path in ["../x", "/etc", "a//b", "a/../b", "-x", "a/-toolexec=x", "a b", ""] {
            let error = inspected(&PLAIN, Layout::Auto, Some(path)).unwrap_err();
            assert!(matches!(error, LayoutError::ImportPath(_)), "{path}: {error}");
        }
        let hostile = [("go.mod", "module ../../../etc\n"), ("main.go", "")];
        assert!(matches!(inspected(&hostile, Layout::Auto, None), Err(LayoutError::ImportPath(_))));
        assert!(matches!(inspected(&[], Layout::Auto, None), Err(LayoutError::Empty)));
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        let mut linked = tree(&store, &[("main.go", "")]);
        linked.insert(TreePath::new("go.mod").unwrap(), Entry::symlink("/etc/passwd"));
        assert!(matches!(inspect(&store, &linked, Layout::Auto, None), Err(LayoutError::NotText { .. })));
    }

    #[test]
    fn folders_are_seen_through_what_they_hold() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        let tree = tree(&store, &[("t/a-b", ""), ("t/a/b", ""), ("t/vendor.txt", "")]);
        for (path, expected) in [("a", true), ("a/b", true), ("a-b", true), ("vendor", false), ("a/b/c", false)] {
            assert_eq!(has(&tree, Some("t"), path), expected, "{path}");
        }
        assert!(!has(&tree, None, "a"));
    }
}
