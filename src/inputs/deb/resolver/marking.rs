//! The walk of apt 2.6 through the relations, for a root that has nothing installed.
//!
//! Every name has a state: its candidate version, the version chosen for installation, and whether the user's wish or a
//! wish without alternative protects it. Choosing a package first takes back what it conflicts with, then chooses for
//! each of its relations the first alternative that can be chosen. A package whose own relations cannot be met is given
//! back and is no candidate from then on, so that the next alternative is tried; what was chosen on its behalf stays
//! chosen, and is swept out at the end unless something else came to need it.
//! (apt-pkg/depcache.cc: `MarkInstall`, `MarkInstall_InstallDependencies`, `CompareProviders`; apt-private/
//! private-install.cc: `TryToInstall`, `DoAutomaticRemove`.)

use std::{cmp::Ordering, collections::BTreeSet};

use super::Problem;
use crate::inputs::deb::universe::{Dependency, Kind, NameId, Universe, VersionId, Wanted};

/// apt gives up beyond this depth as well (`IsModeChangeOk`).
const DEEPEST: u32 = 3000;

#[derive(Clone, Copy, Default)]
struct State {
    candidate: Option<VersionId>,
    chosen: Option<VersionId>,
    protected: bool,
    /// Chosen because something needs it, not because the user named it.
    automatic: bool,
    /// Left out on purpose: counts as present.
    omitted: bool,
}

/// Who asks for a package to be chosen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    ByUser,
    ByRelation,
}

pub(super) struct Marking<'u, 'a> {
    universe: &'u Universe<'a>,
    states: Vec<State>,
}

impl<'u, 'a> Marking<'u, 'a> {
    pub(super) fn new(universe: &'u Universe<'a>) -> Self {
        let states =
            universe.names().map(|name| State { candidate: universe.candidate(name), ..State::default() }).collect();
        Self { universe, states }
    }

    /// Leaves a package out: from now on it counts as present.
    pub(super) fn omit(&mut self, name: NameId, version: VersionId) {
        let state = self.state(name);
        *state = State { candidate: Some(version), chosen: Some(version), omitted: true, ..State::default() };
    }

    pub(super) fn is_omitted(&self, name: NameId) -> bool {
        self.states[name.index()].omitted
    }

    /// Chooses what the user named: first all of it without relations, so that alternatives see the whole wish, then
    /// the relations of each, in the order they are named.
    pub(super) fn install(&mut self, wanted: &[(NameId, VersionId)]) {
        for (name, version) in wanted {
            let state = self.state(*name);
            state.candidate = Some(*version);
            state.protected = true;
            self.choose(*name, Asked::ByUser);
        }
        let mut done = BTreeSet::new();
        for (name, _) in wanted {
            if done.insert(*name) {
                self.mark(*name, 0, Asked::ByUser);
            }
        }
    }

    /// Chooses a package with its relations. Whether that succeeded.
    fn mark(&mut self, name: NameId, depth: u32, asked: Asked) -> bool {
        let state = self.states[name.index()];
        if state.omitted {
            return true;
        }
        if depth > DEEPEST || (asked == Asked::ByRelation && state.protected && state.chosen.is_none()) {
            return false;
        }
        let Some(candidate) = state.candidate else {
            return false;
        };
        if !state.protected && state.chosen.is_some() && !self.is_broken(name) {
            return true;
        }
        if !self.could_be_satisfied(candidate) {
            if !state.protected {
                let state = self.state(name);
                (state.candidate, state.chosen) = (None, None);
            }
            return false;
        }
        let stubborn = state.protected || asked == Asked::ByUser;
        let universe = self.universe;
        let (conflicts, needs): (Vec<_>, Vec<_>) = universe
            .get(candidate)
            .dependencies
            .iter()
            .filter(|dependency| dependency.kind.is_critical())
            .filter(|dependency| state.protected || !self.is_satisfied(candidate, dependency))
            .partition(|dependency| dependency.kind.is_negative());
        let mut succeeded = conflicts.iter().all(|conflict| self.take_back(candidate, conflict, state.protected));
        if !succeeded && !stubborn {
            return false;
        }
        self.choose(name, asked);
        // While its relations are being met, nothing may give this package back.
        self.state(name).protected = true;
        let met = self.meet(&needs, depth, state.protected, stubborn);
        self.state(name).protected = state.protected;
        if !met {
            succeeded = false;
            if !stubborn {
                self.give_up(name);
            }
        }
        succeeded
    }

    /// Chooses the candidate of a package, without its relations.
    fn choose(&mut self, name: NameId, asked: Asked) {
        let state = self.state(name);
        if state.protected && state.chosen.is_some() && state.chosen == state.candidate {
            return;
        }
        if state.chosen.is_none() {
            state.automatic = asked == Asked::ByRelation;
        }
        state.chosen = state.candidate;
    }

    /// Gives a package back for good: it is no candidate any more.
    fn give_up(&mut self, name: NameId) {
        let state = self.state(name);
        (state.chosen, state.candidate) = (None, None);
    }

    /// Takes back the packages that `conflict` of `version` excludes. A protected package also sees to it that they
    /// cannot be chosen later. Whether all of them could be taken back.
    fn take_back(&mut self, version: VersionId, conflict: &Dependency<'a>, for_protected: bool) -> bool {
        let owner = self.universe.get(version).name;
        let mut all = true;
        for wanted in &conflict.any_of {
            for excluded in self.candidates(*wanted) {
                let other = self.universe.get(excluded).name;
                if other == owner {
                    continue;
                }
                let state = self.state(other);
                if state.omitted {
                    continue;
                }
                if state.chosen.is_some() && state.protected {
                    all = false;
                    continue;
                }
                state.chosen = None;
                if for_protected {
                    state.candidate = None;
                    state.protected = true;
                }
            }
        }
        all
    }

    /// Meets relations one by one. Whether all could be met; a package that is not `stubborn` stops at the first that
    /// could not.
    fn meet(&mut self, needs: &[&'u Dependency<'a>], depth: u32, protects: bool, stubborn: bool) -> bool {
        let mut all = true;
        for need in needs {
            let met = if need.any_of.iter().any(|wanted| self.is_chosen(*wanted)) {
                !protects || self.protect_only_solution(need, depth)
            } else {
                self.meet_one(need, depth, protects)
            };
            if !met {
                all = false;
                if !stubborn {
                    break;
                }
            }
        }
        all
    }

    fn meet_one(&mut self, need: &Dependency<'a>, depth: u32, protects: bool) -> bool {
        let solutions = self.solutions(need);
        for solution in &solutions {
            let name = self.universe.get(*solution).name;
            // An attempt before this one may have given it up.
            if self.states[name.index()].candidate != Some(*solution) {
                continue;
            }
            if protects && solutions.len() == 1 {
                if self.states[name.index()].protected && self.states[name.index()].chosen.is_none() {
                    continue;
                }
                self.choose(name, Asked::ByRelation);
                self.state(name).protected = true;
            }
            if self.mark(name, depth + 1, Asked::ByRelation) {
                return true;
            }
        }
        false
    }

    /// What a protected package needs and only one package can give is protected as well.
    fn protect_only_solution(&mut self, need: &Dependency<'a>, depth: u32) -> bool {
        let mut solutions: Vec<_> = need.any_of.iter().flat_map(|wanted| self.candidates(*wanted)).collect();
        solutions.sort_unstable();
        solutions.dedup();
        let [only] = solutions.as_slice() else {
            return true;
        };
        let name = self.universe.get(*only).name;
        let state = self.state(name);
        if state.protected || state.omitted {
            return true;
        }
        state.protected = true;
        self.mark(name, depth + 1, Asked::ByRelation)
    }

    /// The candidates that satisfy a relation, in the order they are tried.
    fn solutions(&self, need: &Dependency<'a>) -> Vec<VersionId> {
        let mut solutions = Vec::new();
        for wanted in &need.any_of {
            let mut candidates: Vec<_> = self.candidates(*wanted).collect();
            candidates.sort_by(|a, b| self.preference(*wanted, *a, *b));
            solutions.extend(candidates);
        }
        solutions.dedup();
        solutions.retain(|id| {
            let state = &self.states[self.universe.get(*id).name.index()];
            !(state.protected && state.chosen.is_none())
        });
        solutions
    }

    /// Which of two packages that satisfy an alternative apt tries first.
    fn preference(&self, wanted: Wanted<'a>, a: VersionId, b: VersionId) -> Ordering {
        let rank = |id: VersionId| {
            let offer = self.universe.get(id);
            let package = &offer.package;
            (
                !self.states[offer.name.index()].protected,
                offer.name != wanted.name,
                !package.essential,
                !(package.protected || package.name == "apt"),
                package.priority,
                std::cmp::Reverse(offer.name),
            )
        };
        rank(a).cmp(&rank(b))
    }

    /// The candidates that satisfy an alternative.
    fn candidates(&self, wanted: Wanted<'a>) -> impl Iterator<Item = VersionId> + use<'u, 'a> {
        let found: Vec<_> = self.universe.satisfying(wanted).filter(|id| self.is_candidate(*id)).collect();
        found.into_iter()
    }

    fn is_candidate(&self, id: VersionId) -> bool {
        self.states[self.universe.get(id).name.index()].candidate == Some(id)
    }

    fn is_chosen_version(&self, id: VersionId) -> bool {
        self.states[self.universe.get(id).name.index()].chosen == Some(id)
    }

    fn is_chosen(&self, wanted: Wanted<'a>) -> bool {
        self.universe.satisfying(wanted).any(|id| self.is_chosen_version(id))
    }

    /// The chosen packages that a conflict of `version` excludes: never the package itself, nor what is left out.
    fn excluded(&self, version: VersionId, conflict: &Dependency<'a>) -> Option<VersionId> {
        let owner = self.universe.get(version).name;
        conflict.any_of.iter().flat_map(|wanted| self.universe.satisfying(*wanted)).find(|id| {
            let other = self.universe.get(*id).name;
            other != owner && self.is_chosen_version(*id) && !self.is_omitted(other)
        })
    }

    fn is_satisfied(&self, version: VersionId, dependency: &Dependency<'a>) -> bool {
        if dependency.kind.is_negative() {
            self.excluded(version, dependency).is_none()
        } else {
            dependency.any_of.iter().any(|wanted| self.is_chosen(*wanted))
        }
    }

    fn is_broken(&self, name: NameId) -> bool {
        let Some(chosen) = self.states[name.index()].chosen else {
            return false;
        };
        let dependencies = &self.universe.get(chosen).dependencies;
        dependencies.iter().any(|dependency| dependency.kind.is_critical() && !self.is_satisfied(chosen, dependency))
    }

    /// Whether every relation has some candidate or chosen package. A package that fails this is not worth trying.
    fn could_be_satisfied(&self, version: VersionId) -> bool {
        let mut needs = self.universe.get(version).dependencies.iter();
        needs.all(|one| !one.kind.is_critical() || one.kind.is_negative() || self.could_be_met(one))
    }

    fn could_be_met(&self, need: &Dependency<'a>) -> bool {
        let could = |id: VersionId| self.is_candidate(id) || self.is_chosen_version(id);
        need.any_of.iter().any(|wanted| self.universe.satisfying(*wanted).any(could))
    }

    fn state(&mut self, name: NameId) -> &mut State {
        &mut self.states[name.index()]
    }

    /// What is wrong with the packages as they are now chosen.
    pub(super) fn problems(&self) -> Vec<Problem> {
        self.chosen()
            .flat_map(|(chosen, _)| self.culprits(chosen).into_iter().map(move |one| self.problem(chosen, one)))
            .collect()
    }

    /// The relations of a package that do not hold. Where one of them can be met by nothing, the others were not even tried,
    /// and say nothing.
    fn culprits(&self, version: VersionId) -> Vec<&'u Dependency<'a>> {
        let dependencies = self.universe.get(version).dependencies.iter();
        let broken: Vec<_> =
            dependencies.filter(|one| one.kind.is_critical() && !self.is_satisfied(version, one)).collect();
        let hopeless: Vec<_> =
            broken.iter().copied().filter(|one| !one.kind.is_negative() && !self.could_be_met(one)).collect();
        if hopeless.is_empty() { broken } else { hopeless }
    }

    fn problem(&self, version: VersionId, dependency: &Dependency<'a>) -> Problem {
        let package = self.universe.get(version).package.name.to_owned();
        let relation = dependency.any_of.iter().map(|one| self.universe.display(*one)).collect::<Vec<_>>().join(" | ");
        match self.excluded(version, dependency).filter(|_| dependency.kind.is_negative()) {
            Some(other) => Problem::Conflict {
                package,
                other: self.universe.get(other).package.name.to_owned(),
                kind: dependency.kind,
                relation,
            },
            None => Problem::Unsatisfied { package, kind: dependency.kind, relation },
        }
    }

    fn chosen(&self) -> impl Iterator<Item = (VersionId, &State)> {
        self.states.iter().filter(|state| !state.omitted).filter_map(|state| Some((state.chosen?, state)))
    }

    /// The chosen packages that the wish needs, by name. Whatever an attempt that was given up has left over goes.
    pub(super) fn needed(&self, wanted: &[(NameId, VersionId)]) -> Vec<VersionId> {
        let mut needed = BTreeSet::new();
        let mut open: Vec<VersionId> = wanted.iter().filter_map(|(name, _)| self.states[name.index()].chosen).collect();
        while let Some(version) = open.pop() {
            if !needed.insert(version) {
                continue;
            }
            let dependencies = self.universe.get(version).dependencies.iter();
            for wanted in dependencies.filter(|d| !d.kind.is_negative()).flat_map(|d| &d.any_of) {
                open.extend(
                    self.universe
                        .satisfying(*wanted)
                        .filter(|id| self.is_chosen_version(*id) && !self.is_omitted(self.universe.get(*id).name)),
                );
            }
        }
        let mut needed: Vec<_> = needed.into_iter().collect();
        needed.sort_by_key(|id| self.universe.get(*id).package.name);
        needed
    }

    /// The names of the packages among `packages` that ask for `omitted` and are satisfied by nothing else.
    pub(super) fn needing(&self, omitted: NameId, packages: &[VersionId]) -> Vec<String> {
        let by_omitted_only = |dependency: &Dependency<'a>| {
            let mut satisfying = dependency
                .any_of
                .iter()
                .flat_map(|wanted| self.universe.satisfying(*wanted))
                .filter(|id| self.is_chosen_version(*id))
                .peekable();
            satisfying.peek().is_some() && satisfying.all(|id| self.universe.get(id).name == omitted)
        };
        packages
            .iter()
            .map(|id| self.universe.get(*id))
            .filter(|offer| {
                offer.dependencies.iter().any(|dependency| {
                    matches!(dependency.kind, Kind::Depends | Kind::PreDepends) && by_omitted_only(dependency)
                })
            })
            .map(|offer| offer.package.name.to_owned())
            .collect()
    }
}
