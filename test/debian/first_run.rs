//! The example of the README on the machine's own mirror: from nothing but a mirror of Debian to images that run.
//!
//! Compiling Kubernetes takes some minutes, so that only the base is built unless Kubernetes is asked for as for
//! test/kubernetes.rs: `KLETIMG_TEST_STORE` names a store to keep between runs.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use kletimg::binaries::elf;
use serde_json::Value;

use crate::support::{
    checkout,
    fixture::{hex, program, succeeds},
    parts,
    registry::{Guard, RealRegistry},
    say,
};

/// Platform and the emulator that runs its programs elsewhere.
const PLATFORMS: [(&str, &str, &str); 3] = [
    ("linux/amd64", "x86_64", "qemu-x86_64-static"),
    ("linux/arm64", "aarch64", "qemu-aarch64-static"),
    ("linux/arm/v7", "arm", "qemu-arm-static"),
];

/// What the kubelet calls, and what each prints.
const CALLED: [(&str, &str); 19] = [
    ("mount --version", "util-linux"),
    ("iptables --version", "nf_tables"),
    ("ip6tables-save --version", "nf_tables"),
    // It says its version without asking the kernel, so that emulators can run it too.
    ("iptables-legacy --version", "legacy"),
    ("conntrack --version", "conntrack"),
    ("blkid --version", "util-linux"),
    ("nsenter --version", "util-linux"),
    ("mkfs.ext4 -V", "mke2fs"),
    ("du --version", "coreutils"),
    ("nice --version", "coreutils"),
    ("find --version", "findutils"),
    ("umount --version", "util-linux"),
    ("losetup --version", "util-linux"),
    ("fsck --version", "util-linux"),
    ("socat -V", "socat"),
    ("ethtool --version", "ethtool"),
    ("ip -V", "ip utility"),
    ("modprobe --version", "kmod"),
    ("sysctl --version", "procps"),
];

/// The base may weigh this much without a kubelet, in bytes.
const MOST: u64 = 40_000_000;

/// The example, copied so that its lock is made anew, and what is built of it.
struct Example {
    folder: tempfile::TempDir,
    store: PathBuf,
}

impl Example {
    /// `None` where the machine's apt reaches no mirror.
    fn new() -> Option<Self> {
        parts::program("apt-get")?;
        let folder = tempfile::tempdir().unwrap();
        copy(&checkout().join("debian"), &folder.path().join("debian"));
        copy(&checkout().join("variants"), &folder.path().join("variants"));
        copy(&checkout().join("components"), &folder.path().join("components"));
        let store = std::env::var_os("KLETIMG_TEST_STORE").map_or_else(|| folder.path().join("store"), PathBuf::from);
        let example = Self { folder, store };
        let locked = example.kletimg(&["matrix", "lock"]).output().unwrap();
        let why = String::from_utf8_lossy(&locked.stderr).into_owned();
        // A machine without a mirror, and one whose mirror lies between two states. Everything else is our own fault.
        let absent = ["cannot reach", "finding a mirror", "being synchronised"].iter().any(|words| why.contains(words));
        assert!(locked.status.success() || absent, "{why}");
        for warning in why.lines().filter(|line| line.contains("going on without it")) {
            say(warning);
        }
        let reached = locked.status.success().then_some(example);
        parts::need("apt", reached, &format!("the machine's mirror cannot be used: {why}"))
    }

    /// kletimg as somebody new has it: no Go, no UPX, no compiler on `PATH`, a home folder with nothing in it.
    fn kletimg(&self, arguments: &[&str]) -> Command {
        let home = self.folder.path().join("home");
        fs::create_dir_all(&home).unwrap();
        let mut command = Command::new(program());
        command.args(arguments).args(["-f", "debian/matrix.toml"]).current_dir(self.folder.path()).env_clear();
        command.env("HOME", home).env("PATH", self.folder.path().join("bin")).env("KLETIMG_STORE", &self.store);
        command
    }

    /// Takes everything that has to be compiled out of the example.
    fn without_programs(&self) {
        let variant = self.folder.path().join("debian/variants/plain.toml");
        fs::write(variant, "infix = ''\ncomponents = []\nentrypoint = ['sh']\n").unwrap();
        let variant = self.folder.path().join("debian/variants/kube-proxy.toml");
        fs::write(variant, "image = 'kube-proxy'\ninfix = ''\ncomponents = []\n").unwrap();
        let matrix = self.folder.path().join("debian/matrix.toml");
        let text = fs::read_to_string(&matrix).unwrap();
        let list = r#"["plain", "cni", "kubeadm", "kubeadm-cni", "kube-proxy"]"#;
        assert!(text.contains(list));
        let text = text.replace(list, r#"["plain", "cni", "kube-proxy"]"#);
        let text = text.replace(r#"kubernetes = ["1.20.2"]"#, r#"kubernetes = ["1.36.1", "1.20.2"]"#);
        fs::write(&matrix, text).unwrap();
    }

    fn build(&self, dest: &str, arguments: &[&str]) -> String {
        let output = format!("type=oci,dest={dest}");
        let built = succeeds(self.kletimg(&["matrix", "build", "-o", &output]).args(arguments));
        String::from_utf8(built.stderr).unwrap()
    }

    fn index(&self, dest: &str) -> String {
        hex(&fs::read(self.folder.path().join(dest).join("index.json")).unwrap())
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()) {
        let place = to.join(entry.file_name().unwrap());
        if entry.is_dir() {
            copy(&entry, &place);
        } else if entry.extension().is_none_or(|extension| extension != "lock") {
            fs::copy(&entry, &place).unwrap();
        }
    }
}

/// The root file system of a tag, as tar unpacks its layers.
fn unpacked(example: &Example, dest: &str, tag: &str, platform: &str) -> Option<PathBuf> {
    let tar = parts::program("tar")?;
    let layout = example.folder.path().join(dest);
    let blob = |descriptor: &Value| {
        layout.join("blobs/sha256").join(descriptor["digest"].as_str().unwrap().trim_start_matches("sha256:"))
    };
    let read = |path: &Path| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    let index = read(&layout.join("index.json"));
    let named = |descriptor: &&Value| descriptor["annotations"]["org.opencontainers.image.ref.name"] == tag;
    let manifests = read(&blob(index["manifests"].as_array().unwrap().iter().find(named).unwrap()));
    let is_platform = |descriptor: &&Value| {
        let platform_of = &descriptor["platform"];
        let variant = platform_of["variant"].as_str().filter(|variant| *variant == "v7");
        let variant = variant.map_or(String::new(), |variant| format!("/{variant}"));
        format!("linux/{}{variant}", platform_of["architecture"].as_str().unwrap()) == platform
    };
    let manifest = read(&blob(manifests["manifests"].as_array().unwrap().iter().find(is_platform).unwrap()));
    let place = example.folder.path().join(format!("{dest}-{}-{}", tag.replace(':', "-"), platform.replace('/', "-")));
    fs::create_dir_all(&place).unwrap();
    for layer in manifest["layers"].as_array().unwrap() {
        let mut command = Command::new(&tar);
        succeeds(command.args(["--no-same-owner", "-xzf"]).arg(blob(layer)).arg("-C").arg(&place));
    }
    Some(place)
}

/// What programs say that ask the kernel for its tables: the emulators pass no such questions on.
const NO_NETLINK: &str = "Protocol not supported";

/// Runs a command in a root of its own, through an emulator where the machine is another, and sees that it says something.
/// `None` where that is not possible here.
fn run_in(root: &Path, machine: &str, emulator: &str, command: &str, says: &str) -> Option<()> {
    let chroot = parts::program("unshare")?;
    let mut unshare = Command::new(chroot);
    unshare.args(["-r", "chroot"]).arg(root);
    if machine == std::env::consts::ARCH {
        unshare.args(command.split(' '));
    } else {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path).map(|folder| folder.join(emulator)).find(|path| path.is_file());
        let emulator = parts::need("qemu", found, &format!("there is no {emulator}"))?;
        let place = root.join("usr/bin").join(emulator.file_name().unwrap());
        fs::copy(&emulator, &place).unwrap();
        unshare.arg(Path::new("/usr/bin").join(emulator.file_name().unwrap()));
        // The emulator takes a program's path, and starts no interpreter of the host.
        let mut words = command.split(' ');
        let program = words.next().unwrap();
        let folders = ["usr/bin", "usr/sbin", "opt/cni/bin"];
        let found = folders.iter().find(|folder| fs::symlink_metadata(root.join(folder).join(program)).is_ok());
        let found = found.unwrap_or_else(|| panic!("{} has no {program} for {machine}", root.display()));
        unshare.arg(format!("/{found}/{program}")).args(words);
    }
    let ended = unshare.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin:/opt/cni/bin").output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout).into_owned() + &String::from_utf8_lossy(&ended.stderr);
    if said.starts_with("unshare: ") || said.contains("cannot change root") {
        return parts::need("chroot", None, "this machine lets nobody change the root");
    }
    if machine != std::env::consts::ARCH && said.contains(NO_NETLINK) {
        return Some(());
    }
    assert!(ended.status.success() && said.contains(says), "{command} for {machine}: {said}");
    Some(())
}

/// Whether every library that a program or a library needs lies where the loader looks without a cache: in the system's
/// folders, the only ones that packages of these images bring libraries in for others.
fn assert_closed(root: &Path) {
    let mut folders = vec![root.to_owned()];
    let (mut libraries, mut needed) = (BTreeSet::new(), Vec::new());
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            let metadata = fs::symlink_metadata(&path).unwrap();
            // A link counts where it leads to a file beside it.
            if is_searched(root, &folder) && fs::metadata(&path).is_ok_and(|metadata| metadata.is_file()) {
                libraries.insert(path.file_name().unwrap().to_string_lossy().into_owned());
            }
            if metadata.is_dir() {
                folders.push(path);
            } else if metadata.is_file() && fs::read(&path).unwrap().starts_with(b"\x7fELF") {
                let found = elf::inspect(fs::File::open(&path).unwrap()).unwrap();
                needed.extend(found.needed.into_iter().map(|library| (path.clone(), library)));
            }
        }
    }
    assert!(needed.len() > 20, "no programs were found");
    let missing: Vec<_> = needed.iter().filter(|(_, library)| !libraries.contains(library)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// `/usr/lib` and its folder for the machine, as ld.so(8) has them for Debian.
fn is_searched(root: &Path, folder: &Path) -> bool {
    let below = folder.strip_prefix(root.join("usr/lib")).ok();
    below.is_some_and(|below| below.as_os_str().is_empty() || below.to_string_lossy().contains("-linux-gnu"))
        && below.is_some_and(|below| below.components().count() <= 1)
}

fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| match fs::symlink_metadata(entry.path()).unwrap() {
            metadata if metadata.is_dir() => size(&entry.path()),
            metadata if metadata.is_file() => metadata.len(),
            _ => 0,
        })
        .sum()
}

#[test]
fn the_base_is_small_and_runs_on_three_platforms() {
    let Some(example) = Example::new() else { return };
    example.without_programs();
    let said = example.build("dist", &[]);
    assert!(!said.contains("warning: base"), "{said}");
    assert!(said.contains("push them:") && said.contains("load them:") && said.contains("run one:"), "{said}");
    for (platform, machine, emulator) in PLATFORMS {
        let Some(plugins) = unpacked(&example, "dist", "v1.20.2-cni-debian12", platform) else { return };
        let _ = run_in(&plugins, machine, emulator, "bridge", "CNI bridge plugin");
        let Some(root) = unpacked(&example, "dist", "v1.20.2-debian12", platform) else { return };
        assert_closed(&root);
        let size = size(&root);
        assert!(size < MOST, "the base for {platform} has {size} bytes");
        for (command, says) in CALLED {
            if run_in(&root, machine, emulator, command, says).is_none() {
                break;
            }
        }
    }
    for tag in ["v1.36.1-debian12", "kube-proxy:v1.36.1-debian12", "kube-proxy:v1.20.2-debian12"] {
        let Some(root) = unpacked(&example, "dist", tag, "linux/amd64") else { return };
        assert_closed(&root);
    }
    // The same bytes again in another store, by one job at a time, from a copy that needs neither mirror nor apt.
    let amd64 = ["--platform", "linux/amd64"];
    example.build("one", &amd64);
    let copy = example.folder.path().join("copy");
    succeeds(example.kletimg(&["matrix", "fetch"]).arg("--to").arg(&copy).args(amd64));
    let mut offline = example.kletimg(&["matrix", "build", "--locked", "--offline", "-j1"]);
    offline.env("KLETIMG_STORE", example.folder.path().join("other")).env("KLETIMG_APT", "/nonexistent");
    succeeds(offline.args(["-o", "type=oci,dest=offline", "--mirror"]).arg(&copy).args(amd64));
    assert_eq!(example.index("offline"), example.index("one"));
}

#[test]
fn kubernetes_is_built_from_nothing_but_a_mirror() {
    // The source comes from the mirror; who has it at hand is who wants to spend the time.
    let wanted = ["KLETIMG_TEST_STORE", "KLETIMG_KUBERNETES_SOURCE"].into_iter().find_map(std::env::var_os);
    let why = "neither KLETIMG_TEST_STORE nor KLETIMG_KUBERNETES_SOURCE says that Kubernetes may be compiled";
    if parts::need("kubernetes-source", wanted, why).is_none() {
        return;
    }
    let Some(example) = Example::new() else { return };
    let began = Instant::now();
    example.build("dist", &[]);
    say(&format!("the example was built for three platforms in {:.0?}", began.elapsed()));
    for (platform, machine, emulator) in PLATFORMS {
        for (tag, command, says) in [
            ("v1.20.2-kubeadm-cni-debian12", "kubelet --version", "Kubernetes v1.20.2"),
            ("v1.20.2-kubeadm-cni-debian12", "kubeadm version -o short", "v1.20.2"),
            ("v1.20.2-kubeadm-cni-debian12", "ip -V", "ip utility"),
            ("kube-proxy:v1.20.2-debian12", "kube-proxy --version", "Kubernetes v1.20.2"),
        ] {
            let Some(root) = unpacked(&example, "dist", tag, platform) else { return };
            assert_closed(&root);
            if run_in(&root, machine, emulator, command, says).is_none() {
                break;
            }
        }
    }
    publish(&example);
}

/// The example in a registry: skopeo, the verifier and the Engine agree on what was pushed, and it runs.
fn publish(example: &Example) {
    let Some(registry) = RealRegistry::start(Guard::Open) else { return };
    let Some(skopeo) = parts::program("skopeo") else { return };
    let matrix = example.folder.path().join("debian/matrix.toml");
    let text = fs::read_to_string(&matrix).unwrap();
    fs::write(&matrix, text.replace("registry.example", &registry.host)).unwrap();
    example.build("published", &[]);
    let push = || -> Value {
        let mut command = example.kletimg(&["matrix", "push", "--dest", "published", "--format", "json"]);
        serde_json::from_slice(&succeeds(&mut command).stdout).unwrap()
    };
    let pushed = push();
    let tags = pushed["tags"].as_array().unwrap();
    assert_eq!(tags.len(), 5, "{pushed}");
    let again = push();
    assert_eq!((&again["blobs"]["sent"], &again["blobs"]["manifests"]), (&0.into(), &0.into()), "{again}");
    for tag in tags {
        let (reference, digest) = (tag["reference"].as_str().unwrap(), tag["digest"].as_str().unwrap());
        let mut inspect = Command::new(&skopeo);
        inspect.args(["inspect", "--tls-verify=false", "--raw", &format!("docker://{reference}")]);
        assert_eq!(format!("sha256:{}", hex(&succeeds(&mut inspect).stdout)), digest);
        let copied = format!("oci:{}:it", example.folder.path().join("copied").display());
        let mut copy = Command::new(&skopeo);
        copy.args(["--insecure-policy", "copy", "--all", "--src-tls-verify=false"]);
        succeeds(copy.args([&format!("docker://{reference}"), &copied]));
        let verified = succeeds(Command::new(program()).args(["image", "verify", reference]));
        assert!(String::from_utf8_lossy(&verified.stdout).contains("sound"), "{reference}");
    }
    let docker = parts::program("docker");
    let answers = |docker: &PathBuf| Command::new(docker).arg("info").output().is_ok_and(|told| told.status.success());
    let Some(docker) = parts::need("docker-engine", docker.filter(answers), "no Engine answers") else { return };
    let tag = format!("{}/kubelet:v1.20.2-debian12", registry.host);
    succeeds(Command::new(&docker).args(["pull", "--quiet", &tag]));
    let ran = succeeds(Command::new(&docker).args(["run", "--rm", "--network", "none", &tag, "kubelet", "--version"]));
    assert_eq!(String::from_utf8_lossy(&ran.stdout).trim(), "Kubernetes v1.20.2");
    // An option goes to the kubelet beside those of the image.
    let ran = succeeds(Command::new(&docker).args(["run", "--rm", "--network", "none", &tag, "--version"]));
    assert_eq!(String::from_utf8_lossy(&ran.stdout).trim(), "Kubernetes v1.20.2");
    succeeds(Command::new(&docker).args(["image", "rm", &tag]));
}
