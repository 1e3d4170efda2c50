//! A root file system of real packages: what apt downloads, put together and tried out.

use std::{path::Path, process::Command};

use kletimg::{
    base::{Node, TreePath},
    inputs::{
        archive::{self, Format, Limits, materialise},
        deb::{
            control::Control,
            resolver::{Request, Resolution, resolve},
            rootfs::{Alternative, Assembled, Setup, Unpacked, assemble},
            universe::Universe,
        },
        store::Store,
    },
};

use super::apt::{Apt, output};
use crate::support::parts;

const INSTALL: [&str; 9] = [
    "base-files",
    "base-passwd",
    "netbase",
    "ca-certificates",
    "mount",
    "iptables",
    "conntrack",
    "libc-bin",
    "coreutils",
];
const WITHOUT: [&str; 2] = ["debconf", "openssl"];

fn resolution(universe: &Universe<'_>) -> Resolution {
    let own = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    resolve(universe, Request { install: &own(&INSTALL), without: &own(&WITHOUT) }).unwrap()
}

/// The root file system of these packages, as apt downloads them.
fn root(universe: &Universe<'_>, store: &Store, folder: &Path) -> Option<Assembled> {
    let resolution = resolution(universe);
    let versions: Vec<_> =
        resolution.offers(universe).map(|o| format!("{}={}", o.package.name, o.package.version)).collect();
    let downloaded = output(Command::new("apt-get").args(["-q", "download"]).args(&versions).current_dir(folder));
    parts::need("apt", downloaded, "apt cannot download packages from this machine's mirror")?;
    let unpacked: Vec<_> = resolution
        .offers(universe)
        .map(|offer| {
            let package = &offer.package;
            let begin = format!("{}_{}_", package.name, package.version.replace(':', "%3a"));
            let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
            let file =
                entries.into_iter().find(|p| p.file_name().unwrap().to_str().unwrap().starts_with(&begin)).unwrap();
            let blob = store.put_file(&file).unwrap();
            assert_eq!(Some(blob), package.archive, "{begin}");
            let control = Control::read(store.open(&blob.digest).unwrap()).unwrap();
            (package, control, archive::unpack(store, &blob, Format::Deb, &Limits::default()).unwrap())
        })
        .collect();
    let unpacked: Vec<_> =
        unpacked.iter().map(|(package, control, data)| Unpacked { package, control, data }).collect();
    let alternatives = ["iptables", "iptables-save", "ip6tables"].map(|name| {
        let (stem, rest) =
            name.split_once('-').map_or((name, String::new()), |(stem, rest)| (stem, format!("-{rest}")));
        Alternative {
            link: TreePath::new(&format!("usr/sbin/{name}")).unwrap(),
            name: name.to_owned(),
            target: TreePath::new(&format!("usr/sbin/{stem}-nft{rest}")).unwrap(),
        }
    });
    let setup = Setup { alternatives: alternatives.into(), ..Setup::default() };
    Some(assemble(store, &unpacked, &setup).unwrap())
}

#[test]
fn real_packages_make_a_root_that_runs() {
    let Some(apt) = Apt::here() else { return };
    let universe = apt.universe();
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path().join("store"));
    let debs = folder.path().join("debs");
    std::fs::create_dir(&debs).unwrap();
    let Some(assembled) = root(&universe, &store, &debs) else { return };
    let named: Vec<_> = assembled.undeclared.iter().map(|script| script.package.as_str()).collect();
    assert!(!named.contains(&"iptables") && named.contains(&"netbase"), "{named:?}");
    let place = folder.path().join("root");
    materialise(&store, &assembled.tree, &place).unwrap();

    let status = format!("--admindir={}/var/lib/dpkg", place.display());
    let listed = output(Command::new("dpkg-query").args([&status, "-W", "-f", "${Package}=${Version}\n"])).unwrap();
    let resolution = resolution(&universe);
    let expected: Vec<_> =
        resolution.offers(&universe).map(|o| format!("{}={}", o.package.name, o.package.version)).collect();
    assert_eq!(listed.lines().collect::<Vec<_>>(), expected);
    for unreadable in ["usr/share/man/man1/ls.1.gz", "usr/share/doc/mount/changelog.Debian.gz"] {
        assert!(!place.join(unreadable).exists(), "{unreadable}");
    }
    assert!(place.join("usr/share/doc/mount/copyright").exists());
    for (path, entry) in assembled.tree.iter() {
        assert!(!path.as_str().starts_with("bin/"), "{path}");
        if let Node::Hardlink(first) = &entry.node {
            assert!(matches!(assembled.tree.get(first).map(|entry| &entry.node), Some(Node::File(_))), "{path}");
        }
    }
    runs(&place);
}

/// In a root of their own the programs find their libraries without a cache of the loader's.
fn runs(place: &Path) {
    assert!(!place.join("etc/ld.so.cache").exists());
    for (program, says) in
        [("mount", "util-linux"), ("iptables", "nf_tables"), ("conntrack", "conntrack"), ("ls", "coreutils")]
    {
        let mut command = Command::new("unshare");
        let said = output(
            command
                .args(["-r", "chroot"])
                .arg(place)
                .args([program, "--version"])
                .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
        );
        let Some(said) = parts::need("user-namespaces", said, "`unshare -r chroot` cannot be used here") else {
            return;
        };
        assert!(said.contains(says), "{said}");
    }
}

#[test]
fn what_is_left_out_is_listed_with_what_needs_it() {
    let Some(apt) = Apt::here() else { return };
    let universe = apt.universe();
    let resolution = resolution(&universe);
    let names: Vec<_> = resolution.offers(&universe).map(|offer| offer.package.name).collect();
    assert!(!names.iter().any(|name| ["debconf", "openssl", "libssl3", "perl-base"].contains(name)), "{names:?}");
    for (omitted, name) in resolution.omitted.iter().zip(WITHOUT) {
        assert_eq!(omitted.package, name);
        assert!(omitted.needed_by.contains(&"ca-certificates".to_owned()), "{omitted:?}");
    }
}
