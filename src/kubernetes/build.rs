//! How each Kubernetes minor is compiled: the build tags that fit it, and the version that is stamped into it.
//!
//! Stamps are values of the linker's `-X`. Upstream sets them in `hack/lib/version.sh` (`kube::version::ldflags`);
//! without them `kubelet --version` prints `v0.0.0-master+$Format:%H$`. The names here have no `vendor/` in them: where
//! a GOPATH tree needs it, the build puts it there.

use std::collections::BTreeMap;

use crate::base::{Epoch, Version};

/// The import path of the Kubernetes repository.
pub const IMPORT_PATH: &str = "k8s.io/kubernetes";

/// The file of a Kubernetes tree that [`archived_commit`] reads.
pub const VERSION_SCRIPT: &str = "hack/lib/version.sh";

/// The packages whose variables carry the version. The second lost its readers after 1.20; the linker ignores a stamp
/// for a package that is not linked.
const STAMPED: [&str; 2] = ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"];

/// The version stamps, so that `kubelet --version` prints `Kubernetes v<version>` and `kubeadm version` tells the rest.
///
/// The tree state is `archive`, upstream's word for sources without a git repository. `commit` is what
/// [`archived_commit`] found; without one it is `unknown`, as client-go's user agent says it (`rest/config.go`,
/// `adjustCommit`). The build date is the build's epoch, or two builds would differ.
pub fn stamps(version: &Version, epoch: Epoch, commit: Option<&str>) -> BTreeMap<String, String> {
    let values = [
        ("gitVersion", format!("v{version}")),
        ("gitCommit", commit.unwrap_or("unknown").to_owned()),
        ("gitTreeState", "archive".to_owned()),
        ("gitMajor", version.major().to_string()),
        ("gitMinor", version.minor().to_string()),
        ("buildDate", epoch.rfc3339()),
    ];
    let named =
        |package: &'static str| values.iter().map(move |(name, value)| (format!("{package}.{name}"), value.clone()));
    STAMPED.into_iter().flat_map(named).collect()
}

/// The commit that `git archive` wrote into [`VERSION_SCRIPT`] of a release's source archive, through the attribute
/// `export-subst`. A tree that was packed by other means still has `$Format:%H$` there, and no commit.
pub fn archived_commit(version_script: &str) -> Option<&str> {
    let line = version_script.lines().find_map(|line| line.trim().strip_prefix("KUBE_GIT_COMMIT='"))?;
    let commit = line.strip_suffix('\'')?;
    (commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(commit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_version_packages_are_stamped() {
        let epoch = Epoch::try_from(1_610_543_721).unwrap();
        let stamps = stamps(&Version::new(1, 20, 2), epoch, None);
        assert_eq!(stamps.len(), 12);
        for (name, value) in [
            ("k8s.io/component-base/version.gitVersion", "v1.20.2"),
            ("k8s.io/client-go/pkg/version.gitMinor", "20"),
            ("k8s.io/component-base/version.gitCommit", "unknown"),
            ("k8s.io/component-base/version.buildDate", "2021-01-13T13:15:21Z"),
        ] {
            assert_eq!(stamps[name], value, "{name}");
        }
    }

    #[test]
    fn a_commit_is_taken_only_where_git_archive_wrote_one() {
        let commit = "faecb196815e248d3ecfb03c680a4507229c2a56";
        let script = format!("  if true; then\n    KUBE_GIT_COMMIT='{commit}'\n    KUBE_GIT_TREE_STATE=\"archive\"\n");
        assert_eq!(archived_commit(&script), Some(commit));
        for other in ["", "KUBE_GIT_COMMIT='$Format:%H$'", "KUBE_GIT_COMMIT='faecb19'", "KUBE_GIT_COMMIT='"] {
            assert_eq!(archived_commit(other), None, "{other}");
        }
    }
}
