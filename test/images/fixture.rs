//! Two images (kubelet in two variants, kube-proxy) for two platforms, with small files of every kind.

use std::{collections::BTreeMap, path::PathBuf};

use kletimg::{
    base::{Content, Digest, Entry, Epoch, Node, Platform, Tree, TreePath},
    images::{Image, ImageConfig, ImageLayer, Tag, annotation},
    inputs::store::Store,
    layers::{self, Codec},
    outputs::{store_layer, store_tag},
    rootfs::{self, LayerName, Part, Role, Rootfs},
};

pub const TAG: &str = "v1.20.2-alpine3.15";
pub const CNI: &str = "v1.20.2-cni-alpine3.15";
pub const PROXY: &str = "kube-proxy:v1.20.2-alpine3.15";
pub const PLATFORMS: [Platform; 2] = [Platform::Amd64, Platform::ArmV7];
pub const EPOCH: u64 = 1_610_543_721;

pub struct Fixture {
    /// Removes everything at the end.
    pub folder: tempfile::TempDir,
    pub store: Store,
    pub dist: PathBuf,
}

impl Fixture {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (store, dist) = (Store::new(folder.path().join("store")), folder.path().join("dist"));
        Self { folder, store, dist }
    }

    pub fn blob(&self, digest: &Digest) -> PathBuf {
        self.dist.join("blobs/sha256").join(digest.hex())
    }
}

pub fn tag<'a>(tags: &'a [Tag], name: &str) -> &'a Tag {
    tags.iter().find(|tag| tag.name.as_str() == name).unwrap()
}

/// All tags for all platforms.
pub fn build(store: &Store, codec: Codec, threads: usize) -> Vec<Tag> {
    [(TAG, "plain"), (CNI, "cni"), (PROXY, "kube-proxy")]
        .map(|(name, variant)| build_tag(store, codec, threads, name, variant, &PLATFORMS))
        .to_vec()
}

pub fn build_tag(
    store: &Store,
    codec: Codec,
    threads: usize,
    name: &str,
    variant: &str,
    platforms: &[Platform],
) -> Tag {
    let epoch = Epoch::try_from(EPOCH).unwrap();
    let image = |platform: &Platform| {
        let layers = layers::split(&rootfs(store, *platform, variant)).into_iter().map(|layer| ImageLayer {
            info: store_layer(store, &layer.tree, epoch, codec, threads).unwrap(),
            name: layer.name,
            codec,
        });
        let config = ImageConfig {
            entrypoint: vec!["/usr/bin/kubelet".to_owned()],
            cmd: vec!["--v=2".to_owned()],
            env: vec!["PATH=/usr/sbin:/usr/bin:/sbin:/bin".to_owned()],
            labels: BTreeMap::from([("io.kubernetes.version".to_owned(), "1.20.2".to_owned())]),
            stop_signal: Some("SIGTERM".to_owned()),
            volumes: vec!["/var/lib/kubelet".to_owned()],
            ..ImageConfig::default()
        };
        let annotations = BTreeMap::from([(annotation::VERSION.to_owned(), "1.20.2".to_owned())]);
        Image { platform: *platform, config, layers: layers.collect(), created: epoch, annotations }
    };
    let images: Vec<_> = platforms.iter().map(image).collect();
    let reference = format!("docker.io/cloudtogo4edge/kubelet:{}", name.rsplit(':').next().unwrap());
    store_tag(store, name.parse().unwrap(), Some(reference), &images, &BTreeMap::new()).unwrap()
}

pub fn rootfs(store: &Store, platform: Platform, variant: &str) -> Rootfs {
    let part = |layer: &str, role, entries: Vec<(&str, Entry)>| Part {
        layer: LayerName::new(layer),
        role,
        tree: Tree {
            entries: entries.into_iter().map(|(path, entry)| (TreePath::new(path).unwrap(), entry)).collect(),
        },
        origin: format!("the {layer} of the fixture"),
    };
    let mut parts = vec![
        part("base", Role::Base, base(store, platform)),
        part(
            "configuration",
            Role::Overlay,
            vec![
                ("etc/hostname", rootfs::file(text(store, "node\n"), 0o644)),
                ("etc/kubernetes", rootfs::directory(0o700)),
            ],
        ),
    ];
    if variant == "cni" {
        let plugin = |name: &str| rootfs::file(program(store, platform, name), 0o755);
        parts.push(part("cni", Role::Component, vec![("opt/cni/bin/bridge", plugin("bridge"))]));
    }
    let (layer, path) =
        if variant == "kube-proxy" { ("kube-proxy", "usr/bin/kube-proxy") } else { ("kubelet", "usr/bin/kubelet") };
    parts.push(part(
        layer,
        Role::Component,
        vec![
            (path, rootfs::file(program(store, platform, layer), 0o755)),
            // Merged /usr in the base: this must not put a directory over the link.
            ("lib/kubernetes/README", rootfs::file(text(store, "see /usr/lib\n"), 0o644)),
        ],
    ));
    rootfs::assemble(&parts).unwrap()
}

fn base(store: &Store, platform: Platform) -> Vec<(&'static str, Entry)> {
    // Slices of one blob, as the files of an archive are.
    let archive = store.put(b"root:x:0:0:root:/root:/bin/sh\nlocalhost\n").unwrap();
    let slice = |offset, size| Content { blob: archive.digest, offset, size };
    let mut ping = rootfs::file(program(store, platform, "ping"), 0o4755);
    ping.gid = 70;
    ping.xattrs.insert("user.note".to_owned(), b"caf\xc3\xa9".to_vec());
    vec![
        ("bin", rootfs::symlink("usr/bin")),
        ("etc/hostname", rootfs::file(slice(30, 10), 0o644)),
        ("etc/passwd", rootfs::file(slice(0, 30), 0o644)),
        ("etc/ssl/Főtanúsítvány.crt", rootfs::file(text(store, "certificate"), 0o644)),
        ("lib", rootfs::symlink("usr/lib")),
        ("tmp", rootfs::directory(0o1777)),
        ("usr/bin/busybox", rootfs::file(program(store, platform, "busybox"), 0o755)),
        ("usr/bin/ping", ping),
        ("usr/bin/sh", Entry::new(0o755, Node::Hardlink(TreePath::new("usr/bin/busybox").unwrap()))),
        ("usr/lib", rootfs::directory(0o755)),
        ("var/run", rootfs::symlink("/run")),
    ]
}

fn text(store: &Store, text: &str) -> Content {
    Content::whole(store.put(text.as_bytes()).unwrap())
}

/// A few hundred kilobytes that differ by platform and compress as programs do.
fn program(store: &Store, platform: Platform, name: &str) -> Content {
    let seed = format!("{platform} {name} ");
    let bytes: Vec<u8> =
        (0..12_000_u32).flat_map(|n| format!("{seed}{:x}", n.wrapping_mul(n) % 977).into_bytes()).collect();
    Content::whole(store.put(&bytes).unwrap())
}
