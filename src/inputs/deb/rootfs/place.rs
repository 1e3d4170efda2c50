//! Every package's files at their places.
//!
//! Debian's /usr is merged: `bin`, `lib` and `sbin` are links into `usr`, while packages of bookworm still bring files
//! in both. dpkg writes through the links; here the paths are rewritten, for these links and for any link to a folder that
//! a package brings where another brings the folder. Two packages may not bring the same file, unless one says that it
//! replaces the other (Policy 7.6).

use std::collections::{BTreeMap, BTreeSet};

use super::Unpacked;
use crate::{
    base::{Entry, Node, Tree, TreePath, tree::InvalidPath},
    inputs::deb::relation::{Target, relations},
};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    #[error(
        "{first} and {second} both bring {path}, and neither says that it replaces the other: leave one of them out"
    )]
    BothBring { path: TreePath, first: String, second: String },
    #[error("{package} brings {path}, which lies below links that lead round in circles: leave the package out")]
    Loop { package: String, path: TreePath },
    #[error("{package} brings {path}, a hard link to {target}, which it does not bring")]
    LostHardlink { package: String, path: TreePath, target: TreePath },
    #[error("{path} is a link to a folder for one package and a file for another: leave one of them out")]
    LinkAndFile { path: TreePath },
    #[error(transparent)]
    Path(#[from] InvalidPath),
}

/// Folders at the top that are links into `usr`, as `usrmerge` and debootstrap make them.
const MERGED: [&str; 7] = ["bin", "lib", "lib32", "lib64", "libo32", "libx32", "sbin"];

/// Links that base-files makes in its script, before other packages are unpacked.
const MOVED: [(&str, &str); 2] = [("var/lock", "/run/lock"), ("var/run", "/run")];

/// One package's claim to a path.
struct Claim<'p> {
    package: &'p Unpacked<'p>,
    entry: Entry,
}

/// Which package each path is of.
pub(super) type Owners = BTreeMap<TreePath, String>;

/// The links that folders of a root are reached through, each with what it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places(BTreeMap<TreePath, String>);

impl Places {
    /// Where a path lies, as a person may write it: `usr/bin/more` for `bin/more` in a merged /usr.
    pub fn of(&self, path: &TreePath) -> TreePath {
        follow(&self.0, path).ok().flatten().unwrap_or_else(|| path.clone())
    }
}

/// The tree of packages sorted by name, whose each path is, and what its folders are reached through.
pub(super) fn place(packages: &[Unpacked<'_>]) -> Result<(Tree, Owners, Places), PlaceError> {
    let links = links(packages)?;
    let mut claims: BTreeMap<TreePath, Claim<'_>> = BTreeMap::new();
    // base-files first: where several bring a folder, its attributes are those of whoever was unpacked first.
    let (first, others): (Vec<&Unpacked<'_>>, Vec<&Unpacked<'_>>) =
        packages.iter().partition(|unpacked| unpacked.package.name == "base-files");
    for unpacked in first.into_iter().chain(others) {
        for (path, entry) in unpacked.data.iter() {
            let placed = resolve(&links, path, unpacked)?;
            if links.contains_key(&placed) && matches!(entry.node, Node::Directory | Node::Symlink(_)) {
                continue;
            }
            let mut entry = entry.clone();
            if let Node::Hardlink(target) = &mut entry.node {
                if unpacked.data.get(target).is_none() {
                    let (path, target) = (path.clone(), target.clone());
                    return Err(PlaceError::LostHardlink { package: name(unpacked), path, target });
                }
                *target = resolve(&links, target, unpacked)?;
            }
            claim(&mut claims, placed, Claim { package: unpacked, entry })?;
        }
    }
    let owners = claims.iter().map(|(path, claim)| (path.clone(), name(claim.package))).collect();
    let mut tree = Tree { entries: claims.into_iter().map(|(path, claim)| (path, claim.entry)).collect() };
    for (path, target) in &links {
        let optional = path.as_str().starts_with("lib") && path.as_str() != "lib";
        let somewhere = || leads_to(path, target).map(|to| to.is_none_or(|to| leads_somewhere(&tree, &to)));
        if optional && !somewhere()? {
            continue;
        }
        if tree.insert(path.clone(), Entry::symlink(target.clone())).is_some() {
            return Err(PlaceError::LinkAndFile { path: path.clone() });
        }
    }
    Ok((tree, owners, Places(links)))
}

/// Whether there is something at a path or below it.
fn leads_somewhere(tree: &Tree, path: &TreePath) -> bool {
    let below = format!("{path}/");
    let mut after = tree.entries.range(path.clone()..).map(|(path, _)| path.as_str());
    // Paths such as `usr/lib-x` stand between a folder and what it holds.
    after
        .by_ref()
        .take_while(|next| next.starts_with(path.as_str()))
        .any(|next| next == path.as_str() || next.starts_with(&below))
}

/// The links that folders are reached through: those of a merged /usr, and those that packages bring where others bring
/// a folder.
fn links(packages: &[Unpacked<'_>]) -> Result<BTreeMap<TreePath, String>, PlaceError> {
    let mut links = BTreeMap::new();
    for top in MERGED {
        links.insert(TreePath::new(top)?, format!("usr/{top}"));
    }
    if packages.iter().any(|unpacked| unpacked.package.name == "base-files") {
        for (path, target) in MOVED {
            links.insert(TreePath::new(path)?, target.to_owned());
        }
    }
    let mut folders = BTreeSet::new();
    let mut brought = Vec::new();
    for unpacked in packages {
        for (path, entry) in unpacked.data.iter() {
            match &entry.node {
                Node::Directory => drop(folders.insert(resolve(&links, path, unpacked)?)),
                Node::Symlink(target) => brought.push((resolve(&links, path, unpacked)?, target)),
                Node::File(_) | Node::Hardlink(_) => {}
            }
        }
    }
    for (path, target) in brought {
        if folders.contains(&path) {
            links.entry(path).or_insert_with(|| target.clone());
        }
    }
    Ok(links)
}

/// Where a path of a package lies.
fn resolve(links: &BTreeMap<TreePath, String>, path: &TreePath, of: &Unpacked<'_>) -> Result<TreePath, PlaceError> {
    follow(links, path)?.ok_or_else(|| PlaceError::Loop { package: name(of), path: path.clone() })
}

/// Where a path leads when the folders above it are links. `None` when they go round in circles.
fn follow(links: &BTreeMap<TreePath, String>, path: &TreePath) -> Result<Option<TreePath>, InvalidPath> {
    // As many links as Linux follows.
    const MOST: usize = 40;
    let mut placed = path.clone();
    for _ in 0..MOST {
        let mut above = Vec::new();
        let mut folder = placed.parent();
        while let Some(path) = folder {
            folder = path.parent();
            above.push(path);
        }
        // From the top, as the system resolves a path.
        let Some(link) = above.iter().rev().find(|folder| links.contains_key(*folder)) else {
            return Ok(Some(placed));
        };
        let below = &placed.as_str()[link.as_str().len() + 1..];
        placed = match leads_to(link, &links[link])? {
            Some(folder) => folder.join(below)?,
            None => TreePath::new(below)?,
        };
    }
    Ok(None)
}

/// The path that a link leads to, `None` for the root. `..` stops at the root, as it does in a running system.
fn leads_to(link: &TreePath, target: &str) -> Result<Option<TreePath>, InvalidPath> {
    let mut parts: Vec<&str> = match link.parent() {
        Some(_) if !target.starts_with('/') => {
            link.as_str().rsplit_once('/').map_or(Vec::new(), |(folder, _)| folder.split('/').collect())
        }
        _ => Vec::new(),
    };
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    if parts.is_empty() { Ok(None) } else { TreePath::new(&parts.join("/")).map(Some) }
}

fn claim<'p>(claims: &mut BTreeMap<TreePath, Claim<'p>>, path: TreePath, new: Claim<'p>) -> Result<(), PlaceError> {
    let Some(old) = claims.get_mut(&path) else {
        claims.insert(path, new);
        return Ok(());
    };
    match (&old.entry.node, &new.entry.node) {
        // Also within one package, which may bring `bin` and `usr/bin`.
        (Node::Directory, Node::Directory) => {}
        (Node::Symlink(a), Node::Symlink(b)) if a == b => {}
        _ if replaces(new.package, old.package) => *old = new,
        _ if replaces(old.package, new.package) => {}
        _ => {
            let (first, second) = (name(old.package), name(new.package));
            return Err(PlaceError::BothBring { path, first, second });
        }
    }
    Ok(())
}

/// Whether a package says that it may overwrite files of another.
fn replaces(one: &Unpacked<'_>, other: &Unpacked<'_>) -> bool {
    let (package, replaced) = (one.package, other.package);
    package.name != replaced.name
        && relations(package.relations.replaces).filter_map(|text| Target::parse(text).ok()).any(|target| {
            let own = target.name == replaced.name
                && target.version.is_none_or(|(operator, bound)| operator.holds(replaced.version, bound));
            let provided = || {
                target.version.is_none()
                    && relations(replaced.provides)
                        .filter_map(|text| Target::parse(text).ok())
                        .any(|p| p.name == target.name)
            };
            own || provided()
        })
}

fn name(unpacked: &Unpacked<'_>) -> String {
    unpacked.package.name.to_owned()
}
