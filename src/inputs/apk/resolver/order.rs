//! The order in which the chosen packages are installed: each after what it depends on, as apk's `cset_gen_*` go.
//!
//! The order is not cosmetic: later packages may take files of earlier ones (`replaces`), and triggers and scripts are
//! recorded in it.

use super::{
    catalog::{Need, PackageId},
    names::NameId,
    solver::Solver,
};

/// One package on its way into the order.
struct Visit {
    package: PackageId,
    next: Next,
}

#[derive(Clone, Copy)]
enum Next {
    /// This dependency, counted from the first. The one before was walked to its end.
    Need(usize),
    /// What is installed because of this package: the names it has, and the conditional names of each.
    Conditional { provided: usize, conditional: usize },
}

/// Gives the chosen packages in order. Finds the last errors too: choices that do not meet a dependency after all.
pub(super) fn installation<'a>(solver: &mut Solver<'_, 'a>, world: &[(Need<'a>, usize)]) -> Vec<PackageId> {
    let mut walk = Walk {
        named: vec![false; solver.names.len()],
        entered: vec![false; solver.packages.len()],
        order: Vec::new(),
        solver,
    };
    for (need, _) in world {
        let mut stack = Vec::new();
        walk.name(need.name, &mut stack);
        while let Some(visit) = stack.pop() {
            walk.step(visit, &mut stack);
        }
    }
    walk.order
}

struct Walk<'s, 'c, 'a> {
    solver: &'s mut Solver<'c, 'a>,
    /// Names that have been dealt with.
    named: Vec<bool>,
    entered: Vec<bool>,
    order: Vec<PackageId>,
}

impl Walk<'_, '_, '_> {
    fn chosen(&self, name: NameId) -> Option<PackageId> {
        self.solver.names[name.at()].settled.flatten().map(|provider| provider.package)
    }

    /// Begins with the package that was chosen for a name, unless that was done.
    fn name(&mut self, name: NameId, stack: &mut Vec<Visit>) {
        if std::mem::replace(&mut self.named[name.at()], true) {
            return;
        }
        let Some(package) = self.chosen(name) else { return };
        if std::mem::replace(&mut self.entered[package.at()], true) {
            return;
        }
        let catalog = self.solver.catalog;
        self.named[catalog.candidate(package).name.at()] = true;
        for need in catalog.provides(package) {
            self.named[need.name.at()] = true;
        }
        stack.push(Visit { package, next: Next::Need(0) });
    }

    fn step(&mut self, Visit { package, next }: Visit, stack: &mut Vec<Visit>) {
        let catalog = self.solver.catalog;
        match next {
            Next::Need(number) => {
                let needs = catalog.depends(package);
                if let Some(before) = number.checked_sub(1) {
                    self.inherit_fault(package, needs[before].name);
                }
                let Some(need) = needs.get(number) else {
                    self.order.push(package);
                    stack.push(Visit { package, next: Next::Conditional { provided: 0, conditional: 0 } });
                    return;
                };
                let settled = self.solver.names[need.name.at()].settled.flatten();
                if !catalog.satisfies(need, settled) {
                    self.solver.fault(package);
                }
                stack.push(Visit { package, next: Next::Need(number + 1) });
                self.name(need.name, stack);
            }
            Next::Conditional { provided, conditional } => {
                let name = match provided.checked_sub(1) {
                    None => catalog.candidate(package).name,
                    Some(number) => match catalog.provides(package).get(number) {
                        Some(need) => need.name,
                        None => return,
                    },
                };
                let Some(other) = catalog.conditional(name).get(conditional) else {
                    stack.push(Visit { package, next: Next::Conditional { provided: provided + 1, conditional: 0 } });
                    return;
                };
                stack.push(Visit { package, next: Next::Conditional { provided, conditional: conditional + 1 } });
                if self.condition_installs(*other) {
                    self.name(*other, stack);
                }
            }
        }
    }

    fn inherit_fault(&mut self, package: PackageId, name: NameId) {
        let faulty = |package: PackageId| self.solver.packages[package.at()].faulty;
        if self.chosen(name).is_some_and(faulty) {
            self.solver.fault(package);
        }
    }

    /// Whether all that a name's package is conditional on is already in the order.
    fn condition_installs(&self, name: NameId) -> bool {
        let Some(package) = self.chosen(name) else { return false };
        let catalog = self.solver.catalog;
        self.solver.names[name.at()].reached
            && !self.named[name.at()]
            && catalog.install_if(package).iter().all(|need| {
                self.named[need.name.at()]
                    && catalog.satisfies(need, self.solver.names[need.name.at()].settled.flatten())
            })
    }
}
