//! Archives, and loading into the Docker Engine.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::{
    io::{self, Read},
    process::Command,
    sync::Arc,
};

use kletimg::{
    base::{Blob, Digest, Platform, progress::SharedProgress, progress::Silent},
    host::process::{self, Program},
    images::{Descriptor, LayoutEntry},
    inputs::store::Store,
    outputs::{
        archive::{Archive, ArchiveError},
        docker::{Engine, EngineError},
        source::{Source, SourceError, Tag, for_platform},
    },
};
use serde_json::Value;
use support::{image, parts};

mod support;

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path());
    (folder, store)
}

fn tag(name: &str, root: &Descriptor) -> Tag {
    Tag::new(name.parse().unwrap(), root.clone())
}

fn entries(tags: &[Tag]) -> Vec<LayoutEntry> {
    tags.iter().map(LayoutEntry::from).collect()
}

fn written(archive: &Archive, store: &Store) -> Vec<u8> {
    let mut bytes = Vec::new();
    archive.write(store, &mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, archive.size());
    bytes
}

fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The Engine of this machine. The part is called `docker-engine`.
async fn engine() -> Option<(Engine, String)> {
    let host = std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned());
    let found = Engine::connect(&host).await;
    let reason = found.as_ref().err().map(ToString::to_string).unwrap_or_default();
    Some((parts::need("docker-engine", found.ok(), &reason)?, host))
}

#[test]
fn an_archive_is_the_same_whatever_the_order_and_read_by_tar() {
    let (_folder, store) = store();
    let (one, two) = (image::multi_arch(&store, 1, 1000), image::multi_arch(&store, 2, 1000));
    let tags = [tag("h.io/a:1", &one), tag("h.io/a:2", &two), tag("h.io/a:also-1", &one)];
    let mut turned = tags.clone();
    turned.reverse();
    let bytes = written(&Archive::oci(&store, &entries(&tags)).unwrap(), &store);
    assert!(bytes == written(&Archive::oci(&store, &entries(&turned)).unwrap(), &store));
    let docker = |tags: &[Tag]| written(&Archive::docker(&store, tags, Platform::Arm64).unwrap(), &store);
    assert!(docker(&tags) == docker(&turned));

    let mut names = Vec::new();
    for entry in tar::Archive::new(bytes.as_slice()).entries().unwrap() {
        let mut entry = entry.unwrap();
        let header = entry.header();
        assert_eq!((header.mtime().unwrap(), header.uid().unwrap(), header.gid().unwrap()), (0, 0, 0));
        let name = entry.path().unwrap().to_string_lossy().into_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        if let Some(hex) = name.strip_prefix("blobs/sha256/").filter(|hex| !hex.is_empty()) {
            assert_eq!(Digest::of(&content).hex(), hex);
        }
        names.push(name);
    }
    // Two indexes, four manifests, four configs, four layers and a shared one; two files and two folders.
    assert_eq!(names.len(), 2 + 4 + 4 + 5 + 4);

    let clash = [tag("h.io/a:1", &one), tag("h.io/a:1", &two)];
    assert!(matches!(Archive::oci(&store, &entries(&clash)), Err(ArchiveError::Ambiguous(_))));
    let arm = Archive::docker(&store, &tags, Platform::ArmV7);
    assert!(matches!(arm, Err(ArchiveError::Source(SourceError::NoPlatform { .. }))));
}

#[test]
fn skopeo_reads_the_archives() {
    let Some(_) = parts::program("skopeo") else { return };
    let (folder, store) = store();
    let root = image::multi_arch(&store, 3, 1000);
    let tags = [tag("h.io/a:1", &root)];
    let path = folder.path().join("oci.tar");
    std::fs::write(&path, written(&Archive::oci(&store, &entries(&tags)).unwrap(), &store)).unwrap();
    let name = format!("oci-archive:{}:1", path.display());
    let said = run("skopeo", &["inspect", "--raw", &name]);
    assert_eq!(Digest::of(&said), root.digest);
    run("skopeo", &["copy", "--all", &name, &format!("dir:{}", folder.path().join("copy").display())]);

    let path = folder.path().join("docker.tar");
    std::fs::write(&path, written(&Archive::docker(&store, &tags, Platform::Amd64).unwrap(), &store)).unwrap();
    let said = run("skopeo", &["inspect", "--config", &format!("docker-archive:{}:h.io/a:1", path.display())]);
    assert!(said.contains("amd64"), "{said}");
}

/// A source whose layers are damaged.
struct Damaged(Store);

impl Source for Damaged {
    fn open(&self, blob: &Blob, from: u64) -> Result<Box<dyn Read + Send>, SourceError> {
        let whole = Source::open(&self.0, blob, from)?;
        if blob.size < 100_000 { Ok(whole) } else { Ok(Box::new(whole.take(blob.size / 2).chain(io::repeat(0)))) }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_engine_has_what_was_loaded() {
    let Some((engine, _)) = engine().await else { return };
    let Some(docker) = parts::program("docker") else { return };
    let (_folder, store) = store();
    let root = image::multi_arch(&store, u64::from(std::process::id()), 300_000);
    let names = ["one", "also-one"].map(|name| format!("kletimg.test/engine-{}:{name}", std::process::id()));
    let tags = [tag(&names[0], &root), tag(&names[1], &root)];
    let silent: SharedProgress = Arc::new(Silent);
    let loaded = engine.load(Arc::new(store.clone()), &tags, None, &silent).await.unwrap();
    assert_eq!(loaded.len(), 2);

    let docker = docker.to_string_lossy();
    let said: Value = serde_json::from_str(&run(&docker, &["image", "inspect", &names[0]])).unwrap();
    let manifest = for_platform(&store, &root, engine.platform).unwrap();
    assert_eq!(said[0]["Architecture"], engine.platform.go_arch());
    assert_eq!(said[0]["RootFS"]["Layers"].as_array().unwrap().len(), manifest.links.children().len() - 1);
    run(&docker, &["image", "rm", &names[0], &names[1]]);

    // One with damaged bytes is refused here, and the Engine gets none of it.
    let bad = [tag("kletimg.test/engine:bad", &image::multi_arch(&store, 99, 300_000))];
    let error = engine.load(Arc::new(Damaged(store.clone())), &bad, None, &silent).await.unwrap_err();
    assert!(matches!(error, EngineError::Archive(ArchiveError::Source(SourceError::Damaged { .. }))), "{error}");
    let inspected = Program::new(docker.as_ref()).args(["image", "inspect", "kletimg.test/engine:bad"]).run().unwrap();
    assert_eq!(process::describe(inspected.status), "exit code 1");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_too_old_for_zstd_is_told_apart() {
    let Some((engine, _)) = engine().await else { return };
    let (_folder, store) = store();
    let layer = image::layer(&store, "hello", b"x");
    let mut manifest = image::image(&store, engine.platform.go_arch(), &[layer]);
    let blob: Blob = serde_json::from_value(manifest.clone()).unwrap();
    let mut text = String::new();
    store.open(&blob.digest).unwrap().read_to_string(&mut text).unwrap();
    let changed = store.put(text.replace("tar+gzip", "tar+zstd").as_bytes()).unwrap();
    manifest["digest"] = serde_json::to_value(changed.digest).unwrap();
    manifest["size"] = changed.size.into();
    let tags = [tag("kletimg.test/engine:zstd", &image::index(&store, &[manifest]))];
    let silent: SharedProgress = Arc::new(Silent);
    let old = engine.version.split('.').next().unwrap().parse::<u64>().unwrap() < 23;
    let error = engine.load(Arc::new(store), &tags, None, &silent).await.unwrap_err();
    assert_eq!(matches!(error, EngineError::Zstd { .. }), old, "{error}");
}

#[tokio::test]
async fn an_engine_that_does_not_answer_is_named() {
    let port = support::free_port();
    for host in ["unix:///nowhere/docker.sock".to_owned(), format!("tcp://127.0.0.1:{port}")] {
        let error = Engine::connect(&host).await.err().unwrap();
        assert!(matches!(error, EngineError::Unreachable { .. }), "{error}");
        assert!(error.to_string().contains(&host) && error.to_string().contains("DOCKER_HOST"), "{error}");
    }
    assert!(matches!(Engine::connect("ssh://edge").await, Err(EngineError::Scheme { .. })));
}
