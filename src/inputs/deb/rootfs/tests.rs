use std::collections::BTreeMap;

use super::*;
use crate::inputs::deb::stanza::stanzas;

/// A package with its files: `path` alone is a folder, `path -> target` a link, `path = target` a hard link, and
/// `path: text` a file.
struct Made {
    index: String,
    control: Control,
    data: Tree,
}

struct Machine {
    _folder: tempfile::TempDir,
    store: Store,
}

fn path(text: &str) -> TreePath {
    TreePath::new(text).unwrap()
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        Self { _folder: folder, store }
    }

    fn package(&self, fields: &str, scripts: &[&str], files: &[&str]) -> Made {
        let index = format!("Package: {fields}\nArchitecture: amd64\n");
        let index = if index.contains("Version:") { index } else { format!("{index}Version: 1\n") };
        let mut control: BTreeMap<_, _> =
            scripts.iter().map(|script| ((*script).to_owned(), b"#!/bin/sh\n".to_vec())).collect();
        control.insert("control".to_owned(), format!("{index}Description: short\n long\n").into_bytes());
        let mut data = Tree::new();
        for file in files {
            let (name, entry) = if let Some((name, target)) = file.split_once(" -> ") {
                (name, Entry::symlink(target))
            } else if let Some((name, target)) = file.split_once(" = ") {
                (name, Entry::new(0o644, Node::Hardlink(path(target))))
            } else if let Some((name, text)) = file.split_once(": ") {
                let content = Content::whole(self.store.put(text.as_bytes()).unwrap());
                (name, Entry::new(0o644, Node::File(content)))
            } else {
                (*file, Entry::directory())
            };
            data.insert(path(name), entry);
        }
        Made { index, control: Control::from_files(control), data }
    }

    fn assemble(&self, made: &[Made], setup: &Setup) -> Result<Assembled, AssembleError> {
        let packages: Vec<_> =
            made.iter().map(|made| Package::parse(stanzas(&made.index).next().unwrap()).unwrap()).collect();
        let unpacked: Vec<_> = made
            .iter()
            .zip(&packages)
            .map(|(made, package)| Unpacked { package, control: &made.control, data: &made.data })
            .collect();
        let assembled = assemble(&self.store, &unpacked, setup);
        let reversed: Vec<_> = unpacked.into_iter().rev().collect();
        let again = assemble(&self.store, &reversed, setup);
        assert_eq!(assembled.as_ref().ok(), again.as_ref().ok(), "the order of packages matters");
        assembled
    }

    fn tree(&self, made: &[Made]) -> Tree {
        self.assemble(made, &Setup::default()).unwrap().tree
    }

    fn text(&self, tree: &Tree, name: &str) -> String {
        let mut text = String::new();
        let content = content(tree, &path(name)).unwrap_or_else(|| panic!("no file {name}"));
        io::Read::read_to_string(&mut self.store.content(&content).unwrap(), &mut text).unwrap();
        text
    }
}

fn link<'t>(tree: &'t Tree, name: &str) -> &'t str {
    match &tree.get(&path(name)).unwrap_or_else(|| panic!("no {name}")).node {
        Node::Symlink(target) => target,
        other => panic!("{name} is {other:?}"),
    }
}

#[test]
fn usr_is_merged_and_links_to_folders_are_followed() {
    let machine = Machine::new();
    let tree = machine.tree(&[
        machine.package("base-files", &["postinst"], &["bin", "lib", "usr/bin", "var/run", "etc", "opt/link -> real"]),
        machine.package("a", &[], &["bin", "bin/a: a", "bin/b = bin/a", "lib64/ld.so -> /lib/x/ld.so", "var/run/a: a"]),
        machine.package("c", &[], &["opt/real", "opt/link", "opt/link/c: c", "usr/lib", "usr/lib/c: c"]),
    ]);
    assert_eq!(link(&tree, "bin"), "usr/bin");
    assert_eq!(link(&tree, "lib64"), "usr/lib64");
    assert!(tree.get(&path("lib32")).is_none());
    assert_eq!(link(&tree, "usr/lib64/ld.so"), "/lib/x/ld.so");
    assert_eq!(tree.get(&path("usr/bin/b")).unwrap().node, Node::Hardlink(path("usr/bin/a")));
    assert_eq!((link(&tree, "var/run"), machine.text(&tree, "run/a").as_str()), ("/run", "a"));
    assert_eq!((link(&tree, "opt/link"), machine.text(&tree, "opt/real/c").as_str()), ("real", "c"));
    for (name, _) in tree.iter() {
        let folder = name.parent();
        assert!(
            folder.is_none_or(|folder| tree.get(&folder).is_some_and(|entry| entry.node == Node::Directory)),
            "{name}"
        );
    }
}

#[test]
fn a_path_of_two_packages_goes_to_the_one_that_replaces_the_other() {
    let machine = Machine::new();
    for (fields, expected) in [
        ("b\nReplaces: a", Some("from b")),
        ("b\nReplaces: x, a (<< 2)", Some("from b")),
        ("b\nReplaces: virtual", Some("from b")),
        ("b\nReplaces: a (<< 1)", None),
        ("b", None),
    ] {
        let made = [
            machine.package("a\nVersion: 1\nProvides: virtual", &[], &["usr/share/x: from a"]),
            machine.package(fields, &[], &["usr/share/x: from b"]),
        ];
        match (machine.assemble(&made, &Setup::default()), expected) {
            (Ok(assembled), Some(expected)) => assert_eq!(machine.text(&assembled.tree, "usr/share/x"), expected),
            (Err(AssembleError::Place(PlaceError::BothBring { .. })), None) => {}
            (other, _) => panic!("{fields}: {other:?}"),
        }
    }
    // Also where the two paths become one.
    let both = [machine.package("a", &[], &["bin/x: a"]), machine.package("b", &[], &["usr/bin/x: b"])];
    assert!(machine.assemble(&both, &Setup::default()).is_err());
}

#[test]
fn links_that_lead_nowhere_end_in_an_error() {
    let machine = Machine::new();
    let circle = [
        machine.package("a", &[], &["opt/x -> y", "opt/y -> x"]),
        machine.package("b", &[], &["opt/x", "opt/y", "opt/x/file: b"]),
    ];
    let error = machine.assemble(&circle, &Setup::default()).unwrap_err();
    assert!(matches!(error, AssembleError::Place(PlaceError::Loop { .. })), "{error}");
    // `..` cannot leave the root, and a link to the root itself is no folder to put files in twice.
    let above =
        [machine.package("a", &[], &["opt/x -> ../../../etc"]), machine.package("b", &[], &["opt/x", "opt/x/f: b"])];
    assert_eq!(machine.text(&machine.tree(&above), "etc/f"), "b");
    let lost = [machine.package("a", &[], &["opt/x = opt/y"])];
    assert!(machine.assemble(&lost, &Setup::default()).is_err());
}

#[test]
fn the_scripts_of_base_packages_are_done_without() {
    let machine = Machine::new();
    let master = [
        "usr/share/base-passwd/passwd.master: root:*:0:0:root:/root:/bin/bash\nbroken\n",
        "usr/share/base-passwd/group.master: root:*:0:\nshadow:*:42:\n",
    ];
    let made = [
        machine.package("base-files", &["postinst"], &["usr/share/base-files/profile: PATH=/bin\n"]),
        machine.package("base-passwd", &["postinst"], &master),
        machine.package("libc-bin", &["postinst"], &["usr/share/libc-bin/nsswitch.conf: hosts: files dns\n"]),
        machine.package(
            "ca-certificates",
            &["postinst"],
            &[
                "usr/share/ca-certificates/m/B.crt: bbb",
                "usr/share/ca-certificates/m/A.crt: aaa\n",
                "usr/share/ca-certificates/m/C.txt: no",
            ],
        ),
    ];
    let assembled = machine.assemble(&made, &Setup::default()).unwrap();
    assert_eq!(assembled.undeclared, []);
    let tree = &assembled.tree;
    assert_eq!(machine.text(tree, "etc/ssl/certs/ca-certificates.crt"), "aaa\nbbb\n");
    assert_eq!(machine.text(tree, "etc/profile"), "PATH=/bin\n");
    assert_eq!(machine.text(tree, "etc/nsswitch.conf"), "hosts: files dns\n");
    assert_eq!(machine.text(tree, "etc/passwd"), "root:x:0:0:root:/root:/bin/bash\n");
    assert_eq!(machine.text(tree, "etc/shadow"), "root:*::0:99999:7:::\n");
    assert_eq!(machine.text(tree, "etc/gshadow"), "root:*::\nshadow:*::\n");
    let shadow = tree.get(&path("etc/shadow")).unwrap();
    assert_eq!((shadow.mode, shadow.uid, shadow.gid), (0o640, 0, 42));
    assert_eq!(link(tree, "var/spool/mail"), "../mail");
    assert_eq!(tree.get(&path("run/lock")).unwrap().mode, 0o1777);
}

#[test]
fn scripts_that_nothing_is_done_for_are_named() {
    let machine = Machine::new();
    let made = [
        machine.package("a", &["postinst", "preinst", "postrm", "config"], &[]),
        machine.package("b", &["postinst"], &[]),
        machine.package("iptables", &["postinst"], &["usr/sbin/iptables-nft -> xtables-nft-multi"]),
        machine.package("z", &["prerm"], &[]),
    ];
    let named = |setup: &Setup| -> Vec<String> {
        let scripts = machine.assemble(&made, setup).unwrap().undeclared;
        scripts.iter().map(|script| format!("{} {}", script.package, script.phase)).collect()
    };
    assert_eq!(named(&Setup::default()), ["a preinst", "a postinst", "b postinst", "iptables postinst"]);
    let alternatives = vec![Alternative {
        link: path("usr/sbin/iptables"),
        name: "iptables".to_owned(),
        target: path("usr/sbin/iptables-nft"),
    }];
    assert_eq!(named(&Setup { alternatives, declared: ["b".to_owned()].into() }), ["a preinst", "a postinst"]);
}

#[test]
fn alternatives_lead_through_etc_to_what_is_there() {
    let machine = Machine::new();
    let made = [machine.package("iptables", &["postinst"], &["sbin/nft: x", "usr/sbin/taken: x"])];
    let alternative = |link: &str, name: &str, target: &str| Alternative {
        link: path(link),
        name: name.to_owned(),
        target: path(target),
    };
    let setup = |alternative| Setup { alternatives: vec![alternative], ..Setup::default() };
    // Written as in the package's own script or as it lies in a merged /usr, which is the same file.
    for (link_path, target) in [("usr/sbin/iptables", "usr/sbin/nft"), ("sbin/iptables", "sbin/nft")] {
        let good = setup(alternative(link_path, "iptables", target));
        let assembled = machine.assemble(&made, &good).unwrap();
        let tree = &assembled.tree;
        assert_eq!(link(tree, "usr/sbin/iptables"), "/etc/alternatives/iptables");
        assert_eq!(link(tree, "etc/alternatives/iptables"), "/usr/sbin/nft");
        assert_eq!((assembled.idle.len(), assembled.undeclared.len()), (0, 0), "{target}");
    }
    let idle = machine.assemble(&made, &setup(alternative("sbin/iptables", "iptables", "usr/sbin/legacy"))).unwrap();
    assert_eq!(idle.idle, [path("sbin/iptables")]);
    assert!(idle.tree.get(&path("etc/alternatives/iptables")).is_none() && idle.undeclared.len() == 1);
    for bad in [
        alternative("usr/sbin/taken", "taken", "usr/sbin/nft"),
        alternative("usr/sbin/iptables", "a/b", "usr/sbin/nft"),
        alternative("usr/sbin/iptables", "", "usr/sbin/nft"),
    ] {
        assert!(machine.assemble(&made, &setup(bad.clone())).is_err(), "{bad:?}");
    }
}

/// A link to the root, or above it, is one that a running system follows.
#[test]
fn links_to_the_root_are_followed() {
    let machine = Machine::new();
    for target in ["/", "..", "../../.."] {
        let tree = machine.tree(&[
            machine.package("a", &[], &[&format!("opt/root -> {target}")]),
            machine.package("b", &[], &["opt", "opt/root", "opt/root/etc/b: b"]),
        ]);
        assert_eq!(machine.text(&tree, "etc/b"), "b", "{target}");
    }
}

/// `SSL_CTX_set_default_verify_paths` of OpenSSL reads below `/usr/lib/ssl`, whether the package openssl is there or not.
#[test]
fn openssl_finds_the_bundle_of_authorities() {
    let machine = Machine::new();
    let files = ["usr/share/ca-certificates/b.crt: B", "usr/share/ca-certificates/a/a.crt: A\n"];
    let tree = machine.tree(&[machine.package("ca-certificates", &["postinst"], &files)]);
    assert_eq!(machine.text(&tree, "etc/ssl/certs/ca-certificates.crt"), "A\nB\n");
    assert_eq!(link(&tree, "usr/lib/ssl/cert.pem"), "/etc/ssl/certs/ca-certificates.crt");
    assert_eq!(link(&tree, "usr/lib/ssl/certs"), "/etc/ssl/certs");
}

#[test]
fn documentation_goes_and_copyright_stays() {
    let machine = Machine::new();
    let tree = machine.tree(&[machine.package(
        "a",
        &[],
        &[
            "usr/share/doc",
            "usr/share/doc/a",
            "usr/share/doc/a/changelog.gz: x",
            "usr/share/doc/a/copyright: (c)",
            "usr/share/doc/a/examples",
            "usr/share/doc/a/examples/e: x",
            "usr/share/doc/b -> a",
            "usr/share/doc/README: x",
            "usr/share/doc/c",
            "usr/share/doc/c/d",
            "usr/share/doc/c/d/e: x",
            "usr/share/man",
            "usr/share/man/man1",
            "usr/share/man/man1/a.1.gz: x",
            "usr/share/locale/de/x.mo: x",
            "usr/share/info/a: kept",
            "usr/share/a/one = usr/share/info/a",
            "usr/share/a/two = usr/share/info/a",
            "usr/share/manual: x",
        ],
    )]);
    let left: Vec<_> =
        tree.iter().map(|(path, _)| path.as_str()).filter(|path| path.starts_with("usr/share/")).collect();
    assert_eq!(
        left,
        [
            "usr/share/a",
            "usr/share/a/one",
            "usr/share/a/two",
            "usr/share/doc",
            "usr/share/doc/a",
            "usr/share/doc/a/copyright",
            "usr/share/doc/b",
            "usr/share/man",
            "usr/share/manual",
        ]
    );
    assert_eq!(machine.text(&tree, "usr/share/a/one"), "kept");
    assert_eq!(tree.get(&path("usr/share/a/two")).unwrap().node, Node::Hardlink(path("usr/share/a/one")));
}

#[test]
fn what_is_installed_is_recorded_for_dpkg_and_scanners() {
    let machine = Machine::new();
    let tree = machine.tree(&[machine.package("b", &[], &[]), machine.package("a\nDepends: b,\n c", &[], &[])]);
    assert_eq!(
        machine.text(&tree, "var/lib/dpkg/status"),
        "Package: a\nStatus: install ok installed\nDepends: b,\n c\nArchitecture: amd64\nVersion: 1\n\
         Description: short\n\n\
         Package: b\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\nDescription: short\n\n"
    );
}
