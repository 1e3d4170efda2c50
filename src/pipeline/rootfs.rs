//! The parts of an image: its base, the files that definitions lay over it, and its components.

use super::{Step, components::Built, packages::Assembled, work::Work};
use crate::{
    base::{Blob, Content, Entry, Node, Tree},
    host::files,
    inputs::{
        archive::{self, Devices, Format, Limits},
        deb::units,
        store::Store,
    },
    matrix::{Overlay, OverlayKind},
    plan::{self, Tag},
    rootfs::{LayerName, Part, Role, Rootfs, assemble, without},
};

/// Overlay files are configuration, written by hand.
const LARGEST_FILE: u64 = 64 << 20;

/// The base's archive without what its definition removes.
pub(super) fn base(work: &Work, base: &plan::Base, url: &str, blob: Blob) -> Result<Assembled, Step> {
    trimmed(work, base, &archive::unpack(work.store(), &blob, base_format(url), &BASE_LIMITS)?)
}

/// The same, where the archive was unpacked before: it need not be here, and is not read.
pub(super) fn recorded_base(work: &Work, base: &plan::Base, url: &str) -> Result<Option<Assembled>, Step> {
    let Some(pin) = work.lock.inputs.get(url) else { return Ok(None) };
    let tree = archive::unpacked(work.store(), &pin.sha256, base_format(url), &BASE_LIMITS);
    tree.map(|tree| trimmed(work, base, &tree)).transpose()
}

/// Limits of root file systems, which may have been packed with a `/dev`.
const BASE_LIMITS: Limits = Limits { devices: Devices::Skip, ..Limits::DEFAULT };

fn base_format(url: &str) -> Format {
    Format::of_name(url).unwrap_or(Format::Tar(archive::Compression::Gzip))
}

fn trimmed(work: &Work, base: &plan::Base, tree: &Tree) -> Result<Assembled, Step> {
    let removed = work.matrix.bases.get(&base.name).map(|definition| &definition.remove);
    let removed: Vec<_> = removed.into_iter().flatten().map(|path| path.value.clone()).collect();
    let tree = without(tree, &removed, &format!("base {}", base.name))?;
    Ok(Assembled { bottom: vec![("base".to_owned(), tree)], ..Assembled::default() })
}

/// Puts the parts of a cell together: the base, configuration, and components in the order of their layers.
pub(super) fn assemble_cell(
    work: &Work,
    tag: &Tag,
    base: &Assembled,
    components: &[(&plan::Component, &Built)],
) -> Result<Rootfs, Step> {
    // A package beside the shared ones may stand in the place of one of their links, such as BusyBox's.
    let of_base = |(layer, tree): &(String, Tree)| Part {
        layer: LayerName::new(layer),
        role: if base.bottom.first().is_some_and(|(lowest, _)| lowest == layer) { Role::Base } else { Role::Overlay },
        tree: tree.clone(),
        origin: format!("base {}", tag.base),
    };
    let mut parts: Vec<_> = base.bottom.iter().map(of_base).collect();
    let files = [
        work.matrix.bases.get(&tag.base).map(|base| (format!("base {}", tag.base), &base.files)),
        work.matrix.variants.get(&tag.variant).map(|variant| (format!("variant {}", tag.variant), &variant.files)),
    ];
    for (origin, files) in files.into_iter().flatten() {
        let tree = overlay(work.store(), files, tag)?;
        parts.push(Part { layer: LayerName::new("configuration"), role: Role::Overlay, tree, origin });
    }
    parts.extend(enabled(work, tag, &parts)?);
    let mut components: Vec<_> = components.iter().collect();
    components.sort_by_key(|(component, _)| (component.order, &component.layer, &component.name));
    for (component, built) in components {
        parts.push(Part {
            layer: LayerName::new(&component.layer),
            role: Role::Component,
            tree: built.tree(component)?,
            origin: format!("component {}", component.name),
        });
    }
    parts.extend(base.top.iter().map(of_base));
    Ok(assemble(&parts)?)
}

/// The links that enable the units which a variant asks for.
fn enabled(work: &Work, tag: &Tag, parts: &[Part]) -> Result<Option<Part>, Step> {
    let Some(variant) = work.matrix.variants.get(&tag.variant).filter(|variant| !variant.enable.is_empty()) else {
        return Ok(None);
    };
    let trees: Vec<_> = parts.iter().map(|part| &part.tree).collect();
    let tree = units::enable(work.store(), &trees, variant.enable.iter().map(|unit| unit.value.as_str()))?;
    let origin = format!("units of variant {}", tag.variant);
    Ok(Some(Part { layer: LayerName::new("configuration"), role: Role::Overlay, tree, origin }))
}

/// The tree of `[[files]]` for one tag.
fn overlay(store: &Store, files: &[Overlay], tag: &Tag) -> Result<Tree, Step> {
    let mut tree = Tree::new();
    let meant = |file: &&Overlay| {
        file.kubernetes.contains(&tag.kubernetes) && file.image.as_ref().is_none_or(|image| image.value == tag.image)
    };
    for file in files.iter().filter(meant) {
        let node = match &file.kind {
            OverlayKind::Text(text) => Node::File(Content::whole(store.put(text.as_bytes())?)),
            OverlayKind::Source(source) => {
                let bytes = files::read(&file.folder().join(source), LARGEST_FILE)?;
                Node::File(Content::whole(store.put(&bytes)?))
            }
            OverlayKind::Link(target) => Node::Symlink(target.clone()),
            OverlayKind::Directory => Node::Directory,
        };
        tree.insert(file.path.clone(), Entry::new(file.effective_mode(), node));
    }
    Ok(tree)
}
