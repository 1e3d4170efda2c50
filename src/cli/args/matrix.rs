//! `kletimg matrix` as it is typed.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{
    Platforms,
    registry::{CaCertificates, Registries},
};
use crate::{
    base::{Platform, VersionRange, version::InvalidVersion},
    cli::output::Output,
    outputs::layout,
};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Matrix {
    /// Show what would be built, from which inputs, and what of it is there already
    #[command(after_help = "Examples:
  kletimg matrix plan
  kletimg matrix plan --kubernetes '>=1.34' --format json
  kletimg matrix plan --print | jq -r '.plan.tags[].tag'")]
    Plan(Plan),
    /// Build images into an OCI layout and print what they weigh
    #[command(after_help = "Examples:
  kletimg matrix build                               everything, into dist/
  kletimg matrix build --platform linux/amd64 --variant plain
  kletimg matrix build --locked --offline            only what is pinned and already here
  kletimg matrix build --push                        and publish it
  kletimg matrix build --kubernetes 1.26.0 --variant plain --load
  kletimg matrix build --variant cni -o type=docker,dest=cni.tar,platform=linux/arm64
  kletimg matrix build --mirror https://dl-cdn.alpinelinux.org/alpine=https://mirror.example/alpine
  skopeo copy oci:dist:v1.26.0-alpine3.22 docker://registry.example/kubelet:v1.26.0-alpine3.22")]
    Build(Build),
    /// Push the tags of a layout that was built before, with all their platforms
    #[command(after_help = "Examples:
  kletimg matrix push --dry-run                      what would move
  kletimg matrix push                                everything in dist/
  kletimg matrix push --kubernetes 1.26 --variant plain,cni
  kletimg matrix push --insecure-registry registry.lan:5000 --image-refs refs.txt

What a registry has already is not sent. A tag that exists with another digest is not moved (exit status 3) without
--overwrite; extra tags, which the matrix file gives by rule, are meant to move. Log in with `kletimg login`.")]
    Push(Push),
    /// Load the tags of a layout that was built before into the Docker Engine
    #[command(after_help = "Examples:
  kletimg matrix load
  kletimg matrix load --kubernetes 1.26.0 --variant plain
  DOCKER_HOST=tcp://127.0.0.1:2375 kletimg matrix load --platform linux/arm64")]
    Load(Load),
    /// Pin every input in matrix.lock
    #[command(after_help = "Examples:
  kletimg matrix lock                                pin what is not pinned yet
  kletimg matrix lock --update crictl                pin crictl anew
  kletimg matrix lock --update                       pin everything anew

Debian's archives are had as this machine's apt has them: its sources, keys, proxies and logins
are read from /etc/apt, or from the folder that KLETIMG_APT names.")]
    Lock(Lock),
    /// Bring every pinned input into the store, for a build without a network
    #[command(after_help = "Examples:
  kletimg matrix fetch && kletimg matrix build --locked --offline
  kletimg matrix fetch --to /media/usb/mirror                   packages and their signed indexes included
  kletimg matrix build --offline --mirror /media/usb/mirror     on another machine, later")]
    Fetch(Fetch),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Plan {
    #[command(flatten)]
    pub(in crate::cli) matrix: MatrixFile,
    #[arg(long, value_enum, default_value_t)]
    pub(in crate::cli) format: PlanFormat,
    /// Print the plan as JSON; the same as --format json
    #[arg(long, conflicts_with = "format")]
    pub(in crate::cli) print: bool,
    #[command(flatten)]
    pub(in crate::cli) filter: Filter,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum PlanFormat {
    #[default]
    Table,
    Json,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Build {
    #[command(flatten)]
    pub(in crate::cli) matrix: MatrixFile,
    /// Where the images go: type=oci|oci-archive|docker|tar|dir,dest=PATH[,platform=OS/ARCH] or type=registry (repeated)
    #[arg(short, long, default_value = "type=oci,dest=dist", value_name = "SPEC")]
    pub(in crate::cli) output: Vec<Output>,
    /// Fail instead of pinning an input that matrix.lock does not pin
    #[arg(long)]
    pub(in crate::cli) locked: bool,
    /// How much work to do at once [default: the number of cores]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(in crate::cli) jobs: Option<u16>,
    /// Print the plan as JSON and build nothing
    #[arg(long)]
    pub(in crate::cli) print: bool,
    #[command(flatten)]
    pub(in crate::cli) filter: Filter,
    #[command(flatten)]
    pub(in crate::cli) deliver: Deliver,
    #[command(flatten)]
    pub(in crate::cli) publish: Publish,
    #[command(flatten)]
    pub(in crate::cli) registries: Registries,
    #[command(flatten)]
    pub(in crate::cli) network: Network,
    #[command(flatten)]
    pub(in crate::cli) files: ResultFiles,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Push {
    #[command(flatten)]
    pub(in crate::cli) matrix: MatrixFile,
    /// The OCI layout that holds the tags
    #[arg(short = 'o', long, default_value = layout::DEFAULT_FOLDER, value_name = "DIR")]
    pub(in crate::cli) dest: PathBuf,
    /// Say what would move, and send nothing
    #[arg(long)]
    pub(in crate::cli) dry_run: bool,
    /// How many requests to make at once
    #[arg(short, long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(in crate::cli) jobs: u16,
    #[arg(long, value_enum, default_value_t)]
    pub(in crate::cli) format: ResultFormat,
    #[command(flatten)]
    pub(in crate::cli) filter: TagFilter,
    #[command(flatten)]
    pub(in crate::cli) publish: Publish,
    #[command(flatten)]
    pub(in crate::cli) registries: Registries,
    #[command(flatten)]
    pub(in crate::cli) ca: CaCertificates,
    #[command(flatten)]
    pub(in crate::cli) files: ResultFiles,
}

/// Where built tags go besides the outputs.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Publishing")]
pub(in crate::cli) struct Deliver {
    /// Push the tags when they are built; the same as -o type=registry beside the others
    #[arg(long)]
    pub(in crate::cli) push: bool,
    /// Load the tags into the Docker Engine when they are built, for its platform
    #[arg(long)]
    pub(in crate::cli) load: bool,
}

/// How tags are published.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Publishing")]
pub(in crate::cli) struct Publish {
    /// Move tags that exist with another digest
    #[arg(long)]
    pub(in crate::cli) overwrite: bool,
    /// Take blobs from this repository of the same registry, where it has them (repeated)
    #[arg(long, value_name = "REPOSITORY")]
    pub(in crate::cli) mount_from: Vec<crate::images::reference::Repository>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Load {
    #[command(flatten)]
    pub(in crate::cli) matrix: MatrixFile,
    /// The OCI layout that holds the tags
    #[arg(short = 'o', long, default_value = layout::DEFAULT_FOLDER, value_name = "DIR")]
    pub(in crate::cli) dest: PathBuf,
    /// The platform to load [default: that of the Engine's machine]
    #[arg(long, value_name = "OS/ARCH", value_parser = super::platform)]
    pub(in crate::cli) platform: Option<Platform>,
    #[arg(long, value_enum, default_value_t)]
    pub(in crate::cli) format: ResultFormat,
    #[command(flatten)]
    pub(in crate::cli) filter: TagFilter,
}

/// Files that say what came out.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Result files")]
pub(in crate::cli) struct ResultFiles {
    /// Write tags, digests, platforms and sizes to FILE, as JSON
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) metadata_file: Option<PathBuf>,
    /// Write every tag with its digest to FILE, one on a line
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) image_refs: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum ResultFormat {
    #[default]
    Text,
    Json,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Lock {
    #[command(flatten)]
    pub(in crate::cli) matrix: MatrixFile,
    /// Pin again what NAME is part of (a component, base, package, toolchain or URL); without NAME, everything. The
    /// packages of a base are chosen anew together
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "")]
    pub(in crate::cli) update: Option<String>,
    /// Check that matrix.lock pins everything, and change nothing
    #[arg(long, conflicts_with = "update")]
    pub(in crate::cli) locked: bool,
    #[command(flatten)]
    pub(in crate::cli) network: Network,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Fetch {
    #[command(flatten)]
    pub(in crate::cli) matrix: MatrixFile,
    /// Also write them into this folder, by host and path: a mirror that `--mirror DIR` builds from
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) to: Option<PathBuf>,
    /// Fail instead of pinning an input that matrix.lock does not pin
    #[arg(long)]
    pub(in crate::cli) locked: bool,
    #[command(flatten)]
    pub(in crate::cli) filter: Filter,
    #[command(flatten)]
    pub(in crate::cli) network: Network,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct MatrixFile {
    /// The matrix file
    #[arg(short, long, value_name = "FILE", default_value = "matrix.toml")]
    pub(in crate::cli) file: PathBuf,
}

impl MatrixFile {
    /// Whether nobody named another file.
    pub(in crate::cli) fn is_default(&self) -> bool {
        self.file == std::path::Path::new("matrix.toml")
    }
}

/// Which cells of a matrix.
#[derive(Debug, Default, Args)]
pub(in crate::cli) struct Filter {
    #[command(flatten)]
    pub(in crate::cli) tags: TagFilter,
    /// Only these platforms (comma or repeated; `native` is this machine's, `all` are all)
    #[arg(long, value_name = "OS/ARCH", value_delimiter = ',', help_heading = "Which cells")]
    pub(in crate::cli) platform: Vec<Platforms>,
}

/// Which tags of a matrix: all cells of one tag, whatever their platform.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Which cells")]
pub(in crate::cli) struct TagFilter {
    /// Only these Kubernetes versions: 1.26.0, 1.26, '>=1.25' or '>=1.25,<1.30' (comma or repeated)
    #[arg(long, value_name = "RANGE")]
    pub(in crate::cli) kubernetes: Vec<Versions>,
    /// Only these variants (comma or repeated)
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(in crate::cli) variant: Vec<String>,
    /// Only these bases (comma or repeated)
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(in crate::cli) base: Vec<String>,
}

/// Ranges of versions with commas between them. Bounds that follow each other are of one range: `>=1.25,<1.30,1.34` is
/// two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Versions(pub(in crate::cli) Vec<VersionRange>);

impl std::str::FromStr for Versions {
    type Err = InvalidVersion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_bound = |part: &str| part.trim_start().starts_with(['<', '>']);
        let mut ranges: Vec<String> = Vec::new();
        for part in text.split(',') {
            match ranges.last_mut() {
                Some(range) if is_bound(range) && is_bound(part) => {
                    range.push(',');
                    range.push_str(part);
                }
                _ => ranges.push(part.to_owned()),
            }
        }
        ranges.iter().map(|range| range.parse()).collect::<Result<_, _>>().map(Self)
    }
}

impl TagFilter {
    /// Nothing was narrowed.
    pub(in crate::cli) fn is_empty(&self) -> bool {
        self.kubernetes.is_empty() && self.variant.is_empty() && self.base.is_empty()
    }

    pub(in crate::cli) fn cells(&self) -> Filter {
        Filter { tags: self.clone(), platform: Vec::new() }
    }
}

#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Network")]
pub(in crate::cli) struct Network {
    /// Use no network: only what the store and local files hold
    #[arg(long)]
    pub(in crate::cli) offline: bool,
    /// Take URLs that begin with PREFIX from URL instead (http, https or file), or everything from a folder that `matrix
    /// fetch --to` wrote (repeated)
    #[arg(long, value_name = "PREFIX=URL|DIR")]
    pub(in crate::cli) mirror: Vec<String>,
    #[command(flatten)]
    pub(in crate::cli) ca: CaCertificates,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_part_versions_but_not_the_bounds_of_one_range() {
        let cases: [(&str, &[&str]); 5] = [
            ("1.26", &["1.26"]),
            ("1.26,1.25.5", &["1.26", "1.25.5"]),
            (">=1.25,<1.30", &[">=1.25,<1.30"]),
            (">=1.25, <1.30,1.34", &[">=1.25, <1.30", "1.34"]),
            ("1.20,>=1.34", &["1.20", ">=1.34"]),
        ];
        for (text, expected) in cases {
            let ranges: Vec<_> = text.parse::<Versions>().unwrap().0.iter().map(ToString::to_string).collect();
            assert_eq!(ranges, expected, "{text}");
        }
        assert!("1.26,".parse::<Versions>().is_err());
    }

    #[test]
    fn native_is_the_platform_of_this_machine() {
        assert_eq!("native".parse::<Platforms>().ok(), Platform::host().map(Platforms::Native));
        assert_eq!("all".parse(), Ok(Platforms::All));
        assert!("other".parse::<Platforms>().is_err());
    }
}
