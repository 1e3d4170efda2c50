//! A real base: Alpine's mini root file systems go through assembly, layers and layout, and come out as they were.

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use kletimg::{
    base::{Content, Entry, Epoch, Node, Platform, Tree, TreePath},
    images::{Image, ImageConfig, ImageLayer},
    inputs::store::Store,
    layers::{self, Codec},
    outputs::{layout, store_layer, store_tag},
    rootfs::{self, LayerName, Part, Role},
};

use crate::{fixture::Fixture, support::parts};

/// The archive's entries, with what decides whether a program works: type, mode, owner, link target, bytes.
fn entries(archive: &Path) -> BTreeMap<String, (u32, u64, u64, String, Vec<u8>)> {
    let file = fs::File::open(archive).unwrap();
    let mut entries = BTreeMap::new();
    for entry in tar::Archive::new(flate2::read::MultiGzDecoder::new(file)).entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_str().unwrap().trim_start_matches("./").trim_end_matches('/').to_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        let link = entry.link_name().unwrap().map_or_else(String::new, |link| link.display().to_string());
        let header = entry.header();
        let mode = header.mode().unwrap() & 0o7777;
        let described = format!("{:?} {link}", header.entry_type());
        entries.insert(name, (mode, header.uid().unwrap(), header.gid().unwrap(), described, bytes));
    }
    entries.remove("");
    entries
}

fn tree(store: &Store, archive: &Path) -> Tree {
    let mut tree = Tree::new();
    for (path, (mode, uid, gid, described, bytes)) in entries(archive) {
        let (kind, link) = described.split_once(' ').unwrap();
        let node = match kind {
            "Directory" => Node::Directory,
            "Symlink" => Node::Symlink(link.to_owned()),
            "Regular" => Node::File(Content::whole(store.put(&bytes).unwrap())),
            "Link" => Node::Hardlink(TreePath::new(link).unwrap()),
            other => panic!("{path} is a {other}"),
        };
        let (uid, gid) = (u32::try_from(uid).unwrap(), u32::try_from(gid).unwrap());
        tree.insert(TreePath::new(&path).unwrap(), Entry { uid, gid, ..Entry::new(mode, node) });
    }
    tree
}

#[test]
fn the_mini_root_file_systems_come_out_as_they_were() {
    let Some(data) = parts::alpine_data() else { return };
    let archive = |platform: &Platform| -> PathBuf {
        data.join(format!("minirootfs/alpine-minirootfs-3.15.11-{}.tar.gz", platform.alpine_arch()))
    };
    let fixture = Fixture::new();
    let epoch = Epoch::try_from(1_700_000_000).unwrap();
    let image = |platform: &Platform| {
        let tree = tree(&fixture.store, &archive(platform));
        let base = Part { layer: LayerName::new("base"), role: Role::Base, tree, origin: "base alpine3.15".to_owned() };
        let rootfs = rootfs::assemble(&[base]).unwrap();
        let layers = layers::split(&rootfs).into_iter().map(|layer| ImageLayer {
            info: store_layer(&fixture.store, &layer.tree, epoch, Codec::default(), 2).unwrap(),
            name: layer.name,
            codec: Codec::default(),
        });
        let layers = layers.collect();
        let config = ImageConfig::default();
        Image { platform: *platform, config, layers, created: epoch, annotations: BTreeMap::new() }
    };
    let images: Vec<_> = Platform::ALL.iter().map(image).collect();
    let tag = store_tag(&fixture.store, "alpine3.15".parse().unwrap(), None, &images, &BTreeMap::new()).unwrap();
    layout::write(&fixture.store, &fixture.dist, &[tag]).unwrap();

    let read = layout::read(&fixture.dist).unwrap();
    for (platform, image) in Platform::ALL.iter().zip(&read[0].images) {
        assert_eq!(image.platform.to_string(), platform.name());
        let (ours, theirs) = (entries(&fixture.blob(&image.layers[0].digest)), entries(&archive(platform)));
        assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
        for (path, entry) in &theirs {
            assert!(ours[path] == *entry, "{path} differs");
        }
        let published = fs::metadata(archive(platform)).unwrap().len();
        assert!(image.layers[0].size < published, "{} bytes, gzip made {published}", image.layers[0].size);
    }
}
