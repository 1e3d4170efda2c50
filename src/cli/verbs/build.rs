//! `kletimg matrix build`.

mod next;
mod outputs;

use std::{path::Path, process::ExitCode, sync::Arc};

use super::{
    super::{
        args,
        failure::Failure,
        session::{Planned, Session, block_on},
    },
    locked::locked,
};
use crate::{
    base::{Epoch, size::Count},
    pipeline::{self, Built},
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
