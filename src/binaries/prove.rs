//! Running a program once, to know that it runs.
//!
//! A program for this machine is run as it is, one for another under a user-mode emulator of QEMU where that is
//! installed. A program that runs and does not do what its check says is an error. One that cannot be run here, for
//! want of an emulator or of its interpreter, is neither good nor bad: it is [`Proof::Unproven`], and plan and report
//! say so.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::elf::{Inspection, Kind};
use crate::{
    base::{Blob, Platform, text::says},
    host::{
        files::{self, FileError},
        process::{self, Ended, ProcessError, Program},
    },
    inputs::store::{ActionKey, Store, StoreError},
};

/// Raised whenever a run would mean something else.
const FORMAT: u32 = 2;

/// How long a program may take to print its version. Under emulation a packed one of 60 MB takes some seconds.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// How a program is to be run, and what shows that it did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    pub args: Vec<String>,
    /// A text that standard output or standard error must hold. Without it, exit code 0 is enough.
    pub prints: Option<String>,
}

/// What is known of a program's running.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Proof {
    Ran { how: Runner },
    Unproven { reason: NotRun },
}

/// By what a program was run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Runner {
    Natively,
    /// The name of the emulator, such as `qemu-aarch64-static`.
    Emulated {
        emulator: String,
    },
}

/// Why a program was not run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum NotRun {
    #[error("no check is declared for it")]
    NoCheck,
    #[error("there is no `{wanted}` to run {platform} programs with (Debian: `qemu-user-static`; Alpine: `qemu-{arch}`)", arch = platform.qemu_arch())]
    NoEmulator { platform: Platform, wanted: String },
    #[error("its interpreter {interpreter} is not on this machine")]
    NoInterpreter { interpreter: String },
    #[error("it needs libraries for {platform}, which are not on this machine")]
    ForeignLibraries { platform: Platform },
    #[error("it needs libraries that are not on this machine: {message}")]
    NoLibraries { message: String },
    #[error("it is a shared library")]
    SharedObject,
    #[error("it is a script")]
    Script,
}

#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    File(#[from] FileError),
    /// The emulator, or the machine's way to start programs, failed; the program itself has not run.
    #[error("running the program for {platform} {how}: {source}")]
    Start { platform: Platform, how: Runner, source: ProcessError },
    #[error(
        "the program for {platform}, run {how} as `{command}`, ended with {ended}{expectation}; it printed:\n{output}",
        expectation = expected(prints.as_deref())
    )]
    Failed {
        platform: Platform,
        how: Runner,
        command: String,
        ended: String,
        /// What it should have printed and did not.
        prints: Option<String>,
        /// The last lines of its output.
        output: String,
    },
}

fn expected(prints: Option<&str>) -> String {
    prints.map(|prints| format!(" and did not print `{prints}`")).unwrap_or_default()
}

/// The user-mode emulators on this machine, by the platform whose programs they run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Emulators(BTreeMap<Platform, PathBuf>);

impl Emulators {
    /// Finds `qemu-<arch>-static` or `qemu-<arch>` in the folders of a `PATH`. The static one comes first: it is what
    /// Debian builds for running foreign programs.
    pub fn find(search_path: &OsStr) -> Self {
        let found = |platform: Platform| {
            names(platform).iter().find_map(|name| process::find(name, search_path)).map(|path| (platform, path))
        };
        Self(Platform::ALL.into_iter().filter_map(found).collect())
    }

    pub fn for_platform(&self, platform: Platform) -> Option<&Path> {
        self.0.get(&platform).map(PathBuf::as_path)
    }
}

fn names(platform: Platform) -> [String; 2] {
    let arch = platform.qemu_arch();
    [format!("qemu-{arch}-static"), format!("qemu-{arch}")]
}

/// Runs a stored program, once: a run that succeeded is recorded.
///
/// `inspection` is that of the program before it was packed, since a packed one does not tell its interpreter. `host` is
/// the platform of this machine, if it is one of the three.
pub fn prove(
    store: &Store,
    blob: &Blob,
    inspection: &Inspection,
    host: Option<Platform>,
    check: &Check,
    emulators: &Emulators,
) -> Result<Proof, ProveError> {
    // Neither emulator nor machine is part of the key: that it ran is a fact about the bytes.
    let key = check
        .args
        .iter()
        .fold(ActionKey::new("prove", FORMAT).field("input", blob.digest), |key, arg| key.field("arg", arg));
    let key = key.field("prints", check.prints.as_deref().unwrap_or_default());
    if let Some(how) = store.recorded::<Runner>(&key) {
        return Ok(Proof::Ran { how });
    }
    let emulator = match runner(inspection, host, emulators) {
        Ok(emulator) => emulator,
        Err(reason) => return Ok(Proof::Unproven { reason }),
    };
    let _lock = store.lock(&key)?;
    if let Some(how) = store.recorded::<Runner>(&key) {
        return Ok(Proof::Ran { how });
    }
    let how = match emulator {
        None => Runner::Natively,
        Some(path) => Runner::Emulated { emulator: path.file_name().unwrap_or_default().to_string_lossy().into() },
    };
    let ended = run(store, blob, emulator, check).map_err(|error| match error {
        RunError::Process(source) => ProveError::Start { platform: inspection.platform, how: how.clone(), source },
        RunError::Store(error) => error.into(),
        RunError::File(error) => error.into(),
    })?;
    if let Some(message) = missing_libraries(&ended, inspection) {
        return Ok(Proof::Unproven { reason: NotRun::NoLibraries { message } });
    }
    judge(&ended, check, inspection.platform, &how)?;
    store.record(&key, &how)?;
    Ok(Proof::Ran { how })
}

/// The emulator to run a program with, or none for a program of this machine.
fn runner<'a>(
    inspection: &Inspection,
    host: Option<Platform>,
    emulators: &'a Emulators,
) -> Result<Option<&'a Path>, NotRun> {
    let platform = inspection.platform;
    if inspection.kind == Kind::SharedObject {
        return Err(NotRun::SharedObject);
    }
    if host == Some(platform) {
        return match &inspection.interpreter {
            Some(interpreter) if files::size(Path::new(interpreter)).is_none() => {
                Err(NotRun::NoInterpreter { interpreter: interpreter.clone() })
            }
            _ => Ok(None),
        };
    }
    if inspection.interpreter.is_some() {
        return Err(NotRun::ForeignLibraries { platform });
    }
    let [wanted, _] = names(platform);
    emulators.for_platform(platform).map(Some).ok_or(NotRun::NoEmulator { platform, wanted })
}

#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Process(#[from] ProcessError),
}

fn run(store: &Store, blob: &Blob, emulator: Option<&Path>, check: &Check) -> Result<Ended, RunError> {
    let scratch = store.scratch()?;
    let copy = scratch.path().join("program");
    files::copy_into_scratch(&store.path(&blob.digest), &copy, 0o755)?;
    let program = match emulator {
        None => Program::new(copy),
        Some(emulator) => Program::new(emulator).arg(copy),
    };
    // Programs that want a home or a temporary folder find one that vanishes.
    let program = program.args(&check.args).env("HOME", scratch.path()).env("TMPDIR", scratch.path());
    Ok(program.folder(scratch.path()).limit(TIME_LIMIT).run()?)
}

/// What the interpreter says when it does not find a library: glibc `error while loading shared libraries`, musl `Error
/// loading shared library`, both with exit code 127. The program itself has not run then.
fn missing_libraries(ended: &Ended, inspection: &Inspection) -> Option<String> {
    if inspection.interpreter.is_none() || ended.status.code() != Some(127) {
        return None;
    }
    let stderr = String::from_utf8_lossy(&ended.stderr);
    let line = stderr.lines().find(|line| line.contains("loading shared librar"))?;
    Some(line.split_once(": ").map_or(line, |(_, message)| message).trim().to_owned())
}

fn judge(ended: &Ended, check: &Check, platform: Platform, how: &Runner) -> Result<(), ProveError> {
    let printed = check.prints.as_ref().is_none_or(|prints| says(&ended.text(), prints));
    if ended.status.success() && printed {
        return Ok(());
    }
    Err(ProveError::Failed {
        platform,
        how: how.clone(),
        command: format!("program {}", check.args.join(" ")).trim_end().to_owned(),
        ended: process::describe(ended.status),
        prints: check.prints.clone().filter(|_| !printed),
        output: match ended.last_lines(10) {
            lines if lines.is_empty() => "(nothing)".to_owned(),
            lines => lines,
        },
    })
}

impl fmt::Display for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Natively => f.write_str("natively"),
            Self::Emulated { emulator } => write!(f, "under {emulator}"),
        }
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ran { how } => write!(f, "ran {how}"),
            Self::Unproven { reason } => write!(f, "unproven: {reason}"),
        }
    }
}
