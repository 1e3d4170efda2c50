//! The files put together: names that must exist, chains that must end, flags that must be known.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{
    Base, BaseRoot, ByVersion, Component, Definition, DefinitionKind, GoOrigin, MatrixFile, Problems, Toolchain,
    ToolchainName, ToolchainOrigin, Variant, Way, WayKind,
    file::{DEFAULT_IMAGE, Rule},
    problem::{At, Located, Sink, suggest},
    read,
};
use crate::{
    base::Version,
    kubernetes::flags::{self, RemovedFlag},
};

/// A matrix with all its definitions. Every name in it exists, and every variant has taken over what it extends.
#[derive(Clone, Debug)]
pub struct Matrix {
    pub file: MatrixFile,
    pub variants: BTreeMap<String, Variant>,
    pub components: BTreeMap<String, Component>,
    pub bases: BTreeMap<String, Base>,
}

/// Reads and checks a matrix file and its definitions; either everything is right or all that is wrong is returned.
pub fn load(path: &Path, text: &str, definitions: &[Definition]) -> Result<Matrix, Problems> {
    let sink = Sink::default();
    let file = read::read(path, text, &sink, MatrixFile::read);
    let mut variants = BTreeMap::new();
    let mut components = BTreeMap::new();
    let mut bases = BTreeMap::new();
    for definition in definitions {
        let Definition { name, kind, path, text } = definition;
        // The first folder that defines a name wins, as the order of `definitions` says.
        match kind {
            DefinitionKind::Variant if !variants.contains_key(name) => {
                let variant = read::read(path, text, &sink, |table| Some(Variant::read(name, table)));
                variants.insert(name.clone(), variant);
            }
            DefinitionKind::Component if !components.contains_key(name) => {
                let component = read::read(path, text, &sink, |table| Component::read(name, table));
                components.insert(name.clone(), component);
            }
            DefinitionKind::Base if !bases.contains_key(name) => {
                let base = read::read(path, text, &sink, |table| Base::read(name, table));
                bases.insert(name.clone(), base);
            }
            _ => {}
        }
    }
    let names = Names {
        variants: variants.keys().cloned().collect(),
        components: components.keys().cloned().collect(),
        bases: bases.keys().cloned().collect(),
    };
    let mut variants: BTreeMap<_, _> = variants.into_iter().filter_map(|(name, v)| Some((name, v?))).collect();
    let components: BTreeMap<_, _> = components.into_iter().filter_map(|(name, c)| Some((name, c?))).collect();
    check_variants(&variants, &names, &components, file.as_ref(), &sink);
    extend_variants(&mut variants, &sink);
    check_start(&variants, &sink);
    let matrix = file.map(|file| Matrix {
        file,
        variants,
        components,
        bases: bases.into_iter().filter_map(|(name, b)| Some((name, b?))).collect(),
    });
    if let Some(matrix) = &matrix {
        check_names(matrix, &names, &sink);
        check_bases(matrix, &names, &sink);
        check_from(matrix, &names, &sink);
        check_values(&matrix.file, &sink);
        check_flags(matrix, &sink);
        check_paths(matrix, &sink);
    }
    sink.finish(matrix)
}

/// Everything that is defined, also where the definition itself is wrong: one mistake is reported once.
struct Names {
    variants: BTreeSet<String>,
    components: BTreeSet<String>,
    bases: BTreeSet<String>,
}

fn require(name: &Located<String>, kind: DefinitionKind, known: &BTreeSet<String>, sink: &Sink) {
    if !known.contains(&name.value) {
        let code = match kind {
            DefinitionKind::Variant => "unknown-variant",
            DefinitionKind::Component => "unknown-component",
            DefinitionKind::Base => "unknown-base",
        };
        let help = suggest(&name.value, known.iter().map(String::as_str));
        sink.report(code, &name.at, format!("there is no {} `{}`", kind.noun(), name.value), Some(help));
    }
}

fn check_variants(
    variants: &BTreeMap<String, Variant>,
    names: &Names,
    components: &BTreeMap<String, Component>,
    file: Option<&MatrixFile>,
    sink: &Sink,
) {
    for variant in variants.values() {
        for base in &variant.extends {
            require(base, DefinitionKind::Variant, &names.variants, sink);
        }
        for used in &variant.components {
            require(&used.component, DefinitionKind::Component, &names.components, sink);
        }
        for packed in variant.pack.iter().flatten() {
            require(packed, DefinitionKind::Component, &names.components, sink);
            if components.get(&packed.value).is_some_and(|component| component.daemon) {
                let message = format!("`{}` is a daemon, and daemons are never packed", packed.value);
                sink.report("packed-daemon", &packed.at, message, Some("take it out of `pack`".to_owned()));
            }
        }
        if let (Some(image), Some(file)) = (&variant.image, file)
            && !file.images.contains_key(&image.value)
        {
            let help = format!("write `[images.{}]` with its `repository` into the matrix file", image.value);
            // Only an error for a variant that is to be built.
            if file.variants.iter().any(|used| used.value == variant.name) {
                let message = format!("the matrix does not say where the image `{}` belongs", image.value);
                sink.report("unknown-image", &image.at, message, Some(help));
            }
        }
    }
}

/// Follows `extends` depth first. A chain that comes back to itself is reported where it closes.
fn extend_variants(variants: &mut BTreeMap<String, Variant>, sink: &Sink) {
    let names: Vec<_> = variants.keys().cloned().collect();
    let mut done = BTreeSet::new();
    for name in names {
        extend(&name, variants, &mut done, &mut Vec::new(), sink);
    }
}

fn extend(
    name: &str,
    variants: &mut BTreeMap<String, Variant>,
    done: &mut BTreeSet<String>,
    chain: &mut Vec<String>,
    sink: &Sink,
) {
    let Some(mut variant) = variants.get(name).filter(|_| !done.contains(name)).cloned() else { return };
    chain.push(name.to_owned());
    // The last one named is the nearest: it is taken over first, so that what it says wins over the others.
    for base in variant.extends.clone().iter().rev() {
        if chain.contains(&base.value) {
            let message = format!("the chain of `extends` comes back to `{}`: {}", base.value, chain.join(" -> "));
            sink.report("circular-extends", &base.at, message, Some("remove one of them".to_owned()));
            continue;
        }
        extend(&base.value, variants, done, chain, sink);
        if let Some(base) = variants.get(&base.value) {
            variant.extend_from(base);
        }
    }
    chain.pop();
    let mut seen = BTreeSet::new();
    variant.components.retain(|used| seen.insert((used.component.value.clone(), used.kubernetes.to_string())));
    variants.insert(name.to_owned(), variant);
    done.insert(name.to_owned());
}

fn check_names(matrix: &Matrix, names: &Names, sink: &Sink) {
    let file = &matrix.file;
    let rules = || file.exclude.iter().chain(&file.include);
    for variant in file.variants.iter().chain(rules().flat_map(|rule: &Rule| &rule.variants)) {
        require(variant, DefinitionKind::Variant, &names.variants, sink);
    }
    for base in file.bases.iter().chain(rules().flat_map(|rule: &Rule| &rule.bases)) {
        require(base, DefinitionKind::Base, &names.bases, sink);
    }
}

/// Groups of packages for images that no variant belongs to would never be installed.
fn check_bases(matrix: &Matrix, names: &Names, sink: &Sink) {
    let images: BTreeSet<&str> =
        matrix.variants.values().map(|variant| matrix.image_of(variant)).chain([DEFAULT_IMAGE]).collect();
    let groups = || matrix.bases.values().flat_map(Base::groups);
    let is_image = |image: &&Located<String>| images.contains(image.value.as_str());
    let of_files = matrix.bases.values().flat_map(|base| &base.files).filter_map(|file| file.image.as_ref());
    let meant = groups().filter_map(|group| group.image.as_ref()).chain(of_files);
    for image in meant.filter(|image| !is_image(image)) {
        let help = suggest(&image.value, images.iter().copied());
        let message = format!("no variant belongs to the image `{}`", image.value);
        sink.report("unknown-image", &image.at, message, Some(help));
    }
    for component in groups().filter_map(|group| group.component.as_ref()) {
        require(component, DefinitionKind::Component, &names.components, sink);
    }
}

/// What is taken from a base's repositories needs a base that has such.
fn check_from(matrix: &Matrix, names: &Names, sink: &Sink) {
    let of_way = |way: &Way| match &way.kind {
        WayKind::Package { from, .. } | WayKind::Go { origin: GoOrigin::SourcePackage { from, .. }, .. } => {
            Some(from.clone())
        }
        WayKind::Go { .. } | WayKind::Release { .. } | WayKind::File { .. } => None,
    };
    let of_tool = |tool: &Toolchain| match &tool.origin {
        ToolchainOrigin::Packages { from, .. } => Some(from.clone()),
        ToolchainOrigin::Archive { .. } => None,
    };
    let ways = matrix.components.values().flat_map(|component| &component.ways).filter_map(of_way);
    for from in ways.chain(matrix.file.toolchains.iter().filter_map(of_tool)) {
        require(&from, DefinitionKind::Base, &names.bases, sink);
        if matrix.bases.get(&from.value).is_some_and(|base| !matches!(base.root, BaseRoot::Debian(_))) {
            let help = "name a base with Debian's repositories, such as `debian12`".to_owned();
            let message = format!("the base `{}` is not made of Debian's packages", from.value);
            sink.report("no-debian-base", &from.at, message, Some(help));
        }
    }
}

/// Lists that hold something twice or nothing at all, and prefixes that are no URLs.
fn check_values(file: &MatrixFile, sink: &Sink) {
    fn unique<T: Ord + std::fmt::Display>(list: &[Located<T>], what: &str, sink: &Sink) {
        let mut seen = BTreeSet::new();
        for item in list.iter().filter(|item| !seen.insert(&item.value)) {
            let message = format!("{what} `{}` is given twice", item.value);
            sink.report("given-twice", &item.at, message, Some("remove one of them".to_owned()));
        }
    }
    unique(&file.kubernetes, "the Kubernetes version", sink);
    unique(&file.platforms, "the platform", sink);
    unique(&file.variants, "the variant", sink);
    unique(&file.bases, "the base", sink);
    let mut tools = BTreeSet::new();
    for tool in file.toolchains.iter().filter(|tool| !tools.insert(tool.name)) {
        sink.report("given-twice", &tool.at, format!("the toolchain `{}` is given twice", tool.name), None);
    }
    for (prefix, targets) in &file.mirrors {
        if !["https://", "http://", "deb://"].iter().any(|scheme| prefix.value.starts_with(scheme)) {
            let help = "write the beginning of the URLs that it stands in for".to_owned();
            sink.report("invalid-mirror", &prefix.at, format!("`{}` is no URL", prefix.value), Some(help));
        }
        if targets.is_empty() {
            let help = "write `\"https://prefix\" = \"https://mirror\"`".to_owned();
            sink.report("invalid-mirror", &prefix.at, format!("`{}` has no mirror", prefix.value), Some(help));
        }
        for target in targets.iter().filter(|target| !is_mirror(&target.value)) {
            let help = "write an http:// or https:// URL with its host, or file:/// and a folder".to_owned();
            sink.report("invalid-mirror", &target.at, "this cannot be a mirror", Some(help));
        }
    }
}

fn is_mirror(target: &str) -> bool {
    url::Url::parse(target).is_ok_and(|url| match url.scheme() {
        "http" | "https" => url.has_host(),
        "file" => target.starts_with("file:///"),
        _ => false,
    })
}

/// Two files in one place: known as soon as both components go into one image. What bases and packages bring is seen
/// when they are put together.
fn check_paths(matrix: &Matrix, sink: &Sink) {
    let included = || matrix.file.include.iter();
    let listed = matrix.file.kubernetes.iter().map(|version| &version.value);
    let versions: BTreeSet<&Version> = listed.chain(included().flat_map(|rule| &rule.versions)).collect();
    let names = matrix.file.variants.iter().chain(included().flat_map(|rule| &rule.variants));
    let mut reported = BTreeSet::new();
    for variant in names.filter_map(|name| matrix.variants.get(&name.value)) {
        for version in &versions {
            let mut places = BTreeMap::new();
            for used in variant.components.iter().filter(|used| used.kubernetes.contains(version)) {
                let Some(component) = matrix.components.get(&used.component.value) else { continue };
                for file in &component.files {
                    let path = format!("{}/{}", component.directory, file.name);
                    let first = *places.entry(path.clone()).or_insert(&component.name);
                    if first != &component.name && reported.insert((used.component.at.to_string(), path.clone())) {
                        let message = format!("`{first}` and `{}` both bring `/{path}`", component.name);
                        let help = "take one of them out, or give it another `directory`".to_owned();
                        sink.report("path-twice", &used.component.at, message, Some(help));
                    }
                }
            }
        }
    }
}

/// A kubelet that is given a flag it no longer knows exits at start: such a tag is never built.
fn check_flags(matrix: &Matrix, sink: &Sink) {
    let versions: BTreeSet<&Version> = matrix
        .file
        .kubernetes
        .iter()
        .map(|version| &version.value)
        .chain(matrix.file.include.iter().flat_map(|rule| &rule.versions))
        .collect();
    let mut reported = BTreeSet::new();
    for name in matrix.file.variants.iter().chain(matrix.file.include.iter().flat_map(|rule| &rule.variants)) {
        let Some(variant) = matrix.variants.get(&name.value) else { continue };
        for version in &versions {
            // A wrapper may stand before it.
            let start = variant.start(version);
            let mut programs = start.iter().take_while(|arg| !arg.starts_with('-'));
            if !programs.any(|program| program.rsplit('/').next() == Some("kubelet")) {
                continue;
            }
            for (at, arg) in given_args(variant, version) {
                let Some(removed) = flags::removed(arg, version) else { continue };
                if reported.insert((at.to_string(), removed.flag)) {
                    let RemovedFlag { flag, since } = removed;
                    let message = format!("the kubelet {version} exits on `--{flag}`, gone since {since}");
                    let help = format!(
                        "give it only to older versions: options = [{{ option = \"--{flag}=...\", kubernetes = \"<{since}\" }}]"
                    );
                    sink.report("removed-flag", at, message, Some(help));
                }
            }
        }
    }
}

/// Everything that a variant gives to its program, and where it says so.
fn given_args<'a>(variant: &'a Variant, kubernetes: &'a Version) -> impl Iterator<Item = (&'a At, &'a String)> {
    let args = [&variant.entrypoint, &variant.cmd].into_iter().flatten();
    let args = args.flat_map(|args| args.value.get(kubernetes).into_iter().flatten().map(|arg| (&args.at, arg)));
    let options = variant.options.iter().filter(|option| option.kubernetes.contains(kubernetes));
    args.chain(options.map(|option| (&option.option.at, &option.option.value)))
}

/// Options are somebody's: without a program they would be taken for it.
fn check_start(variants: &BTreeMap<String, Variant>, sink: &Sink) {
    let mut reported = BTreeSet::new();
    for variant in variants.values().filter(|variant| variant.entrypoint.is_none()) {
        if let Some(option) = variant.options.first()
            && reported.insert(option.option.at.to_string())
        {
            let message = format!("`{}` is an option of no program", option.option.value);
            let help = "write `entrypoint = [\"PROGRAM\"]` in this variant or in one that it extends".to_owned();
            sink.report("option-without-program", &option.option.at, message, Some(help));
        }
    }
}

impl Matrix {
    /// The image that a variant's cells belong to.
    pub fn image_of<'a>(&self, variant: &'a Variant) -> &'a str {
        variant.image.as_ref().map_or(DEFAULT_IMAGE, |image| image.value.as_str())
    }

    /// Whether this is the image whose tags stand in a layout by their bare name.
    pub fn is_default_image(image: &str) -> bool {
        image == DEFAULT_IMAGE
    }

    pub fn toolchain(&self, name: ToolchainName) -> Option<&Toolchain> {
        self.file.toolchains.iter().find(|tool| tool.name == name)
    }

    /// The arguments for a version; none where nothing is said.
    pub fn args(args: Option<&Located<ByVersion<Vec<String>>>>, kubernetes: &Version) -> Vec<String> {
        args.and_then(|args| args.value.get(kubernetes)).cloned().unwrap_or_default()
    }
}
