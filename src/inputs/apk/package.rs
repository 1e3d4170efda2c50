//! A package file: verified part by part, its data stored unpacked, its files listed as slices of that.
//!
//! The chain is apk's: the signed index names the SHA-1 of the control part (`C:`), the control part the SHA-256 of the
//! data part, the data part the SHA-1 of each file. A link is followed only when the one before has held, so no byte of
//! data is unpacked before its hash is known to be right. The package's own signature is checked beside that: one by a
//! known key must be good, one by an unknown key says nothing.
//!
//! The index is at hand when the lock is made ([`verify_package`]). From then on the lock pins the whole file by its
//! SHA-256, which is the stronger link, and the index may be gone: [`open_package`] reads such a file, and makes the
//! record that the index had from the package itself.

use std::io::{self, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

use super::{
    archive::{self, ArchiveEntry, ArchiveError},
    checksum::Checksum,
    container::{self, ContainerError},
    index::{IndexError, OwnedPackage, Package},
    pkginfo::{PackageInfo, PackageInfoError},
    resolver::Selected,
    restored,
    scripts::Phase,
    signature::{Keyring, Signature, Verdict},
};
use crate::{
    base::{Blob, Content, Digest, digest::Hashing},
    inputs::store::{Store, StoreError},
};

/// A package whose every byte is what the index, or the lock, promised.
#[derive(Clone, Debug)]
pub struct VerifiedPackage {
    package: OwnedPackage,
    /// The repository tag that it was pinned with.
    pub tag: Option<String>,
    pub info: PackageInfo,
    /// What the package would run, in the order of [`Phase`].
    pub scripts: Vec<(Phase, Vec<u8>)>,
    /// The files, in the archive's order.
    pub entries: Vec<ArchiveEntry>,
}

impl VerifiedPackage {
    pub fn package(&self) -> Package<'_> {
        self.package.as_package()
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
    /// `name-version`, or the file's digest where that is not known yet.
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
    #[error("its .PKGINFO does not make the record of an index: {0}")]
    Record(#[from] IndexError),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Scripts and `.PKGINFO`: some kilobytes. The largest list of provided names in Alpine takes half a megabyte.
const MAX_CONTROL: u64 = 16 << 20;

/// More than any package of a distribution holds unpacked.
const MAX_DATA: u64 = 8 << 30;

/// Verifies the package file `blob` against its record in the signed index, stores its data part unpacked, and lists what
/// it holds.
pub fn verify_package(
    store: &Store,
    blob: &Blob,
    selected: &Selected,
    keys: &Keyring,
) -> Result<VerifiedPackage, PackageError> {
    let package = selected.package();
    let read = || {
        if blob.size != package.size() {
            return Err(PackageProblem::Size { expected: package.size(), actual: blob.size });
        }
        let control = Control::read(store, blob)?;
        if control.checksum() != package.checksum() {
            return Err(PackageProblem::Control { expected: package.checksum(), actual: control.checksum() });
        }
        control.judge(keys)?;
        control.open(store, package.to_owned(), selected.tag.clone())
    };
    read().map_err(|problem| PackageError { package: format!("{}-{}", package.name(), package.version()), problem })
}

/// Whether a package file is the one that the index names, by the checksum of its control part. Nothing else of it is
/// looked at.
pub fn is_of_index(store: &Store, blob: &Blob, selected: &Selected) -> bool {
    Control::read(store, blob).is_ok_and(|control| control.checksum() == selected.package().checksum())
}

/// Reads the package file `blob`, whose digest the lock pins. `tag` is the repository tag that it was pinned with.
///
/// What comes out is what [`verify_package`] gave when the lock was made.
pub fn open_package(
    store: &Store,
    blob: &Blob,
    tag: Option<&str>,
    keys: &Keyring,
) -> Result<VerifiedPackage, PackageError> {
    let read = || {
        let control = Control::read(store, blob)?;
        control.judge(keys)?;
        let package = restored::record(control.info()?, control.checksum(), blob.size)?;
        control.open(store, package, tag.map(str::to_owned))
    };
    read().map_err(|problem| PackageError { package: blob.digest.to_string(), problem })
}

const CONTROL: &str = "the control part";

/// The first parts of a package file: signatures and control part, and where the data part lies.
struct Control {
    signatures: Vec<Signature>,
    compressed: Vec<u8>,
    unpacked: Vec<u8>,
    data: Content,
}

impl Control {
    fn read(store: &Store, blob: &Blob) -> Result<Self, PackageProblem> {
        let slice = |offset: u64, size: u64| Content { blob: blob.digest, offset, size };
        let from = |offset: u64| store.content(&slice(offset, blob.size.saturating_sub(offset))).map(BufReader::new);
        let (signatures, begin) = container::signatures(|offset| from(offset).map_err(io::Error::other))?;
        let (unpacked, length) = container::member(from(begin)?, CONTROL, MAX_CONTROL)?;
        // Gzip can take any number of bytes to say nothing.
        if length > MAX_CONTROL {
            return Err(ContainerError::TooLarge { what: CONTROL, limit: MAX_CONTROL }.into());
        }
        let mut compressed = Vec::new();
        store.content(&slice(begin, length))?.read_to_end(&mut compressed).map_err(PackageProblem::Unpack)?;
        let end = begin + length;
        Ok(Self { signatures, compressed, unpacked, data: slice(end, blob.size.saturating_sub(end)) })
    }

    /// What the index calls the package by.
    fn checksum(&self) -> Checksum {
        Checksum::of(&self.compressed)
    }

    fn judge(&self, keys: &Keyring) -> Result<(), PackageProblem> {
        match keys.judge(&self.signatures, &self.compressed) {
            Verdict::Wrong { key } => Err(PackageProblem::WrongSignature { key }),
            Verdict::Good { .. } | Verdict::Unknown { .. } | Verdict::Unsigned => Ok(()),
        }
    }

    /// The bytes of `.PKGINFO`.
    fn info(&self) -> Result<&[u8], PackageProblem> {
        let files = container::files(&self.unpacked, CONTROL)?;
        let info = files.into_iter().find(|file| file.name == ".PKGINFO");
        info.map(|file| file.bytes).ok_or(PackageProblem::NoPackageInfo)
    }

    fn scripts(&self) -> Result<Vec<(Phase, Vec<u8>)>, PackageProblem> {
        let files = container::files(&self.unpacked, CONTROL)?;
        let script =
            |file: container::Member<'_>| Some((Phase::from_name(file.name.strip_prefix('.')?)?, file.bytes.to_vec()));
        let mut scripts: Vec<_> = files.into_iter().filter_map(script).collect();
        scripts.sort_by_key(|(phase, _)| *phase);
        Ok(scripts)
    }

    /// Follows the chain from the control part on.
    fn open(
        &self,
        store: &Store,
        package: OwnedPackage,
        tag: Option<String>,
    ) -> Result<VerifiedPackage, PackageProblem> {
        let info = PackageInfo::parse(self.info()?)?;
        let record = package.as_package();
        if info.name != record.name() || info.version != record.version().as_str() {
            return Err(PackageProblem::OtherPackage { actual: format!("{}-{}", info.name, info.version) });
        }
        let expected = info.data_hash.ok_or(PackageProblem::NoDataHash)?;
        let unpacked = data_part(store, self.data, &expected)?;
        let entries = archive::entries(BufReader::new(store.open(&unpacked.digest)?), &unpacked)?;
        // apk does not so much as open a package that takes no space.
        if record.installed_size() == 0 {
            let (info, scripts, entries) = (PackageInfo::default(), Vec::new(), Vec::new());
            return Ok(VerifiedPackage { package, tag, info, scripts, entries });
        }
        Ok(VerifiedPackage { package, tag, info, scripts: self.scripts()?, entries })
    }
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
