//! Why a request cannot be met, in the words of the request: what was asked, and what stands against it.
//!
//! The search has gone on to an end even so, and what it ended with is looked at: each dependency that is not met and
//! each pair of packages that cannot be together is a [`Problem`] of its own.

use std::{collections::BTreeSet, fmt};

use super::{
    catalog::{Catalog, Need, PackageId, Provider},
    names::NameId,
    solver::Solver,
};
use crate::inputs::apk::dependency::{Constraint, Dependency};

/// All that stands against a request. There is at least one problem.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Conflict {
    pub problems: Vec<Problem>,
}

/// Who asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Requirer {
    /// The list of packages that was asked for.
    Request,
    /// A package, as `name-version`.
    Package(String),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Problem {
    /// No repository has anything of this name.
    NoSuchPackage { name: String, asked: Vec<Requirer> },
    /// Several packages could provide the name and none may be chosen unasked.
    NeedsChoice { name: String, asked: Vec<Requirer>, provided_by: Vec<String> },
    /// There are packages of this name, but not one of them can be installed beside the rest.
    NothingFits { name: String, asked: Vec<Requirer>, there_are: Vec<String> },
    /// The package that would be installed is not what was asked for.
    NotMet { dependency: String, asked: Requirer, found: String },
    /// The package that would be installed is one that is refused.
    Refused { package: String, asked: Vec<Requirer>, refused_by: Requirer, refusal: String },
    /// Both would be installed, and both provide the name, which only one package may.
    NotTogether { name: String, packages: [String; 2], asked: Vec<Requirer> },
    /// The package is only in repositories with a tag, and was not asked for with it.
    Tagged { package: String, tags: Vec<String>, asked: Vec<Requirer> },
    /// The package is ruled out by the others, in a way that no single dependency shows.
    RuledOut { package: String, asked: Vec<Requirer> },
}

/// Collects the problems of a search that has failed.
pub(super) fn explain(
    solver: &Solver<'_, '_>,
    world: &[(Need<'_>, usize)],
    order: &[PackageId],
    tags: &[Option<&str>],
) -> Conflict {
    let explanation = Explanation { solver, catalog: solver.catalog, world, order, tags };
    let mut problems = BTreeSet::new();
    for (need, _) in world {
        problems.extend(explanation.unmet(need, &Requirer::Request));
    }
    for package in order {
        let requirer = Requirer::Package(solver.catalog.title(*package));
        for need in solver.catalog.depends(*package) {
            problems.extend(explanation.unmet(need, &requirer));
        }
        problems.extend(explanation.tagged(*package));
    }
    problems.extend(explanation.rivals());
    // What the search counted as an error was then not needed after all; it was refused for that nevertheless, as apk does.
    if problems.is_empty() {
        problems.extend(explanation.ruled_out());
        problems.extend(explanation.unprovided());
    }
    Conflict { problems: problems.into_iter().collect() }
}

struct Explanation<'s, 'c, 'a> {
    solver: &'s Solver<'c, 'a>,
    catalog: &'c Catalog<'a>,
    world: &'s [(Need<'a>, usize)],
    order: &'s [PackageId],
    tags: &'s [Option<&'s str>],
}

impl<'a> Explanation<'_, '_, 'a> {
    fn unmet(&self, need: &Need<'a>, requirer: &Requirer) -> Option<Problem> {
        let settled = self.solver.names[need.name.at()].settled.flatten();
        if self.catalog.satisfies(need, settled) {
            return None;
        }
        let name = self.catalog.names.text(need.name).to_owned();
        let Some(provider) = settled else { return Some(self.nothing_for(need.name, name)) };
        let found = self.provided(need.name, provider);
        if need.conflict {
            let (asked, refusal) = (self.asked_for(provider.package), self.write(need));
            return Some(Problem::Refused { package: found, asked, refused_by: requirer.clone(), refusal });
        }
        Some(Problem::NotMet { dependency: self.write(need), asked: requirer.clone(), found })
    }

    fn nothing_for(&self, id: NameId, name: String) -> Problem {
        let asked = self.asked(id);
        let providers = self.catalog.providers(id);
        let titles = |keep: &dyn Fn(&Provider<'a>) -> bool| -> Vec<String> {
            let kept = providers.iter().filter(|provider| keep(provider));
            kept.map(|provider| self.catalog.title(provider.package)).collect::<BTreeSet<_>>().into_iter().collect()
        };
        if providers.is_empty() {
            return Problem::NoSuchPackage { name, asked };
        }
        if providers.iter().all(|provider| provider.version.is_none()) {
            return Problem::NeedsChoice { name, asked, provided_by: titles(&|_| true) };
        }
        Problem::NothingFits { name, asked, there_are: titles(&|provider| provider.version.is_some()) }
    }

    fn tagged(&self, package: PackageId) -> Option<Problem> {
        if self.solver.packages[package.at()].tag_allowed {
            return None;
        }
        let candidate = self.catalog.candidate(package);
        let of_package = |(_, repositories): &(_, &u32)| *repositories & candidate.repositories != 0;
        let tags = self.tags.iter().zip(self.solver.tags).filter(of_package);
        let tags = tags.filter_map(|(tag, _)| tag.map(str::to_owned)).collect();
        Some(Problem::Tagged { package: self.catalog.title(package), tags, asked: self.asked(candidate.name) })
    }

    /// Pairs of chosen packages that both provide a name which only one may.
    fn rivals(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        for package in self.order {
            let names = std::iter::once(self.catalog.candidate(*package).name)
                .chain(self.catalog.provides(*package).iter().map(|need| need.name));
            for name in names {
                found.extend(self.rivals_for(name, *package));
            }
        }
        found
    }

    fn rivals_for(&self, name: NameId, package: PackageId) -> Vec<Problem> {
        let providers = self.catalog.providers(name);
        let Some(own) = providers.iter().find(|provider| provider.package == package) else { return Vec::new() };
        let rival = |other: &&Provider<'a>| {
            other.package > package
                && (own.version.is_some() || other.version.is_some())
                && self.order.contains(&other.package)
        };
        let problem = |other: &Provider<'a>| Problem::NotTogether {
            name: self.catalog.names.text(name).to_owned(),
            packages: [self.catalog.title(package), self.catalog.title(other.package)],
            asked: self.asked(name),
        };
        providers.iter().filter(rival).map(problem).collect()
    }

    fn ruled_out(&self) -> impl Iterator<Item = Problem> {
        let faulty = self.catalog.packages().filter(|package| self.solver.packages[package.at()].faulty);
        faulty.map(|package| Problem::RuledOut {
            package: self.catalog.title(package),
            asked: self.asked(self.catalog.candidate(package).name),
        })
    }

    /// Names that something on the way wanted, and that nothing provides in the end.
    fn unprovided(&self) -> impl Iterator<Item = Problem> {
        let lacking = self.catalog.names.walk().filter(|name| {
            let state = &self.solver.names[name.at()];
            state.wanted > 0 && matches!(state.settled, Some(None))
        });
        lacking.map(|name| self.nothing_for(name, self.catalog.names.text(name).to_owned()))
    }

    /// Who of the request and of the chosen packages depends on a name.
    fn asked(&self, name: NameId) -> Vec<Requirer> {
        self.requirers(|need| need.name == name)
    }

    /// Who depends on a package, under whatever name.
    fn asked_for(&self, package: PackageId) -> Vec<Requirer> {
        let chosen = |name: NameId| self.solver.names[name.at()].settled.flatten().map(|provider| provider.package);
        self.requirers(|need| chosen(need.name) == Some(package))
    }

    fn requirers(&self, is_meant: impl Fn(&Need<'a>) -> bool) -> Vec<Requirer> {
        let wants = |need: &Need<'a>| !need.conflict && is_meant(need);
        let request = self.world.iter().any(|(need, _)| wants(need)).then_some(Requirer::Request);
        let packages = self.order.iter().filter(|package| self.catalog.depends(**package).iter().any(wants));
        request.into_iter().chain(packages.map(|package| Requirer::Package(self.catalog.title(*package)))).collect()
    }

    /// What a provider is under a name: `name-version`, and its own name where that is another.
    fn provided(&self, name: NameId, provider: Provider<'a>) -> String {
        let title = self.catalog.title(provider.package);
        if self.catalog.candidate(provider.package).name == name {
            return title;
        }
        let name = self.catalog.names.text(name);
        match provider.version {
            Some(version) => format!("{title} (which provides {name}={version})"),
            None => format!("{title} (which provides {name} in no version)"),
        }
    }

    fn write(&self, need: &Need<'a>) -> String {
        let name = self.catalog.names.text(need.name);
        let constraint: Constraint<'a> = need.constraint;
        Dependency { conflict: need.conflict, name, tag: None, constraint }.to_string()
    }
}

impl fmt::Display for Requirer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request => f.write_str("the list of packages"),
            Self::Package(title) => f.write_str(title),
        }
    }
}

/// ` (asked for by the list of packages, a-1 and 3 more)`.
fn by(asked: &[Requirer]) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<_> = asked.iter().take(SHOWN).map(ToString::to_string).collect();
    let more = asked.len().saturating_sub(SHOWN);
    let list = match (shown.split_last(), more) {
        (None, _) => return String::new(),
        (Some((only, [])), 0) => only.clone(),
        (Some((last, others)), 0) => format!("{} and {last}", others.join(", ")),
        (Some(_), more) => format!("{} and {more} more", shown.join(", ")),
    };
    format!(" (asked for by {list})")
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchPackage { name, asked } => {
                write!(f, "no repository has `{name}`{}: check its spelling and the list of repositories", by(asked))
            }
            Self::NeedsChoice { name, asked, provided_by } => {
                let packages = provided_by.join(", ");
                write!(
                    f,
                    "`{name}`{} is provided by {packages}: add the one you want to the list of packages",
                    by(asked)
                )
            }
            Self::NothingFits { name, asked, there_are } => {
                write!(
                    f,
                    "`{name}`{} cannot be installed beside the rest: leave out what stands against all of {}",
                    by(asked),
                    there_are.join(", ")
                )
            }
            Self::NotMet { dependency, asked: Requirer::Request, found } => {
                write!(f, "`{dependency}` was asked for, but only {found} can be installed")
            }
            Self::NotMet { dependency, asked, found } => {
                write!(f, "{asked} needs `{dependency}`, but only {found} can be installed")
            }
            Self::Refused { package, asked, refused_by, refusal } => {
                let by = by(asked);
                write!(f, "{package}{by} would be installed, but {refused_by} refuses it with `{refusal}`")
            }
            Self::NotTogether { name, packages: [a, b], asked } => {
                write!(f, "{a} and {b} cannot be together: both provide `{name}`{}", by(asked))
            }
            Self::Tagged { package, tags, asked } => {
                let tags: Vec<_> = tags.iter().map(|tag| format!("@{tag}")).collect();
                let tags = tags.join(", ");
                write!(f, "{package}{} is only in repositories tagged {tags}: ask for it with the tag", by(asked))
            }
            Self::RuledOut { package, asked } => {
                write!(
                    f,
                    "{package}{} is ruled out by the other packages: ask for another version, or for another package that \
                     provides the same",
                    by(asked)
                )
            }
        }
    }
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the packages asked for cannot be installed together:")?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}
