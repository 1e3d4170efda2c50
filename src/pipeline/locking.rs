//! Pinning inputs, and bringing pinned ones here.

use std::{path::Path, sync::Arc};

use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::{Asking, PipelineError, Step, packages, tools, work::Work};
use crate::{
    base::{Blob, digest::NotADigest},
    host::files,
    inputs::{
        fetch::{Checksum, Fetcher, Sum, mirrors},
        gosource::toolchain::Search,
        store::Store,
    },
    plan::{Input, Lock, Pin, Plan},
};

/// Pins every input of the plan that the lock does not pin yet, and chooses packages where it has none. All that fail
/// are reported together.
pub async fn pin(asking: Asking<'_>, plan: &Plan, mut lock: Lock) -> Result<Lock, Vec<PipelineError>> {
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
    failed.extend(packages::select(asking, plan, &mut lock).await);
    if failed.is_empty() { Ok(lock) } else { Err(failed) }
}

async fn pin_one(fetcher: &Fetcher, input: &Input) -> Result<Pin, PipelineError> {
    let failed = |step: Step| PipelineError::new(format!("pinning {}", input.purpose), step);
    let Some(checksum) = &input.checksum else {
        return Err(failed(Step::NoChecksum { url: input.url.clone() }));
    };
    let checksum = match checksum.strip_prefix("sha256:") {
        Some(_) => Checksum::Given(Sum::Sha256(checksum.parse().map_err(|error: NotADigest| failed(error.into()))?)),
        None => Checksum::File { url: checksum.clone() },
    };
    let first = fetcher.first(&input.purpose, &input.url, &checksum).await?;
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
