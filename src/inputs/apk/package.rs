//! A package file: verified part by part, its data stored unpacked, its files listed as slices of that.
//!
//! The chain is apk's: the signed index names the SHA-1 of the control part (`C:`), the control part the SHA-256 of the
//! data part, the data part the SHA-1 of each file. A link is followed only when the one before has held, so no byte of
//! data is unpacked before its hash is known to be right. The package's own signature is checked beside that: one by a
//! known key must be good, one by an unknown key says nothing.

use std::io::{self, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

use super::{
    archive::{self, ArchiveEntry, ArchiveError},
    checksum::Checksum,
    container::{self, ContainerError},
    index::Package,
    pkginfo::{PackageInfo, PackageInfoError},
    resolver::Selected,
    scripts::Phase,
    signature::{Keyring, Verdict},
};
use crate::{
    base::{Blob, Content, Digest, digest::Hashing},
    inputs::store::{Store, StoreError},
};

/// A package whose every byte is what the index promised.
#[derive(Clone, Debug)]
pub struct VerifiedPackage {
    pub selected: Selected,
    pub info: PackageInfo,
    /// What the package would run, in the order of [`Phase`].
    pub scripts: Vec<(Phase, Vec<u8>)>,
    /// The files, in the archive's order.
    pub entries: Vec<ArchiveEntry>,
}

impl VerifiedPackage {
    pub fn package(&self) -> Package<'_> {
        self.selected.package()
    }

    /// `name-version`.
    pub fn title(&self) -> String {
        format!("{}-{}", self.package().name(), self.package().version())
    }
}

/// What is wrong with a package, and with which.
#[derive(Debug, thiserror::Error)]
#[error("reading the package {package}: {problem}")]
pub struct PackageError {
    /// `name-version`.
    pub package: String,
    pub problem: PackageProblem,
}

#[derive(Debug, thiserror::Error)]
pub enum PackageProblem {
    #[error(
        "it has {actual} bytes, the index says {expected}: the mirror has another package than its index; fetch both again"
    )]
    Size { expected: u64, actual: u64 },
    #[error(
        "its control part has the checksum {actual}, the index says {expected}: the package was altered, or the mirror \
         has another one than its index; fetch both again"
    )]
    Control { expected: Checksum, actual: Checksum },
    #[error(
        "its data part has the digest {actual}, its control part says {expected}: the package was altered or damaged; fetch it again"
    )]
    Data { expected: Digest, actual: Digest },
    #[error("its control part names no digest of the data (datahash): packages that cannot be verified are not used")]
    NoDataHash,
    #[error("its signature by {key} is not of these bytes: the package was altered or damaged; fetch it again")]
    WrongSignature { key: String },
    #[error("it says of itself that it is {actual}")]
    OtherPackage { actual: String },
    #[error("its control part has no .PKGINFO")]
    NoPackageInfo,
    #[error("its data part unpacks to more than {limit} bytes")]
    TooLarge { limit: u64 },
    #[error("unpacking its data part: {0}")]
    Unpack(#[source] io::Error),
    #[error(transparent)]
    Container(#[from] ContainerError),
    #[error(transparent)]
    PackageInfo(#[from] PackageInfoError),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Scripts and `.PKGINFO`: some kilobytes. The largest list of provided names in Alpine takes half a megabyte.
const MAX_CONTROL: u64 = 16 << 20;

/// More than any package of a distribution holds unpacked.
const MAX_DATA: u64 = 8 << 30;

/// Verifies the package file `blob`, stores its data part unpacked, and lists what it holds.
pub fn read_package(
    store: &Store,
    blob: &Blob,
    selected: &Selected,
    keys: &Keyring,
) -> Result<VerifiedPackage, PackageError> {
    let package = selected.package();
    read(store, blob, selected, keys)
        .map_err(|problem| PackageError { package: format!("{}-{}", package.name(), package.version()), problem })
}

fn read(store: &Store, blob: &Blob, selected: &Selected, keys: &Keyring) -> Result<VerifiedPackage, PackageProblem> {
    let package = selected.package();
    if blob.size != package.size() {
        return Err(PackageProblem::Size { expected: package.size(), actual: blob.size });
    }
    let (control, data) = control_part(store, blob, package, keys)?;
    let files = container::files(&control, CONTROL)?;
    let info = files.iter().find(|file| file.name == ".PKGINFO").ok_or(PackageProblem::NoPackageInfo)?;
    let info = PackageInfo::parse(info.bytes)?;
    if info.name != package.name() || info.version != package.version().as_str() {
        return Err(PackageProblem::OtherPackage { actual: format!("{}-{}", info.name, info.version) });
    }
    let mut scripts: Vec<_> = files
        .iter()
        .filter_map(|file| Some((Phase::from_name(file.name.strip_prefix('.')?)?, file.bytes.to_vec())))
        .collect();
    scripts.sort_by_key(|(phase, _)| *phase);
    let expected = info.data_hash.ok_or(PackageProblem::NoDataHash)?;
    let unpacked = data_part(store, data, &expected)?;
    let entries = archive::entries(BufReader::new(store.open(&unpacked.digest)?), &unpacked)?;
    let selected = selected.clone();
    // apk does not so much as open a package that takes no space.
    if package.installed_size() == 0 {
        return Ok(VerifiedPackage {
            selected,
            info: PackageInfo::default(),
            scripts: Vec::new(),
            entries: Vec::new(),
        });
    }
    Ok(VerifiedPackage { selected, info, scripts, entries })
}

const CONTROL: &str = "the control part";

/// The unpacked control part, and where the data part lies.
fn control_part(
    store: &Store,
    blob: &Blob,
    package: Package<'_>,
    keys: &Keyring,
) -> Result<(Vec<u8>, Content), PackageProblem> {
    let slice = |offset: u64, size: u64| Content { blob: blob.digest, offset, size };
    let from = |offset: u64| store.content(&slice(offset, blob.size.saturating_sub(offset))).map(BufReader::new);
    let (signatures, begin) = container::signatures(|offset| from(offset).map_err(io::Error::other))?;
    let (control, length) = container::member(from(begin)?, CONTROL, MAX_CONTROL)?;
    let mut compressed = Vec::new();
    store.content(&slice(begin, length))?.read_to_end(&mut compressed).map_err(PackageProblem::Unpack)?;
    let actual = Checksum::of(&compressed);
    if actual != package.checksum() {
        return Err(PackageProblem::Control { expected: package.checksum(), actual });
    }
    if let Verdict::Wrong { key } = keys.judge(&signatures, &compressed) {
        return Err(PackageProblem::WrongSignature { key });
    }
    let end = begin + length;
    Ok((control, slice(end, blob.size.saturating_sub(end))))
}

/// Hashes the compressed data part, and only then unpacks it into a blob of its own.
fn data_part(store: &Store, data: Content, expected: &Digest) -> Result<Blob, PackageProblem> {
    let mut hashing = Hashing::new(store.content(&data)?);
    io::copy(&mut hashing, &mut io::sink()).map_err(PackageProblem::Unpack)?;
    let (_, read) = hashing.finish();
    if read.digest != *expected {
        return Err(PackageProblem::Data { expected: *expected, actual: read.digest });
    }
    let mut writer = store.writer()?;
    let unpacked = MultiGzDecoder::new(BufReader::new(store.content(&data)?));
    let size = io::copy(&mut unpacked.take(MAX_DATA + 1), &mut writer).map_err(PackageProblem::Unpack)?;
    if size > MAX_DATA {
        return Err(PackageProblem::TooLarge { limit: MAX_DATA });
    }
    Ok(writer.finish()?)
}
