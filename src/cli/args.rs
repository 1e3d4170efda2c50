//! The command line as it is typed. Parsing does nothing else.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::base::{Platform, VersionRange};

#[derive(Debug, Parser)]
#[command(
    name = "kletimg",
    version,
    about = "Builds small, reproducible, multi-arch containerized-kubelet images without a daemon, root or emulation",
    after_help = "Examples:
  kletimg matrix plan                                what would be built, and from what
  kletimg matrix build --platform linux/arm/v7       build for one platform into dist/
  kletimg matrix build --kubernetes 1.26 --variant plain,cni
  kletimg size table --format markdown               the table for a README

Exit status: 0 done, 1 failed, 2 wrong usage or invalid files, 3 a check found something, 4 registry or credentials.",
    propagate_version = true,
    disable_help_subcommand = true
)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) verb: Verb,
}

#[derive(Debug, Args)]
pub(super) struct Global {
    /// The folder that keeps inputs and everything made from them [default: kletimg in the user's cache folder]
    #[arg(long, global = true, env = "KLETIMG_STORE", value_name = "DIR", hide_env_values = true)]
    pub(super) store: Option<PathBuf>,
    /// How to show progress, on standard error
    #[arg(long, global = true, value_enum, default_value_t, value_name = "HOW")]
    pub(super) progress: ProgressMode,
    /// Show only results and errors
    #[arg(short, long, global = true)]
    pub(super) quiet: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum ProgressMode {
    /// Bars on a terminal, plain lines elsewhere
    #[default]
    Auto,
    /// One line when a piece of work ends
    Plain,
    /// One JSON object per line
    Json,
    None,
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Plan, lock, fetch and build a matrix of images
    #[command(subcommand)]
    Matrix(Matrix),
    /// What tags cost to pull and to store
    #[command(subcommand)]
    Size(Size),
    /// The store of inputs and results
    #[command(subcommand)]
    Cache(Cache),
    /// Print a completion script
    #[command(after_help = "Example:\n  kletimg completion bash > /etc/bash_completion.d/kletimg")]
    Completion { shell: clap_complete::Shell },
}

#[derive(Debug, Subcommand)]
pub(super) enum Matrix {
    /// Show what would be built, from which inputs, and what of it is there already
    #[command(after_help = "Examples:
  kletimg matrix plan
  kletimg matrix plan --kubernetes '>=1.34' --format json
  kletimg matrix plan --print | jq '.tags[].tag'")]
    Plan(Plan),
    /// Build images into an OCI layout and print what they weigh
    #[command(after_help = "Examples:
  kletimg matrix build                               everything, into dist/
  kletimg matrix build --platform linux/amd64 --variant plain
  kletimg matrix build --locked --offline            only what is pinned and already here
  kletimg matrix build --mirror https://dl-cdn.alpinelinux.org/alpine=https://mirror.example/alpine
  skopeo copy oci:dist:v1.26.0-alpine3.22 docker://registry.example/kubelet:v1.26.0-alpine3.22")]
    Build(Build),
    /// Pin every input in matrix.lock
    #[command(after_help = "Examples:
  kletimg matrix lock                                pin what is not pinned yet
  kletimg matrix lock --update crictl                pin crictl anew
  kletimg matrix lock --update                       pin everything anew")]
    Lock(Lock),
    /// Bring every pinned input into the store, for a build without a network
    #[command(after_help = "Examples:
  kletimg matrix fetch && kletimg matrix build --locked --offline
  kletimg matrix fetch --to /media/usb/mirror                   packages and their signed indexes included
  kletimg matrix build --offline --mirror /media/usb/mirror     on another machine, later")]
    Fetch(Fetch),
}

#[derive(Debug, Args)]
pub(super) struct Plan {
    #[command(flatten)]
    pub(super) matrix: MatrixFile,
    #[command(flatten)]
    pub(super) filter: Filter,
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: PlanFormat,
    /// Print the plan as JSON; the same as --format json
    #[arg(long, conflicts_with = "format")]
    pub(super) print: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum PlanFormat {
    #[default]
    Table,
    Json,
}

#[derive(Debug, Args)]
pub(super) struct Build {
    #[command(flatten)]
    pub(super) matrix: MatrixFile,
    #[command(flatten)]
    pub(super) filter: Filter,
    #[command(flatten)]
    pub(super) network: Network,
    /// Where the images go: type=oci,dest=DIR
    #[arg(short, long, default_value = "type=oci,dest=dist", value_name = "SPEC")]
    pub(super) output: super::output::Output,
    /// Fail instead of pinning an input that matrix.lock does not pin
    #[arg(long)]
    pub(super) locked: bool,
    /// How much work to do at once [default: the number of cores]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) jobs: Option<u16>,
    /// Print the plan as JSON and build nothing
    #[arg(long)]
    pub(super) print: bool,
}

#[derive(Debug, Args)]
pub(super) struct Lock {
    #[command(flatten)]
    pub(super) matrix: MatrixFile,
    #[command(flatten)]
    pub(super) network: Network,
    /// Pin again what NAME is part of (a component, base, package, toolchain or URL); without NAME, everything. The
    /// packages of a base are chosen anew together
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "")]
    pub(super) update: Option<String>,
    /// Check that matrix.lock pins everything, and change nothing
    #[arg(long, conflicts_with = "update")]
    pub(super) locked: bool,
}

#[derive(Debug, Args)]
pub(super) struct Fetch {
    #[command(flatten)]
    pub(super) matrix: MatrixFile,
    #[command(flatten)]
    pub(super) filter: Filter,
    #[command(flatten)]
    pub(super) network: Network,
    /// Also write them into this folder, by host and path: a mirror that `--mirror DIR` builds from
    #[arg(long, value_name = "DIR")]
    pub(super) to: Option<PathBuf>,
    /// Fail instead of pinning an input that matrix.lock does not pin
    #[arg(long)]
    pub(super) locked: bool,
}

#[derive(Debug, Args)]
pub(super) struct MatrixFile {
    /// The matrix file
    #[arg(short, long, value_name = "FILE", default_value = "matrix.toml")]
    pub(super) file: PathBuf,
}

#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Which cells")]
pub(super) struct Filter {
    /// Only these Kubernetes versions: 1.26.0, 1.26 or '>=1.25' (comma or repeated)
    #[arg(long, value_name = "RANGE")]
    pub(super) kubernetes: Vec<VersionRange>,
    /// Only these variants (comma or repeated)
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(super) variant: Vec<String>,
    /// Only these platforms (comma or repeated, `all`)
    #[arg(long, value_name = "OS/ARCH", value_delimiter = ',')]
    pub(super) platform: Vec<Platforms>,
    /// Only these bases (comma or repeated)
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(super) base: Vec<String>,
}

/// One platform, or all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Platforms {
    All,
    One(Platform),
}

impl std::str::FromStr for Platforms {
    type Err = crate::base::platform::UnknownPlatform;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "all" { Ok(Self::All) } else { text.parse().map(Self::One) }
    }
}

#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Network")]
pub(super) struct Network {
    /// Use no network: only what the store and local files hold
    #[arg(long)]
    pub(super) offline: bool,
    /// Take URLs that begin with PREFIX from URL instead (http, https or file), or everything from a folder that `matrix
    /// fetch --to` wrote (repeated)
    #[arg(long, value_name = "PREFIX=URL|DIR")]
    pub(super) mirror: Vec<String>,
    /// Trust this certificate authority too (PEM; repeated)
    #[arg(long, value_name = "FILE")]
    pub(super) ca_cert: Vec<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Size {
    /// Compressed and extracted size of every tag and platform of a layout
    #[command(after_help = "Examples:
  kletimg size table
  kletimg size table dist --format markdown >> README.md")]
    Table {
        /// The OCI layout
        #[arg(default_value = "dist")]
        layout: PathBuf,
        #[arg(long, value_enum, default_value_t)]
        format: TableFormat,
    },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum TableFormat {
    #[default]
    Terminal,
    Markdown,
    Json,
}

#[derive(Debug, Subcommand)]
pub(super) enum Cache {
    /// What the store holds
    Info,
    /// Remove what builds can make or download again
    #[command(after_help = "Example:\n  kletimg cache prune --all")]
    Prune {
        /// Also the compilers' caches and every input
        #[arg(long)]
        all: bool,
    },
    /// Read every blob and remove those whose bytes do not have their digest; exit 3 if there was one
    Verify,
}
