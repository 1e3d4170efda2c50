//! `kletimg image ls`, `diff` and `cost`.

use std::process::ExitCode;

use serde_json::json;

use crate::{
    cli::{
        args::{self, ResultFormat, Sizes},
        failure::Failure,
        session::{Session, block_on},
        verbs::{print, print_json},
    },
    outputs::place::Place,
    pipeline::examine::{contents, examine},
    report::{Difference, costs, costs_text},
};

pub(super) fn ls(session: &Session, args: &args::Ls) -> Result<ExitCode, Failure> {
    let place = Place::read(&args.image)?;
    let settings = super::registries(session, &args.reading)?;
    let contents = block_on(contents(&place, &settings, args.platform, &session.progress))??;
    match (args.format, args.by) {
        (ResultFormat::Json, _) => print_json(&contents)?,
        (ResultFormat::Text, Sizes::File) => print(&contents.files_text())?,
        (ResultFormat::Text, Sizes::Layer) => print(&contents.layers_text())?,
        (ResultFormat::Text, Sizes::Component) => print(&contents.components_text())?,
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn diff(session: &Session, args: &args::Diff) -> Result<ExitCode, Failure> {
    let (a, b) = (Place::read(&args.a)?, Place::read(&args.b)?);
    let settings = super::registries(session, &args.reading)?;
    let difference = block_on(async {
        let a = contents(&a, &settings, args.platform, &session.progress).await?;
        let b = contents(&b, &settings, args.platform, &session.progress).await?;
        Ok::<_, Failure>(Difference::new(&a, &b))
    })??;
    match args.format {
        ResultFormat::Text => print(&difference.text())?,
        ResultFormat::Json => print_json(&difference)?,
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn cost(session: &Session, args: &args::Cost) -> Result<ExitCode, Failure> {
    let (new, old) = (Place::read(&args.image)?, Place::read(&args.from)?);
    let settings = super::registries(session, &args.reading)?;
    let costs = block_on(async {
        let new = examine(&new, &settings, &session.progress).await?;
        let old = examine(&old, &settings, &session.progress).await?;
        Ok::<_, Failure>(costs(&new.images, &old.images))
    })??;
    match args.format {
        ResultFormat::Text => print(&costs_text(&costs))?,
        ResultFormat::Json => {
            print_json(
                &json!({ "image": new.to_string(), "from": old.to_string(), "unit": "bytes", "platforms": costs }),
            )?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
