//! Pinning inputs, and bringing pinned ones here.

use std::{path::Path, sync::Arc};

use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::{Asking, PipelineError, Step, packages, tools, work::Work};
use crate::{
    base::Blob,
    host::files,
    inputs::{
        fetch::{Checksum, FetchError, Fetcher, Sum, mirrors},
        gosource::toolchain::Search,
        store::Store,
    },
    plan::{Input, LocalFile, Lock, Pin, Plan},
};

/// Pins every input of the plan that the lock does not pin yet, and chooses packages where it has none. All that fail
/// are returned together, beside a lock with all that did not.
pub async fn pin(asking: Asking<'_>, plan: &Plan, mut lock: Lock) -> (Lock, Vec<PipelineError>) {
    let fetcher = asking.fetcher;
    let missing = lock.missing(plan);
    let pinning = missing.into_iter().map(|input| async move { (input.url.clone(), pin_one(fetcher, input).await) });
    // The fetcher bounds how many are under way; the order of the results does not matter to a sorted lock.
    let pinned: Vec<_> = stream::iter(pinning).buffer_unordered(64).collect().await;
    let mut failed = Vec::new();
    for (url, result) in pinned {
        match result {
            Ok(pin) => {
                lock.inputs.insert(url, pin);
            }
            Err(error) => failed.push(error),
        }
    }
    failed.extend(tokio::task::block_in_place(|| pin_local(asking, plan, &mut lock)));
    failed.extend(packages::select(asking, plan, &mut lock).await);
    (lock, failed)
}

/// Pins the local files that are not pinned, or have other bytes than those that are.
fn pin_local(asking: Asking<'_>, plan: &Plan, lock: &mut Lock) -> Vec<PipelineError> {
    let mut failed = Vec::new();
    for file in plan.local_files() {
        let blob = match files::blob(file.path) {
            Ok(blob) => blob,
            Err(error) => {
                failed.push(PipelineError::new(format!("pinning {}", file.name), error.into()));
                continue;
            }
        };
        let pin = Pin { sha256: blob.digest, size: Some(blob.size), verified: "the file itself".to_owned() };
        if let Some(before) = lock.inputs.insert(file.pin.to_owned(), pin)
            && before.sha256 != blob.digest
        {
            asking
                .progress
                .note(&format!("{} has changed since it was locked and is pinned anew", file.path.display()));
        }
    }
    failed
}

/// The local files of a plan that have other bytes than those that the lock pins.
pub fn changed<'a>(plan: &'a Plan, lock: &Lock) -> Vec<LocalFile<'a>> {
    let differs = |file: &LocalFile<'_>| {
        let pin = lock.inputs.get(file.pin);
        pin.is_some_and(|pin| files::blob(file.path).is_ok_and(|blob| blob.digest != pin.sha256))
    };
    plan.local_files().into_iter().filter(differs).collect()
}

async fn pin_one(fetcher: &Fetcher, input: &Input) -> Result<Pin, PipelineError> {
    let failed = |step: Step| PipelineError::new(format!("pinning {}", input.purpose), step);
    let Some(checksum) = &input.checksum else {
        return Err(failed(Step::NoChecksum { url: input.url.clone(), at: input.at.clone() }));
    };
    let checksum = match checksum.parse() {
        Ok(digest) => Checksum::Given(Sum::Sha256(digest)),
        Err(error) if checksum.starts_with("sha256:") => return Err(failed(Step::Digest(error))),
        Err(_) => Checksum::File { url: checksum.clone() },
    };
    let first = fetcher.first(&input.purpose, &input.url, &checksum).await.map_err(|error| match error {
        // What to do is to be done in the file.
        FetchError::Checksum { .. } | FetchError::ChecksumNotText { .. } => {
            PipelineError::new(input.at.clone(), error.into())
        }
        error => error.into(),
    })?;
    Ok(Pin { sha256: first.blob.digest, size: Some(first.blob.size), verified: first.evidence.to_string() })
}

/// Adds the versions of tools that were found on the machine to the lock. Those that are pinned keep their version.
pub fn pin_tools(search: &Search, store: &Store, plan: &Plan, mut lock: Lock) -> Lock {
    for (name, version) in tools::found_versions(search, store, plan) {
        lock.tools.entry(name).or_insert(version);
    }
    lock
}

/// Brings every input and package of the plan into the store.
pub async fn fetch(work: &Arc<Work>) -> Result<Vec<Blob>, PipelineError> {
    stream::iter(urls(work)).map(|url| work.input(url)).buffered(64).try_collect().await
}

/// What a build of the plan reads from outside.
fn urls(work: &Work) -> impl Iterator<Item = &str> {
    work.plan.inputs.iter().map(|input| input.url.as_str()).chain(work.lock.packages(&work.plan))
}

/// What a mirror was made of.
#[derive(Debug, Default)]
pub struct Mirrored {
    pub files: usize,
    /// In bytes.
    pub size: u64,
    /// Files that a build does not need and that could not be had any more, each with the reason.
    pub left_out: Vec<String>,
}

/// Copies every input and package of the plan, and the signed indexes that the packages were chosen from, into a folder
/// by host and path, from where `--mirror` takes them.
pub async fn mirror(work: &Arc<Work>, folder: &Path) -> Result<Mirrored, PipelineError> {
    let mut mirrored = Mirrored::default();
    let mut add = |url: &str, blob: Blob| -> Result<(), PipelineError> {
        let failed = |step: Step| PipelineError::new(format!("writing {url} to {}", folder.display()), step);
        let path = mirrors::below(folder, url).ok_or_else(|| failed(Step::NoPath))?;
        // Not a link: whoever changes a file of the mirror must not change the store.
        let copy = || files::copy(&work.store().path(&blob.digest), &path);
        tokio::task::block_in_place(copy).map_err(|error| failed(error.into()))?;
        mirrored.files += 1;
        mirrored.size += blob.size;
        Ok(())
    };
    for (url, blob) in urls(work).zip(fetch(work).await?) {
        add(url, blob)?;
    }
    let mut left_out = Vec::new();
    for url in work.lock.indexes(&work.plan) {
        match work.input(url).await {
            Ok(blob) => add(url, blob)?,
            Err(error) => {
                let there = mirrors::below(folder, url).is_some_and(|path| files::exists(&path));
                let kept = if there { " (what lies there from before is another)" } else { "" };
                left_out.push(format!(
                    "the mirror lacks {url}{kept}, so that `kletimg matrix lock` cannot choose packages from it: {error}"
                ));
            }
        }
    }
    Ok(Mirrored { left_out, ..mirrored })
}
