//! Which package owns which path: packages one after another, as apk unpacks them (its `apk_db_install_archive_entry`).
//!
//! Directories may be brought by any number of packages. A file belongs to one: a package may take it from an earlier one
//! of the same source, or from one that it `replaces`; of two that replace each other the higher priority has it. Where
//! apk would warn, carry on and mark the package broken, this is an error.
//!
//! Where a package brings a directory that an earlier one has as a link to a directory, its files come to lie where the
//! link leads ([`Claims::place`]), as they do when apk unpacks them; in the database they keep their names. Two files that
//! meet in that way are an error, while apk lets the second have the place without a word.

use std::collections::BTreeMap;

use super::{
    archive::ArchiveEntry,
    dependency::{Constraint, Dependency},
    index::Package,
    package::VerifiedPackage,
};
use crate::base::{
    Node, TreePath,
    resolve::{Unresolved, resolve},
    tree::InvalidPath,
};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    #[error("{first} and {second} both bring the file `{path}`, and neither replaces the other: leave one of them out")]
    Overwrite { path: TreePath, first: String, second: String },
    #[error("`{path}` is a directory in {directory_of} and a file or link in {file_of}: leave one of them out")]
    FileAndDirectory { path: TreePath, directory_of: String, file_of: String },
    #[error("{package} brings `{path}` but not the directory it lies in: the package is malformed")]
    NoDirectory { path: TreePath, package: String },
    #[error(
        "{package} brings `{path}` as another name of `{target}`, which it does not bring: the package is malformed"
    )]
    NoLinkTarget { path: TreePath, target: TreePath, package: String },
    #[error("{package} brings `{path}` twice: the package is malformed")]
    Twice { path: TreePath, package: String },
    #[error(
        "{second} brings the file `{path}`, which through a link is the file `{other}` of {first}: leave one of them out"
    )]
    Meet { path: TreePath, other: TreePath, first: String, second: String },
    #[error("placing the files of the packages: {0}")]
    Path(#[from] InvalidPath),
}

/// A directory as one package brings it, and the files in it that are this package's in the end.
#[derive(Debug)]
pub(super) struct Folder<'p> {
    /// `None` for the root, which no package brings.
    pub(super) entry: Option<&'p ArchiveEntry>,
    pub(super) files: Vec<&'p ArchiveEntry>,
}

/// A file and the number of its package.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim<'p> {
    pub(super) package: usize,
    pub(super) entry: &'p ArchiveEntry,
}

/// A file that several names of one package lead to, as it is after the last of them was unpacked.
#[derive(Debug)]
pub(super) struct Inode<'p> {
    /// The name that decides on the owner.
    pub(super) owner: &'p ArchiveEntry,
    pub(super) mode: u32,
    pub(super) xattrs: BTreeMap<String, Vec<u8>>,
}

#[derive(Debug, Default)]
pub(super) struct Claims<'p> {
    /// The folders of each package, in the order of its archive.
    pub(super) folders: Vec<Vec<Folder<'p>>>,
    pub(super) files: BTreeMap<&'p TreePath, Claim<'p>>,
    /// Directories with every package's idea of them, in the order of installation.
    pub(super) directories: BTreeMap<&'p TreePath, Vec<Claim<'p>>>,
    /// What lies where, by the first that brought a directory and the last that brought a file.
    here: BTreeMap<TreePath, Claim<'p>>,
    /// Directories that lie elsewhere than they are named.
    elsewhere: BTreeMap<&'p TreePath, TreePath>,
    inodes: Vec<Inode<'p>>,
    /// The inodes of files with several names, by package and name.
    names: BTreeMap<(usize, &'p TreePath), usize>,
}

impl<'p> Claims<'p> {
    pub(super) fn new(packages: &[&'p VerifiedPackage]) -> Result<Self, ClaimError> {
        let mut claims = Self::default();
        for number in 0..packages.len() {
            claims.unpack(packages, number)?;
        }
        Ok(claims)
    }

    /// Where a directory that a package brings is, if that is not where it is named.
    pub(super) fn led_to(&self, directory: &TreePath) -> Option<&TreePath> {
        self.elsewhere.get(directory)
    }

    /// Where a file or link that a package brings comes to lie.
    pub(super) fn place(&self, path: &TreePath) -> Result<TreePath, InvalidPath> {
        match path.parent().and_then(|parent| self.elsewhere.get(&parent)) {
            Some(parent) => parent.join(path.file_name()),
            None => Ok(path.clone()),
        }
    }

    /// The file behind a name, where it has several.
    pub(super) fn inode(&self, claim: &Claim<'p>) -> Option<&Inode<'p>> {
        self.names.get(&(claim.package, &claim.entry.path)).map(|inode| &self.inodes[*inode])
    }

    /// Makes a directory, unless it is there or a link of an earlier package leads to one.
    fn make(&mut self, packages: &[&'p VerifiedPackage], claim: Claim<'p>) -> Result<(), ClaimError> {
        let path = &claim.entry.path;
        let at = self.below_links(packages, claim)?;
        let at = match self.here.get(&at) {
            None => {
                self.here.insert(at.clone(), claim);
                at
            }
            Some(there) if there.entry.node == Node::Directory => at,
            // apk makes its own links only after it has made its directories.
            Some(there) => match self.led(&at).filter(|_| there.package != claim.package) {
                Some(led) => led,
                None => return Err(mixed(packages, path, claim.package, there.package)),
            },
        };
        if at != *path {
            self.elsewhere.insert(path, at);
        }
        Ok(())
    }

    /// Where a directory would be made: links of earlier packages above it are followed, also where this package does not
    /// bring what they stand for.
    fn below_links(&self, packages: &[&'p VerifiedPackage], claim: Claim<'p>) -> Result<TreePath, ClaimError> {
        let path = &claim.entry.path;
        let Some(parent) = path.parent() else { return Ok(path.clone()) };
        let mut above = std::iter::successors(Some(parent.clone()), TreePath::parent);
        let is_own = |there: &&Claim<'p>| there.package == claim.package && there.entry.node != Node::Directory;
        if let Some(there) = above.find_map(|path| self.here.get(&path).filter(is_own)) {
            return Err(mixed(packages, &there.entry.path, claim.package, there.package));
        }
        match resolve(parent.as_str(), |path| self.here.get(path).map(|claim| &claim.entry.node)) {
            Ok(Some(parent)) => Ok(parent.join(path.file_name())?),
            Ok(None) => Ok(TreePath::new(path.file_name())?),
            Err(Unresolved::Invalid(error)) => Err(error.into()),
            Err(Unresolved::NotADirectory(at)) => {
                let file = self.here.get(&at).map_or(claim.package, |there| there.package);
                Err(mixed(packages, &at, claim.package, file))
            }
            Err(Unresolved::TooManyLinks) => Err(mixed(packages, &parent, claim.package, claim.package)),
        }
    }

    /// The directory that a link leads to.
    fn led(&self, link: &TreePath) -> Option<TreePath> {
        let node = |path: &TreePath| self.here.get(path).map(|claim| &claim.entry.node);
        let led = resolve(link.as_str(), node).ok()??;
        (node(&led) == Some(&Node::Directory)).then_some(led)
    }

    /// Puts a file or link where it comes to lie.
    fn put(&mut self, packages: &[&'p VerifiedPackage], claim: Claim<'p>) -> Result<(), ClaimError> {
        let path = &claim.entry.path;
        let at = self.place(path)?;
        match self.here.get(&at) {
            Some(there) if there.entry.node == Node::Directory => {
                return Err(mixed(packages, path, there.package, claim.package));
            }
            Some(there) if there.entry.path != *path => {
                let (first, second) = (packages[there.package].title(), packages[claim.package].title());
                let (path, other) = (path.clone(), there.entry.path.clone());
                return Err(ClaimError::Meet { path, other, first, second });
            }
            _ => {}
        }
        self.here.insert(at, claim);
        Ok(())
    }

    /// Notes one more name of a file of the same package.
    fn link(&mut self, package: usize, file: &'p ArchiveEntry, name: &'p ArchiveEntry) {
        let next = self.inodes.len();
        let inode = *self.names.entry((package, &file.path)).or_insert(next);
        if inode == next {
            self.inodes.push(Inode { owner: file, mode: file.mode, xattrs: file.xattrs.clone() });
        }
        self.names.insert((package, &name.path), inode);
        self.inodes[inode].become_as(name);
    }

    fn unpack(&mut self, packages: &[&'p VerifiedPackage], number: usize) -> Result<(), ClaimError> {
        let package = packages[number];
        let mut folders: Vec<Folder<'p>> = Vec::new();
        let mut by_path: BTreeMap<Option<&TreePath>, usize> = BTreeMap::new();
        let mut own = BTreeMap::new();
        for entry in &package.entries {
            let claim = Claim { package: number, entry };
            if entry.node == Node::Directory {
                self.make(packages, claim)?;
                let next = folders.len();
                let at = *by_path.entry(Some(&entry.path)).or_insert(next);
                if at == next {
                    folders.push(Folder { entry: Some(entry), files: Vec::new() });
                }
                folders[at].entry = Some(entry);
                continue;
            }
            let parent = entry.path.parent();
            let at = match by_path.get(&parent.as_ref()) {
                Some(at) => *at,
                None if parent.is_none() => {
                    by_path.insert(None, folders.len());
                    folders.push(Folder { entry: None, files: Vec::new() });
                    folders.len() - 1
                }
                None => {
                    return Err(ClaimError::NoDirectory { path: entry.path.clone(), package: package.title() });
                }
            };
            if let Node::Hardlink(target) = &entry.node
                && !own.contains_key(target)
            {
                let (path, target) = (entry.path.clone(), target.clone());
                return Err(ClaimError::NoLinkTarget { path, target, package: package.title() });
            }
            if own.insert(&entry.path, entry).is_some() {
                return Err(ClaimError::Twice { path: entry.path.clone(), package: package.title() });
            }
            if self.may_take(packages, number, &entry.path)? {
                self.put(packages, claim)?;
                folders[at].files.push(entry);
                if let Node::Hardlink(target) = &entry.node {
                    self.link(number, own[target], entry);
                }
            }
        }
        self.claim(number, folders);
        Ok(())
    }

    /// Whether a package's file comes in, beside or in place of one that is there.
    fn may_take(&self, packages: &[&VerifiedPackage], number: usize, path: &TreePath) -> Result<bool, ClaimError> {
        let Some(owner) = self.files.get(path) else { return Ok(true) };
        let (old, new) = (packages[owner.package], packages[number]);
        let (old_package, new_package) = (old.package(), new.package());
        if !new_package.origin().is_empty() && old_package.origin() == new_package.origin() {
            return Ok(true);
        }
        let kept = priority(old, new_package);
        let taken = priority(new, old_package);
        if kept > taken {
            return Ok(false);
        }
        if taken.is_some() {
            return Ok(true);
        }
        Err(ClaimError::Overwrite { path: path.clone(), first: old.title(), second: new.title() })
    }

    fn claim(&mut self, package: usize, folders: Vec<Folder<'p>>) {
        for folder in &folders {
            if let Some(entry) = folder.entry {
                self.directories.entry(&entry.path).or_default().push(Claim { package, entry });
            }
            for entry in &folder.files {
                if let Some(before) = self.files.insert(&entry.path, Claim { package, entry }) {
                    for folder in &mut self.folders[before.package] {
                        folder.files.retain(|other| other.path != entry.path);
                    }
                }
            }
        }
        self.folders.push(folders);
    }
}

impl<'p> Inode<'p> {
    /// What unpacking one more name does to the file: apk gives it the owner of that name, for which Linux takes set-ID
    /// bits and capabilities away, and makes up for that only where the name itself has some.
    fn become_as(&mut self, name: &'p ArchiveEntry) {
        self.owner = name;
        if name.mode & 0o7000 != 0 {
            self.mode = name.mode;
        } else {
            let group_executes = self.mode & 0o010 != 0;
            self.mode &= if group_executes { !0o6000 } else { !0o4000 };
        }
        self.xattrs.remove("security.capability");
        self.xattrs.extend(name.xattrs.clone());
    }
}

fn mixed(packages: &[&VerifiedPackage], path: &TreePath, directory: usize, file: usize) -> ClaimError {
    let (directory_of, file_of) = (packages[directory].title(), packages[file].title());
    ClaimError::FileAndDirectory { path: path.clone(), directory_of, file_of }
}

/// With what priority `package` replaces `other`, if it does.
fn priority(package: &VerifiedPackage, other: Package<'_>) -> Option<u16> {
    let replaces = |dependency: Dependency<'_>| {
        dependency.name == other.name()
            && dependency.conflict
                != match dependency.constraint {
                    Constraint::Any => true,
                    Constraint::Version(operator, wanted) => operator.holds(other.version(), wanted),
                    Constraint::Checksum(checksum) => other.checksum().to_string() == checksum,
                }
    };
    package.info.replaces().any(replaces).then_some(package.info.replaces_priority)
}
