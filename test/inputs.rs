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
    fn the_directory_of_a_zip_is_bounded_before_it_is_in_memory() {
        // One entry, whose central record is repeated a million times; the end record counts them in zip64's way.
        let small = zip(&[("a", 0o644, Zipped::File(b""))]);
        let central = small.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
        let end = small.windows(4).position(|window| window == b"PK\x05\x06").unwrap();
        let (local, record) = (&small[..central], &small[central..end]);
        let count = 1_000_000_u64;
        let size = count * record.len() as u64;
        let mut bytes = [local, &record.repeat(1_000_000)].concat();
        let end64 = bytes.len() as u64;
        bytes.extend(b"PK\x06\x06");
        bytes.extend(44_u64.to_le_bytes());
        bytes.extend([45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        for number in [count, count, size, central as u64] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(b"PK\x06\x07\0\0\0\0");
        bytes.extend(end64.to_le_bytes());
        bytes.extend(1_u32.to_le_bytes());
        bytes.extend(b"PK\x05\x06\0\0\0\0");
        bytes.extend([0xff; 12]);
        bytes.extend([0, 0]);
        let error = Place::new().unpack(&bytes, Format::Zip).unwrap_err();
        assert!(matches!(error, ArchiveError::TooManyEntries { .. }), "{error}");
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

mod downloads {
    use std::{
        sync::{Arc, Mutex},
        time::Duration,
    };

    use kletimg::{
        base::{
            Blob, Digest,
            progress::{Progress, Silent, Task},
        },
        host::files,
        inputs::{
            fetch::{
                Checksum, Evidence, FetchError, Fetcher, First, Mirrors, Network, Options, Original, Proxies, Sum, Why,
            },
            store::Store,
        },
    };
    use sha2::Digest as _;

    use crate::support::{
        server::{Ends, Ranges, Reply, Server, nobody},
        tls::TlsServer,
    };

    /// Long enough that no buffer on the way holds it whole.
    fn body() -> Vec<u8> {
        (0..3_000_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).take(3_000_000).collect()
    }

    fn blob_of(bytes: &[u8]) -> Blob {
        Blob { digest: Digest::of(bytes), size: bytes.len() as u64 }
    }

    fn options() -> Options {
        Options {
            proxies: Proxies::None,
            // Long enough for a busy machine to do something.
            stall_timeout: Duration::from_millis(1500),
            first_pause: Duration::from_millis(5),
            retries: 3,
            ..Options::default()
        }
    }

    struct Place {
        folder: tempfile::TempDir,
        store: Store,
        fetcher: Fetcher,
    }

    impl Place {
        fn new(options: Options) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let store = Store::new(folder.path().join("store"));
            let fetcher = Fetcher::new(store.clone(), options, Arc::new(Silent));
            Self { folder, store, fetcher }
        }

        async fn pinned(&self, url: &str, bytes: &[u8]) -> Result<Blob, FetchError> {
            self.fetcher.pinned("the tool", url, Digest::of(bytes), None).await
        }

        async fn first(&self, url: &str, file: String) -> Result<First, FetchError> {
            self.fetcher.first("the tool", url, &Checksum::File { url: file }).await
        }

        /// Fails unless the store holds nothing at all, not even a temporary file.
        fn assert_empty(&self) {
            for folder in ["blobs/sha256", "scratch"] {
                assert_eq!(files::names(&self.store.root().join(folder)).unwrap(), Vec::<String>::new());
            }
        }
    }

    fn whys(error: FetchError) -> Vec<Why> {
        match error {
            FetchError::Failed { tried, .. } => tried.into_iter().map(|tried| tried.why).collect(),
            other => panic!("not a failed download: {other}"),
        }
    }

    #[tokio::test]
    async fn a_file_is_fetched_once() {
        let (server, place) = (Server::start().await, Place::new(options()));
        let url = server.on("/tool", [Reply::ok(body())]);
        for _ in 0..2 {
            assert_eq!(place.pinned(&url, &body()).await.unwrap(), blob_of(&body()));
        }
        assert_eq!(server.asked().len(), 1);
        assert_eq!(server.asked()[0].headers["accept-encoding"], "identity");
    }

    #[tokio::test]
    async fn equal_files_wanted_at_once_are_fetched_once() {
        let (server, place) = (Server::start().await, Place::new(options()));
        let url = server.on("/tool", [Reply::ok(body())]);
        let bytes = body();
        let futures = (0..8).map(|_| place.pinned(&url, &bytes));
        assert!(futures::future::join_all(futures).await.iter().all(Result::is_ok));
        assert_eq!(server.asked().len(), 1);
    }

    #[tokio::test]
    async fn downloads_at_the_same_time_are_bounded() {
        let server = Server::start().await;
        let place = Place::new(Options { parallel: 2, ..options() });
        let files: Vec<_> = (0..6)
            .map(|n| {
                let bytes = vec![n; 500_000];
                (server.on(&format!("/{n}"), [Reply::ok(bytes.clone())]), bytes)
            })
            .collect();
        let futures = files.iter().map(|(url, bytes)| place.pinned(url, bytes));
        assert!(futures::future::join_all(futures).await.iter().all(Result::is_ok));
        assert!(server.busiest() <= 2, "{}", server.busiest());
    }

    #[tokio::test]
    async fn a_download_that_breaks_off_goes_on_where_it_stopped() {
        for ends in [Ends::CutAfter(2_000_000), Ends::ResetAfter(2_000_000), Ends::StallsAfter(2_000_000)] {
            let (server, place) = (Server::start().await, Place::new(options()));
            let good = Reply::ok(body()).tagged("v1");
            let url = server.on("/tool", [good.clone().ends(ends), good]);
            assert_eq!(place.pinned(&url, &body()).await.unwrap(), blob_of(&body()));
            let asked = server.asked();
            assert_eq!(asked.len(), 2);
            assert_eq!(asked[1].headers["if-range"], "\"v1\"");
            let from: u64 = asked[1].headers["range"]["bytes=".len()..].trim_end_matches('-').parse().unwrap();
            assert!(from > 0 && from <= 2_000_000, "{from}");
        }
    }

    #[tokio::test]
    async fn the_time_of_the_last_change_is_a_validator_too() {
        let (server, place) = (Server::start().await, Place::new(options()));
        let time = "Wed, 13 Jan 2021 13:15:21 GMT";
        let good = Reply::ok(body()).header("Last-Modified", time).header("ETag", "W/\"weak\"");
        let good = good.ranges(Ranges::For(time.to_owned()));
        let url = server.on("/tool", [good.clone().ends(Ends::CutAfter(1_000_000)), good]);
        place.pinned(&url, &body()).await.unwrap();
        assert_eq!(server.asked()[1].headers["if-range"], time);
    }

    #[tokio::test]
    async fn without_a_range_it_begins_again() {
        let cut = Ends::CutAfter(2_000_000);
        let good = || Reply::ok(body());
        let cases = [
            ("no validator", vec![good().ends(cut), good()], 2, false),
            (
                "ranges are ignored",
                vec![good().header("ETag", "\"a\"").ends(cut), good().header("ETag", "\"a\"")],
                2,
                true,
            ),
            (
                "another file meanwhile",
                vec![Reply::ok(vec![1; 3_000_000]).tagged("old").ends(cut), good().tagged("new")],
                2,
                true,
            ),
            (
                "another piece than asked",
                vec![good().tagged("a").ends(cut), good().tagged("a").ranges(Ranges::From(7)), good()],
                3,
                true,
            ),
            ("shorter meanwhile", vec![good().tagged("a").ends(cut), Reply::status(416), good()], 3, true),
            (
                "a server that mixes two files up",
                vec![
                    Reply::ok(vec![1; 3_000_000]).tagged("a").ends(cut),
                    good().tagged("a").ranges(Ranges::Unchecked),
                    good(),
                ],
                3,
                true,
            ),
        ];
        for (name, replies, requests, asks_range) in cases {
            let (server, place) = (Server::start().await, Place::new(options()));
            let url = server.on("/tool", replies);
            let blob = place.pinned(&url, &body()).await.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(blob, blob_of(&body()), "{name}");
            assert_eq!(server.asked().len(), requests, "{name}");
            assert_eq!(server.asked()[1].headers.contains_key("range"), asks_range, "{name}");
        }
    }

    #[tokio::test]
    async fn a_download_that_always_breaks_off_ends_in_an_error() {
        for ends in [Ends::CutAfter(0), Ends::CutAfter(1000), Ends::ResetAfter(1000), Ends::StallsAfter(1000)] {
            let (server, place) = (Server::start().await, Place::new(Options { retries: 2, ..options() }));
            let url = server.on("/tool", [Reply::ok(body()).ends(ends)]);
            let error = place.pinned(&url, &body()).await.unwrap_err();
            assert!(error.to_string().contains("of 3000000 bytes"), "{error}");
            assert!(matches!(whys(error)[..], [Why::Interrupted { expected: Some(3_000_000), .. }]));
            assert_eq!(server.asked().len(), 3);
            place.assert_empty();
        }
    }

    /// Of a host that takes questions and says nothing the user waits for one answer, not for one with each file.
    #[tokio::test]
    async fn a_mirror_that_never_answers_is_asked_once() {
        let (silent, good) = (Server::start().await, Server::start().await);
        let mut mirrors = Mirrors::default();
        mirrors.add("https://tools.test", [silent.url.as_str(), good.url.as_str()], Original::Never).unwrap();
        let place = Place::new(Options { mirrors, ..options() });
        for name in ["/a", "/b", "/c"] {
            silent.on(name, [Reply::ok(name).ends(Ends::StallsAfter(0))]);
            good.on(name, [Reply::ok(name)]);
            place.pinned(&format!("https://tools.test{name}"), name.as_bytes()).await.unwrap();
        }
        assert_eq!((silent.asked().len(), good.asked().len()), (1, 3));
    }

    #[tokio::test]
    async fn a_body_without_length_is_held_to_the_pinned_size() {
        let (server, place) = (Server::start().await, Place::new(options()));
        let url = server.on("/tool", [Reply::ok(&body()[..1000]).without_length(), Reply::ok(body()).without_length()]);
        let blob = place.fetcher.pinned("tool", &url, Digest::of(body()), Some(3_000_000)).await.unwrap();
        assert_eq!(blob, blob_of(&body()));
        assert_eq!(server.asked().len(), 2);
    }

    #[tokio::test]
    async fn a_busy_server_is_asked_again() {
        for status in [408, 429, 500, 502, 503, 504] {
            let (server, place) = (Server::start().await, Place::new(options()));
            let busy = Reply::status(status);
            let url = server.on("/tool", [busy.clone(), busy.header("Retry-After", "0"), Reply::ok("x")]);
            place.pinned(&url, b"x").await.unwrap();
            assert_eq!(server.asked().len(), 3);
        }
        let (server, place) = (Server::start().await, Place::new(options()));
        let url = server.on("/tool", [Reply::status(429).header("Retry-After", "1"), Reply::ok("x")]);
        let began = std::time::Instant::now();
        place.pinned(&url, b"x").await.unwrap();
        assert!(began.elapsed() >= Duration::from_secs(1), "Retry-After was not honoured");
        let url = server.on("/never", [Reply::status(429).header("Retry-After", "3600"), Reply::ok("x")]);
        let error = place.pinned(&url, b"y").await.unwrap_err().to_string();
        assert!(
            error.contains("HTTP 429 and asks to wait 3600 s") && error.contains("--mirror http://127.0.0.1"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn what_will_not_change_is_not_asked_again() {
        for (status, words) in [
            (404, "there is no such file"),
            (410, "no such file"),
            (403, "refuses access"),
            (401, "refuses"),
            (400, "HTTP 400"),
        ] {
            let (server, place) = (Server::start().await, Place::new(options()));
            let url = server.on("/tool", [Reply::status(status)]);
            let error = place.pinned(&url, b"x").await.unwrap_err().to_string();
            assert!(error.starts_with(&format!("fetching the tool: {url}: ")) && error.contains(words), "{error}");
            assert_eq!(server.asked().len(), 1);
            place.assert_empty();
        }
    }

    #[tokio::test]
    async fn wrong_bytes_are_not_kept() {
        let (server, place) = (Server::start().await, Place::new(options()));
        let url = server.on("/tool", [Reply::ok("evil")]);
        let error = place.pinned(&url, b"good").await.unwrap_err().to_string();
        for part in [&url, &Digest::of("good").to_string(), &Digest::of("evil").to_string(), "kletimg matrix lock"] {
            assert!(error.contains(part), "{part}: {error}");
        }
        assert_eq!(server.asked().len(), 1);
        place.assert_empty();
    }

    #[tokio::test]
    async fn what_is_too_large_is_not_read_to_its_end() {
        let server = Server::start().await;
        let place = Place::new(Options { largest: 1000, ..options() });
        let declared = server.on("/declared", [Reply::ok(body())]);
        let endless = server.on("/endless", [Reply::ok(body()).without_length()]);
        for url in [&declared, &endless] {
            assert!(matches!(whys(place.pinned(url, &body()).await.unwrap_err())[..], [Why::TooLarge { limit: 1000 }]));
            let error = place.fetcher.small("index", url, 10).await.unwrap_err();
            assert!(matches!(whys(error)[..], [Why::TooLarge { limit: 10 }]));
        }
        let error = place.fetcher.pinned("tool", &declared, Digest::of("x"), Some(7)).await.unwrap_err();
        assert!(matches!(whys(error)[..], [Why::WrongSize { expected: 7, actual: 3_000_000 }]));
        let error = place.fetcher.pinned("tool", &endless, Digest::of("x"), Some(7)).await.unwrap_err();
        assert!(matches!(whys(error)[..], [Why::TooLarge { limit: 7 }]));
        place.assert_empty();
    }

    #[tokio::test]
    async fn redirections_are_followed_but_not_forever() {
        let (server, place) = (Server::start().await, Place::new(options()));
        server.on("/there", [Reply::ok("x")]);
        let url = server.on("/here", [Reply::redirect("/there")]);
        place.pinned(&url, b"x").await.unwrap();
        server.on("/a", [Reply::redirect("/b")]);
        for (path, to) in [("/b", "/a"), ("/c", "ftp://elsewhere/"), ("/d", "file:///etc/passwd")] {
            let url = server.on(path, [Reply::redirect(to)]);
            let error = place.pinned(&url, b"y").await.unwrap_err();
            assert!(!matches!(whys(error)[..], [Why::Interrupted { .. }]), "{to}");
        }
        let error = place.pinned(&format!("{}/a", server.url), b"y").await.unwrap_err().to_string();
        assert!(error.contains("goes around in circles"), "{error}");
        assert!(server.asked().len() < 60);
    }

    #[tokio::test]
    async fn a_host_that_cannot_be_reached_is_named() {
        let place = Place::new(Options { first_pause: Duration::from_millis(100), retries: 5, ..options() });
        let nobody = nobody();
        for (url, host) in [
            (format!("{nobody}/tool"), nobody.trim_start_matches("http://")),
            ("http://nothing.invalid/x".to_owned(), "nothing.invalid"),
        ] {
            let error = place.pinned(&url, b"x").await.unwrap_err();
            let text = error.to_string();
            assert!(text.contains(&format!("cannot reach {host}: ")), "{text}");
            for part in [&format!("--mirror http://{host}/=URL"), "--offline"] {
                assert!(text.contains(part), "{text}");
            }
            assert!(matches!(whys(error)[..], [Why::Unreachable { .. }]));
        }
        place.assert_empty();
    }

    #[tokio::test]
    async fn passwords_are_never_shown() {
        let (server, place) = (Server::start().await, Place::new(options()));
        let with_password = |url: &str| url.replace("http://", "http://user:s3cret@");
        let url = with_password(&server.on("/x", [Reply::status(404)]));
        let reset = with_password(&server.on("/r", [Reply::ok(body()).ends(Ends::ResetAfter(0))]));
        let around = with_password(&server.on("/l", [Reply::redirect("/l")]));
        let urls = [&url, &reset, &around, &with_password(&nobody()), "http://user:s3cret@[/", "ftp://user:s3cret@h/"];
        for url in urls {
            let error = place.pinned(url, b"x").await.unwrap_err();
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
        }
        let offline = Place::new(Options { network: Network::Offline, ..options() });
        let error = offline.pinned(&url, b"x").await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
        assert_eq!(server.asked()[0].headers["authorization"], "Basic dXNlcjpzM2NyZXQ=");
    }

    #[tokio::test]
    async fn mirrors_are_tried_in_order() {
        let (good, bad) = (Server::start().await, Server::start().await);
        let original = bad.on("/release/v1/tool", [Reply::status(404)]);
        bad.on("/wrong/v1/tool", [Reply::ok("evil")]);
        good.on("/m/v1/tool", [Reply::ok("good")]);
        let (down, wrong, right) = (nobody(), format!("{}/wrong", bad.url), format!("{}/m/", good.url));
        let mut mirrors = Mirrors::default();
        mirrors.add(&format!("{}/release", bad.url), [down.as_str(), &wrong, &right], Original::Last).unwrap();
        let place = Place::new(Options { mirrors: mirrors.clone(), ..options() });
        place.pinned(&original, b"good").await.unwrap();
        assert_eq!(bad.asked().len(), 1, "the original is not asked when a mirror has the file");

        let error = place.pinned(&original, b"other").await.unwrap_err();
        let text = error.to_string();
        for part in [down.as_str(), &wrong, right.trim_end_matches('/'), &original, "no place gave it"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let whys = whys(error);
        let expected = matches!(
            whys[..],
            [Why::Unreachable { .. }, Why::WrongSum { .. }, Why::WrongSum { .. }, Why::NotFound { .. }]
        );
        assert!(expected, "{whys:?}");

        let mut alone = Mirrors::default();
        alone.add(&bad.url, [down.as_str()], Original::Never).unwrap();
        let place = Place::new(Options { mirrors: alone, ..options() });
        let asked = bad.asked().len();
        assert!(place.pinned(&original, b"good").await.is_err());
        assert_eq!(bad.asked().len(), asked);
    }

    #[tokio::test]
    async fn a_mirror_that_is_down_is_waited_for_once() {
        let good = Server::start().await;
        let mut mirrors = Mirrors::default();
        mirrors.add("https://original.test", [nobody().as_str(), &good.url], Original::Never).unwrap();
        // What a host that refuses connections costs.
        let first_pause = Duration::from_secs(1);
        let place = Place::new(Options { mirrors, first_pause, ..options() });
        let began = std::time::Instant::now();
        for file in ["a", "b", "c", "d"] {
            good.on(&format!("/{file}"), [Reply::ok(file)]);
            place.pinned(&format!("https://original.test/{file}"), file.as_bytes()).await.unwrap();
        }
        assert!(began.elapsed() < 3 * first_pause, "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn a_folder_may_be_a_mirror_even_offline() {
        let place = Place::new(options());
        let folder = place.folder.path().join("mir ror");
        files::write(&folder.join("v1.0+x/tool"), b"local", 0o644).unwrap();
        let mut mirrors = Mirrors::default();
        mirrors
            .add(
                "https://h.invalid/",
                [format!("file://{}", folder.display()).replace(' ', "%20").as_str()],
                Original::Last,
            )
            .unwrap();
        for network in [Network::Online, Network::Offline] {
            let place = Place::new(Options { mirrors: mirrors.clone(), network, ..options() });
            let url = "https://h.invalid/v1.0%2Bx/tool";
            place.pinned(url, b"local").await.unwrap();
            assert_eq!(place.fetcher.small("tool", url, 5).await.unwrap(), b"local");
            assert!(matches!(
                whys(place.fetcher.small("tool", url, 4).await.unwrap_err())[..],
                [Why::TooLarge { .. }, ..]
            ));
        }
        let missing = format!("file://{}/missing", folder.display()).replace(' ', "%20");
        let error = place.pinned(&missing, b"x").await.unwrap_err().to_string();
        assert!(error.contains("there is no file") && error.contains("mir ror/missing"), "{error}");
        let error = place.pinned(&format!("file://{}", place.folder.path().display()), b"x").await.unwrap_err();
        assert!(matches!(whys(error)[..], [Why::MissingFile { .. }]));
    }

    #[tokio::test]
    async fn offline_uses_only_what_is_stored() {
        let server = Server::start().await;
        let place = Place::new(Options { network: Network::Offline, ..options() });
        let url = server.on("/tool", [Reply::ok("x")]);
        place.store.put(b"stored").unwrap();
        place.pinned(&url, b"stored").await.unwrap();
        let error = place.pinned(&url, b"x").await.unwrap_err().to_string();
        assert!(error.contains("kletimg matrix fetch") && error.contains("drop `--offline`"), "{error}");
        assert!(place.fetcher.small("index", &url, 9).await.is_err());
        assert!(server.asked().is_empty());
    }

    #[tokio::test]
    async fn a_first_fetch_is_verified_by_the_publisher() {
        let (server, place) = (Server::start().await, Place::new(options()));
        let url = server.on("/v1/tool.tgz", [Reply::ok("tool")]);
        let sha256 = Digest::of("tool").hex();
        // SHA-512 is two times the 32 bytes that `Digest` knows how to write.
        let sha512 = |bytes: &str| {
            let sum = sha2::Sha512::digest(bytes);
            [&sum[..32], &sum[32..]].map(|half| Digest::from_bytes(half.try_into().unwrap()).hex()).concat()
        };
        let json = format!(r#"{{"a": {{"tarball": "{url}", "shasum": "{sha256}"}}}}"#);
        for text in
            [sha256.clone(), format!("{}  tool.tgz\n", sha512("tool")), format!("SHA256 (tool.tgz) = {sha256}"), json]
        {
            let place = Place::new(options());
            let first = place.first(&url, server.on("/sum", [Reply::ok(text.clone())])).await.unwrap();
            assert_eq!(first.blob, blob_of(b"tool"), "{text}");
            assert!(matches!(&first.evidence, Evidence::ChecksumFile { url, .. } if url.ends_with("/sum")));
            assert!(place.store.has(&first.blob));
        }
        for (text, words) in [
            (Digest::of("other").hex(), Digest::of("other").to_string()),
            (sha512("other"), format!("sha512:{}", sha512("tool"))),
            (format!("{sha256}  other.tgz"), "does not name `tool.tgz`; it names `other.tgz`".to_owned()),
            ("d41d8cd98f00b204e9800998ecf8427e".to_owned(), "MD5".to_owned()),
            ("<html>".to_owned(), "no digest at all".to_owned()),
        ] {
            let file = server.on("/sum", [Reply::ok(text.clone())]);
            let error = place.first(&url, file.clone()).await.unwrap_err().to_string();
            assert!(error.contains(&words), "{error}");
            assert!(error.contains(&file) || error.contains(&url), "{error}");
        }
        let error = place.first(&url, server.on("/none", [Reply::status(404)])).await.unwrap_err().to_string();
        assert!(error.starts_with("fetching the checksum file of the tool: ") && error.contains("/none"), "{error}");
        let file = server.on("/binary", [Reply::ok([0xff, 0xfe])]);
        assert!(matches!(place.first(&url, file).await, Err(FetchError::ChecksumNotText { .. })));
        place.assert_empty();
        for sum in [sha256, sha512("tool")] {
            let sum: Sum = sum.parse().unwrap();
            let first = place.fetcher.first("tool", &url, &Checksum::Given(sum)).await.unwrap();
            assert_eq!((first.blob, first.evidence), (blob_of(b"tool"), Evidence::Given { sum }));
        }
    }

    #[derive(Default)]
    struct Told {
        started: Vec<String>,
        bytes: u64,
        done: Vec<String>,
    }

    #[derive(Default)]
    struct Recorder(Arc<Mutex<Told>>);

    impl Progress for Recorder {
        fn start(&self, what: &str, bytes: Option<u64>) -> Box<dyn Task> {
            self.0.lock().unwrap().started.push(format!("{what} {bytes:?}"));
            Box::new(Self(Arc::clone(&self.0)))
        }

        fn note(&self, _: &str) {}
    }

    impl Task for Recorder {
        fn advance(&self, bytes: u64) {
            self.0.lock().unwrap().bytes += bytes;
        }

        fn done(&self, how: &str) {
            self.0.lock().unwrap().done.push(how.to_owned());
        }
    }

    #[tokio::test]
    async fn progress_counts_every_byte_once() {
        let server = Server::start().await;
        let url = server.on("/tool", [Reply::ok(body()).ends(Ends::CutAfter(2_000_000)), Reply::ok(body())]);
        let folder = tempfile::tempdir().unwrap();
        let recorder = Recorder::default();
        let told = Arc::clone(&recorder.0);
        let fetcher = Fetcher::new(Store::new(folder.path()), options(), Arc::new(recorder));
        fetcher.pinned("the tool", &url, Digest::of(body()), Some(3_000_000)).await.unwrap();
        let told = told.lock().unwrap();
        assert_eq!(told.started, ["the tool Some(3000000)"]);
        assert_eq!((told.bytes, told.done.concat()), (3_000_000, "2.86 MiB".to_owned()));
    }

    #[tokio::test]
    async fn certificate_files_are_checked_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (text, words) in
            [(None, "ca.pem"), (Some("no pem"), "holds no certificate"), (Some(broken), "cannot be used")]
        {
            if let Some(text) = text {
                files::write(&path, text.as_bytes(), 0o644).unwrap();
            }
            let place = Place::new(Options { ca_certificates: vec![path.clone()], ..options() });
            let error = place.pinned("https://nothing.invalid/x", b"x").await.unwrap_err().to_string();
            assert!(error.contains("--ca-cert") && error.contains("ca.pem") && error.contains(words), "{error}");
        }
    }

    #[tokio::test]
    async fn only_known_authorities_are_trusted() {
        let Some(server) = TlsServer::start() else { return };
        let url = server.on("tool", "HTTP/1.0 200 OK\nContent-Length: 4\n\ntool");
        let error = Place::new(options()).pinned(&url, b"tool").await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("no trusted connection to 127.0.0.1:") && text.contains("--ca-cert FILE"), "{text}");
        assert!(matches!(whys(error)[..], [Why::Tls { .. }]));

        let place = Place::new(Options { ca_certificates: vec![server.authority()], ..options() });
        place.pinned(&url, b"tool").await.unwrap();
        let plain = Server::start().await;
        let target = plain.on("/tool", [Reply::ok("down")]);
        let down = server.on("down", &format!("HTTP/1.0 302 Found\nLocation: {target}\nContent-Length: 0\n\n"));
        let error = place.pinned(&down, b"down").await.unwrap_err().to_string();
        assert!(error.contains("leads from https down to http"), "{error}");
        assert!(plain.asked().is_empty());
    }

    /// Runs [`child_without_authorities`] in a process whose environment hides the system's certificates.
    #[tokio::test]
    async fn a_machine_without_authorities_can_still_use_http() {
        let server = Server::start().await;
        let url = server.on("/tool", [Reply::ok("tool")]);
        let folder = tempfile::tempdir().unwrap();
        let child = tokio::process::Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "downloads::child_without_authorities", "--nocapture"])
            .env("SSL_CERT_FILE", folder.path().join("none.pem"))
            .env("SSL_CERT_DIR", folder.path())
            .env("KLETIMG_TEST_URL", url)
            .output()
            .await
            .unwrap();
        assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
        assert_eq!(server.asked().len(), 1);
    }

    #[tokio::test]
    #[ignore = "runs as a child of `a_machine_without_authorities_can_still_use_http`"]
    async fn child_without_authorities() {
        let place = Place::new(options());
        place.pinned(&std::env::var("KLETIMG_TEST_URL").unwrap(), b"tool").await.unwrap();
        let error = place.pinned("https://nothing.invalid/x", b"x").await.unwrap_err().to_string();
        assert!(
            error.contains("no CA certificates") && error.contains("ca-certificates, or name a PEM file"),
            "{error}"
        );
    }
}
