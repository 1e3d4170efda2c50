//! What is in an image, and what one has that another has not: by file, by layer, by component.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use serde::Serialize;

use crate::{
    base::{Digest, size::Bytes},
    outputs::inspect::{FileFacts, Kind, LayerFiles, visible},
};

/// An image's files and layers.
#[derive(Clone, Debug, Serialize)]
pub struct Contents {
    pub image: String,
    pub platform: String,
    pub layers: Vec<LayerFiles>,
}

/// The bytes of a component: of all layers that are for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Weight {
    files: usize,
    compressed: u64,
    extracted: u64,
}

impl Contents {
    /// The files that a container sees, the largest first.
    pub fn files_text(&self) -> String {
        let seen = visible(&self.layers);
        let mut files: Vec<_> = seen.values().filter(|(_, file)| file.kind != Kind::Directory).collect();
        files.sort_by(|(_, a), (_, b)| (b.size, &a.path).cmp(&(a.size, &b.path)));
        let mut text = String::new();
        for (layer, file) in files {
            let component = &self.layers[*layer].component;
            let link = file.link.as_ref().map(|link| format!(" -> {link}")).unwrap_or_default();
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{:>11}  {component:<12} /{}{link}", Bytes(file.size).to_string(), file.path);
        }
        text
    }

    /// The layers, lowest first.
    pub fn layers_text(&self) -> String {
        let mut text = row("LAYER", "COMPRESSED", "EXTRACTED", "FILES");
        for layer in &self.layers {
            let name = format!("{} {}", layer.digest.short(), layer.component);
            text += &weighed(&name, Weight::of(layer));
        }
        text + &weighed("all", self.layers.iter().map(Weight::of).fold(Weight::default(), Weight::and))
    }

    /// The components, the heaviest first.
    pub fn components_text(&self) -> String {
        let mut components: Vec<_> = self.components().into_iter().collect();
        components.sort_by_key(|(name, weight)| (std::cmp::Reverse(weight.compressed), *name));
        let mut text = row("COMPONENT", "COMPRESSED", "EXTRACTED", "FILES");
        text.extend(components.into_iter().map(|(name, weight)| weighed(name, weight)));
        text + &weighed("all", self.layers.iter().map(Weight::of).fold(Weight::default(), Weight::and))
    }

    fn components(&self) -> BTreeMap<&str, Weight> {
        let mut components: BTreeMap<&str, Weight> = BTreeMap::new();
        for layer in &self.layers {
            let weight = components.entry(&layer.component).or_default();
            *weight = weight.and(Weight::of(layer));
        }
        components
    }
}

impl Weight {
    fn of(layer: &LayerFiles) -> Self {
        Self { files: layer.files.len(), compressed: layer.compressed, extracted: layer.extracted }
    }

    const fn and(self, other: Self) -> Self {
        Self {
            files: self.files + other.files,
            compressed: self.compressed.saturating_add(other.compressed),
            extracted: self.extracted.saturating_add(other.extracted),
        }
    }
}

fn row(name: &str, compressed: &str, extracted: &str, files: &str) -> String {
    format!("{compressed:>11} {extracted:>11} {files:>7}  {name}\n")
}

fn weighed(name: &str, weight: Weight) -> String {
    let Weight { files, compressed, extracted } = weight;
    row(name, &Bytes(compressed).to_string(), &Bytes(extracted).to_string(), &files.to_string())
}

/// What B has more, less or other than A.
#[derive(Clone, Debug, Serialize)]
pub struct Difference {
    pub a: String,
    pub b: String,
    pub platform: String,
    /// In the order of the paths.
    pub files: Vec<Change>,
    pub layers: Vec<LayerUse>,
}

/// A file that differs. `None` on the side where it is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    pub path: String,
    /// `added`, `removed` or `changed`.
    pub change: &'static str,
    /// Of the side that has it, of B where both do.
    pub component: String,
    pub before: Option<u64>,
    pub after: Option<u64>,
}

/// A layer, and which of the two images has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LayerUse {
    pub digest: Digest,
    pub component: String,
    pub compressed: u64,
    /// `a`, `b` or `both`.
    pub of: &'static str,
}

impl Difference {
    pub fn new(a: &Contents, b: &Contents) -> Self {
        Self {
            a: a.image.clone(),
            b: b.image.clone(),
            platform: b.platform.clone(),
            files: changes(a, b),
            layers: layer_uses(a, b),
        }
    }

    /// Whether the two images hold the same layers.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.layers.iter().all(|layer| layer.of == "both")
    }

    /// The files, what that means for components, and the layers to be fetched.
    pub fn text(&self) -> String {
        if self.is_empty() {
            return format!("{} and {} are the same for {}\n", self.a, self.b, self.platform);
        }
        let mut text = String::new();
        let sign = |change: &Change| match change.change {
            "added" => '+',
            "removed" => '-',
            _ => '~',
        };
        let mut components: BTreeMap<&str, (i128, usize)> = BTreeMap::new();
        for change in &self.files {
            let growth = i128::from(change.after.unwrap_or(0)) - i128::from(change.before.unwrap_or(0));
            let sum = components.entry(&change.component).or_default();
            *sum = (sum.0 + growth, sum.1 + 1);
            // Writing to a String cannot fail.
            let _ =
                writeln!(text, "{} {:>12}  {:<12} /{}", sign(change), signed(growth), change.component, change.path);
        }
        for (component, (growth, files)) in components {
            let _ = writeln!(text, "{:>14}  {component}: {files} files", signed(growth));
        }
        for layer in &self.layers {
            let of = match layer.of {
                "a" => "only in A",
                "b" => "only in B",
                _ => "in both",
            };
            let size = Bytes(layer.compressed).to_string();
            let _ = writeln!(text, "{size:>14}  layer {} {} {of}", layer.digest.short(), layer.component);
        }
        text
    }
}

fn signed(growth: i128) -> String {
    let bytes = Bytes(u64::try_from(growth.unsigned_abs()).unwrap_or(u64::MAX));
    format!("{}{bytes}", if growth < 0 { '-' } else { '+' })
}

fn changes(a: &Contents, b: &Contents) -> Vec<Change> {
    let (before, after) = (visible(&a.layers), visible(&b.layers));
    let paths: BTreeSet<&str> = before.keys().chain(after.keys()).copied().collect();
    let mut changes = Vec::new();
    for path in paths {
        let (was, is) = (before.get(path), after.get(path));
        let change = match (was, is) {
            (Some((_, was)), Some((_, is))) if same(was, is) => continue,
            (Some(_), Some(_)) => "changed",
            (None, _) => "added",
            (_, None) => "removed",
        };
        let component = match (was, is) {
            (_, Some((layer, _))) => &b.layers[*layer].component,
            (Some((layer, _)), None) => &a.layers[*layer].component,
            (None, None) => continue,
        };
        changes.push(Change {
            path: path.to_owned(),
            change,
            component: component.clone(),
            before: was.map(|(_, file)| file.size),
            after: is.map(|(_, file)| file.size),
        });
    }
    changes
}

fn same(a: &FileFacts, b: &FileFacts) -> bool {
    (a.kind, a.mode, a.size, &a.link, a.digest) == (b.kind, b.mode, b.size, &b.link, b.digest)
}

fn layer_uses(a: &Contents, b: &Contents) -> Vec<LayerUse> {
    let of = |contents: &Contents| contents.layers.iter().map(|layer| layer.digest).collect::<BTreeSet<_>>();
    let (in_a, in_b) = (of(a), of(b));
    let usage = |layer: &LayerFiles| LayerUse {
        digest: layer.digest,
        component: layer.component.clone(),
        compressed: layer.compressed,
        of: match (in_a.contains(&layer.digest), in_b.contains(&layer.digest)) {
            (true, true) => "both",
            (true, false) => "a",
            _ => "b",
        },
    };
    let only_a = a.layers.iter().filter(|layer| !in_b.contains(&layer.digest));
    only_a.chain(&b.layers).map(usage).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> FileFacts {
        FileFacts {
            path: path.to_owned(),
            kind: Kind::File,
            mode: 0o644,
            size: text.len() as u64,
            link: None,
            digest: Some(Digest::of(text)),
        }
    }

    fn contents(image: &str, layers: &[(&str, &[FileFacts])]) -> Contents {
        let layer = |(name, files): &(&str, &[FileFacts])| LayerFiles {
            digest: Digest::of(format!("{name}{files:?}")),
            component: (*name).to_owned(),
            compressed: 10,
            extracted: files.iter().map(|file| file.size).sum(),
            files: files.to_vec(),
        };
        Contents {
            image: image.to_owned(),
            platform: "linux/amd64".to_owned(),
            layers: layers.iter().map(layer).collect(),
        }
    }

    #[test]
    fn an_image_is_listed_by_file_layer_and_component() {
        let image = contents("i", &[("base", &[file("a", "x"), file("b", "yyy")]), ("kubelet", &[file("k", "zzzzz")])]);
        insta::assert_snapshot!(image.files_text(), @r"
                5 B  kubelet      /k
                3 B  base         /b
                1 B  base         /a
        ");
        insta::assert_snapshot!(image.components_text(), @r"
         COMPRESSED   EXTRACTED   FILES  COMPONENT
               10 B         4 B       2  base
               10 B         5 B       1  kubelet
               20 B         9 B       3  all
        ");
    }

    #[test]
    fn what_is_more_less_or_other_is_told_with_its_component() {
        let base = [file("etc", "same")];
        let a = contents("a", &[("base", &base), ("kubelet", &[file("k", "one"), file("gone", "x")])]);
        let b = contents("b", &[("base", &base), ("kubelet", &[file("k", "three"), file("new", "yy")])]);
        insta::assert_snapshot!(Difference::new(&a, &b).text().lines().take(4).collect::<Vec<_>>().join("\n"), @r"
        -         -1 B  kubelet      /gone
        ~         +2 B  kubelet      /k
        +         +2 B  kubelet      /new
                  +3 B  kubelet: 3 files
        ");
        let uses: Vec<_> = Difference::new(&a, &b).layers.iter().map(|layer| layer.of).collect();
        assert_eq!(uses, ["a", "both", "b"]);
        assert!(Difference::new(&a, &a).is_empty());
    }
}
