//! `kletimg image copy`.

use std::process::ExitCode;

use crate::{
    cli::{
        args,
        failure::Failure,
        session::{Session, block_on},
        verbs,
    },
    outputs::{
        place::Place,
        registry::{Existing, PushOptions},
    },
    pipeline::publish,
};

pub(super) fn run(session: &Session, args: &args::Copy) -> Result<ExitCode, Failure> {
    let (from, to) = (Place::read(&args.from)?, Place::read(&args.to)?);
    if let (Some(platform), false) = (args.platform, matches!(to, Place::DockerArchive { .. })) {
        return Err(Failure::Usage(format!(
            "all platforms are copied to {to}, so that its digest is the same; --platform {platform} is for archives of \
             Docker, which hold one\n  help: leave --platform out, or copy to docker-archive:FILE"
        )));
    }
    let settings = super::registries(session, &args.reading)?;
    let existing = if args.overwrite { Existing::Overwrite } else { Existing::Keep };
    // Where both are in one registry, the blobs need not travel.
    let siblings = match (&from, &to) {
        (Place::Registry(from), Place::Registry(to)) if from.repository.registry() == to.repository.registry() => {
            vec![from.repository.clone()]
        }
        _ => Vec::new(),
    };
    let options = PushOptions { existing, siblings, ..PushOptions::default() };
    let copied = block_on(async {
        let opened = publish::open(&from, &settings, &session.progress).await?;
        let registries = (&settings, options);
        publish::copy((&from, opened), &to, args.platform, registries, &session.store, &session.progress).await
    })??;
    let lines: Vec<_> = copied.iter().map(|(name, digest)| format!("{name}@{digest}")).collect();
    verbs::print(&lines.join("\n"))?;
    Ok(ExitCode::SUCCESS)
}
