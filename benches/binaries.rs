//! Throughput of inspecting, stripping and hashing a large program.
//!
//! The program is the one that `KLETIMG_BENCH_BINARY` names, or this benchmark itself, which has debug data to lose.
#![allow(clippy::panic, reason = "a benchmark without its program has nothing to measure")]

use std::{
    env,
    fs::File,
    hint::black_box,
    io::{self, Read as _},
    path::PathBuf,
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kletimg::{
    base::digest::Hashing,
    binaries::{
        elf::inspect,
        strip::{Outcome, strip, strip_blob},
    },
    inputs::store::Store,
};

fn program() -> io::Result<PathBuf> {
    env::var_os("KLETIMG_BENCH_BINARY").map_or_else(env::current_exe, |path| Ok(PathBuf::from(path)))
}

fn binaries(criterion: &mut Criterion) {
    let path = program().unwrap_or_else(|error| panic!("finding a program to measure with: {error}"));
    let open = || File::open(&path).unwrap_or_else(|error| panic!("opening {}: {error}", path.display()));
    let size = open().metadata().map_or(0, |metadata| metadata.len());
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();

    let mut group = criterion.benchmark_group(format!("{name} of {size} bytes"));
    group.sample_size(10).throughput(Throughput::Bytes(size));
    group.bench_function("inspect", |bencher| bencher.iter(|| inspect(open()).map(black_box).is_ok()));
    group.bench_function("strip", |bencher| {
        bencher.iter(|| matches!(strip(open(), io::sink()), Ok(Outcome::Written { .. })));
    });
    group.bench_function("strip, check and store", |bencher| {
        let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("creating a folder: {error}"));
        let blob = Store::new(folder.path()).put_file(&path);
        let blob = blob.unwrap_or_else(|error| panic!("storing {}: {error}", path.display()));
        bencher.iter(|| {
            // Without its record it is stripped again; the blob it gives is there already.
            let store = Store::new(folder.path());
            let _ = std::fs::remove_dir_all(folder.path().join("actions"));
            strip_blob(&store, &blob).map(black_box).is_ok()
        });
    });
    group.bench_function("hash", |bencher| {
        bencher.iter(|| {
            let mut hashing = Hashing::new(open());
            let mut block = vec![0; 256 << 10];
            while hashing.read(&mut block).is_ok_and(|count| count > 0) {}
            black_box(hashing.finish().1)
        });
    });
    group.finish();
}

criterion_group!(benches, binaries);
criterion_main!(benches);
