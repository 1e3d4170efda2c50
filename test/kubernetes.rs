//! The real thing: Kubernetes 1.20.2 compiled from Debian's source, on Alpine's own mini root file system, for three
//! platforms, unpacked by other people's tools and run.
//!
//! It compiles for about ten minutes on two cores the first time. `KLETIMG_TEST_STORE` names a store to keep between runs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod support;

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use support::{
    checkout,
    fixture::{program, state, succeeds},
    parts, say,
};

/// The most memory that kletimg itself may need while it builds, in KiB. Compilers and UPX are other processes.
const MOST_MEMORY: u64 = 300 * 1024;

/// Platform, skopeo's and qemu's names of it, and whether this machine needs the emulator.
const PLATFORMS: [(&str, &str, &[&str], &str); 3] = [
    ("linux/amd64", "amd64", &[], "x86_64"),
    ("linux/arm64", "arm64", &[], "aarch64"),
    ("linux/arm/v7", "arm", &["--override-variant", "v7"], "arm"),
];

/// Tag, program in it, arguments, and what it must print.
const PROGRAMS: [(&str, &str, &[&str], &str); 4] = [
    ("v1.20.2-alpine3.15", "usr/bin/kubelet", &["--version"], "Kubernetes v1.20.2\n"),
    ("v1.20.2-kubeadm-alpine3.15", "usr/bin/kubelet", &["--version"], "Kubernetes v1.20.2\n"),
    ("v1.20.2-kubeadm-alpine3.15", "usr/bin/kubeadm", &["version", "-o", "short"], "v1.20.2\n"),
    ("kube-proxy:v1.20.2-alpine3.15", "usr/bin/kube-proxy", &["--version"], "Kubernetes v1.20.2\n"),
];

struct World {
    folder: tempfile::TempDir,
    store: PathBuf,
    mirrors: Vec<String>,
}

impl World {
    /// Everything the test needs, or `None` after the reason has been printed.
    fn new() -> Option<Self> {
        let source = std::env::var_os("KLETIMG_KUBERNETES_SOURCE").map(PathBuf::from).filter(|path| path.is_dir());
        let source = parts::need("kubernetes-source", source, "KLETIMG_KUBERNETES_SOURCE names no folder");
        let alpine = parts::alpine_data();
        let tools: Vec<_> = ["go", "zig", "upx", "skopeo", "umoci"].map(parts::program).into_iter().collect();
        if tools.iter().any(Option::is_none) {
            return None;
        }
        let (source, alpine) = (source?, alpine?);
        let folder = tempfile::tempdir().unwrap();
        for (arch, file) in ["x86_64", "aarch64", "armv7"].map(|arch| (arch, minirootfs(arch))) {
            let releases = folder.path().join("alpine/v3.15/releases").join(arch);
            fs::create_dir_all(&releases).unwrap();
            let data = fs::canonicalize(alpine.join("minirootfs").join(&file)).unwrap();
            symlink(data, releases.join(file)).unwrap();
        }
        copy_matrix(&checkout().join("test/kubernetes-1.20.2"), &folder.path().join("m"));
        let store = std::env::var_os("KLETIMG_TEST_STORE").map(PathBuf::from);
        Some(Self {
            store: store.unwrap_or_else(|| folder.path().join("store")),
            mirrors: vec![
                format!("https://debian.invalid/kubernetes=file://{}", fs::canonicalize(source).unwrap().display()),
                format!("https://dl-cdn.alpinelinux.org/alpine=file://{}/alpine", folder.path().display()),
            ],
            folder,
        })
    }

    fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    fn kletimg(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.args(arguments).current_dir(self.path("m")).env("KLETIMG_STORE", &self.store);
        command.env_remove("SOURCE_DATE_EPOCH");
        command
    }

    fn build(&self, arguments: &[&str]) -> Command {
        let mut command = self.kletimg(&["matrix", "build"]);
        command.args(arguments);
        for mirror in &self.mirrors {
            command.args(["--mirror", mirror]);
        }
        command
    }

    /// One platform of a tag as umoci unpacks it; the root file system's folder.
    fn unpack(&self, tag: &str, arch: &str, variant: &[&str]) -> PathBuf {
        let name = format!("{}-{arch}", tag.replace(':', "-"));
        let single = self.path(&format!("single-{name}"));
        let mut copy = Command::new("skopeo");
        copy.args(["--insecure-policy", "--override-os", "linux", "--override-arch", arch]).args(variant);
        copy.arg("copy").arg(format!("oci:{}:{tag}", self.path("m/dist").display()));
        succeeds(copy.arg(format!("oci:{}:it", single.display())));
        let bundle = self.path(&format!("bundle-{name}"));
        let mut unpack = Command::new("umoci");
        unpack.arg("unpack").arg("--rootless").arg("--image").arg(format!("{}:it", single.display()));
        succeeds(unpack.arg(&bundle));
        bundle.join("rootfs")
    }
}

fn minirootfs(arch: &str) -> String {
    format!("alpine-minirootfs-3.15.11-{arch}.tar.gz")
}

/// The matrix in a folder of its own, so that the tools pinned for this machine do not change the checkout's lock.
fn copy_matrix(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_matrix(&path, &target);
        } else {
            let text = fs::read_to_string(&path).unwrap();
            fs::write(target, text.replace("../..", &checkout().display().to_string())).unwrap();
        }
    }
}

#[test]
fn kubernetes_is_built_for_three_platforms_and_runs() {
    let Some(world) = World::new() else { return };
    let began = Instant::now();
    let mut command = world.build(&[]);
    let peak = peak_memory(command.spawn().unwrap());
    say(&format!("built in {:.0?}, peak memory of kletimg itself {} MiB", began.elapsed(), peak / 1024));
    assert!(peak > 0 && peak < MOST_MEMORY, "kletimg needed {peak} KiB");

    let before = state(&world.path("m/dist"));
    let began = Instant::now();
    let again = succeeds(world.build(&["--locked", "--offline"]).stdout(Stdio::piped()));
    say(&format!("again in {:.3?}", began.elapsed()));
    assert!(String::from_utf8_lossy(&again.stderr).contains("nothing had changed"));
    assert_eq!(state(&world.path("m/dist")), before);

    for (platform, arch, variant, qemu) in PLATFORMS {
        for tag in ["v1.20.2-alpine3.15", "v1.20.2-kubeadm-alpine3.15", "kube-proxy:v1.20.2-alpine3.15"] {
            let rootfs = world.unpack(tag, arch, variant);
            assert!(rootfs.join("bin/busybox").is_file(), "{tag} {platform} has no Alpine in it");
            for (_, file, arguments, prints) in PROGRAMS.iter().filter(|(of, ..)| *of == tag) {
                let Some(printed) = run(&rootfs.join(file), arguments, qemu) else { continue };
                assert_eq!(printed, *prints, "{file} of {tag} for {platform}");
                say(&format!("{platform} {tag}: {file} prints {}", printed.trim()));
            }
        }
    }
    the_layout_is_accepted(&world);
}

/// What others make of the layout: the index of every tag as it is, and a copy of all platforms with equal digests.
fn the_layout_is_accepted(world: &World) {
    let dist = world.path("m/dist");
    let copied = world.path("copied");
    for tag in ["v1.20.2-alpine3.15", "v1.20.2-kubeadm-alpine3.15", "kube-proxy:v1.20.2-alpine3.15"] {
        let raw = |folder: &Path| {
            let mut inspect = Command::new("skopeo");
            succeeds(inspect.args(["inspect", "--raw"]).arg(format!("oci:{}:{tag}", folder.display()))).stdout
        };
        let index: serde_json::Value = serde_json::from_slice(&raw(&dist)).unwrap();
        assert_eq!(index["manifests"].as_array().unwrap().len(), 3, "{tag}");
        let mut copy = Command::new("skopeo");
        copy.args(["--insecure-policy", "copy", "--all"]).arg(format!("oci:{}:{tag}", dist.display()));
        succeeds(copy.arg(format!("oci:{}:{tag}", copied.display())));
        assert_eq!(raw(&dist), raw(&copied), "{tag}");
    }
    // A tag of one platform needs no choosing.
    succeeds(world.build(&["--platform", "linux/amd64", "-q", "-o", "type=oci,dest=one"]).stdout(Stdio::null()));
    let mut unpack = Command::new("umoci");
    unpack
        .args(["unpack", "--rootless", "--image"])
        .arg(format!("{}:v1.20.2-alpine3.15", world.path("m/one").display()));
    succeeds(unpack.arg(world.path("direct")));
    let table = succeeds(&mut world.kletimg(&["size", "table"]));
    say(&String::from_utf8_lossy(&table.stdout));
}

/// What a program of an unpacked image prints, natively or under QEMU. `None` where there is no emulator.
fn run(program: &Path, arguments: &[&str], qemu: &str) -> Option<String> {
    let mut command = if std::env::consts::ARCH == qemu {
        Command::new(program)
    } else {
        let emulator = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
            .map(|folder| folder.join(format!("qemu-{qemu}-static")))
            .find(|path| path.is_file());
        let mut command = Command::new(parts::need("qemu", emulator, &format!("there is no qemu-{qemu}-static"))?);
        command.arg(program);
        command
    };
    Some(String::from_utf8(succeeds(command.args(arguments)).stdout).unwrap())
}

/// Waits for a build that must succeed; the most memory that the process itself ever had, in KiB.
fn peak_memory(mut child: Child) -> u64 {
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    loop {
        // VmHWM only grows, so the last value that could be read is the peak.
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        peak = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(peak);
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "the build ended with {status}");
            return peak;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
