//! Which of a base's optional suites take part in a choice: decided once, for all platforms alike, before anything is chosen.
//!
//! A suite of security updates that is silently missing is what nobody looks for. So a suite is only left out where nobody
//! asked for it: neither the machine's apt nor what the lock chose before. What is asked for and cannot be had, or not
//! for every platform, is an error, unless the matrix file says that such a suite is to be left out.

use std::collections::BTreeSet;

use super::{
    Answer, Asking, DebianError, PipelineError,
    suites::{self, Lacking, Suite, release_url},
};
use crate::{
    base::{Digest, Platform},
    matrix::{Base, DebianMirrors, DebianRepository, DebianRoot, IncompleteSuites},
    plan::{Lock, Plan, Request, request},
};

/// The suites that are left out of a base.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Settled {
    /// By the URLs of their release files.
    left_out: BTreeSet<String>,
}

impl Settled {
    pub(super) fn leaves_out(&self, repository: &DebianRepository) -> bool {
        repository.optional && self.left_out.contains(&release_url(repository))
    }
}

/// How a suite came to be asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// The lock or the machine's apt uses it.
    Used,
    /// Nobody has decided: it is used where it can be had.
    Offered,
    /// Somebody has decided against it, or nothing says where it is.
    Unused,
}

/// Decides on the optional suites of a base. Where one is left out that was used before, all of the base is chosen anew.
pub(in super::super) async fn settle(
    asking: Asking<'_>,
    base: &Base,
    root: &DebianRoot,
    plan: &Plan,
    lock: &mut Lock,
) -> Result<Settled, PipelineError> {
    let mut settled = Settled::default();
    for repository in root.repositories.iter().filter(|repository| repository.optional) {
        let standing = standing(asking, base, repository, lock);
        if standing == Standing::Unused || !is_there(asking, base, repository, standing, plan, lock).await? {
            settled.left_out.insert(release_url(repository));
        }
    }
    Ok(settled)
}

/// A lock that was made with or without a suite goes on so, on any machine. A machine whose apt uses this release of
/// Debian has decided which of its optional suites are used; on one that runs another release, or has no apt, they are
/// used where they can be had.
fn standing(asking: Asking<'_>, base: &Base, repository: &DebianRepository, lock: &Lock) -> Standing {
    let url = release_url(repository);
    match lock.uses(&base.name, &request::place(repository), &url) {
        Some(true) => return Standing::Used,
        Some(false) => return Standing::Unused,
        None => {}
    }
    // `bookworm` of `bookworm-security`, `buster` of `buster/updates`.
    let release = repository.suite.split(['-', '/']).next().unwrap_or_default();
    if repository.mirrors != DebianMirrors::System {
        Standing::Offered
    } else if asking.apt.names(&repository.suite) {
        Standing::Used
    } else if !asking.apt.names(release) && asking.fetcher.has_address(&url) {
        Standing::Offered
    } else {
        unused(asking, repository);
        Standing::Unused
    }
}

/// Tells of security updates that a machine does not take: on most machines nobody has meant that.
fn unused(asking: Asking<'_>, repository: &DebianRepository) {
    let DebianRepository { suite, archive, .. } = repository;
    if suite.ends_with("-security") {
        asking.progress.note(&format!(
            "warning: this machine's apt does not use {suite}, so the images have no updates from it: add the suite to apt's \
             sources, or name a mirror with `--mirror deb://{archive}=URL` and `mirror` in the base definition"
        ));
    }
}

/// Whether a suite can be had for all that is asked of it. `false` where it may be left out and is, which the user is told.
async fn is_there(
    asking: Asking<'_>,
    base: &Base,
    repository: &DebianRepository,
    standing: Standing,
    plan: &Plan,
    lock: &mut Lock,
) -> Result<bool, PipelineError> {
    let mut answer = Answer::default();
    let suite = match suites::find(asking, base, repository, lock, &mut answer).await? {
        Ok(suite) => suite,
        Err(places) if standing == Standing::Used => return Err(suites::no_such_suite(repository, places, true)),
        Err(places) => {
            asking.progress.note(&without(&format!("no mirror has the suite {} ({places})", repository.suite)));
            return Ok(false);
        }
    };
    let (lacking, all) = lacking(asking, base, &suite, plan, lock).await?;
    let Some(Lacking { what, places }) = lacking.into_iter().next() else {
        // From now on every platform is asked about this state of the suite.
        lock.inputs.extend(answer.pins);
        return Ok(true);
    };
    let mut way_on = format!(
        ", or write `incomplete-suites = \"leave-out\"` into the matrix file to do without {} for all platforms alike",
        repository.suite
    );
    let mut may_go =
        asking.matrix.file.incomplete_suites == IncompleteSuites::LeaveOut || (all && standing == Standing::Offered);
    if has_moved(asking, repository, lock).await {
        (way_on, may_go) = (suites::anew(base), false);
    }
    if !may_go {
        let archive = repository.prefix();
        let error = DebianError::OutOfStep { what: what.clone(), archive, places, way_on };
        return Err(PipelineError::new(format!("reading {what}"), error.into()));
    }
    asking.progress.note(&without(&format!("no mirror has {what} as they were signed")));
    if lock.uses(&base.name, &request::place(repository), &release_url(repository)) == Some(true) {
        lock.forget_base(&base.name);
    }
    Ok(false)
}

/// Whether mirrors have another state of a suite than the one that the lock pins. Then nothing is missing; it is elsewhere.
async fn has_moved(asking: Asking<'_>, repository: &DebianRepository, lock: &Lock) -> bool {
    let url = release_url(repository);
    let Some(pin) = lock.inputs.get(&url) else { return false };
    let what = format!("the release file of {}", repository.suite);
    let now = asking.fetcher.small(&what, &url, suites::LARGEST_RELEASE).await;
    now.map_or(true, |bytes| Digest::of(&bytes) != pin.sha256)
}

/// The indexes that cannot be had of those that the plan's questions need, and whether that is all of them.
async fn lacking(
    asking: Asking<'_>,
    base: &Base,
    suite: &Suite,
    plan: &Plan,
    lock: &Lock,
) -> Result<(Vec<Lacking>, bool), PipelineError> {
    let mut needed: BTreeSet<Option<Platform>> = BTreeSet::new();
    for selection in lock.unselected(plan).into_iter().filter(|selection| selection.base == base.name) {
        let asked = Request::parse(&selection.request);
        needed.extend((!asked.install.is_empty() || !asked.files.is_empty()).then_some(Some(selection.platform)));
        needed.extend((!asked.sources.is_empty()).then_some(None));
    }
    let mut lacking = Vec::new();
    for platform in &needed {
        lacking.extend(suite.lacks(asking, *platform).await?);
    }
    let all = lacking.len() == needed.len();
    Ok((lacking, all))
}

/// What is said where an optional part of a base is left out, which is somebody's security updates.
fn without(what: &str) -> String {
    format!(
        "warning: {what}: going on without it on all platforms, because its suite is optional; whatever only it has, updates \
         among it, is not in these images"
    )
}
