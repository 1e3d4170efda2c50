//! Packages of signed repositories: chosen when a matrix is locked, put together when it is built.
//!
//! The lock keeps what was chosen and the digest of every file, so that a build needs no index and no mirror that still
//! has yesterday's packages. Who decides which packages these are, and what a root file system of them looks like, is
//! the affair of `inputs::apk` and `inputs::deb`; here it is joined to lock, store and plan.

mod alpine;
pub(super) mod debian;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{PipelineError, Step, work::Work};
use crate::{
    base::{Blob, Node, Platform, Tree, progress::Progress},
    inputs::{deb::machine::Machine, fetch::Fetcher, store::Store},
    matrix::{Base, BaseRoot, Located, Matrix},
    plan::{self, Lock, Pin, Plan, Root, Selected, Selection},
};
use debian::Settled;

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
    let (settled, mut failed) = settle(asking, plan, lock).await;
    let mut groups: BTreeMap<(String, Platform), Vec<Selection>> = BTreeMap::new();
    for selection in lock.unselected(plan) {
        groups.entry((selection.base.clone(), selection.platform)).or_default().push(selection.clone());
    }
    for ((base, platform), selections) in groups {
        for selection in &selections {
            lock.retire(selection);
        }
        let answer = match asking.matrix.bases.get(&base).map(|base| (base, &base.root)) {
            Some((base, BaseRoot::Alpine(root))) => {
                alpine::choose(asking, base, root, platform, &selections, lock).await
            }
            Some((base, BaseRoot::Debian(root))) => {
                let Some(settled) = settled.get(&base.name) else { continue };
                debian::choose(asking, base, root, platform, &selections, (settled, lock)).await
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

/// What is decided for all platforms of a Debian base that is asked anything, by its name; those are not among it for
/// which that failed.
async fn settle(asking: Asking<'_>, plan: &Plan, lock: &mut Lock) -> (BTreeMap<String, Settled>, Vec<PipelineError>) {
    let asked: BTreeSet<String> = lock.unselected(plan).into_iter().map(|selection| selection.base.clone()).collect();
    let (mut settled, mut failed) = (BTreeMap::new(), Vec::new());
    for base in asked.iter().filter_map(|name| asking.matrix.bases.get(name)) {
        let BaseRoot::Debian(root) = &base.root else { continue };
        match debian::settle(asking, base, root, plan, lock).await {
            Ok(one) => drop(settled.insert(base.name.clone(), one)),
            Err(error) => failed.push(error),
        }
    }
    (settled, failed)
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
    /// What of the definition does nothing in these packages.
    #[serde(default)]
    pub(super) idle: BTreeSet<String>,
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
    match Parts::of(work, base, files)? {
        None => Ok(Assembled::default()),
        Some(Parts::Alpine(parts)) => alpine::assemble(work.store(), &parts),
        Some(Parts::Debian(parts)) => debian::assemble(work.store(), &parts),
    }
}

/// A base whose packages were put together before. They need not be here, and are not read.
pub(super) fn recorded(work: &Work, base: &plan::Base) -> Result<Option<Assembled>, Step> {
    let Root::Packages { all, .. } = base.root else { return Ok(None) };
    let Some(selected) = work.lock.selected(&work.plan.selections[all]) else { return Ok(None) };
    let pinned = |url: &String| {
        let pin = work.lock.inputs.get(url)?;
        Some(Blob { digest: pin.sha256, size: pin.size.unwrap_or_default() })
    };
    let Some(files) = selected.packages.iter().map(pinned).collect::<Option<Vec<_>>>() else { return Ok(None) };
    match Parts::of(work, base, &files)? {
        None => Ok(None),
        Some(Parts::Alpine(parts)) => alpine::recorded(work.store(), &parts),
        Some(Parts::Debian(parts)) => Ok(debian::recorded(work.store(), &parts)),
    }
}

/// What a base is put together from.
enum Parts<'a> {
    Alpine(alpine::Parts<'a>),
    Debian(debian::Parts<'a>),
}

impl<'a> Parts<'a> {
    /// `None` for a base that is not made of packages.
    fn of(work: &'a Work, base: &plan::Base, files: &'a [Blob]) -> Result<Option<Self>, Step> {
        let (Some(definition), Root::Packages { all, shared }) = (work.matrix.bases.get(&base.name), &base.root) else {
            return Ok(None);
        };
        let lock = |index: usize| work.lock.selected(&work.plan.selections[index]).ok_or(Step::Unpinned);
        let (all, shared, request) = (lock(*all)?, lock(*shared)?, &work.plan.selections[*all].request);
        let platform = base.platform;
        Ok(match &definition.root {
            BaseRoot::Archive(_) => None,
            BaseRoot::Alpine(root) => {
                Some(Self::Alpine(alpine::Parts { definition, root, platform, request, all, shared, files }))
            }
            BaseRoot::Debian(root) => {
                Some(Self::Debian(debian::Parts { definition, root, platform, all, shared, files }))
            }
        })
    }
}

/// What assembling the bases of a plan would warn of, as far as their packages are here.
pub(super) fn warnings(work: &Work) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut assembled = BTreeMap::new();
    for (index, base) in work.plan.bases.iter().enumerate() {
        let Root::Packages { all, .. } = base.root else { continue };
        let Some(selected) = work.lock.selected(&work.plan.selections[all]) else { continue };
        let here = |url: &String| work.lock.inputs.get(url).and_then(|pin| work.store().blob(&pin.sha256));
        let Some(files) = selected.packages.iter().map(here).collect::<Option<Vec<_>>>() else { continue };
        match assemble(work, base, &files) {
            Ok(one) => {
                warnings.extend(one.warnings);
                assembled.insert(index, one.idle);
            }
            Err(error) => warnings.push(format!("{}: {error}", base.title())),
        }
    }
    warnings.extend(idle(work, &assembled));
    for base in work.matrix.bases.values() {
        if let BaseRoot::Alpine(root) = &base.root {
            warnings.extend(alpine::declared_of_nothing(work, base, root));
        }
    }
    warnings.sort();
    warnings.dedup();
    warnings
}

/// What of the definitions of bases does nothing in any of them; `idle` has what does nothing in each base of the plan, by
/// its index. Said only where the plan asks for all that a definition has: what serves other versions is no mistake.
pub(super) fn idle(work: &Work, idle: &BTreeMap<usize, BTreeSet<String>>) -> Vec<String> {
    let mut warnings = Vec::new();
    for definition in work.matrix.bases.values().filter(|base| asks_for_all(work, base)) {
        warnings.extend(never_omitted(work, definition));
        let own = work.plan.bases.iter().enumerate().filter(|(_, base)| base.name == definition.name);
        let sets: Option<Vec<_>> = own.map(|(index, _)| idle.get(&index)).collect();
        let Some((first, others)) = sets.as_ref().and_then(|sets| sets.split_first()) else { continue };
        let everywhere = first.iter().filter(|entry| others.iter().all(|set| set.contains(*entry)));
        warnings.extend(everywhere.map(|entry| format!("base {}: {entry}, in no image: correct it", definition.name)));
    }
    warnings
}

/// What a base leaves out and nothing in it asks for.
fn never_omitted(work: &Work, definition: &Base) -> Vec<String> {
    let BaseRoot::Debian(root) = &definition.root else { return Vec::new() };
    let asked_for = needed_by(work, &definition.name);
    // Locks of before this was written down say nothing of it.
    let names = root.without.iter().flat_map(|group| &group.names).filter(|_| !asked_for.is_empty());
    let idle = names.filter(|name| !asked_for.contains_key(&name.value));
    let sentence = |name: &Located<String>| {
        format!("base {}: [[without]] names {}, which nothing asks for", definition.name, name.value)
    };
    idle.map(sentence).collect()
}

/// Who asks for what is left out of a base, in any of its images.
pub(super) fn needed_by(work: &Work, base: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut needed_by: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let selections = work.plan.selections.iter().filter(|selection| selection.base == base);
    for (omitted, by) in selections.filter_map(|one| work.lock.selected(one)).flat_map(Selected::omissions) {
        needed_by.entry(omitted.to_owned()).or_default().extend(by.map(str::to_owned));
    }
    needed_by
}

/// Whether a plan has a base for every platform of the matrix, with the packages of every group.
fn asks_for_all(work: &Work, definition: &Base) -> bool {
    let BaseRoot::Debian(root) = &definition.root else { return false };
    let own = || work.plan.bases.iter().filter(|base| base.name == definition.name);
    let has = |name: &str| {
        own().any(|base| {
            let Root::Packages { all, .. } = base.root else { return false };
            work.plan.selections[all].request.iter().any(|item| item == name)
        })
    };
    work.matrix.file.platforms.iter().all(|platform| own().any(|base| base.platform == platform.value))
        && root.packages.iter().flat_map(|group| &group.names).all(|name| has(&name.value))
}
