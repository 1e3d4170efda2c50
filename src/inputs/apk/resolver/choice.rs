//! Settling one name: which of the packages that could provide it is preferred, and what follows from the choice.

use std::cmp::Ordering;

use super::{
    catalog::{PackageId, Provider},
    names::NameId,
    solver::{Settled, Solver, Source},
};

impl<'a> Solver<'_, 'a> {
    /// Settles an open name and the other names of the package that is chosen for it.
    pub(super) fn choose(&mut self, name: NameId) {
        let catalog = self.catalog;
        let mut chosen: Option<Provider<'a>> = None;
        for provider in catalog.providers(name) {
            let better = chosen.is_none_or(|chosen| self.prefer(provider, &chosen) == Ordering::Greater);
            if better && self.eligible(name, provider) {
                chosen = Some(*provider);
            }
        }
        let Some(Provider { package, .. }) = chosen else {
            self.settle(name, None);
            self.errors += usize::from(self.names[name.at()].wanted > 0);
            return;
        };
        let state = &self.packages[package.at()];
        if !state.possible || !state.tag_allowed {
            self.fault(package);
        }
        let candidate = catalog.candidate(package);
        self.settle(candidate.name, Some(Provider { package, version: Some(candidate.package.version()) }));
        for need in catalog.provides(package) {
            self.settle(need.name, Some(Provider { package, version: need.version() }));
        }
        for need in catalog.depends(package) {
            self.constrain(need, Source::Package(package));
        }
    }

    /// Whether a provider may be chosen unasked.
    fn eligible(&self, name: NameId, provider: &Provider<'a>) -> bool {
        let state = &self.packages[provider.package.at()];
        if self.names[name.at()].wanted == 0 && !(state.condition_met && state.tag_allowed) {
            return false;
        }
        let candidate = self.catalog.candidate(provider.package);
        // A virtual provider must be asked for by its own name, or declare a priority.
        provider.version.is_some()
            || self.names[candidate.name.at()].wanted > 0
            || candidate.package.provider_priority() > 0
    }

    /// Which of two providers of one name is preferred.
    fn prefer(&self, a: &Provider<'a>, b: &Provider<'a>) -> Ordering {
        let (state_a, state_b) = (&self.packages[a.package.at()], &self.packages[b.package.at()]);
        let (of_a, of_b) = (self.catalog.candidate(a.package), self.catalog.candidate(b.package));
        let versions = match (a.version, b.version) {
            (Some(a), Some(b)) => a.cmp(&b),
            _ => Ordering::Equal,
        };
        let own_versions =
            if of_a.name == of_b.name { of_a.package.version().cmp(&of_b.package.version()) } else { Ordering::Equal };
        state_a
            .possible
            .cmp(&state_b.possible)
            .then(state_a.considered.cmp(&state_b.considered))
            .then(state_b.conflicts.cmp(&state_a.conflicts))
            .then(state_a.tag_allowed.cmp(&state_b.tag_allowed))
            .then(state_a.tag_preferred.cmp(&state_b.tag_preferred))
            .then(versions)
            .then(own_versions)
            .then(of_a.package.provider_priority().cmp(&of_b.package.provider_priority()))
            // The repository named first, where a package is in several.
            .then(of_b.repositories.trailing_zeros().cmp(&of_a.repositories.trailing_zeros()))
    }

    fn settle(&mut self, name: NameId, settled: Settled<'a>) {
        if let Some(before) = self.names[name.at()].settled {
            let is_virtual = |settled: Settled<'a>| settled.is_none_or(|provider| provider.version.is_none());
            // Any number of packages may provide a name without a version.
            if !is_virtual(settled) || !is_virtual(before) {
                for package in [settled, before].into_iter().flatten().map(|provider| provider.package) {
                    self.fault(package);
                }
            }
            return;
        }
        self.names[name.at()].settled = Some(settled);
        self.update_open(name);
        self.strike_out_rivals(name, settled);
        self.recheck_dependents(name);
        match settled {
            Some(provider) => self.recheck_conditions_on_package(provider.package),
            None => self.recheck_conditions_on(name),
        }
    }

    /// Only virtual providers of a name can be beside one another.
    fn strike_out_rivals(&mut self, name: NameId, settled: Settled<'a>) {
        let catalog = self.catalog;
        let package: Option<PackageId> = settled.map(|provider| provider.package);
        let is_virtual = settled.is_none_or(|provider| provider.version.is_none());
        for rival in catalog.providers(name) {
            let compatible = is_virtual && rival.version.is_none();
            if Some(rival.package) != package && !compatible {
                self.strike_out(rival.package);
            }
        }
    }
}
