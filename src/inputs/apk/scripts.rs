//! What packages would run when they are installed. kletimg runs nothing; it does what is known to be needed itself, and
//! names the rest.

use std::fmt;

/// When a script runs, in the order of apk's database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    PreInstall,
    PostInstall,
    PreDeinstall,
    PostDeinstall,
    PreUpgrade,
    PostUpgrade,
    Trigger,
}

impl Phase {
    const ALL: [Self; 7] = [
        Self::PreInstall,
        Self::PostInstall,
        Self::PreDeinstall,
        Self::PostDeinstall,
        Self::PreUpgrade,
        Self::PostUpgrade,
        Self::Trigger,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::PreInstall => "pre-install",
            Self::PostInstall => "post-install",
            Self::PreDeinstall => "pre-deinstall",
            Self::PostDeinstall => "post-deinstall",
            Self::PreUpgrade => "pre-upgrade",
            Self::PostUpgrade => "post-upgrade",
            Self::Trigger => "trigger",
        }
    }

    /// Reads `post-install` and the like.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.name() == name)
    }

    /// Whether the script would run when a package is installed into an empty root.
    pub const fn is_of_installation(self) -> bool {
        matches!(self, Self::PreInstall | Self::PostInstall | Self::Trigger)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A script that `apk add` would have run and that nothing was done for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UndeclaredScript {
    /// `name-version`.
    pub package: String,
    /// The name alone, as base definitions declare it.
    pub name: String,
    pub phase: Phase,
}

impl fmt::Display for UndeclaredScript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} script of {} is not run", self.phase, self.package)
    }
}

/// Whether a trigger's pattern takes in a folder, both from the root with a leading slash. `*` and `?` stop at slashes.
pub(super) fn pattern_matches(pattern: &str, folder: &str) -> bool {
    let (mut patterns, mut parts) = (pattern.split('/'), folder.split('/'));
    loop {
        match (patterns.next(), parts.next()) {
            (None, None) => return true,
            (Some(pattern), Some(part)) if part_matches(pattern.as_bytes(), part.as_bytes()) => {}
            _ => return false,
        }
    }
}

/// Greedy matching that returns only to the last star, so that its time is bounded by the product of the lengths.
fn part_matches(pattern: &[u8], part: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < part.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == b'?' || *c == part[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((star_p, star_t)) = star else { return false };
                star = Some((star_p, star_t + 1));
                p = star_p + 1;
                t = star_t + 1;
            }
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_take_in_folders_as_fnmatch_does() {
        let cases = [
            ("/bin", "/bin", true),
            ("/bin", "/sbin", false),
            ("/lib/modules/*", "/lib/modules/6.1", true),
            ("/lib/modules/*", "/lib/modules", false),
            ("/lib/modules/*", "/lib/modules/6.1/kernel", false),
            ("/usr/lib/python3*/site-?ackages", "/usr/lib/python3.11/site-packages", true),
            ("/usr/*b*c", "/usr/abbcabc", true),
            ("/usr/*b*c", "/usr/abbcab", false),
        ];
        for (pattern, folder, expected) in cases {
            assert_eq!(pattern_matches(pattern, folder), expected, "{pattern} {folder}");
        }
    }
}
