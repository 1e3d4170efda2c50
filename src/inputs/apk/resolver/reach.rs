//! Which names and packages a request can touch at all, and how deep the dependencies below each go.
//!
//! From a name everything is reached that its providers depend on, and everything whose condition mentions one of them.
//! The depth decides which name is settled first, and in a graph with cycles it depends on the order of the walk: depth
//! first, as listed, as apk's `discover_name` goes. The walk keeps its own stack, because an index may hold chains longer
//! than a thread's stack is deep.

use super::{
    names::NameId,
    solver::{Solver, UNTAGGED},
};

enum Step {
    /// Going through the dependencies of a name's providers.
    Depends { name: NameId, provider: usize, need: usize },
    /// Going through the names that a name's providers have: their own, then the provided ones.
    Conditions { name: NameId, provider: usize, alias: usize },
    /// Going through the names whose conditions mention this one.
    Conditional { name: NameId, next: usize },
}

impl Solver<'_, '_> {
    pub(super) fn reach(&mut self, name: NameId) {
        let mut stack = Vec::new();
        self.enter(name, &mut stack);
        while let Some(step) = stack.pop() {
            match step {
                Step::Depends { name, provider, need } => self.depends_step(name, provider, need, &mut stack),
                Step::Conditions { name, provider, alias } => {
                    self.conditions_step(name, provider, alias, &mut stack);
                }
                Step::Conditional { name, next } => {
                    let catalog = self.catalog;
                    if let Some(conditional) = catalog.conditional(name).get(next) {
                        stack.push(Step::Conditional { name, next: next + 1 });
                        self.enter(*conditional, &mut stack);
                    }
                }
            }
        }
    }

    fn enter(&mut self, name: NameId, stack: &mut Vec<Step>) {
        let state = &mut self.names[name.at()];
        if !state.reached {
            state.reached = true;
            state.condition_hopeless = true;
            stack.push(Step::Depends { name, provider: 0, need: 0 });
        }
    }

    /// One dependency of one provider, or the provider's end.
    fn depends_step(&mut self, name: NameId, provider: usize, need: usize, stack: &mut Vec<Step>) {
        let catalog = self.catalog;
        let Some(package) = catalog.providers(name).get(provider).map(|provider| provider.package) else {
            stack.push(Step::Conditions { name, provider: 0, alias: 0 });
            return;
        };
        let needs = catalog.depends(package);
        let entered_before = need == 0 && self.packages[package.at()].reached;
        if need == 0 && !entered_before {
            self.enter_package(package);
        }
        if need > 0 {
            // The dependency before this one has been walked to its end.
            let below = self.names[needs[need - 1].name.at()].depth + 1;
            let depth = &mut self.packages[package.at()].depth;
            *depth = below.max(*depth);
        }
        if !entered_before && let Some(next) = needs.get(need) {
            stack.push(Step::Depends { name, provider, need: need + 1 });
            self.enter(next.name, stack);
            return;
        }
        let package = &self.packages[package.at()];
        let state = &mut self.names[name.at()];
        state.condition_hopeless &= package.condition_failed;
        state.depth = state.depth.max(package.depth);
        stack.push(Step::Depends { name, provider: provider + 1, need: 0 });
    }

    fn enter_package(&mut self, package: super::catalog::PackageId) {
        let candidate = self.catalog.candidate(package);
        let untagged = candidate.repositories & self.repositories(UNTAGGED) != 0;
        // apk lets packages without files pass: they are its own virtual ones.
        let preferred = untagged || candidate.package.installed_size() == 0;
        let hopeless = self.catalog.install_if(package).is_empty();
        let state = &mut self.packages[package.at()];
        state.reached = true;
        state.tags = UNTAGGED;
        state.possible = true;
        state.condition_failed = hopeless;
        state.tag_preferred = preferred;
        state.tag_allowed = preferred;
    }

    /// One of the names of one provider: its own, then those it provides.
    fn conditions_step(&mut self, name: NameId, provider: usize, alias: usize, stack: &mut Vec<Step>) {
        let catalog = self.catalog;
        let Some(package) = catalog.providers(name).get(provider).map(|provider| provider.package) else { return };
        let mentioned = if let Some(number) = alias.checked_sub(1) {
            let Some(need) = catalog.provides(package).get(number) else {
                stack.push(Step::Conditions { name, provider: provider + 1, alias: 0 });
                return;
            };
            // Whoever reached that name goes through its conditions.
            (!self.names[need.name.at()].reached).then_some(need.name)
        } else {
            Some(catalog.candidate(package).name)
        };
        stack.push(Step::Conditions { name, provider, alias: alias + 1 });
        if let Some(name) = mentioned {
            stack.push(Step::Conditional { name, next: 0 });
        }
    }
}
