//! A suite of an archive: its release file, verified, and the indexes that it vouches for.

use std::time::Duration;

use super::{Answer, Asking, DebianError, PipelineError, Step, settling::Settled};
use crate::{
    base::{Blob, Platform},
    host::files,
    inputs::{
        deb::{
            machine::{self, MachineError},
            openpgp::Keyring,
            release::{IndexFile, Release, ReleaseError},
            settings::Settings,
            sources::Wanted,
        },
        fetch::{FetchError, Why},
    },
    matrix::{Base, DebianMirrors, DebianRepository, DebianRoot},
    plan::{Lock, Pin},
};

/// Bookworm's release file has 150 kB.
pub(super) const LARGEST_RELEASE: u64 = 16 << 20;

/// Bookworm's largest index, main for amd64, has 9 MB.
const LARGEST_INDEX: u64 = 256 << 20;

/// See the module.
pub(super) struct Suite {
    prefix: String,
    name: String,
    components: Vec<String>,
    /// What else to do where an index cannot be had.
    way_on: String,
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

/// The suites of a base, without those that were left out of it.
pub(super) async fn open(
    asking: Asking<'_>,
    base: &Base,
    root: &DebianRoot,
    settled: &Settled,
    lock: &Lock,
    answer: &mut Answer,
) -> Result<Vec<Suite>, PipelineError> {
    let mut suites = Vec::new();
    for repository in root.repositories.iter().filter(|repository| !settled.leaves_out(repository)) {
        let places = match find(asking, base, repository, lock, answer).await? {
            Ok(suite) => {
                suites.push(suite);
                continue;
            }
            Err(places) => places,
        };
        return Err(no_such_suite(repository, places, false));
    }
    Ok(suites)
}

/// The URL of a suite's release file.
pub(super) fn release_url(repository: &DebianRepository) -> String {
    format!("{}/dists/{}/InRelease", repository.prefix(), repository.suite)
}

/// What helps where mirrors have moved on since a lock was made.
pub(super) fn anew(base: &Base) -> String {
    format!(", or choose all packages of the base anew with `kletimg matrix lock --update {}`", base.name)
}

/// What is said of a suite that no mirror has.
pub(super) fn no_such_suite(repository: &DebianRepository, places: String, used: bool) -> PipelineError {
    let (suite, archive, at) = (repository.suite.clone(), repository.archive.clone(), repository.at.to_string());
    let error = if used {
        DebianError::SuiteWentMissing { suite, at, places }
    } else {
        DebianError::NoSuchSuite { suite, archive, at, places }
    };
    PipelineError::new(format!("reading the release file of {}", repository.suite), error.into())
}

/// Opens a suite, or says where it was looked for if no mirror has it.
pub(super) async fn find(
    asking: Asking<'_>,
    base: &Base,
    repository: &DebianRepository,
    lock: &Lock,
    answer: &mut Answer,
) -> Result<Result<Suite, String>, PipelineError> {
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
            Err(error) => return error.nowhere().map(Err).ok_or_else(|| error.into()),
        }
    };
    let blob = asking.store.put(&bytes).map_err(|error| failed(error.into()))?;
    let verified = format!("signed by {signer}");
    answer.pins.insert(url.clone(), Pin { sha256: blob.digest, size: Some(blob.size), verified });
    Ok(Ok(Suite {
        prefix: repository.prefix(),
        name: repository.suite.clone(),
        components: repository.components.clone(),
        way_on: if lock.inputs.contains_key(&url) { anew(base) } else { String::new() },
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
    // What the machine's apt is told of dates counts for its own sources.
    let settings = source.as_ref().map(|_| &asking.apt.settings);
    let outdated = source.as_ref().is_some_and(|source| source.may_be_outdated)
        || settings.is_some_and(|settings| !settings.checks_validity());
    match (outdated, settings.is_none_or(Settings::checks_dates)) {
        (_, false) => {}
        (true, true) => release.check_date(asking.apt.now)?,
        (false, true) if !repository.check_valid_until => release.check_date(asking.apt.now)?,
        (false, true) => release.check_time(asking.apt.now)?,
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
            let index = self.index(asking, &self.packages_of(&component, platform)?, answer).await?;
            self.packages.push(index);
        }
        Ok(())
    }

    /// Reads the source packages of every component.
    pub(super) async fn read_sources(&mut self, asking: Asking<'_>, answer: &mut Answer) -> Result<(), PipelineError> {
        for component in self.components.clone() {
            let index = self.index(asking, &self.sources_of(&component)?, answer).await?;
            self.sources.push(index);
        }
        Ok(())
    }

    /// The first of a platform's indexes, or of those of source packages, that no mirror has as the release file promises it.
    pub(super) async fn lacks(
        &self,
        asking: Asking<'_>,
        platform: Option<Platform>,
    ) -> Result<Option<Lacking>, PipelineError> {
        for component in &self.components {
            let listed = match platform {
                Some(platform) => self.packages_of(component, platform)?,
                None => self.sources_of(component)?,
            };
            if let Err(lacking) = self.bring(asking, &listed).await? {
                return Ok(Some(lacking));
            }
        }
        Ok(None)
    }

    fn packages_of(&self, component: &str, platform: Platform) -> Result<Listed, PipelineError> {
        let what = format!("the packages of {} {component} {}", self.name, platform.debian_arch());
        Self::listed(what, self.release.packages(component, platform.debian_arch()))
    }

    fn sources_of(&self, component: &str) -> Result<Listed, PipelineError> {
        Self::listed(format!("the source packages of {} {component}", self.name), self.release.sources(component))
    }

    fn listed(what: String, ways: Result<Vec<IndexFile>, ReleaseError>) -> Result<Listed, PipelineError> {
        let failed =
            |error: ReleaseError| PipelineError::new(format!("reading {what}"), DebianError::from(error).into());
        let ways = ways.map_err(failed)?;
        Ok(Listed { what, ways })
    }

    /// Fetches an index and reads it.
    async fn index(&self, asking: Asking<'_>, listed: &Listed, answer: &mut Answer) -> Result<Index, PipelineError> {
        let failed = |step: Step| PipelineError::new(format!("reading {}", listed.what), step);
        let (way, url, blob) = match self.bring(asking, listed).await? {
            Ok(brought) => brought,
            Err(Lacking { what, places }) => {
                let (archive, way_on) = (self.prefix.clone(), self.way_on.clone());
                return Err(failed(DebianError::OutOfStep { what, archive, places, way_on }.into()));
            }
        };
        let read = || -> Result<String, Step> {
            let bytes = files::read(&asking.store.path(&blob.digest), LARGEST_INDEX)?;
            Ok(way.read(&bytes).map_err(DebianError::from)?)
        };
        let text = tokio::task::block_in_place(read).map_err(failed)?;
        let pin = Pin { sha256: blob.digest, size: Some(blob.size), verified: self.evidence.clone() };
        answer.pins.insert(url.clone(), pin);
        Ok(Index { url, text })
    }

    /// Fetches an index in the first way that a mirror has it in. Where none has it, it is asked for once more: mirrors are
    /// synchronised file by file, and one of them may lie between a file and the next.
    async fn bring<'l>(
        &self,
        asking: Asking<'_>,
        listed: &'l Listed,
    ) -> Result<Result<(&'l IndexFile, String, Blob), Lacking>, PipelineError> {
        const PAUSE: Duration = Duration::from_secs(3);
        let mut again = true;
        loop {
            let mut places = Vec::new();
            for way in &listed.ways {
                match self.fetch(asking, &listed.what, way).await? {
                    Ok((url, blob)) => return Ok(Ok((way, url, blob))),
                    Err(tried) => places.extend(tried),
                }
            }
            let remote = places.iter().any(|place| !place.starts_with("file:"));
            if !(std::mem::take(&mut again) && remote) {
                return Ok(Err(Lacking { what: listed.what.clone(), places }));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Fetches a file by its digest where the archive offers that; mirrors that keep none by digest have it by name. Where
    /// that name stands for another state of the suite, the mirror does not have what was signed, and says so.
    async fn fetch(
        &self,
        asking: Asking<'_>,
        what: &str,
        way: &IndexFile,
    ) -> Result<Result<(String, Blob), Vec<String>>, FetchError> {
        let url_of = |place: &str| self.url_of(&format!("dists/{}/{place}", self.name));
        let (best, named) = (url_of(&way.location(&self.release)), url_of(&way.path));
        let (digest, size) = (way.stored.digest, Some(way.stored.size));
        let mut places = Vec::new();
        if best != named {
            match asking.fetcher.pinned(what, &best, digest, size).await {
                Ok(blob) => return Ok(Ok((best, blob))),
                // What has its digest as its name and not its bytes is damaged, or a lie.
                Err(error) if error.nowhere().is_none() => return Err(error),
                Err(error) => places.extend(reasons(&error)),
            }
        }
        match asking.fetcher.pinned(what, &named, digest, size).await {
            Ok(blob) => Ok(Ok((named, blob))),
            Err(error) if is_other_state(&error) => {
                places.extend(reasons(&error));
                Ok(Err(places))
            }
            Err(error) => Err(error),
        }
    }
}

/// An index in the ways a release file lists it in.
struct Listed {
    what: String,
    ways: Vec<IndexFile>,
}

/// An index that no mirror has as it was signed.
pub(super) struct Lacking {
    pub(super) what: String,
    /// Where it was looked for, each with what was found there.
    pub(super) places: Vec<String>,
}

/// Whether every mirror answered a question by name with another file than the signed one, or with none.
fn is_other_state(error: &FetchError) -> bool {
    let FetchError::Failed { tried, .. } = error else { return false };
    let other = |why: &Why| {
        matches!(
            why,
            Why::NotFound { .. }
                | Why::MissingFile { .. }
                | Why::WrongSize { .. }
                | Why::WrongSum { .. }
                | Why::TooLarge { .. }
        )
    };
    tried.iter().all(|tried| other(&tried.why))
}

fn reasons(error: &FetchError) -> Vec<String> {
    let FetchError::Failed { tried, .. } = error else { return Vec::new() };
    tried.iter().map(|tried| format!("{}: {}", tried.url, tried.why)).collect()
}
