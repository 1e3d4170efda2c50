//! Opening Alpine's two indexes (verify, unpack, read) and resolving in them. The real apk takes some 250 ms for both.
//!
//! What is measured is the processor's time, so that whatever else the machine does takes no part in it. A run that
//! measures (`cargo bench --bench apk`) ends in an error where opening both or answering a question takes longer than it
//! may.
//!
//! Needs the full 3.19 indexes, as the tests do; without them there is nothing to measure.

#![allow(clippy::unwrap_used, reason = "a benchmark ends where something is wrong")]
#![allow(clippy::disallowed_macros, reason = "it says why it measures nothing")]

use std::{hint::black_box, path::PathBuf};

use criterion::{
    Criterion, criterion_group,
    measurement::{Measurement, ValueFormatter, WallTime},
};
use kletimg::inputs::apk::{
    repository::{Trust, VerifiedIndex},
    resolver::{Repository, Resolver, World},
    signature::Keyring,
};

/// Nanoseconds that this thread has run for, as Linux counts them.
struct ProcessorTime;

impl Measurement for ProcessorTime {
    type Intermediate = u64;
    type Value = u64;

    fn start(&self) -> u64 {
        processor_time()
    }

    fn end(&self, start: u64) -> u64 {
        processor_time() - start
    }

    fn add(&self, one: &u64, other: &u64) -> u64 {
        one + other
    }

    fn zero(&self) -> u64 {
        0
    }

    #[allow(clippy::cast_precision_loss, reason = "no benchmark runs for 2^53 ns")]
    fn to_f64(&self, value: &u64) -> f64 {
        *value as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

fn processor_time() -> u64 {
    // Going to sleep makes the kernel bring its count up to date.
    std::thread::sleep(std::time::Duration::from_micros(1));
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

fn indexes() -> Option<[Vec<u8>; 2]> {
    let default = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/alpine");
    let folder = std::env::var_os("KLETIMG_ALPINE_DATA").map_or(default, PathBuf::from).join("index-v3.19");
    let read = |name: &str| std::fs::read(folder.join(name).join("x86_64/APKINDEX.tar.gz")).ok();
    Some([read("main")?, read("community")?])
}

/// Alpine's keys, as the bases have them.
fn keys() -> Keyring {
    let mut keys = Keyring::new();
    for file in std::fs::read_dir(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("alpine/keys")).unwrap() {
        let file = file.unwrap();
        keys.add(file.file_name().to_str().unwrap(), &std::fs::read_to_string(file.path()).unwrap()).unwrap();
    }
    keys
}

fn apk(criterion: &mut Criterion<ProcessorTime>) {
    let Some(bytes) = indexes() else {
        eprintln!("there is no folder with Alpine's data (set KLETIMG_ALPINE_DATA)");
        return;
    };
    let keys = keys();
    let open = || bytes.each_ref().map(|bytes| VerifiedIndex::open(bytes, &keys, Trust::Signed).unwrap());
    criterion.bench_function("open both indexes of Alpine 3.19", |bencher| bencher.iter(|| black_box(open())));

    let indexes = open();
    let repositories = indexes.each_ref().map(|index| Repository { tag: None, index: index.index() });
    let resolver = || Resolver::new(&repositories).unwrap();
    criterion.bench_function("make both ready to be asked", |bencher| bencher.iter(|| black_box(resolver())));

    let resolver = resolver();
    for (name, packages) in QUESTIONS {
        let world = World::parse(packages.split(' ')).unwrap();
        criterion.bench_function(&format!("resolve {name}"), |bencher| {
            bencher.iter(|| black_box(resolver.resolve(&world).is_ok()));
        });
    }
}

const QUESTIONS: [(&str, &str); 4] = [
    (
        "the base",
        "alpine-baselayout busybox busybox-binsh ca-certificates-bundle iptables iptables-legacy mount umount",
    ),
    ("a node", "util-linux coreutils findutils ca-certificates conntrack-tools iptables ip6tables"),
    ("kubelet", "kubelet"),
    ("a desktop", "gnome plasma-desktop firefox libreoffice"),
];

/// What opening both indexes, and answering one question from them, may take: in ms.
const LIMITS: [u64; 2] = [150, 50];

fn hold_limits() {
    let Some(bytes) = indexes() else { return };
    let keys = keys();
    let open = || bytes.each_ref().map(|bytes| VerifiedIndex::open(bytes, &keys, Trust::Signed).unwrap());
    within(LIMITS[0], "opening both indexes", || drop(black_box(open())));
    let indexes = open();
    let repositories = indexes.each_ref().map(|index| Repository { tag: None, index: index.index() });
    for (name, packages) in QUESTIONS {
        let world = World::parse(packages.split(' ')).unwrap();
        within(LIMITS[1], &format!("resolving {name}"), || {
            black_box(Resolver::new(&repositories).unwrap().resolve(&world).is_ok());
        });
    }
}

/// Fails where the median of some runs is over the limit.
fn within(limit: u64, what: &str, run: impl Fn()) {
    const RUNS: usize = 11;
    let mut times: Vec<u64> = std::iter::repeat_with(|| {
        let start = processor_time();
        run();
        processor_time() - start
    })
    .take(RUNS)
    .collect();
    times.sort_unstable();
    let median = times[RUNS / 2] / 1_000_000;
    eprintln!("{what}: {median} ms of at most {limit} ms");
    assert!(median < limit, "{what} takes {median} ms of processor time, the limit is {limit} ms");
}

/// Whether this run measures: not a trial of each benchmark, and not of code that is compiled for debugging.
fn is_measuring() -> bool {
    let has = |option: &str| std::env::args().any(|argument| argument == option);
    has("--bench") && !has("--test") && !has("--list") && !cfg!(debug_assertions)
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(ProcessorTime).sample_size(20);
    targets = apk
}

fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
    if is_measuring() {
        hold_limits();
    }
}
