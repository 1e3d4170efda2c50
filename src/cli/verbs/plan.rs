//! `kletimg matrix plan`.

use std::process::ExitCode;

use serde_json::json;

use super::super::{
    args::{self, PlanFormat},
    failure::Failure,
    session::{Planned, Session},
};
use crate::{
    base::Epoch,
    pipeline,
    plan::{Lock, Plan, Stock},
    report,
};

pub(super) fn run(session: &Session, args: &args::Plan) -> Result<ExitCode, Failure> {
    let planned = Planned::read(&args.matrix.file, &args.filter)?;
    // Without a lock nothing is pinned, and nothing compiled with its time can be found.
    let lock = pipeline::load_lock(&args.matrix.file)?.unwrap_or_else(|| Lock::new(Epoch::default()));
    let plan = planned.plan.clone();
    let stock = pipeline::stock(&session.work(planned, lock, &args::Network::default(), None)?);
    if args.print || args.format == PlanFormat::Json {
        print_plan(&plan, &stock)?;
    } else {
        super::print(&report::plan_tables(&plan, &stock))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The plan and what is there of it as one JSON value.
pub(super) fn print_plan(plan: &Plan, stock: &Stock) -> Result<(), Failure> {
    super::print_json(&json!({ "plan": plan, "stock": stock }))
}
