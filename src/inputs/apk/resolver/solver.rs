//! The search itself, deciding as apk-tools 2.14 does (`src/solver.c`): by propagation, without ever taking a choice back.
//!
//! Names are the variables. A name is *wanted* when something depends on it, and *settled* when it is decided which
//! package, if any, provides it. What follows from the constraints is drawn from them at once: packages that can no
//! longer be are struck out, dependencies that all remaining providers share are wanted already. Only then one name is
//! picked and settled by preference ([`super::choice`]), and the rest follows again. That is fast and predictable; it
//! also means that some requests fail which a full search could satisfy, and those must fail here too.
//!
//! The root is always empty: nothing is installed that could be kept, upgraded or removed.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, VecDeque},
};

use super::{
    catalog::{Catalog, Need, PackageId, Provider, Provision},
    names::NameId,
};

/// What is known of a name.
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own that the search finds out")]
#[derive(Clone, Debug, Default)]
pub(super) struct NameState<'a> {
    /// How many constraints want it.
    pub(super) wanted: u32,
    /// The longest chain of dependencies below it, as far as it was found.
    pub(super) depth: u32,
    pub(super) settled: Option<Settled<'a>>,
    pub(super) reached: bool,
    /// The user named it. apk settles such names first.
    pub(super) requested: bool,
    /// The condition of one of its packages holds.
    pub(super) condition_met: bool,
    /// No condition of its packages can come true any more.
    pub(super) condition_hopeless: bool,
    /// More than one package could still provide it, or one that its repository's tag keeps back.
    pub(super) has_options: bool,
    /// All names that depend on it are settled.
    pub(super) dependents_settled: bool,
    pub(super) recheck_depends: bool,
    pub(super) recheck_conditions: bool,
    queued: bool,
    /// Its place among the names to settle.
    open: Option<Open>,
    /// How many of the first providers in a row, all so far, depend on this name.
    pub(super) shared_dependency: usize,
    /// How many of the first providers in a row, all so far, provide this name too.
    pub(super) shared_provision: usize,
    pub(super) shared_provision_is_virtual: bool,
}

/// Whether a name was requested, by what kind of packages it is provided, how deep it is, and whether it is wanted: the
/// smallest is settled first.
type Urgency = (bool, Provision, Reverse<u32>, bool);

/// A name's place among those to settle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Open {
    urgency: Urgency,
    /// Of names that are alike the newest is first.
    turn: Reverse<u32>,
    /// It is wanted, nothing is left to decide on it, and nothing that depends on it can change that.
    ready: bool,
}

/// The decision on a name: this provider, or none.
pub(super) type Settled<'a> = Option<Provider<'a>>;

/// What is known of a package.
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own that the search finds out")]
#[derive(Clone, Debug, Default)]
pub(super) struct PackageState {
    pub(super) conflicts: u32,
    pub(super) depth: u32,
    /// One bit per tag that the package may come from; bit 0 is for repositories without a tag.
    pub(super) tags: u32,
    pub(super) reached: bool,
    pub(super) possible: bool,
    pub(super) tag_allowed: bool,
    pub(super) tag_preferred: bool,
    pub(super) condition_met: bool,
    pub(super) condition_failed: bool,
    /// It was among the providers whose common dependencies were drawn last.
    pub(super) considered: bool,
    pub(super) being_considered: bool,
    pub(super) faulty: bool,
}

/// The bit of repositories without a tag.
pub(super) const UNTAGGED: u32 = 1;

pub(super) struct Solver<'c, 'a> {
    pub(super) catalog: &'c Catalog<'a>,
    pub(super) names: Vec<NameState<'a>>,
    pub(super) packages: Vec<PackageState>,
    /// The repositories of each tag; the first entry is for those without one.
    pub(super) tags: &'c [u32],
    pub(super) errors: usize,
    /// Names to look at again, in turn.
    dirty: VecDeque<NameId>,
    /// Names to be settled, the most urgent first.
    open: BTreeSet<(Urgency, Reverse<u32>, NameId)>,
    /// Those of them that are ready, the newest first.
    ready: BTreeSet<(Reverse<u32>, NameId)>,
    /// How many names have been opened.
    turns: u32,
}

impl<'c, 'a> Solver<'c, 'a> {
    pub(super) fn new(catalog: &'c Catalog<'a>, tags: &'c [u32]) -> Self {
        Self {
            catalog,
            names: vec![NameState::default(); catalog.names.len()],
            packages: vec![PackageState::default(); catalog.candidates.len()],
            tags,
            errors: 0,
            dirty: VecDeque::new(),
            open: BTreeSet::new(),
            ready: BTreeSet::new(),
            turns: 0,
        }
    }

    /// Settles every name that `world` wants, directly or not. Each need comes with the number of its tag.
    pub(super) fn solve(&mut self, world: &[(Need<'a>, usize)]) {
        for (need, _) in world {
            self.names[need.name.at()].requested = true;
            self.reach(need.name);
        }
        for (need, tag) in world {
            self.constrain(need, Source::World { tag: *tag });
        }
        loop {
            while let Some(name) = self.dirty.pop_front() {
                self.names[name.at()].queued = false;
                if self.names[name.at()].settled.is_none() {
                    self.reconsider(name);
                }
            }
            let Some(name) = self.next_to_settle() else { break };
            self.choose(name);
        }
    }

    /// The repositories that packages with these tags may come from.
    pub(super) fn repositories(&self, tags: u32) -> u32 {
        let allowed = self.tags.iter().enumerate().filter(|(tag, _)| tags >> tag & 1 == 1);
        allowed.fold(0, |repositories, (_, of_tag)| repositories | of_tag)
    }

    pub(super) fn fault(&mut self, package: PackageId) {
        let state = &mut self.packages[package.at()];
        if !state.faulty {
            state.faulty = true;
            self.errors += 1;
        }
    }

    pub(super) fn queue(&mut self, name: NameId) {
        let state = &mut self.names[name.at()];
        if !state.queued && state.settled.is_none() && (state.wanted > 0 || state.recheck_conditions) {
            state.queued = true;
            self.dirty.push_back(name);
        }
    }

    /// Puts a name among those to settle, in its place, or takes it out, as it now is.
    pub(super) fn update_open(&mut self, name: NameId) {
        let state = &self.names[name.at()];
        let before = state.open;
        let is_open = state.settled.is_none() && (state.wanted > 0 || state.condition_met);
        let now = is_open.then(|| Open {
            urgency: self.urgency(name),
            turn: before.map_or(Reverse(self.turns), |open| open.turn),
            ready: state.dependents_settled && state.wanted > 0 && !state.has_options,
        });
        if before == now {
            return;
        }
        if let Some(Open { urgency, turn, .. }) = before {
            self.open.remove(&(urgency, turn, name));
            self.ready.remove(&(turn, name));
        }
        if let Some(Open { urgency, turn, ready }) = now {
            self.turns += u32::from(before.is_none());
            self.open.insert((urgency, turn, name));
            if ready {
                self.ready.insert((turn, name));
            }
        }
        self.names[name.at()].open = now;
    }

    fn next_to_settle(&self) -> Option<NameId> {
        let ready = self.ready.first().map(|(_, name)| *name);
        ready.or_else(|| self.open.first().map(|(.., name)| *name))
    }

    fn urgency(&self, name: NameId) -> Urgency {
        let state = &self.names[name.at()];
        (!state.requested, self.catalog.provision(name), Reverse(state.depth), state.wanted == 0)
    }

    pub(super) fn recheck_dependents(&mut self, name: NameId) {
        let catalog = self.catalog;
        for dependent in catalog.dependents(name) {
            if self.names[dependent.at()].reached {
                self.names[dependent.at()].recheck_depends = true;
                self.queue(*dependent);
            }
        }
    }

    pub(super) fn recheck_conditions_on(&mut self, name: NameId) {
        let catalog = self.catalog;
        for conditional in catalog.conditional(name) {
            let state = &mut self.names[conditional.at()];
            if state.reached && !state.condition_hopeless {
                state.recheck_conditions = true;
                self.queue(*conditional);
            }
        }
    }

    pub(super) fn recheck_conditions_on_package(&mut self, package: PackageId) {
        let catalog = self.catalog;
        self.recheck_conditions_on(catalog.candidate(package).name);
        for provided in catalog.provides(package) {
            self.recheck_conditions_on(provided.name);
        }
    }

    /// A package that can no longer be.
    pub(super) fn strike_out(&mut self, package: PackageId) {
        let catalog = self.catalog;
        self.packages[package.at()].possible = false;
        self.recheck_dependents(catalog.candidate(package).name);
        for provided in catalog.provides(package) {
            self.recheck_dependents(provided.name);
        }
        self.recheck_conditions_on_package(package);
    }

    pub(super) fn became_wanted(&mut self, name: NameId) {
        self.update_open(name);
        self.recheck_conditions_on(name);
        self.queue(name);
    }

    /// Applies one dependency or conflict.
    pub(super) fn constrain(&mut self, need: &Need<'a>, source: Source) {
        let catalog = self.catalog;
        if !need.conflict {
            let wanted = &mut self.names[need.name.at()].wanted;
            *wanted = wanted.saturating_add(1);
            if *wanted == 1 {
                self.became_wanted(need.name);
            }
        }
        for provider in catalog.providers(need.name) {
            let satisfies = catalog.satisfies(need, Some(*provider));
            let state = &mut self.packages[provider.package.at()];
            state.conflicts += u32::from(!satisfies);
            if state.possible && state.conflicts > 0 {
                self.strike_out(provider.package);
            }
            if satisfies {
                self.inherit_tags(provider.package, source);
            }
        }
    }

    pub(super) fn inherit_tags(&mut self, package: PackageId, source: Source) {
        let repositories = self.catalog.candidate(package).repositories;
        let from = match source {
            Source::Package(parent) => self.packages[parent.at()].tags,
            Source::World { tag } => {
                let preferred = self.repositories(1 << tag);
                self.packages[package.at()].tag_preferred = repositories & preferred != 0;
                1 << tag
            }
            Source::Absence => {
                self.packages[package.at()].tag_preferred = false;
                0
            }
        };
        self.packages[package.at()].tags |= from;
        let allowed = self.repositories(self.packages[package.at()].tags);
        self.packages[package.at()].tag_allowed |= repositories & allowed != 0;
    }

    pub(super) fn satisfiable(&self, need: &Need<'a>) -> bool {
        let state = &self.names[need.name.at()];
        if let Some(settled) = state.settled {
            return self.catalog.satisfies(need, settled);
        }
        (state.wanted == 0 && self.catalog.satisfies(need, None))
            || self.catalog.providers(need.name).iter().any(|provider| {
                self.packages[provider.package.at()].possible && self.catalog.satisfies(need, Some(*provider))
            })
    }
}

/// Where a constraint comes from, for the tags that come with it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    World {
        tag: usize,
    },
    Package(PackageId),
    /// A condition that holds because a name is provided by nothing.
    Absence,
}
