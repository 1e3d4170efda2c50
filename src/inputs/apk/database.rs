//! apk's own records, `lib/apk/db`: with them `apk info`, `apk audit` and `apk add` work in the image.
//!
//! Written as apk-tools 2.14 writes them, byte for byte (`apk_pkg_write_index_header` in `src/package.c`,
//! `apk_db_write_fdb`, `apk_db_scriptdb_write` and `apk_db_triggers_write` in `src/database.c`,
//! `apk_tar_write_entry` in `src/io_archive.c`). One thing is not taken over: of a package without files apk writes what
//! it replaces into the record of the next package.

use std::{collections::BTreeMap, fmt::Write as _};

use sha1::Digest as _;

use super::{
    accounts::Owners,
    archive::ArchiveEntry,
    checksum::Checksum,
    claims::{Claims, Folder},
    dependency::Dependency,
    index::Package,
    package::VerifiedPackage,
    scripts::Phase,
};
use crate::base::{Node, TreePath};

/// `lib/apk/db/installed`: every package with its files, in a root of this architecture.
pub(super) fn installed(packages: &[&VerifiedPackage], claims: &Claims<'_>, owners: &Owners, arch: &str) -> String {
    let mut order: Vec<_> = packages.iter().zip(&claims.folders).collect();
    order.sort_by_cached_key(|(package, _)| {
        let name = package.package().name();
        (name.to_ascii_lowercase(), name.to_owned())
    });
    let mut text = String::new();
    for (package, folders) in order {
        header(&mut text, package.package(), arch);
        replaces(&mut text, package);
        if let Some(tag) = &package.tag {
            line(&mut text, 's', tag);
        }
        let checksums = checksums(&package.entries);
        for folder in folders {
            files(&mut text, folder, owners, &checksums);
        }
        text.push('\n');
    }
    text
}

fn line(text: &mut String, field: char, value: impl std::fmt::Display) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{field}:{value}");
}

fn header(text: &mut String, package: Package<'_>, arch: &str) {
    line(text, 'C', package.checksum());
    line(text, 'P', package.name());
    line(text, 'V', package.version());
    let optional = |text: &mut String, field, value: &str| {
        if !value.is_empty() {
            line(text, field, value);
        }
    };
    // Alpine's indexes give packages for all architectures as of their own; the packages themselves say `noarch`.
    optional(text, 'A', if package.arch() == "noarch" { arch } else { package.arch() });
    line(text, 'S', package.size());
    line(text, 'I', package.installed_size());
    line(text, 'T', package.description());
    line(text, 'U', package.url());
    line(text, 'L', package.license());
    optional(text, 'o', package.origin());
    optional(text, 'm', package.maintainer());
    if package.build_time() > 0 {
        line(text, 't', package.build_time());
    }
    optional(text, 'c', package.commit());
    if package.provider_priority() > 0 {
        line(text, 'k', package.provider_priority());
    }
    dependencies(text, 'D', package.depends());
    dependencies(text, 'p', package.provides());
    dependencies(text, 'i', package.install_if());
}

fn dependencies<'a>(text: &mut String, field: char, dependencies: impl Iterator<Item = Dependency<'a>>) {
    let list: Vec<_> = dependencies.map(|dependency| dependency.to_string()).collect();
    if !list.is_empty() {
        line(text, field, list.join(" "));
    }
}

fn replaces(text: &mut String, package: &VerifiedPackage) {
    if !package.info.replaces.is_empty() {
        line(text, 'r', package.info.replaces.join(" "));
    }
    if package.info.replaces_priority > 0 {
        line(text, 'q', package.info.replaces_priority);
    }
}

/// The checksum of every path. Another name of a file, which comes after it, has that file's.
fn checksums(entries: &[ArchiveEntry]) -> BTreeMap<&TreePath, Option<Checksum>> {
    let mut checksums = BTreeMap::new();
    for entry in entries {
        let checksum = match &entry.node {
            Node::Hardlink(target) => checksums.get(target).copied().flatten(),
            _ => entry.checksum,
        };
        checksums.insert(&entry.path, checksum);
    }
    checksums
}

fn files(text: &mut String, folder: &Folder<'_>, owners: &Owners, checksums: &BTreeMap<&TreePath, Option<Checksum>>) {
    line(text, 'F', folder.entry.map_or("", |entry| entry.path.as_str()));
    if let Some(entry) = folder.entry {
        access(text, 'M', entry, owners, 0o755);
    }
    for entry in &folder.files {
        line(text, 'R', entry.path.file_name());
        access(text, 'a', entry, owners, 0o644);
        if let Some(checksum) = checksums.get(&entry.path).copied().flatten() {
            line(text, 'Z', checksum);
        }
    }
}

/// Owner and mode, where they are not the usual ones.
fn access(text: &mut String, field: char, entry: &ArchiveEntry, owners: &Owners, usual: u32) {
    let (uid, gid) = owners.of(entry);
    if (uid, gid, entry.mode) == (0, 0, usual) && entry.xattrs.is_empty() {
        return;
    }
    let _ = write!(text, "{field}:{uid}:{gid}:{:o}", entry.mode);
    if !entry.xattrs.is_empty() {
        let _ = write!(text, ":{}", xattrs(&entry.xattrs));
    }
    text.push('\n');
}

/// Names and values, sorted by name, each with its length in four bytes before it.
fn xattrs(xattrs: &BTreeMap<String, Vec<u8>>) -> Checksum {
    let mut hasher = sha1::Sha1::new();
    for (name, value) in xattrs {
        for bytes in [name.as_bytes(), value] {
            hasher.update(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
            hasher.update(bytes);
        }
    }
    hasher.into()
}

/// `lib/apk/db/triggers`: which folders wake which package, in the order of installation.
pub(super) fn triggers(packages: &[&VerifiedPackage]) -> String {
    let mut text = String::new();
    for package in packages.iter().filter(|package| !package.info.triggers.is_empty()) {
        let _ = writeln!(text, "{} {}", package.package().checksum(), package.info.triggers.join(" "));
    }
    text
}

/// `lib/apk/db/scripts.tar`: what apk runs when a package is upgraded or removed, in the order of installation.
pub(super) fn scripts(packages: &[&VerifiedPackage]) -> Vec<u8> {
    let mut tar = Vec::new();
    for package in packages {
        for (phase, script) in &package.scripts {
            script_entry(&mut tar, package, *phase, script);
        }
    }
    tar.extend([0; 1024]);
    tar
}

fn script_entry(tar: &mut Vec<u8>, package: &VerifiedPackage, phase: Phase, script: &[u8]) {
    const BLOCK: usize = 512;
    let name = format!("{}.{}.{phase}", package.title(), package.package().checksum());
    let mut header = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    // The field for the name ends with a NUL; apk cuts longer names off, and then finds their scripts no more.
    put(0, &name.as_bytes()[..name.len().min(99)]);
    put(100, b"0000755\0");
    put(108, b"0000000\x000000000\0");
    put(124, format!("{:012o}", script.len()).as_bytes());
    put(136, format!("{:012o}", package.package().build_time()).as_bytes());
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar  ");
    put(265, b"root");
    put(297, b"root");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    tar.extend(header);
    tar.extend(script);
    tar.resize(tar.len().next_multiple_of(BLOCK), 0);
}
