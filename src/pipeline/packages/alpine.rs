//! Alpine's packages: the signed indexes of a base's repositories, and root file systems from the packages of a lock.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::{Answer, Asking, Assembled, DATABASE, OTHERS, PipelineError, SHARED, Step, Work, file_name};
use crate::{
    base::{Accounts, ActionKey, Blob, Group, Platform, Tree, TreePath, User},
    host::files,
    inputs::{
        apk::{
            index::Package,
            install::{self, InstalledLayers, Setup},
            package::{self, VerifiedPackage},
            repository::{Trust, VerifiedIndex},
            resolver::{Repository, Resolver, Selected as Chosen, World},
            scripts::{Phase, UndeclaredScript},
            signature::Keyring,
        },
        store::Store,
    },
    matrix::{AlpineRepository, AlpineRoot, Base, DeclaredScript},
    plan::{self, Lock, Pin, Selected, Selection, Terms},
    rootfs::without,
};

/// Alpine's largest index, community of 3.22, has 2.3 MB.
const LARGEST_INDEX: u64 = 128 << 20;

/// Keys and lists of applets are small files written by hand.
const LARGEST_FILE: u64 = 1 << 20;

/// Chooses packages for all selections of one base and platform from one state of its repositories.
pub(super) async fn choose(
    asking: Asking<'_>,
    base: &Base,
    root: &AlpineRoot,
    platform: Platform,
    selections: &[Selection],
    lock: &Lock,
) -> Result<Answer, PipelineError> {
    let doing = format!("choosing the packages of {} {platform}", base.name);
    let failed = |step: Step| PipelineError::new(doing.clone(), step);
    let keys = keyring(base, root).map_err(failed)?;
    let mut answer = Answer::default();
    let mut indexes = Vec::new();
    for repository in &root.repositories {
        indexes.push(index(asking, (base, root), repository, platform, &keys, lock, &mut answer).await?);
    }
    let urls: Vec<String> = root.repositories.iter().map(|repository| index_url(repository, platform)).collect();
    let repositories: Vec<_> = (root.repositories.iter().zip(&indexes))
        .map(|(repository, index)| Repository { tag: repository.tag.as_deref(), index: index.index() })
        .collect();
    let mut wanted: BTreeMap<String, Chosen> = BTreeMap::new();
    let resolver = Resolver::new(&repositories).map_err(|error| failed(error.into()))?;
    let lines: Vec<String> = root.repositories.iter().map(AlpineRepository::line).collect();
    for selection in selections {
        let resolve = || -> Result<Vec<Chosen>, Step> { Ok(resolver.resolve(&World::parse(&selection.request)?)?) };
        let (mut packages, mut tags) = (Vec::new(), BTreeMap::new());
        for chosen in tokio::task::block_in_place(resolve).map_err(failed)? {
            let url = package_url(&root.repositories[chosen.repository], platform, &chosen);
            packages.push(url.clone());
            tags.extend(chosen.tag.clone().map(|tag| (url.clone(), tag)));
            wanted.entry(url).or_insert(chosen);
        }
        let repositories = Some(lines.clone());
        answer.selected.push(Selected { packages, indexes: urls.clone(), repositories, tags, ..Selected::default() });
    }
    let terms = Terms { repositories: root.repositories.clone(), keys: root.key_names() };
    wanted.retain(|url, chosen| {
        let is_pinned = |pin: &Pin| {
            terms.trust(&root.repositories[chosen.repository], pin) && !is_another(asking.store, pin, chosen)
        };
        !lock.inputs.get(url).is_some_and(is_pinned)
    });
    let evidence = |chosen: &Chosen| {
        let (url, index) = (&urls[chosen.repository], &indexes[chosen.repository]);
        format!("{url}, {}", plan::evidence(index.signed_by()))
    };
    let (here, wanted): (Vec<_>, Vec<_>) =
        wanted.into_iter().partition(|(url, chosen)| is_here(asking.store, lock.former.get(url), chosen));
    for (url, chosen) in here {
        let pin = lock.former.get(&url).map(|pin| Pin { verified: evidence(&chosen), ..pin.clone() });
        answer.pins.extend(pin.map(|pin| (url, pin)));
    }
    let pins = wanted.iter().map(|(url, chosen)| pin(asking, url, chosen, &keys, evidence(chosen)));
    let pins: Vec<_> = stream::iter(pins).buffer_unordered(16).try_collect().await?;
    answer.pins.extend(pins);
    Ok(answer)
}

/// Whether a file that the lock pins from an earlier choice is not the one that the index names now: a repository may
/// publish a package anew under its old version. A file that was verified before and is not here is taken for the same
/// when its size is.
fn is_another(store: &Store, pin: &Pin, chosen: &Chosen) -> bool {
    let size = chosen.package().size();
    let here = || store.blob(&pin.sha256).is_some_and(|blob| !package::is_of_index(store, &blob, chosen));
    pin.size.is_some_and(|pinned| pinned != size) || here()
}

/// Whether the store has a file that was pinned before and that the index names still.
fn is_here(store: &Store, former: Option<&Pin>, chosen: &Chosen) -> bool {
    let blob = former.and_then(|pin| store.blob(&pin.sha256));
    blob.is_some_and(|blob| blob.size == chosen.package().size() && package::is_of_index(store, &blob, chosen))
}

/// The index that the lock pins, as long as what vouched for it is trusted, else the one that the repository has now,
/// verified.
async fn index(
    asking: Asking<'_>,
    (base, root): (&Base, &AlpineRoot),
    repository: &AlpineRepository,
    platform: Platform,
    keys: &Keyring,
    lock: &Lock,
    answer: &mut Answer,
) -> Result<VerifiedIndex, PipelineError> {
    let url = index_url(repository, platform);
    let what = format!("the index of {}", repository.url);
    let failed = |step: Step| PipelineError::new(format!("reading {what}"), step);
    let trust = if repository.allow_unsigned { Trust::AllowUnsigned } else { Trust::Signed };
    let open = |bytes: &[u8]| tokio::task::block_in_place(|| VerifiedIndex::open(bytes, keys, trust));
    let terms = Terms { repositories: Vec::new(), keys: root.key_names() };
    let (bytes, index) = match lock.inputs.get(&url).filter(|pin| terms.trust(repository, pin)) {
        Some(pin) => {
            let moved = |source| PipelineError::index_moved(&base.name, &url, source);
            let blob = asking.fetcher.pinned(&what, &url, pin.sha256, pin.size).await.map_err(moved)?;
            let bytes =
                files::read(&asking.store.path(&blob.digest), LARGEST_INDEX).map_err(|error| failed(error.into()))?;
            let index = open(&bytes).map_err(|error| failed(error.into()))?;
            (bytes, index)
        }
        None => asking.fetcher.small_accepted(&what, &url, LARGEST_INDEX, |_, bytes| open(bytes)).await?,
    };
    let blob = tokio::task::block_in_place(|| asking.store.put(&bytes)).map_err(|error| failed(error.into()))?;
    let verified = plan::evidence(index.signed_by());
    answer.pins.insert(url, Pin { sha256: blob.digest, size: Some(blob.size), verified });
    Ok(index)
}

/// Fetches a package and verifies all of it against the index that names it.
async fn pin(
    asking: Asking<'_>,
    url: &str,
    chosen: &Chosen,
    keys: &Keyring,
    verified: String,
) -> Result<(String, Pin), PipelineError> {
    let (store, keys, expected) = (asking.store.clone(), keys.clone(), chosen.clone());
    let accept = move |blob: Blob| package::verify_package(&store, &blob, &expected, &keys).map(drop);
    let (blob, ()) = asking.fetcher.accepted(file_name(url), url, chosen.package().size(), accept).await?;
    Ok((url.to_owned(), Pin { sha256: blob.digest, size: Some(blob.size), verified }))
}

fn index_url(repository: &AlpineRepository, platform: Platform) -> String {
    format!("{}/{}/APKINDEX.tar.gz", repository.url, platform.alpine_arch())
}

fn package_url(repository: &AlpineRepository, platform: Platform, chosen: &Chosen) -> String {
    // As apk does, by what the index says: packages for all architectures may lie in a folder of their own.
    let arch = match chosen.package().arch() {
        "" => platform.alpine_arch(),
        arch => arch,
    };
    format!("{}/{arch}/{}", repository.url, chosen.package().file_name())
}

/// The keys of a base, by the names of their files.
fn keyring(base: &Base, root: &AlpineRoot) -> Result<Keyring, Step> {
    let mut keys = Keyring::new();
    for key in &root.keys {
        let pem = files::read_text(&base.folder().join(&key.value), LARGEST_FILE)?;
        let name = key.value.file_name().unwrap_or_default().to_string_lossy();
        keys.add(&name, &pem).map_err(|source| Step::Key { at: key.at.to_string(), source })?;
    }
    Ok(keys)
}

/// What a root file system is made of.
pub(super) struct Parts<'a> {
    pub(super) definition: &'a Base,
    pub(super) root: &'a AlpineRoot,
    pub(super) platform: Platform,
    pub(super) request: &'a [String],
    pub(super) all: &'a Selected,
    pub(super) shared: &'a Selected,
    /// Those of `all`, in its order.
    pub(super) files: &'a [Blob],
}

/// Raised when the same packages come to lie otherwise in the layers.
const FORMAT: u32 = 2;

/// Installs the packages of a lock into an empty tree, once: the result is recorded.
pub(super) fn assemble(store: &Store, parts: &Parts<'_>) -> Result<Assembled, Step> {
    let keys = keyring(parts.definition, parts.root)?;
    let applets = applets(parts)?;
    let key = key(parts, &keys, &applets);
    if let Some(assembled) = store.recorded::<Assembled>(&key).filter(|assembled| assembled.is_whole(store)) {
        return Ok(assembled);
    }
    let packages = open(store, parts, &keys)?;
    let repositories: Vec<String> = parts.root.repositories.iter().map(AlpineRepository::line).collect();
    let world = World::parse(parts.request)?;
    let setup = Setup {
        world: &world,
        arch: parts.platform.alpine_arch(),
        repositories: &repositories,
        keys: &keys,
        accounts: &parts.root.accounts,
        applets: &applets,
    };
    let shared: BTreeSet<String> = (parts.all.packages.iter().zip(&packages))
        .filter(|(url, _)| parts.shared.packages.contains(url))
        .map(|(_, package)| package.package().name().to_owned())
        .collect();
    let is_shared = |package: Package<'_>| shared.contains(package.name());
    let installed = install::install_in_layers(store, &packages, &setup, is_shared)?;
    let mut assembled = trim(parts, installed)?;
    assembled.warnings.extend(declared_without_script(parts, &packages));
    store.record(&key, &assembled)?;
    Ok(assembled)
}

/// The result, where it is recorded; `parts.files` need not be here.
pub(super) fn recorded(store: &Store, parts: &Parts<'_>) -> Result<Option<Assembled>, Step> {
    let key = key(parts, &keyring(parts.definition, parts.root)?, &applets(parts)?);
    Ok(store.recorded::<Assembled>(&key).filter(|assembled| assembled.is_whole(store)))
}

fn applets(parts: &Parts<'_>) -> Result<String, Step> {
    match &parts.root.applets {
        Some(path) => Ok(files::read_text(&parts.definition.folder().join(&path.value), LARGEST_FILE)?),
        None => Ok(String::new()),
    }
}

fn key(parts: &Parts<'_>, keys: &Keyring, applets: &str) -> ActionKey {
    let mut key = ActionKey::new("alpine-root", FORMAT).field("platform", parts.platform).field("applets", applets);
    for (url, file) in parts.all.packages.iter().zip(parts.files) {
        let layer = if parts.shared.packages.contains(url) { SHARED } else { OTHERS };
        let tag = tag(parts, url).unwrap_or_default();
        key = key.field("package", format!("{} {layer} {tag}", file.digest));
    }
    for name in parts.request {
        key = key.field("request", name);
    }
    for repository in &parts.root.repositories {
        key = key.field("repository", repository.line());
    }
    for (name, pem) in keys.iter() {
        key = key.field("key", format!("{name} {pem}"));
    }
    let Accounts { users, groups } = &parts.root.accounts;
    for User { name, uid, group, comment, home, create_home, shell } in users {
        key = key.field("user", format!("{name}:{uid}:{group}:{comment}:{home}:{create_home}:{shell}"));
    }
    for Group { name, gid, members } in groups {
        key = key.field("group", format!("{name}:{gid}:{}", members.join(",")));
    }
    for declared in &parts.root.declared {
        key = key.field("declared", format!("{} {}", declared.package, declared.phases.join(" ")));
    }
    for path in &parts.definition.remove {
        key = key.field("remove", &path.value);
    }
    key
}

fn open(store: &Store, parts: &Parts<'_>, keys: &Keyring) -> Result<Vec<VerifiedPackage>, Step> {
    let open = |(url, file): (&String, &Blob)| Ok(package::open_package(store, file, tag(parts, url), keys)?);
    parts.all.packages.iter().zip(parts.files).map(open).collect()
}

/// The repository tag that a package was chosen by. Locks of format 1 do not say; there it is that of the repository.
fn tag<'a>(parts: &Parts<'a>, url: &str) -> Option<&'a str> {
    if parts.all.repositories.is_some() {
        return parts.all.tags.get(url).map(String::as_str);
    }
    let repository = parts.root.repositories.iter().find(|repository| url.starts_with(&repository.prefix()));
    repository.and_then(|repository| repository.tag.as_deref())
}

/// The layers without what the definition removes: each path, and all below it in whatever layer that is.
fn trim(parts: &Parts<'_>, installed: InstalledLayers) -> Result<Assembled, Step> {
    let mut warnings = undeclared(parts, &installed);
    let name = format!("base {}", parts.definition.name);
    let mut missing: BTreeSet<&TreePath> = parts.definition.remove.iter().map(|path| &path.value).collect();
    let removed = missing.clone();
    let mut trim = |tree: Tree| -> Result<Tree, Step> {
        let mut dropped = Vec::new();
        for (path, _) in tree.iter() {
            // The folder itself may be in another layer than what lies in it.
            let upwards = std::iter::successors(Some(path.clone()), TreePath::parent);
            if let Some(path_or_above) = upwards.into_iter().find(|path| removed.contains(path)) {
                missing.remove(&path_or_above);
                dropped.push(path.clone());
            }
        }
        Ok(without(&tree, &dropped, &name)?)
    };
    let InstalledLayers { base, additional, records, .. } = installed;
    let (base, additional, records) = (trim(base)?, trim(additional)?, trim(records)?);
    warnings.extend(missing.iter().map(|path| format!("{name} removes `{path}`, which its packages do not bring")));
    Ok(Assembled {
        bottom: vec![(SHARED.to_owned(), base), (OTHERS.to_owned(), additional)],
        top: vec![(DATABASE.to_owned(), records)],
        warnings,
        ..Assembled::default()
    })
}

/// Whether a declaration is about the scripts of a phase.
fn covers(declared: &DeclaredScript, phase: Phase) -> bool {
    declared.phases.is_empty() || declared.phases.iter().any(|name| name == phase.name())
}

/// Declarations about scripts that their package does not have, in words: what they stood for is gone.
fn declared_without_script(parts: &Parts<'_>, packages: &[VerifiedPackage]) -> Vec<String> {
    let has_none = |declared: &&DeclaredScript| {
        let package = packages.iter().find(|package| package.package().name() == declared.package);
        let is_meant = |phase: Phase| phase.is_of_installation() && covers(declared, phase);
        package.is_some_and(|package| !package.scripts.iter().any(|(phase, _)| is_meant(*phase)))
    };
    let needless = parts.root.declared.iter().filter(has_none);
    let text = |declared: &DeclaredScript| {
        let (base, package) = (&parts.definition.name, &declared.package);
        format!("base {base}: [[declared]] is about scripts of {package}, which has no such script: leave it out")
    };
    needless.map(text).collect()
}

/// Declarations about packages that no image of the base holds, in words. Nothing where not all of it is locked yet.
pub(super) fn declared_of_nothing(work: &Work, base: &Base, root: &AlpineRoot) -> Vec<String> {
    if work.lock.of_base(&base.name).next().is_none()
        || work.lock.unselected(&work.plan).iter().any(|selection| selection.base == base.name)
    {
        return Vec::new();
    }
    let is_of = |url: &str, package: &str| {
        let version = file_name(url).strip_prefix(package).and_then(|rest| rest.strip_prefix('-'));
        version.is_some_and(|version| version.starts_with(|c: char| c.is_ascii_digit()))
    };
    let is_chosen = |package: &str| {
        work.lock.of_base(&base.name).any(|selected| selected.packages.iter().any(|url| is_of(url, package)))
    };
    let needless = root.declared.iter().filter(|declared| !is_chosen(&declared.package));
    let text = |declared: &DeclaredScript| {
        let (base, package) = (&base.name, &declared.package);
        format!("base {base}: [[declared]] is about {package}, which no image of it holds: leave it out")
    };
    needless.map(text).collect()
}

/// The scripts that neither installation nor definition makes up for, in words.
fn undeclared(parts: &Parts<'_>, installed: &InstalledLayers) -> Vec<String> {
    let is_declared = |script: &&UndeclaredScript| {
        let is_meant = |declared: &DeclaredScript| declared.package == script.name && covers(declared, script.phase);
        parts.root.declared.iter().any(is_meant)
    };
    let scripts = installed.undeclared.iter().filter(|script| !is_declared(script));
    let name = &parts.definition.name;
    scripts
        .map(|script| format!("base {name}: {script}: say in [[declared]] why it need not, or what stands in for it"))
        .collect()
}
