//! What can go wrong in a run: what was being done, and which step of it failed.

use super::packages::debian::DebianError;
use crate::{
    base::{digest::NotADigest, tree::InvalidPath},
    binaries::{
        ShrinkError,
        upx::{UnknownLevel, UpxError},
    },
    host::files::FileError,
    images::InvalidRefName,
    inputs::{
        apk::{
            install::InstallError,
            package::PackageError,
            repository::RepositoryError,
            resolver::{InvalidWorld, ResolveError},
            signature::InvalidKey,
        },
        archive::{ArchiveError, materialise::MaterialiseError, select::SelectError},
        deb::units::UnitError,
        fetch::{FetchError, Tried, Why},
        gosource::{build::GoError, toolchain::ToolchainError},
        store::StoreError,
    },
    matrix::ToolchainName,
    outputs::{StoredError, layout::LayoutError},
    rootfs::RootfsError,
};

/// A step that failed, and what it was part of.
#[derive(Debug, thiserror::Error)]
#[error("{}{step}", doing.as_ref().map(|doing| format!("{doing}: ")).unwrap_or_default())]
pub struct PipelineError {
    /// `None` where the step itself says what was being done.
    doing: Option<String>,
    #[source]
    step: Box<Step>,
}

#[derive(Debug, thiserror::Error)]
pub enum Step {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Digest(#[from] NotADigest),
    #[error("it is not pinned in matrix.lock: run `kletimg matrix lock`, or leave `--locked` out")]
    Unpinned,
    #[error(
        "{path} is not what matrix.lock pins: pin it anew with `kletimg matrix lock --update {name}`, or leave `--locked` \
         out"
    )]
    OtherFile { path: String, name: String },
    #[error(
        "{url} has no publisher's checksum file, and the lock does not pin it: write `checksum` beside its `url` in {at}, the \
         URL of a checksum file or the digest itself as `sha256:` and 64 hexadecimal digits"
    )]
    NoChecksum { url: String, at: String },
    #[error("reading the key of {at}: {source}")]
    Key { at: String, source: InvalidKey },
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    #[error(
        "the packages of a base are chosen from one state of its repositories, and {url} is no longer what matrix.lock \
         pins ({source}): choose all of them anew with `kletimg matrix lock --update {base}`"
    )]
    IndexMoved { base: String, url: String, source: FetchError },
    #[error(
        "no mirror has {file} any more ({places}), because newer packages have taken its place: choose all packages of {base} \
         anew with `kletimg matrix lock --update {base}`, or name a mirror that keeps old ones"
    )]
    Superseded { base: String, file: String, places: String },
    #[error(transparent)]
    Debian(#[from] DebianError),
    #[error(transparent)]
    World(#[from] InvalidWorld),
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    #[error(transparent)]
    Package(#[from] PackageError),
    #[error(transparent)]
    Install(#[from] InstallError),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Select(#[from] SelectError),
    #[error(transparent)]
    Materialise(#[from] MaterialiseError),
    #[error(
        "{name} is no archive, and the component has {files} files: give each its own component, or name an archive"
    )]
    NoArchive { name: String, files: usize },
    #[error("the build gave no {0}")]
    Missing(String),
    #[error(transparent)]
    Go(#[from] GoError),
    #[error(transparent)]
    Toolchain(#[from] ToolchainError),
    #[error(transparent)]
    Upx(#[from] UpxError),
    #[error(transparent)]
    Level(#[from] UnknownLevel),
    #[error(
        "matrix.lock pins {pinned}, on this machine is {found}, which makes other bytes: install {pinned}, declare it \
         under [toolchains.{name}], or run `kletimg matrix lock --update {name}`"
    )]
    OtherTool { name: ToolchainName, pinned: String, found: String },
    #[error("{file}: {source}")]
    Shrink { file: String, source: ShrinkError },
    #[error(transparent)]
    Path(#[from] InvalidPath),
    #[error(transparent)]
    Rootfs(#[from] RootfsError),
    #[error(transparent)]
    Stored(#[from] StoredError),
    #[error(transparent)]
    RefName(#[from] InvalidRefName),
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error(transparent)]
    Unit(#[from] UnitError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("its URL has no host and path that a folder could be named by")]
    NoPath,
    #[error("the work was stopped")]
    Stopped,
}

impl PipelineError {
    pub(super) fn new(doing: impl Into<String>, step: Step) -> Self {
        Self { doing: Some(doing.into()), step: Box::new(step) }
    }

    /// An index that the lock pins cannot be had.
    pub(super) fn index_moved(base: &str, url: &str, source: FetchError) -> Self {
        let (base, url) = (base.to_owned(), url.to_owned());
        Self::new("choosing packages", Step::IndexMoved { base, url, source })
    }

    pub const fn step(&self) -> &Step {
        &self.step
    }

    /// Which file could not be had, and why, where the reason has nothing to do with which file it is: a host that does not
    /// answer, a store that cannot be written.
    pub fn common(&self) -> Option<(&str, String)> {
        let Step::Fetch(error) = self.step.as_ref() else { return None };
        match error {
            FetchError::Offline { what, .. } => Some((what, "offline".to_owned())),
            FetchError::Failed { what, tried } => {
                let reason = |tried: &Tried| match &tried.why {
                    why @ (Why::Unreachable { .. } | Why::Tls { .. } | Why::NoCertificates) => Some(why.to_string()),
                    _ => None,
                };
                let reasons = tried.iter().map(reason).collect::<Option<Vec<_>>>()?;
                Some((what, reasons.join("\n")))
            }
            _ => None,
        }
    }
}

impl From<FetchError> for PipelineError {
    fn from(error: FetchError) -> Self {
        Self { doing: None, step: Box::new(error.into()) }
    }
}
