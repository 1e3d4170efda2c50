//! What base definitions say beside the packages, and what becomes of it in the image.

use std::{fs, io::Read as _};

use super::{
    layers,
    refusals::Repository,
    repository::{Built, Tar, index},
    support::fixture::succeeds,
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
    let left: Vec<_> = paths.iter().filter(|path| path.contains("doc") || path.contains("lib/apk") || path.contains("etc/apk")).collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(said.contains("removes `opt`, which its packages do not bring"), "{said}");
    assert_eq!(said.matches("which its packages do not bring").count(), 1, "{said}");
}
