//! Go programs compiled for the three platforms by real toolchains, and run: natively, and under qemu-user.
//!
//! Every test has its own store. The compilers' caches are kept between runs in the build folder, except where a test
//! is about two stores that share nothing.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_macros,
    reason = "a test program: it fails by panicking, and prints what it skips"
)]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use kletimg::{
    base::{Blob, Content, Digest, Entry, Epoch, Node, Platform, Tree, TreePath, progress::Silent},
    host::process,
    inputs::{
        gosource::{
            build::{GoBuild, GoError, Modules, Package, build},
            layout::Layout,
            toolchain::{Go, Search, ToolchainError, Toolchains, Zig},
            version::GoVersion,
        },
        store::Store,
    },
};

mod support;
use support::parts;

fn search() -> Search {
    Search::new(std::env::var_os("PATH").unwrap_or_default(), std::env::var_os("HOME").map(PathBuf::from))
}

fn go() -> Option<Toolchains> {
    let go = Go::find(&search()).ok();
    parts::need("go", go, "there is no Go on this machine").map(|go| Toolchains { go, zig: None })
}

fn go_and_zig(store: &Store) -> Option<Toolchains> {
    let toolchains = go()?;
    let zig = parts::need("zig", Zig::find(&search(), store).ok(), "there is no zig on this machine")?;
    Some(Toolchains { zig: Some(zig), ..toolchains })
}

/// A store of its own, with compiler caches that are shared and kept.
fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    for cache in ["go-build", "zig"] {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gosource").join(cache);
        std::fs::create_dir_all(&kept).unwrap();
        std::os::unix::fs::symlink(kept, folder.path().join(cache)).unwrap();
    }
    let store = Store::new(folder.path());
    (folder, store)
}

fn tree(store: &Store, files: &[(&str, &str)]) -> (Tree, Digest) {
    let mut tree = Tree::new();
    for (path, text) in files {
        let content = Content::whole(store.put(text.as_bytes()).unwrap());
        tree.insert(TreePath::new(path).unwrap(), Entry::new(0o644, Node::File(content)));
    }
    let digest = Digest::of(format!("{files:?}"));
    (tree, digest)
}

fn package(name: &str, path: &str) -> Package {
    Package { name: name.into(), path: path.into() }
}

fn request(source: Digest, platform: Platform, packages: &[(&str, &str)]) -> GoBuild {
    GoBuild {
        source,
        platform,
        packages: packages.iter().map(|(name, path)| package(name, path)).collect(),
        import_path: None,
        layout: Layout::Auto,
        cgo: false,
        tags: Vec::new(),
        stamps: BTreeMap::new(),
        modules: Modules::InTree,
        epoch: Epoch::try_from(1_600_000_000).unwrap(),
    }
}

/// Runs a program of a platform and returns what it prints; `None` where the machine cannot.
fn output(store: &Store, program: &Blob, platform: Platform, args: &[&str]) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("program");
    std::fs::copy(store.path(&program.digest), &path).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = if Platform::host() == Some(platform) {
        Command::new(&path)
    } else {
        let name = format!("qemu-{}", platform.qemu_arch());
        let path_value = std::env::var_os("PATH").unwrap_or_default();
        let found = process::find(&format!("{name}-static"), &path_value).or_else(|| process::find(&name, &path_value));
        let mut command = Command::new(parts::need("qemu", found, &format!("`{name}` is not on PATH"))?);
        command.arg(&path);
        command
    };
    let ended = support::run_new(command.args(args));
    assert!(ended.status.success(), "{platform}: {ended:?}");
    Some(String::from_utf8(ended.stdout).unwrap())
}

const HELLO: [(&str, &str); 4] = [
    ("hello-1.0/go.mod", "module example.com/hello\n\ngo 1.15\n"),
    (
        "hello-1.0/cmd/hello/main.go",
        "package main\nimport (\"fmt\"; \"runtime\"; \"example.com/hello/words\")\nvar version = \"none\"\n\
         func main() { fmt.Println(words.Hello, version, runtime.GOARCH) }\n",
    ),
    ("hello-1.0/cmd/bye/main.go", "package main\nfunc main() { print() }\n"),
    ("hello-1.0/words/words.go", "package words\nconst Hello = \"hello\"\n"),
];

#[test]
fn a_module_is_compiled_for_every_platform() {
    let Some(toolchains) = go() else { return };
    let (_folder, store) = store();
    let (tree, digest) = tree(&store, &HELLO);
    for platform in Platform::ALL {
        let mut request = request(digest, platform, &[("hi", "./cmd/hello"), ("bye", "./cmd/bye")]);
        request.stamps.insert("main.version".into(), "it's 1.0".into());
        assert!(request.recorded(&store, &toolchains).is_empty());
        let built = build(&store, &toolchains, &request, &tree, &Silent, 2).unwrap();
        assert_eq!(built.keys().collect::<Vec<_>>(), ["bye", "hi"]);
        assert_eq!(request.recorded(&store, &toolchains), built);
        // What is recorded is not compiled again: there is nothing left to compile from but go.mod.
        let (rest, _) = self::tree(&store, &[HELLO[0], HELLO[1], HELLO[2]]);
        assert_eq!(build(&store, &toolchains, &request, &rest, &Silent, 2).unwrap(), built);
        if let Some(printed) = output(&store, &built["hi"], platform, &[]) {
            assert_eq!(printed, format!("hello it's 1.0 {}\n", platform.go_arch()));
        }
    }
}

#[test]
fn a_gopath_tree_finds_its_vendored_packages_and_their_stamps() {
    let Some(toolchains) = go() else { return };
    let (_folder, store) = store();
    let (mut tree, digest) = tree(
        &store,
        &[
            ("main.go", "package main\nimport \"example.com/dep/version\"\nfunc main() { println(version.Git) }\n"),
            ("staging/dep/version/version.go", "package version\nvar Git = \"none\"\n"),
            ("vendor/other.org/x/x.go", "package x\n"),
        ],
    );
    tree.insert(TreePath::new("vendor/example.com/dep").unwrap(), Entry::symlink("../../staging/dep"));
    let mut request = request(digest, Platform::Amd64, &[("old", ".")]);
    request.import_path = Some("example.com/old".into());
    request.stamps.insert("example.com/dep/version.Git".into(), "v1.20.2".into());
    let built = build(&store, &toolchains, &request, &tree, &Silent, 2).unwrap();
    let bytes = std::fs::read(store.path(&built["old"].digest)).unwrap();
    assert!(bytes.windows(7).any(|bytes| bytes == b"v1.20.2"));
}

#[test]
fn a_workspace_is_compiled_from_all_its_modules() {
    let Some(toolchains) = go() else { return };
    let (_folder, store) = store();
    let (tree, digest) = tree(
        &store,
        &[
            ("w/go.work", "go 1.18\n\nuse (\n\t.\n\t./staging/dep\n)\n"),
            ("w/go.mod", "module example.com/w\n\ngo 1.18\n\nrequire example.com/dep v0.0.0\n"),
            ("w/main.go", "package main\nimport \"example.com/dep/version\"\nfunc main() { println(version.Git) }\n"),
            ("w/staging/dep/go.mod", "module example.com/dep\n\ngo 1.18\n"),
            ("w/staging/dep/version/version.go", "package version\nvar Git = \"none\"\n"),
        ],
    );
    let mut request = request(digest, Platform::Amd64, &[("w", ".")]);
    request.stamps.insert("example.com/dep/version.Git".into(), "v1.30.0".into());
    let built = build(&store, &toolchains, &request, &tree, &Silent, 2).unwrap_or_else(|error| panic!("{error}"));
    let bytes = std::fs::read(store.path(&built["w"].digest)).unwrap();
    assert!(bytes.windows(7).any(|bytes| bytes == b"v1.30.0"));
    // The same sources as a module alone lack what the workspace has.
    request.layout = Layout::Module;
    let error = build(&store, &toolchains, &request, &tree, &Silent, 2).unwrap_err();
    assert!(matches!(error, GoError::ModulesMissing { .. }), "{error}");
}

/// A program in which C takes part, with everything that could carry a folder into it.
const CGO: [(&str, &str); 3] = [
    ("go.mod", "module example.com/c\n\ngo 1.15\n"),
    ("where.h", "static const char *where(void) { return __FILE__; }\n"),
    (
        "main.go",
        "package main\n\n/*\n#include \"where.h\"\n#include <assert.h>\n\
         static int twice(int x) { assert(x > 0); return 2 * x; }\n*/\nimport \"C\"\n\
         import (\"fmt\"; \"net\"; \"os/user\")\n\
         func main() {\n\t_, err := net.LookupHost(\"localhost\")\n\t_, _ = user.Current()\n\
         \tfmt.Println(C.twice(21), C.GoString(C.where()), err == nil)\n}\n",
    ),
];

#[test]
fn a_program_with_c_in_it_is_static_and_runs_everywhere() {
    let (_folder, store) = store();
    let Some(toolchains) = go_and_zig(&store) else { return };
    let (tree, digest) = tree(&store, &CGO);
    for platform in Platform::ALL {
        let request = GoBuild { cgo: true, ..request(digest, platform, &[("c", ".")]) };
        let built = build(&store, &toolchains, &request, &tree, &Silent, 2).unwrap();
        let bytes = std::fs::read(store.path(&built["c"].digest)).unwrap();
        let elf = goblin::elf::Elf::parse(&bytes).unwrap();
        assert_eq!((elf.interpreter, elf.libraries.len()), (None, 0), "{platform}");
        assert_eq!(elf.header.e_type, goblin::elf::header::ET_EXEC, "{platform}");
        let debug = elf.section_headers.iter().filter_map(|section| elf.shdr_strtab.get_at(section.sh_name));
        assert_eq!(debug.filter(|name| name.starts_with(".debug") || *name == ".symtab").count(), 0, "{platform}");
        if let Some(printed) = output(&store, &built["c"], platform, &[]) {
            assert!(printed.starts_with("42 where.h "), "{platform}: {printed}");
        }
    }
}

#[test]
fn c_is_compiled_at_the_time_of_the_lock() {
    let (_folder, store) = store();
    let Some(toolchains) = go_and_zig(&store) else { return };
    let main = "package main\n// static const char *when(void) { return __DATE__ \" \" __TIME__; }\nimport \"C\"\n\
                func main() { println(C.GoString(C.when())) }\n";
    let (tree, digest) = tree(&store, &[("go.mod", "module example.com/when\n"), ("main.go", main)]);
    for (epoch, when) in [(1_600_000_000, "Sep 13 2020 12:26:40"), (1_700_000_000, "Nov 14 2023 22:13:20")] {
        let epoch = Epoch::try_from(epoch).unwrap();
        let request = GoBuild { cgo: true, epoch, ..request(digest, Platform::Amd64, &[("when", ".")]) };
        let built = build(&store, &toolchains, &request, &tree, &Silent, 2).unwrap();
        let bytes = std::fs::read(store.path(&built["when"].digest)).unwrap();
        assert!(bytes.windows(when.len()).any(|window| window == when.as_bytes()), "{when}");
    }
}

#[test]
fn two_stores_that_share_nothing_give_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let digests = ["a", "another/much/longer/path"].map(|below| {
        let store = Store::new(folder.path().join(below));
        let toolchains = go_and_zig(&store)?;
        let (tree, digest) = tree(&store, &CGO);
        let request = GoBuild { cgo: true, ..request(digest, Platform::Amd64, &[("c", ".")]) };
        let built = build(&store, &toolchains, &request, &tree, &Silent, 1 + below.len() % 2).unwrap();
        let bytes = std::fs::read(store.path(&built["c"].digest)).unwrap();
        let own = folder.path().as_os_str().as_encoded_bytes();
        assert!(!bytes.windows(own.len()).any(|window| window == own), "the program names its store");
        Some(built["c"])
    });
    assert_eq!(digests[0], digests[1]);
}

#[test]
fn a_compile_error_shows_the_last_lines_and_names_the_log() {
    let Some(toolchains) = go() else { return };
    let (_folder, store) = store();
    let (tree, digest) = tree(
        &store,
        &[("go.mod", "module example.com/bad\n"), ("main.go", "package main\nfunc main() { undefinedName() }\n")],
    );
    let request = request(digest, Platform::Arm64, &[("bad", ".")]);
    let error = build(&store, &toolchains, &request, &tree, &Silent, 2).unwrap_err();
    let text = error.to_string();
    let GoError::Compiler { log, .. } = error else { panic!("{text}") };
    assert!(text.starts_with("compiling bad for linux/arm64 failed (exit code "), "{text}");
    assert!(text.contains("main.go:2:15: undefined: undefinedName"), "{text}");
    assert!(text.contains(&log.display().to_string()), "{text}");
    assert!(std::fs::read_to_string(log).unwrap().contains("undefinedName"));
    assert!(request.recorded(&store, &toolchains).is_empty());
    assert_eq!(std::fs::read_dir(store.root().join("scratch")).unwrap().count(), 0);
}

#[test]
fn requests_that_cannot_be_built_are_refused_before_anything_runs() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path());
    let (tree, digest) = tree(&store, &HELLO);
    // No such program: whatever would be run fails in another way.
    let version = GoVersion::new(1, 14);
    let nowhere = Go { program: "/nonexistent/go".into(), root: "/".into(), version, version_text: String::new() };
    let old = Toolchains { go: nowhere, zig: None };
    let new = Toolchains { go: Go { version: GoVersion::new(1, 19), ..old.go.clone() }, zig: None };
    let refused =
        |toolchains: &Toolchains, request: &GoBuild| build(&store, toolchains, request, &tree, &Silent, 1).unwrap_err();
    let sound = request(digest, Platform::Amd64, &[("hello", "./cmd/hello")]);
    let error = refused(&old, &sound);
    assert!(matches!(error, GoError::Toolchain(ToolchainError::GoTooOld { .. })), "{error}");
    let error = refused(&new, &GoBuild { cgo: true, ..sound.clone() });
    assert!(matches!(error, GoError::Toolchain(ToolchainError::NoZig)), "{error}");
    for path in ["-toolexec=/bin/sh", "./...", "./cmd/...", "../x", "/etc", "./cmd/../..", "cmd/hello", "./", "./a b"] {
        let error = refused(&new, &request(digest, Platform::Amd64, &[("x", path)]));
        assert!(matches!(error, GoError::Package(_)), "{path}: {error}");
    }
    let error = refused(&new, &request(digest, Platform::Amd64, &[("x", "./cmd/kubelet")]));
    assert!(matches!(error, GoError::NoPackage { .. }), "{error}");
    let error = refused(&new, &request(digest, Platform::Amd64, &[("x", "./cmd/hello"), ("x", "./cmd/bye")]));
    assert!(matches!(error, GoError::SameName(_)), "{error}");
    for tag in ["", "a b", "a,b", "-x"] {
        let error = refused(&new, &GoBuild { tags: vec![tag.into()], ..sound.clone() });
        assert!(matches!(error, GoError::Tag(_)), "{tag}: {error}");
    }
    for (name, value) in
        [("main.version", "a\nb"), ("main.version", "'\""), ("version", "a"), ("main.a' -extld=x", "a")]
    {
        let stamps = [(name.to_owned(), value.to_owned())].into();
        let error = refused(&new, &GoBuild { stamps, ..sound.clone() });
        assert!(matches!(error, GoError::Stamp { .. }), "{name}={value}: {error}");
    }
    assert!(!folder.path().join("src").exists());
    let error = refused(&new, &sound);
    assert!(matches!(error, GoError::Process(_)), "{error}");
}

#[test]
fn packages_of_one_base_name_and_libraries_are_told_apart() {
    let Some(toolchains) = go() else { return };
    let (_folder, store) = store();
    let (tree, digest) = tree(
        &store,
        &[
            ("go.mod", "module example.com/x\n"),
            ("a/server/main.go", "package main\nfunc main() { println(\"a\") }\n"),
            ("b/server/main.go", "package main\nfunc main() { println(\"b\") }\n"),
            ("c/tool/main.go", "package main\nfunc main() { println(\"c\") }\n"),
            ("library/library.go", "package library\n"),
        ],
    );
    let both = request(digest, Platform::Amd64, &[("one", "./a/server"), ("two", "./b/server")]);
    let built = build(&store, &toolchains, &both, &tree, &Silent, 2).unwrap();
    assert_ne!(built["one"], built["two"]);
    let library = request(digest, Platform::Amd64, &[("library", "./library")]);
    let error = build(&store, &toolchains, &library, &tree, &Silent, 2).unwrap_err();
    assert!(error.to_string().contains("no main packages"), "{error}");
    let among = request(digest, Platform::Amd64, &[("library", "./library"), ("three", "./c/tool")]);
    let error = build(&store, &toolchains, &among, &tree, &Silent, 2).unwrap_err();
    assert!(matches!(error, GoError::Package(_)), "{error}");
}

/// A module proxy in a folder (<https://go.dev/ref/mod#goproxy-protocol>) with one module, and that module's lines of
/// go.sum.
fn module_proxy(folder: &Path) -> String {
    use std::io::Write as _;
    let (module, version) = ("example.com/dep", "v1.0.0");
    let files = [("dep.go", "package dep\nconst Word = \"downloaded\"\n"), ("go.mod", "module example.com/dep\n")];
    let versions = folder.join(module).join("@v");
    std::fs::create_dir_all(&versions).unwrap();
    std::fs::write(versions.join("v1.0.0.info"), "{\"Version\": \"v1.0.0\"}").unwrap();
    std::fs::write(versions.join("v1.0.0.mod"), files[1].1).unwrap();
    let mut archive = zip::ZipWriter::new(std::fs::File::create(versions.join("v1.0.0.zip")).unwrap());
    let mut list = Vec::new();
    for (name, text) in files {
        let name = format!("{module}@{version}/{name}");
        archive.start_file(&name, zip::write::SimpleFileOptions::default()).unwrap();
        archive.write_all(text.as_bytes()).unwrap();
        list.push(format!("{}  {name}\n", Digest::of(text).hex()));
    }
    archive.finish().unwrap();
    let of_mod = format!("{}  go.mod\n", Digest::of(files[1].1).hex());
    let h1 = |list: &str| base64::Engine::encode(&base64::prelude::BASE64_STANDARD, Digest::of(list).as_bytes());
    format!("{module} {version} h1:{}\n{module} {version}/go.mod h1:{}\n", h1(&list.concat()), h1(&of_mod))
}

#[test]
fn modules_are_downloaded_only_where_that_is_allowed_and_as_go_sum_pins_them() {
    let Some(toolchains) = go() else { return };
    let (folder, store) = store();
    let sums = module_proxy(&folder.path().join("proxy"));
    let wrong = sums.replacen("h1:", "h1:AAAA", 1);
    let sources = |sums: &str| {
        let main = "package main\nimport \"example.com/dep\"\nfunc main() { println(dep.Word) }\n";
        let module = "module example.com/x\n\ngo 1.15\n\nrequire example.com/dep v1.0.0\n";
        tree(&store, &[("go.mod", module), ("go.sum", sums), ("main.go", main)])
    };
    let proxy = format!("file://{}", folder.path().join("proxy").display());
    let download = Modules::Download { proxy, https_proxy: None, ca_certificates: None };
    for (sums, modules, fine) in
        [(&sums, Modules::InTree, false), (&wrong, download.clone(), false), (&sums, download, true)]
    {
        let (tree, digest) = sources(sums);
        let request = GoBuild { modules: modules.clone(), ..request(digest, Platform::Amd64, &[("x", ".")]) };
        match build(&store, &toolchains, &request, &tree, &Silent, 2) {
            Ok(_) => assert!(fine, "{modules:?}"),
            Err(GoError::ModulesMissing { .. }) => assert_eq!(modules, Modules::InTree),
            Err(error) => assert!(!fine && error.to_string().contains("checksum mismatch"), "{error}"),
        }
    }
    // Go makes its module cache read-only, which the temporary folder could not be removed through.
    Command::new("chmod").arg("-R").arg("u+w").arg(folder.path().join("go-mod")).status().unwrap();
}
