//! Where a build goes besides its layout: archives, root file systems, registries, the Docker Engine.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::super::publish;
use crate::{
    cli::{args, failure::Failure, output::Output, session::Session},
    host::files::Scratch,
    images::LayoutEntry,
    outputs::{docker::Engine, layout, place::InvalidPlace, registry, source::Source},
    pipeline::{
        Built, Work,
        publish::{self as delivery, Extent, PublishError},
    },
    plan::{self, Plan},
};

/// Whether the outputs can be made of what is planned, before an hour of building.
pub(super) fn check(args: &args::Build, plan: &Plan) -> Result<(), Failure> {
    let mut places = BTreeSet::new();
    for place in args.output.iter().filter_map(Output::dest) {
        if place == Path::new("-") {
            let message = "images are not written to standard output\n  help: write dest=FILE, or dest=./- for a file of that name";
            return Err(Failure::Usage(message.to_owned()));
        }
        if !places.insert(place) {
            let message = format!("two outputs go to {}\n  help: give each its own dest", place.display());
            return Err(Failure::Usage(message));
        }
    }
    let Some(single) = args.output.iter().find(|output| output.is_single()) else { return Ok(()) };
    if plan.cells() == 1 {
        return Ok(());
    }
    let kind = if matches!(single, Output::Tar { .. }) { "tar" } else { "dir" };
    Err(Failure::Usage(format!(
        "type={kind} is the root file system of one image, and {} would be built\n  help: choose one with --kubernetes, \
         --variant, --base and --platform",
        plan.cells()
    )))
}

/// The layout that every build writes: the one that was asked for, or one that vanishes, of links into the store.
pub(super) enum Layout {
    Named(PathBuf),
    Passing(PathBuf, #[allow(dead_code, reason = "held until the build is delivered")] Scratch),
}

impl Layout {
    pub(super) fn of(session: &Session, args: &args::Build) -> Result<Self, Failure> {
        let named = args.output.iter().find_map(|output| match output {
            Output::Oci { dest } => Some(dest.clone()),
            _ => None,
        });
        if let Some(dest) = named {
            return Ok(Self::Named(dest));
        }
        let scratch = session.store.scratch().map_err(|error| Failure::Layout(error.into()))?;
        Ok(Self::Passing(scratch.path().join("layout"), scratch))
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Named(path) | Self::Passing(path, _) => path,
        }
    }

    pub(super) fn named(&self) -> Option<&Path> {
        match self {
            Self::Named(path) => Some(path),
            Self::Passing(..) => None,
        }
    }
}

/// What delivering needs, found out before building, so that a wrong certificate file is told at once.
pub(super) struct Deliveries {
    registries: registry::Settings,
    extra: BTreeMap<String, Vec<String>>,
    /// What is to be pushed.
    references: Vec<String>,
}

impl Deliveries {
    pub(super) fn new(session: &Session, args: &args::Build, plan: &Plan) -> Result<Self, Failure> {
        let registries = session.registries(&args.registries, &args.network.ca)?;
        let references = plan.tags.iter().map(plan::Tag::reference).collect();
        Ok(Self { registries, extra: publish::extra_tags(plan), references })
    }

    /// Asks registries and Engine whether they are there and take what will be built.
    pub(super) async fn reach(&self, session: &Session, args: &args::Build) -> Result<(), Failure> {
        if pushes(args) {
            let references = self.references.iter().map(|reference| reference.parse());
            let references: Vec<_> = references.collect::<Result<_, _>>().map_err(InvalidPlace::from)?;
            delivery::reach(&self.registries, references).await?;
        }
        if args.deliver.load {
            Engine::connect(session.docker_host()).await.map_err(PublishError::from)?;
        }
        Ok(())
    }

    /// Writes, pushes and loads what was built.
    pub(super) async fn deliver(
        &self,
        session: &Session,
        args: &args::Build,
        work: &Arc<Work>,
        built: &Built,
    ) -> Result<(), Failure> {
        let mut layouts = 0;
        for output in &args.output {
            layouts += usize::from(matches!(output, Output::Oci { .. }));
            if layouts > 1 || !matches!(output, Output::Oci { .. }) {
                write(session, output.clone(), work, built).await?;
            }
        }
        let tags = delivery::with_extra(delivery::built_tags(&built.tags)?, &self.extra)?;
        let source: Arc<dyn Source> = Arc::new(session.store.clone());
        if pushes(args) {
            let options = publish::options(&args.publish, publish::JOBS);
            let pushed =
                delivery::push(&self.registries, Arc::clone(&source), &tags, options, Extent::Send, &session.progress);
            publish::note_outcome(session, &pushed.await?);
        }
        if args.deliver.load {
            let loaded = delivery::load(session.docker_host(), source, &tags, None, &session.progress).await?;
            publish::note_loaded(session, loaded.len());
        }
        publish::write_files(&args.files, &publish::facts(&tags, &built.tags))
    }
}

fn pushes(args: &args::Build) -> bool {
    args.deliver.push || args.output.contains(&Output::Registry)
}

async fn write(session: &Session, output: Output, work: &Arc<Work>, built: &Built) -> Result<(), Failure> {
    let (store, progress) = (session.store.clone(), Arc::clone(&session.progress));
    let (work, built) = (Arc::clone(work), built.clone());
    let written = delivery::blocking("writing the images", move || match output {
        Output::Registry => Ok(()),
        Output::Oci { dest } => layout::write(&store, &dest, &built.tags).map(drop).map_err(PublishError::from),
        Output::OciArchive { dest } => {
            let entries: Vec<_> = built.tags.iter().map(LayoutEntry::from).collect();
            delivery::oci_archive(&store, &entries, &dest, progress.as_ref())
        }
        Output::Docker { dest, platform } => {
            let tags = delivery::built_tags(&built.tags)?;
            let platform = delivery::docker_platform(&built.tags, platform);
            delivery::docker_archive(&store, &tags, platform, &dest, progress.as_ref())
        }
        Output::Tar { dest } => only(&built).map_or(Ok(()), |image| delivery::rootfs_tar(&work, image, &dest)),
        Output::Dir { dest } => only(&built).map_or(Ok(()), |image| delivery::rootfs_folder(&work, image, &dest)),
    });
    Ok(written.await?)
}

/// The one image of a build that [`check`] has let pass.
fn only(built: &Built) -> Option<&crate::images::PlatformImage> {
    built.tags.first()?.images.first()
}
