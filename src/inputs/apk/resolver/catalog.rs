//! All packages of all repositories, ordered for questions: who provides a name, who depends on it, whose condition
//! (`install_if`) mentions it.

use std::ops::Range;

use super::{
    Repository,
    names::{NameId, Names},
};
use crate::inputs::apk::{
    checksum::Checksum,
    dependency::{Constraint, Dependency},
    index::Package,
    version::Version,
};

/// A package's number, in the order of first mention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct PackageId(u32);

impl PackageId {
    pub(super) const fn at(self) -> usize {
        self.0 as usize
    }
}

/// One dependency, provided name or condition, its name resolved to a number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Need<'a> {
    pub(super) name: NameId,
    pub(super) conflict: bool,
    pub(super) constraint: Constraint<'a>,
}

impl<'a> Need<'a> {
    /// The version under which a name is provided; without one the provider is virtual.
    pub(super) const fn version(&self) -> Option<Version<'a>> {
        match self.constraint {
            Constraint::Version(_, version) => Some(version),
            Constraint::Any | Constraint::Checksum(_) => None,
        }
    }
}

/// A package that answers to a name. Without a version it is a virtual provider.
#[derive(Clone, Copy, Debug)]
pub(super) struct Provider<'a> {
    pub(super) package: PackageId,
    pub(super) version: Option<Version<'a>>,
}

pub(super) struct Candidate<'a> {
    pub(super) package: Package<'a>,
    pub(super) name: NameId,
    /// One bit per repository that has this package, counted from the first.
    pub(super) repositories: u32,
    depends: Range<usize>,
    provides: Range<usize>,
    install_if: Range<usize>,
}

/// What kind of packages provide a name. apk decides names with plain packages first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Provision {
    PlainOnly,
    Mixed,
    ProvidedOnly,
}

pub(super) struct Catalog<'a> {
    pub(super) names: Names<'a>,
    pub(super) candidates: Vec<Candidate<'a>>,
    needs: Vec<Need<'a>>,
    providers: Lists<Provider<'a>>,
    /// Names whose packages depend on a name, or must not be with it.
    dependents: Lists<NameId>,
    /// Names whose packages have a name in their condition.
    conditional: Lists<NameId>,
    provision: Vec<Provision>,
}

impl<'a> Catalog<'a> {
    pub(super) fn new(repositories: &[Repository<'a>]) -> Self {
        let mut gathering = Gathering::default();
        let mut names = Names::new();
        for (number, repository) in repositories.iter().enumerate() {
            for package in repository.index.packages() {
                gathering.add(&mut names, package, 1 << number);
            }
        }
        let Gathering { candidates, needs, providers, .. } = gathering;
        let mut catalog = Self {
            providers: Lists::new(names.len(), &providers),
            dependents: Lists::default(),
            conditional: Lists::default(),
            provision: vec![Provision::PlainOnly; names.len()],
            names,
            candidates,
            needs,
        };
        catalog.reverse();
        catalog
    }

    /// Resolves a dependency of the world. `None` for a name that no package mentions.
    pub(super) fn need<'w>(&self, dependency: Dependency<'w>) -> Option<Need<'w>> {
        let name = self.names.find(dependency.name)?;
        Some(Need { name, conflict: dependency.conflict, constraint: dependency.constraint })
    }

    pub(super) fn packages(&self) -> impl Iterator<Item = PackageId> + use<> {
        // Numbers are given in order.
        (0..u32::try_from(self.candidates.len()).unwrap_or(u32::MAX)).map(PackageId)
    }

    pub(super) fn candidate(&self, package: PackageId) -> &Candidate<'a> {
        &self.candidates[package.at()]
    }

    pub(super) fn providers(&self, name: NameId) -> &[Provider<'a>] {
        self.providers.of(name)
    }

    pub(super) fn dependents(&self, name: NameId) -> &[NameId] {
        self.dependents.of(name)
    }

    pub(super) fn conditional(&self, name: NameId) -> &[NameId] {
        self.conditional.of(name)
    }

    pub(super) fn provision(&self, name: NameId) -> Provision {
        self.provision[name.at()]
    }

    pub(super) fn depends(&self, package: PackageId) -> &[Need<'a>] {
        &self.needs[self.candidate(package).depends.clone()]
    }

    pub(super) fn provides(&self, package: PackageId) -> &[Need<'a>] {
        &self.needs[self.candidate(package).provides.clone()]
    }

    pub(super) fn install_if(&self, package: PackageId) -> &[Need<'a>] {
        &self.needs[self.candidate(package).install_if.clone()]
    }

    /// `name-version`.
    pub(super) fn title(&self, package: PackageId) -> String {
        let package = self.candidate(package).package;
        format!("{}-{}", package.name(), package.version())
    }

    /// Whether what this provider brings is what the need asks for; for a conflict, whether it keeps away from it.
    pub(super) fn satisfies(&self, need: &Need<'a>, provider: Option<Provider<'a>>) -> bool {
        let Some(provider) = provider else { return need.conflict };
        let matches = match need.constraint {
            // A checksum is looked at alone: apk does not turn its answer round for a conflict.
            Constraint::Checksum(checksum) => {
                let wanted = Checksum::parse(checksum);
                return wanted == Some(self.candidate(provider.package).package.checksum());
            }
            Constraint::Any => true,
            Constraint::Version(operator, wanted) => {
                provider.version.is_some_and(|version| operator.holds(version, wanted))
            }
        };
        matches != need.conflict
    }

    /// Turns dependencies and conditions round, in the order in which apk walks the names.
    fn reverse(&mut self) {
        let (mut dependents, mut conditional) = (Vec::new(), Vec::new());
        let mut depended_by = vec![None; self.names.len()];
        let mut mentioned_by = vec![None; self.names.len()];
        for name in self.names.walk() {
            let providers = self.providers.of(name);
            for provider in providers {
                for need in self.depends(provider.package) {
                    if depended_by[need.name.at()].replace(name) != Some(name) {
                        dependents.push((need.name, name));
                    }
                }
                for need in self.install_if(provider.package) {
                    if mentioned_by[need.name.at()].replace(name) != Some(name) {
                        conditional.push((need.name, name));
                    }
                }
            }
            let others = providers.iter().filter(|provider| self.candidate(provider.package).name != name).count();
            self.provision[name.at()] = match others {
                0 => Provision::PlainOnly,
                others if others == providers.len() => Provision::ProvidedOnly,
                _ => Provision::Mixed,
            };
        }
        self.dependents = Lists::new(self.names.len(), &dependents);
        self.conditional = Lists::new(self.names.len(), &conditional);
    }
}

#[derive(Default)]
struct Gathering<'a> {
    candidates: Vec<Candidate<'a>>,
    needs: Vec<Need<'a>>,
    providers: Vec<(NameId, Provider<'a>)>,
    known: std::collections::HashMap<Checksum, PackageId>,
}

impl<'a> Gathering<'a> {
    fn add(&mut self, names: &mut Names<'a>, package: Package<'a>, repository: u32) {
        // Names are numbered in the order in which an index mentions them, also those of a package that is known.
        let name = names.intern(package.name());
        let depends = self.resolve(names, package.depends());
        let provides = self.resolve(names, package.provides());
        let install_if = self.resolve(names, package.install_if());
        let id = PackageId(u32::try_from(self.candidates.len()).unwrap_or(u32::MAX));
        match self.known.entry(package.checksum()) {
            std::collections::hash_map::Entry::Occupied(known) => {
                self.candidates[known.get().at()].repositories |= repository;
                self.needs.truncate(depends.start);
                return;
            }
            std::collections::hash_map::Entry::Vacant(entry) => entry.insert(id),
        };
        self.providers.push((name, Provider { package: id, version: Some(package.version()) }));
        for need in &self.needs[provides.clone()] {
            self.providers.push((need.name, Provider { package: id, version: need.version() }));
        }
        self.candidates.push(Candidate { package, name, repositories: repository, depends, provides, install_if });
    }

    fn resolve(&mut self, names: &mut Names<'a>, dependencies: impl Iterator<Item = Dependency<'a>>) -> Range<usize> {
        let begin = self.needs.len();
        self.needs.extend(dependencies.map(|dependency| Need {
            name: names.intern(dependency.name),
            conflict: dependency.conflict,
            constraint: dependency.constraint,
        }));
        begin..self.needs.len()
    }
}

/// A list of values per name, all in one vector.
struct Lists<T> {
    ends: Vec<usize>,
    values: Vec<T>,
}

impl<T> Default for Lists<T> {
    fn default() -> Self {
        Self { ends: Vec::new(), values: Vec::new() }
    }
}

impl<T: Copy> Lists<T> {
    /// Sorts pairs by name; the values of one name stay in their order.
    fn new(names: usize, pairs: &[(NameId, T)]) -> Self {
        let mut ends = vec![0; names];
        for (name, _) in pairs {
            ends[name.at()] += 1;
        }
        let mut sum = 0;
        for end in &mut ends {
            let count = *end;
            *end = sum;
            sum += count;
        }
        let mut values = Vec::new();
        if let Some((_, first)) = pairs.first() {
            values.resize(pairs.len(), *first);
        }
        for (name, value) in pairs {
            let end = &mut ends[name.at()];
            values[*end] = *value;
            *end += 1;
        }
        Self { ends, values }
    }

    fn of(&self, name: NameId) -> &[T] {
        let Some(end) = self.ends.get(name.at()) else { return &[] };
        let begin = name.at().checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.values[begin..*end]
    }
}
