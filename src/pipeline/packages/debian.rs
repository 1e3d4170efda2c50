//! Debian's packages: the signed indexes of a base's suites, and root file systems from the packages of a lock.
//!
//! The chain of trust is that of apt: keys, the suite's release file, the index of a component, the package's file. All
//! of it is walked when a matrix is locked. A build has the digests in its lock.

mod settling;
mod suites;

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;

use super::{Answer, Asking, Assembled, DATABASE, OTHERS, PipelineError, SHARED, Step, file_name};
use crate::{
    base::{ActionKey, Blob, Platform, Tree, TreePath},
    inputs::{
        deb::{
            machine::MachineError,
            openpgp::SignatureError,
            package::{self, OpenError, Opened},
            packages::Package,
            release::{IndexError, ReleaseError},
            resolver::{self, Problem, Unresolvable},
            rootfs::{self, Alternative, AssembleError, Setup},
            source_packages::{self, SourcePackageError},
            universe::{Offer, Universe, UniverseError},
        },
        store::Store,
    },
    matrix::{Base, DebianRoot, Kept, Located},
    plan::{Lock, Pin, Request, Selected, Selection},
    rootfs::without,
};
pub(super) use settling::{Settled, settle};
use suites::Suite;
pub use suites::wanted_suite;

/// Why Debian's archives did not give what was asked.
#[derive(Debug, thiserror::Error)]
pub enum DebianError {
    #[error(transparent)]
    Machine(#[from] MachineError),
    #[error(transparent)]
    Signature(#[from] SignatureError),
    #[error(transparent)]
    Release(#[from] ReleaseError),
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error(transparent)]
    Universe(#[from] UniverseError),
    #[error(transparent)]
    Unresolvable(#[from] Unresolvable),
    #[error(transparent)]
    SourcePackage(#[from] SourcePackageError),
    #[error("the source package {package} {version} has no upstream tarball, or several: it has {}", files.join(", "))]
    NoTarball { package: String, version: String, files: Vec<String> },
    #[error(
        "no mirror of {archive} has a suite `{suite}` ({places}): correct `suite` in {at}, or name a mirror that has it"
    )]
    NoSuchSuite { suite: String, archive: String, at: String, places: String },
    #[error(
        "no mirror has the suite `{suite}` ({places}), which this machine's apt or the lock uses: try again later, \
         name a mirror that has it, or take the suite out of {at} if the images are to have no updates from it"
    )]
    SuiteWentMissing { suite: String, at: String, places: String },
    #[error(
        "no mirror has {what} as the signed release file names them: the mirror's copy is stale or being synchronised\n  {}\n\
         try again later, name another mirror with `--mirror {archive}=URL`{way_on}", places.join("\n  ")
    )]
    OutOfStep { what: String, archive: String, places: Vec<String>, way_on: String },
    #[error("no suite of the base can be asked: {}", .0.join(", "))]
    NoSuite(Vec<String>),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Assemble(#[from] AssembleError),
}

/// Answers all selections of one base and platform from one state of its suites.
pub(super) async fn choose(
    asking: Asking<'_>,
    base: &Base,
    root: &DebianRoot,
    platform: Platform,
    selections: &[Selection],
    (settled, lock): (&Settled, &Lock),
) -> Result<Answer, PipelineError> {
    let doing = format!("choosing the packages of {} {platform}", base.name);
    let failed = |error: DebianError| PipelineError::new(doing.clone(), error.into());
    let requests: Vec<_> = selections.iter().map(|selection| Request::parse(&selection.request)).collect();
    let mut answer = Answer::default();
    let mut suites = suites::open(asking, base, root, settled, lock, &mut answer).await?;
    if suites.is_empty() {
        let names = root.repositories.iter().map(|repository| repository.suite.clone()).collect();
        return Err(failed(DebianError::NoSuite(names)));
    }
    if requests.iter().any(|request| !request.sources.is_empty()) {
        for suite in &mut suites {
            suite.read_sources(asking, &mut answer).await?;
        }
    }
    if requests.iter().any(|request| !request.install.is_empty() || !request.files.is_empty()) {
        for suite in &mut suites {
            suite.read_packages(asking, platform, &mut answer).await?;
        }
    }
    let answers = || answers(&suites, platform, &requests);
    for (selected, pins) in tokio::task::block_in_place(answers).map_err(failed)? {
        answer.selected.push(selected);
        answer.pins.extend(pins);
    }
    Ok(answer)
}

type Pinned = (Selected, Vec<(String, Pin)>);

fn answers(suites: &[Suite], platform: Platform, requests: &[Request<'_>]) -> Result<Vec<Pinned>, DebianError> {
    let mut universe = Universe::new(platform.debian_arch());
    let mut owners = Vec::new();
    for suite in suites {
        for index in &suite.packages {
            universe.add(&index.text, suite.release.pin)?;
            owners.push(suite);
        }
    }
    requests.iter().map(|request| answer(suites, &universe, &owners, request)).collect()
}

/// The packages of one question, by name, with their digests from the indexes: nothing has to be fetched for them.
fn answer(
    suites: &[Suite],
    universe: &Universe<'_>,
    owners: &[&Suite],
    request: &Request<'_>,
) -> Result<Pinned, DebianError> {
    let own = |names: &[&str]| -> Vec<String> { names.iter().map(|name| (*name).to_owned()).collect() };
    let (mut pins, mut omitted) = (Vec::new(), Vec::new());
    if !request.install.is_empty() {
        let (install, without) = (own(&request.install), own(&request.without));
        let resolution = resolver::resolve(universe, resolver::Request { install: &install, without: &without })?;
        pins.extend(resolution.offers(universe).filter_map(|offer| pin(offer, owners)));
        let asked_for = resolution.omitted.iter().filter(|omitted| !omitted.needed_by.is_empty());
        omitted.extend(asked_for.map(|omitted| format!("{}: {}", omitted.package, omitted.needed_by.join(" "))));
    }
    for name in &request.files {
        let unknown = || Unresolvable(vec![Problem::Unknown { package: (*name).to_owned(), similar: Vec::new() }]);
        let id = universe.find(name).and_then(|name| universe.candidate(name)).ok_or_else(unknown)?;
        pins.extend(pin(universe.get(id), owners));
    }
    for (name, version) in &request.sources {
        pins.push(tarball(suites, name, version)?);
    }
    let packages = pins.iter().map(|(url, _)| url.clone()).collect();
    let indexes = if request.sources.is_empty() {
        suites.iter().flat_map(|suite| suite.urls(&suite.packages)).collect()
    } else {
        suites.iter().flat_map(|suite| suite.urls(&suite.sources)).collect()
    };
    Ok((Selected { packages, indexes, omitted, ..Selected::default() }, pins))
}

/// A package of an index, which always says its digest, as the lock pins it.
fn pin(offer: &Offer<'_>, owners: &[&Suite]) -> Option<(String, Pin)> {
    let suite = owners.get(offer.index)?;
    let Blob { digest, size } = offer.package.archive?;
    let url = suite.url_of(offer.package.filename);
    Some((url, Pin { sha256: digest, size: Some(size), verified: suite.evidence.clone() }))
}

/// The upstream tarball of the latest source package with this version, which may be given without Debian's revision.
fn tarball(suites: &[Suite], name: &str, version: &str) -> Result<(String, Pin), DebianError> {
    let mut found: Vec<(&Suite, source_packages::SourcePackage)> = Vec::new();
    let mut known = Vec::new();
    for suite in suites {
        for index in &suite.sources {
            for package in source_packages::all(&index.text, name)? {
                if package.is_version(version) { found.push((suite, package)) } else { known.push(package.version) }
            }
        }
    }
    let latest = found.into_iter().max_by(|(_, a), (_, b)| a.compare(b));
    let missing =
        || SourcePackageError::Missing { package: name.to_owned(), version: Some(version.to_owned()), versions: known };
    let (suite, package) = latest.ok_or_else(missing)?;
    let tarballs: Vec<_> = package.tarballs().collect();
    let upstream: Vec<_> = tarballs.iter().filter(|file| file.name.contains(".orig.tar.")).collect();
    let file = match (upstream.as_slice(), tarballs.as_slice()) {
        ([only], _) => **only,
        ([], [only]) => *only,
        _ => {
            let files = package.files.iter().map(|file| file.name.clone()).collect();
            let (package, version) = (package.name.clone(), package.version.clone());
            return Err(DebianError::NoTarball { package, version, files });
        }
    };
    let url = suite.url_of(&format!("{}/{}", package.folder, file.name));
    Ok((url, Pin { sha256: file.blob.digest, size: Some(file.blob.size), verified: suite.evidence.clone() }))
}

/// What a root file system is made of.
pub(super) struct Parts<'a> {
    pub(super) definition: &'a Base,
    pub(super) root: &'a DebianRoot,
    pub(super) platform: Platform,
    pub(super) all: &'a Selected,
    pub(super) shared: &'a Selected,
    /// Those of `all`, in its order.
    pub(super) files: &'a [Blob],
}

/// Raised when the same packages come to lie otherwise in the layers.
const FORMAT: u32 = 2;

/// Puts the packages of a lock together, once: the result is recorded.
pub(super) fn assemble(store: &Store, parts: &Parts<'_>) -> Result<Assembled, Step> {
    if let Some(assembled) = recorded(store, parts) {
        return Ok(assembled);
    }
    let alternatives = parts.root.alternatives.iter().map(alternative).collect();
    let setup = Setup { alternatives, declared: BTreeSet::new() };
    let (assembled, names) = put_together(store, &parts.all.packages, parts.files, &setup)?;
    let assembled = cut(parts, &names, &assembled)?;
    store.record(&key(parts), &assembled)?;
    Ok(assembled)
}

/// The result, where it is recorded; `parts.files` need not be here.
pub(super) fn recorded(store: &Store, parts: &Parts<'_>) -> Option<Assembled> {
    store.recorded::<Assembled>(&key(parts)).filter(|assembled| assembled.is_whole(store))
}

/// The tree of packages by URL, to be used from where it is written to: programs of the machine that builds, or files
/// that a component takes out. Their places are those in a merged /usr.
pub(in super::super) fn tools(store: &Store, files: &[(String, Blob)]) -> Result<Tree, Step> {
    let (urls, blobs): (Vec<String>, Vec<Blob>) = files.iter().cloned().unzip();
    Ok(put_together(store, &urls, &blobs, &Setup::default())?.0.tree)
}

/// The assembled packages, and the name of each.
fn put_together(
    store: &Store,
    urls: &[String],
    files: &[Blob],
    setup: &Setup,
) -> Result<(rootfs::Assembled, Vec<String>), DebianError> {
    let named: Vec<_> = urls.iter().map(|url| file_name(url)).zip(files).collect();
    let opened: Vec<Opened> =
        named.par_iter().map(|(name, file)| package::open(store, file, name)).collect::<Result<_, _>>()?;
    let described: Vec<Package<'_>> =
        opened.iter().zip(&named).map(|(opened, (name, _))| opened.package(name)).collect::<Result<_, _>>()?;
    let unpacked: Vec<_> = opened.iter().zip(&described).map(|(opened, package)| opened.unpacked(package)).collect();
    let assembled = rootfs::assemble(store, &unpacked, setup)?;
    Ok((assembled, described.iter().map(|package| package.name.to_owned()).collect()))
}

fn alternative(declared: &crate::matrix::Alternative) -> Alternative {
    let crate::matrix::Alternative { link, name, target } = declared.clone();
    Alternative { link, name, target }
}

fn key(parts: &Parts<'_>) -> ActionKey {
    let mut key = ActionKey::new("debian-root", FORMAT).field("platform", parts.platform);
    for (url, file) in parts.all.packages.iter().zip(parts.files) {
        let layer = if parts.shared.packages.contains(url) { SHARED } else { OTHERS };
        key = key.field("package", format!("{} {layer}", file.digest));
    }
    for one in &parts.root.alternatives {
        key = key.field("alternative", format!("{} {} {}", one.link, one.name, one.target));
    }
    for declared in &parts.root.declared {
        key = key.field("declared", format!("{} {}", declared.package, declared.phases.join(" ")));
    }
    for path in &parts.definition.remove {
        key = key.field("remove", &path.value);
    }
    for kept in &parts.root.keep {
        let programs: Vec<_> = kept.programs.iter().map(|program| program.value.as_str()).collect();
        key = key.field("keep", format!("{} {}", kept.package, programs.join(" ")));
    }
    key
}

/// Cuts the tree into layers and leaves out what the definition removes.
fn cut(parts: &Parts<'_>, names: &[String], assembled: &rootfs::Assembled) -> Result<Assembled, Step> {
    let others: BTreeSet<&str> = (parts.all.packages.iter().zip(names))
        .filter(|(url, _)| !parts.shared.packages.contains(url))
        .map(|(_, name)| name.as_str())
        .collect();
    let name = format!("base {}", parts.definition.name);
    let placed = parts.definition.remove.iter().map(|path| assembled.places.of(&path.value));
    let mut removed: Vec<TreePath> = placed.filter(|path| assembled.tree.get(path).is_some()).collect();
    let mut warnings = undeclared(parts.root, &name, assembled);
    let idle = idle(parts, names, assembled);
    for kept in parts.root.keep.iter().filter(|kept| names.contains(&kept.package)) {
        let (surplus, missing) = surplus(kept, assembled);
        removed.extend(surplus);
        warnings.extend(
            missing
                .iter()
                .map(|program| format!("{name}: {} brings no `{program}`, which [[keep]] names", kept.package)),
        );
    }
    let mut layers = [Tree::new(), Tree::new(), Tree::new()];
    for (path, entry) in without(&assembled.tree, &removed, &name)?.entries {
        let layer = match assembled.owners.get(&path) {
            None if path.as_str().starts_with("var/lib/dpkg/") => 2,
            Some(owner) if others.contains(owner.as_str()) => 1,
            _ => 0,
        };
        layers[layer].insert(path, entry);
    }
    let [base, others, database] = layers;
    Ok(Assembled {
        bottom: vec![(SHARED.to_owned(), base), (OTHERS.to_owned(), others)],
        top: vec![(DATABASE.to_owned(), database)],
        warnings,
        idle,
    })
}

/// What of the definition does nothing in this tree. It is a mistake where it does nothing in any.
fn idle(parts: &Parts<'_>, names: &[String], assembled: &rootfs::Assembled) -> BTreeSet<String> {
    let gone = |path: &&Located<TreePath>| assembled.tree.get(&assembled.places.of(&path.value)).is_none();
    let removed = parts.definition.remove.iter().filter(gone);
    let removed = removed.map(|path| format!("`remove` names /{}, which no package brings", path.value));
    let alternatives = assembled.idle.iter();
    let alternatives = alternatives.map(|link| format!("no package brings the target of the alternative /{link}"));
    let declared = parts.root.declared.iter().filter(|declared| !names.contains(&declared.package));
    let declared = declared.map(|one| format!("[[declared]] names {}, which is not installed", one.package));
    let kept = parts.root.keep.iter().filter(|kept| !names.contains(&kept.package));
    let kept = kept.map(|kept| format!("[[keep]] names {}, which is not installed", kept.package));
    removed.chain(alternatives).chain(declared).chain(kept).collect()
}

/// The programs of a package that an image does not keep, and the names to keep that it does not have.
fn surplus(kept: &Kept, assembled: &rootfs::Assembled) -> (Vec<TreePath>, Vec<String>) {
    const FOLDERS: [&str; 2] = ["usr/bin", "usr/sbin"];
    let in_folder = |path: &&TreePath| path.parent().is_some_and(|folder| FOLDERS.contains(&folder.as_str()));
    let own = assembled.owners.iter().filter(|(_, owner)| **owner == kept.package).map(|(path, _)| path);
    let programs: Vec<&TreePath> = own.filter(in_folder).collect();
    let is_kept = |path: &TreePath| kept.programs.iter().any(|program| program.value == path.file_name());
    let brought = |program: &&Located<String>| programs.iter().any(|path| path.file_name() == program.value);
    let missing = kept.programs.iter().filter(|program| !brought(program)).map(|program| program.value.clone());
    (programs.iter().filter(|path| !is_kept(path)).map(|path| (*path).clone()).collect(), missing.collect())
}

/// The scripts that neither assembly nor definition makes up for, a sentence for each package.
fn undeclared(root: &DebianRoot, base: &str, assembled: &rootfs::Assembled) -> Vec<String> {
    let mut scripts: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for script in assembled.undeclared.iter().filter(|script| !is_declared(root, script)) {
        scripts.entry(script.package.as_str()).or_default().push(script.phase.name());
    }
    let sentence = |(package, phases): (&str, Vec<&str>)| {
        let phases = phases.join(" and the ");
        format!(
            "{base}: the {phases} of {package} is not run: say in [[declared]] why it need not, or what stands in for it"
        )
    };
    scripts.into_iter().map(sentence).collect()
}

fn is_declared(root: &DebianRoot, script: &rootfs::UndeclaredScript) -> bool {
    let covers = |phases: &[String]| phases.is_empty() || phases.iter().any(|phase| phase == script.phase.name());
    root.declared.iter().any(|declared| declared.package == script.package && covers(&declared.phases))
}
