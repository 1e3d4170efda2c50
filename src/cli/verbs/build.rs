//! `kletimg matrix build`.

mod next;
mod outputs;

use std::{path::Path, process::ExitCode, sync::Arc};

use super::super::{
    args::{self, Network},
    failure::Failure,
    session::{Planned, Session, block_on},
};
use crate::{
    base::{Epoch, size::Count},
    pipeline::{self, Built, Work, locking},
    plan::Lock,
    report::SizeTable,
};

pub(super) fn run(session: &Session, args: &args::Build) -> Result<ExitCode, Failure> {
    let planned = Planned::read(&args.matrix.file, &args.filter)?;
    if args.print {
        let lock = pipeline::load_lock(&args.matrix.file)?.unwrap_or_else(|| Lock::new(Epoch::default()));
        let plan = planned.plan.clone();
        let stock = pipeline::stock(&session.work(planned, lock, &args.network, args.jobs)?);
        super::plan::print_plan(&plan, &stock)?;
        return Ok(ExitCode::SUCCESS);
    }
    outputs::check(args, &planned.plan)?;
    let deliveries = outputs::Deliveries::new(session, args, &planned.plan)?;
    block_on(async {
        let work = locked(session, planned, &args.matrix.file, &args.network, args.locked, args.jobs).await?;
        let work = Arc::new(work);
        deliveries.reach(session, args).await?;
        let layout = outputs::Layout::of(session, args)?;
        let built = pipeline::build(&work, layout.path()).await.map_err(Failure::Pipeline)?;
        show(session, &built, layout.named())?;
        let delivered = deliveries.deliver(session, args, &work, &built).await;
        if let (Ok(()), Some(dest), false) = (&delivered, layout.named(), args.deliver.push || args.deliver.load) {
            for step in next::steps(&session.environment.program, &args.matrix.file, dest, &built) {
                session.progress.note(&step);
            }
        }
        delivered
    })??;
    Ok(ExitCode::SUCCESS)
}

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
    let lock = match pipeline::load_lock(file)? {
        Some(lock) => lock,
        None if locked => return Err(Failure::Unlocked { what: vec![format!("{} is not there", lock_name(file))] }),
        None => Lock::new(first_epoch(session, &planned)),
    };
    let lacks = lock.lacks(&planned.plan);
    if locked && !lacks.is_empty() {
        return Err(Failure::Unlocked { what: lacks });
    }
    let lock = if locked { lock } else { pin(session, &planned, file, network, lock).await? };
    session.work(planned, lock, network, jobs)
}

async fn pin(
    session: &Session,
    planned: &Planned,
    file: &Path,
    network: &Network,
    lock: Lock,
) -> Result<Lock, Failure> {
    let before = lock.clone();
    let fetcher = session.fetcher(&planned.matrix, network)?;
    let asking = session.asking(&fetcher, &planned.matrix);
    let lock = locking::pin(asking, &planned.plan, lock).await.map_err(Failure::Pins)?;
    let lock = locking::pin_tools(&session.search(), &session.store, &planned.plan, lock);
    if lock != before {
        pipeline::save_lock(file, &lock)?;
        session.progress.note(&format!(
            "{} pins {} and {}",
            lock_name(file),
            Count(lock.inputs.len(), "input"),
            Count(lock.tools.len(), "tool")
        ));
    }
    Ok(lock)
}

pub(super) fn lock_name(file: &Path) -> String {
    pipeline::lock_path(file).display().to_string()
}

/// The time of a new lock: what the environment or the matrix says, or now.
pub(super) fn first_epoch(session: &Session, planned: &Planned) -> Epoch {
    session.environment.epoch.or(planned.matrix.file.epoch).unwrap_or(session.environment.now)
}

fn show(session: &Session, built: &Built, dest: Option<&Path>) -> Result<(), Failure> {
    for warning in &built.warnings {
        session.progress.warn(warning);
    }
    for file in &built.unproven {
        session.progress.note(&format!("packed, but unproven: {file}"));
    }
    super::print(&SizeTable::of_tags(&built.tags).terminal())?;
    let images: usize = built.tags.iter().map(|tag| tag.images.len()).sum();
    let written = &built.written;
    let changed = if written.added == 0 && written.removed == 0 {
        "nothing had changed".to_owned()
    } else {
        format!("{} added, {} removed", Count(written.added, "blob"), written.removed)
    };
    if let Some(dest) = dest {
        if !written.forgotten.is_empty() {
            session.progress.warn(&format!(
                "{} holds what was built last, and no longer {}",
                dest.display(),
                written.forgotten.join(", ")
            ));
        }
        let (tags, images) = (Count(built.tags.len(), "tag"), Count(images, "image"));
        session.progress.note(&format!("{tags}, {images} in {}: {changed}", dest.display()));
    }
    Ok(())
}
