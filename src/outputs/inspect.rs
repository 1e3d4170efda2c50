//! What is in an image: its files, by the layer they come from and the component that this layer is for.
//!
//! Layers are read through from any source, and their digests checked; nothing is unpacked anywhere.

use std::{
    collections::BTreeMap,
    io::{self, Read as _},
};

use serde::Serialize;

use super::{
    entries::{self, Member},
    source::{self, Source, SourceError},
};
use crate::{
    base::{Digest, digest::Hashing, tree::remove_below},
    images::{self, Description, Descriptor, PlatformImage, ReadError},
};

/// A layer that unpacks to more is taken for a bomb.
const LARGEST: u64 = 16 << 30;

/// The files that are listed of one image: ten times those of a large distribution.
const MOST_FILES: usize = 1_000_000;

/// Names of components longer than this are commands of a Dockerfile, of which the beginning says enough.
const LONGEST_NAME: usize = 60;

/// A layer and its files.
#[derive(Clone, Debug, Serialize)]
pub struct LayerFiles {
    pub digest: Digest,
    /// What the layer is for, by the image's history: the component's name in images of kletimg.
    pub component: String,
    pub compressed: u64,
    /// The sum of the files' bytes.
    pub extracted: u64,
    pub files: Vec<FileFacts>,
}

/// One entry of a layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileFacts {
    pub path: String,
    pub kind: Kind,
    pub mode: u32,
    pub size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// Of a file's content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    File,
    Directory,
    Symlink,
    Hardlink,
    /// A device, a pipe.
    Other,
}

#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("reading the config {digest}: {reason}")]
    Config { digest: Digest, reason: ReadError },
    #[error("reading the layer {digest}: `{}` is not a media type of layers", media_type.escape_debug())]
    MediaType { digest: Digest, media_type: String },
    #[error("reading the layer {digest}: {reason}: `kletimg image verify` says what else is wrong with the image")]
    Layer { digest: Digest, reason: io::Error },
    #[error("the image holds more than {MOST_FILES} files, which is more than are listed")]
    TooMany,
}

/// The labels of an image, and what its layers are for.
pub fn description(source: &dyn Source, image: &PlatformImage) -> Result<Description, InspectError> {
    let digest = image.config.digest;
    let bytes = source::read_small(source, &image.config.blob(), source::LARGEST_MANIFEST)?;
    images::read_description(&bytes).map_err(|reason| InspectError::Config { digest, reason })
}

/// The files of every layer, lowest layer first.
pub fn files(source: &dyn Source, image: &PlatformImage) -> Result<Vec<LayerFiles>, InspectError> {
    let names = description(source, image)?.layers;
    // Whose history does not fit has no names for its layers.
    let names = if names.len() == image.layers.len() { names } else { vec![String::new(); image.layers.len()] };
    let mut count = 0;
    let read = |(layer, name): (&Descriptor, &String)| read(source, layer, component(name), &mut count);
    image.layers.iter().zip(&names).map(read).collect()
}

/// The files that a container sees: the highest layer's, without what it removes. With the number of their layer.
pub fn visible(layers: &[LayerFiles]) -> BTreeMap<&str, (usize, &FileFacts)> {
    let mut seen: BTreeMap<&str, (usize, &FileFacts)> = BTreeMap::new();
    for (number, layer) in layers.iter().enumerate() {
        for file in &layer.files {
            let (folder, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
            let Some(hidden) = name.strip_prefix(".wh.") else { continue };
            let hidden = match hidden {
                ".wh..opq" => folder.to_owned(),
                hidden if folder.is_empty() => hidden.to_owned(),
                hidden => format!("{folder}/{hidden}"),
            };
            if name != ".wh..wh..opq" {
                seen.remove(hidden.as_str());
            }
            remove_below(&mut seen, &hidden);
        }
        let added = layer.files.iter().filter(|file| !file.path.split('/').any(|part| part.starts_with(".wh.")));
        seen.extend(added.map(|file| (file.path.as_str(), (number, file))));
    }
    seen
}

fn read(
    source: &dyn Source,
    layer: &Descriptor,
    component: String,
    count: &mut usize,
) -> Result<LayerFiles, InspectError> {
    let digest = layer.digest;
    if layer.is_foreign() {
        // It lies with whoever may distribute it: nothing to list.
        return Ok(LayerFiles { digest, component, compressed: layer.size, extracted: 0, files: Vec::new() });
    }
    let compression = entries::compression(&layer.media_type)
        .ok_or_else(|| InspectError::MediaType { digest, media_type: layer.media_type.clone() })?;
    let wrong = |reason| InspectError::Layer { digest, reason };
    let mut packed = Hashing::new(source.open(&layer.blob(), 0)?);
    let mut files = Vec::new();
    let mut too_many = false;
    let tar = entries::unpacked(&mut packed, compression).map_err(wrong)?;
    let mut archive = tar::Archive::new(tar.take(LARGEST));
    let walked = entries::each(&mut archive, &mut |member| {
        *count += 1;
        too_many |= *count > MOST_FILES;
        if too_many {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        files.push(facts(member)?);
        Ok(())
    });
    if too_many {
        return Err(InspectError::TooMany);
    }
    walked.map_err(wrong)?;
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(wrong)?;
    io::copy(&mut packed, &mut io::sink()).map_err(wrong)?;
    let (_, got) = packed.finish();
    if got != layer.blob() {
        return Err(SourceError::damaged(&layer.blob(), got).into());
    }
    let extracted = files.iter().fold(0, |sum: u64, file: &FileFacts| sum.saturating_add(file.size));
    Ok(LayerFiles { digest, component, compressed: layer.size, extracted, files })
}

fn facts(member: Member<'_>) -> io::Result<FileFacts> {
    let kind = match member.kind {
        kind if kind.is_file() => Kind::File,
        kind if kind.is_dir() => Kind::Directory,
        kind if kind.is_symlink() => Kind::Symlink,
        kind if kind.is_hard_link() => Kind::Hardlink,
        _ => Kind::Other,
    };
    let mut content = Hashing::new(member.body);
    let size = if kind == Kind::File { io::copy(&mut content, &mut io::sink())? } else { 0 };
    Ok(FileFacts {
        path: entries::shown(&member.path),
        kind,
        mode: member.mode & 0o7777,
        size,
        link: matches!(kind, Kind::Symlink | Kind::Hardlink)
            .then(|| String::from_utf8_lossy(&member.link.unwrap_or_default()).escape_debug().to_string()),
        digest: (kind == Kind::File).then(|| content.finish().1.digest),
    })
}

/// What a history's entry calls the layer.
fn component(created_by: &str) -> String {
    let name = created_by.strip_prefix("kletimg: ").unwrap_or(created_by);
    let name: String = name.chars().filter(|c| !c.is_control()).take(LONGEST_NAME).collect();
    if name.trim().is_empty() { "(unnamed)".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_higher_layer_removes_is_not_seen() {
        let layer = |paths: &[&str]| LayerFiles {
            digest: Digest::of("x"),
            component: String::new(),
            compressed: 0,
            extracted: 0,
            files: paths
                .iter()
                .map(|path| FileFacts {
                    path: (*path).to_owned(),
                    kind: Kind::File,
                    mode: 0,
                    size: 1,
                    link: None,
                    digest: None,
                })
                .collect(),
        };
        let layers =
            [layer(&["a", "b", "c/d", "c/e", "f/g"]), layer(&[".wh.a", "b", "c/.wh.d", "f/.wh..wh..opq", "f/h"])];
        let seen: Vec<_> = visible(&layers).into_iter().map(|(path, (number, _))| (path, number)).collect();
        assert_eq!(seen, [("b", 1), ("c/e", 0), ("f/h", 1)]);
    }
}
