//! The small programs that the bases lay into images, run by the `BusyBox` of a real Alpine.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use crate::{
    reference::{Reference, run},
    support::parts,
};

/// A mini root file system with a program of `alpine/`.
struct Root {
    reference: Reference,
}

impl Root {
    fn new() -> Option<Self> {
        let root = Self { reference: Reference::new(&parts::alpine_data()?, &[])? };
        // As a container runtime would.
        run(Command::new("mknod").args(["-m", "666"]).arg(root.path("dev/null")).args(["c", "1", "3"]));
        Some(root)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.reference.root.path().join(path)
    }

    fn program(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Lays a program of `alpine/` in, as the definitions do.
    fn lay(&self, path: &str, name: &str) {
        self.lay_from("alpine", path, name);
    }

    fn lay_from(&self, folder: &str, path: &str, name: &str) {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join(name);
        self.program(path, &fs::read_to_string(source).unwrap());
    }

    fn command(&self, user: u32, arguments: &[&str]) -> Command {
        let mut command = Command::new("chroot");
        command.arg(format!("--userspec={user}:{user}")).arg(self.reference.root.path()).args(arguments);
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(0, arguments).output().unwrap()
    }

    fn says(&self, arguments: &[&str]) -> String {
        says(&self.run(arguments))
    }
}

fn says(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap().trim_end().to_owned()
}

const LINKS: [&str; 6] =
    ["iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore"];

/// `ip6tables` and `-save`.
fn split(name: &str) -> (&str, &str) {
    name.split_at(name.find('-').unwrap_or(name.len()))
}

/// Lays the wrapper in, and backends that say who they are and have these rules; `None` is a backend that the kernel
/// refuses.
fn iptables(root: &Root, nft: Option<&str>, legacy: Option<&str>) {
    root.lay("usr/local/sbin/iptables-wrapper", "iptables-wrapper");
    for link in LINKS {
        let path = root.path("usr/local/sbin").join(link);
        let _ = fs::remove_file(&path);
        symlink("iptables-wrapper", path).unwrap();
    }
    for (backend, rules) in [("nft", nft), ("legacy", legacy)] {
        for name in LINKS {
            let (family, rest) = split(name);
            let text = match rules {
                Some(rules) if name == "iptables-save" => format!("#!/bin/sh\necho \"$0 $*\"\necho '{rules}'\n"),
                Some(_) => "#!/bin/sh\necho \"$0 $*\"\n".to_owned(),
                None => "#!/bin/sh\necho \"$0 $*\"\nexit 3\n".to_owned(),
            };
            root.program(&format!("sbin/{family}-{backend}{rest}"), &text);
        }
    }
}

#[test]
fn the_backend_is_chosen_by_the_rules_that_are_there() {
    const HINT: &str = "*mangle\n:KUBE-IPTABLES-HINT - [0:0]\nCOMMIT";
    const CANARY: &str = "*mangle\n:KUBE-KUBELET-CANARY - [0:0]\nCOMMIT";
    const ONE: &str = "*filter\n-A INPUT -j ACCEPT\nCOMMIT";
    const TWO: &str = "*filter\n-A INPUT -j ACCEPT\n-A INPUT -j DROP\nCOMMIT";
    let Some(root) = Root::new() else { return };
    for (nft, legacy, expected) in [
        (Some(""), Some(""), "nft"),
        (Some(ONE), Some(""), "nft"),
        (Some(ONE), Some(ONE), "nft"),
        (Some(ONE), Some(TWO), "legacy"),
        (Some(TWO), Some(ONE), "nft"),
        (Some(HINT), Some(TWO), "nft"),
        (Some(TWO), Some(CANARY), "legacy"),
        (Some(CANARY), Some(HINT), "nft"),
        // Comments are not rules, and a chain of another name is no hint.
        (Some(""), Some(":KUBE-IPTABLES-HINTS - [0:0]\n# -A no"), "nft"),
        (None, Some(""), "legacy"),
        (None, Some(ONE), "legacy"),
    ] {
        iptables(&root, nft, legacy);
        let output = root.run(&["/usr/local/sbin/ip6tables-restore", "--noflush", "a b"]);
        let first = String::from_utf8(output.stdout).unwrap();
        assert_eq!(first, format!("/sbin/ip6tables-{expected}-restore --noflush a b\n"), "{nft:?} {legacy:?}");
        // From now on every name leads to that backend, without looking again.
        for link in LINKS {
            let (family, rest) = split(link);
            let target = fs::read_link(root.path("usr/local/sbin").join(link)).unwrap();
            assert_eq!(target, Path::new(&format!("/sbin/{family}-{expected}{rest}")));
        }
        assert_eq!(fs::read_dir(root.path("usr/local/sbin")).unwrap().count(), LINKS.len() + 1, "nothing is left over");
    }
}

#[test]
fn one_backend_is_enough_and_none_is_an_error() {
    let Some(root) = Root::new() else { return };
    let remove = |backend: &str| {
        for file in fs::read_dir(root.path("sbin")).unwrap() {
            let path = file.unwrap().path();
            if path.file_name().unwrap().to_str().unwrap().contains(&format!("tables-{backend}")) {
                fs::remove_file(path).unwrap();
            }
        }
    };
    iptables(&root, Some(""), Some("-A INPUT"));
    remove("legacy");
    assert_eq!(root.says(&["iptables", "-n"]), "/sbin/iptables-nft -n");
    iptables(&root, Some("-A INPUT"), Some(""));
    remove("nft");
    assert_eq!(root.says(&["iptables", "-n"]), "/sbin/iptables-legacy -n");
    iptables(&root, Some(""), Some(""));
    remove("nft");
    remove("legacy");
    let output = root.run(&["iptables", "-n"]);
    assert_eq!(output.status.code(), Some(127), "{output:?}");
    assert!(String::from_utf8(output.stderr).unwrap().starts_with("iptables: there is neither"));
}

#[test]
fn where_links_cannot_be_changed_every_call_looks_again() {
    let Some(root) = Root::new() else { return };
    iptables(&root, Some(""), Some("-A INPUT"));
    let user = |arguments: &[&str]| says(&root.command(1000, arguments).output().unwrap());
    assert_eq!(user(&["iptables", "-n"]), "/sbin/iptables-legacy -n");
    assert_eq!(user(&["iptables-save"]), "/sbin/iptables-legacy-save \n-A INPUT");
    let link = root.path("usr/local/sbin/iptables");
    assert_eq!(fs::read_link(&link).unwrap(), Path::new("iptables-wrapper"));

    let script = "mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro \"$1\" && exec chroot \"$1\" iptables -n";
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", script, "sh"])
        .arg(root.reference.root.path())
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .output();
    let mounted = output.ok().filter(|output| !String::from_utf8_lossy(&output.stderr).contains("mount:"));
    let Some(output) = parts::need("mount", mounted, "nothing can be mounted here") else { return };
    assert_eq!(says(&output), "/sbin/iptables-legacy -n");
    assert!(output.stderr.is_empty(), "{output:?}");
    assert_eq!(fs::read_link(&link).unwrap(), Path::new("iptables-wrapper"));
}

#[test]
fn socat_forwards_a_port_as_the_kubelet_asks_and_nothing_else() {
    let Some(root) = Root::new() else { return };
    root.lay("usr/local/bin/socat", "socat");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        let (mut stream, _) = listener.accept().unwrap();
        let mut got = Vec::new();
        stream.read_to_end(&mut got).unwrap();
        // Whoever has no more to say still hears the answer.
        stream.write_all(b"pong\n").unwrap();
        got
    });
    let script = format!("printf ping1 | socat - TCP4:localhost:{port}");
    assert_eq!(root.says(&["sh", "-c", &script]), "pong");
    assert_eq!(server.join().unwrap(), b"ping1");
    for arguments in [&["socat"][..], &["socat", "-", "TCP4:example.org:80"], &["socat", "-", "UNIX:/a", "b"]] {
        assert_eq!(root.run(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn ethtool_names_the_other_end_of_an_interface_and_nothing_else() {
    let Some(root) = Root::new() else { return };
    root.lay("usr/local/bin/ethtool", "ethtool");
    let shown = "#!/bin/sh\n[ \"$*\" = 'link show dev eth0' ] || exit 1\n\
                 echo '3: eth0@if12: <BROADCAST,UP> mtu 1500 qdisc noqueue state UP'\necho '    link/ether 0a:58'\n";
    root.program("usr/local/sbin/ip", shown);
    assert!(root.says(&["ethtool", "--statistics", "eth0"]).contains("peer_ifindex: 12"));
    assert_eq!(root.run(&["ethtool", "--statistics", "lo"]).status.code(), Some(1));
    assert_eq!(root.run(&["ethtool", "-i", "eth0"]).status.code(), Some(2));
}

#[test]
fn the_checker_of_the_file_system_that_is_there_is_called() {
    let Some(root) = Root::new() else { return };
    root.lay("sbin/fsck.auto", "fsck.auto");
    fs::write(root.path("tmp/device"), "").unwrap();
    let device = "/tmp/device";
    let found = |kind: &str| root.program("usr/local/sbin/blkid", &format!("#!/bin/sh\necho {kind}\n"));
    // The first line of what BusyBox's fsck prints is its own.
    let last = |output: &Output| String::from_utf8_lossy(&output.stdout).lines().last().unwrap_or_default().to_owned();
    found("ext4");
    root.program("sbin/fsck.ext4", "#!/bin/sh\necho \"$0 $*\"\nexit 1\n");
    let output = root.run(&["fsck", "-a", device]);
    assert_eq!((output.status.code(), last(&output)), (Some(1), format!("/sbin/fsck.ext4 -a {device}")));
    found("xfs");
    let output = root.run(&["fsck", "-a", device]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no fsck.xfs"));
    root.program("usr/local/sbin/blkid", "#!/bin/sh\nexit 2\n");
    assert_eq!(root.run(&["fsck", "-a", device]).status.code(), Some(8));
}

#[test]
fn the_entrypoint_tells_options_from_programs() {
    let Some(root) = Root::new() else { return };
    root.lay_from("variants", "usr/local/bin/entrypoint", "entrypoint");
    // Every word that a program is given, in brackets.
    root.program("usr/bin/kubelet", "#!/bin/sh\nfor word do printf '[%s]' \"$word\"; done\n");
    root.program("usr/bin/other", "#!/bin/sh\nprintf other; for word do printf '[%s]' \"$word\"; done\n");
    let cases: [(&[&str], &[&str], &str); 9] = [
        (&["kubelet", "--config=/a b", "--"], &[], "[--config=/a b]"),
        (&["kubelet", "--config=/a b", "--"], &["--v=4", ""], "[--config=/a b][--v=4][]"),
        (&["kubelet", "--config=/x", "--"], &["kubelet", "--version"], "[--version]"),
        (&["kubelet", "--config=/x", "--"], &["other", "a  b", "*", "--", "$HOME"], "other[a  b][*][--][$HOME]"),
        (&["kubelet", "--config=/x", "--"], &["--a", "--", "--b"], "[--config=/x][--a][--][--b]"),
        (&["kubelet", "--"], &["-v", "2"], "[-v][2]"),
        (&["kubelet", "--"], &["/usr/bin/other"], "other"),
        (&["kubelet", "--a"], &[], "[--a]"),
        (&["other"], &["x"], "other[x]"),
    ];
    for (image, user, expected) in cases {
        let words: Vec<&str> = ["/usr/local/bin/entrypoint"].iter().chain(image).chain(user).copied().collect();
        assert_eq!(root.says(&words), expected, "{image:?} {user:?}");
        // The shell of Debian's images is dash, or whatever this machine's is.
        let script = root.path("usr/local/bin/entrypoint");
        let mut here = Command::new("/bin/sh");
        here.arg(script).args(&words[1..]).env("PATH", format!("{}:/bin:/usr/bin", root.path("usr/bin").display()));
        if !words.contains(&"/usr/bin/other") {
            assert_eq!(says(&here.output().unwrap()), expected, "{image:?} {user:?}");
        }
    }
    let absent = root.run(&["/usr/local/bin/entrypoint", "kubelet", "--", "absent"]);
    assert_eq!(absent.status.code(), Some(127), "{absent:?}");
}
