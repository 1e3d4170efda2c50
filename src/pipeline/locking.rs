//! Pinning inputs, and bringing pinned ones here.

use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::{PipelineError, Step, tools, work::Work};
use crate::{
    base::{Blob, digest::NotADigest},
    inputs::{
        fetch::{Checksum, Fetcher, Sum},
        gosource::toolchain::Search,
        store::Store,
    },
    plan::{Input, Lock, Pin, Plan},
};

/// Pins every input of the plan that the lock does not pin yet. All that fail are reported together.
pub async fn pin(fetcher: &Fetcher, plan: &Plan, mut lock: Lock) -> Result<Lock, Vec<PipelineError>> {
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

/// Brings every input of the plan into the store.
pub async fn fetch(work: &Arc<Work>) -> Result<Vec<Blob>, PipelineError> {
    let fetching = work.plan.inputs.iter().map(|input| work.input(&input.url));
    stream::iter(fetching).buffered(64).try_collect().await
}
