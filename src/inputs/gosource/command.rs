//! The whole command line and environment of a `go build`, so that nothing else of the machine can reach the result.
//!
//! What keeps the bytes the same on every machine and in every folder:
//!
//! - `-trimpath` takes the folders of Go sources out, and out of what `go version -m` tells (flags of the linker and of
//!   C, which hold paths, are left out there too). `-buildid=` empties the linker's build ID, which is a hash over such
//!   things as the name of the C compiler.
//! - The C compiler is called by a name without a folder, `zig-0.13.0`, a link in a folder that alone is on `PATH`. The
//!   version is in the name because Go before 1.20 tells cached objects of two C compilers apart only by their names.
//! - C is compiled with `-O2` instead of Go's default `-g -O2`. Debug information is where folders get in; also, Go
//!   repeats these flags when it links, where a `-g` takes back the `-s` that `-ldflags=-s` gave to zig, and the result
//!   is a quarter larger. Without an `-O`, `zig cc` would instrument C with traps for undefined behaviour.
//! - `-O2 -s -fPIC -fno-lto` are a part of the compiler's name too, so that all of Go's calls have them, its probes of
//!   what the linker can do among them. For each combination of them zig compiles a whole musl, which takes longer than
//!   a small program; and sources that are linked at once, as in a probe, it would compile for link-time optimisation.
//! - `-ffile-prefix-map` covers `__FILE__` in headers of the sources, `SOURCE_DATE_EPOCH` covers `__DATE__` and `__TIME__`.
//!
//! cgo programs are linked statically with zig's musl: they run on any base, and no `netgo` or `osusergo` is needed,
//! as it is with a static glibc, because musl resolves names and users without loading libraries. Go's own resolver stays
//! the first choice as in every Go program.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    build::{GoBuild, Modules, Package},
    layout::{Inspected, Mode},
    sources::Placed,
    toolchain::{Go, Zig},
    version::GoVersion,
};
use crate::{base::Platform, host::process::Program};

/// All of Kubernetes on one slow core takes half an hour; what runs for longer hangs.
const LIMIT: Duration = Duration::from_secs(4 * 3600);

/// Folders that a build writes to.
pub(super) struct Folders {
    /// Gone after the build.
    pub(super) scratch: PathBuf,
    /// The store, whose caches stay.
    pub(super) store: PathBuf,
}

impl Folders {
    /// Alone on `PATH`: it holds the C compiler, if there is one.
    pub(super) fn programs(&self) -> PathBuf {
        self.scratch.join("bin")
    }

    pub(super) fn temporary(&self) -> PathBuf {
        self.scratch.join("tmp")
    }

    /// Where Go and zig look for the user's files.
    pub(super) fn home(&self) -> PathBuf {
        self.scratch.join("home")
    }

    pub(super) fn output(&self) -> PathBuf {
        self.scratch.join("out")
    }
}

/// The name that Go calls the C compiler by.
pub(super) fn compiler_name(zig: &Zig) -> String {
    format!("zig-{}", zig.version)
}

/// What is to be run to compile `packages`, which have different names, into [`Folders::output`].
pub(super) struct Compile<'a> {
    pub(super) go: &'a Go,
    /// `None` for a build without cgo.
    pub(super) zig: Option<&'a Zig>,
    pub(super) build: &'a GoBuild,
    pub(super) inspected: &'a Inspected,
    pub(super) placed: &'a Placed,
    pub(super) folders: &'a Folders,
    pub(super) stamps: &'a [(String, String)],
    pub(super) jobs: usize,
}

impl Compile<'_> {
    pub(super) fn program(&self, packages: &[&Package], output: &Path) -> Program {
        let mut program = Program::new(&self.go.program).args(self.flags()).arg("-o").arg(output);
        program = program.args(packages.iter().map(|package| &package.path)).folder(&self.placed.folder).limit(LIMIT);
        let settings =
            self.settings().into_iter().chain(self.caches()).chain(self.c_compiler()).chain(self.downloads());
        settings.fold(program, |program, (name, value)| program.env(name, value))
    }

    fn flags(&self) -> Vec<String> {
        let mut flags = ["build", "-trimpath"].map(str::to_owned).to_vec();
        if self.go.version >= GoVersion::new(1, 18) {
            flags.push("-buildvcs=false".to_owned());
        }
        if self.inspected.mode != Mode::Gopath {
            // `readonly`: what is downloaded must be pinned by go.sum.
            flags.push(format!("-mod={}", if self.inspected.vendored { "vendor" } else { "readonly" }));
        }
        flags.push(format!("-p={}", self.jobs.max(1)));
        flags.push(format!("-tags={}", self.build.tags.join(",")));
        let mut linker = "-s -w -buildid=".to_owned();
        if self.zig.is_some() {
            linker.push_str(" -linkmode external -extldflags -static");
        }
        for (name, value) in self.stamps {
            linker.push_str(" -X ");
            linker.push_str(&quoted(&format!("{name}={value}")));
        }
        flags.push(format!("-ldflags={linker}"));
        flags
    }

    /// What decides on the result.
    fn settings(&self) -> Vec<(&'static str, OsString)> {
        let mut settings: Vec<(_, OsString)> = vec![
            ("GOOS", "linux".into()),
            ("GOARCH", self.build.platform.go_arch().into()),
            ("CGO_ENABLED", if self.zig.is_some() { "1" } else { "0" }.into()),
            ("GO111MODULE", if self.inspected.mode == Mode::Gopath { "off" } else { "on" }.into()),
            ("GOENV", "off".into()),
            ("GOFLAGS", "".into()),
            // A `toolchain` line in go.mod must not bring another Go.
            ("GOTOOLCHAIN", "local".into()),
            ("LC_ALL", "C".into()),
            ("TZ", "UTC".into()),
        ];
        settings.push(match self.build.platform {
            Platform::Amd64 => ("GOAMD64", "v1".into()),
            Platform::Arm64 => ("GOARM64", "v8.0".into()),
            Platform::ArmV7 => ("GOARM", "7".into()),
        });
        // Not a go.work of a folder that the store happens to be in.
        match self.inspected.mode {
            Mode::Workspace => settings.push(("GOWORK", self.placed.folder.join("go.work").into())),
            Mode::Module => settings.push(("GOWORK", "off".into())),
            Mode::Gopath => {}
        }
        settings
    }

    fn caches(&self) -> Vec<(&'static str, OsString)> {
        let (folders, store) = (self.folders, &self.folders.store);
        vec![
            ("PATH", folders.programs().into()),
            ("HOME", folders.home().into()),
            ("TMPDIR", folders.temporary().into()),
            ("GOPATH", self.placed.gopath.clone().into()),
            ("GOCACHE", store.join("go-build").into()),
            ("GOMODCACHE", store.join("go-mod").into()),
            ("GOMAXPROCS", self.jobs.max(1).to_string().into()),
        ]
    }

    fn c_compiler(&self) -> Vec<(&'static str, OsString)> {
        let Some(zig) = self.zig else { return Vec::new() };
        let (name, target) = (compiler_name(zig), self.build.platform.zig_target());
        let always = format!("-target {target} -O2 -s -fPIC -fno-lto");
        // The definition is for the caches of Go and zig, which do not know that the environment counts.
        let epoch = self.build.epoch;
        let map = format!("-O2 -ffile-prefix-map={}=. -DKLETIMG_EPOCH={epoch}", self.placed.folder.display());
        let cache = self.folders.store.join("zig");
        vec![
            ("CC", format!("{name} cc {always}").into()),
            ("CXX", format!("{name} c++ {always}").into()),
            ("CGO_CFLAGS", map.clone().into()),
            ("CGO_CXXFLAGS", map.into()),
            ("CGO_LDFLAGS", "-O2".into()),
            ("SOURCE_DATE_EPOCH", epoch.to_string().into()),
            ("ZIG_LOCAL_CACHE_DIR", cache.clone().into()),
            ("ZIG_GLOBAL_CACHE_DIR", cache.into()),
        ]
    }

    fn downloads(&self) -> Vec<(&'static str, OsString)> {
        // go.sum pins every module, so the public checksum database has nothing to add but a connection.
        let mut network: Vec<(_, OsString)> = vec![("GOSUMDB", "off".into()), ("GOVCS", "*:off".into())];
        match &self.build.modules {
            Modules::InTree => network.push(("GOPROXY", "off".into())),
            Modules::Download { proxy, https_proxy, ca_certificates } => {
                network.push(("GOPROXY", proxy.into()));
                network.extend(https_proxy.as_ref().map(|url| ("HTTPS_PROXY", OsStr::new(url).to_owned())));
                network.extend(ca_certificates.as_ref().map(|file| ("SSL_CERT_FILE", file.into())));
            }
        }
        network
    }
}

/// An argument as Go splits them (`cmd/internal/quoted`): there is no escape, only either quote around the whole.
/// [`super::build`] refuses stamps that hold both.
fn quoted(text: &str) -> String {
    if text.contains('\'') { format!("\"{text}\"") } else { format!("'{text}'") }
}
