//! The real apk 2.14 of a mini root file system, run in a chroot, with the real signed indexes of Alpine 3.19.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use kletimg::inputs::apk::{
    repository::{Trust, VerifiedIndex},
    signature::Keyring,
};

use crate::support::parts;

/// The repositories of the full 3.19 indexes, in the order of Alpine's own list.
pub(crate) const REPOSITORIES: [&str; 2] = ["main", "community"];

pub(crate) struct Reference {
    pub(crate) root: tempfile::TempDir,
}

/// A folder as root may chroot into it. The part is called `chroot`.
pub(crate) fn chroot() -> Option<()> {
    let found = rustix::process::geteuid().is_root().then_some(());
    parts::need("chroot", found, "only root can chroot")?;
    parts::program("chroot").map(drop)
}

impl Reference {
    /// Unpacks the mini root file system and puts `repositories` (name below `/repos`, folder here) into it.
    pub(crate) fn new(data: &Path, repositories: &[(&str, PathBuf)]) -> Option<Self> {
        chroot()?;
        parts::program("tar")?;
        let root = tempfile::tempdir().unwrap();
        let archive = data.join("minirootfs/alpine-minirootfs-3.20.3-x86_64.tar.gz");
        run(Command::new("tar").arg("xzf").arg(archive).arg("-C").arg(root.path()));
        let mut list = String::new();
        fs::create_dir(root.path().join("repos")).unwrap();
        for (name, folder) in repositories {
            let to = root.path().join("repos").join(name);
            fs::create_dir_all(&to).unwrap();
            run(Command::new("cp").arg("-r").arg(folder.join("x86_64")).arg(to));
            list.push_str("/repos/");
            list.push_str(name);
            list.push('\n');
        }
        fs::write(root.path().join("repos/repositories"), list).unwrap();
        Some(Self { root })
    }

    /// The reference with the full 3.19 indexes.
    pub(crate) fn with_indexes(data: &Path) -> Option<Self> {
        let folders = REPOSITORIES.map(|name| (name, data.join("index-v3.19").join(name)));
        let reference = Self::new(data, &folders)?;
        reference.add("/r", &[], &[]);
        Some(reference)
    }

    /// `apk --root <root> add` in a new root.
    pub(crate) fn add(&self, root: &str, options: &[&str], packages: &[&str]) -> Output {
        fs::create_dir_all(self.root.path().join(root.trim_start_matches('/'))).unwrap();
        let arguments =
            ["--root", root, "--arch", "x86_64", "--keys-dir", "/etc/apk/keys", "--no-network", "--no-cache"];
        Command::new("chroot")
            .arg(self.root.path())
            .arg("/sbin/apk")
            .args(arguments)
            .args(["--repositories-file", "/repos/repositories", "add", "--initdb"])
            .args(options)
            .args(packages)
            .output()
            .unwrap()
    }

    /// What `apk add --simulate` would install, as `name version` in its order; `None` where it refuses.
    pub(crate) fn simulate(&self, packages: &[&str]) -> Option<Vec<String>> {
        let output = self.add("/r", &["--simulate"], packages);
        let text = String::from_utf8(output.stdout).unwrap();
        let installing = |line: &str| {
            let (_, what) = line.split_once(") Installing ")?;
            let (name, version) = what.split_once(" (")?;
            let name = name.split_once('@').map_or(name, |(name, _)| name);
            Some(format!("{name} {}", version.trim_end_matches(')')))
        };
        output.status.success().then(|| text.lines().filter_map(installing).collect())
    }
}

pub(crate) fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Alpine's public keys, from the mini root file system.
pub(crate) fn alpine_keys(data: &Path) -> Keyring {
    let archive = fs::File::open(data.join("minirootfs/alpine-minirootfs-3.20.3-x86_64.tar.gz")).unwrap();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(archive));
    let mut keys = Keyring::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().into_owned();
        if path.starts_with("./etc/apk/keys") && entry.header().entry_type().is_file() {
            let pem = std::io::read_to_string(&mut entry).unwrap();
            keys.add(path.file_name().unwrap().to_str().unwrap(), &pem).unwrap();
        }
    }
    assert!(!keys.is_empty());
    keys
}

/// The full 3.19 indexes.
pub(crate) fn indexes(data: &Path) -> Vec<VerifiedIndex> {
    let keys = alpine_keys(data);
    let open = |name| {
        let bytes = fs::read(data.join("index-v3.19").join(name).join("x86_64/APKINDEX.tar.gz")).unwrap();
        VerifiedIndex::open(&bytes, &keys, Trust::Signed).unwrap()
    };
    REPOSITORIES.map(open).into()
}
