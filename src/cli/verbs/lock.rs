//! `kletimg matrix lock` and `kletimg matrix fetch`.

use std::{path::Path, process::ExitCode, sync::Arc};

use super::{
    super::{
        args,
        failure::Failure,
        session::{Planned, Session, block_on},
    },
    locked::{alone, first_epoch, lock_name, locked, whole},
};
use crate::{
    base::{
        Blob,
        size::{Bytes, Count},
    },
    pipeline::{
        self,
        locking::{self, Mirrored},
    },
    plan::{LocalFile, Lock, Plan},
};

pub(super) fn lock(session: &Session, args: &args::Lock) -> Result<ExitCode, Failure> {
    let file = &args.matrix.file;
    // A lock pins the whole matrix: a filter here would make a lock that the next build has to complete.
    let planned = Planned::read(file, &args::Filter::default())?;
    if args.locked {
        return check(file, &planned.plan);
    }
    let lock = block_on(async {
        let _alone = alone(session, file).await?;
        pin(session, args, &planned).await
    })??;
    super::print(&format!("{} pins {}", lock_name(file), Count(lock.inputs.len(), "input")))?;
    Ok(ExitCode::SUCCESS)
}

/// Whether the lock pins everything, as it is.
fn check(file: &Path, plan: &Plan) -> Result<ExitCode, Failure> {
    let missing = || Failure::Unlocked { what: vec![format!("{} is not there", lock_name(file))] };
    let lock = whole(pipeline::load_lock(file)?.ok_or_else(missing)?, plan)?;
    let changed = locking::changed(plan, &lock);
    if !changed.is_empty() {
        let named = |file: &LocalFile<'_>| format!("{} of {} as it is now", file.path.display(), file.name);
        return Err(Failure::Unlocked { what: changed.iter().map(named).collect() });
    }
    super::print(&format!("{} pins all of {}", lock_name(file), Count(plan.inputs.len(), "input")))?;
    Ok(ExitCode::SUCCESS)
}

async fn pin(session: &Session, args: &args::Lock, planned: &Planned) -> Result<Lock, Failure> {
    let file = &args.matrix.file;
    let existing = pipeline::load_lock(file)?;
    let mut lock = existing.clone().unwrap_or_else(|| Lock::new(first_epoch(session, planned)));
    if let Some(name) = &args.update {
        let forgotten = lock.forget(name, &planned.plan);
        if forgotten == 0 && !name.is_empty() {
            let message = format!("{} pins nothing of the name `{name}`", lock_name(file));
            return Err(Failure::Usage(message));
        }
    }
    let fetcher = session.fetcher(&planned.matrix, &args.network)?;
    let asking = session.asking(&fetcher, &planned.matrix);
    let (lock, failed) = locking::pin(asking, &planned.plan, lock).await;
    let mut lock = locking::pin_tools(&session.search(), &session.store, &planned.plan, lock);
    // What was pinned is kept when something else could not be. What was to be pinned anew was forgotten before: there,
    // the old lock is worth more than half of a new one.
    let worth_keeping = failed.is_empty() || args.update.is_none() && !lock.inputs.is_empty();
    if failed.is_empty() {
        lock.tidy(&planned.plan);
    }
    if worth_keeping && existing.as_ref() != Some(&lock) {
        pipeline::save_lock(file, &lock)?;
    }
    if failed.is_empty() { Ok(lock) } else { Err(Failure::Pins(failed)) }
}

enum Fetched {
    Stored(Vec<Blob>),
    To(Mirrored),
}

pub(super) fn fetch(session: &Session, args: &args::Fetch) -> Result<ExitCode, Failure> {
    let planned = Planned::read(&args.matrix.file, &args.filter)?;
    let fetched = block_on(async {
        let work = locked(session, planned, &args.matrix.file, &args.network, args.locked, None).await?;
        let work = Arc::new(work);
        let failed = |error| Failure::Pipeline(Arc::new(error));
        match &args.to {
            Some(folder) => locking::mirror(&work, folder).await.map(Fetched::To).map_err(failed),
            None => locking::fetch(&work).await.map(Fetched::Stored).map_err(failed),
        }
    })??;
    match (fetched, &args.to) {
        (Fetched::To(mirrored), Some(folder)) => {
            for reason in &mirrored.left_out {
                session.progress.warn(&format!("{reason}: builds do not need it"));
            }
            let Mirrored { files, size, .. } = mirrored;
            let folder = folder.display();
            super::print(&format!(
                "{files} files in {folder}, {}: build from them with `kletimg matrix build --offline --mirror {folder}`",
                Bytes(size)
            ))?;
        }
        (Fetched::Stored(blobs), _) => {
            let bytes = blobs.iter().map(|blob| blob.size).sum();
            super::print(&format!("{} in the store, {}", Count(blobs.len(), "input"), Bytes(bytes)))?;
        }
        (Fetched::To(_), None) => {}
    }
    Ok(ExitCode::SUCCESS)
}
