//! `kletimg image verify`.

use std::{fmt::Write as _, process::ExitCode};

use serde_json::json;

use crate::{
    base::size::{Bytes, Count},
    cli::{
        args::{self, ResultFormat},
        failure::{FOUND, Failure},
        session::{Session, block_on},
        verbs::{print, print_json},
    },
    outputs::{place::Place, verify::Report},
    pipeline::examine::verify,
};

pub(super) fn run(session: &Session, args: &args::Verify) -> Result<ExitCode, Failure> {
    let places = args.images.iter().map(|text| Place::read(text)).collect::<Result<Vec<_>, _>>()?;
    let settings = super::registries(session, &args.reading)?;
    // What was found is told also where a later place cannot be opened.
    let (reports, failed) = block_on(async {
        let mut reports = Vec::new();
        for place in &places {
            match verify(place, &settings, &session.progress).await {
                Ok(found) => reports.extend(found.into_iter().map(|(name, report)| (place.clone(), name, report))),
                Err(error) => return Ok((reports, Some(error))),
            }
        }
        Ok::<_, Failure>((reports, None))
    })??;
    match args.format {
        ResultFormat::Text => print(&text(&reports))?,
        ResultFormat::Json => {
            let image = |(place, name, report): &(Place, String, Report)| json!({ "place": place.to_string(), "name": name, "report": report });
            print_json(&json!({ "images": reports.iter().map(image).collect::<Vec<_>>() }))?;
        }
    }
    if let Some(error) = failed {
        return Err(error.into());
    }
    let sound = reports.iter().all(|(_, _, report)| report.findings.is_empty());
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::from(FOUND) })
}

fn text(reports: &[(Place, String, Report)]) -> String {
    let mut text = String::new();
    for (place, name, report) in reports {
        let image = if place.names_one() { place.to_string() } else { format!("{place}:{name}") };
        // Writing to a String cannot fail.
        for finding in &report.findings {
            let _ = writeln!(text, "{image}: {}: {}: {}", finding.code, finding.subject, finding.message);
        }
        let outcome = match report.findings.len() {
            0 => "sound".to_owned(),
            count => Count(count, "finding").to_string(),
        };
        let platforms =
            if report.platforms.is_empty() { "no platform".to_owned() } else { report.platforms.join(", ") };
        let _ = writeln!(
            text,
            "{image}: {outcome}: {platforms}; {}, {} read",
            Count(report.blobs, "blob"),
            Bytes(report.bytes)
        );
    }
    text
}
