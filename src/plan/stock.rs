//! What of a plan is there already. The pipeline finds it out; tables and JSON show it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

/// The state of everything in a plan, in the plan's own order.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Stock {
    pub components: Vec<ComponentState>,
    pub inputs: Vec<InputState>,
    pub selections: Vec<SelectionState>,
    /// The files of all selections, each once.
    pub packages: Vec<InputState>,
    /// What bases leave out although something depends on it, each reason once.
    pub left_out: Vec<Omission>,
    /// Things the user should know before building, in full sentences.
    pub warnings: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum ComponentState {
    /// The store has its files as they go into the image.
    Built {
        /// In bytes, of all its files.
        size: u64,
        /// Files that were packed and have not been run, with the reason.
        unproven: Vec<String>,
    },
    Missing,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum InputState {
    /// Pinned, and in the store.
    Here { size: u64 },
    /// Pinned, and to be downloaded when something needs it; `size` in bytes where the lock knows it.
    Pinned { size: Option<u64> },
    /// Not pinned yet.
    Unpinned,
}

/// What a selection came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum SelectionState {
    /// Which packages, as the lock has them: the names of their files, in the order of their installation.
    Pinned {
        packages: Vec<String>,
        /// In bytes, of all files.
        size: u64,
    },
    Unpinned,
}

/// Packages that a base is without, for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Omission {
    pub base: String,
    pub packages: Vec<String>,
    /// The packages that ask for each, as far as packages are chosen.
    pub needed_by: BTreeMap<String, BTreeSet<String>>,
    pub why: String,
}

impl Stock {
    /// How many inputs or selections are not pinned yet.
    pub fn unpinned(&self) -> usize {
        let inputs = self.inputs.iter().chain(&self.packages).filter(|input| **input == InputState::Unpinned);
        inputs.count() + self.selections.iter().filter(|selection| **selection == SelectionState::Unpinned).count()
    }

    /// The bytes that inputs which are not here have together as far as they are known, how many inputs that are, and
    /// of how many the size is unknown.
    pub fn to_download(&self) -> (u64, usize, usize) {
        let mut sum = (0, 0, 0);
        for input in self.inputs.iter().chain(&self.packages) {
            match input {
                InputState::Here { .. } => {}
                InputState::Pinned { size: Some(size) } => sum = (sum.0 + size, sum.1 + 1, sum.2),
                InputState::Pinned { size: None } | InputState::Unpinned => sum = (sum.0, sum.1 + 1, sum.2 + 1),
            }
        }
        sum
    }
}
