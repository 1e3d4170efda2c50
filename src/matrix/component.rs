//! `components/*.toml`: what a component is and the ways to obtain it, in order.

use std::{collections::BTreeMap, path::PathBuf};

use super::{
    Template,
    by_version::ByVersion,
    problem::{At, Located},
    read::{Table, Value},
    variant::{read_strings, values},
};
use crate::base::{Digest, Platform, TreePath, VersionRange};

/// A program, or a set of programs that is released together.
#[derive(Clone, Debug)]
pub struct Component {
    pub name: String,
    /// A daemon runs for as long as its node does. Daemons are never packed: the unpacked copy would stay in memory,
    /// where the pages of a plain file can be dropped and shared.
    pub daemon: bool,
    /// Whether its files may be packed. Never true for a daemon.
    pub pack: bool,
    pub strip: bool,
    /// Its own version for each Kubernetes version.
    pub version: ByVersion<Template>,
    /// The folder in the image that its files are laid into.
    pub directory: TreePath,
    pub files: Vec<ComponentFile>,
    /// The layer that its files go into; components with one layer name share it.
    pub layer: String,
    /// Where its layer stands among the others: low ones change rarely and lie at the bottom.
    pub order: i64,
    pub ways: Vec<Way>,
    pub at: At,
}

/// One file of a component.
#[derive(Clone, Debug)]
pub struct ComponentFile {
    pub name: String,
    /// The Go package that builds it, for ways that build from source.
    pub package: Option<String>,
    pub check: Option<Check>,
}

/// How to prove that a file runs: arguments under which it prints a text and exits with 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    pub args: Vec<String>,
    pub prints: Template,
}

/// One way to obtain a component, and what it serves.
#[derive(Clone, Debug)]
pub struct Way {
    pub kubernetes: VersionRange,
    pub platforms: Vec<Platform>,
    pub kind: WayKind,
    pub at: At,
}

#[derive(Clone, Debug)]
pub enum WayKind {
    /// Released files: an archive that holds `member` for every file of the component, or the one file itself.
    Release { origin: Origin, member: Template },
    /// Built from source by the Go compiler.
    Go { origin: GoOrigin, source: GoSource },
    /// Files out of one package of a Debian base's repositories; `member` is the path of each in a merged /usr.
    Package { from: Located<String>, package: String, member: Template },
    /// A file on this machine, relative to the definition's folder; the same archive forms as a release.
    File { path: Template, member: Template, folder: PathBuf },
}

/// Where bytes come from and what vouches for them at first lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub url: Template,
    /// The publisher's checksum file. Without one, the digest has to be in the lock.
    pub checksum: Option<Template>,
}

/// Where a source tree comes from.
#[derive(Clone, Debug)]
pub enum GoOrigin {
    Archive(Origin),
    /// The upstream tarball of a source package in a Debian base's repositories.
    SourcePackage {
        from: Located<String>,
        package: String,
        /// Its version, with Debian's own revision or, to take the latest of these, without.
        version: Template,
    },
}

/// How a source tree is built.
#[derive(Clone, Debug)]
pub struct GoSource {
    /// The import path of the tree's root, such as `k8s.io/kubernetes`.
    pub import_path: Option<String>,
    pub cgo: bool,
    pub tags: ByVersion<Vec<String>>,
    /// Variables set by the linker (`-X`), beside those that Kubernetes' own version stamp sets.
    pub stamps: BTreeMap<String, Template>,
    /// Whether Kubernetes' own version variables are set.
    pub kubernetes_stamp: bool,
    /// Where modules come from that the tree does not carry, as its `go.sum` pins them; from nowhere without it.
    pub module_proxy: Option<String>,
}

impl WayKind {
    /// The name that files and tables use.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Release { .. } => "release",
            Self::Go { .. } => "go",
            Self::Package { .. } => "package",
            Self::File { .. } => "file",
        }
    }
}

impl Component {
    pub(super) fn read(name: &str, table: &Table<'_>) -> Option<Self> {
        let _ = table.string("description");
        let daemon = table.boolean("daemon").unwrap_or(false);
        let pack = table.boolean("pack");
        if daemon && pack == Some(true) {
            let help = "remove `pack = true`, or `daemon = true` if it is none".to_owned();
            table.report("packed-daemon", format!("`{name}` is a daemon, and daemons are never packed"), Some(help));
        }
        let version = table.get("version").and_then(|value| {
            ByVersion::read(&value, |value| value.parsed::<Template>().map(|template| template.value))
        });
        let directory =
            table.require("directory", "directory = \"/usr/bin\"").and_then(|value| value.parsed::<TreePath>());
        let files = read_files(name, table);
        let ways = table.each("way", |way| Way::read(way, &files));
        if ways.is_empty() && table.get("way").is_none() {
            let help = "write `[[way]]` with `kind = \"release\"`, `\"go\"`, `\"package\"` or `\"file\"`".to_owned();
            table.report("component-without-way", format!("`{name}` has no way to obtain it"), Some(help));
        }
        Some(Self {
            name: name.to_owned(),
            daemon,
            pack: pack.unwrap_or(true) && !daemon,
            strip: table.boolean("strip").unwrap_or(true),
            version: version.or_else(|| Some(ByVersion::always("{kubernetes}".parse().ok()?)))?,
            directory: directory?.value,
            layer: table.string("layer").map_or_else(|| name.to_owned(), |layer| layer.value),
            order: table.get("order").and_then(|order| order.integer(0..=1000)).unwrap_or(500),
            files,
            ways,
            at: table.at().clone(),
        })
    }
}

/// `files` may be left out when the component is one file of its own name. A check beside them is that of every file
/// without one of its own.
fn read_files(name: &str, table: &Table<'_>) -> Vec<ComponentFile> {
    let common = table.get("check").and_then(|check| check.table(Check::read));
    let files = table.each("files", |file| {
        let name = file.require("name", "name = \"bridge\"").and_then(|name| name.string())?;
        if name.value.contains('/') || matches!(name.value.as_str(), "" | "." | "..") {
            file.report("invalid-file-name", format!("`{}` is not a file name", name.value), None);
            return None;
        }
        Some(ComponentFile {
            name: name.value,
            package: file.string("package").map(|package| package.value),
            check: file.get("check").and_then(|check| check.table(Check::read)).or_else(|| common.clone()),
        })
    });
    let mut names = std::collections::BTreeSet::new();
    for file in files.iter().filter(|file| !names.insert(&file.name)) {
        let message = format!("the file `{}` is given twice", file.name);
        table.report("given-twice", message, Some("remove one of them".to_owned()));
    }
    if table.get("files").is_some() {
        return files;
    }
    vec![ComponentFile {
        name: name.to_owned(),
        package: table.string("package").map(|package| package.value),
        check: common,
    }]
}

impl Check {
    fn read(table: &Table<'_>) -> Option<Self> {
        let args = values(table.list("args"));
        let prints = table.require("prints", "prints = \"v{version}\"").and_then(|value| value.parsed::<Template>());
        Some(Self { args, prints: prints?.value })
    }
}

impl Way {
    fn read(table: &Table<'_>, files: &[ComponentFile]) -> Option<Self> {
        let kubernetes = table.parsed("kubernetes").unwrap_or_else(VersionRange::any);
        let platforms = table.list("platforms").map_or_else(|| Platform::ALL.to_vec(), |list| values(Some(list)));
        let kind = table.require("kind", "kind = \"release\"").and_then(|kind| read_kind(&kind, table, files));
        Some(Self { kubernetes, platforms, kind: kind?, at: table.at().clone() })
    }
}

fn read_kind(kind: &Value<'_>, table: &Table<'_>, files: &[ComponentFile]) -> Option<WayKind> {
    match kind.string()?.value.as_str() {
        "release" => {
            let origin = Origin::read(table);
            Some(WayKind::Release { member: read_member(table)?, origin: origin? })
        }
        "package" => {
            let from = read_from(table);
            let package = table.require("package", "package = \"containernetworking-plugins\"");
            let package = package.and_then(|package| package.string());
            Some(WayKind::Package { member: read_member(table)?, from: from?, package: package?.value })
        }
        "go" => {
            let origin = GoOrigin::read(table);
            let source = GoSource::read(table, files);
            Some(WayKind::Go { origin: origin?, source })
        }
        "file" => {
            let path = table.require("path", "path = \"kubelet\"").and_then(|path| path.parsed::<Template>());
            let folder = table.at().source.path.parent().map(std::path::Path::to_owned).unwrap_or_default();
            Some(WayKind::File { member: read_member(table)?, path: path?.value, folder })
        }
        other => {
            let help = super::problem::suggest(other, ["release", "go", "package", "file"]);
            kind.report("unknown-way", format!("`{other}` is no kind of way"), Some(help));
            None
        }
    }
}

fn read_member(table: &Table<'_>) -> Option<Template> {
    table.parsed("member").or_else(|| "{file}".parse().ok())
}

impl Origin {
    pub(super) fn read(table: &Table<'_>) -> Option<Self> {
        let url = table.require("url", "url = \"https://...\"");
        let checksum = table.get("checksum");
        for value in url.iter().chain(&checksum) {
            check_login(value);
        }
        let checksum = checksum.and_then(|checksum| {
            check_checksum(&checksum);
            Some(checksum.parsed::<Template>()?.value)
        });
        Some(Self { url: url.and_then(|url| url.parsed::<Template>())?.value, checksum })
    }
}

/// A URL is written to the lock, which is committed: no place for a password.
pub(super) fn check_login(value: &Value<'_>) {
    let Some(url) = value.text() else { return };
    let authority = url.split_once("://").and_then(|(_, rest)| rest.split(['/', '?', '#']).next());
    if authority.is_some_and(|authority| authority.contains('@')) {
        let help = "take user and password out, and name the address with them when you run kletimg: `--mirror \
                    https://host=https://user:password@host`";
        let message = format!("`{}` has a user or a password, which matrix.lock would tell everybody", value.key);
        value.report("login-in-url", message, Some(help.to_owned()));
    }
}

/// A checksum is a digest or the URL of a checksum file.
fn check_checksum(value: &Value<'_>) {
    let Some(text) = value.text() else { return };
    let is_url = text.contains("://") || text.starts_with('{');
    if !is_url && text.parse::<Digest>().is_err() {
        let help = "write the URL of the publisher's checksum file, or `sha256:` and 64 hexadecimal digits".to_owned();
        value.report("invalid-checksum", format!("`{text}` is neither a digest nor a URL"), Some(help));
    }
}

impl GoOrigin {
    fn read(table: &Table<'_>) -> Option<Self> {
        let Some(package) = table.get("source-package") else { return Origin::read(table).map(Self::Archive) };
        let from = read_from(table);
        let version = table.require("source-version", "source-version = \"{version}\"");
        let version = version.and_then(|version| version.parsed::<Template>());
        Some(Self::SourcePackage { package: package.string()?.value, from: from?, version: version?.value })
    }
}

/// The base whose repositories are asked.
pub(super) fn read_from(table: &Table<'_>) -> Option<Located<String>> {
    table.require("from", "from = \"debian12\"").and_then(|from| from.string())
}

impl GoSource {
    fn read(table: &Table<'_>, files: &[ComponentFile]) -> Self {
        for file in files.iter().filter(|file| file.package.is_none()) {
            let help = "write `package = \"./cmd/...\"` for it".to_owned();
            let message = format!("`{}` is to be built from source, but has no Go package", file.name);
            table.report("file-without-package", message, Some(help));
        }
        let tags =
            table.get("tags").and_then(|value| ByVersion::read(&value, |value| Some(values(Some(value.list())))));
        let stamps = read_strings(table, "stamps").into_iter().filter_map(|(name, text)| {
            let template = text.parse::<Template>().map_err(|error| {
                table.report("invalid-value", format!("`stamps.{name}`: {error}"), None);
            });
            Some((name, template.ok()?))
        });
        Self {
            import_path: table.string("import-path").map(|path| path.value),
            cgo: table.boolean("cgo").unwrap_or(false),
            tags: tags.unwrap_or_else(|| ByVersion::always(Vec::new())),
            stamps: stamps.collect(),
            kubernetes_stamp: table.boolean("kubernetes-stamp").unwrap_or(false),
            module_proxy: table.string("module-proxy").map(|proxy| proxy.value),
        }
    }
}
