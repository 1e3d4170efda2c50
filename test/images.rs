//! From small trees to a layout on disk, read back by independent readers: flate2 and tar, GNU tar and gzip, skopeo, umoci.
//!
//! The golden digests prove that nothing on the way has changed what comes out. Refresh them, after looking at why they
//! changed, with `KLETIMG_UPDATE_GOLDEN=1 cargo test --test images`.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_macros,
    reason = "all of this is a test, also what stands outside the #[test] functions"
)]

mod support;

#[path = "images/alpine.rs"]
mod alpine;
#[path = "images/fixture.rs"]
mod fixture;
#[path = "images/hostile.rs"]
mod hostile;
#[path = "images/tools.rs"]
mod tools;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Read as _,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use fixture::{Fixture, TAG, build, tag};
use kletimg::{
    base::{Digest, Node, Platform, TreePath},
    images::Tag,
    layers::Codec,
    outputs::layout,
    report::{SizeTable, TagSizes},
};

/// Every file below a folder: inode, modification time in nanoseconds, mode.
fn listing(folder: &Path) -> BTreeMap<PathBuf, (u64, i64, u32)> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            if metadata.is_dir() {
                folders.push(path.clone());
            }
            let time = metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec();
            files.insert(path, (metadata.ino(), time, metadata.mode() & 0o7777));
        }
    }
    files
}

#[test]
fn the_digests_are_the_golden_ones() {
    let mut lines = Vec::new();
    for (name, codec) in [("gzip", Codec::default()), ("none", Codec::None)] {
        let fixture = Fixture::new();
        let tags = build(&fixture.store, codec, 2);
        lines.extend(tags.iter().map(|tag| format!("{name} {} {}\n", tag.name, tag.root.digest)));
    }
    let actual = lines.concat();
    let golden = support::checkout().join("test/golden/images.txt");
    if std::env::var_os("KLETIMG_UPDATE_GOLDEN").is_some() {
        fs::write(&golden, &actual).unwrap();
    }
    let expected = fs::read_to_string(&golden).unwrap();
    assert_eq!(actual, expected, "to accept: KLETIMG_UPDATE_GOLDEN=1 cargo test --test images");
}

/// In a process of its own: the umask is everybody's, and other tests look at modes as well.
#[test]
fn threads_folders_and_umask_change_no_byte() {
    let name = "threads_folders_and_umask_change_no_byte";
    if std::env::var_os("KLETIMG_TEST_UMASK").is_none() {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        let ended = command.args(["--exact", name]).env("KLETIMG_TEST_UMASK", "077").output().unwrap();
        let said = String::from_utf8_lossy(&ended.stdout).into_owned();
        assert!(
            ended.status.success() && said.contains("1 passed"),
            "{said}{}",
            String::from_utf8_lossy(&ended.stderr)
        );
        return;
    }
    let fixture = Fixture::new();
    let expected = build(&fixture.store, Codec::default(), 1);
    let _ = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    for threads in [1, 2, 4] {
        let other = Fixture::new();
        assert_eq!(build(&other.store, Codec::default(), threads), expected, "{threads} threads");
        layout::write(&other.store, &other.dist, &expected).unwrap();
        for (path, (_, _, mode)) in listing(&other.dist) {
            let expected = match path.strip_prefix(&other.dist).unwrap().components().count() {
                1 if path.is_file() => 0o644,
                3 => 0o444,
                _ => continue,
            };
            assert_eq!(mode, expected, "{}", path.display());
        }
    }
}

#[test]
fn a_layer_reads_back_as_its_tree() {
    let fixture = Fixture::new();
    let rootfs = fixture::rootfs(&fixture.store, Platform::Amd64, "plain");
    let tags = build(&fixture.store, Codec::default(), 2);
    let image = &tag(&tags, TAG).images[0];
    assert_eq!(image.layers.len(), rootfs.layers().len());
    for (layer, descriptor) in rootfs.layers().iter().zip(&image.layers) {
        let mut bytes = Vec::new();
        let blob = fixture.store.open(&descriptor.digest).unwrap();
        flate2::read::MultiGzDecoder::new(blob).read_to_end(&mut bytes).unwrap();
        let mut seen = Vec::new();
        for entry in tar::Archive::new(bytes.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = TreePath::new(entry.path().unwrap().to_str().unwrap()).unwrap();
            let expected = layer.tree.get(&path).unwrap();
            let header = entry.header().clone();
            assert_eq!(header.mode().unwrap(), expected.mode, "{path}");
            assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (expected.uid.into(), expected.gid.into()));
            assert_eq!(header.mtime().unwrap(), fixture::EPOCH);
            let link = entry.link_name().unwrap().map(|link| link.to_str().unwrap().to_owned());
            match &expected.node {
                Node::Directory => assert!(header.entry_type().is_dir()),
                Node::Symlink(target) => assert_eq!(link.as_ref(), Some(target)),
                Node::Hardlink(target) => assert_eq!(link.as_deref(), Some(target.as_str())),
                Node::File(content) => {
                    let (mut read, mut stored) = (Vec::new(), Vec::new());
                    entry.read_to_end(&mut read).unwrap();
                    fixture.store.content(content).unwrap().read_to_end(&mut stored).unwrap();
                    assert_eq!(Digest::of(read), Digest::of(stored), "{path}");
                }
            }
            seen.push(path);
        }
        assert_eq!(seen, layer.tree.entries.keys().cloned().collect::<Vec<_>>());
    }
}

#[test]
fn the_layout_links_the_store_and_a_second_write_changes_nothing() {
    let fixture = Fixture::new();
    let tags = build(&fixture.store, Codec::default(), 2);
    let written = layout::write(&fixture.store, &fixture.dist, &tags).unwrap();
    let blobs: BTreeSet<_> = tags.iter().flat_map(Tag::blobs).map(|blob| blob.digest).collect();
    assert_eq!((written.added, written.removed), (blobs.len(), 0));
    for digest in &blobs {
        let inode = |path: PathBuf| fs::metadata(path).unwrap().ino();
        assert_eq!(inode(fixture.blob(digest)), inode(fixture.store.path(digest)), "{digest}");
    }
    let before = (listing(&fixture.dist), listing(fixture.store.root()));
    assert_eq!(build(&fixture.store, Codec::default(), 1), tags);
    assert_eq!(layout::write(&fixture.store, &fixture.dist, &tags).unwrap(), layout::Written::default());
    assert!(before == (listing(&fixture.dist), listing(fixture.store.root())), "something was written");
    assert_eq!(
        layout::read(&fixture.dist).unwrap().iter().map(|tag| &tag.root.digest).collect::<Vec<_>>(),
        tags.iter().map(|tag| &tag.root.digest).collect::<Vec<_>>()
    );
}

#[test]
fn the_layout_holds_exactly_what_its_tags_need() {
    let fixture = Fixture::new();
    let tags = build(&fixture.store, Codec::default(), 2);
    layout::write(&fixture.store, &fixture.dist, &tags).unwrap();
    // What killed builds and people leave behind.
    let blobs = fixture.dist.join("blobs/sha256");
    fs::write(fixture.dist.join(".tmpAb3dE9"), "half").unwrap();
    fs::write(blobs.join(".tmpzzzzzz"), "half").unwrap();
    fs::write(blobs.join(Digest::of("stale").hex()), "stale").unwrap();
    fs::write(blobs.join("notes.txt"), "not ours").unwrap();
    let one = &tags[..1];
    let written = layout::write(&fixture.store, &fixture.dist, one).unwrap();
    assert!(written.added == 0 && written.removed > 1, "{written:?}");
    let mut expected: Vec<_> = one[0].blobs().map(|blob| blob.digest.hex()).collect();
    expected.push("notes.txt".to_owned());
    expected.sort();
    expected.dedup();
    let mut names: Vec<_> =
        fs::read_dir(&blobs).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, expected);
    assert!(!fixture.dist.join(".tmpAb3dE9").exists());
    // A blob that was damaged or copied in is linked anew.
    let layer = fixture.blob(&one[0].images[0].layers[0].digest);
    fs::remove_file(&layer).unwrap();
    fs::write(&layer, "damaged").unwrap();
    layout::write(&fixture.store, &fixture.dist, one).unwrap();
    assert_eq!(layout::read(&fixture.dist).unwrap().len(), 1);
}

#[test]
fn a_write_that_was_cut_off_is_finished_by_the_next() {
    let fixture = Fixture::new();
    let tags = build(&fixture.store, Codec::default(), 2);
    fs::create_dir_all(&fixture.dist).unwrap();
    fs::write(fixture.dist.join(".tmpAb3dE9"), "{").unwrap();
    layout::write(&fixture.store, &fixture.dist, &tags).unwrap();
    fs::remove_file(fixture.dist.join("index.json")).unwrap();
    fs::remove_file(fixture.blob(&tags[0].root.digest)).unwrap();
    layout::write(&fixture.store, &fixture.dist, &tags).unwrap();
    assert_eq!(layout::read(&fixture.dist).unwrap().len(), tags.len());
}

#[test]
fn a_missing_blob_stops_the_write_before_anything_is_touched() {
    let fixture = Fixture::new();
    let tags = build(&fixture.store, Codec::default(), 2);
    layout::write(&fixture.store, &fixture.dist, &tags[..1]).unwrap();
    let before = listing(&fixture.dist);
    let lost = fixture.store.path(&tags[1].images[0].config.digest);
    fs::set_permissions(&lost, fs::Permissions::from_mode(0o644)).unwrap();
    fs::remove_file(&lost).unwrap();
    let error = layout::write(&fixture.store, &fixture.dist, &tags).unwrap_err().to_string();
    assert!(error.contains(&tags[1].images[0].config.digest.to_string()), "{error}");
    assert_eq!(listing(&fixture.dist), before);
}

#[test]
fn a_folder_of_something_else_is_refused() {
    let fixture = Fixture::new();
    let tags = build(&fixture.store, Codec::default(), 2);
    fs::create_dir_all(&fixture.dist).unwrap();
    fs::write(fixture.dist.join("thesis.txt"), "years of work").unwrap();
    let error = layout::write(&fixture.store, &fixture.dist, &tags).unwrap_err().to_string();
    assert!(error.contains("holds other files and is no OCI layout"), "{error}");
    assert_eq!(fs::read_dir(&fixture.dist).unwrap().count(), 1);
    let file = fixture.dist.join("thesis.txt");
    assert!(layout::write(&fixture.store, &file, &tags).unwrap_err().to_string().contains("thesis.txt"));
    let twice = [tags[0].clone(), tags[0].clone()];
    let error = layout::write(&fixture.store, &fixture.dist, &twice).unwrap_err().to_string();
    assert!(error.contains(&format!("two tags have the name `{TAG}`")), "{error}");
}

#[test]
fn the_size_table_can_be_made_from_the_layout_alone() {
    let fixture = Fixture::new();
    let tags = build(&fixture.store, Codec::default(), 2);
    layout::write(&fixture.store, &fixture.dist, &tags).unwrap();
    let table = |tags: &[Tag]| SizeTable::new(&tags.iter().map(TagSizes::from).collect::<Vec<_>>());
    let mut read = layout::read(&fixture.dist).unwrap();
    assert_eq!(table(&read), table(&tags));
    // Without what our descriptors say, the layers are unpacked and give the same numbers.
    for image in read.iter_mut().flat_map(|tag| &mut tag.images) {
        image.layers.iter_mut().for_each(|layer| layer.annotations.clear());
    }
    assert!(table(&read).terminal().contains("/ ?"));
    layout::measure(&fixture.dist, &mut read).unwrap();
    assert_eq!(table(&read), table(&tags));
    let cell = *table(&tags).cell(TAG, "linux/amd64").unwrap();
    let rootfs = fixture::rootfs(&fixture.store, Platform::Amd64, "plain");
    assert_eq!(cell.extracted, Some(rootfs.layers().iter().map(|layer| layer.tree.extracted()).sum()));
    assert_eq!(cell.shared, cell.compressed, "the cni tag has every layer of the plain one");
    let cell = *table(&tags).cell(fixture::PROXY, "linux/amd64").unwrap();
    assert!(0 < cell.shared && cell.shared < cell.compressed);
}
