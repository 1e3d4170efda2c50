//! The root file system that dpkg would leave, as a tree, without running anything.
//!
//! ```text
//! place          every package's files at their places in a merged /usr; who wins where two bring the same path
//! deeds          what the scripts of the base packages would do: links, folders, copies, the bundle of CAs
//! accounts       users and groups, from the lists of base-passwd
//! alternatives   which program answers to a shared name, from a declared table
//! documentation  what nobody reads in an image, left out; copyright files stay
//! status         dpkg's record of what is installed, for scanners and for `dpkg -l`
//! scripts        what packages would have run and nothing was done for, named
//! ```
//!
//! No `etc/ld.so.cache` is made. The loader looks for libraries in `/lib/<triplet>`, `/usr/lib/<triplet>`, `/lib` and
//! `/usr/lib` without it, since Debian builds glibc with these folders (`slibdir`, `rtlddir` and the multiarch search
//! path; `ld.so --help` lists them as "system search path", ld.so(8) names the order). Only folders that packages add
//! in `etc/ld.so.conf.d` need the cache; libraries there are found by the check of the whole image, or not at all.
//!
//! Configuration files need no treatment: dpkg asks about those that exist, and in an empty root none does. Diversions
//! are made by scripts and are therefore among what is named.

mod accounts;
mod alternatives;
mod deeds;
mod documentation;
mod place;
mod scripts;
mod status;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

pub use alternatives::{Alternative, AlternativeError};
pub use place::{PlaceError, Places};
pub use scripts::{Phase, UndeclaredScript};

use super::{control::Control, packages::Package};
use crate::{
    base::{Content, Entry, Node, Tree, TreePath, tree::InvalidPath},
    inputs::store::{Store, StoreError},
};

/// A verified package: what the index says, its control part, and the tree of its data.
#[derive(Clone, Copy, Debug)]
pub struct Unpacked<'a> {
    pub package: &'a Package<'a>,
    pub control: &'a Control,
    pub data: &'a Tree,
}

/// What a root file system has beside its packages.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Those whose program no package brings are passed over.
    pub alternatives: Vec<Alternative>,
    /// Packages whose scripts need not run, or for which files of the definition stand in.
    pub declared: BTreeSet<String>,
}

/// An assembled root file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assembled {
    pub tree: Tree,
    /// The package that each path is of. What belongs to none was made here.
    pub owners: BTreeMap<TreePath, String>,
    /// Scripts that dpkg would have run and that nothing was done for, sorted.
    pub undeclared: Vec<UndeclaredScript>,
    /// The alternatives whose program no package brings, by the paths that users would call. Nothing was made for them.
    pub idle: Vec<TreePath>,
    /// What its folders are reached through.
    pub places: Places,
}

#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error(transparent)]
    Alternative(#[from] AlternativeError),
    #[error(transparent)]
    Path(#[from] InvalidPath),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("reading {path} of the packages: {source}")]
    Read { path: TreePath, source: io::Error },
    #[error("reading {path} of the packages: it has {size} bytes, more than such a file ever has")]
    TooLarge { path: TreePath, size: u64 },
}

/// Puts packages together. Their order does not matter.
pub fn assemble(store: &Store, packages: &[Unpacked<'_>], setup: &Setup) -> Result<Assembled, AssembleError> {
    let mut packages = packages.to_vec();
    packages.sort_by_key(|unpacked| unpacked.package.name);
    let (tree, mut owners, places) = place::place(&packages)?;
    let mut root = Root { store, tree };
    deeds::perform(&mut root, &packages)?;
    accounts::create(&mut root)?;
    let (alternatives, idle) = alternatives::that_lead_somewhere(&root.tree, &places, &setup.alternatives);
    alternatives::create(&mut root.tree, &alternatives)?;
    let settled: BTreeSet<String> = alternatives.iter().filter_map(|one| owners.get(&one.target).cloned()).collect();
    for alternative in &alternatives {
        // Whoever brings the program brings the names that it answers to.
        if let Some(owner) = owners.get(&alternative.target).cloned() {
            owners.insert(alternative.switch()?, owner.clone());
            owners.insert(alternative.link.clone(), owner);
        }
    }
    documentation::leave_out(&mut root.tree);
    status::record(&mut root, &packages)?;
    root.complete_folders();
    let undeclared = scripts::undeclared(&packages, setup, &settled);
    let tree = root.tree;
    owners.retain(|path, _| tree.get(path).is_some());
    Ok(Assembled { tree, owners, undeclared, idle, places })
}

/// A tree that is being finished, and where its files' contents go.
struct Root<'s> {
    store: &'s Store,
    tree: Tree,
}

impl Root<'_> {
    /// The bytes of a file of the packages, through hard links. `None` when there is no such file.
    fn read(&self, path: &TreePath) -> Result<Option<Vec<u8>>, AssembleError> {
        const LARGEST: u64 = 4 << 20;
        let Some(content) = content(&self.tree, path) else { return Ok(None) };
        if content.size > LARGEST {
            return Err(AssembleError::TooLarge { path: path.clone(), size: content.size });
        }
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut self.store.content(&content)?, &mut bytes)
            .map_err(|source| AssembleError::Read { path: path.clone(), source })?;
        Ok(Some(bytes))
    }

    /// Writes a file, unless a package brings it already: scripts leave alone what is there.
    fn write(&mut self, path: &str, mode: u32, gid: u32, bytes: &[u8]) -> Result<(), AssembleError> {
        let content = Content::whole(self.store.put(bytes)?);
        self.add(path, Entry { gid, ..Entry::new(mode, Node::File(content)) })
    }

    fn add(&mut self, path: &str, entry: Entry) -> Result<(), AssembleError> {
        self.tree.entries.entry(TreePath::new(path)?).or_insert(entry);
        Ok(())
    }

    /// Adds the folders that entries lie in and that no package brings.
    fn complete_folders(&mut self) {
        let mut missing = BTreeSet::new();
        for path in self.tree.entries.keys() {
            let mut folder = path.parent();
            while let Some(path) = folder.filter(|path| !self.tree.entries.contains_key(path)) {
                folder = path.parent();
                if !missing.insert(path) {
                    break;
                }
            }
        }
        self.tree.entries.extend(missing.into_iter().map(|path| (path, Entry::directory())));
    }
}

/// The content of a file, through one hard link.
pub(super) fn content(tree: &Tree, path: &TreePath) -> Option<Content> {
    match &tree.get(path)?.node {
        Node::File(content) => Some(*content),
        Node::Hardlink(first) => match tree.get(first)?.node {
            Node::File(content) => Some(content),
            _ => None,
        },
        Node::Directory | Node::Symlink(_) => None,
    }
}

#[cfg(test)]
mod tests;
