//! `alpine/*.toml` and `debian/*.toml`: the root file systems that images stand on.
//!
//! A base is either one archive that somebody released, or made of the packages of signed repositories. Packages are
//! listed in groups, each with the reason why it is there and with the images and Kubernetes versions that need it.

mod accounts;
mod debian;

use std::{collections::BTreeMap, path::PathBuf};

pub use debian::{Alternative, DebianMirrors, DebianRepository, DebianRoot, Kept, LeftOut};

use super::{
    Origin, Overlay,
    problem::{At, Located},
    read::Table,
};
use crate::base::{Accounts, Platform, TreePath, Version, VersionRange};

/// A base: where its files come from, what is taken out of it, and what is laid over it.
#[derive(Clone, Debug)]
pub struct Base {
    pub name: String,
    pub root: BaseRoot,
    /// Paths that the images do not need, removed with all below them.
    pub remove: Vec<Located<TreePath>>,
    pub files: Vec<Overlay>,
    /// The Kubernetes versions that this base is meant for.
    pub kubernetes: VersionRange,
    pub at: At,
}

/// Where a base's files come from.
#[derive(Clone, Debug)]
pub enum BaseRoot {
    /// A root file system as an archive.
    Archive(Origin),
    Alpine(AlpineRoot),
    Debian(DebianRoot),
}

/// Packages of Alpine's repositories.
#[derive(Clone, Debug)]
pub struct AlpineRoot {
    pub repositories: Vec<AlpineRepository>,
    /// Public keys (PEM), files beside the definition; their names are what signatures call them by.
    pub keys: Vec<Located<PathBuf>>,
    pub packages: Vec<PackageGroup>,
    pub declared: Vec<DeclaredScript>,
    /// Users and groups beside those of the packages.
    pub accounts: Accounts,
    /// A file beside the definition with the paths of the applets of `BusyBox`, for releases whose package lists none.
    pub applets: Option<Located<PathBuf>>,
}

/// One repository of Alpine packages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlpineRepository {
    /// Without the architecture and without a slash at the end, such as `https://dl-cdn.alpinelinux.org/alpine/v3.22/main`.
    pub url: String,
    /// `edge` of a line `@edge https://...`.
    pub tag: Option<String>,
    pub allow_unsigned: bool,
}

/// Packages that are asked for together, for one reason.
#[derive(Clone, Debug)]
pub struct PackageGroup {
    pub names: Vec<Located<String>>,
    pub why: String,
    pub kubernetes: VersionRange,
    /// The image that needs them; every image where none is said.
    pub image: Option<Located<String>>,
    /// The component that needs them; whatever the cell holds where none is said.
    pub component: Option<Located<String>>,
    pub platforms: Vec<Platform>,
    pub at: At,
}

/// Scripts of a package that need not run, or that something in the definition stands in for.
#[derive(Clone, Debug)]
pub struct DeclaredScript {
    pub package: String,
    /// All of the package's scripts where none is named.
    pub phases: Vec<String>,
    pub why: String,
}

impl Base {
    pub(super) fn read(name: &str, table: &Table<'_>) -> Option<Self> {
        let _ = table.string("description");
        Some(Self {
            name: name.to_owned(),
            remove: table.list("remove").unwrap_or_default(),
            files: table.each("files", Overlay::read),
            kubernetes: table.parsed("kubernetes").unwrap_or_else(VersionRange::any),
            root: read_root(table)?,
            at: table.at().clone(),
        })
    }
}

fn read_root(table: &Table<'_>) -> Option<BaseRoot> {
    const HELP: &str =
        "write either `[rootfs]` with the `url` of an archive, or `[[repositories]]`, `keys` and `[[packages]]`";
    let archive = table.get("rootfs").map(|rootfs| rootfs.table(Origin::read));
    let packages = table.get("repositories").is_some() || table.get("packages").is_some();
    match (archive, packages) {
        (Some(archive), false) => archive.map(BaseRoot::Archive),
        (None, true) => match table.get("repositories") {
            Some(repositories) if DebianRoot::is_meant(&repositories) => DebianRoot::read(table).map(BaseRoot::Debian),
            _ => AlpineRoot::read(table).map(BaseRoot::Alpine),
        },
        (Some(_), true) => {
            table.report("two-roots", "the base has both an archive and packages", Some(HELP.to_owned()));
            None
        }
        (None, false) => {
            table.report(
                "base-without-root",
                "the base says nothing of where its files come from",
                Some(HELP.to_owned()),
            );
            None
        }
    }
}

impl AlpineRoot {
    fn read(table: &Table<'_>) -> Option<Self> {
        let repositories = table.each("repositories", AlpineRepository::read);
        let keys = table.list::<PathBuf>("keys").unwrap_or_default();
        let signed = repositories.iter().any(|repository| !repository.allow_unsigned);
        if signed && keys.is_empty() {
            let help =
                "write `keys = [\"keys/alpine-devel@lists.alpinelinux.org-6165ee59.rsa.pub\"]`, files beside this one";
            table.report(
                "base-without-keys",
                "no key is given, so that no index can be trusted",
                Some(help.to_owned()),
            );
        }
        for key in keys.iter().filter(|key| key.value.file_name().is_none()) {
            let message = format!("`{}` names no file", key.value.display());
            table.report("invalid-value", message, None);
        }
        let root = Self {
            repositories,
            keys,
            packages: table.each("packages", PackageGroup::read),
            declared: table.each("declared", |table| DeclaredScript::read(table, &PHASES)),
            accounts: accounts::read(table),
            applets: table.get("applets").and_then(|applets| applets.parsed()),
        };
        let repositories = table.require("repositories", "[[repositories]]\nurl = \"https://.../v3.22/main\"");
        let packages = table.require("packages", "[[packages]]\nnames = [\"busybox\"]\nwhy = \"the shell\"");
        (repositories.is_some() && packages.is_some()).then_some(root)
    }

    /// The names by which signatures call the keys.
    pub fn key_names(&self) -> Vec<String> {
        let names = self.keys.iter().filter_map(|key| key.value.file_name());
        names.map(|name| name.to_string_lossy().into_owned()).collect()
    }

    /// What a cell would ask for of one package in two ways, each with both places. Apk can keep only one of them.
    pub fn contradictions(&self, cell: &AskingCell<'_>) -> Vec<[&Located<String>; 2]> {
        let mut first: BTreeMap<&str, &Located<String>> = BTreeMap::new();
        let mut found = Vec::new();
        for name in self.packages.iter().filter(|group| group.serves(cell)).flat_map(|group| &group.names) {
            match first.get(package_name(&name.value)) {
                Some(before) if before.value != name.value => found.push([*before, name]),
                Some(_) => {}
                None => {
                    first.insert(package_name(&name.value), name);
                }
            }
        }
        found
    }

    /// The packages that a cell asks for, sorted, each once; and of these those that every cell asks for, in a layer
    /// that all tags share.
    pub fn request(&self, cell: &AskingCell<'_>) -> PackageRequest {
        // The order says nothing to apk, and locks have it so.
        let PackageRequest { mut all, mut shared } = request(&self.packages, cell);
        all.sort();
        shared.sort();
        PackageRequest { all, shared }
    }
}

/// `busybox` of `!busybox`, `busybox@edge` and `busybox=1.36.1-r15`.
fn package_name(request: &str) -> &str {
    let name = request.strip_prefix('!').unwrap_or(request);
    name.split(['@', '<', '>', '=', '~']).next().unwrap_or(name)
}

/// A cell, as far as the packages of its base depend on it.
#[derive(Clone, Copy, Debug)]
pub struct AskingCell<'a> {
    pub kubernetes: &'a Version,
    pub image: &'a str,
    pub platform: Platform,
    /// The names of the components that it holds.
    pub components: &'a [&'a str],
}

/// What a cell asks for of the packages of its base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageRequest {
    pub all: Vec<String>,
    /// Those that every cell of the base asks for.
    pub shared: Vec<String>,
}

/// The packages in the order of their groups, each once.
fn request(groups: &[PackageGroup], cell: &AskingCell<'_>) -> PackageRequest {
    let names = |wanted: &dyn Fn(&PackageGroup) -> bool| {
        let groups = groups.iter().filter(|group| wanted(group));
        let mut seen = std::collections::BTreeSet::new();
        let names = groups.flat_map(|group| group.names.iter().map(|name| name.value.clone()));
        names.filter(|name| seen.insert(name.clone())).collect::<Vec<_>>()
    };
    PackageRequest { all: names(&|group| group.serves(cell)), shared: names(&PackageGroup::serves_all) }
}

impl PackageGroup {
    fn read(table: &Table<'_>) -> Option<Self> {
        let names = table.require("names", "names = [\"busybox\"]").map(|names| names.list());
        let why = table.require("why", "why = \"what calls it\"").and_then(|why| why.string());
        let image = table.get("image").and_then(|image| image.parsed());
        Some(Self {
            names: names?,
            why: why?.value,
            kubernetes: table.parsed("kubernetes").unwrap_or_else(VersionRange::any),
            image,
            component: table.get("component").and_then(|component| component.parsed()),
            platforms: table.list("platforms").map_or_else(
                || Platform::ALL.to_vec(),
                |platforms| platforms.into_iter().map(|platform| platform.value).collect(),
            ),
            at: table.at().clone(),
        })
    }

    fn serves(&self, cell: &AskingCell<'_>) -> bool {
        self.kubernetes.contains(cell.kubernetes)
            && self.image.as_ref().is_none_or(|image| image.value == cell.image)
            && self.component.as_ref().is_none_or(|component| cell.components.contains(&component.value.as_str()))
            && self.platforms.contains(&cell.platform)
    }

    fn serves_all(&self) -> bool {
        self.kubernetes.is_any()
            && self.image.is_none()
            && self.component.is_none()
            && Platform::ALL.iter().all(|platform| self.platforms.contains(platform))
    }
}

impl AlpineRepository {
    /// Its line of `etc/apk/repositories`.
    pub fn line(&self) -> String {
        match &self.tag {
            Some(tag) => format!("@{tag} {}", self.url),
            None => self.url.clone(),
        }
    }

    /// What the URLs of its files begin with.
    pub fn prefix(&self) -> String {
        format!("{}/", self.url)
    }

    fn read(table: &Table<'_>) -> Option<Self> {
        let url = table.require("url", "url = \"https://dl-cdn.alpinelinux.org/alpine/v3.22/main\"")?;
        super::component::check_login(&url);
        let url = url.string()?;
        let url = url.value.trim_end_matches('/').to_owned();
        if !["https://", "http://"].iter().any(|scheme| url.starts_with(scheme)) {
            let help = "write the address that the architecture's folder is below".to_owned();
            table.report("invalid-url", format!("`{url}` is no http or https URL"), Some(help));
            return None;
        }
        Some(Self {
            url,
            tag: table.string("tag").map(|tag| tag.value.trim_start_matches('@').to_owned()),
            allow_unsigned: table.boolean("allow-unsigned").unwrap_or(false),
        })
    }
}

impl DeclaredScript {
    /// Reads a declaration about scripts of these phases.
    fn read(table: &Table<'_>, known: &[&'static str]) -> Option<Self> {
        let package = table.require("package", "package = \"kmod\"").and_then(|package| package.string());
        let why = table.require("why", "why = \"what stands in for it\"").and_then(|why| why.string());
        let phases = table.list::<String>("phases").unwrap_or_default();
        for phase in phases.iter().filter(|phase| !known.contains(&phase.value.as_str())) {
            let help = super::problem::suggest(&phase.value, known.iter().copied());
            table.report("unknown-phase", format!("`{}` is no phase of a script", phase.value), Some(help));
        }
        Some(Self {
            package: package?.value,
            phases: phases.into_iter().map(|phase| phase.value).collect(),
            why: why?.value,
        })
    }
}

/// The scripts of an Alpine package that run when it is installed (apk-tools, `apk_script_types`).
const PHASES: [&str; 3] = ["pre-install", "post-install", "trigger"];

impl Base {
    /// The file's folder, which its paths are relative to.
    pub fn folder(&self) -> PathBuf {
        self.at.source.path.parent().map(std::path::Path::to_owned).unwrap_or_default()
    }

    /// The repositories of Debian's archives that the base is made of.
    pub fn debian_repositories(&self) -> &[DebianRepository] {
        match &self.root {
            BaseRoot::Debian(root) => &root.repositories,
            BaseRoot::Archive(_) | BaseRoot::Alpine(_) => &[],
        }
    }

    pub(super) fn groups(&self) -> &[PackageGroup] {
        match &self.root {
            BaseRoot::Archive(_) => &[],
            BaseRoot::Alpine(alpine) => &alpine.packages,
            BaseRoot::Debian(debian) => &debian.packages,
        }
    }
}
