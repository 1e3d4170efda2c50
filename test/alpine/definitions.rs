//! What base definitions say beside the packages, and what becomes of it in the image.

use std::{fs, io::Read as _};

use super::{
    layers,
    refusals::Repository,
    repository::{Built, Tar, index},
    support::fixture::{fails, succeeds},
};

/// A second group, of packages that not every image has.
const SOME: &str = "[[packages]]\nnames = [\"b\"]\nwhy = \"some\"\nkubernetes = \">=1.20\"\n";

impl Repository {
    /// Publishes packages with an index of them all.
    fn publish_all(&self, packages: &[Built]) {
        let records: Vec<_> = packages.iter().map(Built::record).collect();
        self.publish(&index(&records.join("\n")), packages);
    }

    /// Adds to the end of the definition.
    fn define(&self, text: &str) {
        let definition = fs::read_to_string(self.fixture.path("m/alpine/3.19.toml")).unwrap();
        self.fixture.write("m/alpine/3.19.toml", format!("{definition}{text}"));
    }

    /// Builds, and gives what was said.
    fn builds(&self) -> String {
        String::from_utf8(succeeds(&mut self.build()).stderr).unwrap()
    }

    /// Every path of every layer of the image, as the layers have it, with where its link leads.
    fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        for (_, blob) in layers(&self.fixture) {
            let mut bytes = Vec::new();
            flate2::read::MultiGzDecoder::new(fs::File::open(blob).unwrap()).read_to_end(&mut bytes).unwrap();
            for entry in tar::Archive::new(&bytes[..]).entries().unwrap() {
                let entry = entry.unwrap();
                let path = entry.path().unwrap().display().to_string();
                let link = entry.link_name().unwrap().map(|link| format!(" -> {}", link.display()));
                paths.push(path + &link.unwrap_or_default());
            }
        }
        paths
    }
}

fn with_doc(name: &str) -> Built {
    let data = Tar::default().folder("usr").folder("usr/doc").file(&format!("usr/doc/{name}"), b"text");
    Built::new(name, "", "size = 1\n", data)
}

#[test]
fn what_is_removed_is_gone_from_every_layer() {
    let repository = Repository::new();
    repository.publish_all(&[with_doc("a"), with_doc("b")]);
    repository.define(SOME);
    let url = "[[repositories]]";
    let removing = "remove = [\"/usr/doc\", \"/lib/apk\", \"/etc/apk\", \"/opt\"]\n[[repositories]]";
    repository.fixture.edit("m/alpine/3.19.toml", url, removing);
    let said = repository.builds();
    let paths = repository.paths();
    let left: Vec<_> = paths
        .iter()
        .filter(|path| path.contains("doc") || path.contains("lib/apk") || path.contains("etc/apk"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(said.contains("removes `opt`, which its packages do not bring"), "{said}");
    assert_eq!(said.matches("which its packages do not bring").count(), 1, "{said}");
}

#[test]
fn one_package_is_not_asked_for_in_two_ways() {
    let repository = Repository::new();
    repository.publish_all(&[with_doc("a"), with_doc("b")]);
    repository.fixture.edit("m/alpine/3.19.toml", "[\"a\"]", "[\"a<2\", \"b\"]");
    repository.define("[[packages]]\nnames = [\"b\", \"a>0\"]\nwhy = \"some\"\nkubernetes = \">=1.20\"\n");
    let error = fails(&mut repository.fixture.kletimg(&["matrix", "plan"]), 2);
    assert!(error.contains("`a>0` and `a<2` at ") && error.contains("alpine/3.19.toml:6:"), "{error}");
    assert!(error.contains("alpine/3.19.toml:9:") && error.contains("name~1.2"), "{error}");
    assert_eq!(error.matches("two-constraints").count(), 1, "{error}");
    // In no image together.
    repository.fixture.edit("m/alpine/3.19.toml", ">=1.20", "<1.20");
    succeeds(&mut repository.fixture.kletimg(&["matrix", "plan"]));
    repository.fixture.edit("m/alpine/3.19.toml", "\"a<2\", \"b\"", "\"a<2\", \"!a\"");
    fails(&mut repository.fixture.kletimg(&["matrix", "plan"]), 2);
}

/// Publishes packages at another place of the fixture, as a second repository.
fn second(repository: &Repository, packages: &[Built]) {
    let records: Vec<_> = packages.iter().map(Built::record).collect();
    repository.fixture.write("upstream/second/x86_64/APKINDEX.tar.gz", index(&records.join("\n")));
    for package in packages {
        let path = format!("upstream/second/x86_64/{}-1-r0.apk", package.name);
        repository.fixture.write(&path, package.bytes());
    }
}

#[test]
fn a_repository_more_makes_what_was_chosen_stale() {
    let repository = Repository::new();
    repository.publish_all(&[with_doc("a"), with_doc("b")]);
    second(&repository, &[Built::new("c", "", "size = 1\n", Tar::default().folder("usr"))]);
    let locked = || repository.kletimg(&["matrix", "build", "--locked"]);
    succeeds(&mut repository.kletimg(&["matrix", "lock"]));
    succeeds(&mut locked());
    let more = |tag: &str| format!("[[repositories]]\nurl = \"https://fixture.invalid/second\"\n{tag}[[packages]]\n");
    repository.fixture.edit("m/alpine/3.19.toml", "[[packages]]\n", &more(""));
    assert!(fails(&mut locked(), 2).contains("packages of alpine3.19 linux/amd64"));
    succeeds(&mut repository.kletimg(&["matrix", "lock"]));
    succeeds(&mut locked());
    let lock = fs::read_to_string(repository.fixture.path("m/matrix.lock")).unwrap();
    assert!(lock.contains("format = 2") && lock.contains("second/x86_64/APKINDEX.tar.gz"), "{lock}");
    repository.fixture.edit("m/alpine/3.19.toml", "second\"\n", "second\"\ntag = \"t\"\n");
    assert!(fails(&mut locked(), 2).contains("packages of alpine3.19 linux/amd64"));
    // The package's tag is in the lock, and in apk's records.
    repository.fixture.edit("m/alpine/3.19.toml", "[\"a\"]", "[\"a\", \"c@t\"]");
    succeeds(&mut repository.build());
    let lock = fs::read_to_string(repository.fixture.path("m/matrix.lock")).unwrap();
    assert!(lock.contains("\"https://fixture.invalid/second/x86_64/c-1-r0.apk\" = \"t\""), "{lock}");
    succeeds(&mut locked());
}

#[test]
fn packages_for_all_architectures_are_where_apk_looks_for_them() {
    let repository = Repository::new();
    let package = || Built::new("a", "", "size = 1\narch = noarch\n", Tar::default().folder("usr"));
    let record = package().record().replace("A:x86_64", "A:noarch");
    repository.publish(&index(&record), &[]);
    repository.fixture.write("repository/noarch/a-1-r0.apk", package().bytes());
    succeeds(&mut repository.build());
}

#[test]
fn a_mirror_does_not_share_its_files_with_the_store() {
    use std::os::unix::fs::MetadataExt as _;
    let repository = Repository::new();
    repository.publish_all(&[with_doc("a"), with_doc("b")]);
    let mirror = repository.fixture.path("mirror");
    let fetch = || repository.kletimg(&["matrix", "fetch", "--to", mirror.to_str().unwrap()]);
    succeeds(&mut fetch());
    let file = mirror.join("packages.invalid/main/x86_64/a-1-r0.apk");
    assert_eq!(fs::metadata(&file).unwrap().nlink(), 1);
    // The index has moved on, and the store has lost the one that is locked.
    repository.publish_all(&[with_doc("a")]);
    fs::remove_dir_all(repository.fixture.path("store")).unwrap();
    let said = String::from_utf8(succeeds(&mut fetch()).stderr).unwrap();
    assert!(
        said.contains("the mirror lacks https://packages.invalid/main/x86_64/APKINDEX.tar.gz (what lies"),
        "{said}"
    );
}

#[test]
fn accounts_and_declarations_that_mean_nothing_are_said() {
    let repository = Repository::new();
    let scripted =
        Built::scripted("b", "", "size = 1\n", Tar::default().folder("usr").folder("usr/doc"), &["post-install"]);
    repository.publish_all(&[with_doc("a"), scripted]);
    repository.define(SOME);
    let declare = |name: &str| repository.define(&format!("[[declared]]\npackage = \"{name}\"\nwhy = \"none\"\n"));
    declare("a");
    declare("b");
    declare("usr");
    let said = repository.builds();
    assert!(said.contains("scripts of a, which has no such script") && !said.contains("about scripts of b"), "{said}");
    let plan = succeeds(&mut repository.fixture.kletimg(&["matrix", "plan", "--print"])).stdout;
    let plan = String::from_utf8(plan).unwrap();
    assert!(plan.contains("[[declared]] is about usr, which no image of it holds"), "{plan}");

    repository.define("[[users]]\nname = \"q\"\nuid = 900\nhome = \"/var/lib/../q\"\n");
    let error = fails(&mut repository.build(), 2);
    assert!(error.contains("alpine/3.19.toml:24:8: `home` has a part `..`"), "{error}");
}
