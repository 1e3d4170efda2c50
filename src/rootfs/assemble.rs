//! The assembly itself: every entry of every part finds its place, or an error names who stands there.

use std::{
    collections::{BTreeMap, BTreeSet},
    ptr,
};

use super::{
    Layer, LayerName, Part, Role, Rootfs, RootfsError,
    inodes::{Inode, Inodes},
    kind,
    make::linked_file,
};
use crate::base::{
    Entry, Node, TreePath,
    resolve::{Unresolved, resolve},
};

/// Puts parts together in their order, lower layers first.
pub fn assemble(parts: &[Part]) -> Result<Rootfs, RootfsError> {
    let mut assembly = Assembly::default();
    for (number, part) in parts.iter().enumerate() {
        assembly.add(number, part)?;
    }
    let layers = assembly.layers.into_iter().map(|(name, inodes)| Layer { name, tree: inodes.finish() });
    Ok(Rootfs { layers: layers.collect() })
}

#[derive(Default)]
struct Assembly<'a> {
    /// What stands at every path so far, all layers together.
    merged: BTreeMap<TreePath, Placed<'a>>,
    layers: Vec<(LayerName, Inodes)>,
}

/// An entry and the part it comes from; `None` for directories that were made because something below needed them.
struct Placed<'a> {
    entry: Entry,
    part: Option<&'a Part>,
}

impl<'a> Assembly<'a> {
    fn add(&mut self, number: usize, part: &'a Part) -> Result<(), RootfsError> {
        self.begin_layer(part)?;
        let shared: BTreeSet<&TreePath> = part.tree.iter().filter_map(|(_, entry)| link_target(entry)).collect();
        for (path, entry) in part.tree.iter().filter(|(_, entry)| link_target(entry).is_none()) {
            let inode = shared.contains(path).then(|| (number, path.clone()));
            self.place(part, path, entry.clone(), inode)?;
        }
        for (path, entry) in part.tree.iter() {
            let Some(target) = link_target(entry) else { continue };
            let Some((target, file)) = linked_file(&part.tree, target) else {
                return Err(RootfsError::DanglingHardlink {
                    path: path.clone(),
                    target: target.clone(),
                    later: part.origin.clone(),
                });
            };
            self.place(part, path, file.clone(), Some((number, target.clone())))?;
        }
        Ok(())
    }

    fn begin_layer(&mut self, part: &Part) -> Result<(), RootfsError> {
        if self.layers.last().is_some_and(|(name, _)| *name == part.layer) {
            return Ok(());
        }
        if self.layers.iter().any(|(name, _)| *name == part.layer) {
            return Err(RootfsError::LayersMixed { layer: part.layer.clone(), origin: part.origin.clone() });
        }
        self.layers.push((part.layer.clone(), Inodes::default()));
        Ok(())
    }

    fn place(
        &mut self,
        part: &'a Part,
        path: &TreePath,
        entry: Entry,
        inode: Option<Inode>,
    ) -> Result<(), RootfsError> {
        let Some(path) = self.physical(part, path, &entry)? else { return Ok(()) };
        if path.as_str().split('/').any(|name| name.starts_with(".wh.")) {
            return Err(RootfsError::Whiteout { path, later: part.origin.clone() });
        }
        match self.merged.get(&path) {
            Some(earlier) if !replaces(part, &path, &entry, earlier)? => return Ok(()),
            _ => {}
        }
        self.ensure_parents(&path);
        let Some((_, layer)) = self.layers.last_mut() else { return Ok(()) };
        match inode {
            Some(inode) => layer.put_shared(path.clone(), entry.clone(), inode),
            None => layer.put(path.clone(), entry.clone()),
        }
        self.merged.insert(path, Placed { entry, part: Some(part) });
        Ok(())
    }

    /// Where an entry goes once the links above it are followed; a directory also follows a link in its own place.
    /// `None` is the root, which has no entry.
    fn physical(&self, part: &Part, path: &TreePath, entry: &Entry) -> Result<Option<TreePath>, RootfsError> {
        let resolve = |text: &str| {
            resolve(text, |path| self.merged.get(path).map(|placed| &placed.entry.node))
                .map_err(|reason| self.unresolved(part, path, entry, reason))
        };
        if entry.node == Node::Directory {
            return resolve(path.as_str());
        }
        let above = path.parent().map_or(Ok(None), |above| resolve(above.as_str()))?;
        let Some(above) = above else { return Ok(TreePath::new(path.file_name()).ok()) };
        above.join(path.file_name()).map(Some).map_err(|reason| RootfsError::Path {
            path: path.clone(),
            later: part.origin.clone(),
            reason,
        })
    }

    fn unresolved(&self, part: &Part, path: &TreePath, entry: &Entry, reason: Unresolved) -> RootfsError {
        let (path, later) = (path.clone(), part.origin.clone());
        match reason {
            Unresolved::TooManyLinks => RootfsError::Links { path, later },
            Unresolved::Invalid(reason) => RootfsError::Path { path, later, reason },
            Unresolved::NotADirectory(above) => {
                let placed = self.merged.get(&above);
                let earlier = placed.map_or_else(String::new, Placed::origin);
                if above == path {
                    let (earlier_kind, later_kind) = (placed.map_or("file", |placed| kind(&placed.entry)), kind(entry));
                    return RootfsError::Kinds { path, earlier, earlier_kind, later, later_kind };
                }
                RootfsError::BelowAFile { path, above, earlier, later }
            }
        }
    }

    /// Gives the layer in progress every directory above `path`: as an earlier layer has it, or new.
    fn ensure_parents(&mut self, path: &TreePath) {
        let Some((_, layer)) = self.layers.last_mut() else { return };
        for above in std::iter::successors(path.parent(), TreePath::parent) {
            if layer.contains(&above) {
                break;
            }
            let made = || Placed { entry: Entry::directory(), part: None };
            let placed = self.merged.entry(above.clone()).or_insert_with(made);
            layer.put(above, placed.entry.clone());
        }
    }
}

impl Placed<'_> {
    fn origin(&self) -> String {
        self.part.map_or_else(|| "another part".to_owned(), |part| part.origin.clone())
    }
}

/// Whether an entry takes the place of an earlier one (`true`), or the earlier one stays as it is and serves both.
fn replaces(part: &Part, path: &TreePath, entry: &Entry, earlier: &Placed) -> Result<bool, RootfsError> {
    if *entry == earlier.entry {
        return Ok(false);
    }
    let overlay = part.role == Role::Overlay;
    match (entry.node == Node::Directory, earlier.entry.node == Node::Directory) {
        (true, true) => Ok(overlay || earlier.part.is_none()),
        (false, false) => {
            let replaceable = |by: &Part| by.role != Role::Component && !ptr::eq(by, part);
            if overlay && earlier.part.is_some_and(replaceable) {
                return Ok(true);
            }
            let (earlier, later) = (earlier.origin(), part.origin.clone());
            Err(RootfsError::Collision { path: path.clone(), earlier, later })
        }
        _ => Err(RootfsError::Kinds {
            path: path.clone(),
            earlier: earlier.origin(),
            earlier_kind: kind(&earlier.entry),
            later: part.origin.clone(),
            later_kind: kind(entry),
        }),
    }
}

const fn link_target(entry: &Entry) -> Option<&TreePath> {
    if let Node::Hardlink(target) = &entry.node { Some(target) } else { None }
}

#[cfg(test)]
mod tests;
