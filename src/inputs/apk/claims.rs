//! Which package owns which path: packages one after another, as apk unpacks them (its `apk_db_install_archive_entry`).
//!
//! Directories may be brought by any number of packages. A file belongs to one: a package may take it from an earlier one
//! of the same source, or from one that it `replaces`; of two that replace each other the higher priority has it. Where
//! apk would warn, carry on and mark the package broken, this is an error.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    archive::ArchiveEntry,
    dependency::{Constraint, Dependency},
    index::Package,
    package::VerifiedPackage,
};
use crate::base::{Node, TreePath};

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

#[derive(Debug, Default)]
pub(super) struct Claims<'p> {
    /// The folders of each package, in the order of its archive.
    pub(super) folders: Vec<Vec<Folder<'p>>>,
    pub(super) files: BTreeMap<&'p TreePath, Claim<'p>>,
    /// Directories with every package's idea of them, in the order of installation.
    pub(super) directories: BTreeMap<&'p TreePath, Vec<Claim<'p>>>,
}

impl<'p> Claims<'p> {
    pub(super) fn new(packages: &[&'p VerifiedPackage]) -> Result<Self, ClaimError> {
        let mut claims = Self::default();
        for number in 0..packages.len() {
            claims.unpack(packages, number)?;
        }
        for (path, file) in &claims.files {
            if let Some(directory) = claims.directories.get(path).and_then(|directories| directories.first()) {
                return Err(ClaimError::FileAndDirectory {
                    path: (*path).clone(),
                    directory_of: packages[directory.package].title(),
                    file_of: packages[file.package].title(),
                });
            }
        }
        Ok(claims)
    }

    fn unpack(&mut self, packages: &[&'p VerifiedPackage], number: usize) -> Result<(), ClaimError> {
        let package = packages[number];
        let mut folders: Vec<Folder<'p>> = Vec::new();
        let mut by_path: BTreeMap<Option<&TreePath>, usize> = BTreeMap::new();
        let mut own = BTreeSet::new();
        for entry in &package.entries {
            if entry.node == Node::Directory {
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
                && !own.contains(target)
            {
                let (path, target) = (entry.path.clone(), target.clone());
                return Err(ClaimError::NoLinkTarget { path, target, package: package.title() });
            }
            if !own.insert(&entry.path) {
                return Err(ClaimError::Twice { path: entry.path.clone(), package: package.title() });
            }
            if self.may_take(packages, number, &entry.path)? {
                folders[at].files.push(entry);
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
