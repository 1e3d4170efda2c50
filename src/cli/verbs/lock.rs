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
    base::size::Bytes,
    pipeline::{self, locking},
    plan::Lock,
};

pub(super) fn lock(session: &Session, args: &args::Lock) -> Result<ExitCode, Failure> {
    let file = &args.matrix.file;
    // A lock pins the whole matrix: a filter here would make a lock that the next build has to complete.
    let planned = Planned::read(file, &args::Filter::default())?;
    let existing = pipeline::load_lock(file)?;
    let mut lock = existing.clone().unwrap_or_else(|| Lock::new(first_epoch(session, &planned)));
    if args.locked {
        let missing: Vec<_> = lock.missing(&planned.plan).iter().map(|input| input.purpose.clone()).collect();
        if existing.is_none() || !missing.is_empty() {
            return Err(Failure::Unlocked { what: missing });
        }
        super::print(&format!("{} pins all {} inputs", lock_name(file), planned.plan.inputs.len()))?;
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
    let lock = block_on(async { locking::pin(&fetcher, &planned.plan, lock).await })?.map_err(Failure::Pins)?;
    let lock = locking::pin_tools(&session.search(), &session.store, &planned.plan, lock);
    if existing.as_ref() != Some(&lock) {
        pipeline::save_lock(file, &lock)?;
    }
    super::print(&format!("{} pins {} inputs", lock_name(file), lock.inputs.len()))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn fetch(session: &Session, args: &args::Fetch) -> Result<ExitCode, Failure> {
    let planned = Planned::read(&args.matrix.file, &args.filter)?;
    let blobs = block_on(async {
        let work = locked(session, planned, &args.matrix.file, &args.network, args.locked, None).await?;
        locking::fetch(&Arc::new(work)).await.map_err(|error| Failure::Pipeline(Arc::new(error)))
    })??;
    let bytes = blobs.iter().map(|blob| blob.size).sum();
    super::print(&format!("{} inputs in the store, {}", blobs.len(), Bytes(bytes)))?;
    Ok(ExitCode::SUCCESS)
}
