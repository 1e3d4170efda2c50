//! A plan together with a lock that pins all of it.

use std::path::Path;

use super::super::{
    args::Network,
    failure::Failure,
    session::{Planned, Session},
};
use crate::{
    base::{ActionKey, Epoch, size::Count},
    host::files::{self, FileLock},
    pipeline::{self, Work, locking},
    plan::{Lock, Plan},
};

/// A run whose every input is pinned. What the lock did not pin yet is pinned and the lock written, unless that is
/// forbidden.
pub(super) async fn locked(
    session: &Session,
    planned: Planned,
    file: &Path,
    network: &Network,
    locked: bool,
    jobs: Option<u16>,
) -> Result<Work, Failure> {
    let lock = match (pipeline::load_lock(file)?, locked) {
        (Some(lock), true) => whole(lock, &planned.plan)?,
        (None, true) => return Err(Failure::Unlocked { what: vec![format!("{} is not there", lock_name(file))] }),
        (Some(lock), false) if is_up_to_date(&lock, &planned.plan) => lock,
        (_, false) => pin(session, &planned, file, network).await?,
    };
    session.work(planned, lock, network, jobs)
}

/// A lock that pins everything that the plan needs.
pub(super) fn whole(lock: Lock, plan: &Plan) -> Result<Lock, Failure> {
    let lacks = lock.lacks(plan);
    if lacks.is_empty() { Ok(lock) } else { Err(Failure::Unlocked { what: lacks }) }
}

fn is_up_to_date(lock: &Lock, plan: &Plan) -> bool {
    let mut on_machine = plan.tools().into_iter().filter(|tool| tool.input.is_none());
    lock.lacks(plan).is_empty()
        && on_machine.all(|tool| lock.tools.contains_key(tool.name.name()))
        && locking::changed(plan, lock).is_empty()
}

/// Pins what is missing. What was pinned is kept also when something else could not be.
async fn pin(session: &Session, planned: &Planned, file: &Path, network: &Network) -> Result<Lock, Failure> {
    let _alone = alone(session, file).await?;
    let before = pipeline::load_lock(file)?;
    let lock = before.clone().unwrap_or_else(|| Lock::new(first_epoch(session, planned)));
    let fetcher = session.fetcher(&planned.matrix, network)?;
    let asking = session.asking(&fetcher, &planned.matrix);
    let (lock, failed) = locking::pin(asking, &planned.plan, lock).await;
    let lock = locking::pin_tools(&session.search(), &session.store, &planned.plan, lock);
    if before.as_ref() != Some(&lock) && (failed.is_empty() || !lock.inputs.is_empty()) {
        pipeline::save_lock(file, &lock)?;
        session.progress.note(&format!(
            "{} pins {} and {}",
            lock_name(file),
            Count(lock.inputs.len(), "input"),
            Count(lock.tools.len(), "tool")
        ));
    }
    if failed.is_empty() { Ok(lock) } else { Err(Failure::Pins(failed)) }
}

/// Keeps other builds of the same matrix from writing its lock: what one of them pins, the next must read.
pub(super) async fn alone(session: &Session, file: &Path) -> Result<FileLock, Failure> {
    let lock = pipeline::lock_path(file);
    let folder = lock.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = files::canonical(folder)?;
    let name = lock.file_name().unwrap_or_default();
    let key = ActionKey::new("matrix-lock", 1).field("path", folder.join(name).display());
    let store = session.store.clone();
    // Whoever waits can still be stopped.
    match tokio::task::spawn_blocking(move || store.lock(&key)).await {
        Ok(held) => Ok(held?),
        Err(_) => Err(Failure::Stopped),
    }
}

pub(super) fn lock_name(file: &Path) -> String {
    pipeline::lock_path(file).display().to_string()
}

/// The time of a new lock: what the environment or the matrix says, or now.
pub(super) fn first_epoch(session: &Session, planned: &Planned) -> Epoch {
    session.environment.epoch.or(planned.matrix.file.epoch).unwrap_or(session.environment.now)
}
