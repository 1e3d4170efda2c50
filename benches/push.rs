//! A push of 15 tags to docker-registry on this machine, against skopeo's of the same images.
//!
//! `cargo bench --bench push` prints the seconds of both, of a second push that has nothing to send, and the peak of
//! our memory. It needs docker-registry and skopeo, as the tests do.
#![allow(clippy::disallowed_macros, reason = "a benchmark prints its figures")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot be set up has nothing to say")]

use std::{
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use kletimg::{
    base::{progress::SharedProgress, progress::Silent, size::Bytes},
    images::LayoutEntry,
    inputs::store::Store,
    outputs::{
        archive::Archive,
        layout::Layout,
        registry::{PushOptions, Settings, plan, push},
        source::{Source, Tag},
    },
};
use support::{
    image::{image, index, layer, noise},
    registry::{Guard, RealRegistry},
};

#[path = "../test/support/mod.rs"]
mod support;

/// As many as the example matrix has for one Kubernetes version of each of three minors.
const TAGS: u64 = 15;
const PLATFORMS: [&str; 3] = ["amd64", "arm64", "arm"];

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path().join("store"));
    let (Some(ours), Some(theirs)) = (RealRegistry::start(Guard::Open), RealRegistry::start(Guard::Open)) else {
        return;
    };
    let tags: Vec<_> = (0..TAGS)
        .map(|n| {
            let platforms = PLATFORMS.iter().zip(0..).map(|(platform, p)| {
                let shared = layer(&store, "base", &noise(1000 + p, 8 << 20));
                image(&store, platform, &[shared, layer(&store, "kubelet", &noise(n * 3 + p, 4 << 20))])
            });
            let root = index(&store, &platforms.collect::<Vec<_>>());
            Tag::new(format!("{}/edge/kubelet:t{n}", ours.host).parse().unwrap(), root)
        })
        .collect();
    let layout = folder.path().join("layout");
    // Through a file, so that the peak of our memory is the push's.
    let archive = Archive::oci(&store, &tags.iter().map(LayoutEntry::from).collect::<Vec<_>>()).unwrap();
    let tar = folder.path().join("layout.tar");
    archive.write(&store, &mut std::fs::File::create(&tar).unwrap()).unwrap();
    tar::Archive::new(std::fs::File::open(&tar).unwrap()).unpack(&layout).unwrap();
    println!("{} tags, {}", tags.len(), Bytes(archive.size()));

    let began = Instant::now();
    for n in 0..TAGS {
        let from = format!("oci:{}:t{n}", layout.display());
        let to = format!("docker://{}/edge/kubelet:t{n}", theirs.host);
        let mut skopeo = Command::new("skopeo");
        skopeo.args(["copy", "--all", "--quiet", "--dest-tls-verify=false", &from, &to]);
        assert!(skopeo.status().unwrap().success());
    }
    report("skopeo", began.elapsed());

    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let silent: SharedProgress = Arc::new(Silent);
    // What `matrix push` reads, and skopeo too.
    let source: Arc<dyn Source> = Arc::new(Layout::open(&layout).unwrap());
    for what in ["kletimg", "kletimg, again"] {
        let began = Instant::now();
        let pushed = runtime.block_on(async {
            let plan = plan(&Settings::default(), Arc::clone(&source), &tags, PushOptions::default()).await.unwrap();
            push(&plan, &silent).await.unwrap()
        });
        report(what, began.elapsed());
        println!("  {} blobs, {}", pushed.sent, Bytes(pushed.sent_bytes));
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("no VmHWM"));
}

fn report(what: &str, took: Duration) {
    println!("{what}: {:.2} s", took.as_secs_f64());
}
