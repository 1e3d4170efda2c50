//! Packing a program so that it unpacks itself when it is started. This is the only place that runs UPX.
//!
//! Packing is worth a third of the transferred bytes and costs half a second at each start, so it is for programs that
//! are run now and then; that daemons are not packed is the matrix's rule, not this module's. Some programs pack without
//! an error and then crash. Those that are known by their headers are skipped here, with the reason; the others are what
//! [`super::prove`] is for.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    elf::{self, ElfError, Inspection, Kind},
    upx::{Level, Upx},
};
use crate::{
    base::{Blob, Platform, size::Bytes},
    host::{
        files::{self, File, FileError},
        process::{self, ProcessError},
    },
    inputs::store::{ActionKey, Store, StoreError},
};

/// Raised whenever a packed file would come out different.
const FORMAT: u32 = 1;

/// Files below this size are not worth half a second at each start.
const SMALLEST: u64 = 64 << 10;

/// `--best` takes 10 minutes for 60 MB on a slow machine; what takes longer than this does not end.
const TIME_LIMIT: Duration = Duration::from_secs(45 * 60);

/// The version that packs what others break.
const SOUND_VERSION: &str = "4.2.4";

/// UPX's exit code for a warning: it left the file as it is.
const LEFT_AS_IT_IS: i32 = 2;

/// How packing ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Packing {
    Packed { blob: Blob },
    Skipped { reason: Unpackable },
}

/// Why a program is not packed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Unpackable {
    #[error("it is a script")]
    Script,
    #[error("it is a shared library")]
    SharedObject,
    #[error("it is a position-independent Go program, which UPX packs into one that crashes")]
    PositionIndependentGo,
    #[error("it is packed already")]
    AlreadyPacked,
    #[error(
        "its executable segment fills whole pages, which UPX {version} packs into a program that crashes: use UPX 4.2.4"
    )]
    ArmWholePages { version: String },
    #[error("its {} are too few to be worth it", Bytes(*size))]
    TooSmall { size: u64 },
    #[error("it would become no smaller")]
    NotSmaller,
    #[error("UPX leaves it as it is: {message}")]
    Refused { message: String },
}

#[derive(Debug, thiserror::Error)]
pub enum PackError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("packing with UPX: {0}")]
    Run(#[from] ProcessError),
    #[error("packing with UPX {version}: it ended with {ended}:\n{output}\nset `pack = false` for this component")]
    Failed { version: String, ended: String, output: String },
    #[error("reading what UPX {version} has packed: {source}; set `pack = false` for this component")]
    Unreadable { version: String, source: ElfError },
    #[error(
        "UPX {version} made something else than a packed program for {platform}: set `pack = false` for this component"
    )]
    Unexpected { version: String, platform: Platform },
}

/// Packs a stored program, once: the result is recorded under the digests of the program and of UPX, and the level.
/// `inspection` is that of the program.
pub fn pack(
    store: &Store,
    upx: &Upx,
    blob: &Blob,
    inspection: &Inspection,
    level: Level,
) -> Result<Packing, PackError> {
    if let Some(reason) = unpackable(inspection, upx) {
        return Ok(Packing::Skipped { reason });
    }
    let key = ActionKey::new("pack", FORMAT)
        .field("input", blob.digest)
        .field("upx version", &upx.version)
        .field("upx", upx.digest)
        .field("level", level);
    let _lock = store.lock(&key)?;
    let is_there = |packing: &Packing| match packing {
        Packing::Packed { blob } => store.has(blob),
        Packing::Skipped { .. } => true,
    };
    if let Some(packing) = store.recorded::<Packing>(&key).filter(is_there) {
        return Ok(packing);
    }
    let packing = run(store, upx, blob, inspection, level)?;
    store.record(&key, &packing)?;
    Ok(packing)
}

/// Why UPX should not be given this program.
fn unpackable(inspection: &Inspection, upx: &Upx) -> Option<Unpackable> {
    const PAGE: u64 = 4096;
    let whole_pages = inspection.executable_bytes > 0 && inspection.executable_bytes.is_multiple_of(PAGE);
    if inspection.packed {
        Some(Unpackable::AlreadyPacked)
    } else if inspection.kind == Kind::SharedObject {
        Some(Unpackable::SharedObject)
    } else if inspection.kind == Kind::PositionIndependent && inspection.go {
        Some(Unpackable::PositionIndependentGo)
    } else if inspection.platform == Platform::ArmV7 && whole_pages && upx.version != SOUND_VERSION {
        Some(Unpackable::ArmWholePages { version: upx.version.clone() })
    } else if inspection.size < SMALLEST {
        Some(Unpackable::TooSmall { size: inspection.size })
    } else {
        None
    }
}

fn run(store: &Store, upx: &Upx, blob: &Blob, inspection: &Inspection, level: Level) -> Result<Packing, PackError> {
    let scratch = store.scratch()?;
    let (input, output) = (scratch.path().join("program"), scratch.path().join("packed"));
    // UPX refuses a file that is not executable, and the blobs of the store are not.
    files::copy_into_scratch(&store.path(&blob.digest), &input, 0o755)?;
    let ended = upx
        .program()
        .args(level.args())
        // A variable `UPX` would add options; the environment is empty.
        .args(["-qq", "-o", "packed", "program"])
        .folder(scratch.path())
        .limit(TIME_LIMIT)
        .run()?;
    if ended.status.code() == Some(LEFT_AS_IT_IS) {
        let message = ended.last_lines(1).trim_start_matches("upx: program: ").to_owned();
        return Ok(Packing::Skipped { reason: Unpackable::Refused { message } });
    }
    if !ended.status.success() {
        let version = upx.version.clone();
        let ended_with = process::describe(ended.status);
        return Err(PackError::Failed { version, ended: ended_with, output: ended.last_lines(10) });
    }
    check(files::open(&output)?, upx, inspection.platform)?;
    if files::size(&output).is_none_or(|size| size >= blob.size) {
        return Ok(Packing::Skipped { reason: Unpackable::NotSmaller });
    }
    Ok(Packing::Packed { blob: store.put_file(&output)? })
}

/// What UPX wrote must be a packed program for the same platform.
fn check(output: File, upx: &Upx, platform: Platform) -> Result<(), PackError> {
    let version = || upx.version.clone();
    let packed = elf::inspect(output).map_err(|source| PackError::Unreadable { version: version(), source })?;
    if packed.packed && packed.platform == platform {
        Ok(())
    } else {
        Err(PackError::Unexpected { version: version(), platform })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Digest;

    #[test]
    fn programs_that_would_crash_are_skipped() {
        let upx = |version: &str| Upx {
            path: "upx".into(),
            version: version.to_owned(),
            digest: Digest::of(""),
            loader: None,
        };
        let good = Inspection {
            size: 1 << 20,
            platform: Platform::ArmV7,
            float: None,
            kind: Kind::StaticExecutable,
            interpreter: None,
            needed: Vec::new(),
            go: true,
            has_sections: true,
            surplus: 0,
            packed: false,
            executable_bytes: 4095,
        };
        assert_eq!(unpackable(&good, &upx("4.2.2")), None);
        let pages = Inspection { executable_bytes: 8192, ..good.clone() };
        assert_eq!(unpackable(&pages, &upx("4.2.4")), None);
        let version = "4.2.2".to_owned();
        let cases = [
            (pages.clone(), Some(Unpackable::ArmWholePages { version })),
            (Inspection { platform: Platform::Arm64, ..pages }, None),
            (Inspection { packed: true, ..good.clone() }, Some(Unpackable::AlreadyPacked)),
            (Inspection { kind: Kind::SharedObject, go: false, ..good.clone() }, Some(Unpackable::SharedObject)),
            (Inspection { kind: Kind::PositionIndependent, ..good.clone() }, Some(Unpackable::PositionIndependentGo)),
            (Inspection { kind: Kind::PositionIndependent, go: false, ..good.clone() }, None),
            (Inspection { size: 5000, ..good }, Some(Unpackable::TooSmall { size: 5000 })),
        ];
        for (inspection, reason) in cases {
            assert_eq!(unpackable(&inspection, &upx("4.2.2")), reason, "{inspection:?}");
        }
    }
}
