//! `kletimg matrix plan`.

use std::process::ExitCode;

use super::super::{args, failure::Failure};
use crate::{base::Platform, pipeline, plan, settings::Environment};

pub(super) fn run(_global: &args::Global, _environment: &Environment, args: &args::Plan) -> Result<ExitCode, Failure> {
    use std::io::Write as _;
    let matrix = pipeline::load_matrix(&args.matrix.file)?;
    let plan = plan::plan(&matrix, &super::filter(&args.filter), Platform::host())?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string_pretty(&plan).unwrap_or_default())?;
    Ok(ExitCode::SUCCESS)
}
