//! Publishing tags: what has to move, and moving it in an order that never leaves a tag without what it leads to.
//!
//! All blobs of all tags come first, each once, then the manifests by digest, then the indexes by digest, and when all of
//! that is confirmed, the tags. A push that was killed has at most left blobs without a tag, which the next one finds.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::{
    client::{Mounted, Registry},
    error::{Conflict, RegistryError},
    meter::Meter,
    settings::Settings,
};
use crate::{
    base::{Blob, Digest, Version, progress::SharedProgress, size::Bytes},
    images::{
        Descriptor, Links, annotation, read_annotations,
        reference::{Reference, Repository},
    },
    outputs::source::{self, Manifest, Source, Tag, TagKind},
};

/// What happens to a tag that exists with another digest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Existing {
    /// The push is refused before anything is sent.
    #[default]
    Keep,
    Overwrite,
}

#[derive(Clone, Debug)]
pub struct PushOptions {
    pub existing: Existing,
    /// Requests at once.
    pub jobs: usize,
    /// Repositories that may hold some of the blobs, to be mounted from where they are in the same registry.
    pub siblings: Vec<Repository>,
}

impl Default for PushOptions {
    fn default() -> Self {
        Self { existing: Existing::default(), jobs: 4, siblings: Vec::new() }
    }
}

/// What a push will do, found out by asking the registries; nothing has been sent yet.
pub struct Plan {
    repositories: Vec<Target>,
    source: Arc<dyn Source>,
    options: PushOptions,
}

/// One repository's part of a push.
struct Target {
    repository: Repository,
    registry: Registry,
    /// Those that the repository does not have, the largest first, so that no long upload is left for the end.
    missing: Vec<Blob>,
    present: BTreeSet<Digest>,
    /// Those that the repository does not have, what is referred to before what refers to it.
    manifests: Vec<Manifest>,
    tags: Vec<PlannedTag>,
}

/// A tag of a plan.
#[derive(Clone, Debug)]
pub struct PlannedTag {
    pub reference: Reference,
    /// What it leads to now.
    pub there: Option<Digest>,
    root: Manifest,
    kind: TagKind,
    /// What those who follow the tag would lose by its move.
    loss: Option<String>,
}

/// What a push did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pushed {
    /// Every tag with the digest it leads to now, and whether that is new.
    pub tags: Vec<(Reference, Digest, Moved)>,
    /// Blobs that were uploaded, and their bytes.
    pub sent: usize,
    pub sent_bytes: u64,
    /// Blobs that the registry took from a sibling repository.
    pub mounted: usize,
    /// Blobs that were there already.
    pub present: usize,
    /// Manifests and indexes that were written, not counting the tags.
    pub manifests: usize,
}

/// What became of a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// It had this digest already.
    No,
    New,
    From(Digest),
}

impl PlannedTag {
    /// What will become of the tag.
    pub fn moves(&self) -> Moved {
        match self.there {
            None => Moved::New,
            Some(there) if there == self.digest() => Moved::No,
            Some(there) => Moved::From(there),
        }
    }

    pub fn digest(&self) -> Digest {
        self.root.descriptor.digest
    }
}

impl Plan {
    /// The tags, in the order of their names.
    pub fn tags(&self) -> impl Iterator<Item = &PlannedTag> {
        self.repositories.iter().flat_map(|target| &target.tags)
    }

    /// The blobs that will be sent or mounted, with the repository they go to.
    pub fn missing(&self) -> impl Iterator<Item = (&Repository, Blob)> {
        self.repositories.iter().flat_map(|target| target.missing.iter().map(|blob| (&target.repository, *blob)))
    }

    /// The sum of [`Self::missing`], in bytes: the most that will be sent.
    pub fn missing_bytes(&self) -> u64 {
        self.missing().fold(0, |sum, (_, blob)| sum.saturating_add(blob.size))
    }

    /// The tags that may not be moved: published ones that lead to something else, and moving ones whose followers would
    /// get less than they have. None where everything is to be overwritten.
    pub fn conflicts(&self) -> Vec<Conflict> {
        let conflict = |tag: &PlannedTag| match tag.moves() {
            Moved::From(there) if tag.kind == TagKind::Fixed || tag.loss.is_some() => {
                Some(Conflict { reference: tag.reference.clone(), there, ours: tag.digest(), loss: tag.loss.clone() })
            }
            _ => None,
        };
        match self.options.existing {
            Existing::Overwrite => Vec::new(),
            Existing::Keep => self.tags().filter_map(conflict).collect(),
        }
    }

    /// Refuses a plan that moves what may not be moved.
    pub fn check(&self) -> Result<(), RegistryError> {
        let conflicts = self.conflicts();
        if conflicts.is_empty() { Ok(()) } else { Err(RegistryError::TagExists { conflicts }) }
    }
}

/// Reads the tags' manifests and asks the registries what they have.
pub async fn plan(
    settings: &Settings,
    source: Arc<dyn Source>,
    tags: &[Tag],
    options: PushOptions,
) -> Result<Plan, RegistryError> {
    let mut by_repository: BTreeMap<&Repository, BTreeMap<&Reference, &Tag>> = BTreeMap::new();
    for tag in tags {
        let of_repository = by_repository.entry(&tag.reference.repository).or_default();
        let known = of_repository.entry(&tag.reference).or_insert(tag);
        if known.root.blob() != tag.root.blob() {
            return Err(RegistryError::Ambiguous { reference: tag.reference.clone() });
        }
    }
    let mut repositories = Vec::new();
    for (repository, tags) in by_repository {
        let registry = Registry::connect(settings, repository).await?;
        let tags: Vec<&Tag> = tags.into_values().collect();
        repositories.push(Target::ask(repository, registry, source.as_ref(), &tags, options.jobs).await?);
    }
    Ok(Plan { repositories, source, options })
}

/// Carries a plan out, unless it moves what may not be moved: then nothing is sent.
pub async fn push(plan: &Plan, progress: &SharedProgress) -> Result<Pushed, RegistryError> {
    plan.check()?;
    let mut pushed = Pushed::default();
    // Where each blob is by now, so that the next repository of the same registry can take it from there.
    let mut holders: BTreeMap<Digest, Vec<&Repository>> = BTreeMap::new();
    for target in &plan.repositories {
        target.send_blobs(plan, &holders, progress, &mut pushed).await?;
        target.send_manifests(plan.options.jobs).await?;
        pushed.present += target.present.len();
        pushed.manifests += target.manifests.len();
        for digest in target.present.iter().copied().chain(target.missing.iter().map(|blob| blob.digest)) {
            holders.entry(digest).or_default().push(&target.repository);
        }
    }
    for target in &plan.repositories {
        let moves: Vec<_> = target.tags.iter().map(|tag| target.move_tag(tag, plan.options.existing)).collect();
        let tags: Vec<_> = stream::iter(moves).buffered(plan.options.jobs.max(1)).try_collect().await?;
        pushed.tags.extend(tags);
    }
    Ok(pushed)
}

impl Target {
    async fn ask(
        repository: &Repository,
        registry: Registry,
        source: &dyn Source,
        tags: &[&Tag],
        jobs: usize,
    ) -> Result<Self, RegistryError> {
        let (mut manifests, mut blobs, mut roots) = (Vec::new(), BTreeSet::new(), Vec::new());
        let mut known = BTreeSet::new();
        for tag in tags {
            let below = source::manifests(source, &tag.root)?;
            roots.extend(below.last().cloned());
            for manifest in below {
                if !known.insert(manifest.descriptor.digest) {
                    continue;
                }
                let is_index = matches!(manifest.links, Links::Index { .. });
                let children = manifest.links.children().into_iter();
                blobs.extend(
                    children
                        .filter(|child| !(child.is_foreign() || is_index && child.is_document()))
                        .map(Descriptor::blob),
                );
                manifests.push(manifest);
            }
        }
        for blob in &blobs {
            source::check_size(source, blob)?;
        }
        let jobs = jobs.max(1);
        let registry = &registry;
        let there: Vec<_> = tags.iter().map(|tag| registry.tag_digest(&tag.reference)).collect();
        let there: Vec<_> = stream::iter(there).buffered(jobs).try_collect().await?;
        let found = stream::iter(blobs)
            .map(|blob| async move { registry.has_blob(repository, &blob).await.map(|found| (blob, found)) });
        let found: Vec<_> = found.buffered(jobs).try_collect().await?;
        let manifests = stream::iter(manifests).map(|manifest| async move {
            let digest = manifest.descriptor.digest;
            let there = registry.tag_digest(&repository.at(digest)).await?;
            Ok::<_, RegistryError>((there != Some(digest)).then_some(manifest))
        });
        let manifests: Vec<_> = manifests.buffered(jobs).try_collect().await?;
        let (present, missing): (Vec<_>, Vec<_>) = found.into_iter().partition(|(_, found)| *found);
        let mut missing: Vec<Blob> = missing.into_iter().map(|(blob, _)| blob).collect();
        missing.sort_by_key(|blob| (std::cmp::Reverse(blob.size), blob.digest));
        let planned = tags.iter().zip(there).zip(roots).map(|((tag, there), root)| async move {
            let loss = match there.filter(|there| tag.kind == TagKind::Moving && *there != root.descriptor.digest) {
                Some(there) => match registry.manifest(&repository.at(there)).await {
                    Ok(there) => loss(&there, &root),
                    // Nobody can follow a tag to something that is not there or not sound.
                    Err(
                        RegistryError::NotFound { .. } | RegistryError::WrongDigest { .. } | RegistryError::Source(_),
                    ) => None,
                    Err(error) => return Err(error),
                },
                None => None,
            };
            Ok::<_, RegistryError>(PlannedTag { reference: tag.reference.clone(), there, root, kind: tag.kind, loss })
        });
        let planned: Vec<_> = planned.collect();
        let tags = stream::iter(planned).buffered(jobs).try_collect().await?;
        Ok(Self {
            repository: repository.clone(),
            registry: registry.clone(),
            missing,
            present: present.into_iter().map(|(blob, _)| blob.digest).collect(),
            manifests: manifests.into_iter().flatten().collect(),
            tags,
        })
    }

    async fn send_blobs(
        &self,
        plan: &Plan,
        holders: &BTreeMap<Digest, Vec<&Repository>>,
        progress: &SharedProgress,
        pushed: &mut Pushed,
    ) -> Result<(), RegistryError> {
        let sends: Vec<_> = self
            .missing
            .iter()
            .map(|blob| {
                let here = |sibling: &&Repository| {
                    sibling.registry() == self.repository.registry() && **sibling != self.repository
                };
                let holders = holders.get(&blob.digest).into_iter().flatten().copied();
                let siblings: Vec<_> = holders.chain(&plan.options.siblings).filter(here).take(3).collect();
                self.send_blob(&plan.source, *blob, siblings, progress)
            })
            .collect();
        let mut sent = stream::iter(sends).buffer_unordered(plan.options.jobs.max(1));
        while let Some(size) = sent.try_next().await? {
            match size {
                Some(size) => {
                    pushed.sent += 1;
                    pushed.sent_bytes += size;
                }
                None => pushed.mounted += 1,
            }
        }
        Ok(())
    }

    /// Mounts a blob or sends it: then its size is given.
    async fn send_blob(
        &self,
        source: &Arc<dyn Source>,
        blob: Blob,
        siblings: Vec<&Repository>,
        progress: &SharedProgress,
    ) -> Result<Option<u64>, RegistryError> {
        let name = format!("push {} to {}", blob.digest.short(), self.repository);
        let meter = Arc::new(Meter::new(progress.start(&name, Some(blob.size))));
        let mut begun = None;
        for sibling in siblings {
            match self.registry.mount(&self.repository, &blob, sibling).await {
                // Some registries say that they mounted what they do not have.
                Ok(Mounted::Yes) if self.registry.has_blob(&self.repository, &blob).await? => {
                    meter.done(&format!("mounted from {sibling}"));
                    return Ok(None);
                }
                Ok(Mounted::Upload(url)) => begun = Some(url),
                // Mounting is a favour: a sibling that may not be read, or a registry that cannot do it, means sending.
                Err(error) if error.is_transient() || matches!(error, RegistryError::GaveUp { .. }) => {
                    return Err(error);
                }
                Ok(Mounted::Yes) | Err(_) => {}
            }
        }
        self.registry.upload(&self.repository, source, blob, begun, &meter).await?;
        meter.done(&Bytes(blob.size).to_string());
        Ok(Some(blob.size))
    }

    async fn send_manifests(&self, jobs: usize) -> Result<(), RegistryError> {
        let (indexes, images): (Vec<_>, Vec<_>) =
            self.manifests.iter().partition(|manifest| matches!(manifest.links, Links::Index { .. }));
        let send = |manifest: &Manifest| {
            let reference = self.repository.at(manifest.descriptor.digest);
            let manifest = manifest.clone();
            async move { self.registry.put_manifest(&reference, &manifest).await }
        };
        let images: Vec<_> = images.into_iter().map(send).collect();
        stream::iter(images).buffer_unordered(jobs.max(1)).try_collect::<()>().await?;
        // One after the other: an index may refer to the one before it.
        for index in indexes {
            send(index).await?;
        }
        Ok(())
    }

    async fn move_tag(
        &self,
        tag: &PlannedTag,
        existing: Existing,
    ) -> Result<(Reference, Digest, Moved), RegistryError> {
        let (reference, ours) = (&tag.reference, tag.digest());
        if tag.moves() == Moved::No {
            return Ok((reference.clone(), ours, Moved::No));
        }
        // A push can take an hour, and another one may have published meanwhile.
        let there = self.registry.tag_digest(reference).await?;
        if let Some(there) = there.filter(|there| *there != ours)
            && existing == Existing::Keep
            && tag.kind == TagKind::Fixed
        {
            let conflicts = vec![Conflict { reference: reference.clone(), there, ours, loss: None }];
            return Err(RegistryError::TagExists { conflicts });
        }
        self.registry.put_manifest(reference, &tag.root).await?;
        Ok((reference.clone(), ours, there.filter(|there| *there != ours).map_or(Moved::New, Moved::From)))
    }
}

/// What whoever follows a tag would lose if it moved from one image to another: platforms, or a newer version.
fn loss(from: &Manifest, to: &Manifest) -> Option<String> {
    let platforms = |manifest: &Manifest| match &manifest.links {
        Links::Index { manifests } => {
            let known = manifests.iter().filter_map(|child| child.platform.clone());
            known.filter(|platform| !platform.is_unknown()).collect()
        }
        _ => Vec::new(),
    };
    let ours = platforms(to);
    let lost = platforms(from).into_iter().filter(|platform| !ours.iter().any(|ours| ours.is_same(platform)));
    let lost: Vec<_> = lost.map(|platform| platform.to_string()).collect();
    // What is no index says only in its config which platform it is for; tags of a build are indexes.
    if !lost.is_empty() && !ours.is_empty() {
        return Some(format!("it would lose {}", lost.join(", ")));
    }
    let version = |manifest: &Manifest| -> Option<Version> {
        read_annotations(&manifest.bytes).ok()?.get(annotation::VERSION)?.parse().ok()
    };
    match (version(from), version(to)) {
        (Some(from), Some(to)) if from > to => Some(format!("it would go back from {from} to {to}")),
        _ => None,
    }
}
