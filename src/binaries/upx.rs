//! UPX, the packer: which one is on this machine and how hard it is to try.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use serde::{Deserialize, Serialize, de};

use super::elf;
use crate::{
    base::{Digest, digest::Hashing},
    host::{
        files::{self, FileError},
        process::{self, ProcessError, Program},
    },
};

/// How to get UPX, for every message that says it is missing.
const HOW_TO_GET: &str = "install it (Debian: `upx-ucl`, in bookworm from backports; Alpine: `upx`), declare it in \
                          matrix.toml under [toolchains.upx], or set `pack = false`";

/// A UPX program that answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upx {
    pub path: PathBuf,
    /// As it says, such as `4.2.4`.
    pub version: String,
    /// Of the program file; of one that brings its libraries, of all that it was unpacked from.
    pub digest: Digest,
    /// What loads a program that brings its libraries.
    pub(super) loader: Option<Loader>,
}

/// The dynamic loader of an unpacked root file system, and where its libraries are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Loader {
    program: PathBuf,
    libraries: OsString,
}

#[derive(Debug, thiserror::Error)]
pub enum UpxError {
    #[error("there is no `upx` on PATH: {HOW_TO_GET}")]
    NotOnPath,
    #[error("{} is not there: {HOW_TO_GET}", .0.display())]
    Missing(PathBuf),
    #[error("asking UPX for its version: {0}")]
    Run(#[from] ProcessError),
    #[error("asking {} for its version: it ended with {ended} and printed `{output}`: is it UPX?", path.display())]
    Version { path: PathBuf, ended: String, output: String },
    #[error("{} cannot be run as UPX: {why}", path.display())]
    Unusable { path: PathBuf, why: String },
    #[error(transparent)]
    File(#[from] FileError),
}

impl Upx {
    /// Finds `upx` in the folders of a `PATH`.
    pub fn find(search_path: &OsStr) -> Result<Self, UpxError> {
        Self::detect(&process::find("upx", search_path).ok_or(UpxError::NotOnPath)?)
    }

    /// Asks the program at `path` what it is.
    pub fn detect(path: &Path) -> Result<Self, UpxError> {
        if files::size(path).is_none() {
            return Err(UpxError::Missing(path.to_owned()));
        }
        let version = version_of(path, None)?;
        let mut program = Hashing::new(files::open(path)?);
        files::at("reading", path, std::io::copy(&mut program, &mut std::io::sink()))?;
        let (_, blob) = program.finish();
        Ok(Self { path: path.to_owned(), version, digest: blob.digest, loader: None })
    }

    /// Asks the program at `program` in the root file system `root`, which holds the libraries that it needs, so that
    /// nothing of this machine is loaded. `digest` is that of all that the root was unpacked from.
    pub fn in_root(root: &Path, program: &str, digest: Digest) -> Result<Self, UpxError> {
        let path = root.join(program);
        if files::size(&path).is_none() {
            return Err(UpxError::Missing(path));
        }
        let unusable = |why: String| UpxError::Unusable { path: path.clone(), why };
        let inspection = elf::inspect(files::open(&path)?).map_err(|error| unusable(error.to_string()))?;
        let loader = match &inspection.interpreter {
            // A static program needs none.
            None => None,
            Some(interpreter) => {
                let program = root.join(interpreter.trim_start_matches('/'));
                // The loader's own folder is the one that its C library lies in; others lie beside it.
                let real = files::canonical(&program)?;
                let folder = real.parent().unwrap_or(root);
                let mut libraries = folder.as_os_str().to_owned();
                for other in ["usr/lib", "lib"].map(|below| root.join(below)) {
                    libraries.push(":");
                    libraries.push(other);
                }
                Some(Loader { program: real, libraries })
            }
        };
        let version = version_of(&path, loader.as_ref())?;
        Ok(Self { path, version, digest, loader })
    }

    /// The program, ready for arguments.
    pub(super) fn program(&self) -> Program {
        program(&self.path, self.loader.as_ref())
    }
}

fn program(path: &Path, loader: Option<&Loader>) -> Program {
    match loader {
        None => Program::new(path),
        Some(Loader { program, libraries }) => Program::new(program)
            // The machine's own cache of libraries is not asked.
            .arg("--inhibit-cache")
            .arg("--library-path")
            .arg(libraries)
            .arg(path),
    }
}

fn version_of(path: &Path, loader: Option<&Loader>) -> Result<String, UpxError> {
    let ended = program(path, loader).arg("--version").limit(Duration::from_secs(20)).run()?;
    let output = String::from_utf8_lossy(&ended.stdout).into_owned();
    version_in(&output).filter(|_| ended.status.success()).ok_or_else(|| {
        let ended = process::describe(ended.status);
        let output = output.lines().next().unwrap_or_default().chars().take(200).collect();
        UpxError::Version { path: path.to_owned(), ended, output }
    })
}

/// `4.2.4` in a first line `upx 4.2.4`, which may go on with `-git-...` or a date.
fn version_in(output: &str) -> Option<String> {
    let version = output.lines().next()?.strip_prefix("upx ")?.split_whitespace().next()?;
    let begins_as_one = version.starts_with(|c: char| c.is_ascii_digit()) && version.contains('.');
    (begins_as_one && version.len() <= 64).then(|| version.to_owned())
}

/// How hard UPX tries, as its options say it: `-9 --lzma`.
///
/// `--brute` and `--ultra-brute` are left out on purpose: they give the same size for twenty times the processor time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    effort: Effort,
    method: Method,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effort {
    /// `-1` to `-9`.
    Digit(u8),
    Best,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    /// UPX's own, quick to unpack and a third larger.
    Nrv,
    Lzma,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a level for UPX: write `-1` to `-9` or `--best`, with or without ` --lzma` after it, as `-9 --lzma`"
)]
pub struct UnknownLevel(pub String);

impl Level {
    pub(super) fn args(self) -> Vec<String> {
        self.to_string().split(' ').map(str::to_owned).collect()
    }
}

impl Default for Level {
    /// `-9 --lzma`: within half a per cent of `--best --lzma`, in four fifths of its time.
    fn default() -> Self {
        Self { effort: Effort::Digit(9), method: Method::Lzma }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.effort {
            Effort::Digit(digit) => write!(f, "-{digit}")?,
            Effort::Best => f.write_str("--best")?,
        }
        match self.method {
            Method::Nrv => Ok(()),
            Method::Lzma => f.write_str(" --lzma"),
        }
    }
}

impl FromStr for Level {
    type Err = UnknownLevel;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || UnknownLevel(text.to_owned());
        let (effort, method) = match text.split_whitespace().collect::<Vec<_>>()[..] {
            [effort] => (effort, Method::Nrv),
            [effort, "--lzma"] => (effort, Method::Lzma),
            _ => return Err(unknown()),
        };
        let effort = match effort.as_bytes() {
            b"--best" => Effort::Best,
            [b'-', digit @ b'1'..=b'9'] => Effort::Digit(digit - b'0'),
            _ => return Err(unknown()),
        };
        Ok(Self { effort, method })
    }
}

impl Serialize for Level {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Level {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read_as_upx_takes_them() {
        for text in ["-1", "-9", "--best", "-9 --lzma", "--best --lzma"] {
            assert_eq!(text.parse::<Level>().unwrap().to_string(), text);
        }
        assert_eq!(Level::default().to_string(), "-9 --lzma");
        for text in ["", "-0", "-10", "9", "--brute", "--ultra-brute --lzma", "--lzma", "-9 --lzma -o x", "-9 --nrv2e"]
        {
            assert!(text.parse::<Level>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_version_is_on_the_first_line() {
        let cases = [
            ("upx 4.2.2\nUCL data compression library 1.03\n", Some("4.2.2")),
            ("upx 5.2.0-devel.20260101 \n", Some("5.2.0-devel.20260101")),
            ("upx\n", None),
            ("gzip 1.12\n", None),
            ("", None),
        ];
        for (output, version) in cases {
            assert_eq!(version_in(output).as_deref(), version, "{output}");
        }
    }

    #[test]
    fn a_missing_upx_is_explained() {
        let error = Upx::find(OsStr::new("/nonexistent")).unwrap_err().to_string();
        for word in ["PATH", "upx-ucl", "backports", "Alpine", "matrix.toml", "pack = false"] {
            assert!(error.contains(word), "{error}");
        }
        assert!(matches!(Upx::detect(Path::new("/nonexistent/upx")), Err(UpxError::Missing(_))));
        assert!(matches!(Upx::detect(Path::new("/bin/true")), Err(UpxError::Version { .. })));
    }
}
