//! What a layer costs: the archive alone (with both digests), and each codec by threads.
//!
//! `KLETIMG_BENCH_BINARY` names a real program, such as a stripped kubelet, to be the layer's content; without it this
//! program itself is repeated up to 60 MB. zstd 19 is left out: one pass takes longer than all of this.

use std::{
    hint::black_box,
    io::{self, Read},
    time::Duration,
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kletimg::{
    base::{Blob, Content, Digest, Epoch, Tree, TreePath},
    layers::{Codec, Contents, GzipLevel, ZstdLevel, write_layer},
    rootfs::file,
};

struct Memory(Vec<u8>);

impl Contents for Memory {
    fn open(&self, content: &Content) -> io::Result<Box<dyn Read + '_>> {
        let from = usize::try_from(content.offset).map_err(io::Error::other)?;
        Ok(Box::new(&self.0[from..]))
    }
}

fn program() -> Vec<u8> {
    const SIZE: usize = 60_000_000;
    let named = std::env::var_os("KLETIMG_BENCH_BINARY").map(std::path::PathBuf::from);
    let path = named.clone().or_else(|| std::env::current_exe().ok()).unwrap_or_default();
    let bytes = std::fs::read(&path).unwrap_or_default();
    assert!(!bytes.is_empty(), "reading {}", path.display());
    if named.is_some() { bytes } else { bytes.iter().copied().cycle().take(SIZE).collect() }
}

/// One large file, and a thousand small ones: as slices of the large one.
fn trees(bytes: &[u8]) -> [(&'static str, Tree); 2] {
    let blob = Blob { digest: Digest::of(bytes), size: bytes.len() as u64 };
    let tree = |entries: &mut dyn Iterator<Item = (String, Content)>| {
        let entries = entries.filter_map(|(path, content)| Some((TreePath::new(&path).ok()?, file(content, 0o755))));
        Tree { entries: entries.collect() }
    };
    let small = blob.size / 1000;
    [
        ("one file", tree(&mut std::iter::once(("kubelet".to_owned(), Content::whole(blob))))),
        (
            "1000 files",
            tree(
                &mut (0..1000)
                    .map(|n| (format!("file{n:04}"), Content { blob: blob.digest, offset: n * small, size: small })),
            ),
        ),
    ]
}

fn layers(criterion: &mut Criterion) {
    let memory = Memory(program());
    let trees = trees(&memory.0);
    let Ok(epoch) = Epoch::try_from(1_610_543_721) else { return };
    let (Ok(gzip6), Ok(zstd3)) = (GzipLevel::new(6), ZstdLevel::new(3)) else { return };
    let mut group = criterion.benchmark_group("layer");
    group.throughput(Throughput::Bytes(memory.0.len() as u64)).sample_size(10);
    group.warm_up_time(Duration::from_millis(100)).measurement_time(Duration::from_secs(5));
    let mut bench = |name: String, tree: &Tree, codec: Codec, threads: usize| {
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(write_layer(&memory, tree, epoch, codec, threads, io::sink()).is_ok()));
        });
    };
    for (name, tree) in &trees {
        bench(format!("tar, {name}"), tree, Codec::None, 1);
    }
    let codecs = [("gzip 6", Codec::Gzip(gzip6)), ("gzip 12", Codec::default()), ("zstd 3", Codec::Zstd(zstd3))];
    for (name, codec) in codecs {
        for threads in [1, 2] {
            bench(format!("{name}, {threads} threads"), &trees[0].1, codec, threads);
        }
    }
    group.finish();
}

criterion_group!(benches, layers);
criterion_main!(benches);
