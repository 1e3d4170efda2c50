//! What an archive may hold, entry by entry, whatever its format.
//!
//! The tree grows as the archive is read, so "earlier" has a meaning: a hard link names a file that came before it, and
//! nothing may lie below a path that is not a directory. Where a symbolic link leads is judged when all is read,
//! because a link may lead through links that come later.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use super::{ArchiveError, Devices, Limits};
use crate::base::{Content, Digest, Entry, Node, Tree, TreePath, tree::InvalidPath};

/// What all names, link targets and attributes of an archive may take in memory, in bytes. Kubernetes' sources need 3 MB.
const TEXT: usize = 64 << 20;

/// Why an entry is refused. Reads on from "the entry `x`".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("is refused: {0}")]
    Path(#[from] InvalidPath),
    #[error("has an absolute path; make the archive with relative ones")]
    Absolute,
    #[error("has a name that is not UTF-8")]
    NotUtf8,
    #[error("would be written through the symbolic link `{link}` of the same archive")]
    ThroughSymlink { link: TreePath },
    #[error("lies below `{file}`, which is a file in the same archive")]
    BelowFile { file: TreePath },
    #[error("is a symbolic link to `{target}`, which leads out of the root")]
    SymlinkEscapes { target: String },
    #[error("is a symbolic link in a web of links too tangled to follow")]
    SymlinkTangled,
    #[error("is a hard link to `{target}`, which is no path inside the archive")]
    HardlinkEscapes { target: String },
    #[error("is a hard link to `{target}`, which is not a file that came before it")]
    HardlinkDangles { target: TreePath },
    #[error("is a {0}, and images hold none: take a package or an archive without it")]
    Device(Special),
    #[error("is a sparse file: make the archive without `--sparse`")]
    Sparse,
    #[error("is of the unknown kind {0:?}")]
    UnknownKind(char),
    #[error("is a {now} at a path that the archive already gave to a {before}")]
    Conflict { before: Kind, now: Kind },
    #[error("replaces a file that has hard links in the same archive")]
    ReplacesLinked,
    #[error("is a {0} but carries data")]
    HasData(Kind),
    #[error("has a malformed header: {0}")]
    Header(&'static str),
    #[error("is encrypted or compressed in a way that is not supported: {0}")]
    Packing(String),
}

/// What no image holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    Device,
    Fifo,
    Socket,
}

impl fmt::Display for Special {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Device => "device node",
            Self::Fifo => "named pipe",
            Self::Socket => "socket",
        })
    }
}

/// The kinds that may not take each other's paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Directory,
    File,
    Symlink,
    Hardlink,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Directory => "directory",
            Self::File => "file",
            Self::Symlink => "symbolic link",
            Self::Hardlink => "hard link",
        })
    }
}

impl Kind {
    const fn of(node: &Node) -> Self {
        match node {
            Node::Directory => Self::Directory,
            // A hard link is a file with another name: one may replace the other.
            Node::File(_) | Node::Hardlink(_) => Self::File,
            Node::Symlink(_) => Self::Symlink,
        }
    }
}

/// Names the entry in a refusal.
pub(super) fn refuse(entry: impl Into<String>, why: impl Into<Refusal>) -> ArchiveError {
    ArchiveError::Refused { entry: entry.into(), why: why.into() }
}

/// Reads an archive's name for a path. `None` for the root itself (`./`), whose attributes belong to nobody.
pub(super) fn path(name: &[u8]) -> Result<Option<TreePath>, ArchiveError> {
    let Ok(text) = std::str::from_utf8(name) else {
        return Err(refuse(String::from_utf8_lossy(name), Refusal::NotUtf8));
    };
    if text.starts_with('/') {
        return Err(refuse(text, Refusal::Absolute));
    }
    match TreePath::new(text) {
        Ok(path) => Ok(Some(path)),
        Err(InvalidPath::Empty) if text.starts_with('.') => Ok(None),
        Err(invalid) => Err(refuse(text.chars().take(200).collect::<String>(), invalid)),
    }
}

/// The tree of an archive as it is read.
pub(super) struct Gathering<'a> {
    limits: &'a Limits,
    tree: Tree,
    /// Directories that something lies in, but that have had no entry so far.
    implied: HashSet<TreePath>,
    /// Files that hard links lead to.
    linked: HashSet<TreePath>,
    entries: usize,
    text: usize,
}

impl<'a> Gathering<'a> {
    pub(super) fn new(limits: &'a Limits) -> Self {
        Self { limits, tree: Tree::new(), implied: HashSet::new(), linked: HashSet::new(), entries: 0, text: 0 }
    }

    /// Counts an entry, whether it is kept or not, and what its names and attributes take.
    pub(super) fn count(&mut self, text: usize) -> Result<(), ArchiveError> {
        self.entries += 1;
        self.text += text;
        if self.entries > self.limits.entries || self.text > TEXT {
            return Err(ArchiveError::TooManyEntries { limit: self.limits.entries });
        }
        Ok(())
    }

    /// Takes an entry in, if it may follow those before it.
    pub(super) fn add(&mut self, path: TreePath, entry: Entry) -> Result<(), ArchiveError> {
        self.check_ancestors(&path)?;
        let now = Kind::of(&entry.node);
        let before = match self.tree.get(&path) {
            Some(before) => Some(Kind::of(&before.node)),
            None => self.implied.contains(&path).then_some(Kind::Directory),
        };
        if let Some(before) = before.filter(|before| *before != now) {
            return Err(refuse(path.as_str(), Refusal::Conflict { before, now }));
        }
        if self.linked.contains(&path) {
            return Err(refuse(path.as_str(), Refusal::ReplacesLinked));
        }
        self.tree.insert(path, entry);
        Ok(())
    }

    /// The entry of a hard link leads to the file itself, never to another link, and has the file's attributes.
    pub(super) fn add_hardlink(&mut self, path: TreePath, target: &[u8]) -> Result<(), ArchiveError> {
        let Ok(Some(target)) = self::path(target) else {
            let target = String::from_utf8_lossy(target).chars().take(200).collect();
            return Err(refuse(path.as_str(), Refusal::HardlinkEscapes { target }));
        };
        let file = match self.tree.get(&target).map(|entry| &entry.node) {
            Some(Node::File(_)) => target,
            Some(Node::Hardlink(file)) => file.clone(),
            _ => return Err(refuse(path.as_str(), Refusal::HardlinkDangles { target })),
        };
        if file == path {
            return Err(refuse(path.as_str(), Refusal::ReplacesLinked));
        }
        let Some(original) = self.tree.get(&file) else {
            return Err(refuse(path.as_str(), Refusal::HardlinkDangles { target: file }));
        };
        let entry = Entry { node: Node::Hardlink(file.clone()), ..original.clone() };
        self.add(path, entry)?;
        self.linked.insert(file);
        Ok(())
    }

    /// Leaves a device out, or refuses it, as the policy says.
    pub(super) fn add_special(&self, path: &TreePath, special: Special) -> Result<(), ArchiveError> {
        match self.limits.devices {
            Devices::Skip => Ok(()),
            Devices::Refuse => Err(refuse(path.as_str(), Refusal::Device(special))),
        }
    }

    fn check_ancestors(&mut self, path: &TreePath) -> Result<(), ArchiveError> {
        let mut below = path.parent();
        while let Some(ancestor) = below {
            match self.tree.get(&ancestor).map(|entry| &entry.node) {
                // What lies above was checked when this directory came.
                Some(Node::Directory) => return Ok(()),
                Some(Node::Symlink(_)) => {
                    return Err(refuse(path.as_str(), Refusal::ThroughSymlink { link: ancestor }));
                }
                Some(Node::File(_) | Node::Hardlink(_)) => {
                    return Err(refuse(path.as_str(), Refusal::BelowFile { file: ancestor }));
                }
                None => {}
            }
            below = ancestor.parent();
            if !self.implied.insert(ancestor) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The tree, once every symbolic link is known to stay inside.
    pub(super) fn finish(self) -> Result<Tree, ArchiveError> {
        // Far above what honest links take (5 steps each), far below what would keep a processor busy.
        let mut steps = 10_000_000;
        let links: HashMap<&str, &str> = self
            .tree
            .iter()
            .filter_map(|(path, entry)| match &entry.node {
                Node::Symlink(target) => Some((path.as_str(), target.as_str())),
                _ => None,
            })
            .collect();
        for (path, entry) in self.tree.iter() {
            if let Node::Symlink(target) = &entry.node {
                follow(path, target, &links, &mut steps).map_err(|why| refuse(path.as_str(), why))?;
            }
        }
        Ok(self.tree)
    }
}

/// Walks where a link leads, through other links, as the kernel would in a root of its own. Only `..` at the root is an
/// escape: the kernel would stay there, but whoever looks at the tree from outside would not.
fn follow(path: &TreePath, target: &str, links: &HashMap<&str, &str>, steps: &mut usize) -> Result<(), Refusal> {
    // MAXSYMLINKS: beyond it the kernel answers ELOOP, and a link that leads nowhere harms nobody.
    let mut hops = 40;
    let mut at = path.parent().map_or_else(String::new, |parent| parent.as_str().to_owned());
    let mut ahead: Vec<&str> = Vec::new();
    let enter = |target, at: &mut String, ahead: &mut Vec<_>| {
        if str::starts_with(target, '/') {
            at.clear();
        }
        ahead.extend(target.split('/').rev());
    };
    enter(target, &mut at, &mut ahead);
    while let Some(part) = ahead.pop() {
        *steps = steps.checked_sub(1).ok_or(Refusal::SymlinkTangled)?;
        match part {
            "" | "." => continue,
            ".." if at.is_empty() => return Err(Refusal::SymlinkEscapes { target: target.to_owned() }),
            ".." => at.truncate(at.rfind('/').unwrap_or(0)),
            part => {
                let parent = at.len();
                if !at.is_empty() {
                    at.push('/');
                }
                at.push_str(part);
                if let Some(target) = links.get(at.as_str()) {
                    if hops == 0 {
                        return Ok(());
                    }
                    hops -= 1;
                    at.truncate(parent);
                    enter(target, &mut at, &mut ahead);
                }
            }
        }
        // A path longer than PATH_MAX leads nowhere either.
        if at.len() > 4096 {
            return Ok(());
        }
    }
    Ok(())
}

/// Gives the files the blob that they are slices of, which is known only when it is complete.
pub(super) fn place(tree: &mut Tree, blob: Digest) {
    for entry in tree.entries.values_mut() {
        if let Node::File(content) = &mut entry.node {
            content.blob = blob;
        }
    }
}

/// A file at an offset of the blob to come.
pub(super) const fn slice(offset: u64, size: u64) -> Node {
    Node::File(Content { blob: Digest::from_bytes([0; 32]), offset, size })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> TreePath {
        TreePath::new(text).unwrap()
    }

    fn gather(entries: &[(&str, Node)]) -> Result<Tree, ArchiveError> {
        let limits = Limits::default();
        let mut gathering = Gathering::new(&limits);
        for (path, node) in entries {
            match node {
                Node::Hardlink(target) => gathering.add_hardlink(at(path), target.as_str().as_bytes())?,
                node => gathering.add(at(path), Entry::new(0o644, node.clone()))?,
            }
        }
        gathering.finish()
    }

    fn link(target: &str) -> Node {
        Node::Symlink(target.to_owned())
    }

    #[test]
    fn links_that_stay_inside_are_kept() {
        for (path, target) in [
            ("bin/sh", "/bin/busybox"),
            ("usr/bin/awk", "../../etc/alternatives/awk"),
            ("etc/mtab", "../proc/self/mounts"),
            ("x/y", "../x"),
            ("a", "."),
            ("a", ""),
            ("a", "a"),
            ("v", "/x/.."),
        ] {
            let result = gather(&[("d/e/f", slice(0, 1)), (path, link(target))]);
            assert!(result.is_ok(), "{path} -> {target}: {result:?}");
        }
    }

    #[test]
    fn links_that_leave_are_refused() {
        let cases: [&[(&str, Node)]; 6] = [
            &[("a", link(".."))],
            &[("a/b", link("../../x"))],
            &[("a", link("/../etc/passwd"))],
            &[("a", link("b/../../x"))],
            // Each stays inside by its text; together they leave.
            &[("a/b/l", link("../..")), ("a/b/m", link("l/../x"))],
            &[("m", link("deep/l/..")), ("deep/l", link("/"))],
        ];
        for entries in cases {
            let error = gather(entries).unwrap_err();
            assert!(
                matches!(error, ArchiveError::Refused { why: Refusal::SymlinkEscapes { .. }, .. }),
                "{entries:?}: {error}"
            );
        }
    }

    #[test]
    fn a_path_keeps_its_kind() {
        let file = || slice(0, 1);
        let hard = |target| Node::Hardlink(at(target));
        let refused: [(&str, &[(&str, Node)]); 10] = [
            ("through the symbolic link `a`", &[("a", link("b")), ("a/x", file())]),
            ("through the symbolic link `a`", &[("a", link("b")), ("a/x/y/z", file())]),
            ("below `a`", &[("a", file()), ("a/x", file())]),
            ("already gave to a directory", &[("a/x", file()), ("a", link("b"))]),
            ("already gave to a directory", &[("a", Node::Directory), ("a", file())]),
            ("already gave to a symbolic link", &[("a", link("b")), ("a", file())]),
            ("not a file that came before", &[("a", hard("b")), ("b", file())]),
            ("not a file that came before", &[("b", link("c")), ("a", hard("b"))]),
            ("has hard links", &[("a", file()), ("b", hard("a")), ("a", file())]),
            ("has hard links", &[("a", file()), ("a", hard("a"))]),
        ];
        for (words, entries) in refused {
            let error = gather(entries).unwrap_err().to_string();
            assert!(error.contains(words), "{entries:?}: {error}");
        }
    }

    #[test]
    fn a_later_entry_replaces_one_of_its_kind() {
        let tree = gather(&[("a", slice(0, 1)), ("a", slice(512, 2)), ("l", link("x")), ("l", link("y"))]).unwrap();
        assert_eq!(tree.get(&at("a")).unwrap().node, slice(512, 2));
        assert_eq!(tree.get(&at("l")).unwrap().node, link("y"));
    }

    #[test]
    fn a_chain_of_hard_links_leads_to_the_file() {
        let hard = |target| Node::Hardlink(at(target));
        let tree = gather(&[("a", slice(0, 1)), ("b", hard("a")), ("c", hard("b"))]).unwrap();
        assert_eq!(tree.get(&at("c")).unwrap().node, hard("a"));
    }

    #[test]
    fn tangled_links_end() {
        let mut entries: Vec<(String, Node)> =
            (0..60).map(|n| (format!("l{n}"), link(&format!("l{}/", n + 1).repeat(2)))).collect();
        entries.push(("l60".to_owned(), link(".")));
        let entries: Vec<_> = entries.iter().map(|(path, node)| (path.as_str(), node.clone())).collect();
        assert!(gather(&entries).is_ok());
    }

    #[test]
    fn names_are_read_strictly() {
        assert_eq!(path(b"./a//b/").unwrap(), Some(at("a/b")));
        assert_eq!(path(b"./").unwrap(), None);
        assert_eq!(path(b".").unwrap(), None);
        for name in [&b"/etc/passwd"[..], b"../a", b"a/../b", b"a\xff", b"", b"a\0b", b"//x"] {
            assert!(path(name).is_err(), "{}", String::from_utf8_lossy(name));
        }
    }
}
