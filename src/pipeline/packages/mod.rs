//! Packages of signed repositories: chosen when a matrix is locked, put together when it is built.
//!
//! The lock keeps what was chosen and the digest of every file, so that a build needs no index and no mirror that still
//! has yesterday's packages. Who decides which packages these are, and what a root file system of them looks like, is
//! the affair of `inputs::apk` and `inputs::deb`; here it is joined to lock, store and plan.

mod alpine;
pub(super) mod debian;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{PipelineError, Step, work::Work};
use crate::{
    base::{Blob, Node, Platform, Tree, progress::Progress},
    inputs::{deb::machine::Machine, fetch::Fetcher, store::Store},
    matrix::{BaseRoot, Matrix},
    plan::{self, Lock, Pin, Plan, Root, Selected, Selection},
};

/// The layer of packages that every tag of a base has.
const SHARED: &str = "base";

/// The layer of packages that some Kubernetes versions or images need beside them.
const OTHERS: &str = "packages";

/// The layer of the package manager's own records.
const DATABASE: &str = "package-database";

/// The last part of a package's URL, which names it for people.
pub(super) fn file_name(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or(url)
}

/// What is needed to ask repositories.
#[derive(Clone, Copy)]
pub struct Asking<'a> {
    pub fetcher: &'a Fetcher,
    pub store: &'a Store,
    pub matrix: &'a Matrix,
    /// For what a Debian base leaves to the machine that locks it.
    pub apt: &'a Machine,
    pub progress: &'a dyn Progress,
}

/// Answers for selections of one base and platform, and the digests of all files that they name.
#[derive(Default)]
struct Answer {
    selected: Vec<Selected>,
    pins: BTreeMap<String, Pin>,
}

/// Makes every selection of the plan that the lock does not have yet. All that fail are returned together.
pub(super) async fn select(asking: Asking<'_>, plan: &Plan, lock: &mut Lock) -> Vec<PipelineError> {
    let mut groups: BTreeMap<(String, Platform), Vec<Selection>> = BTreeMap::new();
    for selection in lock.unselected(plan) {
        groups.entry((selection.base.clone(), selection.platform)).or_default().push(selection.clone());
    }
    let mut failed = Vec::new();
    for ((base, platform), selections) in groups {
        for selection in &selections {
            lock.retire(selection);
        }
        let answer = match asking.matrix.bases.get(&base).map(|base| (base, &base.root)) {
            Some((base, BaseRoot::Alpine(root))) => {
                alpine::choose(asking, base, root, platform, &selections, lock).await
            }
            Some((base, BaseRoot::Debian(root))) => {
                debian::choose(asking, base, root, platform, &selections, lock).await
            }
            Some((_, BaseRoot::Archive(_))) | None => continue,
        };
        match answer {
            Ok(Answer { selected, pins }) => {
                lock.inputs.extend(pins);
                for (selection, selected) in selections.iter().zip(selected) {
                    lock.select(selection, selected);
                }
            }
            // What is wrong with a base is wrong for each of its platforms.
            Err(error) if failed.iter().any(|known: &PipelineError| known.to_string() == error.to_string()) => {}
            Err(error) => failed.push(error),
        }
    }
    failed
}

/// A root file system made of packages, cut for sharing.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Assembled {
    /// Layers below everything else, lowest first.
    pub(super) bottom: Vec<(String, Tree)>,
    /// The package manager's own records, which change with every package: the top layer.
    pub(super) top: Vec<(String, Tree)>,
    /// What would run on a machine where the packages are installed, and that nothing was done for.
    pub(super) warnings: Vec<String>,
}

impl Assembled {
    /// Whether the store has every content.
    fn is_whole(&self, store: &Store) -> bool {
        let mut blobs = std::collections::BTreeSet::new();
        for (_, entry) in self.bottom.iter().chain(&self.top).flat_map(|(_, tree)| tree.iter()) {
            if let Node::File(content) = &entry.node {
                blobs.insert(content.blob);
            }
        }
        blobs.iter().all(|digest| store.blob(digest).is_some())
    }
}

/// The files of a base that is made of packages, in the order of their installation.
pub(super) async fn fetch(work: &Work, base: &plan::Base) -> Result<Vec<Blob>, PipelineError> {
    let Root::Packages { all, .. } = base.root else { return Ok(Vec::new()) };
    let unpinned = || PipelineError::new(format!("fetching {}", base.title()), Step::Unpinned);
    let selected = work.lock.selected(&work.plan.selections[all]).ok_or_else(unpinned)?;
    futures::future::try_join_all(selected.packages.iter().map(|url| work.input(url))).await
}

/// Puts the packages of a base together, once: the result is recorded.
pub(super) fn assemble(work: &Work, base: &plan::Base, files: &[Blob]) -> Result<Assembled, Step> {
    let (Some(definition), Root::Packages { all, shared }) = (work.matrix.bases.get(&base.name), &base.root) else {
        return Ok(Assembled::default());
    };
    let lock = |index: usize| work.lock.selected(&work.plan.selections[index]).ok_or(Step::Unpinned);
    let (all, shared, request) = (lock(*all)?, lock(*shared)?, &work.plan.selections[*all].request);
    match &definition.root {
        BaseRoot::Archive(_) => Ok(Assembled::default()),
        BaseRoot::Alpine(root) => alpine::assemble(
            work.store(),
            &alpine::Parts { definition, root, platform: base.platform, request, all, shared, files },
        ),
        BaseRoot::Debian(root) => debian::assemble(
            work.store(),
            &debian::Parts { definition, root, platform: base.platform, all, shared, files },
        ),
    }
}

/// What assembling the bases of a plan would warn of, as far as their packages are here.
pub(super) fn warnings(work: &Work) -> Vec<String> {
    let mut warnings = Vec::new();
    for base in &work.plan.bases {
        let Root::Packages { all, .. } = base.root else { continue };
        let Some(selected) = work.lock.selected(&work.plan.selections[all]) else { continue };
        let here = |url: &String| work.lock.inputs.get(url).and_then(|pin| work.store().blob(&pin.sha256));
        let Some(files) = selected.packages.iter().map(here).collect::<Option<Vec<_>>>() else { continue };
        match assemble(work, base, &files) {
            Ok(assembled) => warnings.extend(assembled.warnings),
            Err(error) => warnings.push(format!("{}: {error}", base.title())),
        }
    }
    for base in work.matrix.bases.values() {
        if let BaseRoot::Alpine(root) = &base.root {
            warnings.extend(alpine::declared_of_nothing(work, base, root));
        }
    }
    warnings.sort();
    warnings.dedup();
    warnings
}
