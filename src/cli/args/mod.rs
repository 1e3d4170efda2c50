//! The command line as it is typed. Parsing does nothing else.

mod image;
mod matrix;
mod registry;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    base::{Platform, platform::UnknownPlatform},
    outputs::layout,
};

pub(in crate::cli) use image::{Copy, Cost, Diff, Image, Ls, Reading, Run, Sizes, Verify};
pub(in crate::cli) use matrix::{
    Build, Fetch, Filter, Load, Lock, Matrix, MatrixFile, Network, Plan, PlanFormat, Publish, Push, ResultFiles,
    ResultFormat, TagFilter,
};
pub(in crate::cli) use registry::{CaCertificates, Login, Logout, Registries};

#[derive(Debug, Parser)]
#[command(
    name = "kletimg",
    version,
    about = "Builds small, reproducible, multi-arch containerized-kubelet images without a daemon, root or emulation",
    after_help = "Examples:
  kletimg matrix plan                                what would be built, and from what
  kletimg matrix build --platform linux/arm/v7       build for one platform into dist/
  kletimg matrix build --kubernetes 1.26 --variant plain,cni
  kletimg matrix push                                publish what was built
  kletimg image verify registry.example/kubelet:v1   prove an image, byte by byte
  kletimg size table --format markdown               the table for a README

Exit status: 0 done, 1 failed, 2 wrong usage or invalid files, 3 a check found something, 4 registry or credentials, 130
interrupted.

Environment: KLETIMG_STORE (as --store), SOURCE_DATE_EPOCH (the time in images), PATH (Go, zig, UPX, QEMU), HTTPS_PROXY,
HTTP_PROXY and NO_PROXY, SSL_CERT_FILE, DOCKER_HOST, DOCKER_CONFIG, REGISTRY_AUTH_FILE, KLETIMG_APT (the folder of the
machine's apt sources, /etc/apt), CI (no progress bars), NO_COLOR.",
    propagate_version = true,
    disable_help_subcommand = true
)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    pub(in crate::cli) global: Global,
    #[command(subcommand)]
    pub(in crate::cli) verb: Verb,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(in crate::cli) struct Global {
    /// The folder that keeps inputs and everything made from them [default: kletimg in the user's cache folder]
    #[arg(long, global = true, env = "KLETIMG_STORE", value_name = "DIR", hide_env_values = true)]
    pub(in crate::cli) store: Option<PathBuf>,
    /// How to show progress, on standard error
    #[arg(long, global = true, value_enum, default_value_t, value_name = "HOW")]
    pub(in crate::cli) progress: ProgressMode,
    /// Show only results, warnings and errors
    #[arg(short, long, global = true)]
    pub(in crate::cli) quiet: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum ProgressMode {
    /// Bars on a terminal, plain lines elsewhere
    #[default]
    Auto,
    /// One line when a piece of work ends, or has taken ten seconds
    Plain,
    /// One JSON object per line
    Json,
    None,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Verb {
    /// Plan, lock, fetch, build and publish a matrix of images
    #[command(subcommand)]
    Matrix(Matrix),
    /// Look into an image, prove it, compare it, copy it, run it
    #[command(subcommand)]
    Image(Image),
    /// Log in to a registry; the password is read from standard input
    #[command(after_help = "Examples:
  kletimg login registry.example -u me --password-stdin < password.txt
  pass show hub | kletimg login docker.io -u me --password-stdin

The login is checked, then kept where docker, podman and skopeo keep theirs: in the file that REGISTRY_AUTH_FILE names, or
in config.json in DOCKER_CONFIG or ~/.docker, with the credential helper that this file names for the registry, if any.")]
    Login(Login),
    /// Forget the login of a registry
    #[command(after_help = "Example:\n  kletimg logout registry.example")]
    Logout(Logout),
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

/// One platform by its name, or as `native` the one of this machine.
pub(in crate::cli) fn platform(text: &str) -> Result<Platform, UnknownPlatform> {
    if text == "native" {
        return Platform::host().ok_or_else(|| UnknownPlatform(format!("native ({})", std::env::consts::ARCH)));
    }
    text.parse()
}

/// One platform, or all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Platforms {
    All,
    /// That of this machine.
    Native(Platform),
    One(Platform),
}

impl std::str::FromStr for Platforms {
    type Err = UnknownPlatform;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "all" => Ok(Self::All),
            // Checked against the matrix in another way than its name is.
            "native" => platform(text).map(Self::Native),
            one => platform(one).map(Self::One),
        }
    }
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Size {
    /// Compressed and extracted size of every tag and platform of a layout
    #[command(after_help = "Examples:
  kletimg size table
  kletimg size table dist --format markdown >> README.md")]
    Table {
        /// The OCI layout
        #[arg(default_value = layout::DEFAULT_FOLDER)]
        layout: PathBuf,
        #[arg(long, value_enum, default_value_t)]
        format: TableFormat,
    },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum TableFormat {
    #[default]
    Terminal,
    Markdown,
    Json,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Cache {
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
