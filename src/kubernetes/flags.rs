//! Flags that the kubelet no longer knows. Given one, it exits at start.

use crate::base::{Version, VersionRange};

/// A flag and the first minor whose kubelet refuses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemovedFlag {
    /// Without the dashes.
    pub flag: &'static str,
    /// As `major.minor`.
    pub since: &'static str,
}

/// From the release notes of each minor ("Urgent Upgrade Notes" and "Deprecation" in CHANGELOG/CHANGELOG-1.x.md of
/// kubernetes/kubernetes) and cmd/kubelet/app/options.
const REMOVED: [RemovedFlag; 14] = [
    // 1.24 removed dockershim with all its flags (CHANGELOG-1.24, kubernetes/kubernetes#106907).
    RemovedFlag { flag: "network-plugin", since: "1.24" },
    RemovedFlag { flag: "cni-conf-dir", since: "1.24" },
    RemovedFlag { flag: "cni-bin-dir", since: "1.24" },
    RemovedFlag { flag: "cni-cache-dir", since: "1.24" },
    RemovedFlag { flag: "docker-endpoint", since: "1.24" },
    RemovedFlag { flag: "image-pull-progress-deadline", since: "1.24" },
    RemovedFlag { flag: "network-plugin-mtu", since: "1.24" },
    RemovedFlag { flag: "non-masquerade-cidr", since: "1.24" },
    RemovedFlag { flag: "container-runtime", since: "1.27" },
    RemovedFlag { flag: "keep-terminated-pod-volumes", since: "1.31" },
    RemovedFlag { flag: "iptables-masquerade-bit", since: "1.31" },
    RemovedFlag { flag: "iptables-drop-bit", since: "1.31" },
    RemovedFlag { flag: "register-schedulable", since: "1.34" },
    RemovedFlag { flag: "pod-infra-container-image", since: "1.35" },
];

/// The flag that `argument` gives (`--flag`, `--flag=value`, `-flag`), if the kubelet of this version no longer knows
/// it.
pub fn removed(argument: &str, kubernetes: &Version) -> Option<RemovedFlag> {
    let flag = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-'))?;
    let name = flag.split_once('=').map_or(flag, |(name, _)| name);
    REMOVED.into_iter().find(|removed| {
        let gone = format!(">={}", removed.since).parse::<VersionRange>();
        removed.flag == name && gone.is_ok_and(|range| range.contains(kubernetes))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_is_refused_from_the_minor_that_dropped_it() {
        let cases = [
            ("--network-plugin=cni", Version::new(1, 23, 17), false),
            ("--network-plugin=cni", Version::new(1, 24, 0), true),
            ("--network-plugin", Version::new(1, 36, 1), true),
            ("--container-runtime=remote", Version::new(1, 26, 15), false),
            ("--container-runtime=remote", Version::new(1, 27, 0), true),
            ("--container-runtime-endpoint=unix:///run/x", Version::new(1, 36, 1), false),
            ("--config=/x", Version::new(1, 36, 1), false),
            ("network-plugin", Version::new(1, 36, 1), false),
        ];
        for (argument, version, expected) in cases {
            assert_eq!(removed(argument, &version).is_some(), expected, "{argument} {version}");
        }
    }
}
