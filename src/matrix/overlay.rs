//! Files that a definition lays into the image: `[[files]]`.

use std::path::PathBuf;

use super::{
    problem::{At, Located},
    read::{Table, Value},
};
use crate::base::{TreePath, VersionRange};

/// One file, link or folder of an overlay.
#[derive(Clone, Debug)]
pub struct Overlay {
    pub path: TreePath,
    pub kind: OverlayKind,
    /// Permission bits; `None` means 0644 for files and 0755 for folders.
    pub mode: Option<u32>,
    pub kubernetes: VersionRange,
    /// Only for the tags of this image.
    pub image: Option<Located<String>>,
    pub at: At,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OverlayKind {
    /// The text itself stands in the definition.
    Text(String),
    /// A file beside the definition; the path is relative to the definition's folder.
    Source(PathBuf),
    /// A symbolic link with this text.
    Link(String),
    Directory,
}

impl Overlay {
    pub(super) fn read(table: &Table<'_>) -> Option<Self> {
        let path = table.require("path", "path = \"/etc/...\"").and_then(|value| value.parsed::<TreePath>());
        let kind = read_kind(table);
        let mode = table.get("mode").and_then(|value| read_mode(&value));
        let kubernetes = table.parsed("kubernetes").unwrap_or_else(VersionRange::any);
        let image = table.string("image");
        Some(Self { path: path?.value, kind: kind?, mode, kubernetes, image, at: table.at().clone() })
    }

    /// The definition's folder, which `source` is relative to.
    pub fn folder(&self) -> PathBuf {
        self.at.source.path.parent().map(std::path::Path::to_owned).unwrap_or_default()
    }

    /// The permission bits that the entry gets.
    pub fn effective_mode(&self) -> u32 {
        self.mode.unwrap_or(match self.kind {
            OverlayKind::Directory => 0o755,
            OverlayKind::Link(_) => 0o777,
            OverlayKind::Text(_) | OverlayKind::Source(_) => 0o644,
        })
    }
}

fn read_kind(table: &Table<'_>) -> Option<OverlayKind> {
    let kinds: Vec<_> = [
        table.string("text").map(|text| OverlayKind::Text(text.value)),
        table.string("source").map(|source| OverlayKind::Source(source.value.into())),
        table.string("link").map(|link| OverlayKind::Link(link.value)),
        table.boolean("directory").filter(|directory| *directory).map(|_| OverlayKind::Directory),
    ]
    .into_iter()
    .flatten()
    .collect();
    let [kind] = kinds.as_slice() else {
        let message =
            format!("a file needs exactly one of `text`, `source`, `link`, `directory`; {} given", kinds.len());
        table.report("file-without-content", message, Some("write `source = \"a file beside this one\"`".to_owned()));
        return None;
    };
    Some(kind.clone())
}

fn read_mode(value: &Value<'_>) -> Option<u32> {
    let text = value.string()?;
    let mode = u32::from_str_radix(&text.value, 8).ok().filter(|mode| *mode <= 0o7777);
    if mode.is_none() {
        let help = "write it in octal as a string, for example `mode = \"0755\"`".to_owned();
        value.report("invalid-mode", format!("`{}` is not a file mode", text.value), Some(help));
    }
    mode
}
