use std::collections::BTreeMap;

use super::*;
use crate::rootfs::{directory, file, symlink};

/// Contents in memory, by digest.
#[derive(Default)]
struct Memory(BTreeMap<Digest, Vec<u8>>);

impl Memory {
    fn put(&mut self, bytes: &[u8]) -> Content {
        let blob = Blob { digest: Digest::of(bytes), size: bytes.len() as u64 };
        self.0.insert(blob.digest, bytes.to_vec());
        Content::whole(blob)
    }
}

impl Contents for Memory {
    fn open(&self, content: &Content) -> io::Result<Box<dyn Read + '_>> {
        let bytes = self.0.get(&content.blob).ok_or(io::ErrorKind::NotFound)?;
        let from = usize::try_from(content.offset).unwrap().min(bytes.len());
        Ok(Box::new(&bytes[from..]))
    }
}

fn path(text: &str) -> TreePath {
    TreePath::new(text).unwrap()
}

fn epoch(seconds: u64) -> Epoch {
    Epoch::try_from(seconds).unwrap()
}

fn archive(memory: &Memory, tree: &Tree, time: u64) -> Result<Vec<u8>, LayerError> {
    let mut out = Vec::new();
    write_layer(memory, tree, epoch(time), Codec::None, 1, &mut out).map(|_| out)
}

/// A tree with everything that needs more than a plain header.
fn peculiar(memory: &mut Memory) -> Tree {
    let mut tree = Tree::new();
    let long = format!("usr/{}/{}", "d".repeat(90), "f".repeat(200));
    let mut capable = file(memory.put(b"\x7fELF"), 0o4755);
    capable.xattrs.insert("security.capability".to_owned(), vec![1, 0, 0, 2, 0xff, 0]);
    (capable.uid, capable.gid) = (3_000_000, 70);
    for (text, entry) in [
        ("usr", directory(0o1777)),
        (long.as_str(), file(memory.put(b"long"), 0o644)),
        ("usr/bin", directory(0o755)),
        ("usr/bin/ping", capable.clone()),
        ("usr/bin/ping6", Entry::new(0, Node::Hardlink(path("usr/bin/ping")))),
        ("usr/Főtanúsítvány.crt", file(memory.put(&[7; 512]), 0o600)),
        ("usr/empty", file(memory.put(b""), 0o644)),
        ("usr/link", symlink("x/".repeat(80))),
    ] {
        tree.insert(path(text), entry);
    }
    tree
}

#[test]
fn an_archive_reads_back_as_the_tree() {
    let mut memory = Memory::default();
    let tree = peculiar(&mut memory);
    let bytes = archive(&memory, &tree, 9_000_000_000).unwrap();
    assert_eq!(bytes.len() % 512, 0);
    assert_eq!(bytes[bytes.len() - 1024..], [0; 1024]);
    let mut archive = tar::Archive::new(bytes.as_slice());
    let mut names = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        let expected = tree.get(&path(&name)).unwrap();
        let pax: BTreeMap<String, Vec<u8>> = entry
            .pax_extensions()
            .unwrap()
            .unwrap()
            .map(|record| record.unwrap())
            .map(|record| (record.key().unwrap().to_owned(), record.value_bytes().to_vec()))
            .collect();
        assert_eq!(pax["mtime"], b"9000000000");
        assert_eq!((entry.header().username(), entry.header().groupname()), (Ok(Some("")), Ok(Some(""))));
        match &expected.node {
            Node::Directory => assert!(name.ends_with('/') && entry.header().entry_type().is_dir()),
            Node::Symlink(target) => assert_eq!(entry.link_name_bytes().unwrap(), target.as_bytes()),
            Node::Hardlink(target) => {
                assert!(entry.header().entry_type().is_hard_link());
                assert_eq!(entry.link_name_bytes().unwrap(), target.as_str().as_bytes());
            }
            Node::File(content) => {
                let mut read = Vec::new();
                entry.read_to_end(&mut read).unwrap();
                assert_eq!(Digest::of(read), content.blob);
                assert_eq!(entry.header().mode().unwrap(), expected.mode);
                for (name, value) in &expected.xattrs {
                    assert_eq!(&pax[&format!("SCHILY.xattr.{name}")], value);
                }
                if expected.uid != 0 {
                    assert_eq!((pax["uid"].as_slice(), entry.header().gid().unwrap()), (&b"3000000"[..], 70));
                }
            }
        }
        names.push(name.trim_end_matches('/').to_owned());
    }
    let expected: Vec<_> = tree.iter().map(|(path, _)| path.to_string()).collect();
    assert_eq!(names, expected);
}

#[test]
fn plain_entries_need_no_pax_header() {
    let mut memory = Memory::default();
    let mut tree = Tree::new();
    tree.insert(path("etc"), directory(0o755));
    tree.insert(path("etc/x"), file(memory.put(b"x"), 0o644));
    assert_eq!(archive(&memory, &tree, 1).unwrap().len(), 512 * (1 + 2 + 2));
}

#[test]
fn a_link_before_its_file_is_a_copy() {
    let mut memory = Memory::default();
    let mut tree = Tree::new();
    tree.insert(path("b"), file(memory.put(b"x"), 0o644));
    tree.insert(path("a"), Entry::new(0o644, Node::Hardlink(path("b"))));
    let bytes = archive(&memory, &tree, 1).unwrap();
    let kinds: Vec<_> =
        tar::Archive::new(bytes.as_slice()).entries().unwrap().map(|e| e.unwrap().header().entry_type()).collect();
    assert_eq!(kinds, [tar::EntryType::Regular, tar::EntryType::Regular]);
}

#[test]
fn what_cannot_be_written_is_an_error_that_names_the_path() {
    let mut memory = Memory::default();
    let content = memory.put(b"four");
    let with = |entry: Entry| {
        let mut tree = Tree::new();
        tree.insert(path("etc/x"), entry);
        tree
    };
    let mut attribute = file(content, 0o644);
    attribute.xattrs.insert("user.a=b".to_owned(), vec![]);
    let cases = [
        (with(file(Content { size: 5, ..content }, 0o644)), "`etc/x` for a layer: it ends after 4 of 5 bytes"),
        (with(file(Content { offset: 9, ..content }, 0o644)), "it ends after 0 of 4 bytes"),
        (with(file(Content { blob: Digest::of("other"), ..content }, 0o644)), "content of `etc/x` for a layer: entity"),
        (with(attribute), "extended attribute named \"user.a=b\""),
        (with(Entry::new(0o644, Node::Hardlink(path("gone")))), "a hard link to `gone`"),
    ];
    for (tree, expected) in cases {
        let message = archive(&memory, &tree, 1).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn every_codec_gives_the_same_bytes_for_any_threads_and_measures_as_written() {
    let mut memory = Memory::default();
    let mut tree = peculiar(&mut memory);
    let large: Vec<u8> = (0..20_u32 << 20).map(|n| (n.wrapping_mul(n) >> 13).to_le_bytes()[0]).collect();
    tree.insert(path("usr/large"), file(memory.put(&large), 0o644));
    let codecs = [Codec::Gzip(GzipLevel::new(1).unwrap()), Codec::Zstd(ZstdLevel::new(3).unwrap()), Codec::None];
    let mut diff_ids = Vec::new();
    for codec in codecs {
        let write = |threads| {
            let mut out = Vec::new();
            let info = write_layer(&memory, &tree, epoch(0), codec, threads, &mut out).unwrap();
            assert_eq!(info.blob, Blob { digest: Digest::of(&out), size: out.len() as u64 });
            (info, out)
        };
        let (info, bytes) = write(1);
        assert_eq!((info, &bytes), (write(2).0, &write(4).1), "{codec:?}");
        assert_eq!(measure(bytes.as_slice(), codec.media_type()).unwrap(), info, "{codec:?}");
        assert_eq!(info.extracted, large.len() as u64 + 4 + 4 + 512);
        diff_ids.push(info.diff_id);
        assert!(measure(&bytes[..bytes.len() - 600], codec.media_type()).is_err() || codec == Codec::None);
    }
    assert!(diff_ids.iter().all(|id| *id == diff_ids[0]));
    assert!(matches!(measure(&b""[..], "text/html"), Err(ReadError::MediaType(_))));
    assert!(measure(&b"not gzip"[..], "application/vnd.docker.image.rootfs.diff.tar.gzip").is_err());
}

#[test]
fn every_part_of_an_entry_is_part_of_the_key() {
    let mut memory = Memory::default();
    let content = memory.put(b"four");
    let key = |at: &str, entry: &Entry, seconds, codec| {
        let mut tree = Tree::new();
        tree.insert(path(at), entry.clone());
        layer_key(&tree, epoch(seconds), codec).digest()
    };
    let plain = file(content, 0o644);
    let with_attribute = |name: &str, value: &[u8]| Entry {
        xattrs: BTreeMap::from([(name.to_owned(), value.to_vec())]),
        ..plain.clone()
    };
    let gzip = Codec::default();
    let keys = [
        key("a", &plain, 1, gzip),
        key("b", &plain, 1, gzip),
        key("a", &plain, 2, gzip),
        key("a", &plain, 1, Codec::None),
        key("a", &plain, 1, Codec::Zstd(ZstdLevel::HIGHEST)),
        key("a", &plain, 1, Codec::Gzip(GzipLevel::new(6).unwrap())),
        key("a", &file(content, 0o755), 1, gzip),
        key("a", &Entry { uid: 1, ..plain.clone() }, 1, gzip),
        key("a", &Entry { gid: 1, ..plain.clone() }, 1, gzip),
        key("a", &with_attribute("user.a", b"1"), 1, gzip),
        key("a", &with_attribute("user.a", b"2"), 1, gzip),
        key("a", &with_attribute("user.b", b"1"), 1, gzip),
        key("a", &file(Content { offset: 1, ..content }, 0o644), 1, gzip),
        key("a", &file(Content { size: 3, ..content }, 0o644), 1, gzip),
        key("a", &file(memory.put(b"five"), 0o644), 1, gzip),
        key("a", &directory(0o644), 1, gzip),
        key("a", &symlink("x"), 1, gzip),
        key("a", &symlink("y"), 1, gzip),
        key("a", &Entry::new(0o777, Node::Hardlink(path("x"))), 1, gzip),
    ];
    let different: std::collections::BTreeSet<_> = keys.iter().collect();
    assert_eq!(different.len(), keys.len());
    assert_eq!(keys[0], key("a", &plain, 1, gzip));
}
