//! What follows for a name from the providers that are left to it: which of them can go, what all of them depend on,
//! and what all of them provide besides.
//!
//! Sharing is counted in the names themselves: a name that each of the first *n* providers mentions has the count *n*,
//! and falls behind at the first provider that does not mention it. What has the count of all providers is common.

use super::{
    catalog::{PackageId, Provider},
    names::NameId,
    solver::{Solver, Source},
};

impl<'a> Solver<'_, 'a> {
    /// Draws what follows from the present state of a name's providers.
    pub(super) fn reconsider(&mut self, name: NameId) {
        let first = self.review_providers(name);
        self.update_open(name);
        if let Some((first, options)) = first {
            self.draw_common_dependencies(name, first, options);
            self.draw_common_provisions(name, first, options);
        }
        let settled = |dependent: &NameId| {
            let state = &self.names[dependent.at()];
            !state.reached || state.settled.is_some()
        };
        let dependents_settled = self.catalog.dependents(name).iter().all(settled);
        self.names[name.at()].dependents_settled = dependents_settled;
        self.update_open(name);
    }

    /// Strikes out providers whose dependencies cannot be met any more, sees whose conditions have come true, and counts
    /// what the others share. Gives the first provider that is left, and how many are.
    fn review_providers(&mut self, name: NameId) -> Option<(PackageId, usize)> {
        let catalog = self.catalog;
        let recheck_depends = std::mem::take(&mut self.names[name.at()].recheck_depends);
        let recheck_conditions = std::mem::take(&mut self.names[name.at()].recheck_conditions);
        let (mut first, mut options, mut kept_back) = (None, 0, 0);
        let (mut condition_met, mut condition_hopeless) = (false, true);
        for provider in catalog.providers(name) {
            let package = provider.package;
            self.packages[package.at()].being_considered = false;
            if !self.packages[package.at()].possible {
                continue;
            }
            if recheck_depends && !catalog.depends(package).iter().all(|need| self.satisfiable(need)) {
                self.strike_out(package);
                continue;
            }
            if recheck_conditions {
                self.review_condition(package);
            }
            condition_met |= self.packages[package.at()].condition_met;
            condition_hopeless &= self.packages[package.at()].condition_failed;
            if self.names[name.at()].wanted == 0 {
                continue;
            }
            self.packages[package.at()].being_considered = true;
            first = first.or(Some(package));
            self.count_shared(*provider, options);
            kept_back += usize::from(!self.packages[package.at()].tag_allowed);
            options += 1;
        }
        let state = &mut self.names[name.at()];
        state.has_options = options > 1 || kept_back > 0;
        state.condition_met = condition_met;
        state.condition_hopeless = condition_hopeless;
        first.map(|first| (first, options))
    }

    fn review_condition(&mut self, package: PackageId) {
        let catalog = self.catalog;
        let conditions = catalog.install_if(package);
        let state = &self.packages[package.at()];
        if !state.condition_met && !state.condition_failed {
            let mut met = true;
            let mut failed = false;
            for need in conditions {
                match self.names[need.name.at()].settled {
                    None => met = false,
                    Some(settled) if !catalog.satisfies(need, settled) => (met, failed) = (false, true),
                    Some(_) => continue,
                }
                break;
            }
            let state = &mut self.packages[package.at()];
            (state.condition_met, state.condition_failed) = (met, failed);
        }
        if self.packages[package.at()].condition_met {
            for need in conditions {
                let source = match self.names[need.name.at()].settled {
                    Some(Some(provider)) => Source::Package(provider.package),
                    _ => Source::Absence,
                };
                self.inherit_tags(package, source);
            }
        }
    }

    /// Counts on, for names that all providers before this one share.
    fn count_shared(&mut self, provider: Provider<'a>, before: usize) {
        let catalog = self.catalog;
        for need in catalog.depends(provider.package).iter().filter(|need| !need.conflict) {
            let shared = &mut self.names[need.name.at()].shared_dependency;
            *shared += usize::from(*shared == before);
        }
        // apk looks at the version under which the name at hand is provided, not the package's own name.
        let own = (catalog.candidate(provider.package).name, provider.version.is_none());
        let others = catalog.provides(provider.package).iter().map(|need| (need.name, need.version().is_none()));
        for (name, is_virtual) in std::iter::once(own).chain(others) {
            let state = &mut self.names[name.at()];
            if state.shared_provision == before {
                state.shared_provision += 1;
                state.shared_provision_is_virtual |= is_virtual;
            }
        }
    }

    /// What all remaining providers depend on is wanted, whichever of them is chosen.
    fn draw_common_dependencies(&mut self, name: NameId, first: PackageId, options: usize) {
        let catalog = self.catalog;
        for provider in catalog.providers(name) {
            let state = &mut self.packages[provider.package.at()];
            state.considered = state.being_considered;
        }
        for need in catalog.depends(first) {
            let state = &mut self.names[need.name.at()];
            let common = std::mem::take(&mut state.shared_dependency) == options;
            if !common {
                continue;
            }
            if options == 1 {
                self.constrain(need, Source::Package(first));
            } else if state.wanted == 0 {
                state.wanted = 1;
                self.became_wanted(need.name);
                for provider in catalog.providers(need.name) {
                    self.inherit_tags(provider.package, Source::Package(first));
                }
            }
        }
    }

    /// Where all remaining providers also provide another name, packages that provide only that other name can go.
    fn draw_common_provisions(&mut self, name: NameId, first: PackageId, options: usize) {
        let catalog = self.catalog;
        let provided = || {
            let own = std::iter::once(catalog.candidate(first).name);
            own.chain(catalog.provides(first).iter().map(|need| need.name))
        };
        for other in provided() {
            let state = &mut self.names[other.at()];
            let common = std::mem::take(&mut state.shared_provision) == options;
            let skip_virtual = state.shared_provision_is_virtual;
            if common && other != name {
                self.exclude_others(other, name, skip_virtual);
            }
        }
        for other in provided() {
            self.names[other.at()].shared_provision_is_virtual = false;
        }
    }

    /// Strikes out the providers of `name` that do not provide `required`.
    fn exclude_others(&mut self, name: NameId, required: NameId, skip_virtual: bool) {
        let catalog = self.catalog;
        for provider in catalog.providers(name) {
            let package = provider.package;
            let spared = catalog.candidate(package).name == required
                || !self.packages[package.at()].possible
                || (skip_virtual && provider.version.is_none())
                || catalog
                    .provides(package)
                    .iter()
                    .any(|need| need.name == required || (skip_virtual && need.version().is_none()));
            if !spared {
                self.strike_out(package);
            }
        }
    }
}
