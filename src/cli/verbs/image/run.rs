//! `kletimg image run`.

use std::process::ExitCode;

use serde_json::json;

use crate::{
    binaries::prove::Emulators,
    cli::{
        args::{self, ResultFormat},
        failure::{FOUND, Failure},
        progress::line,
        session::{Session, block_on_or},
        verbs::{print, print_json},
    },
    outputs::{docker::Engine, place::Place},
    pipeline::{
        examine::examine,
        publish::PublishError,
        smoke::{Names, Outcome, Smoke, smoke},
    },
};

pub(super) fn run(session: &Session, args: &args::Run) -> Result<ExitCode, Failure> {
    let place = Place::read(&args.image)?;
    let settings = super::registries(session, &args.reading)?;
    let emulators = Emulators::find(&session.environment.search_path);
    let names = Names::new();
    let smoking = async {
        let engine = Engine::connect(session.docker_host()).await.map_err(PublishError::from)?;
        let examined = examine(&place, &settings, &session.progress).await?;
        smoke(&engine, &names, &examined, &args.platform, &emulators, &session.progress).await
    };
    let tidying = async {
        if let Ok(engine) = Engine::connect(session.docker_host()).await
            && let Err(error) = names.remove(&engine).await
        {
            let Names { image, container } = &names;
            line(&format!("warning: {error}: remove the container {container} and the image {image} yourself"));
        }
    };
    let ran = block_on_or(smoking, tidying)??;
    match args.format {
        ResultFormat::Text => print(&ran.iter().map(told).collect::<Vec<_>>().join("\n"))?,
        ResultFormat::Json => print_json(&json!({ "image": place.to_string(), "programs": ran }))?,
    }
    // An image of which nothing could be run has not passed either.
    let failed = ran.iter().any(|smoke| matches!(smoke.outcome, Outcome::Failed { .. }));
    let passed = ran.iter().any(|smoke| matches!(smoke.outcome, Outcome::Passed { .. }));
    Ok(if passed && !failed { ExitCode::SUCCESS } else { ExitCode::from(FOUND) })
}

fn told(smoke: &Smoke) -> String {
    let subject = format!("{:<14} {:<22}", smoke.platform, smoke.program);
    match &smoke.outcome {
        Outcome::Passed { printed, version: Some(_) } => format!("{subject} passed: {printed}"),
        Outcome::Passed { printed, version: None } => format!("{subject} passed: {printed} (compared with no version)"),
        Outcome::Failed { reason } => format!("{subject} failed: {reason}"),
        Outcome::NotRun { reason } => format!("{subject} not run: {reason}"),
    }
}
