//! The machine's own apt as the reference: its indexes, and what it would install into an empty root.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use kletimg::inputs::deb::{
    packages::Package,
    universe::{Pin, Universe},
};

use crate::support::parts;

/// apt with an empty root and a cache of its own. It reads the machine's sources and changes nothing.
pub struct Apt {
    root: tempfile::TempDir,
    options: Vec<String>,
    /// The `Packages` indexes in apt's order.
    indexes: Vec<(String, Pin)>,
    pub architecture: String,
}

impl Apt {
    /// The machine's own, with the lists that it has. The part is called `apt`.
    pub fn here() -> Option<Self> {
        parts::program("apt-get")?;
        bookworm()?;
        let architecture = output(Command::new("apt-config").args(["dump", "--format", "%v", "APT::Architecture"]))?;
        Self::new(architecture.trim(), tempfile::tempdir().unwrap(), &[])
    }

    /// As on a machine of another architecture, with lists that are fetched for it.
    pub fn of(architecture: &str) -> Option<Self> {
        parts::program("apt-get")?;
        bookworm()?;
        let root = tempfile::tempdir().unwrap();
        let options = [
            format!("APT::Architecture={architecture}"),
            format!("APT::Architectures={architecture}"),
            format!("Dir::State::lists={}/lists", root.path().display()),
        ];
        let only = [
            "APT::Sandbox::User=root",
            "Acquire::Languages=none",
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
            "Acquire::IndexTargets::deb-src::Sources::DefaultEnabled=false",
        ];
        std::fs::create_dir_all(root.path().join("lists/partial")).unwrap();
        let mut update = Command::new("apt-get");
        update.args(["-qq", "update"]).args(options.iter().map(String::as_str).chain(only).flat_map(|one| ["-o", one]));
        // A mirror that is being updated lacks one index or another, for apt and for us alike.
        update.output().unwrap();
        Self::new(architecture, root, &options)
    }

    fn new(architecture: &str, root: tempfile::TempDir, options: &[String]) -> Option<Self> {
        let options: Vec<_> = options.iter().flat_map(|option| ["-o".to_owned(), option.clone()]).collect();
        let format = ["indextargets", "--format", "$(FILENAME)|$(SUITE)", "Created-By: Packages"];
        let targets = output(Command::new("apt-get").args(&options).args(format)).unwrap_or_default();
        let read = |line: &str| {
            let (file, suite) = line.split_once('|')?;
            let pin = if suite.ends_with("backports") { Pin::OnlyUpgrades } else { Pin::Normal };
            Some((index(Path::new(file))?, pin))
        };
        let indexes: Vec<_> = targets.lines().filter_map(read).collect();
        let found = (!indexes.is_empty()).then_some(indexes);
        let indexes = parts::need("apt", found, "apt has no package lists (run `apt-get update`)")?;
        std::fs::create_dir_all(root.path().join("cache/archives/partial")).unwrap();
        std::fs::write(root.path().join("status"), "").unwrap();
        Some(Self { root, options, indexes, architecture: architecture.to_owned() })
    }

    pub fn universe(&self) -> Universe<'_> {
        let mut universe = Universe::new(&self.architecture);
        for (text, pin) in &self.indexes {
            universe.add(text, *pin).unwrap();
        }
        universe
    }

    /// Makes apt believe that these packages are installed.
    pub fn installed<'p>(&self, packages: impl Iterator<Item = &'p Package<'p>>) {
        let status: String = packages
            .map(|package| format!("{}Status: install ok installed\n\n", package.stanza.text()))
            .collect::<Vec<_>>()
            .concat();
        std::fs::write(self.root.path().join("status"), status).unwrap();
    }

    /// The versions that apt would install, by package; what it says when it would not.
    pub fn install(&self, packages: &[&str]) -> Result<BTreeMap<String, String>, String> {
        let root = self.root.path().display();
        let ended = Command::new("apt-get")
            .args(&self.options)
            .args(["-s", "--no-install-recommends", "-o", &format!("Dir::State::status={root}/status")])
            .args(["-o", &format!("Dir::Cache={root}/cache"), "-o", "Dir::Etc::preferencesparts=/dev/null"])
            // Container images of Debian keep no cache, and building it anew takes seconds each time.
            .args(["-o", "Dir::Cache::pkgcache=pkgcache.bin", "-o", "Dir::Cache::srcpkgcache=srcpkgcache.bin"])
            .args(["-o", "Dir::Etc::preferences=/dev/null", "install"])
            .args(packages)
            .env("LC_ALL", "C.UTF-8")
            .output()
            .unwrap();
        if !ended.status.success() {
            return Err(String::from_utf8_lossy(&ended.stdout).into_owned() + &String::from_utf8_lossy(&ended.stderr));
        }
        let installed = String::from_utf8(ended.stdout).unwrap();
        let installed = installed.lines().filter_map(|line| line.strip_prefix("Inst ")).map(|line| {
            let (name, rest) = line.split_once(' ').unwrap();
            (name.to_owned(), rest.trim_start_matches('(').split(' ').next().unwrap().to_owned())
        });
        Ok(installed.collect())
    }
}

/// Whether this machine's apt has bookworm, whose packages the tests name. The part is called `bookworm`.
pub fn bookworm() -> Option<()> {
    let names =
        output(Command::new("apt-get").args(["indextargets", "--format", "$(CODENAME)", "Created-By: Packages"]));
    let has_it = names.unwrap_or_default().lines().any(|name| name == "bookworm");
    parts::need("bookworm", has_it.then_some(()), "this machine's apt has no bookworm, whose packages the test names")
}

/// The files that apt keeps for each index of Debian's own: the suite's release file, the index, its path in the release file.
pub fn kept() -> Vec<(PathBuf, PathBuf, String)> {
    let format = "$(FILENAME)|$(METAKEY)|$(CODENAME)|$(ORIGIN)";
    let targets = output(Command::new("apt-get").args(["indextargets", "--format", format, "Created-By: Packages"]));
    let read = |line: &str| {
        let [file, path, codename, origin] = line.split('|').collect::<Vec<_>>().try_into().ok()?;
        if !codename.starts_with("bookworm") || !origin.starts_with("Debian") {
            return None;
        }
        let (suite, _) = file.split_once(&path.replace('/', "_"))?;
        Some((PathBuf::from(format!("{suite}InRelease")), PathBuf::from(file), path.to_owned()))
    };
    targets.unwrap_or_default().lines().filter_map(read).collect()
}

/// The text of an index that apt keeps, in whatever compression it keeps it.
pub fn index(file: &Path) -> Option<String> {
    output(Command::new("/usr/lib/apt/apt-helper").arg("cat-file").arg(file))
}

pub fn output(command: &mut Command) -> Option<String> {
    let ended = command.output().ok().filter(|ended| ended.status.success())?;
    String::from_utf8(ended.stdout).ok()
}
