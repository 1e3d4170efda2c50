//! What of a plan the store has already.

use super::{components, packages, tools::Tools, work::Work};
use crate::{
    host::files,
    inputs::store::Store,
    matrix::BaseRoot,
    plan::{ComponentState, InputState, Lock, Omission, Plan, SelectionState, Stock},
};

/// Looks through the store for everything in a plan. Nothing is fetched, and what is missing is no error.
pub fn stock(work: &Work) -> Stock {
    let (tools, missing) = Tools::present(work);
    let states = work.plan.components.iter().map(|component| match components::recorded(work, component, &tools) {
        Some(built) => ComponentState::Built { size: built.size(), unproven: built.unproven() },
        None => ComponentState::Missing,
    });
    let components: Vec<_> = states.collect();
    let all_built = !components.contains(&ComponentState::Missing);
    let mut warnings = if all_built { Vec::new() } else { missing };
    for platform in unprovable(work) {
        let arch = platform.qemu_arch();
        warnings.push(format!(
            "packed files for {platform} will be unproven: there is no qemu-{arch} to run them with (Debian: \
             qemu-user-static; Alpine: qemu-{arch})"
        ));
    }
    let missing = work.plan.local_files().into_iter().filter(|file| !files::exists(file.path));
    warnings.extend(missing.map(|file| format!("{} is not there: {} is made of it", file.path.display(), file.name)));
    warnings.extend(packages::warnings(work));
    Stock {
        components,
        inputs: work.plan.inputs.iter().map(|input| state(work.store(), &work.lock, &input.url)).collect(),
        selections: selections(&work.plan, &work.lock),
        packages: work.lock.packages(&work.plan).iter().map(|url| state(work.store(), &work.lock, url)).collect(),
        left_out: left_out(work),
        warnings,
    }
}

/// What the bases of the plan are without.
fn left_out(work: &Work) -> Vec<Omission> {
    let mut names: Vec<&str> = work.plan.bases.iter().map(|base| base.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let mut omissions = Vec::new();
    for base in names.into_iter().filter_map(|name| work.matrix.bases.get(name)) {
        let BaseRoot::Debian(root) = &base.root else { continue };
        let asked_for = packages::needed_by(work, &base.name);
        omissions.extend(root.without.iter().map(|group| {
            let names: Vec<_> = group.names.iter().map(|name| name.value.clone()).collect();
            let needed_by =
                names.iter().filter_map(|name| Some((name.clone(), asked_for.get(name)?.clone()))).collect();
            Omission { base: base.name.clone(), packages: names, needed_by, why: group.why.clone() }
        }));
    }
    omissions
}

fn state(store: &Store, lock: &Lock, url: &str) -> InputState {
    match lock.inputs.get(url) {
        None => InputState::Unpinned,
        Some(pin) => match store.blob(&pin.sha256).filter(|blob| pin.size.is_none_or(|size| size == blob.size)) {
            Some(blob) => InputState::Here { size: blob.size },
            None => InputState::Pinned { size: pin.size },
        },
    }
}

fn selections(plan: &Plan, lock: &Lock) -> Vec<SelectionState> {
    let size = |url: &String| lock.inputs.get(url).and_then(|pin| pin.size).unwrap_or(0);
    let state = |selection| match lock.selected(selection) {
        None => SelectionState::Unpinned,
        Some(selected) => SelectionState::Pinned {
            packages: selected.packages.iter().map(|url| packages::file_name(url).to_owned()).collect(),
            size: selected.packages.iter().map(size).sum(),
        },
    };
    plan.selections.iter().map(state).collect()
}

/// Platforms with something to pack whose programs this machine cannot run.
fn unprovable(work: &Work) -> Vec<crate::base::Platform> {
    let packs = |platform| work.plan.components.iter().any(|part| part.pack && part.platform == platform);
    crate::base::Platform::ALL.into_iter().filter(|platform| packs(*platform) && !work.can_run(*platform)).collect()
}
