//! The tree against the one that the real `apk add` makes from the same signed repository.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Read as _,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, lchown, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use kletimg::{
    base::{Accounts, Digest, Group, Node, Tree, User},
    inputs::{
        apk::{
            install::{Installed, Setup, install},
            package::verify_package,
            repository::{Trust, VerifiedIndex},
            resolver::{Repository, World, resolve},
        },
        store::Store,
    },
};

use crate::{
    reference::{Reference, alpine_keys, run},
    support::parts,
};

const PACKAGES: [&str; 8] = [
    "alpine-baselayout",
    "busybox",
    "busybox-binsh",
    "apk-tools",
    "musl-utils",
    "ca-certificates-bundle",
    "e2fsprogs",
    "openssh-client-default",
];

/// Where our tree is not apk's (paths, or folders with a slash), and why that is right.
const DIFFERENCES: [(&str, &str); 6] = [
    ("dev/", "no device nodes: a container runtime brings its own"),
    ("etc/apk/keys/", "the base's keys, which apk was only shown"),
    ("etc/apk/repositories", "the base's repositories, which apk was only shown"),
    ("lib/apk/db/lock", "apk makes its lock when it needs it"),
    ("lib/apk/exec", "apk made it, closed, for the first script, before the package that brings it, open"),
    ("proc", "apk made it, read-only, to mount it for scripts, before the package that brings it"),
];

pub(crate) fn assemble(data: &Path, store: &Store, packages: &[&str], accounts: &Accounts) -> Installed {
    let keys = alpine_keys(data);
    let folder = data.join("repo-3.19.1/x86_64");
    let index = VerifiedIndex::open(&fs::read(folder.join("APKINDEX.tar.gz")).unwrap(), &keys, Trust::Signed).unwrap();
    let world = World::parse(packages).unwrap();
    let selected = resolve(&[Repository { tag: None, index: index.index() }], &world).unwrap();
    let packages: Vec<_> = selected
        .iter()
        .map(|selected| {
            let blob = store.put_file(&folder.join(selected.package().file_name())).unwrap();
            verify_package(store, &blob, selected, &keys).unwrap()
        })
        .collect();
    let setup = Setup {
        world: &world,
        arch: "x86_64",
        repositories: &["https://dl-cdn.alpinelinux.org/alpine/v3.19/main".to_owned()],
        keys: &keys,
        accounts,
        applets: "",
    };
    install(store, &packages, &setup).unwrap()
}

/// Writes a tree as files, with its modes and owners.
fn materialise(store: &Store, tree: &Tree, root: &Path) {
    for (path, entry) in tree.iter() {
        let path = root.join(path.as_str());
        match &entry.node {
            Node::Directory => fs::create_dir_all(&path).unwrap(),
            Node::File(content) => {
                let mut bytes = Vec::new();
                store.content(content).unwrap().read_to_end(&mut bytes).unwrap();
                assert_eq!(bytes.len() as u64, content.size);
                fs::write(&path, bytes).unwrap();
            }
            Node::Symlink(target) => symlink(target, &path).unwrap(),
            Node::Hardlink(_) => continue,
        }
        lchown(&path, Some(entry.uid), Some(entry.gid)).unwrap();
        if !matches!(entry.node, Node::Symlink(_)) {
            fs::set_permissions(&path, fs::Permissions::from_mode(entry.mode)).unwrap();
        }
    }
    for (path, entry) in tree.iter() {
        if let Node::Hardlink(target) = &entry.node {
            fs::hard_link(root.join(target.as_str()), root.join(path.as_str())).unwrap();
        }
    }
    chown(root, Some(0), Some(0)).unwrap();
}

/// Everything about every path that a tree is made of.
fn describe(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root.join(&folder)).unwrap() {
            let path = folder.join(entry.unwrap().file_name());
            let metadata = fs::symlink_metadata(root.join(&path)).unwrap();
            let kind = if metadata.is_dir() {
                folders.push(path.clone());
                "directory".to_owned()
            } else if metadata.is_symlink() {
                format!("link to {}", fs::read_link(root.join(&path)).unwrap().display())
            } else if metadata.is_file() {
                format!("file {}", Digest::of(fs::read(root.join(&path)).unwrap()).short())
            } else {
                "device".to_owned()
            };
            let text = format!("{:o} {}:{} {kind}", metadata.mode() & 0o7777, metadata.uid(), metadata.gid());
            found.insert(path.to_str().unwrap().to_owned(), text);
        }
    }
    found
}

/// Paths, or folders with a slash at the end, and why they differ.
type Explained = [(&'static str, &'static str)];

/// Has the real apk and us install the same packages, below `theirs` and `ours`, and compares the two trees.
fn compare(reference: &Reference, installed: &Installed, store: &Store, packages: &[&str], explained: &[&Explained]) {
    let output = reference.add("/theirs", &[], packages);
    assert!(output.status.success(), "{output:?}");
    let ours = reference.root.path().join("ours");
    fs::create_dir(&ours).unwrap();
    materialise(store, &installed.tree, &ours);

    let (ours, theirs) = (describe(&ours), describe(&reference.root.path().join("theirs")));
    let explained: Vec<&str> = explained.iter().flat_map(|list| list.iter().map(|(path, _)| *path)).collect();
    let explanation = |path: &str| {
        explained.iter().position(|known| *known == path || (known.ends_with('/') && path.starts_with(known)))
    };
    let paths: BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
    let differing = paths.into_iter().filter(|path| ours.get(*path) != theirs.get(*path));
    let (known, unknown): (Vec<_>, Vec<_>) = differing.partition(|path| explanation(path).is_some());
    let text = |path| format!("{path}: ours {:?}, theirs {:?}\n", ours.get(path), theirs.get(path));
    assert!(unknown.is_empty(), "\n{}", unknown.into_iter().map(text).collect::<String>());
    let used: BTreeSet<_> = known.into_iter().filter_map(|path| explanation(path)).collect();
    assert_eq!(used.len(), explained.len(), "an explained difference does not occur");
}

/// Compares what the real apk and we make of packages whose scripts are all made up for.
fn compare_all(packages: &[&str]) -> Option<Reference> {
    let data = parts::alpine_data()?;
    let reference = Reference::new(&data, &[("repo", data.join("repo-3.19.1"))])?;
    let store = Store::new(reference.root.path().join("store"));
    let installed = assemble(&data, &store, packages, &Accounts::default());
    assert_eq!(installed.undeclared, []);
    compare(&reference, &installed, &store, packages, &[&DIFFERENCES]);
    Some(reference)
}

#[test]
fn the_tree_is_the_one_that_apk_would_have_made() {
    let Some(reference) = compare_all(&PACKAGES) else { return };
    apk_is_content(&reference);
}

/// Programs that are set-user-ID, thousands of links and hard links, folders that many packages bring.
#[test]
fn the_tree_of_many_packages_is_the_one_that_apk_would_have_made() {
    compare_all(&[
        "alpine-baselayout",
        "apk-tools",
        "busybox",
        "busybox-binsh",
        "doas",
        "e2fsprogs-extra",
        "iw",
        "openssh",
        "openssl",
        "partx",
        "ppp-daemon",
        "ppp-pppoe",
        "sfdisk",
        "tzdata",
        "usb-modeswitch",
        "wget",
        "wpa_supplicant",
    ]);
}

/// A package whose script adds a user, with the same user in the base.
#[test]
fn accounts_of_the_base_stand_in_for_scripts_that_add_them() {
    const PACKAGES: [&str; 4] = ["alpine-baselayout", "busybox", "busybox-binsh", "chrony"];
    const ACCOUNTS: [(&str, &str); 5] = [
        ("etc/apk/keys", "no package brings it, and the base's keys lie in it"),
        ("etc/shadow", "adduser writes the day into it"),
        ("etc/passwd-", "adduser saves the file before"),
        ("etc/group-", "addgroup saves the file before"),
        ("etc/shadow-", "adduser saves the file before"),
    ];
    let Some(data) = parts::alpine_data() else { return };
    let Some(reference) = Reference::new(&data, &[("repo", data.join("repo-3.19.1"))]) else { return };
    let store = Store::new(reference.root.path().join("store"));
    let text = str::to_owned;
    let accounts = Accounts {
        users: vec![User {
            name: text("chrony"),
            uid: 100,
            group: text("chrony"),
            comment: text("chrony"),
            home: text("/var/log/chrony"),
            create_home: true,
            shell: text("/sbin/nologin"),
        }],
        groups: vec![Group { name: text("chrony"), gid: 101, members: vec![text("chrony")] }],
    };
    let installed = assemble(&data, &store, &PACKAGES, &accounts);
    assert_eq!(installed.undeclared.len(), 1, "{:?}", installed.undeclared);
    compare(&reference, &installed, &store, &PACKAGES, &[&DIFFERENCES, &ACCOUNTS]);
}

/// The image's own apk finds nothing wrong, and its shell runs.
fn apk_is_content(reference: &Reference) {
    let inside = |command: &[&str]| {
        let output = Command::new("chroot").arg(reference.root.path().join("ours")).args(command).output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{command:?}: {text}");
        text
    };
    assert_eq!(inside(&["/sbin/apk", "audit", "--system"]), "");
    assert_eq!(inside(&["/sbin/apk", "audit", "--system", "--check-permissions"]), "");
    assert!(inside(&["/sbin/apk", "info", "-vv"]).contains("e2fsprogs-1.47.0-r5 - "));
    // As a container runtime does it.
    run(Command::new("mknod")
        .args(["-m", "666"])
        .arg(reference.root.path().join("ours/dev/null"))
        .args(["c", "1", "3"]));
    let added = inside(&["/sbin/apk", "add", "--no-network", "--repositories-file", "/dev/null"]);
    assert!(added.starts_with("OK: "), "{added}");
    assert_eq!(
        inside(&["/bin/sh", "-c", "ls / | wc -l | grep -q . && ssh -V 2>&1 | cut -c1-7 && echo fine"]),
        "OpenSSH\nfine\n"
    );
}
