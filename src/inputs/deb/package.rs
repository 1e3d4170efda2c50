//! One package's file, opened: its control part and the tree of its data.
//!
//! The file has the digest of a lock, which has it from a signed index. Which package it is, it says itself; the name
//! of its file, by which locks and messages call it, must not say another.

use super::{
    control::{Control, ControlError},
    packages::{Package, PackageError},
    rootfs::Unpacked,
    stanza::stanzas,
};
use crate::{
    base::{Blob, Tree},
    inputs::{
        archive::{self, ArchiveError, Devices, Format, Limits},
        store::{Store, StoreError},
    },
};

/// A package's file.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The paragraph that describes the package.
    description: String,
    pub control: Control,
    pub data: Tree,
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{file}: {source}")]
    Control { file: String, source: ControlError },
    #[error("{file}: {source}")]
    Package { file: String, source: PackageError },
    #[error("{file} is the package {found}: its archive mixes up packages")]
    OtherPackage { file: String, found: String },
    #[error("{file}: {source}")]
    Data { file: String, source: ArchiveError },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Opens a package; `file` is its file's name, such as `mount_2.38.1-5_amd64.deb`.
pub fn open(store: &Store, blob: &Blob, file: &str) -> Result<Opened, OpenError> {
    let of = || file.to_owned();
    let control =
        Control::read(store.open(&blob.digest)?).map_err(|source| OpenError::Control { file: of(), source })?;
    let description = control.text("control").unwrap_or_default();
    let limits = Limits { devices: Devices::Refuse, ..Limits::default() };
    let data =
        archive::unpack(store, blob, Format::Deb, &limits).map_err(|source| OpenError::Data { file: of(), source })?;
    let opened = Opened { description, control, data };
    let package = opened.package(file)?;
    match file.split_once('_') {
        Some((name, _)) if name != package.name => {
            Err(OpenError::OtherPackage { file: of(), found: package.name.to_owned() })
        }
        _ => Ok(opened),
    }
}

impl Opened {
    /// What the package says of itself.
    pub fn package(&self, file: &str) -> Result<Package<'_>, OpenError> {
        let of = || file.to_owned();
        let lacks = || PackageError::Lacks { package: of(), field: "Package" };
        let stanza = stanzas(&self.description).next();
        let stanza = stanza.ok_or_else(|| OpenError::Package { file: of(), source: lacks() })?;
        Package::parse(stanza).map_err(|source| OpenError::Package { file: of(), source })
    }

    /// As root file systems are made of it.
    pub const fn unpacked<'a>(&'a self, package: &'a Package<'a>) -> Unpacked<'a> {
        Unpacked { package, control: &self.control, data: &self.data }
    }
}
