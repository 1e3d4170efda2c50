//! How long it takes to read, check and plan a matrix of about 500 cells: what every verb does before anything else.
//!
//! Run with `cargo bench --bench plan`.

#![allow(clippy::expect_used, reason = "a bench without its input has nothing to measure")]

use std::{fs, hint::black_box, path::Path};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kletimg::{
    base::Platform,
    pipeline::load_matrix,
    plan::{Filter, Lock, Pin, plan},
};

/// The project's matrix with 28 versions, 6 variants and 3 platforms: 504 cells.
fn matrix_text() -> String {
    // Without 1.29 and 1.30, for which nobody releases the crictl of 32-bit arm.
    let minors = (20..=28).chain(31..=35);
    let versions: Vec<_> = minors.flat_map(|minor| [0, 1].map(|patch| format!("\"1.{minor}.{patch}\""))).collect();
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(project.join("matrix.toml")).expect("the project's matrix.toml");
    let begin = text.find("kubernetes = [").expect("a list of versions");
    let end = begin + text[begin..].find(']').expect("its end");
    let folder = project.display();
    format!("definitions = [\"{folder}\"]\n{}kubernetes = [{}{}", &text[..begin], versions.join(", "), &text[end..])
}

fn benchmarks(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("matrix.toml");
    fs::write(&file, matrix_text()).expect("a matrix file");
    let load = || load_matrix(black_box(&file)).expect("the project's own matrix is right");
    let matrix = load();
    let planned = plan(&matrix, &Filter::default(), Some(Platform::Amd64)).expect("a plan");
    let mut lock = Lock::new(kletimg::base::Epoch::default());
    for input in &planned.inputs {
        let sha256 = kletimg::base::Digest::of(&input.url);
        lock.inputs.insert(input.url.clone(), Pin { sha256, size: Some(1), verified: String::new() });
    }
    let lock = lock.text();

    let mut group = criterion.benchmark_group("500 cells");
    group.throughput(Throughput::Elements(planned.cells() as u64));
    group.bench_function("read and check", |bencher| bencher.iter(load));
    group.bench_function("plan", |bencher| {
        bencher.iter(|| plan(black_box(&matrix), &Filter::default(), Some(Platform::Amd64)).expect("a plan"));
    });
    group.bench_function("read the lock", |bencher| bencher.iter(|| Lock::parse(black_box(&lock)).expect("a lock")));
    group.finish();
}

criterion_group!(benches, benchmarks);
criterion_main!(benches);
