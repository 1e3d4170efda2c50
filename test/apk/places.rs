//! Where the files of packages come to lie, and whose they are, as the real apk was seen to do it.

use kletimg::{
    base::{Accounts, Node, Tree, TreePath, User},
    inputs::{
        apk::install::{Installed, Setup, install, install_in_layers},
        store::Store,
    },
};

use crate::{
    locked::{self, setup},
    repository::{Built, Tar, read},
};

struct Place {
    _folder: tempfile::TempDir,
    store: Store,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        Self { _folder: folder, store }
    }

    fn install(&self, packages: &[Built]) -> Result<Installed, String> {
        let packages = read(&self.store, packages).map_err(|error| error.to_string())?;
        install(&self.store, &packages, &setup()).map_err(|error| error.to_string())
    }
}

fn link(tree: &Tree, path: &str) -> Option<String> {
    match &tree.get(&TreePath::new(path).unwrap())?.node {
        Node::Symlink(target) => Some(target.clone()),
        _ => None,
    }
}

fn has(tree: &Tree, path: &str) -> bool {
    tree.get(&TreePath::new(path).unwrap()).is_some()
}

fn symlink(tar: Tar, name: &str, to: &str) -> Tar {
    tar.entry(name, tar::EntryType::Symlink, to, 0o777, b"")
}

/// `/usr` merged: `bin` is a link to `usr/bin`.
fn merged() -> Built {
    let data = symlink(Tar::default().folder("usr").folder("usr/bin").folder("etc"), "bin", "usr/bin");
    Built::new("alpine-baselayout", "", "size = 1\n", data)
}

fn busybox(folder: &str, list: &[u8]) -> Built {
    let data = if folder == "usr/bin" { Tar::default().folder("usr") } else { Tar::default() };
    let data = data.folder(folder).file(&format!("{folder}/busybox"), b"elf");
    let data = data.folder("etc").folder("etc/busybox-paths.d").file("etc/busybox-paths.d/busybox", list);
    let info = "size = 1\ntriggers = /bin /usr/bin\n";
    Built::scripted("busybox", "D:alpine-baselayout\n", info, data, &["post-install", "trigger"])
}

#[test]
fn applets_are_linked_where_usr_is_merged() {
    let place = Place::new();
    for folder in ["usr/bin", "bin"] {
        let busybox = busybox(folder, b"bin/ls\nbin/sh\nusr/bin/awk\n");
        let installed = place.install(&[merged(), busybox]).unwrap();
        assert_eq!(installed.undeclared, []);
        for path in ["usr/bin/ls", "usr/bin/sh", "usr/bin/awk"] {
            assert_eq!(link(&installed.tree, path).as_deref(), Some("/usr/bin/busybox"), "{path}");
        }
        assert_eq!(link(&installed.tree, "bin").as_deref(), Some("usr/bin"));
        assert!(has(&installed.tree, "usr/bin/busybox") && !has(&installed.tree, "bin/ls"));
    }
    let installed = place.install(&[merged(), busybox("usr/bin", b"")]).unwrap();
    let phases: Vec<_> = installed.undeclared.iter().map(|script| script.phase.name()).collect();
    assert_eq!(phases, ["post-install", "trigger"], "no link was made");
}

#[test]
fn what_must_run_as_root_is_linked_to_bbsuid() {
    let place = Place::new();
    let suid = |program: &[u8]| {
        Built::new("busybox-suid", "", "size = 1\n", Tar::default().folder("bin").file("bin/bbsuid", program))
    };
    let busybox = || busybox("bin", b"bin/su\nbin/ls\n");
    let base = || Built::new("alpine-baselayout", "", "size = 1\n", Tar::default().folder("etc"));
    let installed = place.install(&[
        base(),
        busybox(),
        suid(b"\x7fELF\0/bin/busybox\0/bin/bbsuid\0/bin/su\0/usr/bin/passwd\0/lib/x\0"),
    ]);
    let installed = installed.unwrap();
    assert_eq!(installed.undeclared, []);
    for (path, to) in [("bin/su", "/bin/bbsuid"), ("usr/bin/passwd", "/bin/bbsuid"), ("bin/ls", "/bin/busybox")] {
        assert_eq!(link(&installed.tree, path).as_deref(), Some(to), "{path}");
    }
    let installed = place.install(&[base(), busybox(), suid(b"nothing")]).unwrap();
    let phases: Vec<_> = installed.undeclared.iter().map(|script| script.phase.name()).collect();
    assert_eq!(phases, ["trigger"], "what it lists is not known");
}

#[test]
fn a_link_of_an_earlier_package_is_followed_to_a_directory() {
    let place = Place::new();
    let first = |to: &str| {
        let data = symlink(Tar::default().folder("usr").folder("usr/lib"), "usr/lib64", to);
        Built::new("a", "", "size = 1\n", data.file("usr/lib/z", b"z"))
    };
    let second = |name: &str, file: &str| {
        let data = Tar::default().folder("usr").folder("usr/lib64").folder("usr/lib64/q");
        Built::new(name, "", "size = 1\n", data.file(&format!("usr/lib64/{file}"), b"x").file("usr/lib64/q/y", b"y"))
    };
    for to in ["lib", "/usr/lib"] {
        let installed = place.install(&[first(to), second("b", "x")]).unwrap();
        assert_eq!(link(&installed.tree, "usr/lib64").as_deref(), Some(to));
        assert!(has(&installed.tree, "usr/lib/x") && has(&installed.tree, "usr/lib/q/y"));
        assert!(!has(&installed.tree, "usr/lib64/x") && !has(&installed.tree, "usr/lib64/q"));
        let records = locked::text(&place.store, &installed.tree);
        assert!(records.contains("F:usr/lib64\nR:x\n") && records.contains("F:usr/lib64/q\nR:y\n"), "{records}");
    }
    // Also where the package does not bring the directory that the link stands for.
    let deep = Tar::default().folder("usr/lib64/deep").file("usr/lib64/deep/x", b"x");
    let installed = place.install(&[first("lib"), Built::new("b", "", "size = 1\n", deep)]).unwrap();
    assert!(has(&installed.tree, "usr/lib/deep/x") && !has(&installed.tree, "usr/lib64/deep"));
    let orphan = Tar::default().folder("srv/deep").file("srv/deep/x", b"x");
    assert!(has(&place.install(&[Built::new("b", "", "size = 1\n", orphan)]).unwrap().tree, "srv"));
    let refuse = |packages: &[Built], expected: &str| {
        let error = place.install(packages).unwrap_err();
        assert!(error.contains(expected), "{expected}: {error}");
    };
    let mixed = "`usr/lib64` is a directory in";
    refuse(&[first("nowhere"), second("b", "x")], mixed);
    refuse(&[first("lib/z"), second("b", "x")], mixed);
    refuse(&[second("0", "x"), first("lib")], mixed);
    refuse(&[first("lib"), second("b", "z")], "which through a link is the file `usr/lib/z` of a-1-r0");
}

#[test]
fn the_last_name_of_a_file_decides_on_its_owner() {
    let place = Place::new();
    let owned = |mode: u32| {
        // The mode of the second name, and the mode that both then have.
        let data = Tar::default().folder("srv").pax("SCHILY.xattr.user.a", "b");
        let data =
            data.pax("SCHILY.xattr.security.capability", "c").entry("srv/x", tar::EntryType::Regular, "", 0o4755, b"x");
        data.raw("srv/y", tar::EntryType::Link, "srv/x", mode, b"").raw(
            "srv/z",
            tar::EntryType::Link,
            "srv/y",
            0o600,
            b"",
        )
    };
    let installed = place.install(&[Built::new("a", "", "size = 1\n", owned(0o4711))]).unwrap();
    let entry = installed.tree.get(&TreePath::new("srv/x").unwrap()).unwrap();
    assert_eq!(entry.mode, 0o711, "taken over from the second name, cleared by the third");
    assert_eq!(entry.xattrs.keys().collect::<Vec<_>>(), ["user.a"]);
    let records = locked::text(&place.store, &installed.tree);
    assert_eq!(records.matches("\nZ:").count(), 3, "{records}");
}

#[test]
fn what_apk_passes_over_or_refuses_is_not_installed() {
    let place = Place::new();
    let data = Tar::default().folder("srv").file("./srv/q", b"x").file("srv/p", b"x").file(".hidden", b"");
    let installed = place.install(&[Built::new("a", "", "size = 1\n", data)]).unwrap();
    assert!(has(&installed.tree, "srv/p") && !has(&installed.tree, "srv/q") && !has(&installed.tree, ".hidden"));
    let unsummed = [
        Tar::default().folder("srv").plain("srv/q", b""),
        Tar::default().folder("srv").raw("srv/q", tar::EntryType::Symlink, "p", 0o777, b""),
    ];
    for data in unsummed {
        let error = place.install(&[Built::new("a", "", "size = 1\n", data)]).unwrap_err();
        assert!(error.contains("its file `srv/q` has no checksum"), "{error}");
    }
}

#[test]
fn only_the_script_of_alpine_baselayout_closes_the_shadow_file() {
    let place = Place::new();
    let mode = |phases: &[&str]| {
        let data =
            Tar::default().folder("etc").entry("etc/shadow", tar::EntryType::Regular, "", 0o600, b"root:*::0:::::\n");
        let built = Built::scripted("alpine-baselayout", "", "size = 1\n", data, phases);
        let installed = place.install(&[built]).unwrap();
        installed.tree.get(&TreePath::new("etc/shadow").unwrap()).unwrap().mode
    };
    assert_eq!((mode(&[]), mode(&["post-install"])), (0o600, 0o640));
}

/// The group of an added user may come with a package that not every image has.
#[test]
fn accounts_may_need_the_packages_above_the_base() {
    let place = Place::new();
    let a = Built::new("a", "", "size = 1\n", Tar::default().folder("srv").file("srv/a", b"a"));
    let b = Built::new("b", "", "size = 1\n", Tar::default().folder("etc").file("etc/group", b"wheel:x:10:\n"));
    let text = str::to_owned;
    let (name, group, home, shell) = (text("q"), text("wheel"), text("/var/lib/q"), text("/sbin/nologin"));
    let user = User { name, uid: 900, group, comment: String::new(), home, create_home: true, shell };
    let accounts = Accounts { users: vec![user], groups: Vec::new() };
    let setup = Setup { accounts: &accounts, ..setup() };
    let packages = read(&place.store, &[a, b]).unwrap();
    let layers = install_in_layers(&place.store, &packages, &setup, |package| package.name() == "a").unwrap();
    assert!(has(&layers.base, "srv/a") && !has(&layers.base, "etc/passwd") && !has(&layers.base, "var/lib/q"));
    assert!(has(&layers.additional, "etc/passwd") && has(&layers.additional, "var/lib/q"));
}
