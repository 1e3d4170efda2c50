//! Which packages an image needs: what `apt-get --no-install-recommends install` would decide in an empty root.
//!
//! A release engineer checks an image against apt, so the answer must be apt's, not merely a valid one. Between several
//! valid answers apt chooses by the way it walks: depth first, relation by relation in the order of the control
//! fields, the first alternative that works, and among packages that provide a name the one by priority and then by
//! place in the index. A general solver finds another answer wherever two are valid, so this walks as apt 2.6 does
//! (`pkgDepCache::MarkInstall`; see [`marking`]). In an empty root nothing can be upgraded or removed, which leaves out
//! most of what apt has to weigh; where the walk ends in a conflict, apt's second stage would remove packages again,
//! while here it is an error that names what conflicts: an image whose list contradicts itself is to be corrected.
//!
//! What is left out of an image on purpose (`without`) counts as present: it satisfies relations, brings no relations
//! of its own, and conflicts with nothing.

mod marking;

use std::collections::BTreeMap;

use super::universe::{Kind, NameId, Offer, Universe, VersionId};
use marking::Marking;

/// What to resolve. Packages are named as on apt's command line: `name` or `name=version`, and as there the name may
/// be followed by the architecture (`name:amd64`), if it is the one that is resolved for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'r> {
    pub install: &'r [String],
    pub without: &'r [String],
}

/// The packages of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// By name.
    pub packages: Vec<VersionId>,
    pub omitted: Vec<Omitted>,
}

/// A package that was left out, and the chosen packages that ask for it and are satisfied by nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Omitted {
    pub package: String,
    pub needed_by: Vec<String>,
}

/// Why a list of packages cannot be installed together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("no suite has a package `{package}`{}", did_you_mean(similar))]
    Unknown { package: String, similar: Vec<String> },
    #[error("`{package}` is no package but is provided by {}: name one of them", providers.join(", "))]
    Virtual { package: String, providers: Vec<String> },
    #[error("no suite has version {version} of `{package}`: {}", available(versions))]
    UnknownVersion { package: String, version: String, versions: Vec<String> },
    #[error("{package} needs `{relation}` ({}), which no package satisfies", kind.field())]
    Unsatisfied { package: String, kind: Kind, relation: String },
    #[error(
        "{package} and {other} exclude each other ({}: {relation}): remove one of them or what needs it", kind.field()
    )]
    Conflict { package: String, other: String, kind: Kind, relation: String },
    #[error("the system gives no thread to search in: close other programs and try again")]
    NoThread,
}

/// Everything that is wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("resolving packages: {}", list(.0))]
pub struct Unresolvable(pub Vec<Problem>);

/// Decides as apt does. See the module.
pub fn resolve(universe: &Universe<'_>, request: Request<'_>) -> Result<Resolution, Unresolvable> {
    let mut problems = Vec::new();
    let mut marking = Marking::new(universe);
    let mut omitted = BTreeMap::new();
    for name in request.without {
        match find(universe, name) {
            Ok((package, version)) => {
                marking.omit(package, version);
                omitted.insert(universe.name(package).to_owned(), package);
            }
            Err(problem) => problems.push(problem),
        }
    }
    let mut wanted = Vec::new();
    for name in request.install {
        match find(universe, name) {
            Ok((package, version)) if !marking.is_omitted(package) => wanted.push((package, version)),
            Ok(_) => {}
            Err(problem) => problems.push(problem),
        }
    }
    if !problems.is_empty() {
        return Err(Unresolvable(problems));
    }
    with_deep_stack(|| marking.install(&wanted))?;
    let problems = marking.problems();
    if !problems.is_empty() {
        return Err(Unresolvable(problems));
    }
    let packages = marking.needed(&wanted);
    let omitted = omitted
        .into_iter()
        .map(|(package, name)| Omitted { package, needed_by: marking.needing(name, &packages) })
        .collect();
    Ok(Resolution { packages, omitted })
}

/// Runs the walk where it cannot end the stack: each step down a chain of relations is a call, of which apt allows
/// three thousand, and threads of an asynchronous runtime have 2 MiB.
fn with_deep_stack(walk: impl FnOnce() + Send) -> Result<(), Unresolvable> {
    // A step takes some 10 kB unoptimised. Only what is used is ever given by the system.
    const STACK: usize = 128 << 20;
    std::thread::scope(|scope| {
        let ended = std::thread::Builder::new()
            .stack_size(STACK)
            .spawn_scoped(scope, walk)
            .map(std::thread::ScopedJoinHandle::join);
        ended.is_ok_and(|ended| ended.is_ok()).then_some(()).ok_or_else(|| Unresolvable(vec![Problem::NoThread]))
    })
}

impl Resolution {
    /// The chosen packages with what the index says of them.
    pub fn offers<'u, 'a>(&self, universe: &'u Universe<'a>) -> impl Iterator<Item = &'u Offer<'a>> {
        self.packages.iter().map(|id| universe.get(*id))
    }
}

/// The package of a name as a person writes it.
fn find(universe: &Universe<'_>, text: &str) -> Result<(NameId, VersionId), Problem> {
    let (name, version) = text.split_once('=').map_or((text, None), |(name, version)| (name, Some(version)));
    let name = match name.split_once(':') {
        Some((bare, arch)) if arch == universe.architecture() || arch == "native" => bare,
        _ => name,
    };
    let Some(package) = universe.find(name) else {
        return Err(unknown(universe, name));
    };
    let Some(candidate) = universe.candidate(package) else {
        return provider(universe, package);
    };
    let Some(version) = version else {
        return Ok((package, candidate));
    };
    universe.version(package, version).map(|id| (package, id)).ok_or_else(|| Problem::UnknownVersion {
        package: name.to_owned(),
        version: version.to_owned(),
        versions: universe.versions(package).map(|id| universe.get(id).package.version.to_owned()).collect(),
    })
}

/// A name without a package of its own stands for the one package that provides it, when there is only one.
fn provider(universe: &Universe<'_>, name: NameId) -> Result<(NameId, VersionId), Problem> {
    let wanted = super::universe::Wanted { name, version: None };
    let mut packages: Vec<_> = universe.satisfying(wanted).map(|id| universe.get(id).name).collect();
    packages.sort_unstable();
    packages.dedup();
    match packages.as_slice() {
        [] => Err(unknown(universe, universe.name(name))),
        [package] => {
            universe.candidate(*package).map(|id| (*package, id)).ok_or_else(|| unknown(universe, universe.name(name)))
        }
        several => {
            let mut providers: Vec<_> = several.iter().map(|package| universe.name(*package).to_owned()).collect();
            providers.sort();
            Err(Problem::Virtual { package: universe.name(name).to_owned(), providers })
        }
    }
}

fn unknown(universe: &Universe<'_>, name: &str) -> Problem {
    const ENOUGH: f64 = 0.88;
    let mut near: Vec<_> = universe
        .packages()
        .map(|other| (strsim::jaro_winkler(name, other), other))
        .filter(|(s, _)| *s > ENOUGH)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    let similar = near.into_iter().take(3).map(|(_, other)| other.to_owned()).collect();
    Problem::Unknown { package: name.to_owned(), similar }
}

/// Problems in words; where there are very many, the first say enough.
fn list(problems: &[Problem]) -> String {
    const MOST: usize = 8;
    let mut words: Vec<_> = problems.iter().take(MOST).map(ToString::to_string).collect();
    if let more @ 1.. = problems.len().saturating_sub(MOST) {
        words.push(format!("and {more} more"));
    }
    words.join("; ")
}

fn did_you_mean(similar: &[String]) -> String {
    if similar.is_empty() { String::new() } else { format!(": did you mean {}?", similar.join(" or ")) }
}

fn available(versions: &[String]) -> String {
    format!("there is {}", versions.join(", "))
}

#[cfg(test)]
mod tests;
