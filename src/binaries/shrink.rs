//! The sequence of steps that a program goes through before it enters an image.

use super::{
    elf::{self, ElfError, Inspection, NotElf},
    pack::{self, PackError, Packing, Unpackable},
    prove::{self, Check, Emulators, NotRun, Proof, ProveError},
    strip::{self, StripError, Stripped},
    upx::{Level, Upx},
};
use crate::{
    base::{Blob, Platform},
    inputs::store::{Store, StoreError},
};

/// What is to be done with a program.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The platform that the program must be for.
    pub platform: Platform,
    pub strip: Strip,
    pub pack: Option<PackRequest<'a>>,
    /// How the result is proved. Without a check it stays unproven.
    pub check: Option<&'a Check>,
    /// The platform of this machine, if it is one of the three.
    pub host: Option<Platform>,
    pub emulators: &'a Emulators,
}

/// Whether a program is stripped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strip {
    Yes,
    No,
}

/// How a program is packed.
#[derive(Clone, Copy, Debug)]
pub struct PackRequest<'a> {
    pub upx: &'a Upx,
    pub level: Level,
}

/// A program after all steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shrunk {
    /// What goes into the image.
    pub blob: Blob,
    /// What the program is, stripped and not yet packed. A script has none.
    pub inspection: Option<Inspection>,
    /// How stripping ended, where it was asked for.
    pub stripped: Option<Stripped>,
    /// How packing ended, where it was asked for.
    pub packing: Option<Packing>,
    pub proof: Proof,
}

/// Why a program cannot be used. The caller adds which component it is.
#[derive(Debug, thiserror::Error)]
pub enum ShrinkError {
    #[error(
        "the program is for {found}, not for {expected}: check the URL and the platforms of the way it was obtained"
    )]
    WrongPlatform { expected: Platform, found: String },
    #[error("inspecting the program: {0}")]
    Inspect(#[source] ElfError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("stripping the program: {0}")]
    Strip(#[from] StripError),
    #[error(transparent)]
    Pack(#[from] PackError),
    #[error("the program runs, but not once UPX has packed it: set `pack = false` for this component; {0}")]
    Packed(#[source] ProveError),
    #[error("the program does not run: correct its check, or the way it is obtained; {0}")]
    Run(#[source] ProveError),
}

/// Checks, strips, packs and proves a stored program.
///
/// A script passes as it is: it has no architecture and nothing to take away. Everything else that is no ELF file for
/// the expected platform is an error.
pub fn shrink(store: &Store, blob: &Blob, request: &Request<'_>) -> Result<Shrunk, ShrinkError> {
    let inspection = match elf::inspect(store.open(&blob.digest)?) {
        Ok(inspection) => inspection,
        Err(ElfError::NotElf(NotElf::Script { .. })) => return Ok(script(blob, request)),
        Err(ElfError::Machine { found }) => {
            return Err(ShrinkError::WrongPlatform { expected: request.platform, found });
        }
        Err(error) => return Err(ShrinkError::Inspect(error)),
    };
    if inspection.platform != request.platform {
        let found = inspection.platform.to_string();
        return Err(ShrinkError::WrongPlatform { expected: request.platform, found });
    }
    let stripped = match request.strip {
        Strip::Yes => Some(strip::strip_blob(store, blob)?),
        Strip::No => None,
    };
    let plain = stripped.map_or(*blob, |stripped| stripped.blob);
    let inspection = if plain == *blob {
        inspection
    } else {
        elf::inspect(store.open(&plain.digest)?).map_err(ShrinkError::Inspect)?
    };
    let packing = match request.pack {
        Some(PackRequest { upx, level }) => Some(pack::pack(store, upx, &plain, &inspection, level)?),
        None => None,
    };
    let blob = match packing {
        Some(Packing::Packed { blob }) => blob,
        Some(Packing::Skipped { .. }) | None => plain,
    };
    let proof = prove_result(store, &plain, &blob, &inspection, request)?;
    Ok(Shrunk { blob, inspection: Some(inspection), stripped, packing, proof })
}

fn script(blob: &Blob, request: &Request<'_>) -> Shrunk {
    Shrunk {
        blob: *blob,
        inspection: None,
        stripped: None,
        packing: request.pack.map(|_| Packing::Skipped { reason: Unpackable::Script }),
        proof: Proof::Unproven { reason: NotRun::Script },
    }
}

/// Runs the result. When a packed program fails, the unpacked one is run too, so that the error blames the right one.
fn prove_result(
    store: &Store,
    plain: &Blob,
    result: &Blob,
    inspection: &Inspection,
    request: &Request<'_>,
) -> Result<Proof, ShrinkError> {
    let Some(check) = request.check else {
        return Ok(Proof::Unproven { reason: NotRun::NoCheck });
    };
    let prove = |blob: &Blob| prove::prove(store, blob, inspection, request.host, check, request.emulators);
    match prove(result) {
        Ok(proof) => Ok(proof),
        Err(error) if result == plain => Err(ShrinkError::Run(error)),
        Err(error) => match prove(plain) {
            Ok(_) => Err(ShrinkError::Packed(error)),
            Err(error) => Err(ShrinkError::Run(error)),
        },
    }
}
