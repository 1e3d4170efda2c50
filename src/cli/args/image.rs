//! `kletimg image` as it is typed.

use clap::{Args, Subcommand, ValueEnum};

use super::{
    matrix::ResultFormat,
    registry::{CaCertificates, Registries},
};
use crate::base::Platform;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Image {
    /// The files of an image, the largest first, or what its layers and components weigh
    #[command(after_help = "Examples:
  kletimg image ls dist:v1.26.0-alpine3.22
  kletimg image ls dist:v1.26.0-alpine3.22 --platform linux/arm/v7 --by component
  kletimg image ls docker.io/library/alpine:3.22 --by layer --format json")]
    Ls(Ls),
    /// Verify images byte by byte: recompute every digest and size, and check documents and files against each other
    #[command(after_help = "Examples:
  kletimg image verify dist                          every tag of a layout
  kletimg image verify registry.example/kubelet:v1.26.0-alpine3.22
  kletimg image verify oci-archive:kubelet.tar --format json

Exit status 3 if anything is wrong; every finding has a stable code.")]
    Verify(Verify),
    /// Compare two images: files and bytes added, removed and changed, by layer and component
    #[command(after_help = "Examples:
  kletimg image diff dist:v1.26.0-alpine3.22 dist:v1.26.1-alpine3.22
  kletimg image diff registry.example/kubelet:v1 dist:v1.26.0-alpine3.22 --platform linux/arm64")]
    Diff(Diff),
    /// Copy an image with all its platforms and unchanged digests
    #[command(after_help = "Examples:
  kletimg image copy dist:v1.26.0-alpine3.22 registry.example/kubelet:v1.26.0
  kletimg image copy registry.example/kubelet:v1.26.0 mirror.example/kubelet:v1.26.0
  kletimg image copy dist oci-archive:all.tar
  kletimg image copy dist:v1.26.0-alpine3.22 docker-archive:kubelet.tar --platform linux/arm64
  kletimg image copy registry.example/kubelet:v1.26.0 oci:there:v1.26.0")]
    Copy(Copy),
    /// Run an image in the Docker Engine and check that every Kubernetes program in it prints its version
    #[command(after_help = "Examples:
  kletimg image run dist:v1.26.0-alpine3.22
  kletimg image run registry.example/kubelet:v1.26.0 --platform linux/arm64

Platforms other than the Engine's own run where binfmt_misc or a static user-mode QEMU is
installed, and are reported as not run elsewhere. Exit status 3 if a program fails or prints
another version.")]
    Run(Run),
    /// The bytes that a device with OLD must fetch for IMAGE, by platform
    #[command(after_help = "Example:
  kletimg image cost dist:v1.26.1-alpine3.22 --from dist:v1.26.0-alpine3.22")]
    Cost(Cost),
}

/// Everything that reads images from registries.
#[derive(Debug, Args)]
#[command(next_help_heading = "Registries")]
pub(in crate::cli) struct Reading {
    #[command(flatten)]
    pub(in crate::cli) registries: Registries,
    /// Look for images of REGISTRY at HOST first, as in docker.io=mirror.lan:5000/hub (repeated)
    #[arg(long, value_name = "REGISTRY=HOST")]
    pub(in crate::cli) registry_mirror: Vec<String>,
    #[command(flatten)]
    pub(in crate::cli) ca: CaCertificates,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Ls {
    /// A layout with a tag (dist:TAG), oci-archive:FILE, docker-archive:FILE, or a reference to a registry
    pub(in crate::cli) image: String,
    /// Which platform [default: that of this machine, or the only one]
    #[arg(long, value_name = "OS/ARCH", value_parser = super::platform)]
    pub(in crate::cli) platform: Option<Platform>,
    /// What to list
    #[arg(long, value_enum, default_value_t)]
    pub(in crate::cli) by: Sizes,
    #[arg(long, value_enum, default_value_t)]
    pub(in crate::cli) format: ResultFormat,
    #[command(flatten)]
    pub(in crate::cli) reading: Reading,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Sizes {
    /// Every file
    #[default]
    File,
    /// Layers, with what they weigh compressed
    Layer,
    /// Components, as the layers are called
    Component,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Verify {
    /// Layouts, archives or references to registries; all images of a layout or archive that is given without a tag
    #[arg(required = true, value_name = "IMAGE")]
    pub(in crate::cli) images: Vec<String>,
    #[arg(long, value_enum, default_value_t)]
    pub(in crate::cli) format: ResultFormat,
    #[command(flatten)]
    pub(in crate::cli) reading: Reading,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Diff {
    /// The older image
    pub(in crate::cli) a: String,
    /// The newer image
    pub(in crate::cli) b: String,
    /// Which platform [default: that of this machine, or the only one]
    #[arg(long, value_name = "OS/ARCH", value_parser = super::platform)]
    pub(in crate::cli) platform: Option<Platform>,
    #[arg(long, value_enum, default_value_t)]
    pub(in crate::cli) format: ResultFormat,
    #[command(flatten)]
    pub(in crate::cli) reading: Reading,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Copy {
    /// Where the image is
    pub(in crate::cli) from: String,
    /// Where it goes
    pub(in crate::cli) to: String,
    /// Which platform an archive for Docker holds [default: that of this machine]
    #[arg(long, value_name = "OS/ARCH", value_parser = super::platform)]
    pub(in crate::cli) platform: Option<Platform>,
    /// Move a tag of a registry that exists with another digest; names in layouts move, and archives are replaced, without it
    #[arg(long)]
    pub(in crate::cli) overwrite: bool,
    #[command(flatten)]
    pub(in crate::cli) reading: Reading,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Run {
    /// A layout with a tag, an archive, or a reference to a registry
    pub(in crate::cli) image: String,
    /// Only these platforms (comma or repeated) [default: all of the image]
    #[arg(long, value_name = "OS/ARCH", value_delimiter = ',', value_parser = super::platform)]
    pub(in crate::cli) platform: Vec<Platform>,
    #[arg(long, value_enum, default_value_t)]
    pub(in crate::cli) format: ResultFormat,
    #[command(flatten)]
    pub(in crate::cli) reading: Reading,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Cost {
    /// The image to be fetched
    pub(in crate::cli) image: String,
    /// The image that is on the device
    #[arg(long, value_name = "OLD")]
    pub(in crate::cli) from: String,
    #[arg(long, value_enum, default_value_t)]
    pub(in crate::cli) format: ResultFormat,
    #[command(flatten)]
    pub(in crate::cli) reading: Reading,
}
