//! What the scripts of Debian's base packages leave in an empty root, done without them.
//!
//! The scripts were read in bookworm (base-files 12, libc-bin 2.36, ca-certificates 20230311 and later). Scripts of
//! other packages are the affair of a definition, which can say what stands in for them; these here are in every image.

use super::{AssembleError, Root, Unpacked, content};
use crate::base::{Entry, Node, TreePath};

/// Packages whose scripts have nothing left to do after [`perform`] and the rest of assembly: `dash` and `libc6` care
/// for upgrades and for running services only.
pub(super) const DONE: [&str; 6] = ["base-files", "base-passwd", "ca-certificates", "dash", "libc-bin", "libc6"];

/// One thing a script would do. Numbers of groups are those that base-passwd assigns for ever.
enum Deed {
    /// A file copied from another of the package.
    Copy(&'static str, &'static str),
    /// A folder with its mode and group.
    Folder(&'static str, u32, u32),
    Link(&'static str, &'static str),
    /// An empty file with its mode and group.
    Empty(&'static str, u32, u32),
}

use Deed::{Copy, Empty, Folder, Link};

const MAIL: u32 = 8;
const UTMP: u32 = 43;

const DEEDS: [(&str, &[Deed]); 2] = [
    (
        "base-files",
        &[
            Copy("usr/share/base-files/profile", "etc/profile"),
            Copy("usr/share/base-files/motd", "etc/motd"),
            Copy("usr/share/base-files/dot.profile", "root/.profile"),
            Copy("usr/share/base-files/dot.bashrc", "root/.bashrc"),
            Link("etc/dpkg/origins/default", "debian"),
            Folder("mnt", 0o755, 0),
            Folder("srv", 0o755, 0),
            Folder("opt", 0o755, 0),
            Folder("etc/opt", 0o755, 0),
            Folder("var/opt", 0o755, 0),
            Folder("media", 0o755, 0),
            Folder("var/mail", 0o2775, MAIL),
            Link("var/spool/mail", "../mail"),
            Folder("run/lock", 0o1777, 0),
            Folder("usr/local", 0o755, 0),
            Folder("usr/local/bin", 0o755, 0),
            Folder("usr/local/etc", 0o755, 0),
            Folder("usr/local/games", 0o755, 0),
            Folder("usr/local/include", 0o755, 0),
            Folder("usr/local/lib", 0o755, 0),
            Folder("usr/local/sbin", 0o755, 0),
            Folder("usr/local/share", 0o755, 0),
            Folder("usr/local/share/man", 0o755, 0),
            Folder("usr/local/src", 0o755, 0),
            Link("usr/local/man", "share/man"),
            Empty("var/log/wtmp", 0o664, UTMP),
            Empty("var/log/btmp", 0o660, UTMP),
            Empty("var/log/lastlog", 0o664, UTMP),
        ],
    ),
    ("libc-bin", &[Copy("usr/share/libc-bin/nsswitch.conf", "etc/nsswitch.conf")]),
];

/// Does what the scripts of the packages that are there would do.
pub(super) fn perform(root: &mut Root<'_>, packages: &[Unpacked<'_>]) -> Result<(), AssembleError> {
    let has = |name: &str| packages.iter().any(|unpacked| unpacked.package.name == name);
    for (_, deeds) in DEEDS.iter().filter(|(package, _)| has(package)) {
        for deed in *deeds {
            do_one(root, deed)?;
        }
    }
    if has("ca-certificates") {
        bundle(root)?;
    }
    Ok(())
}

fn do_one(root: &mut Root<'_>, deed: &Deed) -> Result<(), AssembleError> {
    match *deed {
        Copy(from, to) => {
            let entry = root.tree.get(&TreePath::new(from)?).cloned();
            entry.map_or(Ok(()), |entry| root.add(to, entry))
        }
        Folder(path, mode, gid) => root.add(path, Entry { gid, ..Entry::new(mode, Node::Directory) }),
        Link(path, target) => root.add(path, Entry::symlink(target)),
        Empty(path, mode, gid) => root.write(path, mode, gid, b""),
    }
}

/// Where Debian's programs have the certificates of all authorities.
const BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The certificates of all authorities in one file, as `update-ca-certificates` writes it when all are chosen: in the
/// order of their paths, each with a line break at its end. Go and `GnuTLS` read it where it is. OpenSSL looks below its own
/// folder (`OPENSSLDIR`): for a file, and by hash in a folder. The links to both come with the package openssl, which is
/// only a program and may be left out; the links by hash, of which it finds nothing that the file lacks, are.
fn bundle(root: &mut Root<'_>) -> Result<(), AssembleError> {
    const FOLDER: &str = "usr/share/ca-certificates/";
    let certificates: Vec<_> = root
        .tree
        .iter()
        .map(|(path, _)| path.clone())
        .filter(|path| path.as_str().starts_with(FOLDER) && is_certificate(path))
        .filter(|path| content(&root.tree, path).is_some())
        .collect();
    let mut bundle = Vec::new();
    for path in certificates {
        bundle.extend(root.read(&path)?.unwrap_or_default());
        if bundle.last().is_some_and(|last| *last != b'\n') {
            bundle.push(b'\n');
        }
    }
    root.write(&BUNDLE[1..], 0o644, 0, &bundle)?;
    root.add("usr/lib/ssl/cert.pem", Entry::symlink(BUNDLE))?;
    root.add("usr/lib/ssl/certs", Entry::symlink("/etc/ssl/certs"))
}

fn is_certificate(path: &TreePath) -> bool {
    std::path::Path::new(path.as_str()).extension().is_some_and(|extension| extension == "crt")
}
