use super::*;
use crate::{
    base::{Content, Digest, Tree},
    rootfs::{directory, file, symlink},
};

fn path(text: &str) -> TreePath {
    TreePath::new(text).unwrap()
}

fn text(content: &str) -> Entry {
    file(Content { blob: Digest::of(content), offset: 0, size: content.len() as u64 }, 0o644)
}

fn hardlink(to: &str) -> Entry {
    Entry::new(0o644, Node::Hardlink(path(to)))
}

fn part(layer: &str, role: Role, entries: Vec<(&str, Entry)>) -> Part {
    let tree = Tree { entries: entries.into_iter().map(|(p, entry)| (path(p), entry)).collect() };
    Part { layer: LayerName::new(layer), role, tree, origin: format!("the {layer} part") }
}

/// `layer: path path ...` for every layer.
fn listing(rootfs: &Rootfs) -> Vec<String> {
    let line = |layer: &Layer| {
        let paths: Vec<_> = layer.tree.iter().map(|(path, _)| path.as_str()).collect();
        format!("{}: {}", layer.name, paths.join(" "))
    };
    rootfs.layers().iter().map(line).collect()
}

#[test]
fn a_layer_repeats_the_directories_it_needs_as_the_layers_below_have_them() {
    let rootfs = assemble(&[
        part("base", Role::Base, vec![("opt", directory(0o700)), ("srv", directory(0o755))]),
        part(
            "kubelet",
            Role::Component,
            vec![("opt", directory(0o755)), ("opt/bin/kubelet", text("k")), ("srv", directory(0o777))],
        ),
    ])
    .unwrap();
    assert_eq!(listing(&rootfs), ["base: opt srv", "kubelet: opt opt/bin opt/bin/kubelet"]);
    assert_eq!(rootfs.layers()[1].tree.get(&path("opt")), Some(&directory(0o700)));
    assert_eq!(rootfs.layers()[1].tree.get(&path("opt/bin")), Some(&directory(0o755)));
}

#[test]
fn only_an_overlay_replaces_and_only_what_is_no_component() {
    let old = || vec![("etc/x", text("old"))];
    let new = || vec![("etc/x", text("new"))];
    let cases = [
        (Role::Base, Role::Overlay, true),
        (Role::Overlay, Role::Overlay, true),
        (Role::Component, Role::Overlay, false),
        (Role::Base, Role::Component, false),
        (Role::Base, Role::Base, false),
        (Role::Component, Role::Component, false),
    ];
    for (earlier, later, allowed) in cases {
        let result = assemble(&[part("one", earlier, old()), part("two", later, new())]);
        match result {
            Ok(rootfs) => {
                assert!(allowed, "{earlier:?} {later:?}");
                assert_eq!(rootfs.merged().get(&path("etc/x")), Some(&text("new")));
            }
            Err(error) => {
                assert!(!allowed, "{earlier:?} {later:?}");
                let message = error.to_string();
                assert!(message.contains("the one part") && message.contains("the two part"), "{message}");
            }
        }
        let same = assemble(&[part("one", earlier, old()), part("two", later, old())]).unwrap();
        assert_eq!(listing(&same), ["one: etc etc/x", "two: "], "equal entries serve both");
    }
}

#[test]
fn files_and_directories_do_not_stand_for_each_other() {
    let cases = [
        (vec![("x", text("file"))], vec![("x", directory(0o755))], "it is a directory there and a file in the base"),
        (vec![("x", directory(0o755))], vec![("x", text("f"))], "it is a file there and a directory in the base"),
        (vec![("x", directory(0o755))], vec![("x", symlink("y"))], "a symbolic link there and a directory in"),
        (vec![("x", text("file"))], vec![("x/y", text("f"))], "`x`, which would have to be a directory, is a file of"),
        (vec![("a", symlink("b")), ("b", symlink("a"))], vec![("a/y", text("f"))], "the symbolic links above it"),
        (vec![], vec![("etc/.wh.passwd", text("f"))], "mean deletion"),
        (vec![], vec![(".wh.dir/x", text("f"))], "mean deletion"),
        (vec![("a", symlink(".wh.b"))], vec![("a/x", text("f"))], "mean deletion"),
        (vec![], vec![("a", hardlink("gone"))], "a hard link to `gone`, which is no file of"),
        (vec![], vec![("a", hardlink("a"))], "a hard link to `a`, which is no file of"),
    ];
    for (base, overlay, expected) in cases {
        let parts = [part("base", Role::Base, base), part("configuration", Role::Overlay, overlay)];
        let message = assemble(&parts).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}\nhas no\n{expected}");
    }
}

#[test]
fn paths_below_a_symbolic_link_go_to_its_target() {
    let rootfs = assemble(&[
        part(
            "base",
            Role::Base,
            vec![
                ("lib", symlink("usr/lib")),
                ("usr", directory(0o755)),
                ("usr/lib", directory(0o751)),
                ("var/run", symlink("/run")),
            ],
        ),
        part(
            "kubelet",
            Role::Component,
            vec![
                ("lib", directory(0o755)),
                ("lib/modules/x", text("x")),
                ("var/run", directory(0o755)),
                ("var/run/kubelet/y", hardlink("lib/modules/x")),
            ],
        ),
    ])
    .unwrap();
    assert_eq!(
        listing(&rootfs),
        [
            "base: lib usr usr/lib var var/run",
            "kubelet: run run/kubelet run/kubelet/y usr usr/lib usr/lib/modules usr/lib/modules/x"
        ]
    );
    let layer = &rootfs.layers()[1].tree;
    assert_eq!(layer.get(&path("run/kubelet/y")), Some(&text("x")), "the first name holds the content");
    assert_eq!(layer.get(&path("usr/lib/modules/x")).unwrap().node, Node::Hardlink(path("run/kubelet/y")));
    assert_eq!(layer.get(&path("usr/lib")), Some(&directory(0o751)));
}

#[test]
fn two_ways_to_one_place_within_a_part_collide() {
    let twice = vec![("lib", symlink("usr/lib")), ("lib/x", text("1")), ("usr/lib/x", text("2"))];
    for role in [Role::Base, Role::Overlay] {
        let error = assemble(&[part("base", role, twice.clone())]).unwrap_err();
        assert!(matches!(error, RootfsError::Collision { .. }), "{error}");
    }
}

#[test]
fn a_replaced_name_of_a_file_leaves_its_other_names_alone() {
    let rootfs = assemble(&[
        part("base", Role::Base, vec![("a", text("old")), ("b", hardlink("a")), ("c", hardlink("b"))]),
        part("configuration", Role::Overlay, vec![("a", text("new"))]),
    ])
    .unwrap();
    assert_eq!(rootfs.layers()[0].tree.get(&path("b")).unwrap().node, Node::Hardlink(path("a")));
    let merged = rootfs.merged();
    assert_eq!(merged.get(&path("a")), Some(&text("new")));
    assert_eq!(merged.get(&path("b")), Some(&text("old")));
    assert_eq!(merged.get(&path("c")).unwrap().node, Node::Hardlink(path("b")));
}

#[test]
fn a_directory_that_had_to_be_made_takes_the_metadata_that_is_stated_later() {
    let rootfs = assemble(&[
        part("base", Role::Base, vec![("var/lib/x", text("x"))]),
        part("base", Role::Base, vec![("var/lib", directory(0o700))]),
    ])
    .unwrap();
    assert_eq!(rootfs.layers()[0].tree.get(&path("var/lib")), Some(&directory(0o700)));
}

#[test]
fn layers_cannot_be_mixed() {
    let parts = ["base", "kubelet", "base"].map(|layer| part(layer, Role::Base, vec![]));
    assert!(matches!(assemble(&parts), Err(RootfsError::LayersMixed { .. })));
}
