//! The programs that people use on layouts.

use std::{fs, path::Path, process::Command};

use kletimg::{base::Platform, layers::Codec, outputs::layout};

use crate::{
    fixture::{CNI, EPOCH, Fixture, PROXY, TAG, build, build_tag, tag},
    support::parts,
};

fn run(program: &Path, folder: &Path, args: &[&str]) -> String {
    let output = Command::new(program).args(args).current_dir(folder).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} {}: {text}", program.display(), args.join(" "));
    String::from_utf8(output.stdout).unwrap()
}

fn layout_of_all(codec: Codec) -> (Fixture, Vec<kletimg::images::Tag>) {
    let fixture = Fixture::new();
    let tags = build(&fixture.store, codec, 2);
    layout::write(&fixture.store, &fixture.dist, &tags).unwrap();
    (fixture, tags)
}

#[test]
fn skopeo_reads_and_copies_every_tag() {
    let Some(skopeo) = parts::program("skopeo") else { return };
    let (fixture, tags) = layout_of_all(Codec::default());
    let folder = fixture.folder.path();
    for name in [TAG, CNI, PROXY] {
        let source = format!("oci:dist:{name}");
        let raw = run(&skopeo, folder, &["inspect", "--raw", &source]);
        let index = fs::read_to_string(fixture.blob(&tag(&tags, name).root.digest)).unwrap();
        assert_eq!(raw.trim_end(), index);
        let whole = format!("oci:whole:{name}");
        run(&skopeo, folder, &["--insecure-policy", "copy", "--all", "--preserve-digests", &source, &whole]);
        let one = format!("oci:one:{name}");
        run(
            &skopeo,
            folder,
            &["--insecure-policy", "--override-arch", "arm", "--override-variant", "v7", "copy", &source, &one],
        );
        let config = run(&skopeo, folder, &["inspect", "--config", &one]);
        assert!(config.contains(r#""variant": "v7""#), "{config}");
    }
    let copied = layout::read(&folder.join("whole")).unwrap();
    for tag in &tags {
        let copy = copied.iter().find(|copy| copy.name == tag.name).unwrap();
        assert_eq!(copy.root.digest, tag.root.digest);
        assert_eq!(
            copy.images,
            layout::read(&fixture.dist).unwrap().iter().find(|t| t.name == tag.name).unwrap().images
        );
    }
    assert_eq!(layout::read(&folder.join("one")).unwrap().len(), 3, "manifests as roots are read too");
}

#[test]
fn skopeo_takes_zstd_layers() {
    let Some(skopeo) = parts::program("skopeo") else { return };
    let (fixture, _) = layout_of_all(Codec::Zstd(kletimg::layers::ZstdLevel::HIGHEST));
    let source = format!("oci:dist:{TAG}");
    run(&skopeo, fixture.folder.path(), &["--insecure-policy", "copy", "--all", &source, "oci:other:x"]);
}

/// umoci resolves a name down to manifests: it takes a tag of one platform and calls one of several ambiguous.
#[test]
fn umoci_unpacks_a_tag_of_one_platform() {
    let (Some(umoci), Some(skopeo)) = (parts::program("umoci"), parts::program("skopeo")) else { return };
    let (fixture, tags) = layout_of_all(Codec::default());
    let folder = fixture.folder.path();
    let source = format!("oci:dist:{TAG}");
    run(
        &skopeo,
        folder,
        &["--insecure-policy", "--override-arch", "amd64", "copy", &source, &format!("oci:picked:{TAG}")],
    );
    let single = build_tag(&fixture.store, Codec::default(), 2, TAG, "plain", &[Platform::Amd64]);
    layout::write(&fixture.store, &folder.join("single"), &[single]).unwrap();
    for layout in ["picked", "single"] {
        let (image, bundle) = (format!("{layout}:{TAG}"), format!("{layout}-bundle"));
        let mut args = vec!["unpack", "--image", &image, &bundle];
        if !rustix::process::getuid().is_root() {
            args.insert(1, "--rootless");
        }
        run(&umoci, folder, &args);
        check_root(&folder.join(&bundle).join("rootfs"));
        let config = fs::read_to_string(folder.join(&bundle).join("config.json")).unwrap();
        assert!(config.contains("/usr/bin/kubelet") && config.contains("/var/lib/kubelet"), "{config}");
    }
    assert_eq!(tag(&tags, TAG).images.len(), 2);
    let ambiguous = Command::new(&umoci)
        .args(["unpack", "--rootless", "--image", &format!("dist:{TAG}"), "bundle"])
        .current_dir(folder)
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&ambiguous.stderr);
    assert!(message.contains("ambiguous"), "umoci has learned to choose, the documentation can say so: {message}");
}

fn check_root(root: &Path) {
    use std::os::unix::fs::MetadataExt as _;
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
    assert_eq!(read("etc/hostname"), "node\n", "the overlay's file stands");
    assert_eq!(read("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n");
    assert_eq!(read("usr/lib/kubernetes/README"), read("lib/kubernetes/README"));
    assert!(fs::symlink_metadata(root.join("lib")).unwrap().is_symlink());
    let metadata = |path: &str| fs::symlink_metadata(root.join(path)).unwrap();
    assert_eq!(metadata("usr/bin/sh").ino(), metadata("usr/bin/busybox").ino());
    assert_eq!(metadata("tmp").mode() & 0o7777, 0o1777);
    assert_eq!(metadata("etc/kubernetes").mode() & 0o7777, 0o700);
    assert_eq!(metadata("usr/bin/kubelet").mtime(), i64::try_from(EPOCH).unwrap());
}

#[test]
fn gnu_tar_and_gzip_accept_the_layers() {
    let (Some(tar), Some(gzip)) = (parts::program("tar"), parts::program("gzip")) else { return };
    let (fixture, tags) = layout_of_all(Codec::default());
    let base = fixture.blob(&tag(&tags, TAG).images[0].layers[0].digest);
    let folder = fixture.folder.path();
    let gz = folder.join("layer.tar.gz");
    fs::copy(&base, &gz).unwrap();
    run(&gzip, folder, &["-t", "layer.tar.gz"]);
    let listing = run(&tar, folder, &["--numeric-owner", "--utc", "--full-time", "-tvzf", "layer.tar.gz"]);
    for expected in [
        "lrwxrwxrwx 0/0",
        "drwxrwxrwt 0/0",
        "-rwsr-xr-x 0/70",
        "2021-01-13 13:15:21 tmp/",
        " lib -> usr/lib",
        " usr/bin/sh link to usr/bin/busybox",
    ] {
        assert!(listing.contains(expected), "no {expected:?} in\n{listing}");
    }
    let names = run(&tar, folder, &["--quoting-style=literal", "-tzf", "layer.tar.gz"]);
    assert!(names.contains("etc/ssl/Főtanúsítvány.crt\n"), "{names}");
}
