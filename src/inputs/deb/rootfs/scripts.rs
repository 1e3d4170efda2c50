//! What packages would run when they are installed, and nothing was done for.

use std::{collections::BTreeSet, fmt};

use super::{Setup, Unpacked, deeds};

/// When a script runs (Policy 6.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Preinst,
    Postinst,
}

impl Phase {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Preinst => "preinst",
            Self::Postinst => "postinst",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A script that dpkg would have run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UndeclaredScript {
    pub package: String,
    pub phase: Phase,
}

impl fmt::Display for UndeclaredScript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} of {} is not run: see what it does, then declare the package", self.phase, self.package)
    }
}

/// The scripts of packages that are neither done for, nor declared, nor settled by an alternative.
/// `with_alternative` are the packages whose programs alternatives lead to.
pub(super) fn undeclared(
    packages: &[Unpacked<'_>],
    setup: &Setup,
    with_alternative: &BTreeSet<String>,
) -> Vec<UndeclaredScript> {
    let settled = |unpacked: &Unpacked<'_>| {
        let name = unpacked.package.name;
        deeds::DONE.contains(&name) || setup.declared.contains(name) || with_alternative.contains(name)
    };
    let mut scripts: Vec<_> = packages
        .iter()
        .filter(|unpacked| !settled(unpacked))
        .flat_map(|unpacked| {
            let present =
                [Phase::Preinst, Phase::Postinst].into_iter().filter(|phase| unpacked.control.has(phase.name()));
            present.map(|phase| UndeclaredScript { package: unpacked.package.name.to_owned(), phase })
        })
        .collect();
    scripts.sort();
    scripts
}
