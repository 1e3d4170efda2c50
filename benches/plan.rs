//! How long it takes to read, check and plan a matrix of about 500 cells: what every verb does before anything else.
//!
//! Run with `cargo bench --bench plan`.

#![allow(clippy::expect_used, reason = "a bench without its input has nothing to measure")]

use std::{hint::black_box, path::Path};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kletimg::{
    base::Platform,
    matrix::{self, Definition, DefinitionKind, Matrix},
    plan::{Filter, Lock, Pin, plan},
};

/// 28 versions, 6 variants, 3 platforms: 504 cells.
fn matrix_text() -> String {
    // Without 1.29 and 1.30, for which nobody releases the crictl of 32-bit arm.
    let minors = (20..=28).chain(31..=35);
    let versions: Vec<_> = minors.flat_map(|minor| [0, 1].map(|patch| format!("\"1.{minor}.{patch}\""))).collect();
    let text = std::fs::read_to_string(root().join("matrix.toml")).expect("the project's matrix.toml");
    let begin = text.find("kubernetes = [").expect("a list of versions");
    let end = begin + text[begin..].find(']').expect("its end");
    format!("{}kubernetes = [{}{}", &text[..begin], versions.join(", "), &text[end..])
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn definitions() -> Vec<Definition> {
    let mut definitions = Vec::new();
    for (folder, kind, prefix) in DefinitionKind::FOLDERS {
        let Ok(entries) = std::fs::read_dir(root().join(folder)) else { continue };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            let Some(stem) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".toml")) else { continue };
            let text = std::fs::read_to_string(&path).expect("a definition");
            definitions.push(Definition { name: format!("{prefix}{stem}"), kind, path: path.clone(), text });
        }
    }
    definitions
}

fn load(text: &str, definitions: &[Definition]) -> Matrix {
    matrix::load(Path::new("matrix.toml"), text, definitions).expect("the project's own matrix is right")
}

fn benchmarks(criterion: &mut Criterion) {
    let (text, definitions) = (matrix_text(), definitions());
    let matrix = load(&text, &definitions);
    let planned = plan(&matrix, &Filter::default(), Some(Platform::Amd64)).expect("a plan");
    let mut lock = Lock::new(kletimg::base::Epoch::default());
    for input in &planned.inputs {
        let sha256 = kletimg::base::Digest::of(&input.url);
        lock.inputs.insert(input.url.clone(), Pin { sha256, size: Some(1), verified: String::new() });
    }
    let lock = lock.text();

    let mut group = criterion.benchmark_group("500 cells");
    group.throughput(Throughput::Elements(planned.cells() as u64));
    group.bench_function("read and check", |bencher| bencher.iter(|| load(black_box(&text), &definitions)));
    group.bench_function("plan", |bencher| {
        bencher.iter(|| plan(black_box(&matrix), &Filter::default(), Some(Platform::Amd64)).expect("a plan"));
    });
    group.bench_function("read the lock", |bencher| bencher.iter(|| Lock::parse(black_box(&lock)).expect("a lock")));
    group.finish();
}

criterion_group!(benches, benchmarks);
criterion_main!(benches);
