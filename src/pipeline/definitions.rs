//! Brings the matrix file and its definitions from the disk.

use std::{
    collections::BTreeSet,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use crate::{
    binaries::upx::Level,
    host::files::{self, FileError},
    matrix::{self, Definition, DefinitionKind, Matrix, OverlayKind, Problems, Sink},
    plan::{InvalidLock, Lock},
};

/// Definition files are written by hand; one larger than this is none.
const LARGEST_FILE: u64 = 4 << 20;

/// A lock has about 200 bytes for each input.
const LARGEST_LOCK: u64 = 64 << 20;

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("reading the matrix: there is no {}\n  help: run kletimg where the matrix file is, or name it with `--file`", path.display())]
    NoMatrix { path: PathBuf },
    #[error(
        "{source}\n  help: definitions are text files in TOML: name the matrix file with `--file`, or correct what {} is",
        source.path.display()
    )]
    NotText { source: FileError },
    #[error(transparent)]
    File(FileError),
    #[error(transparent)]
    Problems(#[from] Problems),
    #[error("reading {}: {source}", path.display())]
    Lock { path: PathBuf, source: InvalidLock },
}

/// Reads a matrix file with all definitions that it uses.
pub fn load_matrix(path: &Path) -> Result<Matrix, LoadError> {
    let text = files::read_text(path, LARGEST_FILE).map_err(|error| {
        if error.is_not_found() { LoadError::NoMatrix { path: path.to_owned() } } else { error.into() }
    })?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut definitions = Vec::new();
    for below in matrix::definitions(path, &text)? {
        // `.` would only lengthen every path that a message shows.
        let below = if below == "." { folder.to_owned() } else { folder.join(below) };
        for (name, kind, prefix) in DefinitionKind::FOLDERS {
            definitions.extend(read_folder(&below.join(name), kind, prefix)?);
        }
    }
    let matrix = matrix::load(path, &text, &definitions)?;
    check(&matrix)?;
    Ok(matrix)
}

/// What the texts alone do not tell.
fn check(matrix: &Matrix) -> Result<(), Problems> {
    let sink = Sink::default();
    if let Some(pack) = &matrix.file.pack
        && let Err(error) = pack.value.parse::<Level>()
    {
        sink.report("invalid-value", &pack.at, error.to_string(), None);
    }
    let mut reported = BTreeSet::new();
    let overlays = matrix.variants.values().flat_map(|variant| &variant.files);
    for overlay in overlays.chain(matrix.bases.values().flat_map(|base| &base.files)) {
        let OverlayKind::Source(source) = &overlay.kind else { continue };
        let path = overlay.folder().join(source);
        // A variant has the files of those that it extends.
        if files::size(&path).is_none() && reported.insert(overlay.at.to_string()) {
            let message = format!("there is no file {}", path.display());
            let help = "`source` is a file, seen from the folder of this one".to_owned();
            sink.report("missing-file", &overlay.at, message, Some(help));
        }
    }
    sink.finish(Some(()))
}

impl From<FileError> for LoadError {
    /// What is wrong with a file itself, and not with the disk that it is on, is for whoever wrote or named it.
    fn from(source: FileError) -> Self {
        match source.source.kind() {
            ErrorKind::InvalidData | ErrorKind::IsADirectory | ErrorKind::FileTooLarge => Self::NotText { source },
            _ => Self::File(source),
        }
    }
}

fn read_folder(folder: &Path, kind: DefinitionKind, prefix: &str) -> Result<Vec<Definition>, FileError> {
    // `Path::new("")` is the current folder to us, but nothing to the system.
    let listed = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let mut definitions = Vec::new();
    for file in files::names(listed)? {
        let Some(stem) = file.strip_suffix(".toml").filter(|_| !file.starts_with('.')) else { continue };
        // A matrix file may lie beside the bases it uses.
        if stem == "matrix" {
            continue;
        }
        let path = folder.join(&file);
        let text = files::read_text(&path, LARGEST_FILE)?;
        definitions.push(Definition { name: format!("{prefix}{stem}"), kind, path, text });
    }
    Ok(definitions)
}

/// `matrix.lock` beside `matrix.toml`; other matrix files have theirs beside them likewise.
pub fn lock_path(matrix: &Path) -> PathBuf {
    matrix.with_extension("lock")
}

/// The lock of a matrix, `None` when there is none yet.
pub fn load_lock(matrix: &Path) -> Result<Option<Lock>, LoadError> {
    let path = lock_path(matrix);
    match files::read_text(&path, LARGEST_LOCK) {
        Err(error) if error.is_not_found() => Ok(None),
        text => Ok(Some(Lock::parse(&text?).map_err(|source| LoadError::Lock { path, source })?)),
    }
}

/// Writes the lock of a matrix, if it says anything new.
pub fn save_lock(matrix: &Path, lock: &Lock) -> Result<(), FileError> {
    files::write(&lock_path(matrix), lock.text().as_bytes(), 0o644)
}
