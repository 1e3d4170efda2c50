//! All packages that the indexes offer for one architecture, and what satisfies what.
//!
//! Names have numbers in the order in which they first appear, be it as a package or in another's relations: where
//! nothing else decides between two packages that provide the same thing, apt takes the one that it saw last
//! (`CompareProviders` in apt's depcache.cc), and so must whoever is to decide as apt does. A package that can be
//! depended on as `name:any` or `name:<architecture>` provides that longer name, as in apt's own cache.

use std::collections::HashMap;

use super::{
    packages::{MultiArch, Package, PackageError},
    relation::{MalformedRelation, Target, alternatives, relations},
    stanza::stanzas,
    version::{Operator, compare},
};

/// The number of a package's name, or of a name that is only provided or asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameId(u32);

/// One version of one package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VersionId(u32);

/// How much a suite's versions are wanted (`apt_preferences(5)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pin {
    /// `NotAutomatic: yes`, experimental.
    NotAutomatic,
    /// `NotAutomatic: yes` and `ButAutomaticUpgrades: yes`, backports: taken only where nothing else has the package.
    OnlyUpgrades,
    Normal,
}

/// Why one package needs, or does not bear, another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    PreDepends,
    Depends,
    Conflicts,
    Breaks,
    Recommends,
}

/// A relation with its alternatives; conflicts have one alternative each.
#[derive(Clone, Debug)]
pub struct Dependency<'a> {
    pub kind: Kind,
    pub any_of: Vec<Wanted<'a>>,
}

/// One alternative of a relation.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub name: NameId,
    pub version: Option<(Operator, &'a str)>,
}

/// A package's version with its relations.
#[derive(Clone, Debug)]
pub struct Offer<'a> {
    pub name: NameId,
    pub package: Package<'a>,
    /// The number of the index that it stands in, in the order they were added.
    pub index: usize,
    pub pin: Pin,
    pub dependencies: Vec<Dependency<'a>>,
}

/// See the module.
pub struct Universe<'a> {
    architecture: &'a str,
    numbers: HashMap<std::borrow::Cow<'a, str>, NameId>,
    names: Vec<Name<'a>>,
    offers: Vec<Offer<'a>>,
    indexes: usize,
}

#[derive(Default)]
struct Name<'a> {
    text: std::borrow::Cow<'a, str>,
    /// The versions of the package itself, in the order they were added.
    versions: Vec<VersionId>,
    /// Versions of any package that provide this name, with the version they provide it as.
    providers: Vec<(VersionId, Option<&'a str>)>,
}

#[derive(Debug, thiserror::Error)]
pub enum UniverseError {
    #[error(transparent)]
    Package(#[from] PackageError),
    #[error("reading the package {package}: {source}")]
    Relation { package: String, source: MalformedRelation },
    #[error("the index has more than {MOST} packages")]
    TooMany,
}

/// Bookworm's main has 63,000 packages; twenty times that is no honest index.
const MOST: usize = 1_300_000;

impl Kind {
    pub const fn is_negative(self) -> bool {
        matches!(self, Self::Conflicts | Self::Breaks)
    }

    /// Whether a package cannot work while the relation is unsatisfied.
    pub const fn is_critical(self) -> bool {
        !matches!(self, Self::Recommends)
    }

    pub const fn field(self) -> &'static str {
        match self {
            Self::PreDepends => "Pre-Depends",
            Self::Depends => "Depends",
            Self::Conflicts => "Conflicts",
            Self::Breaks => "Breaks",
            Self::Recommends => "Recommends",
        }
    }
}

impl<'a> Universe<'a> {
    /// An empty universe for a Debian architecture such as `armhf`.
    pub fn new(architecture: &'a str) -> Self {
        Self { architecture, numbers: HashMap::new(), names: Vec::new(), offers: Vec::new(), indexes: 0 }
    }

    pub const fn architecture(&self) -> &'a str {
        self.architecture
    }

    /// Adds the packages of an index. Packages of other architectures are passed over.
    pub fn add(&mut self, index: &'a str, pin: Pin) -> Result<(), UniverseError> {
        for stanza in stanzas(index) {
            let package = Package::parse(stanza)?;
            if package.architecture == self.architecture || package.architecture == "all" {
                self.offer(package, pin)?;
            }
        }
        self.indexes += 1;
        Ok(())
    }

    fn offer(&mut self, package: Package<'a>, pin: Pin) -> Result<(), UniverseError> {
        let number = u32::try_from(self.offers.len()).ok().filter(|_| self.offers.len() < MOST);
        let id = VersionId(number.ok_or(UniverseError::TooMany)?);
        let name = self.number(package.name.into());
        let fields = package.relations;
        let malformed = |source| UniverseError::Relation { package: package.name.to_owned(), source };
        let mut dependencies = Vec::new();
        for (kind, field) in [
            (Some(Kind::PreDepends), fields.pre_depends),
            (Some(Kind::Depends), fields.depends),
            (Some(Kind::Conflicts), fields.conflicts),
            (Some(Kind::Breaks), fields.breaks),
            (Some(Kind::Recommends), fields.recommends),
            // These three only give names their numbers.
            (None, fields.suggests),
            (None, fields.replaces),
            (None, fields.enhances),
        ] {
            for relation in relations(field) {
                let any_of = self.alternatives(relation).map_err(malformed)?;
                if let Some(kind) = kind {
                    dependencies.push(Dependency { kind, any_of });
                }
            }
        }
        self.provide(id, &package).map_err(malformed)?;
        self.names[name.index()].versions.push(id);
        self.offers.push(Offer { name, package, index: self.indexes, pin, dependencies });
        Ok(())
    }

    fn alternatives(&mut self, relation: &'a str) -> Result<Vec<Wanted<'a>>, MalformedRelation> {
        alternatives(relation)
            .map(|target| {
                let target = target?;
                Ok(Wanted { name: self.target_name(&target), version: target.version })
            })
            .collect()
    }

    fn target_name(&mut self, target: &Target<'a>) -> NameId {
        match target.qualifier {
            None => self.number(target.name.into()),
            // What is for this architecture is what there is: the universe has no other.
            Some(arch) if arch == "native" || arch == self.architecture => self.number(target.name.into()),
            Some(arch) => self.number(format!("{}:{arch}", target.name).into()),
        }
    }

    fn provide(&mut self, id: VersionId, package: &Package<'a>) -> Result<(), MalformedRelation> {
        let allowed = package.multi_arch == MultiArch::Allowed;
        for relation in relations(package.provides) {
            let target = Target::parse(relation)?;
            let version = match target.version {
                None => None,
                Some((Operator::Equal, version)) => Some(version),
                // Only an exact version can be provided (Policy 7.5).
                Some(_) => continue,
            };
            if allowed && target.qualifier.is_none() {
                self.provides(id, format!("{}:any", target.name).into(), version);
            }
            let name = self.target_name(&target);
            self.names[name.index()].providers.push((id, version));
        }
        if allowed {
            self.provides(id, format!("{}:any", package.name).into(), Some(package.version));
        }
        Ok(())
    }

    fn provides(&mut self, id: VersionId, name: std::borrow::Cow<'a, str>, version: Option<&'a str>) {
        let name = self.number(name);
        self.names[name.index()].providers.push((id, version));
    }

    fn number(&mut self, name: std::borrow::Cow<'a, str>) -> NameId {
        if let Some(number) = self.numbers.get(&name) {
            return *number;
        }
        // An index is at most some gigabytes, so it cannot hold four thousand million names.
        let number = NameId(u32::try_from(self.names.len()).unwrap_or(u32::MAX));
        self.names.push(Name { text: name.clone(), ..Name::default() });
        self.numbers.insert(name, number);
        number
    }

    /// The number of a name that some index mentions.
    pub fn find(&self, name: &str) -> Option<NameId> {
        self.numbers.get(name).copied()
    }

    pub fn name(&self, name: NameId) -> &str {
        &self.names[name.index()].text
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// All names, in the order they were first seen.
    pub fn names(&self) -> impl Iterator<Item = NameId> + use<> {
        (0..u32::try_from(self.names.len()).unwrap_or(u32::MAX)).map(NameId)
    }

    /// The names of real packages, for messages.
    pub fn packages(&self) -> impl Iterator<Item = &str> {
        self.names.iter().filter(|name| !name.versions.is_empty()).map(|name| name.text.as_ref())
    }

    pub fn get(&self, id: VersionId) -> &Offer<'a> {
        &self.offers[id.0 as usize]
    }

    /// The version that would be installed: of the best pin the latest, of equal ones the first seen.
    pub fn candidate(&self, name: NameId) -> Option<VersionId> {
        self.names[name.index()].versions.iter().copied().reduce(|best, next| {
            let (a, b) = (self.get(best), self.get(next));
            let better = b.pin.cmp(&a.pin).then_with(|| compare(b.package.version, a.package.version));
            if better.is_gt() { next } else { best }
        })
    }

    /// All versions of a package, in the order they were added.
    pub fn versions(&self, name: NameId) -> impl Iterator<Item = VersionId> {
        self.names[name.index()].versions.iter().copied()
    }

    /// One version of a package.
    pub fn version(&self, name: NameId, version: &str) -> Option<VersionId> {
        self.names[name.index()].versions.iter().copied().find(|id| self.get(*id).package.version == version)
    }

    /// The versions of the package with this very name that satisfy an alternative, then those that provide it.
    pub fn satisfying(&self, wanted: Wanted<'a>) -> impl Iterator<Item = VersionId> {
        let name = &self.names[wanted.name.index()];
        let holds = move |version: &str| wanted.version.is_none_or(|(operator, bound)| operator.holds(version, bound));
        let own = name.versions.iter().copied().filter(move |id| holds(self.get(*id).package.version));
        let provided = name.providers.iter().filter(move |(_, version)| match version {
            Some(version) => holds(version),
            None => wanted.version.is_none(),
        });
        own.chain(provided.map(|(id, _)| *id))
    }

    /// An alternative as the index writes it.
    pub fn display(&self, wanted: Wanted<'a>) -> String {
        match wanted.version {
            None => self.name(wanted.name).to_owned(),
            Some((operator, bound)) => format!("{} ({} {bound})", self.name(wanted.name), operator.sign()),
        }
    }
}

impl NameId {
    pub(super) const fn index(self) -> usize {
        self.0 as usize
    }
}
