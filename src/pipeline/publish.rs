//! Delivering: from what was built, or lies anywhere, to registries, the Docker Engine, layouts and archives.
//!
//! Which bytes travel is decided by the manifests alone, so that digests are the same on both sides; what is refused, such
//! as moving a published tag, is refused before anything is sent.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
    sync::Arc,
};

use super::Work;
use crate::{
    base::{
        Platform,
        progress::{Progress, SharedProgress},
        size::Bytes,
    },
    host::files::{self, FileError, Pending},
    images::{
        self, Descriptor, EncodeError, InvalidRefName, LayoutEntry, PlatformImage, RefName, reference::Reference,
    },
    inputs::store::Store,
    outputs::{
        archive::{Archive, ArchiveError},
        docker::{Engine, EngineError},
        filesystem::{self, FilesystemError},
        inspect::InspectError,
        layout::{self, LayoutError},
        place::{InvalidPlace, OpenError, Opened, Place, called},
        registry::{self, Conflict, Moved, PlannedTag, PushOptions, Pushed, Registry, RegistryError, Remote, Settings},
        source::{Source, SourceError, Tag, TagKind},
    },
};

#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("writing {place}: {source}")]
    Archive { place: String, source: ArchiveError },
    #[error("writing {place}: {source}")]
    Filesystem { place: String, source: FilesystemError },
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Encode(#[from] EncodeError),
    #[error(
        "{place} does not say which repository {} {} to: copy {} with `kletimg image copy {place}:NAME \
         REGISTRY/REPOSITORY:TAG`", names.join(", "), if names.len() == 1 { "belongs" } else { "belong" },
        if names.len() == 1 { "it" } else { "each" }
    )]
    Nameless { place: String, names: Vec<String> },
    #[error("{place} holds several images: choose one by its name, as in {place}:NAME: {}", names.join(", "))]
    Several { place: String, names: Vec<String> },
    #[error("an image in a Docker archive needs its full name: write docker-archive:FILE:{example}")]
    NoReference { example: &'static str },
    #[error("{reference} names another digest than the image's, {actual}: leave the digest out")]
    OtherDigest { reference: Reference, actual: crate::base::Digest },
    #[error("writing {place}: {source}")]
    Name { place: String, source: InvalidRefName },
    #[error("reading {place}: {source}")]
    Inspect { place: String, source: InspectError },
    #[error("{place} has no image for this platform: choose one with --platform: {}", there.join(", "))]
    Platform { place: String, there: Vec<String> },
    #[error(transparent)]
    Place(#[from] InvalidPlace),
    #[error("{doing}: a part of kletimg ended unexpectedly: {source}")]
    Task { doing: &'static str, source: tokio::task::JoinError },
}

impl PublishError {
    /// The exit code: 2 where what was typed does not name what is there, 3 where a check said no, 4 for the registry and
    /// credentials, 1 for everything here.
    pub fn exit_hint(&self) -> u8 {
        match self {
            Self::Registry(error) => error.exit_hint(),
            Self::Open(OpenError::NoSuchName { .. })
            | Self::Place(_)
            | Self::Several { .. }
            | Self::Nameless { .. }
            | Self::NoReference { .. }
            | Self::OtherDigest { .. }
            | Self::Name { .. }
            | Self::Platform { .. } => 2,
            _ => 1,
        }
    }
}

/// Whether a push sends, or only says what it would send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    DryRun,
    Send,
}

/// What a push did or would do.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub tags: Vec<(Reference, crate::base::Digest, Moved)>,
    /// Blobs that the registry did not have, and their bytes.
    pub missing: usize,
    pub missing_bytes: u64,
    /// `None` of a dry run.
    pub pushed: Option<Pushed>,
    /// Of a dry run: the tags that would not be moved.
    pub refused: Vec<Conflict>,
}

/// Finds an image in a mirror of its registry, or else in the registry itself. What a mirror serves under a digest is
/// checked like everything; what it serves under a tag is what it says.
async fn remote(
    reference: &Reference,
    settings: &Settings,
    progress: &SharedProgress,
) -> Result<(Remote, Descriptor), PublishError> {
    let mirrors = settings.mirrors.get(reference.repository.registry());
    for mirror in mirrors.into_iter().flatten() {
        let repository = format!("{mirror}/{}", reference.repository.path()).parse().map_err(InvalidPlace::from)?;
        let there = Reference { repository, ..reference.clone() };
        let found = async { Remote::open(Registry::connect(settings, &there.repository).await?, &there).await };
        match found.await {
            Ok(found) => return Ok(found),
            Err(error) => progress.note(&format!("not from the mirror {mirror}: {error}")),
        }
    }
    Ok(Remote::open(Registry::connect(settings, &reference.repository).await?, reference).await?)
}

/// Opens what a place names, wherever it is.
pub async fn open(place: &Place, settings: &Settings, progress: &SharedProgress) -> Result<Opened, PublishError> {
    let Place::Registry(reference) = place else { return Ok(place.open()?) };
    let (remote, root) = remote(reference, settings, progress).await?;
    // An image that was asked for by digest has no name of its own.
    let name = reference.digest.is_none().then(|| reference.tag_or_latest().to_string());
    let reference = name.as_ref().map(|_| reference.repository.tagged(reference.tag_or_latest()).to_string());
    Ok(Opened { source: Arc::new(remote), entries: vec![LayoutEntry { name, reference, root }] })
}

/// The only image of a place.
pub fn only<'a>(place: &Place, opened: &'a Opened) -> Result<&'a LayoutEntry, PublishError> {
    match opened.entries.as_slice() {
        [entry] => Ok(entry),
        entries => Err(PublishError::Several { place: place.to_string(), names: entries.iter().map(called).collect() }),
    }
}

/// Pushes tags, or finds out what that would mean.
pub async fn push(
    settings: &Settings,
    source: Arc<dyn Source>,
    tags: &[Tag],
    options: PushOptions,
    extent: Extent,
    progress: &SharedProgress,
) -> Result<Outcome, PublishError> {
    let plan = registry::plan(settings, source, tags, options).await?;
    let mut outcome = Outcome {
        tags: plan.tags().map(|tag: &PlannedTag| (tag.reference.clone(), tag.digest(), tag.moves())).collect(),
        missing: plan.missing().count(),
        missing_bytes: plan.missing_bytes(),
        pushed: None,
        refused: plan.conflicts(),
    };
    if extent == Extent::DryRun {
        return Ok(outcome);
    }
    plan.check()?;
    if outcome.missing > 0 {
        progress.note(&format!("{} blobs to send, {}", outcome.missing, Bytes(outcome.missing_bytes)));
    }
    let pushed = registry::push(&plan, progress).await?;
    outcome.tags.clone_from(&pushed.tags);
    outcome.pushed = Some(pushed);
    Ok(outcome)
}

/// Whether the registries can be reached and know us, before an hour of building: each is asked for one of the tags.
pub async fn reach(settings: &Settings, tags: impl IntoIterator<Item = Reference>) -> Result<(), PublishError> {
    let mut asked = BTreeSet::new();
    for tag in tags {
        if asked.insert(tag.repository.clone()) {
            Registry::connect(settings, &tag.repository).await?.tag_digest(&tag).await?;
        }
    }
    Ok(())
}

/// Loads tags into the Docker Engine at `host`; gives the names and digests that it knows them by.
pub async fn load(
    host: &str,
    source: Arc<dyn Source>,
    tags: &[Tag],
    platform: Option<Platform>,
    progress: &SharedProgress,
) -> Result<Vec<(String, String)>, PublishError> {
    let engine = Engine::connect(host).await?;
    Ok(engine.load(source, tags, platform, progress).await?)
}

/// Copies images from one place to another, with all platforms and unchanged digests; an archive for Docker holds one
/// platform. Gives what the images are called there, with their digests.
pub async fn copy(
    from: (&Place, Opened),
    to: &Place,
    platform: Option<Platform>,
    registries: (&Settings, PushOptions),
    store: &Store,
    progress: &SharedProgress,
) -> Result<Vec<(String, crate::base::Digest)>, PublishError> {
    let (place, opened) = from;
    let named = |entry: &LayoutEntry| (called(entry), entry.root.digest);
    match to {
        Place::Registry(reference) => {
            let entry = only(place, &opened)?;
            let tags = [Tag::new(destination(reference, entry.root.digest)?, entry.root.clone())];
            let (settings, options) = registries;
            let outcome = push(settings, opened.source, &tags, options, Extent::Send, progress).await?;
            let named = |reference: Reference| match &reference.tag {
                Some(_) => reference.to_string(),
                None => reference.repository.to_string(),
            };
            Ok(outcome.tags.into_iter().map(|(reference, digest, _)| (named(reference), digest)).collect())
        }
        Place::Layout { folder, name } => {
            let entries = renamed((place, &opened), to, name.as_deref())?;
            let task = progress.start(&format!("copy to {to}"), None);
            let (store, folder, source, copied) = (store.clone(), folder.clone(), opened.source, entries.clone());
            let added =
                blocking("copying to a layout", move || Ok(layout::add(&store, &folder, source.as_ref(), &copied)?));
            let added = added.await?;
            task.done(&format!("{} blobs, {}", added.blobs, Bytes(added.bytes)));
            Ok(entries.iter().map(named).collect())
        }
        Place::OciArchive { file, name } => {
            let entries = renamed((place, &opened), to, name.as_deref())?;
            let (source, file, written) = (opened.source, file.clone(), entries.clone());
            let listener = Arc::clone(progress);
            blocking("writing an archive", move || oci_archive(source.as_ref(), &written, &file, listener.as_ref()))
                .await?;
            Ok(entries.iter().map(named).collect())
        }
        Place::DockerArchive { file, name } => {
            let tags = docker_tags(place, &opened, name.as_deref())?;
            let platform = platform.or_else(Platform::host).unwrap_or(Platform::Amd64);
            let (file, written, listener) = (file.clone(), tags.clone(), Arc::clone(progress));
            let source = opened.source;
            blocking("writing an archive", move || {
                docker_archive(source.as_ref(), &written, platform, &file, listener.as_ref())
            })
            .await?;
            Ok(tags.iter().map(|tag| (tag.reference.to_string(), tag.root.digest)).collect())
        }
    }
}

/// What an image is to be called in a registry. A digest beside a tag only says what the image should be.
fn destination(reference: &Reference, actual: crate::base::Digest) -> Result<Reference, PublishError> {
    if reference.digest.is_some_and(|wanted| wanted != actual) {
        return Err(PublishError::OtherDigest { reference: reference.clone(), actual });
    }
    Ok(match (&reference.tag, reference.digest) {
        (None, Some(_)) => reference.clone(),
        _ => reference.repository.tagged(reference.tag_or_latest()),
    })
}

/// The images of a place as `docker load` is to name them.
fn docker_tags(place: &Place, opened: &Opened, name: Option<&str>) -> Result<Vec<Tag>, PublishError> {
    let no_reference = || PublishError::NoReference { example: "registry.example/kubelet:v1.26.0" };
    let Some(name) = name else {
        return as_tags(&place.to_string(), &opened.entries).map_err(|_| no_reference());
    };
    let reference: Reference = name.parse().map_err(InvalidPlace::from)?;
    if reference.digest.is_some() {
        return Err(no_reference());
    }
    let reference = reference.repository.tagged(reference.tag_or_latest());
    Ok(vec![Tag::new(reference, only(place, opened)?.root.clone())])
}

/// The images of a place, the only one of them under another name if one is given.
fn renamed(
    (place, opened): (&Place, &Opened),
    to: &Place,
    name: Option<&str>,
) -> Result<Vec<LayoutEntry>, PublishError> {
    let Some(name) = name else { return Ok(opened.entries.clone()) };
    let entry = only(place, opened)?.clone();
    // What cannot be a name there could not be found again.
    name.parse::<RefName>().map_err(|source| PublishError::Name { place: to.to_string(), source })?;
    // A name with a registry is also the image's reference; a bare one leaves the reference as it was.
    let whole = name.contains('/') && name.parse::<Reference>().is_ok();
    let reference = if whole { Some(name.to_owned()) } else { entry.reference.clone() };
    Ok(vec![LayoutEntry { name: Some(name.to_owned()), reference, root: entry.root }])
}

/// Writes an archive with an OCI layout of all platforms.
pub fn oci_archive(
    source: &dyn Source,
    entries: &[LayoutEntry],
    file: &Path,
    progress: &dyn Progress,
) -> Result<(), PublishError> {
    let failed = |source| PublishError::Archive { place: file.display().to_string(), source };
    let archive = Archive::oci(source, entries).map_err(failed)?;
    write_archive(source, &archive, file, progress)
}

/// Writes an archive that `docker load` takes, of one platform.
pub fn docker_archive(
    source: &dyn Source,
    tags: &[Tag],
    platform: Platform,
    file: &Path,
    progress: &dyn Progress,
) -> Result<(), PublishError> {
    let failed = |source| PublishError::Archive { place: file.display().to_string(), source };
    let archive = Archive::docker(source, tags, platform).map_err(failed)?;
    write_archive(source, &archive, file, progress)
}

fn write_archive(
    source: &dyn Source,
    archive: &Archive,
    file: &Path,
    progress: &dyn Progress,
) -> Result<(), PublishError> {
    let task = progress.start(&format!("write {}", file.display()), Some(archive.size()));
    whole(file, |out| {
        let failed = |source| PublishError::Archive { place: file.display().to_string(), source };
        archive.write(source, out).map_err(failed)
    })?;
    task.done(&Bytes(archive.size()).to_string());
    Ok(())
}

/// Writes the root file system of an image that the store holds, as one tar.
pub fn rootfs_tar(work: &Work, image: &PlatformImage, file: &Path) -> Result<(), PublishError> {
    whole(file, |out| {
        let failed = |source| PublishError::Filesystem { place: file.display().to_string(), source };
        filesystem::write_tar(work.store(), image, work.epoch(), out).map_err(failed)
    })
}

/// Writes the root file system of an image that the store holds, as files.
pub fn rootfs_folder(work: &Work, image: &PlatformImage, folder: &Path) -> Result<(), PublishError> {
    let failed = |source| PublishError::Filesystem { place: folder.display().to_string(), source };
    filesystem::write_folder(work.store(), image, folder).map_err(failed)
}

/// The tags of a build as what a push moves.
pub fn built_tags(tags: &[images::Tag]) -> Result<Vec<Tag>, PublishError> {
    let entries: Vec<_> = tags.iter().map(LayoutEntry::from).collect();
    as_tags("the build", &entries)
}

/// Entries as what a push moves.
pub fn as_tags(place: &str, entries: &[LayoutEntry]) -> Result<Vec<Tag>, PublishError> {
    let (mut tags, mut names) = (Vec::new(), Vec::new());
    for entry in entries {
        match entry.reference.as_deref().map(str::parse::<Reference>) {
            Some(Ok(reference)) => tags.push(Tag { name: called(entry), ..Tag::new(reference, entry.root.clone()) }),
            _ => names.push(called(entry)),
        }
    }
    if names.is_empty() { Ok(tags) } else { Err(PublishError::Nameless { place: place.to_owned(), names }) }
}

/// Adds the extra tags, given by the names of the tags that they stand beside. A push moves these whatever they led to.
pub fn with_extra(tags: Vec<Tag>, extra: &BTreeMap<String, Vec<String>>) -> Result<Vec<Tag>, PublishError> {
    let mut all = Vec::new();
    for tag in tags {
        for name in extra.get(&tag.name).into_iter().flatten() {
            let reference = tag.reference.repository.tagged(name.parse().map_err(InvalidPlace::from)?);
            let kind = TagKind::Moving;
            all.push(Tag { name: name.clone(), reference, root: tag.root.clone(), kind });
        }
        all.push(tag);
    }
    Ok(all)
}

/// Writes a file that appears whole.
fn whole(
    path: &Path,
    write: impl FnOnce(&mut io::BufWriter<&mut Pending>) -> Result<(), PublishError>,
) -> Result<(), PublishError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut pending = Pending::new_in(folder)?;
    let mut out = io::BufWriter::with_capacity(256 << 10, &mut pending);
    write(&mut out)?;
    files::at("writing", path, io::Write::flush(&mut out))?;
    drop(out);
    Ok(pending.commit(path, 0o644)?)
}

/// Runs work that blocks beside the runtime.
pub async fn blocking<T: Send + 'static>(
    doing: &'static str,
    work: impl FnOnce() -> Result<T, PublishError> + Send + 'static,
) -> Result<T, PublishError> {
    tokio::task::spawn_blocking(work).await.map_err(|source| PublishError::Task { doing, source })?
}

/// The platform of an archive for Docker where none was asked for: this machine's if it was built, or else the first.
pub fn docker_platform(tags: &[images::Tag], wanted: Option<Platform>) -> Platform {
    let built = || tags.iter().flat_map(|tag| &tag.images).map(|image| &image.platform);
    let host = Platform::host().filter(|host| built().any(|platform| platform.serves(*host)));
    let first = || Platform::ALL.into_iter().find(|ours| built().any(|platform| platform.serves(*ours)));
    wanted.or(host).or_else(first).unwrap_or(Platform::Amd64)
}
