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
    #[error("{file} is the package {found}: its archive mixes up packages; take another mirror, or tell the archive")]
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
    if !is_named(file, &package) {
        let found = format!("{} {} {}", package.name, package.version, package.architecture);
        return Err(OpenError::OtherPackage { file: of(), found });
    }
    Ok(opened)
}

/// Whether a package is what the name of its file says, `NAME_VERSION_ARCHITECTURE.deb` with or without the epoch. Nobody
/// can change a package, whose digest the index has; but an archive's own mistake would end in an image that says it holds
/// what it does not. Publishers of single programs shorten versions in such names, and some use none of this form.
fn is_named(file: &str, package: &Package<'_>) -> bool {
    let parts: Vec<&str> = file.trim_end_matches(".deb").split('_').collect();
    let [name, version, architecture] = parts.as_slice() else { return true };
    let version = version.replace("%3a", ":").replace("%2b", "+").replace("%7e", "~");
    let own = package.version;
    let without_epoch = own.split_once(':').map_or(own, |(_, rest)| rest);
    *name == package.name
        && *architecture == package.architecture
        && (own.starts_with(&version) || without_epoch.starts_with(&version))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_the_package_that_its_name_says() {
        for (version, architecture, file, expected) in [
            ("1.0-1", "amd64", "a_1.0-1_amd64.deb", true),
            ("5:1.0-1", "amd64", "a_1.0-1_amd64.deb", true),
            ("5:1.0-1", "amd64", "a_5%3a1.0-1_amd64.deb", true),
            ("1.0-1699", "amd64", "a_1.0_amd64.deb", true),
            ("1.0-1", "amd64", "latest.deb", true),
            ("9", "all", "a_1_all.deb", false),
            ("1.0-1", "arm64", "a_1.0-1_amd64.deb", false),
            ("1.0-1", "amd64", "b_1.0-1_amd64.deb", false),
        ] {
            let text = format!("Package: a\nVersion: {version}\nArchitecture: {architecture}\n");
            let package = Package::parse(stanzas(&text).next().unwrap()).unwrap();
            assert_eq!(is_named(file, &package), expected, "{file}: {version} {architecture}");
        }
    }
}
