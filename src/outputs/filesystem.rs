//! The root file system of one image, as a container would see it: as a tar, or as files in a folder.
//!
//! For those who boot it, unpack it on a device, or want to look at it. The layers come from the store, where building or
//! pulling has put them; what one layer removes from those below it is not in the outcome.

use std::{io::Write, path::Path};

use crate::{
    base::{Epoch, Node, Tree, TreePath, tree::InvalidPath},
    images::PlatformImage,
    inputs::{
        archive::{self, ArchiveError, Compression, Devices, Format, Limits, materialise::MaterialiseError},
        store::Store,
    },
    layers::{self, Codec, LayerError},
};

#[derive(Debug, thiserror::Error)]
pub enum FilesystemError {
    #[error(transparent)]
    Layer(#[from] ArchiveError),
    #[error("`{0}` is not a media type of layers")]
    MediaType(String),
    #[error(transparent)]
    Path(#[from] InvalidPath),
    #[error(transparent)]
    Write(#[from] LayerError),
    #[error(transparent)]
    Materialise(#[from] MaterialiseError),
}

/// Writes the image's files as one tar. Equal images and times give equal bytes.
pub fn write_tar(store: &Store, image: &PlatformImage, epoch: Epoch, out: impl Write) -> Result<(), FilesystemError> {
    let tree = merged(store, image)?;
    layers::write_layer(store, &tree, epoch, Codec::None, 1, out)?;
    Ok(())
}

/// Writes the image's files to a new or empty folder, without owners and attributes, which take root to set. Absolute
/// links are made relative, so that they lead to files of the folder.
pub fn write_folder(store: &Store, image: &PlatformImage, folder: &Path) -> Result<(), FilesystemError> {
    Ok(archive::materialise(store, &merged(store, image)?, folder)?)
}

/// All layers in one tree, the highest counting.
fn merged(store: &Store, image: &PlatformImage) -> Result<Tree, FilesystemError> {
    let limits = Limits { devices: Devices::Skip, ..Limits::default() };
    let mut all = Tree::new();
    for layer in &image.layers {
        let compression = match layer.media_type.rsplit_once(['+', '.']).map(|(_, ending)| ending) {
            Some("gzip") => Compression::Gzip,
            Some("zstd") => Compression::Zstd,
            Some("tar") => Compression::None,
            _ => return Err(FilesystemError::MediaType(layer.media_type.clone())),
        };
        let tree = archive::unpack(store, &layer.blob(), Format::Tar(compression), &limits)?;
        add(&mut all, tree)?;
    }
    Ok(all)
}

/// Puts a layer over those below it (image-spec, `layer.md`): its whiteouts first, which are for the layers below.
fn add(all: &mut Tree, layer: Tree) -> Result<(), FilesystemError> {
    for (path, _) in layer.iter() {
        let Some(hidden) = path.file_name().strip_prefix(".wh.") else { continue };
        match (hidden, path.parent()) {
            (".wh..opq", Some(folder)) => all.remove_below(&folder),
            (".wh..opq", None) => *all = Tree::new(),
            (name, parent) => {
                let hidden = match parent {
                    Some(parent) => parent.join(name)?,
                    None => TreePath::new(name)?,
                };
                all.entries.remove(&hidden);
                all.remove_below(&hidden);
            }
        }
    }
    for (path, entry) in layer.entries {
        if path.file_name().starts_with(".wh.") {
            continue;
        }
        // A file in the place of a folder takes the folder's files away with it.
        if entry.node != Node::Directory && all.get(&path).is_some_and(|below| below.node == Node::Directory) {
            all.remove_below(&path);
        }
        all.insert(path, entry);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Entry;

    #[test]
    fn a_layer_hides_what_it_says_and_nothing_of_its_own() {
        let tree = |paths: &[&str]| {
            let mut tree = Tree::new();
            for path in paths {
                let entry = if path.ends_with('/') { Entry::directory() } else { Entry::symlink("x") };
                tree.insert(TreePath::new(path).unwrap(), entry);
            }
            tree
        };
        let mut all = tree(&["a/", "a/1", "a/2", "b/", "b/1", "c/", "c/1", "d"]);
        add(&mut all, tree(&["a/.wh.1", "b/.wh..wh..opq", "b/2", "c", ".wh.d"])).unwrap();
        let left: Vec<_> = all.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(left, ["a", "a/2", "b", "b/2", "c"]);
    }
}
