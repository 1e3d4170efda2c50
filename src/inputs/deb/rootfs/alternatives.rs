//! Which program answers to a name that several could answer to (update-alternatives(1)).
//!
//! Packages register their programs in scripts, with priorities; an image has decided. A definition's table says which
//! program stands behind a name, and the links are those that update-alternatives would make, so that a container can
//! still be switched by moving one link.

use super::Places;
use crate::base::{Entry, Tree, TreePath, tree::InvalidPath};

/// A name and the program behind it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Alternative {
    /// The path that users call, such as `usr/sbin/iptables`.
    pub link: TreePath,
    /// The link's name in `etc/alternatives`.
    pub name: String,
    /// The program, such as `usr/sbin/iptables-nft`.
    pub target: TreePath,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AlternativeError {
    #[error("the alternative {name} would stand at {link}, where a package brings a file: drop the alternative")]
    InTheWay { name: String, link: TreePath },
    #[error("the alternative `{0}` has no name for a link: write one without slashes")]
    Name(String),
    #[error(transparent)]
    Path(#[from] InvalidPath),
}

impl Alternative {
    /// The link in `etc/alternatives`, which is moved to switch.
    pub(super) fn switch(&self) -> Result<TreePath, InvalidPath> {
        TreePath::new("etc/alternatives")?.join(&self.name)
    }
}

/// The alternatives whose programs are there, with their paths as they are in the tree: what is written `/bin/more` lies in
/// `usr/bin`. Beside them the links of the others.
pub(super) fn that_lead_somewhere(
    tree: &Tree,
    places: &Places,
    alternatives: &[Alternative],
) -> (Vec<Alternative>, Vec<TreePath>) {
    let (mut there, mut idle) = (Vec::new(), Vec::new());
    for Alternative { link, name, target } in alternatives {
        let one = Alternative { link: places.of(link), name: name.clone(), target: places.of(target) };
        if tree.get(&one.target).is_some() { there.push(one) } else { idle.push(link.clone()) }
    }
    (there, idle)
}

/// Makes the links of a table.
pub(super) fn create(tree: &mut Tree, alternatives: &[Alternative]) -> Result<(), AlternativeError> {
    for alternative in alternatives {
        let Alternative { link, name, target } = alternative;
        if name.is_empty() || name.contains('/') {
            return Err(AlternativeError::Name(name.clone()));
        }
        let switch = alternative.switch()?;
        let entry = Entry::symlink(format!("/{switch}"));
        if tree.get(link).is_some_and(|old| *old != entry) {
            return Err(AlternativeError::InTheWay { name: name.clone(), link: link.clone() });
        }
        tree.insert(link.clone(), entry);
        tree.insert(switch, Entry::symlink(format!("/{target}")));
    }
    Ok(())
}
