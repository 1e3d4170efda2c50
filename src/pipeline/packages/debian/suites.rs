//! A suite of an archive: its release file, verified, and the indexes that it vouches for.

use super::{Answer, Asking, DebianError, PipelineError, Step};
use crate::{
    base::{Blob, Platform},
    host::files,
    inputs::{
        deb::{
            machine::{self, MachineError},
            openpgp::Keyring,
            release::{IndexFile, Release},
            sources::Wanted,
        },
        fetch::{FetchError, Why},
    },
    matrix::{Base, DebianMirrors, DebianRepository, DebianRoot},
    plan::{Lock, Pin},
};

/// Bookworm's release file has 150 kB.
const LARGEST_RELEASE: u64 = 16 << 20;

/// Bookworm's largest index, main for amd64, has 9 MB.
const LARGEST_INDEX: u64 = 256 << 20;

/// See the module.
pub(super) struct Suite {
    prefix: String,
    name: String,
    components: Vec<String>,
    optional: bool,
    pub(super) release: Release,
    /// What vouches for the files that its indexes name.
    pub(super) evidence: String,
    pub(super) packages: Vec<Index>,
    pub(super) sources: Vec<Index>,
}

/// An index that was read.
pub(super) struct Index {
    url: String,
    pub(super) text: String,
}

/// A suite as apt's sources are searched for it.
pub fn wanted_suite(repository: &DebianRepository) -> Wanted<'_> {
    Wanted { archive: &repository.archive, suite: &repository.suite, components: &repository.components }
}

/// The suites of a base, those that are optional only where they are used and there.
pub(super) async fn open(
    asking: Asking<'_>,
    base: &Base,
    root: &DebianRoot,
    lock: &Lock,
    answer: &mut Answer,
) -> Result<Vec<Suite>, PipelineError> {
    let mut suites = Vec::new();
    for repository in &root.repositories {
        if is_used(asking, repository, lock) {
            suites.extend(open_one(asking, base, repository, lock, answer).await?);
        }
    }
    Ok(suites)
}

fn release_url(repository: &DebianRepository) -> String {
    format!("{}/dists/{}/InRelease", repository.prefix(), repository.suite)
}

/// Whether a suite takes part in a choice. A lock that was made with it goes on with it, on any machine. A machine
/// whose apt uses this release of Debian has decided which of its optional suites are used; on one that runs another
/// release, or has no apt, they are used where they can be had.
fn is_used(asking: Asking<'_>, repository: &DebianRepository, lock: &Lock) -> bool {
    let url = release_url(repository);
    // `bookworm` of `bookworm-security`, `buster` of `buster/updates`.
    let release = repository.suite.split(['-', '/']).next().unwrap_or_default();
    !repository.optional
        || repository.mirrors != DebianMirrors::System
        || lock.inputs.contains_key(&url)
        || asking.apt.names(&repository.suite)
        || (!asking.apt.names(release) && asking.fetcher.has_address(&url))
}

/// Opens a suite. `None` for one that is optional and that no mirror has; the user is told.
async fn open_one(
    asking: Asking<'_>,
    base: &Base,
    repository: &DebianRepository,
    lock: &Lock,
    answer: &mut Answer,
) -> Result<Option<Suite>, PipelineError> {
    let what = format!("the release file of {}", repository.suite);
    let failed = |step: Step| PipelineError::new(format!("reading {what}"), step);
    let url = release_url(repository);
    let (bytes, release, signer) = if let Some(pin) = lock.inputs.get(&url) {
        let moved = |source| PipelineError::index_moved(&base.name, &url, source);
        let blob = asking.fetcher.pinned(&what, &url, pin.sha256, pin.size).await.map_err(moved)?;
        let bytes =
            files::read(&asking.store.path(&blob.digest), LARGEST_RELEASE).map_err(|error| failed(error.into()))?;
        let (release, signer) = known(asking, base, repository, &bytes).map_err(|error| failed(error.into()))?;
        (bytes, release, signer)
    } else {
        let fresh = |target: &str, bytes: &[u8]| fresh(asking, base, repository, target, bytes);
        match asking.fetcher.small_accepted(&what, &url, LARGEST_RELEASE, fresh).await {
            Ok((bytes, (release, signer))) => (bytes, release, signer),
            Err(error) => match nowhere(&error) {
                Some(places) if repository.optional => {
                    asking.progress.note(&without(&format!("no mirror has the suite {}", repository.suite), &places));
                    return Ok(None);
                }
                Some(places) => {
                    let (suite, archive) = (repository.suite.clone(), repository.archive.clone());
                    let error = DebianError::NoSuchSuite { suite, archive, at: repository.at.to_string(), places };
                    return Err(failed(error.into()));
                }
                None => return Err(error.into()),
            },
        }
    };
    let blob = asking.store.put(&bytes).map_err(|error| failed(error.into()))?;
    let verified = format!("signed by {signer}");
    answer.pins.insert(url.clone(), Pin { sha256: blob.digest, size: Some(blob.size), verified });
    Ok(Some(Suite {
        prefix: repository.prefix(),
        name: repository.suite.clone(),
        components: repository.components.clone(),
        optional: repository.optional,
        release,
        evidence: format!("{url}, signed by {signer}"),
        packages: Vec::new(),
        sources: Vec::new(),
    }))
}

/// A release file, and the fingerprint of the key that signed it.
fn read(
    asking: Asking<'_>,
    repository: &DebianRepository,
    keys: &Keyring,
    bytes: &[u8],
) -> Result<(Release, String), DebianError> {
    let signed = keys.verify(bytes, asking.apt.now)?;
    let release = Release::parse(&signed)?;
    release.check_suite(&repository.suite)?;
    Ok((release, signed.signer().to_owned()))
}

/// A release file that nothing has pinned yet, as an address has it: by the keys of the definition or those that the
/// machine's apt has for this address, for now, and Debian's own where nothing but the machine's apt led there.
fn fresh(
    asking: Asking<'_>,
    base: &Base,
    repository: &DebianRepository,
    target: &str,
    bytes: &[u8],
) -> Result<(Release, String), DebianError> {
    let source = asking.apt.source_of(wanted_suite(repository), target);
    let keys = match (&source, repository.keys.is_empty()) {
        (_, false) => own_keys(base, repository)?,
        (Some(source), true) => asking.apt.keys_of(source)?,
        (None, true) => asking.apt.keys()?,
    };
    let (release, signer) = read(asking, repository, &keys, bytes)?;
    if !source.as_ref().is_some_and(|source| source.may_be_outdated) {
        release.check_time(asking.apt.now)?;
    }
    let by_apt = source.is_some() && repository.mirrors == DebianMirrors::System && repository.keys.is_empty();
    if by_apt && DEBIANS.contains(&repository.archive.as_str()) {
        release.check_origin()?;
    }
    Ok((release, signer))
}

/// A release file that a lock pins, by whichever of the keys that the machine has for it.
fn known(
    asking: Asking<'_>,
    base: &Base,
    repository: &DebianRepository,
    bytes: &[u8],
) -> Result<(Release, String), DebianError> {
    if !repository.keys.is_empty() {
        return read(asking, repository, &own_keys(base, repository)?, bytes);
    }
    let by = |keys: Result<Keyring, MachineError>| read(asking, repository, &keys?, bytes);
    let sources = asking.apt.mirrors(wanted_suite(repository)).unwrap_or_default();
    let mut keyrings = sources.iter().map(|source| asking.apt.keys_of(source));
    by(asking.apt.keys()).or_else(|error| keyrings.find_map(|keys| by(keys).ok()).ok_or(error))
}

/// What the archives of Debian are called by everybody.
const DEBIANS: [&str; 2] = ["debian", "debian-security"];

/// The keys of the definition.
fn own_keys(base: &Base, repository: &DebianRepository) -> Result<Keyring, DebianError> {
    let mut keyring = Keyring::default();
    for key in &repository.keys {
        machine::add(&mut keyring, &base.folder().join(&key.value))?;
    }
    Ok(keyring)
}

impl Suite {
    /// The URL of a file by its path below the archive's root.
    pub(super) fn url_of(&self, path: &str) -> String {
        format!("{}/{}", self.prefix, path.trim_start_matches("./"))
    }

    /// The release file and these indexes.
    pub(super) fn urls<'s>(&'s self, indexes: &'s [Index]) -> impl Iterator<Item = String> + 's {
        let release = self.url_of(&format!("dists/{}/InRelease", self.name));
        std::iter::once(release).chain(indexes.iter().map(|index| index.url.clone()))
    }

    /// Reads the packages of every component for a platform.
    pub(super) async fn read_packages(
        &mut self,
        asking: Asking<'_>,
        platform: Platform,
        answer: &mut Answer,
    ) -> Result<(), PipelineError> {
        for component in self.components.clone() {
            let what = format!("the packages of {} {component} {}", self.name, platform.debian_arch());
            let ways = self.release.packages(&component, platform.debian_arch());
            let index = self.index(asking, &what, ways.map_err(DebianError::from), answer).await?;
            self.packages.extend(index);
        }
        Ok(())
    }

    /// Reads the source packages of every component.
    pub(super) async fn read_sources(&mut self, asking: Asking<'_>, answer: &mut Answer) -> Result<(), PipelineError> {
        for component in self.components.clone() {
            let what = format!("the source packages of {} {component}", self.name);
            let ways = self.release.sources(&component).map_err(DebianError::from);
            let index = self.index(asking, &what, ways, answer).await?;
            self.sources.extend(index);
        }
        Ok(())
    }

    /// Fetches an index in the first way that a mirror has it in, and reads it. `None` for one of an optional suite that
    /// no mirror has: not all keep all that a release lists, and the user is told.
    async fn index(
        &self,
        asking: Asking<'_>,
        what: &str,
        ways: Result<Vec<IndexFile>, DebianError>,
        answer: &mut Answer,
    ) -> Result<Option<Index>, PipelineError> {
        let failed = |step: Step| PipelineError::new(format!("reading {what}"), step);
        let mut absent = None;
        for way in ways.map_err(|error| failed(error.into()))? {
            match self.fetch(asking, what, &way).await {
                Ok((url, blob)) => {
                    let read = || -> Result<String, Step> {
                        let bytes = files::read(&asking.store.path(&blob.digest), LARGEST_INDEX)?;
                        Ok(way.read(&bytes).map_err(DebianError::from)?)
                    };
                    let text = tokio::task::block_in_place(read).map_err(failed)?;
                    let pin = Pin { sha256: blob.digest, size: Some(blob.size), verified: self.evidence.clone() };
                    answer.pins.insert(url.clone(), pin);
                    return Ok(Some(Index { url, text }));
                }
                Err(error) => match nowhere(&error) {
                    Some(places) => absent = Some((error, places)),
                    None => return Err(error.into()),
                },
            }
        }
        match absent {
            Some((_, places)) if self.optional => {
                asking.progress.note(&without(&format!("no mirror has {what}"), &places));
                Ok(None)
            }
            Some((error, _)) => Err(error.into()),
            None => Err(failed(Step::Missing(what.to_owned()))),
        }
    }

    /// Fetches a file by its digest where the archive offers that; mirrors that keep none by digest have it by name. A
    /// name may have come to mean the next state of the suite, so that what is wrong there says nothing.
    async fn fetch(&self, asking: Asking<'_>, what: &str, way: &IndexFile) -> Result<(String, Blob), FetchError> {
        let url_of = |place: &str| self.url_of(&format!("dists/{}/{place}", self.name));
        let (best, named) = (url_of(&way.location(&self.release)), url_of(&way.path));
        let (digest, size) = (way.stored.digest, Some(way.stored.size));
        match asking.fetcher.pinned(what, &best, digest, size).await {
            Err(error) if best != named && nowhere(&error).is_some() => {
                asking.fetcher.pinned(what, &named, digest, size).await.map(|blob| (named, blob)).map_err(|_| error)
            }
            fetched => fetched.map(|blob| (best, blob)),
        }
    }
}

/// The places where a file was looked for, if all that went wrong is that none of them has it.
fn nowhere(error: &FetchError) -> Option<String> {
    let FetchError::Failed { tried, .. } = error else { return None };
    let none = |why: &Why| matches!(why, Why::NotFound { .. } | Why::MissingFile { .. });
    let places: Vec<_> = tried.iter().map(|tried| tried.url.as_str()).collect();
    tried.iter().all(|tried| none(&tried.why)).then(|| places.join(", "))
}

/// What is said where an optional part of a base is left out, which is somebody's security updates.
fn without(what: &str, places: &str) -> String {
    format!(
        "warning: {what} ({places}): going on without it, because its suite is optional; whatever only it has, updates \
         among it, is not in these images"
    )
}
