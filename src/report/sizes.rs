//! The size table: one line per tag, one column per platform.
//!
//! *Compressed* is the sum of the layer blobs as a registry stores them, what a device without any layer pulls.
//! *Extracted* is the sum of the bytes of all files in all layers, what the image takes on disk and what
//! `docker image inspect` reports as Size; a file that a higher layer replaces counts twice, as it does on the disk.
//! *Shared* is the part of compressed in layers that at least one other tag of the same platform has too: what a
//! device with that other tag need not pull.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use tabled::{
    builder::Builder,
    settings::{Alignment, Style, object::Columns},
};

use crate::{
    base::{Digest, Platform, size::MiB},
    images::Tag,
};

/// The layers of one tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagSizes {
    pub tag: String,
    pub platforms: Vec<PlatformSizes>,
}

/// The layers of one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlatformSizes {
    /// Such as `linux/arm/v7`.
    pub platform: String,
    pub layers: Vec<LayerSize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerSize {
    pub digest: Digest,
    /// In bytes.
    pub compressed: u64,
    /// In bytes; `None` when nobody has said and nobody has looked.
    pub extracted: Option<u64>,
}

impl From<&Tag> for TagSizes {
    fn from(tag: &Tag) -> Self {
        let platforms = tag.images.iter().map(|image| PlatformSizes {
            platform: image.platform.to_string(),
            layers: image
                .layers
                .iter()
                .map(|layer| LayerSize { digest: layer.digest, compressed: layer.size, extracted: layer.extracted() })
                .collect(),
        });
        Self { tag: tag.name.to_string(), platforms: platforms.collect() }
    }
}

/// The sizes of all tags, ready to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SizeTable {
    /// In the order of the columns: ours first, others by name.
    platforms: Vec<String>,
    rows: Vec<(String, BTreeMap<String, Cell>)>,
}

/// The sizes of one image in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cell {
    pub compressed: u64,
    /// `None` (JSON `null`) when a layer does not tell and has not been measured.
    pub extracted: Option<u64>,
    /// The part of `compressed` that other tags of the platform have too.
    pub shared: u64,
}

impl SizeTable {
    /// Keeps the order of the tags.
    pub fn new(tags: &[TagSizes]) -> Self {
        let mut holders: BTreeMap<(&str, Digest), usize> = BTreeMap::new();
        for image in tags.iter().flat_map(|tag| &tag.platforms) {
            let distinct: BTreeSet<Digest> = image.layers.iter().map(|layer| layer.digest).collect();
            for digest in distinct {
                *holders.entry((&image.platform, digest)).or_default() += 1;
            }
        }
        let shared = |image: &PlatformSizes, layer: &LayerSize| {
            holders.get(&(image.platform.as_str(), layer.digest)).is_some_and(|tags| *tags > 1)
        };
        let cell = |image: &PlatformSizes| Cell {
            compressed: sum(image.layers.iter().map(|layer| layer.compressed)),
            extracted: image.layers.iter().map(|layer| layer.extracted).collect::<Option<Vec<_>>>().map(sum),
            shared: sum(image.layers.iter().filter(|layer| shared(image, layer)).map(|layer| layer.compressed)),
        };
        let cells = |tag: &TagSizes| tag.platforms.iter().map(|image| (image.platform.clone(), cell(image))).collect();
        let rows = tags.iter().map(|tag| (tag.tag.clone(), cells(tag))).collect();
        Self { platforms: columns(tags), rows }
    }

    /// The sizes of images by their manifests.
    pub fn of_tags(tags: &[Tag]) -> Self {
        Self::new(&tags.iter().map(TagSizes::from).collect::<Vec<_>>())
    }

    /// Of a tag and platform, if there is such an image.
    pub fn cell(&self, tag: &str, platform: &str) -> Option<&Cell> {
        self.rows.iter().find(|(name, _)| name == tag).and_then(|(_, cells)| cells.get(platform))
    }

    /// For a terminal, with a line that says what the numbers are.
    pub fn terminal(&self) -> String {
        let mut table = self.builder(str::to_owned).build();
        table.with(Style::sharp()).modify(Columns::new(1..), Alignment::right());
        format!("MiB, compressed / extracted\n{table}\n")
    }

    /// For a README or a summary in CI.
    pub fn markdown(&self) -> String {
        // A bar would end the cell, in whatever it stands.
        let mut table = self.builder(|text| text.replace('|', "\\|")).build();
        table.with(Style::markdown()).modify(Columns::new(1..), Alignment::right());
        format!("MiB, compressed / extracted\n\n{table}\n")
    }

    /// For programs: bytes, as integers.
    pub fn json(&self) -> Result<String, serde_json::Error> {
        #[derive(Serialize)]
        struct Table<'a> {
            unit: &'static str,
            tags: Vec<Row<'a>>,
        }
        #[derive(Serialize)]
        struct Row<'a> {
            tag: &'a str,
            platforms: &'a BTreeMap<String, Cell>,
        }
        let tags = self.rows.iter().map(|(tag, platforms)| Row { tag, platforms }).collect();
        serde_json::to_string_pretty(&Table { unit: "bytes", tags }).map(|json| json + "\n")
    }

    fn builder(&self, escape: impl Fn(&str) -> String) -> Builder {
        let short: Vec<&str> = self.platforms.iter().map(|p| p.strip_prefix("linux/").unwrap_or(p)).collect();
        let mut builder = Builder::default();
        let heading = ["Tag"].into_iter().chain(short.iter().copied()).map(&escape);
        builder.push_record(heading.chain([escape(&format!("Shared: {}", short.join(", ")))]));
        for (tag, cells) in &self.rows {
            let of = |platform: &String| cells.get(platform);
            let sizes = self.platforms.iter().map(|p| of(p).map_or_else(|| "-".to_owned(), Cell::sizes));
            let shared =
                self.platforms.iter().map(|p| of(p).map_or_else(|| "-".to_owned(), |c| MiB(c.shared).to_string()));
            let shared = shared.collect::<Vec<_>>().join(", ");
            builder.push_record([escape(tag)].into_iter().chain(sizes).chain([shared]));
        }
        builder
    }
}

impl Cell {
    fn sizes(&self) -> String {
        let extracted = self.extracted.map_or_else(|| "?".to_owned(), |bytes| MiB(bytes).to_string());
        format!("{} / {extracted}", MiB(self.compressed))
    }
}

/// All platforms of all tags, in the order of the columns.
fn columns(tags: &[TagSizes]) -> Vec<String> {
    let mut platforms: Vec<String> = tags.iter().flat_map(|tag| &tag.platforms).map(|p| p.platform.clone()).collect();
    // `arm64/v8` and other spellings of ours stay as they are written, next to ours.
    platforms.sort_by_key(|name| (name.parse::<Platform>().map_or((1, None), |ours| (0, Some(ours))), name.clone()));
    platforms.dedup();
    platforms
}

/// Sizes come from outside: what no integer holds is shown as the largest.
fn sum(sizes: impl IntoIterator<Item = u64>) -> u64 {
    sizes.into_iter().fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(name: &str, compressed: u64, extracted: u64) -> LayerSize {
        LayerSize { digest: Digest::of(name), compressed, extracted: Some(extracted) }
    }

    fn tags() -> Vec<TagSizes> {
        let mib = 1 << 20;
        let image = |platform: &str, layers: Vec<LayerSize>| PlatformSizes { platform: platform.to_owned(), layers };
        let (base, kubelet, cni) =
            (layer("base", 3 * mib, 7 * mib), layer("kubelet", 23 * mib, 72 * mib), layer("cni", 3 << 19, 10 * mib));
        let unknown = LayerSize { extracted: None, ..layer("x", u64::MAX, 0) };
        vec![
            TagSizes {
                tag: "v1.26.0-alpine3.15".to_owned(),
                platforms: vec![
                    image("linux/s390x", vec![unknown, unknown]),
                    image("linux/arm/v7", vec![base]),
                    image("linux/amd64", vec![base, kubelet]),
                ],
            },
            TagSizes { tag: "v1.26.0|cni".to_owned(), platforms: vec![image("linux/amd64", vec![base, cni, cni])] },
        ]
    }

    #[test]
    fn sizes_are_summed_and_shared_layers_found_within_a_platform() {
        let table = SizeTable::new(&tags());
        let mib = 1_u64 << 20;
        let cell = table.cell("v1.26.0-alpine3.15", "linux/amd64").unwrap();
        assert_eq!((cell.compressed, cell.extracted, cell.shared), (26 * mib, Some(79 * mib), 3 * mib));
        let cell = table.cell("v1.26.0|cni", "linux/amd64").unwrap();
        assert_eq!((cell.compressed, cell.shared), (6 * mib, 3 * mib), "a layer twice in one tag is not shared");
        assert_eq!(table.cell("v1.26.0-alpine3.15", "linux/arm/v7").unwrap().shared, 0, "not with another platform");
        let cell = table.cell("v1.26.0-alpine3.15", "linux/s390x").unwrap();
        assert_eq!((cell.compressed, cell.extracted), (u64::MAX, None));
    }

    #[test]
    fn the_table_reads_well_in_a_terminal() {
        insta::assert_snapshot!(SizeTable::new(&small()).terminal(), @r"
        MiB, compressed / extracted
        ┌────────────────────┬───────────────┬─────────────┬───────────────────────┐
        │ Tag                │         amd64 │      arm/v7 │ Shared: amd64, arm/v7 │
        ├────────────────────┼───────────────┼─────────────┼───────────────────────┤
        │ v1.26.0-alpine3.15 │ 26.00 / 79.00 │ 3.00 / 7.00 │            3.00, 0.00 │
        │ v1.26.0|cni        │  6.00 / 27.00 │           - │               3.00, - │
        └────────────────────┴───────────────┴─────────────┴───────────────────────┘
        ");
    }

    #[test]
    fn the_table_is_sound_markdown() {
        insta::assert_snapshot!(SizeTable::new(&small()).markdown(), @r"
        MiB, compressed / extracted

        | Tag                |         amd64 |      arm/v7 | Shared: amd64, arm/v7 |
        |--------------------|---------------|-------------|-----------------------|
        | v1.26.0-alpine3.15 | 26.00 / 79.00 | 3.00 / 7.00 |            3.00, 0.00 |
        | v1.26.0\|cni       |  6.00 / 27.00 |           - |               3.00, - |
        ");
    }

    #[test]
    fn the_json_has_bytes_as_integers() {
        insta::assert_snapshot!(SizeTable::new(&small()).json().unwrap(), @r#"
        {
          "unit": "bytes",
          "tags": [
            {
              "tag": "v1.26.0-alpine3.15",
              "platforms": {
                "linux/amd64": {
                  "compressed": 27262976,
                  "extracted": 82837504,
                  "shared": 3145728
                },
                "linux/arm/v7": {
                  "compressed": 3145728,
                  "extracted": 7340032,
                  "shared": 0
                }
              }
            },
            {
              "tag": "v1.26.0|cni",
              "platforms": {
                "linux/amd64": {
                  "compressed": 6291456,
                  "extracted": 28311552,
                  "shared": 3145728
                }
              }
            }
          ]
        }
        "#);
    }

    /// Without the image of unknown size.
    fn small() -> Vec<TagSizes> {
        let mut tags = tags();
        tags[0].platforms.remove(0);
        tags
    }

    #[test]
    fn no_tags_make_an_empty_table() {
        assert!(SizeTable::new(&[]).terminal().contains("Tag"));
    }
}
