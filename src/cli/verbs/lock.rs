//! `kletimg matrix lock` and `kletimg matrix fetch`.

use std::{process::ExitCode, sync::Arc};

use super::{
    super::{
        args,
        failure::Failure,
        session::{Planned, Session, block_on},
    },
    build::{first_epoch, lock_name, locked},
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
    plan::Lock,
};

pub(super) fn lock(session: &Session, args: &args::Lock) -> Result<ExitCode, Failure> {
    let file = &args.matrix.file;
    // A lock pins the whole matrix: a filter here would make a lock that the next build has to complete.
    let planned = Planned::read(file, &args::Filter::default())?;
    let existing = pipeline::load_lock(file)?;
    let mut lock = existing.clone().unwrap_or_else(|| Lock::new(first_epoch(session, &planned)));
    if args.locked {
        let lacks = match existing {
            Some(_) => lock.lacks(&planned.plan),
            None => vec![format!("{} is not there", lock_name(file))],
        };
        if !lacks.is_empty() {
            return Err(Failure::Unlocked { what: lacks });
        }
        super::print(&format!("{} pins all of {}", lock_name(file), Count(planned.plan.inputs.len(), "input")))?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(name) = &args.update {
        let forgotten = lock.forget(name, &planned.plan);
        if forgotten == 0 && !name.is_empty() {
            let message = format!("{} pins nothing of the name `{name}`", lock_name(file));
            return Err(Failure::Usage(message));
        }
    }
    let fetcher = session.fetcher(&planned.matrix, &args.network)?;
    let asking = session.asking(&fetcher, &planned.matrix);
    let lock = block_on(async { locking::pin(asking, &planned.plan, lock).await })?.map_err(Failure::Pins)?;
    let mut lock = locking::pin_tools(&session.search(), &session.store, &planned.plan, lock);
    lock.tidy(&planned.plan);
    if existing.as_ref() != Some(&lock) {
        pipeline::save_lock(file, &lock)?;
    }
    super::print(&format!("{} pins {}", lock_name(file), Count(lock.inputs.len(), "input")))?;
    Ok(ExitCode::SUCCESS)
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
