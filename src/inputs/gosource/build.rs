//! A source build as an action: what is asked for, under which keys its results are recorded, and how it fails.
//!
//! Each package's program is recorded by itself, so that a matrix that adds `kubeadm` to `kubelet` compiles `kubeadm`
//! only; what is missing of one source, platform and mode is compiled by one `go build`, which loads the sources once.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use super::{
    command::{Compile, Folders, compiler_name},
    layout::{self, Inspected, Layout, LayoutError, Mode},
    sources::{self, SourcesError},
    toolchain::{ToolchainError, Toolchains, Zig},
    version::GoVersion,
};
use crate::{
    base::{Blob, Digest, Epoch, Platform, Tree, progress::Progress, size::Bytes},
    host::{
        files::{self, FileError, Scratch},
        process::{self, ProcessError},
    },
    inputs::store::{ActionKey, Store, StoreError},
};

/// To be raised when the same request gives other bytes than before.
const FORMAT: u32 = 1;

/// Programs to compile from one source archive, for one platform.
#[derive(Clone, Debug)]
pub struct GoBuild {
    /// The digest of the source archive.
    pub source: Digest,
    pub platform: Platform,
    pub packages: Vec<Package>,
    /// The path that the sources are imported by, where their go.mod does not say it.
    pub import_path: Option<String>,
    pub layout: Layout,
    /// Whether C takes part. It is compiled by zig and linked statically.
    pub cgo: bool,
    pub tags: Vec<String>,
    /// Values of string variables by their full names, such as `k8s.io/component-base/version.gitVersion`.
    pub stamps: BTreeMap<String, String>,
    pub modules: Modules,
    /// What C is told to be the time that it is compiled at.
    pub epoch: Epoch,
}

/// A program of the sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// What the result is called.
    pub name: String,
    /// The package's folder, such as `./cmd/kubelet`, or `.`.
    pub path: String,
}

/// Where modules come from that are not in the sources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Modules {
    /// From nowhere: the sources have a `vendor/` or need none.
    #[default]
    InTree,
    /// From a module proxy (<https://go.dev/ref/mod#module-proxy>), each checked by the sources' `go.sum`.
    Download { proxy: String, https_proxy: Option<String>, ca_certificates: Option<PathBuf> },
}

#[derive(Debug, thiserror::Error)]
pub enum GoError {
    #[error(transparent)]
    Toolchain(#[from] ToolchainError),
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error(transparent)]
    Sources(#[from] SourcesError),
    #[error("`{0}` is not a package to compile: write its folder in the sources, for example `./cmd/kubelet`")]
    Package(String),
    #[error("two packages are called `{0}`: give each its own name")]
    SameName(String),
    #[error(
        "the sources have no folder `{path}` to compile {name} from: check the path, or the version of the sources"
    )]
    NoPackage { name: String, path: String },
    #[error("`{0}` is not a build tag: tags are made of letters, digits, `_` and `.`")]
    Tag(String),
    #[error(
        "the stamp `{name}` = `{value}` cannot be handed to Go's linker: names are `package.variable`, values have no line \
         breaks and not both kinds of quotes"
    )]
    Stamp { name: String, value: String },
    #[error(
        "compiling {what} for {platform}: the sources need modules that are not in them, and no download is allowed: name a \
         module proxy for them under [[way]] in the component's file, components/NAME.toml (`module-proxy = \
         \"https://proxy.golang.org\"`), or take an archive with a vendor/ folder; the whole log is in {}\n{last}",
        log.display()
    )]
    ModulesMissing { what: String, platform: Platform, log: PathBuf, last: String },
    #[error(
        "compiling {what} for {platform} failed ({status}); the whole log is in {}, and it ends with\n{last}",
        log.display()
    )]
    Compiler { what: String, platform: Platform, status: String, log: PathBuf, last: String },
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    File(#[from] FileError),
}

impl GoBuild {
    /// What the store has of this build, by package name. The sources are not needed for this.
    pub fn recorded(&self, store: &Store, toolchains: &Toolchains) -> BTreeMap<String, Blob> {
        let found = |package: &Package| {
            let blob = store.recorded::<Blob>(&self.key(toolchains, package))?;
            store.has(&blob).then(|| (package.name.clone(), blob))
        };
        self.packages.iter().filter_map(found).collect()
    }

    /// Everything that can change the bytes of one package's program.
    fn key(&self, toolchains: &Toolchains, package: &Package) -> ActionKey {
        let zig = toolchains.zig.as_ref().filter(|_| self.cgo).map_or("", |zig| &zig.version);
        let key = ActionKey::new("go-program", FORMAT)
            .field("source", self.source)
            .field("go", &toolchains.go.version_text)
            .field("zig", zig)
            .field("platform", self.platform)
            .field("package", &package.path)
            .field("import-path", self.import_path.as_deref().unwrap_or_default())
            .field("layout", format!("{:?}", self.layout))
            .field("cgo", self.cgo)
            .field("tags", self.tags.join(","));
        // Only C asks for the time.
        let key = if self.cgo { key.field("epoch", self.epoch) } else { key };
        self.stamps.iter().fold(key, |key, (name, value)| key.field("stamp", name).field("value", value))
    }

    fn checked(&self) -> Result<(), GoError> {
        let mut names = BTreeSet::new();
        for Package { name, path } in &self.packages {
            if !is_package(path) {
                return Err(GoError::Package(path.clone()));
            }
            if !names.insert(name) {
                return Err(GoError::SameName(name.clone()));
            }
        }
        let tag = |tag: &str| {
            !tag.is_empty() && tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.".contains(&byte))
        };
        if let Some(wrong) = self.tags.iter().find(|text| !tag(text)) {
            return Err(GoError::Tag(wrong.clone()));
        }
        let stamp = |name: &str, value: &str| {
            let word = |byte: u8| byte.is_ascii_graphic() && !b"'\"=".contains(&byte);
            let quotable = !(value.contains('\'') && value.contains('"'));
            name.contains('.') && name.bytes().all(word) && quotable && !value.contains(['\n', '\r', '\0'])
        };
        match self.stamps.iter().find(|(name, value)| !stamp(name, value)) {
            Some((name, value)) => Err(GoError::Stamp { name: name.clone(), value: value.clone() }),
            None => Ok(()),
        }
    }
}

/// A folder below the sources, without patterns: `.` or `./a/b`.
fn is_package(path: &str) -> bool {
    let part = |part: &str| {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+".contains(&byte);
        !part.is_empty() && !part.starts_with('.') && !part.contains("...") && part.bytes().all(word)
    };
    path == "." || path.strip_prefix("./").is_some_and(|rest| rest.split('/').all(part))
}

/// Compiles what the store does not have yet of `build`, from the sources in `tree`, and returns all of its programs by
/// package name. `jobs` is how many compilers may run at once.
///
/// Two builds in one store do not harm each other; one after the other is faster, because Go itself uses all `jobs`.
pub fn build(
    store: &Store,
    toolchains: &Toolchains,
    build: &GoBuild,
    tree: &Tree,
    progress: &dyn Progress,
    jobs: usize,
) -> Result<BTreeMap<String, Blob>, GoError> {
    build.checked()?;
    let inspected = fitting(store, toolchains, build, tree)?;
    let zig = if build.cgo { Some(toolchains.zig.as_ref().ok_or(ToolchainError::NoZig)?) } else { None };
    let alone = ActionKey::new("go-build", FORMAT).field("source", build.source).field("platform", build.platform);
    let _alone = store.lock(&alone)?;
    let mut programs = build.recorded(store, toolchains);
    let missing: Vec<&Package> =
        build.packages.iter().filter(|package| !programs.contains_key(&package.name)).collect();
    if missing.is_empty() {
        return Ok(programs);
    }

    let root = files::canonical(store.root())?;
    let placed = sources::place(store, &root, &build.source, tree, &inspected, progress)?;
    let scratch = store.scratch()?;
    let folders = Folders { scratch: files::canonical(scratch.path())?, store: root };
    prepare(&folders, zig)?;
    let stamps = stamps(build, tree, &inspected);
    let compile = Compile {
        go: &toolchains.go,
        zig,
        build,
        inspected: &inspected,
        placed: &placed,
        folders: &folders,
        stamps: &stamps,
        jobs,
    };
    for together in batches(&missing) {
        for (package, program) in run(store, toolchains, &compile, &together, progress)? {
            programs.insert(package.name.clone(), program);
        }
    }
    Ok(programs)
}

/// Reads off the sources how to build them, and sees that they have the packages and that this Go can do it.
fn fitting(store: &Store, toolchains: &Toolchains, build: &GoBuild, tree: &Tree) -> Result<Inspected, GoError> {
    let go = &toolchains.go;
    let mut inspected = layout::inspect(store, tree, build.layout, build.import_path.as_deref())?;
    if let Some(required) = inspected.go.filter(|required| go.version < *required) {
        return Err(ToolchainError::GoTooOld { required, found: go.version, program: go.program.clone() }.into());
    }
    // Older ones refuse `-mod=vendor` in a workspace: there, a vendor/ folder is that of the module beside go.work.
    if inspected.mode == Mode::Workspace && inspected.vendored && go.version < GoVersion::new(1, 22) {
        if layout::has(tree, inspected.top.as_deref(), "go.mod") {
            inspected.mode = Mode::Module;
        } else {
            inspected.vendored = false;
        }
    }
    for Package { name, path } in &build.packages {
        if let Some(folder) =
            path.strip_prefix("./").filter(|folder| !layout::has(tree, inspected.top.as_deref(), folder))
        {
            return Err(GoError::NoPackage { name: name.clone(), path: folder.to_owned() });
        }
    }
    Ok(inspected)
}

fn prepare(folders: &Folders, zig: Option<&Zig>) -> Result<(), FileError> {
    for folder in [folders.programs(), folders.temporary(), folders.output()] {
        files::create_folder(&folder)?;
    }
    // Go 1.23 and later count their uses below the home folder, from a process that may outlive the build.
    files::write(&folders.home().join(".config/go/telemetry/mode"), b"off", 0o644)?;
    match zig {
        Some(zig) => files::symlink(&zig.program, &folders.programs().join(compiler_name(zig))),
        None => Ok(()),
    }
}

/// The stamps under the names that the linker knows. In a GOPATH tree a vendored package is a package below the tree's
/// own import path.
fn stamps(build: &GoBuild, tree: &Tree, inspected: &Inspected) -> Vec<(String, String)> {
    let vendored = |package: &str| {
        let top = inspected.top.as_deref();
        // Kubernetes' own libraries are links in vendor/, with nothing below them in the tree.
        let links = package.match_indices('/').map(|(end, _)| &package[..end]).chain([package]);
        links.skip(1).any(|part| layout::is_link(tree, top, &format!("vendor/{part}")))
            || layout::has(tree, top, &format!("vendor/{package}"))
    };
    let linked = |(name, value): (&String, &String)| {
        let package = name.rsplit_once('.').map_or("", |(package, _)| package);
        let inside = inspected.mode == Mode::Gopath && vendored(package);
        let name = if inside { format!("{}/vendor/{name}", inspected.import_path) } else { name.clone() };
        (name, value.clone())
    };
    build.stamps.iter().map(linked).collect()
}

/// Groups packages so that in each group no two have one base name: Go calls programs by it when it makes several.
fn batches<'a>(packages: &[&'a Package]) -> Vec<Vec<&'a Package>> {
    let mut batches: Vec<Vec<&Package>> = Vec::new();
    for &package in packages {
        let fits = |batch: &&mut Vec<&Package>| batch.iter().all(|other| can_share(package, other));
        match batches.iter_mut().find(fits) {
            Some(batch) => batch.push(package),
            None => batches.push(vec![package]),
        }
    }
    batches
}

fn can_share(one: &Package, other: &Package) -> bool {
    let plain =
        |name: &str| !(name == "." || name.starts_with('v') && name[1..].bytes().all(|byte| byte.is_ascii_digit()));
    let (a, b) = (base_name(&one.path), base_name(&other.path));
    a != b && plain(a) && plain(b)
}

/// What Go calls the program of a package, unless the path ends in a major version (`v2`) or is the module itself.
fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Compiles packages that can share one `go build`, and records their programs.
fn run<'a>(
    store: &Store,
    toolchains: &Toolchains,
    compile: &Compile,
    packages: &[&'a Package],
    progress: &dyn Progress,
) -> Result<Vec<(&'a Package, Blob)>, GoError> {
    let build = compile.build;
    let what = packages.iter().map(|package| package.name.as_str()).collect::<Vec<_>>().join(", ");
    let task = progress.start(&format!("compile {what} for {}", build.platform), None);
    let output = Scratch::new_in(&compile.folders.output())?;
    // A folder, also for one program: Go would write a library to a file without a word.
    let program = compile.program(packages, output.path());

    let log = compile.folders.store.join("logs").join(log_name(build, packages, toolchains));
    files::remove(&log)?;
    let status = program.run_logged(&log)?;
    if !status.success() {
        return Err(failure(build, what, process::describe(status), log)?);
    }
    let mut programs = Vec::new();
    for &package in packages {
        let alone = if packages.len() == 1 { files::names(output.path())?.pop() } else { None };
        let file = output.path().join(alone.as_deref().unwrap_or(base_name(&package.path)));
        if files::size(&file).is_none() {
            // Among programs, Go says nothing and makes nothing of a package that is a library.
            return Err(GoError::Package(package.path.clone()));
        }
        let blob = store.put_file(&file)?;
        store.record(&build.key(toolchains, package), &blob)?;
        programs.push((package, blob));
    }
    task.done(&Bytes(programs.iter().map(|(_, blob)| blob.size).sum()).to_string());
    Ok(programs)
}

fn log_name(build: &GoBuild, packages: &[&Package], toolchains: &Toolchains) -> String {
    let platform = build.platform.name().replace('/', "-");
    let first =
        packages.first().map(|package| (base_name(&package.path), build.key(toolchains, package).digest().short()));
    let (name, key) = first.unwrap_or_default();
    format!("go-{name}-{platform}-{key}.log")
}

fn failure(build: &GoBuild, what: String, status: String, log: PathBuf) -> Result<GoError, FileError> {
    const LINES: usize = 20;
    let text = files::tail(&log, 64 << 10)?;
    let lines: Vec<&str> = text.lines().collect();
    let last = lines[lines.len().saturating_sub(LINES)..].join("\n");
    let platform = build.platform;
    let missing = ["module lookup disabled by GOPROXY=off", "missing go.sum entry"];
    let downloads = build.modules != Modules::InTree;
    if !downloads && missing.iter().any(|sign| text.contains(sign)) {
        return Ok(GoError::ModulesMissing { what, platform, log, last });
    }
    Ok(GoError::Compiler { what, platform, status, log, last })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::{Content, Entry, Node, TreePath},
        inputs::gosource::toolchain::Go,
    };

    fn fits(version: GoVersion, files: &[(&str, &str)]) -> Inspected {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        let mut tree = Tree::new();
        for (path, text) in files {
            let content = Content::whole(store.put(text.as_bytes()).unwrap());
            tree.insert(TreePath::new(path).unwrap(), Entry::new(0o644, Node::File(content)));
        }
        let go = Go { program: PathBuf::new(), root: PathBuf::new(), version, version_text: String::new() };
        let build = GoBuild {
            source: Digest::of(""),
            platform: Platform::Amd64,
            packages: Vec::new(),
            import_path: Some("example.com/x".to_owned()),
            layout: Layout::Auto,
            cgo: false,
            tags: Vec::new(),
            stamps: BTreeMap::new(),
            modules: Modules::InTree,
            epoch: Epoch::default(),
        };
        fitting(&store, &Toolchains { go, zig: None }, &build, &tree).unwrap()
    }

    #[test]
    fn a_workspace_has_its_modules_beside_it_since_1_22() {
        let (workspace, vendored) = (("go.work", "go 1.18\n"), ("vendor/modules.txt", ""));
        let files = [workspace, vendored, ("go.mod", "module example.com/x\n")];
        for (minor, expected) in [(21, Mode::Module), (22, Mode::Workspace)] {
            let found = fits(GoVersion::new(1, minor), &files);
            assert_eq!((found.mode, found.vendored), (expected, true));
        }
        let found = fits(GoVersion::new(1, 21), &[workspace, vendored]);
        assert_eq!((found.mode, found.vendored), (Mode::Workspace, false));
    }
}
