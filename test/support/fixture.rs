//! A small matrix with everything it needs in one folder: two variants on three platforms, no compiler, no network.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

/// The host name that the fixture's URLs have; nothing answers to it.
pub const HOST: &str = "https://fixture.invalid";

pub const MATRIX: &str = r#"
repository = "docker.io/example/kubelet"
kubernetes = ["1.26.0"]
variants = ["plain", "extra", "kube-proxy"]
base = "alpine3.0"
source-date-epoch = 1600000000
[images.kube-proxy]
repository = "docker.io/example/kube-proxy"
tag = "v{kubernetes}-{base}"
"#;

const FILES: [(&str, &str); 7] = [
    ("matrix.toml", MATRIX),
    (
        "alpine/3.0.toml",
        "[rootfs]\nurl = \"https://fixture.invalid/base-{alpine-arch}.tar.gz\"\nchecksum = \"{url}.sha256\"\n",
    ),
    (
        "variants/plain.toml",
        "infix = \"\"\ncomponents = [\"kubelet\"]\nentrypoint = [\"kubelet\"]\n[[files]]\npath = \"/etc/motd\"\ntext = \"hello\\n\"\n",
    ),
    ("variants/extra.toml", "extends = [\"plain\"]\ncomponents = [\"tool\"]\n"),
    ("variants/kube-proxy.toml", "image = \"kube-proxy\"\ninfix = \"\"\ncomponents = [\"tool\"]\n"),
    (
        "components/kubelet.toml",
        "daemon = true\ndirectory = \"/usr/bin\"\n[[way]]\nkind = \"release\"\nurl = \"https://fixture.invalid/kubelet-{arch}\"\nchecksum = \"{url}.sha256\"\n",
    ),
    (
        "components/tool.toml",
        "directory = \"/opt/bin\"\npack = false\nfiles = [{ name = \"a\" }, { name = \"b\" }]\n[[way]]\nkind = \"release\"\nurl = \"https://fixture.invalid/tool-{arch}.tar.gz\"\nchecksum = \"{url}.sha256\"\nmember = \"bin/{file}\"\n",
    ),
];

/// A folder with the matrix, what it downloads, a store and a place for the layout.
pub struct Fixture {
    folder: tempfile::TempDir,
}

impl Fixture {
    pub fn new() -> Self {
        let fixture = Self { folder: tempfile::tempdir().unwrap() };
        for (name, text) in FILES {
            fixture.write(&format!("m/{name}"), text);
        }
        for (arch, go) in [("x86_64", "amd64"), ("aarch64", "arm64"), ("armv7", "arm")] {
            let entries = [
                Entry::Directory("bin/"),
                Entry::File("bin/busybox", format!("busybox for {arch}\n").into_bytes(), 0o755),
                Entry::Link("bin/sh", "/bin/busybox"),
                Entry::Directory("usr/"),
                Entry::Directory("usr/bin/"),
            ];
            fixture.publish(&format!("base-{arch}.tar.gz"), &tar_gz(&entries));
            fixture.publish(&format!("kubelet-{go}"), format!("#!/bin/sh\necho kubelet {go}\n").as_bytes());
            let tool = |name: &str| format!("#!/bin/sh\necho {name} {go}\n").into_bytes();
            let entries = [Entry::File("bin/a", tool("a"), 0o755), Entry::File("bin/b", tool("b"), 0o755)];
            fixture.publish(&format!("tool-{go}.tar.gz"), &tar_gz(&entries));
        }
        fixture
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    pub fn write(&self, below: &str, text: impl AsRef<[u8]>) {
        let path = self.path(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Replaces a part of one of the fixture's files.
    pub fn edit(&self, below: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path(below)).unwrap();
        assert!(text.contains(from), "{below} does not hold {from}");
        self.write(below, text.replace(from, to));
    }

    /// Puts a file where the matrix downloads from, with its checksum file.
    pub fn publish(&self, name: &str, bytes: &[u8]) {
        self.write(&format!("upstream/{name}"), bytes);
        self.write(&format!("upstream/{name}.sha256"), hex(bytes));
    }

    /// kletimg on this fixture's matrix, with its own store and nothing of the environment but `PATH`.
    pub fn kletimg(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.args(arguments).current_dir(self.path("m")).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("KLETIMG_STORE", self.path("store"));
        command
    }

    /// kletimg with the fixture's upstream as a mirror.
    pub fn mirrored(&self, arguments: &[&str]) -> Command {
        let mut command = self.kletimg(arguments);
        command.arg("--mirror").arg(format!("{HOST}=file://{}", self.path("upstream").display()));
        command
    }

    /// Builds the whole matrix and returns the digest of the layout's index.
    pub fn build(&self) -> String {
        succeeds(&mut self.mirrored(&["matrix", "build"]));
        self.index()
    }

    /// The digest of `index.json`, which names every index, which names every manifest.
    pub fn index(&self) -> String {
        hex(&fs::read(self.path("m/dist/index.json")).unwrap())
    }
}

/// The program under test: `KLETIMG_BIN`, or the one that cargo built.
pub fn program() -> PathBuf {
    std::env::var_os("KLETIMG_BIN").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_kletimg")), PathBuf::from)
}

/// Runs a command that must succeed and returns its output.
pub fn succeeds(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Runs a command that must fail with this exit code and returns its standard error.
pub fn fails(command: &mut Command, code: i32) -> String {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{command:?}\n{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    stderr
}

/// The most memory that a command held while it ran, in KiB, as far as the kernel's own record was read before its end.
pub fn peak(command: &mut Command) -> u64 {
    let mut child = command.stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let (status, mut peak) = (format!("/proc/{}/status", child.id()), 0);
    let ended = loop {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        peak = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok()).unwrap_or(peak);
        if let Some(ended) = child.try_wait().unwrap() {
            break ended;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    assert!(ended.success() && peak > 0, "{command:?}");
    peak
}

pub fn hex(bytes: &[u8]) -> String {
    kletimg::base::Digest::of(bytes).hex()
}

/// An entry of a tar that a test makes.
pub enum Entry<'a> {
    Directory(&'a str),
    File(&'a str, Vec<u8>, u32),
    Link(&'a str, &'a str),
}

/// A tar.gz with entries under exactly the names given, also those that no honest archive has.
pub fn tar_gz(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut archive = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    for entry in entries {
        let mut header = tar::Header::new_ustar();
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        let (name, kind, body, mode, link) = match entry {
            Entry::Directory(name) => (name, tar::EntryType::Directory, &[][..], 0o755, None),
            Entry::File(name, body, mode) => (name, tar::EntryType::Regular, body.as_slice(), *mode, None),
            Entry::Link(name, target) => (name, tar::EntryType::Symlink, &[][..], 0o777, Some(target)),
        };
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(body.len() as u64);
        // Written past the checks of the tar crate, which would refuse `..`.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        if let Some(target) = link {
            header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        }
        header.set_cksum();
        archive.append(&header, body).unwrap();
    }
    archive.into_inner().unwrap().finish().unwrap()
}

/// Every file below a folder with its length, inode and time of change.
pub fn state(folder: &Path) -> Vec<(PathBuf, u64, u64, i64, i64)> {
    use std::os::unix::fs::MetadataExt as _;
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            if metadata.is_dir() {
                folders.push(path.clone());
            }
            found.push((path, metadata.len(), metadata.ino(), metadata.mtime(), metadata.mtime_nsec()));
        }
    }
    found.sort();
    found
}
