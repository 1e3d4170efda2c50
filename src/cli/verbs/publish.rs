//! `kletimg matrix push` and `kletimg matrix load`: what was built before, to where people use it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::Path,
    process::ExitCode,
    sync::Arc,
};

use serde::Serialize;
use serde_json::json;

use super::super::{
    args::{self, MatrixFile, ResultFiles, ResultFormat, TagFilter},
    failure::Failure,
    session::{Planned, Session, block_on},
};
use crate::{
    base::{
        Digest, Platform,
        size::{Bytes, Count},
    },
    host::files,
    images::{self, LayoutEntry, reference::Reference},
    outputs::{
        layout::{self, Layout},
        registry::{Existing, Moved, PushOptions, RegistryError},
        source::{Source, Tag},
    },
    pipeline::publish::{self as delivery, Extent, Outcome},
    plan::Plan,
    report::TagFacts,
};

/// Requests at once where nobody says otherwise: more gain nothing, and registries count them.
pub(super) const JOBS: u16 = 4;

pub(super) fn push(session: &Session, args: &args::Push) -> Result<ExitCode, Failure> {
    let chosen = Chosen::read(&args.dest, &args.matrix, &args.filter)?;
    for warning in &chosen.warnings {
        session.progress.warn(warning);
    }
    let settings = session.registries(&args.registries, &args.ca)?;
    let extent = if args.dry_run { Extent::DryRun } else { Extent::Send };
    let outcome = block_on(delivery::push(
        &settings,
        chosen.source,
        &chosen.tags,
        options(&args.publish, args.jobs),
        extent,
        &session.progress,
    ))??;
    match args.format {
        ResultFormat::Text => super::print(&lines(&outcome))?,
        ResultFormat::Json => super::print_json(&outcome_json(&outcome, &chosen.facts))?,
    }
    note_outcome(session, &outcome);
    if !outcome.refused.is_empty() {
        return Err(Failure::Publish(RegistryError::TagExists { conflicts: outcome.refused }.into()));
    }
    // Of a dry run the references lead nowhere yet.
    if !args.dry_run {
        write_files(&args.files, &chosen.facts)?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn load(session: &Session, args: &args::Load) -> Result<ExitCode, Failure> {
    let chosen = Chosen::read(&args.dest, &args.matrix, &args.filter)?;
    let host = session.docker_host();
    let loaded = block_on(delivery::load(host, chosen.source, &chosen.tags, args.platform, &session.progress))??;
    match args.format {
        ResultFormat::Text => {
            let lines: Vec<_> = loaded.iter().map(|(name, id)| format!("{name} {id}")).collect();
            super::print(&lines.join("\n"))?;
        }
        ResultFormat::Json => {
            let images: Vec<_> = loaded.iter().map(|(name, id)| json!({ "reference": name, "id": id })).collect();
            super::print_json(&json!({ "host": host, "images": images }))?;
        }
    }
    note_loaded(session, loaded.len());
    Ok(ExitCode::SUCCESS)
}

pub(super) fn note_loaded(session: &Session, count: usize) {
    session.progress.note(&format!("{} loaded into {}", Count(count, "image"), session.docker_host()));
}

/// The tags of a layout that a filter leaves.
struct Chosen {
    source: Arc<dyn Source>,
    tags: Vec<Tag>,
    facts: Vec<TagFacts>,
    /// Where the layout is not what the matrix says.
    warnings: Vec<String>,
}

impl Chosen {
    fn read(folder: &Path, matrix: &MatrixFile, filter: &TagFilter) -> Result<Self, Failure> {
        let mut built = layout::read(folder)?;
        let (mut extra, mut warnings) = (BTreeMap::new(), Vec::new());
        // Where no matrix is at hand, and none is asked about, the layout is all there is.
        if !filter.is_empty() || !matrix.is_default() || files::exists(&matrix.file) {
            let planned = Planned::read(&matrix.file, &filter.cells())?;
            extra = extra_tags(&planned.plan);
            if !filter.is_empty() {
                keep_planned(folder, &mut built, &planned.plan)?;
            }
            check_references(folder, &matrix.file, &built, &planned.plan)?;
            warnings = differences(folder, &matrix.file, &built, &planned.plan);
        }
        let entries: Vec<_> = built.iter().map(LayoutEntry::from).collect();
        let tags = delivery::as_tags(&folder.display().to_string(), &entries)?;
        let tags = delivery::with_extra(tags, &extra)?;
        let facts = facts(&tags, &built);
        Ok(Self { source: Arc::new(Layout::open(folder)?), tags, facts, warnings })
    }
}

/// A layout keeps the references that it was built with. Where the matrix has been changed since, one of the two is not
/// what is meant, and a push would go to the wrong place.
fn check_references(folder: &Path, matrix: &Path, built: &[images::Tag], plan: &Plan) -> Result<(), Failure> {
    let planned = |tag: &images::Tag| plan.tags.iter().find(|planned| planned.layout_name == tag.name.as_str());
    let other: Vec<_> = built
        .iter()
        .filter_map(|tag| Some((tag, planned(tag)?.reference())))
        .filter(|(tag, planned)| tag.reference.as_ref().is_some_and(|reference| reference != planned))
        .collect();
    let Some((first, planned)) = other.first() else { return Ok(()) };
    Err(Failure::Usage(format!(
        "{} was built for another repository than {} names: {} of {}, such as {}, which is {planned} now\n  help: run \
         `kletimg matrix build` again, which only writes the new names",
        folder.display(),
        matrix.display(),
        Count(other.len(), "tag"),
        built.len(),
        first.reference.as_deref().unwrap_or_default()
    )))
}

/// What a layout lacks of the matrix, or has besides. Both may be meant, and both are easily overlooked.
fn differences(folder: &Path, matrix: &Path, built: &[images::Tag], plan: &Plan) -> Vec<String> {
    let (folder, matrix) = (folder.display(), matrix.display());
    let there: BTreeMap<_, _> = built.iter().map(|tag| (tag.name.as_str(), tag)).collect();
    let planned: BTreeSet<_> = plan.tags.iter().map(|tag| tag.layout_name.as_str()).collect();
    let mut warnings = Vec::new();
    let list = |names: &[&str]| names.join(", ");
    let missing: Vec<_> = planned.iter().copied().filter(|name| !there.contains_key(name)).collect();
    if !missing.is_empty() {
        warnings.push(format!("{matrix} has tags that {folder} does not hold: {}", list(&missing)));
    }
    let besides: Vec<_> = there.keys().copied().filter(|name| !planned.contains(name)).collect();
    if !besides.is_empty() {
        warnings.push(format!("{folder} holds tags that {matrix} does not have: {}", list(&besides)));
    }
    for tag in &plan.tags {
        let Some(built) = there.get(tag.layout_name.as_str()) else { continue };
        let has = |platform: &Platform| built.images.iter().any(|image| image.platform.serves(*platform));
        let lacks: Vec<_> = tag.cells.iter().map(|cell| cell.platform).filter(|platform| !has(platform)).collect();
        if !lacks.is_empty() {
            let lacks = lacks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let name = &tag.layout_name;
            warnings
                .push(format!("{name} was built without {lacks}, which only --overwrite can add once it is published"));
        }
    }
    warnings
}

/// Leaves the tags of a plan, all of which must be there.
fn keep_planned(folder: &Path, built: &mut Vec<images::Tag>, plan: &Plan) -> Result<(), Failure> {
    let wanted: BTreeSet<_> = plan.tags.iter().map(|tag| tag.layout_name.clone()).collect();
    let there: BTreeSet<_> = built.iter().map(|tag| tag.name.to_string()).collect();
    let missing: Vec<_> = wanted.difference(&there).cloned().collect();
    if !missing.is_empty() {
        return Err(Failure::Usage(format!(
            "{} does not hold {}\n  help: build with `kletimg matrix build` first",
            folder.display(),
            missing.join(", ")
        )));
    }
    built.retain(|tag| wanted.contains(tag.name.as_str()));
    Ok(())
}

/// The extra tags of a plan, by the names that their tags have in a layout.
pub(super) fn extra_tags(plan: &Plan) -> BTreeMap<String, Vec<String>> {
    plan.tags.iter().map(|tag| (tag.layout_name.clone(), tag.extra.clone())).collect()
}

/// What is known of every tag, the extra ones included.
pub(super) fn facts(tags: &[Tag], built: &[images::Tag]) -> Vec<TagFacts> {
    let of = |tag: &Tag| {
        let images =
            built.iter().find(|built| built.root.digest == tag.root.digest).map(|built| built.images.as_slice());
        TagFacts::new(&tag.reference, &tag.root, images.unwrap_or_default())
    };
    tags.iter().map(of).collect()
}

pub(super) fn options(args: &args::Publish, jobs: u16) -> PushOptions {
    PushOptions {
        existing: if args.overwrite { Existing::Overwrite } else { Existing::Keep },
        jobs: usize::from(jobs),
        siblings: args.mount_from.clone(),
    }
}

/// One line for every tag: its digest, and what became of it.
fn lines(outcome: &Outcome) -> String {
    let mut text = String::new();
    let refused = |reference: &Reference| outcome.refused.iter().any(|conflict| conflict.reference == *reference);
    for (reference, digest, moved) in &outcome.tags {
        let how = match (moved, outcome.pushed.is_some()) {
            (Moved::No, _) => "unchanged".to_owned(),
            (Moved::New, true) => "new".to_owned(),
            (Moved::New, false) => "would be new".to_owned(),
            (Moved::From(was), true) => format!("moved from {was}"),
            (Moved::From(was), false) if refused(reference) => format!("would not be moved from {was}"),
            (Moved::From(was), false) => format!("would move from {was}"),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{reference}@{digest} {how}");
    }
    text
}

#[derive(Serialize)]
struct PublishedTag<'a> {
    #[serde(flatten)]
    facts: &'a TagFacts,
    change: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    was: Option<Digest>,
}

fn outcome_json(outcome: &Outcome, facts: &[TagFacts]) -> serde_json::Value {
    let of = |reference: &Reference| {
        let name = reference.to_string();
        facts.iter().find(move |facts| facts.reference == name)
    };
    let tags: Vec<_> = outcome
        .tags
        .iter()
        .filter_map(|(reference, _, moved)| {
            let (change, was) = match moved {
                Moved::No => ("unchanged", None),
                Moved::New => ("new", None),
                Moved::From(was) => ("moved", Some(*was)),
            };
            Some(PublishedTag { facts: of(reference)?, change, was })
        })
        .collect();
    let pushed = outcome.pushed.as_ref().map(|pushed| {
        json!({
            "sent": pushed.sent, "sent_bytes": pushed.sent_bytes, "mounted": pushed.mounted,
            "present": pushed.present, "manifests": pushed.manifests,
        })
    });
    json!({
        "tags": tags, "dry_run": outcome.pushed.is_none(), "missing": outcome.missing,
        "missing_bytes": outcome.missing_bytes, "blobs": pushed,
    })
}

pub(super) fn note_outcome(session: &Session, outcome: &Outcome) {
    let count = |wanted: fn(&Moved) -> bool| outcome.tags.iter().filter(|(_, _, moved)| wanted(moved)).count();
    let (new, moved) = (count(|moved| *moved == Moved::New), count(|moved| matches!(moved, Moved::From(_))));
    let tags = format!(
        "{}: {new} new, {moved} moved, {} unchanged",
        Count(outcome.tags.len(), "tag"),
        count(|m| *m == Moved::No)
    );
    let blobs = match &outcome.pushed {
        Some(pushed) => format!(
            "{} sent ({}), {} mounted, {} already there",
            Count(pushed.sent, "blob"),
            Bytes(pushed.sent_bytes),
            pushed.mounted,
            pushed.present
        ),
        None => {
            format!("{} to send ({}); nothing was sent", Count(outcome.missing, "blob"), Bytes(outcome.missing_bytes))
        }
    };
    session.progress.note(&format!("{tags}; {blobs}"));
}

/// Writes the files that say what came out, where they were asked for.
pub(super) fn write_files(args: &ResultFiles, facts: &[TagFacts]) -> Result<(), Failure> {
    if let Some(file) = &args.metadata_file {
        let text = serde_json::to_string_pretty(&json!({ "tags": facts })).map_err(std::io::Error::from)?;
        files::write(file, format!("{text}\n").as_bytes(), 0o644)?;
    }
    if let Some(file) = &args.image_refs {
        let text: String = facts.iter().map(|facts| facts.pinned() + "\n").collect();
        files::write(file, text.as_bytes(), 0o644)?;
    }
    Ok(())
}
