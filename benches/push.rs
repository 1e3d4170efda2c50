//! A push to docker-registry on this machine, against skopeo's of the same layout: 15 tags that share layers, and one
//! image of two large layers.
//!
//! `cargo bench --bench push` prints the seconds of both, the best of some rounds, then those of a push that has nothing to
//! send, and the most memory that kletimg held. It fails where a promise is not kept: to take at most a fifth longer than
//! skopeo, under a second for nothing, under 150 MiB. It needs docker-registry and skopeo, as the tests do.
#![allow(clippy::disallowed_macros, reason = "a benchmark prints its figures")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot be set up has nothing to say")]

use std::{
    path::Path,
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use kletimg::{
    base::size::Bytes,
    images::LayoutEntry,
    inputs::store::Store,
    outputs::{layout, source::Tag},
};
use support::{
    fixture::{peak, program, succeeds},
    image::{image, index, layer, noise},
    registry::{Guard, RealRegistry},
};

#[path = "../test/support/mod.rs"]
mod support;

/// As many as the example matrix has for one Kubernetes version of each of three minors.
const TAGS: u64 = 15;
const PLATFORMS: [&str; 3] = ["amd64", "arm64", "arm"];

/// The best of these counts, as other work on the machine only ever makes a round slower.
const ROUNDS: usize = 5;

fn main() -> ExitCode {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path().join("store"));
    let Some(registry) = RealRegistry::start(Guard::Open) else { return ExitCode::SUCCESS };
    let tag = |n: u64, images: &[serde_json::Value]| {
        Tag::new(format!("{}/edge/kubelet:t{n}", registry.host).parse().unwrap(), index(&store, images))
    };
    let many: Vec<_> = (0..TAGS)
        .map(|n| {
            let platforms = PLATFORMS.iter().zip(0..).map(|(platform, p)| {
                let shared = layer(&store, "base", &noise(1000 + p, 8 << 20));
                image(&store, platform, &[shared, layer(&store, "kubelet", &noise(n * 3 + p, 4 << 20))])
            });
            tag(n, &platforms.collect::<Vec<_>>())
        })
        .collect();
    let large = [2000, 2001].map(|seed| layer(&store, "large", &noise(seed, 192 << 20)));
    let large = [tag(0, &[image(&store, "amd64", &large)])];
    let mut kept = true;
    for (what, tags) in [("15 tags", many.as_slice()), ("one image", &large)] {
        let dest = folder.path().join(what.replace(' ', "-"));
        let entries: Vec<_> = tags.iter().map(LayoutEntry::from).collect();
        let added = layout::add(&store, &dest, &store, &entries).unwrap();
        println!("{what}, {}", Bytes(added.bytes));
        kept &= compare(&registry, &dest, tags, folder.path());
    }
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints what both programs take for the tags of a layout. Whether ours keeps what was promised.
fn compare(registry: &RealRegistry, layout: &Path, tags: &[Tag], store: &Path) -> bool {
    let ours = || {
        let mut command = Command::new(program());
        command.args(["matrix", "push", "-q", "-o"]).arg(layout).arg("--store").arg(store.join("other"));
        command.current_dir(store);
        command
    };
    let theirs = |tag: &Tag| {
        let mut command = Command::new("skopeo");
        command.args(["copy", "--all", "--quiet", "--dest-tls-verify=false"]);
        command.args([format!("oci:{}:{}", layout.display(), tag.name), format!("docker://{}", tag.reference)]);
        command
    };
    let (mut skopeo, mut kletimg) = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        empty(registry);
        let began = Instant::now();
        for tag in tags {
            succeeds(&mut theirs(tag));
        }
        skopeo = skopeo.min(began.elapsed());
        empty(registry);
        let began = Instant::now();
        succeeds(&mut ours());
        kletimg = kletimg.min(began.elapsed());
    }
    let again = (0..ROUNDS).map(|_| {
        let began = Instant::now();
        succeeds(&mut ours());
        began.elapsed()
    });
    let again = again.min().unwrap_or_default();
    empty(registry);
    let held = peak(&mut ours());
    let ratio = kletimg.as_secs_f64() / skopeo.as_secs_f64();
    println!("  skopeo  {:.2} s", skopeo.as_secs_f64());
    println!("  kletimg {:.2} s, {ratio:.2} of skopeo's; again {:.2} s", kletimg.as_secs_f64(), again.as_secs_f64());
    println!("  kletimg held at most {}", Bytes(held << 10));
    ratio <= 1.2 && again < Duration::from_secs(1) && held < 150 << 10
}

/// Removes everything from the registry, which looks for blobs on its disk every time it is asked.
fn empty(registry: &RealRegistry) {
    let _ = std::fs::remove_dir_all(registry.folder.path().join("data"));
}
