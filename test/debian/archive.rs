//! A Debian archive in a folder: packages and a source package that the test makes, indexes over them, and a release file
//! that it signs. Every fault that an archive can have is a change of one of its parts.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use super::keys::{How, Plan, Signer};
use crate::support::{
    archives::{Tar, ar, gzip, xz},
    fixture::hex,
};

/// Before every signature here was made, and long after.
pub const VALID_UNTIL: &str = "Fri, 01 Jan 2100 00:00:00 UTC";

/// A package of the archive, and its data.
pub struct Deb {
    pub name: &'static str,
    pub fields: &'static str,
    pub data: Tar,
    pub scripts: &'static [(&'static str, &'static str)],
}

impl Deb {
    pub fn new(name: &'static str, fields: &'static str, data: Tar) -> Self {
        Self { name, fields, data, scripts: &[] }
    }
}

/// How the archive is made.
pub struct Archive {
    pub signer: Signer,
    /// Whose archive its release file says it is.
    pub origin: &'static str,
    pub suite: &'static str,
    pub valid_until: &'static str,
    /// Packages for every architecture, with a file that says which.
    pub debs: Vec<fn(&str) -> Deb>,
    pub spoil: Option<Spoil>,
    pub by_hash: bool,
}

/// What is wrong with an archive's files.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Spoil {
    /// An index was changed after its digest was taken.
    Index,
    /// So was a deb.
    Deb,
    /// The xz of a deb is cut off, with a digest to match.
    CutDeb,
    /// A deb is of another version than the index says, with a digest to match.
    OtherDeb,
}

pub const ARCHITECTURES: [(&str, &str); 3] = [("amd64", "x86_64"), ("arm64", "aarch64"), ("armhf", "armv7")];

fn base(architecture: &str) -> Deb {
    let data = Tar::new()
        .folder("./bin/")
        .file("./bin/sh", format!("a shell for {architecture}\n").as_bytes())
        .folder("./usr/")
        .file("./lib/systemd/system/agent.service", b"[Install]\nWantedBy=multi-user.target\n")
        .folder("./usr/share/")
        .folder("./usr/share/doc/")
        .folder("./usr/share/doc/base/")
        .file("./usr/share/doc/base/copyright", b"free\n")
        .file("./usr/share/doc/base/changelog", b"changed\n");
    Deb::new("base", "Depends: shell-tools, configurator\nEssential: yes\n", data)
}

fn tools(architecture: &str) -> Deb {
    let data = Tar::new()
        .file("./usr/sbin/tables-new", format!("new tables for {architecture}\n").as_bytes())
        .file("./usr/sbin/tables-old", b"old tables\n");
    let scripts = &[("postinst", "#!/bin/sh\nupdate-alternatives --install x\n")];
    Deb { scripts, ..Deb::new("shell-tools", "Provides: tools\n", data) }
}

fn configurator(_: &str) -> Deb {
    Deb::new("configurator", "", Tar::new().file("./usr/bin/ask", b"questions\n"))
}

fn plugins(architecture: &str) -> Deb {
    let data = Tar::new().file("./usr/lib/plugins/one", format!("#!/bin/sh\necho {architecture}\n").as_bytes());
    Deb::new("plugins", "Depends: configurator\n", data)
}

impl Archive {
    pub fn new() -> Self {
        Self {
            signer: Signer::new(7),
            origin: "Debian",
            suite: "bookworm",
            valid_until: VALID_UNTIL,
            debs: vec![base, tools, configurator, plugins],
            spoil: None,
            by_hash: true,
        }
    }

    /// Writes the archive, and its keyring beside it, and returns the keyring's path.
    pub fn write(&self, folder: &Path) -> PathBuf {
        let _ = fs::remove_dir_all(folder);
        let suite = folder.join("dists").join(self.suite);
        let mut listed = BTreeMap::new();
        for (architecture, _) in ARCHITECTURES {
            let index = self.packages(folder, architecture);
            self.index(&suite, &format!("main/binary-{architecture}/Packages"), &index, &mut listed);
        }
        self.index(&suite, "main/source/Sources", &Self::sources(folder), &mut listed);
        let line = |(path, (digest, size)): (&String, &(String, usize))| format!(" {digest} {size} {path}\n");
        let files = listed.iter().map(line).collect::<Vec<_>>().concat();
        let release = format!(
            "Origin: {}\nSuite: stable\nCodename: {}\nDate: Wed, 01 Jan 2025 00:00:00 UTC\nValid-Until: {}\nAcquire-By-Hash: {}\n\
             Architectures: amd64 arm64 armhf\nComponents: main\nSHA256:\n{files}",
            self.origin,
            self.suite,
            self.valid_until,
            if self.by_hash { "yes" } else { "no" },
        );
        put(&suite.join("InRelease"), self.signer.sign(&release, How::default()).as_bytes());
        let keyring = folder.with_extension("gpg");
        put(&keyring, &self.signer.keyring(Plan::default()));
        keyring
    }

    fn packages(&self, folder: &Path, architecture: &str) -> String {
        let mut index = String::new();
        for make in &self.debs {
            let Deb { name, fields, data, scripts } = make(architecture);
            let control = format!("Package: {name}\nVersion: 1.0-1\nArchitecture: {architecture}\n{fields}");
            let other = self.spoil == Some(Spoil::OtherDeb);
            let said = if other { control.replace("1.0-1", "9.9-1") } else { control.clone() };
            let mut parts = Tar::new().file("./control", format!("{said}Description: {name}\n more\n").as_bytes());
            for (script, text) in scripts {
                parts = parts.file(&format!("./{script}"), text.as_bytes());
            }
            let mut packed = xz(&data.finish());
            if self.spoil == Some(Spoil::CutDeb) {
                packed.truncate(packed.len() / 2);
            }
            let members = [("debian-binary", &b"2.0\n"[..]), ("control.tar.gz", &gzip(&parts.finish()))];
            let mut deb = ar(&[members[0], members[1], ("data.tar.xz", &packed)]);
            let path = format!("pool/main/{name}_1.0-1_{architecture}.deb");
            let (size, digest) = (deb.len(), hex(&deb));
            write!(index, "{control}Filename: {path}\nSize: {size}\nSHA256: {digest}\n\n").unwrap();
            if self.spoil == Some(Spoil::Deb) {
                let last = deb.len() - 1;
                deb[last] ^= 1;
            }
            put(&folder.join(path), &deb);
        }
        index
    }

    fn sources(folder: &Path) -> String {
        let mut index = String::new();
        for version in ["1.9-1", "1.10-1", "1.10-2"] {
            let upstream = version.split('-').next().unwrap();
            let source = gzip(&Tar::new().file(&format!("s-{upstream}/go.mod"), b"module s\n").finish());
            let (name, dsc) = (format!("s_{upstream}.orig.tar.gz"), format!("s_{version}.dsc"));
            put(&folder.join("pool/main").join(&name), &source);
            write!(
                index,
                "Package: s\nVersion: {version}\nDirectory: pool/main\nChecksums-Sha256:\n {} 0 {dsc}\n {} {} {name}\n\n",
                hex(b""),
                hex(&source),
                source.len(),
            )
            .unwrap();
        }
        index
    }

    fn index(&self, suite: &Path, path: &str, text: &str, listed: &mut BTreeMap<String, (String, usize)>) {
        let mut packed = xz(text.as_bytes());
        for (path, bytes) in [(path.to_owned(), text.as_bytes()), (format!("{path}.xz"), &packed)] {
            listed.insert(path, (hex(bytes), bytes.len()));
        }
        let place = suite.join(format!("{path}.xz"));
        let by_hash = place.with_file_name("by-hash").join("SHA256").join(hex(&packed));
        if self.spoil == Some(Spoil::Index) {
            let middle = packed.len() / 2;
            packed[middle] ^= 1;
        }
        put(if self.by_hash { &by_hash } else { &place }, &packed);
    }
}

pub fn put(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}
