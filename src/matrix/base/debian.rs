//! Bases of Debian's packages: which suites of which archives, what is installed of them, and what is left out.
//!
//! An archive has a name, and its files have it in the lock (`deb://debian/pool/...`): Debian is had from thousands of
//! mirrors, and which of them this machine uses must not change what is built. The mirrors are those of the machine's own
//! apt, or URLs in the definition.

use std::{collections::BTreeSet, path::PathBuf};

use super::{AskingCell, DeclaredScript, PackageGroup, PackageRequest, request};
use crate::{
    base::TreePath,
    matrix::{
        problem::{At, Located, suggest},
        read::{Table, Value},
    },
};

/// Packages of Debian's repositories.
#[derive(Clone, Debug)]
pub struct DebianRoot {
    pub repositories: Vec<DebianRepository>,
    pub packages: Vec<PackageGroup>,
    pub without: Vec<LeftOut>,
    pub keep: Vec<Kept>,
    pub alternatives: Vec<Alternative>,
    /// Their scripts are those of [`SCRIPTS`].
    pub declared: Vec<DeclaredScript>,
}

/// One suite of an archive.
#[derive(Clone, Debug)]
pub struct DebianRepository {
    /// What the archive is called in the lock: `debian` in `deb://debian/pool/...`.
    pub archive: String,
    pub mirrors: DebianMirrors,
    pub suite: String,
    pub components: Vec<String>,
    /// Keyrings, files beside the definition. None: those that the machine's apt trusts for the suite.
    pub keys: Vec<Located<PathBuf>>,
    /// On a machine that runs this release of Debian, used where its own apt uses the suite; elsewhere, where a mirror
    /// has it.
    pub optional: bool,
    /// `false` where an old state is wanted, as of a snapshot of the archive.
    pub check_valid_until: bool,
    pub at: At,
}

/// Where an archive is had from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DebianMirrors {
    /// Where the machine's own apt has it from.
    System,
    /// Without slashes at their ends.
    Urls(Vec<String>),
}

/// Packages that are left out although others depend on them, for one reason.
#[derive(Clone, Debug)]
pub struct LeftOut {
    pub names: Vec<Located<String>>,
    pub why: String,
}

/// The programs that an image has of a package, which brings many more.
#[derive(Clone, Debug)]
pub struct Kept {
    pub package: String,
    /// Names of files in `bin` and `sbin`.
    pub programs: Vec<Located<String>>,
}

/// The program that answers to a name which several could answer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alternative {
    /// What is called, such as `usr/sbin/iptables`.
    pub link: TreePath,
    /// The link's name in `etc/alternatives`.
    pub name: String,
    pub target: TreePath,
}

/// The scripts of a Debian package that run when it is installed (Policy 6.5).
const SCRIPTS: [&str; 2] = ["preinst", "postinst"];

const PACKAGES: &str = "[[packages]]\nnames = [\"mount\"]\nwhy = \"the kubelet calls it\"";

impl DebianRoot {
    /// Whether a list of repositories is one of Debian's: they have suites.
    pub(super) fn is_meant(repositories: &Value<'_>) -> bool {
        repositories.is_list_of_tables()
            && repositories
                .tables(|table| Some(table.values().iter().any(|(key, _)| key == "suite" || key == "archive")))
                .contains(&true)
    }

    pub(super) fn read(table: &Table<'_>) -> Option<Self> {
        let repositories = table.each("repositories", DebianRepository::read);
        let packages = table.each("packages", PackageGroup::read);
        table.require("packages", PACKAGES)?;
        let without = table.each("without", LeftOut::read);
        check_omissions(&packages, &without, table);
        Some(Self {
            repositories,
            packages,
            without,
            keep: table.each("keep", Kept::read),
            alternatives: table.each("alternatives", Alternative::read),
            declared: table.each("declared", |table| DeclaredScript::read(table, &SCRIPTS)),
        })
    }

    /// The packages that a cell asks for, in the order of the definition: to apt it matters which is named first.
    pub fn request(&self, cell: &AskingCell<'_>) -> PackageRequest {
        request(&self.packages, cell)
    }
}

/// What is both asked for and left out would just not be there.
fn check_omissions(packages: &[PackageGroup], without: &[LeftOut], table: &Table<'_>) {
    let bare = |name: &str| name.split(['=', ':']).next().unwrap_or_default().to_owned();
    let asked: BTreeSet<String> =
        packages.iter().flat_map(|group| &group.names).map(|name| bare(&name.value)).collect();
    for name in without.iter().flat_map(|group| &group.names).filter(|name| asked.contains(&name.value)) {
        let message = format!("`{}` is asked for in [[packages]] and left out in [[without]]", name.value);
        table.report_at(&name.at, "asked-and-left-out", message, Some("remove one of them".to_owned()));
    }
}

impl DebianRepository {
    fn read(table: &Table<'_>) -> Option<Self> {
        let suite = table.require("suite", "suite = \"bookworm\"").and_then(|suite| suite.string());
        let archive = table.string("archive");
        let mirrors = table.get("mirror").map_or(Some(DebianMirrors::System), |mirror| DebianMirrors::read(&mirror));
        let components = table.list::<String>("components");
        let keys = table.list::<PathBuf>("keys").unwrap_or_default();
        let optional = table.boolean("optional").unwrap_or(false);
        let check_valid_until = table.boolean("check-valid-until").unwrap_or(true);
        let suite = suite.filter(|suite| is_path(&suite.value, table, "suite"))?.value;
        let archive = archive.map_or_else(
            || if suite.ends_with("-security") { "debian-security".to_owned() } else { "debian".to_owned() },
            |archive| archive.value,
        );
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
        if archive.is_empty() || !archive.chars().all(is_name) {
            let help = "an archive's name has lowercase letters, digits, `-` and `.`, such as `debian`".to_owned();
            table.report("invalid-archive", format!("`{archive}` is no name of an archive"), Some(help));
            return None;
        }
        let components: Vec<_> = components
            .map_or_else(|| vec!["main".to_owned()], |list| list.into_iter().map(|name| name.value).collect());
        if !components.iter().all(|component| is_path(component, table, "component")) {
            return None;
        }
        Some(Self {
            archive,
            mirrors: mirrors?,
            suite,
            components,
            keys,
            optional,
            check_valid_until,
            at: table.at().clone(),
        })
    }

    /// What the URLs of the archive's files begin with.
    pub fn prefix(&self) -> String {
        format!("deb://{}", self.archive)
    }
}

/// Suites and components become parts of URLs.
fn is_path(text: &str, table: &Table<'_>, what: &str) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.' | '_' | '~');
    let good = text.split('/').all(|part| !part.starts_with('.') && !part.is_empty() && part.chars().all(known));
    if !good {
        let message = format!("`{text}` is no name of a {what}");
        table.report("invalid-value", message, Some("write it as apt's sources have it".to_owned()));
    }
    good
}

impl DebianMirrors {
    fn read(mirror: &Value<'_>) -> Option<Self> {
        let mirrors = mirror.list::<String>();
        if let [only] = mirrors.as_slice()
            && only.value == "system"
        {
            return Some(Self::System);
        }
        let is_url = |url: &str| ["https://", "http://", "file:///"].iter().any(|scheme| url.starts_with(scheme));
        if mirrors.is_empty() || !mirrors.iter().all(|mirror| is_url(&mirror.value)) {
            let help = "write `mirror = \"system\"` for that of the machine's apt sources, or URLs that `dists` and \
                        `pool` lie below";
            mirror.report("invalid-mirror", "not every mirror is a URL", Some(help.to_owned()));
            return None;
        }
        Some(Self::Urls(mirrors.into_iter().map(|url| url.value.trim_end_matches('/').to_owned()).collect()))
    }
}

impl LeftOut {
    fn read(table: &Table<'_>) -> Option<Self> {
        let names = table.require("names", "names = [\"debconf\"]").map(|names| names.list());
        let why = table.require("why", "why = \"what does without it\"").and_then(|why| why.string());
        Some(Self { names: names?, why: why?.value })
    }
}

impl Kept {
    fn read(table: &Table<'_>) -> Option<Self> {
        let package = table.require("package", "package = \"e2fsprogs\"").and_then(|package| package.string());
        let programs = table.require("programs", "programs = [\"mkfs.ext4\"]").map(|programs| programs.list());
        let why = table.require("why", "why = \"what calls them\"").and_then(|why| why.string());
        why?;
        Some(Self { package: package?.value, programs: programs? })
    }
}

impl Alternative {
    fn read(table: &Table<'_>) -> Option<Self> {
        let path = |key, example: &str| table.require(key, example).and_then(|path| path.parsed::<TreePath>());
        let link = path("link", "link = \"/usr/sbin/iptables\"");
        let target = path("target", "target = \"/usr/sbin/iptables-nft\"");
        let name = table.string("name").map(|name| name.value);
        let link = link?.value;
        let name = name.unwrap_or_else(|| link.file_name().to_owned());
        if name.is_empty() || name.contains('/') {
            let help = suggest(&name, [link.file_name()]);
            table.report("invalid-value", format!("`{name}` is no name below etc/alternatives"), Some(help));
            return None;
        }
        Some(Self { link, name, target: target?.value })
    }
}
