//! The project's own Alpine bases: what they choose from the real indexes, how large that is, and whether every program
//! that a kubelet or kube-proxy calls is there.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Read as _,
    path::Path,
};

use kletimg::{
    base::{Accounts, Platform, Version},
    inputs::{
        apk::{
            index::Package,
            repository::{Trust, VerifiedIndex},
            resolver::{Repository, Resolver, World},
            signature::Keyring,
        },
        store::Store,
    },
    matrix::{AlpineRoot, AskingCell, Base, BaseRoot, Matrix, PackageRequest},
    pipeline::load_matrix,
};

use crate::{installation::assemble, support::parts};

fn matrix() -> Matrix {
    load_matrix(&Path::new(env!("CARGO_MANIFEST_DIR")).join("matrix.toml")).unwrap()
}

fn alpine(base: &Base) -> &AlpineRoot {
    let BaseRoot::Alpine(root) = &base.root else { panic!("{} is not made of packages", base.name) };
    root
}

/// What a cell asks for on amd64. That of the image `kubeadm` is the kubelet's with kubeadm in it.
fn request(base: &Base, minor: u64, image: &str) -> PackageRequest {
    let (image, components) = match image {
        "kubeadm" => ("kubelet", &["kubelet", "kubeadm"][..]),
        image => (image, &[image][..]),
    };
    let kubernetes = &Version::new(1, minor, 0);
    alpine(base).request(&AskingCell { kubernetes, image, platform: Platform::Amd64, components })
}

fn keyring(base: &Base) -> Keyring {
    let mut keys = Keyring::new();
    for key in &alpine(base).keys {
        let path = base.folder().join(&key.value);
        let name = path.file_name().unwrap().to_str().unwrap();
        keys.add(name, &fs::read_to_string(&path).unwrap()).unwrap();
    }
    keys
}

#[test]
fn every_base_has_keys_and_files_and_gives_each_image_its_own() {
    let matrix = matrix();
    for name in ["alpine3.15", "alpine3.19", "alpine3.22", "alpine3.24"] {
        let base = &matrix.bases[name];
        assert!(keyring(base).iter().count() >= 4, "{name}");
        let has = |minor, image, package: &str| request(base, minor, image).all.iter().any(|name| name == package);
        for (minor, image, package, expected) in [
            (20, "kubelet", "findutils", true),
            (22, "kubelet", "findutils", false),
            (36, "kubelet", "blkid", true),
            (36, "kube-proxy", "blkid", false),
            (31, "kubelet", "conntrack-tools", false),
            (31, "kubeadm", "conntrack-tools", true),
            (32, "kubeadm", "conntrack-tools", false),
            (31, "kube-proxy", "conntrack-tools", true),
            (32, "kube-proxy", "conntrack-tools", false),
            (30, "kube-proxy", "nftables", false),
            (31, "kube-proxy", "nftables", true),
            (36, "kubelet", "ipset", false),
        ] {
            assert_eq!(has(minor, image, package), expected, "{name}: {package} of {image} 1.{minor}");
        }
        assert_eq!(
            request(base, 36, "kubelet").shared,
            request(base, 20, "kube-proxy").shared,
            "{name}: one layer for all"
        );
        for file in &base.files {
            if let kletimg::matrix::OverlayKind::Source(source) = &file.kind {
                assert!(base.folder().join(source).is_file(), "{name}: {}", source.display());
            }
        }
    }
}

/// The programs that a kubelet calls, from a minor on and before another one, and those of kube-proxy.
const KUBELET: [(&str, u64, u64); 23] = [
    ("mount", 0, 99),
    ("umount", 0, 99),
    ("fsck", 0, 99),
    ("fsck.ext4", 0, 99),
    ("mkfs.ext4", 0, 99),
    ("blkid", 0, 99),
    ("resize2fs", 0, 99),
    ("losetup", 0, 99),
    ("iptables", 0, 99),
    ("iptables-save", 0, 99),
    ("iptables-restore", 0, 99),
    ("ip6tables", 0, 99),
    ("ip6tables-save", 0, 99),
    ("ip6tables-restore", 0, 99),
    ("sh", 0, 99),
    ("nice", 0, 22),
    ("du", 0, 22),
    ("find", 0, 22),
    ("conntrack", 0, 22),
    ("nsenter", 0, 24),
    ("socat", 0, 24),
    ("ethtool", 0, 24),
    ("modprobe", 0, 24),
];

const KUBE_PROXY: [(&str, u64, u64); 8] = [
    ("iptables", 0, 99),
    ("iptables-save", 0, 99),
    ("iptables-restore", 0, 99),
    ("ip6tables-restore", 0, 99),
    ("conntrack", 0, 32),
    ("ipset", 0, 99),
    ("modprobe", 0, 99),
    ("nft", 31, 99),
];

/// Programs that `BusyBox` has too, but without the options that the kubelet gives them.
const NOT_OF_BUSYBOX: [&str; 6] = ["mount", "umount", "blkid", "losetup", "du", "find"];

#[test]
fn the_base_of_3_19_is_small_and_has_every_program_that_is_called() {
    let Some(data) = parts::alpine_data() else { return };
    let matrix = matrix();
    let base = &matrix.bases["alpine3.19"];
    let bytes = fs::read(data.join("index-v3.19/main/x86_64/APKINDEX.tar.gz")).unwrap();
    let index = VerifiedIndex::open(&bytes, &keyring(base), Trust::Signed).unwrap();
    let resolver = Resolver::new(&[Repository { tag: None, index: index.index() }]).unwrap();
    let applets = applets(&data);
    for (image, programs) in [("kubelet", &KUBELET[..]), ("kube-proxy", &KUBE_PROXY[..])] {
        for minor in 20..=36 {
            let version = Version::new(1, minor, 0);
            let request = request(base, minor, image);
            let selected = resolver.resolve(&World::parse(&request.all).unwrap()).unwrap();
            let packages: Vec<_> = selected.iter().map(|selected| selected.package()).collect();
            let providers = providers(&packages);
            for (program, _, _) in programs.iter().filter(|(_, from, to)| (*from..*to).contains(&minor)) {
                let laid = base
                    .files
                    .iter()
                    .any(|file| file.kubernetes.contains(&version) && file.path.file_name() == *program);
                let applet = applets.contains(*program) && !NOT_OF_BUSYBOX.contains(program);
                assert!(laid || applet || providers.contains_key(*program), "{image} 1.{minor} lacks {program}");
            }
            let installed: u64 = packages.iter().map(|package| package.installed_size()).sum();
            let packed: u64 = packages.iter().map(|package| package.size()).sum();
            println!("{image} 1.{minor}: {} packages, {installed} installed, {packed} packed", packages.len());
            if image == "kubelet" && minor >= 22 {
                assert!(installed <= 7_500_000, "1.{minor}: {installed} bytes installed");
                assert!(packed <= 2_600_000, "1.{minor}: {packed} bytes packed");
            }
        }
    }
}

/// Commands by name, each with a package that provides it.
fn providers<'a>(packages: &[Package<'a>]) -> BTreeMap<&'a str, &'a str> {
    let provided = |package: &Package<'a>| {
        let name = package.name();
        package
            .provides()
            .filter_map(move |provided| Some((provided.name.strip_prefix("cmd:")?, name)))
            .collect::<Vec<_>>()
    };
    packages.iter().flat_map(provided).collect()
}

/// The names of the applets of `BusyBox`, from the package of the release.
fn applets(data: &Path) -> BTreeSet<String> {
    let file = fs::read(data.join("repo-3.19.1/x86_64/busybox-1.36.1-r15.apk")).unwrap();
    let mut archive = tar::Archive::new(flate2::read::MultiGzDecoder::new(&file[..]));
    archive.set_ignore_zeros(true);
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.path().unwrap().ends_with("busybox-paths.d/busybox") {
            let mut list = String::new();
            entry.read_to_string(&mut list).unwrap();
            return list.lines().filter_map(|path| path.rsplit('/').next()).map(str::to_owned).collect();
        }
    }
    panic!("the package lists no applets")
}

#[test]
fn the_applets_of_3_15_are_those_that_alpine_links_itself() {
    let Some(data) = parts::alpine_data() else { return };
    let base = &matrix().bases["alpine3.15"];
    let list = base.folder().join(&alpine(base).applets.as_ref().unwrap().value);
    let listed: BTreeSet<String> = fs::read_to_string(list).unwrap().lines().map(str::to_owned).collect();
    for arch in ["x86_64", "aarch64", "armv7"] {
        let file = data.join(format!("minirootfs/alpine-minirootfs-3.15.11-{arch}.tar.gz"));
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(fs::File::open(file).unwrap()));
        let mut linked = BTreeSet::new();
        for entry in archive.entries().unwrap() {
            let entry = entry.unwrap();
            if entry.link_name().unwrap().is_some_and(|target| target == Path::new("/bin/busybox")) {
                linked.insert(entry.path().unwrap().to_str().unwrap().trim_start_matches('.').to_owned());
            }
        }
        assert_eq!(linked, listed, "{arch}");
    }
}

/// Those of the base's packages that the small repository has, with all that they need.
#[test]
fn no_script_of_the_base_is_left_undone() {
    let Some(data) = parts::alpine_data() else { return };
    let base = &matrix().bases["alpine3.19"];
    let request = request(base, 36, "kubelet");
    let there: BTreeSet<String> = fs::read_dir(data.join("repo-3.19.1/x86_64"))
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter_map(|file| Some(file.rsplitn(3, '-').nth(2)?.to_owned()))
        .collect();
    let names: Vec<&str> = request.all.iter().map(String::as_str).filter(|name| there.contains(*name)).collect();
    assert!(names.len() >= 6, "{names:?}");
    let folder = tempfile::tempdir().unwrap();
    let installed = assemble(&data, &Store::new(folder.path()), &names, &Accounts::default());
    assert_eq!(installed.undeclared, []);
}
