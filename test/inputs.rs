//! Bytes from outside: archives that are wrong in every way, and a server that lies.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod support;

mod archives {
    use std::io::Read as _;

    use kletimg::{
        base::{Node, Tree, TreePath},
        host::files,
        inputs::{
            archive::{ArchiveError, Compression, Devices, Format, Limits, Refusal, materialise, select, unpack},
            store::Store,
        },
    };
    use tar::{EntryType, Header};

    use crate::support::{
        archives::{Tar, Zipped, deb, gzip, xz, zip, zstd},
        parts,
    };

    const TAR: Format = Format::Tar(Compression::None);
    const TAR_GZ: Format = Format::Tar(Compression::Gzip);

    struct Place {
        _folder: tempfile::TempDir,
        store: Store,
    }

    impl Place {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let store = Store::new(folder.path().join("store"));
            Self { _folder: folder, store }
        }

        fn unpack(&self, bytes: &[u8], format: Format) -> Result<Tree, ArchiveError> {
            unpack(&self.store, &self.store.put(bytes).unwrap(), format, &Limits::default())
        }

        fn text(&self, tree: &Tree, path: &str) -> String {
            let mut text = String::new();
            let content = select::member(tree, path).unwrap();
            self.store.content(&content).unwrap().read_to_string(&mut text).unwrap();
            text
        }

        fn blobs(&self) -> usize {
            files::names(&self.store.root().join("blobs/sha256")).unwrap().len()
        }
    }

    fn at(path: &str) -> TreePath {
        TreePath::new(path).unwrap()
    }

    fn sample() -> Tar {
        Tar::new()
            .folder("./")
            .folder("./bin/")
            .file("./bin/tool", b"tool")
            .hardlink("bin/same", "./bin/tool")
            .symlink("./bin/sh", "/bin/tool")
            .pax(&[("SCHILY.xattr.security.capability", b"\x01\n=\n\xff"), ("uid", b"70000")])
            .file("long/er", &[7; 1000])
    }

    fn refusal(error: ArchiveError) -> (String, Refusal) {
        match error {
            ArchiveError::Refused { entry, why } => (entry, why),
            other => panic!("not refused, but: {other}"),
        }
    }

    #[test]
    fn every_compression_of_a_tar_gives_the_same_tree() {
        let tar = sample().finish();
        let whole = Place::new().unpack(&tar, TAR).unwrap();
        let cases = [
            (gzip(&tar), Format::Tar(Compression::Gzip)),
            ([gzip(&tar[..700]), gzip(&tar[700..])].concat(), Format::Tar(Compression::Gzip)),
            (xz(&tar), Format::Tar(Compression::Xz)),
            (zstd(&tar), Format::Tar(Compression::Zstd)),
            ([zstd(&tar[..512]), zstd(&tar[512..])].concat(), Format::Tar(Compression::Zstd)),
            (deb("data.tar", &tar), Format::Deb),
            (deb("data.tar.gz", &gzip(&tar)), Format::Deb),
            (deb("data.tar.xz", &xz(&tar)), Format::Deb),
            (deb("data.tar.zst", &zstd(&tar)), Format::Deb),
        ];
        for (bytes, format) in cases {
            let place = Place::new();
            let tree = place.unpack(&bytes, format).unwrap();
            if let Format::Tar(_) = format {
                assert_eq!(tree, whole, "{format}");
            }
            assert_eq!(place.text(&tree, "bin/same"), "tool", "{format}");
            assert_eq!(place.text(&tree, "long/er"), "\u{7}".repeat(1000), "{format}");
        }
    }

    #[test]
    fn entries_keep_what_they_are() {
        let place = Place::new();
        let tree = place.unpack(&sample().finish(), TAR).unwrap();
        let paths: Vec<_> = tree.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(paths, ["bin", "bin/same", "bin/sh", "bin/tool", "long/er"]);
        assert_eq!(tree.get(&at("bin/same")).unwrap().node, Node::Hardlink(at("bin/tool")));
        assert_eq!(tree.get(&at("bin/sh")).unwrap().node, Node::Symlink("/bin/tool".to_owned()));
        let long = tree.get(&at("long/er")).unwrap();
        assert_eq!((long.uid, long.gid, long.mode), (70_000, 0, 0o644));
        assert_eq!(long.xattrs["security.capability"], b"\x01\n=\n\xff");
        assert_eq!(tree.extracted(), 1004);
    }

    #[test]
    fn names_may_be_long_in_both_ways() {
        let long = format!("{}/file", "d".repeat(200));
        let gnu = Tar::new()
            .entry(EntryType::GNULongName, "././@LongLink", "", format!("{long}\0").as_bytes())
            .file("ddd", b"gnu")
            .entry(EntryType::GNULongLink, "././@LongLink", "", format!("{long}\0").as_bytes())
            .hardlink("other", "ddd");
        let pax = Tar::new().pax(&[("path", long.as_bytes())]).file("short", b"pax");
        let place = Place::new();
        let tree = place.unpack(&gnu.finish(), TAR).unwrap();
        assert_eq!(place.text(&tree, &long), "gnu");
        assert_eq!(place.text(&tree, "other"), "gnu");
        assert_eq!(place.text(&place.unpack(&pax.finish(), TAR).unwrap(), &long), "pax");
    }

    #[test]
    fn hostile_entries_are_refused_by_name() {
        let sparse = |key: &str| Tar::new().pax(&[(key, b"1")]).file("e", b"");
        let mut not_utf8 = Header::new_ustar();
        not_utf8.as_old_mut().name[0] = 0xff;
        not_utf8.set_size(0);
        not_utf8.set_mode(0o644);
        not_utf8.set_cksum();
        let cases = [
            ("..", "../e", Tar::new().file("../e", b"x")),
            ("..", "a/../../e", Tar::new().file("a/../../e", b"x")),
            ("..", "a/../e", Tar::new().file("a/../e", b"x")),
            ("absolute", "/etc/passwd", Tar::new().file("/etc/passwd", b"x")),
            ("absolute", "/", Tar::new().folder("/")),
            ("through the symbolic link `a`", "a/e", Tar::new().symlink("a", "/etc").file("a/e", b"x")),
            ("through the symbolic link `a`", "a/b/c", Tar::new().symlink("a", "b").folder("a/b/c")),
            ("leads out", "e", Tar::new().symlink("e", "../../etc/passwd")),
            ("leads out", "b/e", Tar::new().symlink("b/l", "..").symlink("b/e", "l/../x")),
            ("no path inside", "e", Tar::new().hardlink("e", "../../etc/passwd")),
            ("no path inside", "e", Tar::new().hardlink("e", "/etc/passwd")),
            ("came before", "e", Tar::new().hardlink("e", "later").file("later", b"x")),
            ("came before", "e", Tar::new().symlink("l", "f").file("f", b"x").hardlink("e", "l")),
            ("device node", "dev/sda", Tar::new().entry(EntryType::Block, "dev/sda", "", b"")),
            ("device node", "dev/null", Tar::new().entry(EntryType::Char, "dev/null", "", b"")),
            ("named pipe", "e", Tar::new().entry(EntryType::Fifo, "e", "", b"")),
            ("sparse", "e", Tar::new().entry(EntryType::GNUSparse, "e", "", b"")),
            ("sparse", "e", sparse("GNU.sparse.major")),
            ("sparse", "e", sparse("GNU.sparse.realsize")),
            ("two sizes", "e", sparse("size")),
            ("unknown kind 'V'", "e", Tar::new().entry(EntryType::new(b'V'), "e", "", b"")),
            ("carries data", "e", Tar::new().entry(EntryType::Symlink, "e", "x", b"data")),
            ("carries data", "e", Tar::new().file("f", b"").entry(EntryType::Link, "e", "f", b"data")),
            ("UTF-8", "\u{fffd}", Tar::new().header(&not_utf8, b"")),
            ("already gave to a directory", "e", Tar::new().file("e/x", b"").symlink("e", "/etc")),
            ("NUL", "a\0b", Tar::new().pax(&[("path", b"a\0b")]).file("e", b"")),
        ];
        for (words, name, tar) in cases {
            let place = Place::new();
            let error = place.unpack(&gzip(&tar.finish()), TAR_GZ).unwrap_err();
            let text = error.to_string();
            let (entry, _) = refusal(error);
            assert!(entry == name && text.contains(words), "{name}: {text}");
            assert_eq!(place.blobs(), 1, "only what the test itself stored");
            assert!(files::names(&place.store.root().join("scratch")).unwrap().is_empty());
        }
    }

    #[test]
    fn devices_are_left_out_where_the_policy_says_so() {
        let tar = Tar::new()
            .entry(EntryType::Char, "dev/null", "", b"")
            .entry(EntryType::Fifo, "run/pipe", "", b"")
            .file("a", b"x")
            .finish();
        let place = Place::new();
        let blob = place.store.put(&tar).unwrap();
        let limits = Limits { devices: Devices::Skip, ..Limits::default() };
        let tree = unpack(&place.store, &blob, TAR, &limits).unwrap();
        assert_eq!(tree.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn a_cut_archive_is_never_taken_for_a_whole_one() {
        let tar = sample().finish();
        for end in (0..tar.len() - 1024).step_by(256) {
            let error = Place::new().unpack(&tar[..end], TAR).unwrap_err();
            assert!(matches!(error, ArchiveError::Truncated { .. }), "tar at {end}: {error}");
        }
        assert!(matches!(Place::new().unpack(&sample().unfinished(), TAR), Err(ArchiveError::Truncated { .. })));
        let noise: Vec<u8> = (0..20_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[2]).collect();
        let tar = Tar::new().file("noise", &noise).finish();
        for (name, packed, format) in [
            ("gzip", gzip(&tar), TAR_GZ),
            ("xz", xz(&tar), Format::Tar(Compression::Xz)),
            ("zstd", zstd(&tar), Format::Tar(Compression::Zstd)),
            ("deb", deb("data.tar.xz", &xz(&tar)), Format::Deb),
            ("zip", zip(&[("noise", 0o644, Zipped::File(&noise))]), Format::Zip),
        ] {
            for end in [0, 1, 100, packed.len() / 2, packed.len() - 9] {
                let place = Place::new();
                let result = place.unpack(&packed[..end], format);
                assert!(result.is_err(), "{name} at {end}");
                assert_eq!(place.blobs(), 1, "{name} at {end}");
            }
        }
    }

    #[test]
    fn changed_bytes_are_found_where_the_format_can_tell() {
        let tar = sample().finish();
        for (packed, format) in [(gzip(&tar), TAR_GZ), (xz(&tar), Format::Tar(Compression::Xz)), (tar.clone(), TAR)] {
            let mut bad = packed.clone();
            let middle = if format == TAR { 600 } else { packed.len() - 6 };
            bad[middle] ^= 0x40;
            assert!(Place::new().unpack(&bad, format).is_err(), "{format}");
        }
        for bytes in [&b"<html>404 not found</html>"[..], b"", &[0x1f, 0x8b, 8, 0]] {
            for format in
                [TAR, TAR_GZ, Format::Tar(Compression::Xz), Format::Tar(Compression::Zstd), Format::Zip, Format::Deb]
            {
                let error = Place::new().unpack(bytes, format).unwrap_err();
                assert!(error.to_string().starts_with("unpacking the archive: it "), "{format}: {error}");
            }
        }
    }

    #[test]
    fn padding_behind_a_tar_is_no_part_of_it() {
        let mut tar = sample().finish();
        tar.resize(tar.len() + 10_240, 0);
        tar.extend(b"garbage");
        let tree = Place::new().unpack(&tar, TAR).unwrap();
        assert_eq!(tree.extracted(), 1004);
    }

    /// Ten gigabytes of zeros behind a tar header that promises them.
    fn bomb_tar_gz() -> Vec<u8> {
        const SIZE: u64 = 10 << 30;
        // One deflate stream of 64 MiB of zeros, repeated as members of the gzip file.
        let zeros = gzip(&vec![0; 64 << 20]);
        let mut header = Header::new_ustar();
        header.set_path("zeros").unwrap();
        header.set_size(SIZE);
        header.set_mode(0o644);
        header.set_cksum();
        let mut bytes = gzip(header.as_bytes());
        for _ in 0..SIZE >> 26 {
            bytes.extend(&zeros);
        }
        bytes
    }

    #[test]
    fn a_bomb_ends_at_the_limit() {
        let limits = Limits { bytes: 80 << 20, ..Limits::default() };
        let bombs = [
            (bomb_tar_gz(), TAR_GZ),
            (deb("data.tar.gz", &bomb_tar_gz()), Format::Deb),
            (zip(&[("zeros", 0o644, Zipped::Zeros(100 << 20))]), Format::Zip),
            (zip(&[("a", 0o644, Zipped::Zeros(50 << 20)), ("b", 0o644, Zipped::Zeros(50 << 20))]), Format::Zip),
            (xz(&Tar::new().file("zeros", &vec![0; 100 << 20]).finish()), Format::Tar(Compression::Xz)),
        ];
        for (bytes, format) in bombs {
            let place = Place::new();
            let blob = place.store.put(&bytes).unwrap();
            let error = unpack(&place.store, &blob, format, &limits).unwrap_err();
            assert!(matches!(error, ArchiveError::TooLarge { .. }), "{format}: {error}");
            assert_eq!(place.blobs(), 1);
            assert!(files::names(&place.store.root().join("scratch")).unwrap().is_empty());
        }
    }

    #[test]
    fn the_ratio_stops_a_bomb_below_the_limit() {
        let place = Place::new();
        let blob = place.store.put(&xz(&Tar::new().file("zeros", &vec![0; 100 << 20]).finish())).unwrap();
        let error = unpack(&place.store, &blob, Format::Tar(Compression::Xz), &Limits::default()).unwrap_err();
        assert!(matches!(error, ArchiveError::TooLarge { limit: 67_108_864, .. }), "{error}");
    }

    #[test]
    fn headers_that_claim_memory_are_refused() {
        let huge = vec![b'a'; 2 << 20];
        for kind in [EntryType::GNULongName, EntryType::GNULongLink, EntryType::XHeader, EntryType::XGlobalHeader] {
            let tar = Tar::new().entry(kind, "x", "", &huge).file("y", b"").finish();
            let error = Place::new().unpack(&tar, TAR).unwrap_err();
            assert!(error.to_string().contains("longer than 1 MiB"), "{error}");
        }
    }

    #[test]
    fn entries_are_counted() {
        let tar = (0..20).fold(Tar::new(), |tar, n| tar.file(&format!("f{n}"), b"")).finish();
        let files: Vec<_> = (0..20).map(|n| format!("f{n}")).collect();
        let members: Vec<_> = files.iter().map(|name| (name.as_str(), 0o644, Zipped::File(b""))).collect();
        let place = Place::new();
        for (bytes, format) in [(tar, TAR), (zip(&members), Format::Zip)] {
            let blob = place.store.put(&bytes).unwrap();
            let limits = Limits { entries: 19, ..Limits::default() };
            let error = unpack(&place.store, &blob, format, &limits).unwrap_err();
            assert!(matches!(error, ArchiveError::TooManyEntries { limit: 19 }), "{error}");
            assert!(unpack(&place.store, &blob, format, &Limits { entries: 20, ..limits }).is_ok());
        }
    }

    #[test]
    fn extended_headers_must_describe_something() {
        for tar in [
            Tar::new().pax(&[("path", b"a")]),
            Tar::new().pax(&[("path", b"a")]).pax(&[("path", b"b")]).file("x", b""),
            Tar::new().entry(EntryType::XHeader, "x", "", b"9 broken\n").file("x", b""),
            Tar::new().entry(EntryType::XGlobalHeader, "x", "", b"10 path=a\n").file("x", b""),
        ] {
            assert!(Place::new().unpack(&tar.finish(), TAR).is_err());
        }
        let comment = Tar::new().entry(EntryType::XGlobalHeader, "x", "", b"13 comment=a\n").file("x", b"");
        assert!(Place::new().unpack(&comment.finish(), TAR).is_ok());
    }

    #[test]
    fn a_zip_is_a_tree_too() {
        let bytes = zip(&[
            ("pkg", 0o755, Zipped::Folder),
            ("pkg/zig", 0o755, Zipped::File(b"binary")),
            ("pkg/link", 0o777, Zipped::Symlink("zig")),
            ("pkg/data", 0o640, Zipped::File(b"data")),
        ]);
        let place = Place::new();
        let tree = place.unpack(&bytes, Format::Zip).unwrap();
        let modes: Vec<_> = tree.iter().map(|(path, entry)| (path.as_str(), entry.mode)).collect();
        assert_eq!(modes, [("pkg", 0o755), ("pkg/data", 0o640), ("pkg/link", 0o777), ("pkg/zig", 0o755)]);
        assert_eq!((place.text(&tree, "pkg/zig"), place.text(&tree, "pkg/data")), ("binary".into(), "data".into()));
        for (words, members) in [
            ("..", [("../e", 0o644, Zipped::File(b"x"))]),
            ("absolute", [("/e", 0o644, Zipped::File(b"x"))]),
            ("leads out", [("e", 0o777, Zipped::Symlink("../x"))]),
        ] {
            let error = Place::new().unpack(&zip(&members), Format::Zip).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        }
    }

    #[test]
    fn a_second_time_the_record_is_read() {
        let place = Place::new();
        let bytes = gzip(&sample().finish());
        let first = place.unpack(&bytes, TAR_GZ).unwrap();
        let archive = place.store.put(&bytes).unwrap();
        let content = select::member(&first, "bin/tool").unwrap().blob;
        // The archive itself is not needed any more.
        files::remove(&place.store.path(&archive.digest)).unwrap();
        assert_eq!(unpack(&place.store, &archive, TAR_GZ, &Limits::default()).unwrap(), first);
        // But the bytes that the tree points to are.
        files::remove(&place.store.path(&content)).unwrap();
        assert!(unpack(&place.store, &archive, TAR_GZ, &Limits::default()).is_err());
        place.store.put(&bytes).unwrap();
        assert_eq!(unpack(&place.store, &archive, TAR_GZ, &Limits::default()).unwrap(), first);
        assert!(place.store.blob(&content).is_some());
    }

    #[test]
    fn a_plain_file_is_the_smallest_tree() {
        let place = Place::new();
        let tree = place.unpack(b"kubelet", Format::Plain).unwrap();
        assert_eq!(place.text(&tree, kletimg::inputs::archive::PLAIN), "kubelet");
    }

    #[test]
    fn alpines_own_root_file_systems_are_read_as_tar_reads_them() {
        let Some(data) = parts::alpine_data() else { return };
        let Some(program) = parts::program("tar") else { return };
        let place = Place::new();
        for name in files::names(&data.join("minirootfs")).unwrap() {
            if Format::of_name(&name) != Some(TAR_GZ) {
                continue;
            }
            let path = data.join("minirootfs").join(&name);
            let blob = place.store.put_file(&path).unwrap();
            let tree = unpack(&place.store, &blob, TAR_GZ, &Limits::default()).unwrap();
            let listed = std::process::Command::new(&program).arg("tf").arg(&path).output().unwrap();
            let mut listed: Vec<_> =
                String::from_utf8(listed.stdout).unwrap().lines().filter_map(|line| TreePath::new(line).ok()).collect();
            listed.sort();
            assert_eq!(tree.entries.keys().cloned().collect::<Vec<_>>(), listed, "{name}");

            let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            materialise(&place.store, &tree, ours.path()).unwrap();
            let unpacked = std::process::Command::new(&program)
                .args(["--no-same-owner", "-C"])
                .arg(theirs.path())
                .arg("-xf")
                .arg(&path)
                .status()
                .unwrap();
            assert!(unpacked.success());
            for (path, entry) in tree.iter() {
                if let Node::File(content) = &entry.node {
                    let read = |folder: &tempfile::TempDir| files::read(&folder.path().join(path.as_str()), 1 << 26);
                    let bytes = read(&theirs).unwrap();
                    assert_eq!((bytes.len() as u64, &bytes), (content.size, &read(&ours).unwrap()), "{path}");
                }
            }
        }
    }

    #[test]
    fn several_at_once_do_the_work_once() {
        let place = Place::new();
        let blob = place.store.put(&gzip(&sample().finish())).unwrap();
        let trees: Vec<Tree> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| unpack(&place.store, &blob, TAR_GZ, &Limits::default()).unwrap()))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(trees.windows(2).all(|pair| pair[0] == pair[1]));
        assert_eq!(place.blobs(), 2);
    }
}
