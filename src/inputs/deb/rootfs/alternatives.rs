//! Which program answers to a name that several could answer to (update-alternatives(1)).
//!
//! Packages register their programs in scripts, with priorities; an image has decided. A definition's table says which
//! program stands behind a name, and the links are those that update-alternatives would make, so that a container can
//! still be switched by moving one link.

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
    #[error("the alternative {name} leads to {target}, which no package brings: correct it, or add the package")]
    NoTarget { name: String, target: TreePath },
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

/// Makes the links of a table.
pub(super) fn create(tree: &mut Tree, alternatives: &[Alternative]) -> Result<(), AlternativeError> {
    for alternative in alternatives {
        let Alternative { link, name, target } = alternative;
        if name.is_empty() || name.contains('/') {
            return Err(AlternativeError::Name(name.clone()));
        }
        if tree.get(target).is_none() {
            return Err(AlternativeError::NoTarget { name: name.clone(), target: target.clone() });
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
