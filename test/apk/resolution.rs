//! The resolver against `apk add --simulate`: the same packages, versions and order, and the same refusals.

use kletimg::inputs::apk::{
    index::Package,
    repository::VerifiedIndex,
    resolver::{self, Repository, ResolveError, Resolver, World},
};

use crate::{
    reference::{REPOSITORIES, Reference, indexes},
    support::parts,
};

/// What we would install, as `name version` in order.
fn resolve(resolver: &Resolver<'_>, packages: &[&str]) -> Result<Vec<String>, ResolveError> {
    let selected = resolver.resolve(&World::parse(packages).unwrap())?;
    let title = |selected: &resolver::Selected| {
        let package = selected.package();
        format!("{} {}", package.name(), package.version())
    };
    Ok(selected.iter().map(title).collect())
}

/// Numbers that are always the same (`SplitMix64`).
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % limit as u64).unwrap()
    }
}

/// A number that the environment may change.
pub(crate) fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Sets of package names: singles, then pairs, then larger ones.
fn sets(names: &[&str], seed: u64, counts: [usize; 3]) -> Vec<Vec<String>> {
    let mut numbers = Numbers(seed);
    let mut sets = Vec::new();
    for (sizes, count) in [(1, 1), (2, 1), (3, 6)].into_iter().zip(counts) {
        for _ in 0..count {
            let size = sizes.0 + numbers.below(sizes.1);
            sets.push((0..size).map(|_| names[numbers.below(names.len())].to_owned()).collect());
        }
    }
    sets
}

/// Compares every set and says which differ. Repositories after the first have the tag, if one is given.
fn compare(reference: &Reference, indexes: &[VerifiedIndex], tag: Option<&str>, sets: &[Vec<String>]) {
    let repository =
        |(number, index)| Repository { tag: tag.filter(|_| number > 0), index: VerifiedIndex::index(index) };
    let repositories: Vec<_> = indexes.iter().enumerate().map(repository).collect();
    let resolver = Resolver::new(&repositories).unwrap();
    let check = |set: &Vec<String>| {
        let set: Vec<&str> = set.iter().map(String::as_str).collect();
        let (ours, theirs) = (resolve(&resolver, &set), reference.simulate(&set));
        match (&ours, &theirs) {
            (Ok(ours), Some(theirs)) if ours == theirs => None,
            (Err(ResolveError::Conflict(conflict)), None) if !conflict.problems.is_empty() => None,
            _ => Some(format!("{set:?}:\n  ours   {ours:?}\n  theirs {theirs:?}")),
        }
    };
    let halves = sets.split_at(sets.len() / 2);
    let differences: Vec<String> = std::thread::scope(|scope| {
        let other = scope.spawn(|| halves.0.iter().filter_map(check).collect::<Vec<_>>());
        let mut differences: Vec<_> = halves.1.iter().filter_map(check).collect();
        differences.extend(other.join().unwrap());
        differences
    });
    assert!(differences.is_empty(), "{} of {} differ:\n{}", differences.len(), sets.len(), differences.join("\n"));
}

#[test]
fn the_packages_of_a_node_are_those_that_apk_would_install() {
    let Some(data) = parts::alpine_data() else { return };
    let Some(reference) = Reference::with_indexes(&data) else { return };
    let indexes = indexes(&data);
    let node = "util-linux coreutils findutils ca-certificates conntrack-tools iptables ip6tables";
    let sets = [node, "kubelet", "kubeadm", "cni-plugins", "kubelet kubeadm", "containerd docker", "postfix exim"];
    let sets: Vec<Vec<String>> = sets.iter().map(|set| set.split(' ').map(str::to_owned).collect()).collect();
    compare(&reference, &indexes, None, &sets);
}

/// 200 single packages and 50 pairs, and 10 larger sets. `KLETIMG_TEST_APK_SEED` and `KLETIMG_TEST_APK_FACTOR` try
/// others and more.
#[test]
fn sets_of_packages_by_chance_are_resolved_as_by_apk() {
    let Some(data) = parts::alpine_data() else { return };
    let Some(reference) = Reference::with_indexes(&data) else { return };
    let indexes = indexes(&data);
    let names: Vec<_> = indexes.iter().flat_map(|index| index.index().packages()).map(Package::name).collect();
    assert!(names.len() > 23_000);
    let factor = number("KLETIMG_TEST_APK_FACTOR", 1);
    let counts = [200, 50, 10].map(|count| count * factor);
    let seed = number("KLETIMG_TEST_APK_SEED", 2024) as u64;
    compare(&reference, &indexes, None, &sets(&names, seed, counts));
}

/// Versions that are asked for, dependencies that are refused, names that packages provide: 15 of each.
#[test]
fn requests_by_chance_are_met_or_refused_as_by_apk() {
    const OPERATORS: [&str; 6] = ["=", "<", ">", "<=", ">=", "~"];
    let Some(data) = parts::alpine_data() else { return };
    let Some(reference) = Reference::with_indexes(&data) else { return };
    let indexes = indexes(&data);
    let packages: Vec<_> = indexes.iter().flat_map(|index| index.index().packages()).collect();
    let mut numbers = Numbers(number("KLETIMG_TEST_APK_SEED", 2024) as u64 ^ 0xa1f);
    let mut sets = Vec::new();
    for _ in 0..15 * number("KLETIMG_TEST_APK_FACTOR", 1) {
        let mut one = || packages[numbers.below(packages.len())];
        let (versioned, needy, providing, other) = (one(), one(), one(), one());
        let version = versioned.version().as_str();
        // The version itself, and a part of it.
        let version = if numbers.below(2) == 0 { version } else { version.split(['.', '-']).next().unwrap() };
        let operator = OPERATORS[numbers.below(OPERATORS.len())];
        sets.push(vec![format!("{}{operator}{version}", versioned.name()), other.name().to_owned()]);
        let wanted: Vec<_> = needy.depends().filter(|need| !need.conflict).map(|need| need.name).collect();
        let refused = if wanted.is_empty() { other.name() } else { wanted[numbers.below(wanted.len())] };
        sets.push(vec![needy.name().to_owned(), format!("!{refused}")]);
        let provided: Vec<_> = providing.provides().map(|provided| provided.name).collect();
        let name = if provided.is_empty() { providing.name() } else { provided[numbers.below(provided.len())] };
        sets.push(vec![name.to_owned()]);
    }
    compare(&reference, &indexes, None, &sets);
}

#[test]
fn pinned_packages_are_those_that_apk_would_install() {
    let Some(data) = parts::alpine_data() else { return };
    let Some(reference) = Reference::with_indexes(&data) else { return };
    let list = format!("/repos/{}\n@c /repos/{}\n", REPOSITORIES[0], REPOSITORIES[1]);
    std::fs::write(reference.root.path().join("repos/repositories"), list).unwrap();
    let indexes = indexes(&data);
    let sets =
        ["kubelet@c", "kubelet", "kubelet@c kubeadm", "iptables kubeadm@c", "docker@c", "iptables@c", "nodejs@c vim"];
    let mut sets: Vec<Vec<String>> = sets.iter().map(|set| set.split(' ').map(str::to_owned).collect()).collect();
    let names: Vec<_> = indexes[1].index().packages().map(Package::name).collect();
    let mut numbers = Numbers(7);
    sets.extend((0..20).map(|_| vec![format!("{}@c", names[numbers.below(names.len())])]));
    compare(&reference, &indexes, Some("c"), &sets);
}
