//! Programs made by real compilers, inspected, stripped, packed and run.
//!
//! Parts: `go`, `cc`, `strip` (binutils), `upx`, `qemu` (qemu-user for both ARM platforms), `zig`. Zig compiles musl's C
//! library once per platform; `ZIG_GLOBAL_CACHE_DIR` lets it share that work with others.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod support;

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

use kletimg::{
    base::{Blob, Digest, Platform},
    binaries::{
        PackRequest, Request, ShrinkError, Strip,
        elf::{ElfError, FloatAbi, Inspection, Kind, inspect},
        pack::{PackError, Packing, Unpackable, pack},
        prove::{Check, Emulators, NotRun, Proof, ProveError, Runner, prove},
        shrink,
        strip::{Stripped, Unstrippable, strip_blob},
        upx::{Level, Upx},
    },
    host::files,
    inputs::store::Store,
};
use proptest::prelude::*;
use support::parts::{need, program};

const GO_SOURCE: &str = r#"package main

import (
	"fmt"
	"os"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "fail" {
		fmt.Fprintln(os.Stderr, "told to fail")
		os.Exit(3)
	}
	fmt.Println("sample v1.20.2")
}
"#;

const C_SOURCE: &str = r#"#include <stdio.h>
int answer(void) { return 42; }
int main(void) { printf("sample v%d\n", answer()); return 0; }
"#;

fn search_path() -> OsString {
    env::var_os("PATH").unwrap_or_default()
}

fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// A folder for what compilers make from `source`. It stays, so that the next run has their caches and results.
fn workshop(name: &str, source: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", Digest::of(source).short()));
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Makes a file once, whichever test or test process comes first.
fn made(folder: &Path, name: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let path = folder.join(name);
    let _lock = files::lock(&folder.join("lock")).unwrap();
    if !path.exists() {
        let unfinished = folder.join(format!("{name}.unfinished"));
        make(&unfinished);
        fs::rename(&unfinished, &path).unwrap();
    }
    path
}

fn go() -> Option<PathBuf> {
    let named = env::var_os("KLETIMG_GO").map(PathBuf::from).filter(|path| path.is_file());
    let found = named.or_else(|| kletimg::host::process::find("go", &search_path()));
    need("go", found, "there is no `go` on PATH or in KLETIMG_GO")
}

/// A program of Go for a platform, with its symbols and debug data.
fn go_program(platform: Platform, build_mode: &str) -> Option<PathBuf> {
    let go = go()?;
    let folder = workshop("binaries-go", GO_SOURCE);
    let name = format!("{}-{build_mode}", platform.go_arch());
    Some(made(&folder, &name, |output| {
        fs::write(folder.join("main.go"), GO_SOURCE).unwrap();
        let mut build = go_build(&go, &folder, platform, output);
        succeed(build.env("CGO_ENABLED", "0").arg(format!("-buildmode={build_mode}")).arg("main.go"));
    }))
}

fn go_build(go: &Path, folder: &Path, platform: Platform, output: &Path) -> Command {
    let mut build = Command::new(go);
    build.current_dir(folder).args(["build", "-trimpath", "-o"]).arg(output);
    build.env("GOOS", "linux").env("GOARCH", platform.go_arch()).env("GOARM", "7");
    build.env("GO111MODULE", "off").env("GOFLAGS", "").env("GOTOOLCHAIN", "local");
    build.env("GOCACHE", folder.join("cache")).env("GOPATH", folder.join("path"));
    build
}

/// A program of the machine's C compiler.
fn c_program(name: &str, options: &[&str]) -> Option<PathBuf> {
    let cc = program("cc")?;
    let folder = workshop("binaries-c", C_SOURCE);
    Some(made(&folder, name, |output| {
        fs::write(folder.join("main.c"), C_SOURCE).unwrap();
        succeed(Command::new(&cc).current_dir(&folder).arg("-g").args(options).arg("-o").arg(output).arg("main.c"));
    }))
}

/// The store of one test.
struct Bench {
    _folder: tempfile::TempDir,
    store: Store,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let store = Store::new(folder.path().join("store"));
        Self { _folder: folder, store }
    }

    fn put(&self, path: &Path) -> Blob {
        self.store.put_file(path).unwrap()
    }

    fn inspect(&self, blob: &Blob) -> Inspection {
        inspect(self.store.open(&blob.digest).unwrap()).unwrap()
    }

    fn strip(&self, blob: &Blob) -> Stripped {
        strip_blob(&self.store, blob).unwrap()
    }

    fn prove(&self, blob: &Blob, inspection: &Inspection, check: &Check) -> Result<Proof, ProveError> {
        prove(&self.store, blob, inspection, Platform::host(), check, emulators())
    }

    /// A copy of a blob that can be run.
    fn executable(&self, blob: &Blob) -> PathBuf {
        let path = self.store.root().join(blob.digest.hex());
        fs::copy(self.store.path(&blob.digest), &path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }
}

fn emulators() -> &'static Emulators {
    static EMULATORS: OnceLock<Emulators> = OnceLock::new();
    EMULATORS.get_or_init(|| Emulators::find(&search_path()))
}

/// Whether programs of this platform can be run here.
fn can_run(platform: Platform) -> bool {
    let runs = Platform::host() == Some(platform) || emulators().for_platform(platform).is_some();
    need("qemu", runs.then_some(()), &format!("there is no emulator for {platform}")).is_some()
}

fn prints(text: &str) -> Check {
    Check { args: Vec::new(), prints: Some(text.to_owned()) }
}

fn request(platform: Platform, check: &Check) -> Request<'_> {
    Request {
        platform,
        strip: Strip::Yes,
        pack: None,
        check: Some(check),
        host: Platform::host(),
        emulators: emulators(),
    }
}

fn upx() -> Option<Upx> {
    program("upx")?;
    Some(Upx::find(&search_path()).unwrap())
}

/// Compares our stripped file with that of strip(1), where the machine's knows the platform.
fn assert_as_small_as_strip(bench: &Bench, original: &Path, stripped: &Stripped, platform: Platform) {
    if Platform::host() != Some(platform) {
        return;
    }
    let Some(strip) = program("strip") else { return };
    let output = bench.store.root().join("by-strip");
    succeed(Command::new(strip).arg("--strip-all").arg("-o").arg(&output).arg(original));
    let theirs = fs::metadata(output).unwrap().len();
    assert!(stripped.after <= theirs + 300, "{}: {} bytes, strip: {theirs}", original.display(), stripped.after);
}

#[test]
fn go_programs_are_stripped_and_run() {
    for platform in Platform::ALL {
        let Some(path) = go_program(platform, "exe") else { return };
        let bench = Bench::new();
        let blob = bench.put(&path);
        let before = bench.inspect(&blob);
        assert_eq!((before.platform, before.kind), (platform, Kind::StaticExecutable));
        assert!(before.go && before.has_sections && !before.packed && before.needed.is_empty());
        let stripped = bench.strip(&blob);
        assert_eq!(before.surplus, stripped.before - stripped.after);
        assert!(stripped.after < stripped.before * 3 / 4, "{stripped:?}");
        let after = bench.inspect(&stripped.blob);
        assert_eq!(after, Inspection { size: stripped.after, surplus: 0, ..before });
        assert!(goblin::elf::Elf::parse(&fs::read(bench.store.path(&stripped.blob.digest)).unwrap()).is_ok());
        assert_as_small_as_strip(&bench, &path, &stripped, platform);
        if can_run(platform) {
            let proof = bench.prove(&stripped.blob, &after, &prints("sample v1.20.2")).unwrap();
            assert!(matches!(proof, Proof::Ran { .. }), "{proof}");
        }
        // Go still finds what it wrote about the build.
        let version = succeed(Command::new(go().unwrap()).arg("version").arg(bench.executable(&stripped.blob)));
        assert!(String::from_utf8_lossy(&version.stdout).contains(": go1."), "{version:?}");
    }
}

#[test]
fn programs_are_shrunk_for_all_platforms() {
    let (Some(_), Some(upx)) = (go(), upx()) else { return };
    for platform in Platform::ALL {
        let Some(path) = go_program(platform, "exe") else { return };
        let bench = Bench::new();
        let blob = bench.put(&path);
        let check = prints("sample v1.20.2");
        let pack = Some(PackRequest { upx: &upx, level: Level::default() });
        let shrunk = shrink(&bench.store, &blob, &Request { pack, ..request(platform, &check) }).unwrap();
        assert_eq!(shrunk.packing, Some(Packing::Packed { blob: shrunk.blob }));
        assert!(shrunk.blob.size < shrunk.stripped.unwrap().after * 2 / 3, "{shrunk:?}");
        let packed = bench.inspect(&shrunk.blob);
        assert!(packed.packed && packed.platform == platform && packed.surplus == 0, "{packed:?}");
        if can_run(platform) {
            assert!(matches!(shrunk.proof, Proof::Ran { .. }), "{}", shrunk.proof);
        }
        // A packed program that comes again is left alone.
        let again = shrink(&bench.store, &shrunk.blob, &Request { pack, ..request(platform, &check) }).unwrap();
        assert_eq!(again.blob, shrunk.blob);
        assert_eq!(again.stripped.unwrap().kept, Some(Unstrippable::NoSections));
        assert_eq!(again.packing, Some(Packing::Skipped { reason: Unpackable::AlreadyPacked }));
    }
}

#[test]
fn packing_twice_gives_the_same_bytes() {
    let (Some(upx), Some(path)) = (upx(), go_program(Platform::Amd64, "exe")) else { return };
    let level = "-1 --lzma".parse().unwrap();
    let packed = || {
        let bench = Bench::new();
        let blob = bench.put(&path);
        let first = pack(&bench.store, &upx, &blob, &bench.inspect(&blob), level).unwrap();
        assert_eq!(pack(&bench.store, &upx, &blob, &bench.inspect(&blob), level).unwrap(), first);
        first
    };
    assert_eq!(packed(), packed());
}

#[test]
fn position_independent_go_programs_are_stripped_but_not_packed() {
    let Some(upx) = upx() else { return };
    for platform in [Platform::Amd64, Platform::Arm64] {
        let Some(path) = go_program(platform, "pie") else { return };
        let bench = Bench::new();
        let check = prints("sample v1.20.2");
        let pack = Some(PackRequest { upx: &upx, level: Level::default() });
        let shrunk = shrink(&bench.store, &bench.put(&path), &Request { pack, ..request(platform, &check) }).unwrap();
        assert_eq!(shrunk.packing, Some(Packing::Skipped { reason: Unpackable::PositionIndependentGo }));
        let stripped = shrunk.stripped.unwrap();
        assert!(stripped.after < stripped.before * 3 / 4, "{stripped:?}");
        assert_as_small_as_strip(&bench, &path, &stripped, platform);
        let inspection = shrunk.inspection.unwrap();
        assert_eq!(inspection.kind, Kind::PositionIndependent);
        let interpreter_here = inspection.interpreter.is_some_and(|path| Path::new(&path).exists());
        match shrunk.proof {
            Proof::Ran { how } => assert_eq!((how, Platform::host()), (Runner::Natively, Some(platform))),
            Proof::Unproven { reason: NotRun::ForeignLibraries { .. } } => assert_ne!(Platform::host(), Some(platform)),
            Proof::Unproven { reason } => assert!(!interpreter_here, "{reason}"),
        }
    }
}

#[test]
fn c_programs_of_every_kind_are_stripped_and_run() {
    let Some(host) = Platform::host() else { return };
    let cases: [(&str, &[&str], Kind); 5] = [
        ("static", &["-static", "-no-pie"], Kind::StaticExecutable),
        ("dynamic", &["-no-pie"], Kind::DynamicExecutable),
        ("pie", &["-fPIE", "-pie"], Kind::PositionIndependent),
        ("static-pie", &["-fPIE", "-static-pie"], Kind::PositionIndependent),
        ("shared.so", &["-fPIC", "-shared", "-Wl,-soname,shared.so"], Kind::SharedObject),
    ];
    for (name, options, kind) in cases {
        let Some(path) = c_program(name, options) else { return };
        let bench = Bench::new();
        let check = prints("sample v42");
        let shrunk = shrink(&bench.store, &bench.put(&path), &request(host, &check)).unwrap();
        let inspection = shrunk.inspection.unwrap();
        assert_eq!((inspection.kind, inspection.go), (kind, false), "{name}");
        assert_eq!(inspection.needed.is_empty(), name.starts_with("static"), "{name}: {:?}", inspection.needed);
        let stripped = shrunk.stripped.unwrap();
        assert!(stripped.after < stripped.before, "{name}");
        assert_as_small_as_strip(&bench, &path, &stripped, host);
        let expected = match kind {
            Kind::SharedObject => Proof::Unproven { reason: NotRun::SharedObject },
            _ => Proof::Ran { how: Runner::Natively },
        };
        assert_eq!(shrunk.proof, expected, "{name}");
    }
}

#[test]
fn programs_of_zig_are_shrunk_for_all_platforms() {
    let works = |python: &PathBuf| {
        let version = Command::new(python).args(["-m", "ziglang", "version"]).output();
        version.is_ok_and(|output| output.status.success())
    };
    let find = |name| kletimg::host::process::find(name, &search_path());
    let wheel = find("python3").filter(works).map(|python| (python, vec!["-m", "ziglang"]));
    let zig = wheel.or_else(|| find("zig").map(|zig| (zig, Vec::new())));
    let Some((zig, args)) = need("zig", zig, "there is no `zig` on PATH and no Python package `ziglang`") else {
        return;
    };
    let folder = workshop("binaries-zig", C_SOURCE);
    for platform in Platform::ALL {
        let path = made(&folder, platform.go_arch(), |output| {
            fs::write(folder.join("main.c"), C_SOURCE).unwrap();
            let mut build = Command::new(&zig);
            build.current_dir(&folder).args(&args).args(["cc", "-target", platform.zig_target(), "-static", "-g"]);
            let shared = env::var_os("ZIG_GLOBAL_CACHE_DIR").map_or_else(|| folder.join("zig"), PathBuf::from);
            build.env("ZIG_GLOBAL_CACHE_DIR", shared).env("ZIG_LOCAL_CACHE_DIR", folder.join("zig"));
            succeed(build.arg("-o").arg(output).arg("main.c"));
        });
        let bench = Bench::new();
        let check = prints("sample v42");
        let shrunk = shrink(&bench.store, &bench.put(&path), &request(platform, &check)).unwrap();
        let inspection = shrunk.inspection.unwrap();
        assert_eq!((inspection.kind, inspection.go, inspection.interpreter), (Kind::StaticExecutable, false, None));
        assert_eq!(inspection.float, (platform == Platform::ArmV7).then_some(FloatAbi::Hard));
        let stripped = shrunk.stripped.unwrap();
        assert!(stripped.after < stripped.before / 2, "{stripped:?}");
        assert_as_small_as_strip(&bench, &path, &stripped, platform);
        if can_run(platform) {
            assert!(matches!(shrunk.proof, Proof::Ran { .. }), "{}", shrunk.proof);
        }
    }
}

#[test]
fn a_program_for_another_platform_is_refused() {
    let Some(path) = go_program(Platform::Arm64, "exe") else { return };
    let bench = Bench::new();
    let check = prints("");
    let error = shrink(&bench.store, &bench.put(&path), &request(Platform::Amd64, &check)).unwrap_err();
    assert!(matches!(error, ShrinkError::WrongPlatform { .. }));
    let text = error.to_string();
    assert!(text.contains("is for linux/arm64") && text.contains("not for linux/amd64"), "{text}");
}

#[test]
fn what_is_no_program_is_named() {
    let bench = Bench::new();
    let check = prints("");
    let shrunk = |bytes: &[u8]| {
        let blob = bench.store.put(bytes).unwrap();
        shrink(&bench.store, &blob, &request(Platform::Amd64, &check))
    };
    let script = shrunk(b"#!/bin/sh\nexit 0\n").unwrap();
    assert_eq!(script.proof, Proof::Unproven { reason: NotRun::Script });
    for (bytes, words) in [
        (&b""[..], "an empty file"),
        (b"\x1f\x8b\x08\0\0\0", "a gzip archive"),
        (b"<html><body>404</body></html>", "a web page"),
        (b"hello\n", "a text file"),
        (b"\x7fELF\x02\x01\x01", "cut off"),
    ] {
        let error = shrunk(bytes).unwrap_err();
        assert!(matches!(error, ShrinkError::Inspect(_)) && error.to_string().contains(words), "{error}");
    }
}

#[test]
fn a_program_that_was_cut_off_is_refused() {
    let Some(path) = go_program(Platform::ArmV7, "exe") else { return };
    let bytes = fs::read(path).unwrap();
    for part in [1, 10, 50, 99] {
        let cut = &bytes[..bytes.len() * part / 100];
        let error = inspect(std::io::Cursor::new(cut)).unwrap_err();
        assert!(matches!(error, ElfError::Truncated { .. }), "{part} %: {error}");
    }
}

#[test]
fn a_program_that_fails_its_check_shows_its_last_lines() {
    for platform in Platform::ALL {
        let Some(path) = go_program(platform, "exe") else { return };
        if !can_run(platform) {
            continue;
        }
        let bench = Bench::new();
        let blob = bench.put(&path);
        let fail = Check { args: vec!["fail".to_owned()], prints: None };
        let error = shrink(&bench.store, &blob, &request(platform, &fail)).unwrap_err();
        assert!(matches!(error, ShrinkError::Run(ProveError::Failed { .. })));
        let text = error.to_string();
        for words in [platform.name(), "exit code 3", "program fail", "told to fail"] {
            assert!(text.contains(words), "{text}");
        }
        let error = shrink(&bench.store, &blob, &request(platform, &prints("v9.9.9"))).unwrap_err().to_string();
        assert!(error.contains("exit code 0 and did not print `v9.9.9`"), "{error}");
    }
}

#[test]
fn what_cannot_be_run_is_unproven_until_it_has_run() {
    let Some(path) = go_program(Platform::Arm64, "exe") else { return };
    let bench = Bench::new();
    let blob = bench.put(&path);
    let inspection = bench.inspect(&blob);
    let check = prints("sample");
    let none = Emulators::default();
    let proof = |emulators| prove(&bench.store, &blob, &inspection, Some(Platform::Amd64), &check, emulators).unwrap();
    let Proof::Unproven { reason } = proof(&none) else { panic!("it ran without an emulator") };
    assert!(reason.to_string().contains("qemu-aarch64-static"), "{reason}");
    if emulators().for_platform(Platform::Arm64).is_some() {
        let ran = proof(emulators());
        assert!(matches!(ran, Proof::Ran { how: Runner::Emulated { .. } }), "{ran}");
        assert_eq!(proof(&none), ran);
    }
    let no_check = Request { check: None, ..request(Platform::Arm64, &check) };
    let shrunk = shrink(&bench.store, &blob, &no_check).unwrap();
    assert_eq!(shrunk.proof, Proof::Unproven { reason: NotRun::NoCheck });
}

/// A program that calls itself UPX.
fn pretender(folder: &Path, body: &str) -> Upx {
    let path = folder.join("upx");
    fs::write(&path, format!("#!/bin/sh\nif [ \"$1\" = --version ]; then echo upx 9.9.9; exit 0; fi\n{body}\n"))
        .unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    Upx::detect(&path).unwrap()
}

#[test]
fn what_upx_does_wrong_is_found() {
    let Some(path) = go_program(Platform::Amd64, "exe") else { return };
    let bench = Bench::new();
    let folder = tempfile::tempdir().unwrap();
    let blob = bench.put(&path);
    let inspection = bench.inspect(&blob);
    let packed = |body: &str| pack(&bench.store, &pretender(folder.path(), body), &blob, &inspection, Level::default());

    let error = packed("echo 'upx: program: CantPackException: no' >&2; exit 1").unwrap_err().to_string();
    for words in ["UPX 9.9.9", "exit code 1", "CantPackException: no", "pack = false"] {
        assert!(error.contains(words), "{error}");
    }
    let skipped = packed("echo 'upx: program: NotCompressibleException' >&2; exit 2").unwrap();
    let reason = Unpackable::Refused { message: "NotCompressibleException".to_owned() };
    assert_eq!(skipped, Packing::Skipped { reason });
    assert!(matches!(packed("echo rubbish > packed"), Err(PackError::Unreadable { .. })));
    assert!(matches!(packed("cp program packed"), Err(PackError::Unexpected { .. })));
    assert!(packed("true").unwrap_err().to_string().contains("packed"));
}

#[test]
fn a_packed_program_that_crashes_is_blamed_on_the_packing() {
    let (Some(upx), Some(host)) = (upx(), Platform::host()) else { return };
    let Some(path) = go_program(host, "exe") else { return };
    let bench = Bench::new();
    let folder = tempfile::tempdir().unwrap();
    // Packs, and then damages the compressed bytes: the headers look right, the program does not run.
    let body = format!(
        "{} \"$@\" && printf damaged | dd of=packed bs=1 seek=100000 conv=notrunc status=none",
        upx.path.display()
    );
    let damaging = pretender(folder.path(), &body);
    let check = prints("sample v1.20.2");
    let pack = Some(PackRequest { upx: &damaging, level: Level::default() });
    let error = shrink(&bench.store, &bench.put(&path), &Request { pack, ..request(host, &check) }).unwrap_err();
    assert!(matches!(error, ShrinkError::Packed(ProveError::Failed { .. })), "{error}");
    assert!(error.to_string().contains("set `pack = false`"), "{error}");
}

#[test]
fn many_programs_are_run_at_once() {
    let Some(path) = go_program(Platform::Amd64, "exe") else { return };
    if !can_run(Platform::Amd64) {
        return;
    }
    let bench = Bench::new();
    let blob = bench.put(&path);
    let inspection = bench.inspect(&blob);
    std::thread::scope(|scope| {
        for number in 0..16 {
            let (bench, blob, inspection) = (&bench, &blob, &inspection);
            let check = Check { args: vec![number.to_string()], prints: Some("sample".to_owned()) };
            scope.spawn(move || bench.prove(blob, inspection, &check).unwrap());
        }
    });
}

#[test]
fn a_damaged_program_is_answered() {
    let Some(path) = c_program("dynamic", &["-no-pie"]) else { return };
    let bytes = fs::read(path).unwrap();
    let head_or_table = (any::<bool>(), 0_usize..1024, any::<u64>(), 1_usize..9);
    let damages = proptest::collection::vec(head_or_table, 1..8);
    proptest!(ProptestConfig::with_cases(500), |(damages in damages)| {
        let mut bytes = bytes.clone();
        for (in_head, at, value, size) in damages {
            let at = if in_head { at } else { bytes.len() - 1025 + at };
            let end = (at + size).min(bytes.len());
            bytes[at..end].copy_from_slice(&value.to_le_bytes()[..end - at]);
        }
        let _ = inspect(std::io::Cursor::new(&bytes));
        let _ = kletimg::binaries::strip::strip(std::io::Cursor::new(&bytes), std::io::sink());
    });
}

#[test]
fn the_test_program_itself_is_inspected_without_reading_it() {
    struct Counting(File, u64);
    impl std::io::Read for Counting {
        fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
            let count = self.0.read(buf)?;
            self.1 += count as u64;
            Ok(count)
        }
    }
    impl std::io::Seek for Counting {
        fn seek(&mut self, to: std::io::SeekFrom) -> std::io::Result<u64> {
            self.0.seek(to)
        }
    }
    let mut source = Counting(File::open(env::current_exe().unwrap()).unwrap(), 0);
    let inspection = inspect(&mut source).unwrap();
    assert!(inspection.size > 1 << 20 && source.1 < 64 << 10, "{} of {} bytes", source.1, inspection.size);
}
