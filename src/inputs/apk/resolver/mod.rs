//! Which packages `apk add` would install into an empty root, in which order.
//!
//! The answer has to be apk's own, not merely a good one: images are compared with what `apk add` makes, and the
//! installed database that goes into them is apk's. So the search decides as apk-tools 2.14 does, ties and refusals
//! included; `test/apk.rs` compares the two on thousands of packages. What is different is the explanation of a refusal.
//!
//! ```text
//! names     the table of names, in apk's order
//! catalog   packages, who provides what, who needs whom
//! reach     what a request can touch
//! solver    the search, and what follows from one constraint
//! inference what follows from the providers that are left to a name
//! choice    what is preferred
//! order     the order of installation
//! conflict  why there is no answer
//! ```

mod catalog;
mod choice;
mod conflict;
mod inference;
mod names;
mod order;
mod reach;
mod solver;
mod world;

pub use conflict::{Conflict, Problem, Requirer};
pub use world::{InvalidWorld, World};

use self::{
    catalog::{Catalog, Need, PackageId},
    solver::Solver,
};
use super::index::{Index, OwnedPackage, Package};

/// A repository to choose from. Where several have the same package, the first is used.
#[derive(Clone, Copy, Debug)]
pub struct Repository<'a> {
    /// `edge` of a line `@edge https://...`: such a repository is used only for dependencies that name the tag.
    pub tag: Option<&'a str>,
    pub index: &'a Index,
}

/// A package that is to be installed.
#[derive(Clone, Debug)]
pub struct Selected {
    /// The number of the repository it comes from, as they were given.
    pub repository: usize,
    /// The tag it was pinned with.
    pub tag: Option<String>,
    package: OwnedPackage,
}

impl Selected {
    pub fn package(&self) -> Package<'_> {
        self.package.as_package()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    #[error(transparent)]
    Conflict(#[from] Conflict),
    #[error(
        "`{dependency}` asks for the repository tag @{tag}, which no repository has: write `tag = \"{tag}\"` at the one that is \
         meant, or drop it"
    )]
    UnknownTag { dependency: String, tag: String },
    #[error("there are {count} repositories: at most {MAX_REPOSITORIES} can be searched at once")]
    TooManyRepositories { count: usize },
}

/// apk-tools takes no more either.
const MAX_REPOSITORIES: usize = 31;

/// Repositories made ready to be asked: one for all cells of a matrix that share a base and a platform.
pub struct Resolver<'a> {
    catalog: Catalog<'a>,
    tags: Tags<'a>,
}

impl<'a> Resolver<'a> {
    pub fn new(repositories: &[Repository<'a>]) -> Result<Self, ResolveError> {
        if repositories.len() > MAX_REPOSITORIES {
            return Err(ResolveError::TooManyRepositories { count: repositories.len() });
        }
        Ok(Self { catalog: Catalog::new(repositories), tags: Tags::new(repositories) })
    }

    /// Chooses the packages for `world`, in the order of their installation.
    pub fn resolve(&self, world: &World) -> Result<Vec<Selected>, ResolveError> {
        let needs = self.needs(world)?;
        let mut solver = Solver::new(&self.catalog, &self.tags.repositories);
        solver.solve(&needs);
        let order = order::installation(&mut solver, &needs);
        if solver.errors > 0 {
            return Err(conflict::explain(&solver, &needs, &order, &self.tags.names).into());
        }
        Ok(order.into_iter().map(|package| selected(&solver, &self.tags, package)).collect())
    }

    /// The dependencies of a world, each with the number of its tag.
    fn needs<'w>(&'w self, world: &'w World) -> Result<Vec<(Need<'w>, usize)>, ResolveError> {
        let (mut needs, mut unknown) = (Vec::new(), Vec::new());
        for dependency in world.dependencies() {
            let tag = self.tags.number(dependency.tag).ok_or_else(|| ResolveError::UnknownTag {
                dependency: dependency.to_string(),
                tag: dependency.tag.unwrap_or_default().to_owned(),
            })?;
            match self.catalog.need(dependency) {
                Some(need) => needs.push((need, tag)),
                // What nobody mentions cannot come in either.
                None if dependency.conflict => {}
                None => unknown
                    .push(Problem::NoSuchPackage { name: dependency.name.to_owned(), asked: vec![Requirer::Request] }),
            }
        }
        if unknown.is_empty() { Ok(needs) } else { Err(Conflict { problems: unknown }.into()) }
    }
}

/// Chooses the packages for one world, in the order of their installation.
pub fn resolve(repositories: &[Repository<'_>], world: &World) -> Result<Vec<Selected>, ResolveError> {
    Resolver::new(repositories)?.resolve(world)
}

fn selected(solver: &Solver<'_, '_>, tags: &Tags<'_>, package: PackageId) -> Selected {
    let candidate = solver.catalog.candidate(package);
    let allowed = solver.packages[package.at()].tags;
    let tag = tags
        .repositories
        .iter()
        .enumerate()
        .find(|(tag, repositories)| allowed >> tag & 1 == 1 && *repositories & candidate.repositories != 0)
        .and_then(|(tag, _)| tags.names[tag]);
    Selected {
        repository: candidate.repositories.trailing_zeros() as usize,
        tag: tag.map(str::to_owned),
        package: candidate.package.to_owned(),
    }
}

/// The tags by number, and the repositories of each as bits. The first stands for repositories without a tag.
struct Tags<'a> {
    names: Vec<Option<&'a str>>,
    repositories: Vec<u32>,
}

impl<'a> Tags<'a> {
    fn new(repositories: &[Repository<'a>]) -> Self {
        let mut tags = Self { names: vec![None], repositories: vec![0] };
        for (number, repository) in repositories.iter().enumerate() {
            let tag = tags.number(repository.tag).unwrap_or_else(|| {
                tags.names.push(repository.tag);
                tags.repositories.push(0);
                tags.names.len() - 1
            });
            tags.repositories[tag] |= 1 << number;
        }
        tags
    }

    fn number(&self, tag: Option<&str>) -> Option<usize> {
        self.names.iter().position(|name| *name == tag)
    }
}
