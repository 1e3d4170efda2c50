//! Versions x variants x platforms x bases, less what is excluded, with what is included, narrowed by the filter.

use std::collections::{BTreeMap, BTreeSet};

use super::{Base, Cell, Config, Input, Plan, Root, Selection, Tag, Terms, components::Builder, extra, request};
use crate::{
    base::{Platform, Version, VersionRange},
    matrix::{self, AlpineRepository, AskingCell, BaseRoot, Fields, Located, Matrix, Problems, Sink, Variant},
};

/// What the user wants of the matrix. An empty list means everything.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub kubernetes: Vec<VersionRange>,
    pub variants: Vec<String>,
    pub platforms: Vec<Platform>,
    pub bases: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Coordinates {
    kubernetes: Version,
    variant: String,
    base: String,
    platform: Platform,
}

/// Makes the plan of a matrix, narrowed by a filter. `host` is the platform of the machine that builds, for tools that
/// are pinned inputs; where it is none of the three, those of amd64 are named.
///
/// Everything that is wrong is returned at once: tags that would be named alike, components that no way serves.
pub fn plan(matrix: &Matrix, filter: &Filter, host: Option<Platform>) -> Result<Plan, Problems> {
    let sink = Sink::default();
    let all = coordinates(matrix);
    check_tags(matrix, &all, &sink);
    let mut builder = Builder::new(matrix, host.unwrap_or(Platform::Amd64), &sink);
    let mut bases = Vec::new();
    let mut tags: Vec<Tag> = Vec::new();
    for cell in all.iter().filter(|cell| filter.admits(cell)) {
        let Some(variant) = matrix.variants.get(&cell.variant) else { continue };
        let base = plan_base(matrix, variant, cell, &mut bases, &mut builder);
        let components = builder.components_of(variant, &cell.kubernetes, cell.platform);
        let Some(tag) = tag_of(matrix, variant, &cell.kubernetes, &cell.base) else { continue };
        let (Some(base), Some(components)) = (base, components) else { continue };
        let planned = Cell { platform: cell.platform, base, components };
        match tags.last_mut().filter(|last| last.repository == tag.repository && last.tag == tag.tag) {
            Some(last) => last.cells.push(planned),
            None => tags.push(Tag { cells: vec![planned], ..tag }),
        }
    }
    let kinds = all.iter().map(|cell| (cell.kubernetes.clone(), cell.variant.clone(), cell.base.clone())).collect();
    extra::assign(matrix, &kinds, &mut tags, &sink);
    let (components, selections, inputs) = builder.finish();
    let file = &matrix.file;
    sink.finish(Some(Plan {
        tags,
        components,
        bases,
        selections,
        inputs,
        compression: file.compression,
        squash: file.squash,
        pack: file.pack.as_ref().map_or_else(|| DEFAULT_PACK.to_owned(), |pack| pack.value.clone()),
    }))
}

/// Measured to give the smallest files at a bearable price: `--best` gains 0.4 % for a third more time, `--brute`
/// nothing for twenty times as much.
const DEFAULT_PACK: &str = "-9 --lzma";

/// All cells, in the order of the matrix file: newest version first where it is written first.
fn coordinates(matrix: &Matrix) -> Vec<Coordinates> {
    let file = &matrix.file;
    let mut cells = Vec::new();
    let mut seen = BTreeSet::new();
    let mut add = |cell: Coordinates| {
        if seen.insert(cell.clone()) {
            cells.push(cell);
        }
    };
    let values = |list: &[Located<String>]| -> Vec<String> { list.iter().map(|item| item.value.clone()).collect() };
    let versions: Vec<_> = file.kubernetes.iter().map(|version| version.value.clone()).collect();
    let platforms: Vec<_> = file.platforms.iter().map(|platform| platform.value).collect();
    let or = |mine: Vec<String>, all: &[Located<String>]| if mine.is_empty() { values(all) } else { mine };
    for cell in product(&versions, &values(&file.variants), &values(&file.bases), &platforms) {
        let excluded = file.exclude.iter().any(|rule| {
            rule.kubernetes.as_ref().is_none_or(|range| range.contains(&cell.kubernetes))
                && (rule.variants.is_empty() || rule.variants.iter().any(|variant| variant.value == cell.variant))
                && (rule.platforms.is_empty() || rule.platforms.contains(&cell.platform))
                && (rule.bases.is_empty() || rule.bases.iter().any(|base| base.value == cell.base))
        });
        if !excluded {
            add(cell);
        }
    }
    for rule in &file.include {
        let versions = if rule.versions.is_empty() { versions.clone() } else { rule.versions.clone() };
        let platforms = if rule.platforms.is_empty() { platforms.clone() } else { rule.platforms.clone() };
        let variants = or(values(&rule.variants), &file.variants);
        let bases = or(values(&rule.bases), &file.bases);
        product(&versions, &variants, &bases, &platforms).into_iter().for_each(&mut add);
    }
    // Included cells join the tag that already has other platforms of it.
    let mut order: BTreeMap<(Version, String, String), usize> = BTreeMap::new();
    for cell in &cells {
        let next = order.len();
        order.entry((cell.kubernetes.clone(), cell.base.clone(), cell.variant.clone())).or_insert(next);
    }
    cells.sort_by_key(|cell| {
        (order[&(cell.kubernetes.clone(), cell.base.clone(), cell.variant.clone())], cell.platform)
    });
    cells
}

fn product(versions: &[Version], variants: &[String], bases: &[String], platforms: &[Platform]) -> Vec<Coordinates> {
    let mut cells = Vec::new();
    for kubernetes in versions {
        for base in bases {
            for variant in variants {
                cells.extend(platforms.iter().map(|platform| Coordinates {
                    kubernetes: kubernetes.clone(),
                    variant: variant.clone(),
                    base: base.clone(),
                    platform: *platform,
                }));
            }
        }
    }
    cells
}

impl Filter {
    fn admits(&self, cell: &Coordinates) -> bool {
        (self.kubernetes.is_empty() || self.kubernetes.iter().any(|range| range.contains(&cell.kubernetes)))
            && (self.variants.is_empty() || self.variants.contains(&cell.variant))
            && (self.platforms.is_empty() || self.platforms.contains(&cell.platform))
            && (self.bases.is_empty() || self.bases.contains(&cell.base))
    }
}

/// The tag of a variant in a version on a base, without its cells.
pub(super) fn tag_of(matrix: &Matrix, variant: &Variant, kubernetes: &Version, base: &str) -> Option<Tag> {
    let image = matrix.image_of(variant);
    let name = matrix.file.images.get(image)?;
    let fields =
        Fields::new().kubernetes(kubernetes).with("variant", &variant.infix).with("base", base).with("image", image);
    let tag = name.tag.fill(&fields).ok()?;
    let layout_name = if Matrix::is_default_image(image) { tag.clone() } else { format!("{image}:{tag}") };
    Some(Tag {
        image: image.to_owned(),
        repository: name.repository.clone(),
        layout_name,
        extra: Vec::new(),
        tag,
        kubernetes: kubernetes.clone(),
        variant: variant.name.clone(),
        base: base.to_owned(),
        config: config_of(matrix, variant, kubernetes),
        cells: Vec::new(),
    })
}

fn config_of(matrix: &Matrix, variant: &Variant, kubernetes: &Version) -> Config {
    let mut labels = matrix.file.labels.clone();
    labels.extend(variant.labels.clone());
    Config {
        entrypoint: variant.start(kubernetes),
        cmd: Matrix::args(variant.cmd.as_ref(), kubernetes),
        env: variant.env.clone(),
        labels,
        volumes: variant.volumes.clone(),
        stop_signal: variant.stop_signal.clone(),
        working_dir: variant.working_dir.clone(),
    }
}

/// Two different images may not have one tag, and a tag must be one that registries take.
fn check_tags(matrix: &Matrix, cells: &[Coordinates], sink: &Sink) {
    for image in matrix.file.images.values() {
        let usable = ["kubernetes", "minor", "variant", "base", "image"];
        for name in image.tag.names().filter(|name| !usable.contains(name)) {
            let help = format!("a tag can hold: {}", usable.map(|name| format!("{{{name}}}")).join(", "));
            sink.report("invalid-tag", &image.at, format!("`{{{name}}}` is not known of a tag"), Some(help));
        }
    }
    let mut tags: BTreeMap<(String, String), (String, String, String)> = BTreeMap::new();
    let mut reported = BTreeSet::new();
    for cell in cells {
        let Some(variant) = matrix.variants.get(&cell.variant) else { continue };
        let Some(tag) = tag_of(matrix, variant, &cell.kubernetes, &cell.base) else { continue };
        let image = &matrix.file.images[&tag.image];
        if !is_tag(&tag.tag) && reported.insert(tag.reference()) {
            let help = "a tag has up to 128 letters, digits, `_`, `.` and `-`, and begins with none of the last two";
            let message = format!("`{}` is no tag that registries take", tag.tag);
            sink.report("invalid-tag", &image.at, message, Some(help.to_owned()));
        }
        let mine = (cell.kubernetes.to_string(), cell.variant.clone(), cell.base.clone());
        let other = tags.entry((tag.repository.clone(), tag.tag.clone())).or_insert_with(|| mine.clone());
        if *other != mine && reported.insert(tag.reference()) {
            let message = format!(
                "the tag `{}` would name both {} {} on {} and {} {} on {}",
                tag.reference(),
                other.1,
                other.0,
                other.2,
                mine.1,
                mine.0,
                mine.2
            );
            let help = "tell them apart in `tag`, for example `v{kubernetes}{-variant}-{base}`".to_owned();
            sink.report("duplicate-tag", &image.at, message, Some(help));
        }
    }
}

/// <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests>
pub(super) fn is_tag(tag: &str) -> bool {
    tag.len() <= 128
        && tag.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && tag.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

fn plan_base(
    matrix: &Matrix,
    variant: &Variant,
    cell: &Coordinates,
    bases: &mut Vec<Base>,
    builder: &mut Builder<'_>,
) -> Option<usize> {
    let base = matrix.bases.get(&cell.base)?;
    if !base.kubernetes.contains(&cell.kubernetes) {
        let message = format!(
            "the base `{}` serves Kubernetes {}, but the matrix combines it with {}",
            base.name, base.kubernetes, cell.kubernetes
        );
        builder.report_once("base-out-of-range", &base.at, message, "use another base for it, or `[[exclude]]` it");
        return None;
    }
    let held = variant.components.iter().filter(|used| used.kubernetes.contains(&cell.kubernetes));
    let components: Vec<&str> = held.map(|used| used.component.value.as_str()).collect();
    let asking = AskingCell {
        kubernetes: &cell.kubernetes,
        image: matrix.image_of(variant),
        platform: cell.platform,
        components: &components,
    };
    let root = plan_root(base, &asking, builder)?;
    let planned = Base { name: base.name.clone(), platform: cell.platform, root };
    Some(bases.iter().position(|known| *known == planned).unwrap_or_else(|| {
        bases.push(planned);
        bases.len() - 1
    }))
}

fn plan_root(base: &matrix::Base, cell: &AskingCell<'_>, builder: &mut Builder<'_>) -> Option<Root> {
    match &base.root {
        BaseRoot::Archive(origin) => {
            let fields = Fields::new().kubernetes(cell.kubernetes).platform(cell.platform).with("base", &base.name);
            let purpose = format!("base {} {}", base.name, cell.platform);
            builder.input(origin, fields, &purpose, &base.at).map(Root::Archive)
        }
        BaseRoot::Alpine(alpine) => {
            for [first, second] in alpine.contradictions(cell) {
                let message = format!(
                    "`{}` and `{}` at {} ask for one package in two ways, in the same images",
                    second.value, first.value, first.at
                );
                let help = "write one of them that says all, such as `name~1.2`, or let their groups serve different \
                            versions, images, components or platforms";
                builder.report_once("two-constraints", &second.at, message, help);
            }
            let asked = alpine.request(cell);
            let repositories: Vec<_> = alpine.repositories.iter().map(AlpineRepository::prefix).collect();
            let mut select = |request| {
                let (base, repositories) = (base.name.clone(), repositories.clone());
                let terms = Some(Terms { repositories: alpine.repositories.clone(), keys: alpine.key_names() });
                builder.selection(Selection { base, platform: cell.platform, request, repositories, terms })
            };
            Some(Root::Packages { all: select(asked.all), shared: select(asked.shared) })
        }
        BaseRoot::Debian(debian) => {
            let asked = debian.request(cell);
            let mut select = |names| {
                let request = request::install(debian, names);
                builder.ask(&base.name, debian, cell.platform, request)
            };
            Some(Root::Packages { all: select(asked.all), shared: select(asked.shared) })
        }
    }
}

impl Input {
    /// The last part of the URL's path.
    pub fn file_name(&self) -> &str {
        let path = self.url.split(['?', '#']).next().unwrap_or(&self.url);
        path.rsplit('/').next().unwrap_or(path)
    }
}
