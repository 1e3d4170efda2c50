//! What of a plan the store has already.

use super::{components, tools::Tools, work::Work};
use crate::{
    inputs::store::Store,
    plan::{ComponentState, InputState, Lock, Plan, Stock},
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
    Stock { components, inputs: inputs(work.store(), &work.plan, &work.lock), warnings }
}

fn inputs(store: &Store, plan: &Plan, lock: &Lock) -> Vec<InputState> {
    let state = |input: &crate::plan::Input| match lock.inputs.get(&input.url) {
        None => InputState::Unpinned,
        Some(pin) => match store.blob(&pin.sha256) {
            Some(blob) => InputState::Here { size: blob.size },
            None => InputState::Pinned { size: pin.size },
        },
    };
    plan.inputs.iter().map(state).collect()
}

/// Platforms with something to pack whose programs this machine cannot run.
fn unprovable(work: &Work) -> Vec<crate::base::Platform> {
    let packs = |platform| work.plan.components.iter().any(|part| part.pack && part.platform == platform);
    crate::base::Platform::ALL.into_iter().filter(|platform| packs(*platform) && !work.can_run(*platform)).collect()
}
