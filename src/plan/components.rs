//! Which way each component is obtained, with every placeholder filled and the reason in words.

use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
};

use super::{Check, Component, File, GoSource, Input, Selection, Supply, Tool, ToolInput, Way, request};
use crate::{
    base::{Platform, TreePath, Version},
    matrix::{
        self, At, BaseRoot, DebianRoot, Fields, GoOrigin, Located, Matrix, Origin, Sink, Template, ToolchainName,
        ToolchainOrigin, Variant, WayKind,
    },
};

/// Collects components, selections and inputs, each once.
pub(super) struct Builder<'a> {
    matrix: &'a Matrix,
    host: Platform,
    sink: &'a Sink,
    components: Vec<Component>,
    /// Where a component was planned before. Only looked up in, never walked through.
    known: HashMap<(String, Version, Platform, bool), Option<usize>>,
    selections: Vec<Selection>,
    inputs: Vec<Input>,
    urls: BTreeSet<String>,
    reported: BTreeSet<String>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(matrix: &'a Matrix, host: Platform, sink: &'a Sink) -> Self {
        Self {
            matrix,
            host,
            sink,
            components: Vec::new(),
            known: HashMap::new(),
            selections: Vec::new(),
            inputs: Vec::new(),
            urls: BTreeSet::new(),
            reported: BTreeSet::new(),
        }
    }

    pub(super) fn finish(self) -> (Vec<Component>, Vec<Selection>, Vec<Input>) {
        (self.components, self.selections, self.inputs)
    }

    /// Notes packages that are asked for and returns their index.
    pub(super) fn selection(&mut self, selection: Selection) -> usize {
        self.selections.iter().position(|known| *known == selection).unwrap_or_else(|| {
            self.selections.push(selection);
            self.selections.len() - 1
        })
    }

    /// Asks the repositories of a Debian base something and returns the question's index.
    pub(super) fn ask(&mut self, base: &str, root: &DebianRoot, platform: Platform, request: Vec<String>) -> usize {
        let mut repositories: Vec<_> =
            root.repositories.iter().map(|repository| format!("{}/", repository.prefix())).collect();
        repositories.sort();
        repositories.dedup();
        self.selection(Selection { base: base.to_owned(), platform, request, repositories, terms: None })
    }

    /// The Debian base of a name. Files that name another have been refused when they were checked.
    fn debian(&self, from: &Located<String>) -> Option<(&'a str, &'a DebianRoot)> {
        let base = self.matrix.bases.get(&from.value)?;
        match &base.root {
            BaseRoot::Debian(root) => Some((&base.name, root)),
            BaseRoot::Archive(_) | BaseRoot::Alpine(_) => None,
        }
    }

    /// Reports something that many cells have in common only for the first of them.
    pub(super) fn report_once(&mut self, code: &'static str, at: &At, message: String, help: &str) {
        if self.reported.insert(message.clone()) {
            self.sink.report(code, at, message, Some(help.to_owned()));
        }
    }

    /// The indexes of a variant's components, `None` when one of them cannot be had.
    pub(super) fn components_of(
        &mut self,
        variant: &Variant,
        kubernetes: &Version,
        platform: Platform,
    ) -> Option<Vec<usize>> {
        let mut indexes = Some(Vec::new());
        for used in variant.components.iter().filter(|used| used.kubernetes.contains(kubernetes)) {
            let name = &used.component.value;
            let Some(component) = self.matrix.components.get(name) else { continue };
            let wanted = variant.pack.as_ref().is_none_or(|pack| pack.iter().any(|packed| packed.value == *name));
            let pack = component.pack && wanted;
            let key = (name.clone(), kubernetes.clone(), platform, pack);
            let index = if let Some(index) = self.known.get(&key) {
                *index
            } else {
                let planned = self.component(component, kubernetes, platform, pack);
                let index = planned.map(|planned| self.keep(planned));
                self.known.insert(key, index);
                index
            };
            // All components are planned even after one has failed: its problems are not the only ones.
            match (index, &mut indexes) {
                (Some(index), Some(indexes)) if !indexes.contains(&index) => indexes.push(index),
                (None, _) => indexes = None,
                _ => {}
            }
        }
        indexes
    }

    /// Two Kubernetes versions may have the very same crictl or CNI plugins: what is alike is one entry.
    fn keep(&mut self, planned: Component) -> usize {
        let alike = |known: &Component| {
            Component { kubernetes: planned.kubernetes.clone(), ..known.clone() } == planned
                && !matches!(&known.way, Way::Go { source, .. } if source.kubernetes_stamp)
        };
        self.components.iter().position(alike).unwrap_or_else(|| {
            self.components.push(planned);
            self.components.len() - 1
        })
    }

    fn component(
        &mut self,
        component: &matrix::Component,
        kubernetes: &Version,
        platform: Platform,
        pack: bool,
    ) -> Option<Component> {
        let fields = Fields::new().kubernetes(kubernetes).platform(platform).with("component", &component.name);
        let Some(version) = component.version.get(kubernetes) else {
            let message = format!("`{}` has no version for Kubernetes {kubernetes}", component.name);
            self.report_once("component-without-version", &component.at, message, "add a case to its `version`");
            return None;
        };
        let version = self.fill(version, &fields, &component.at)?;
        let fields = fields.with("version", &version);
        let (index, way) = self.choose(component, kubernetes, platform)?;
        let why = explain(component, index, kubernetes, platform);
        let tools = self.tools(&way.kind, kubernetes, pack)?;
        let files = component
            .files
            .iter()
            .map(|file| {
                let fields = fields.clone().with("file", &file.name);
                let check = file.check.as_ref().map(|check| {
                    let prints = self.fill(&check.prints, &fields, &component.at)?;
                    Some(Check { args: check.args.clone(), prints })
                });
                Some(File { name: file.name.clone(), check: check.map_or(Some(None), |check| check.map(Some))? })
            })
            .collect::<Option<Vec<_>>>()?;
        Some(Component {
            way: self.way(component, way, &fields, kubernetes, platform)?,
            name: component.name.clone(),
            version,
            kubernetes: kubernetes.clone(),
            platform,
            daemon: component.daemon,
            strip: component.strip,
            pack,
            directory: component.directory.clone(),
            layer: component.layer.clone(),
            order: component.order,
            files,
            why,
            tools,
        })
    }

    /// The first way that serves this version and platform.
    fn choose<'c>(
        &mut self,
        component: &'c matrix::Component,
        kubernetes: &Version,
        platform: Platform,
    ) -> Option<(usize, &'c matrix::Way)> {
        let found = component.ways.iter().enumerate().find(|(_, way)| serves(way, kubernetes, platform));
        if found.is_none() {
            let ways: Vec<_> = component
                .ways
                .iter()
                .enumerate()
                .map(|(i, way)| format!("{} serves {}", way_name(i, way), scope(way)))
                .collect();
            let message = format!("no way to obtain `{}` for Kubernetes {kubernetes} on {platform}", component.name);
            let help = format!("{}; add a way, or `[[exclude]]` the cell in the matrix file", ways.join("; "));
            self.report_once("no-way", &component.at, message, &help);
        }
        found
    }

    fn way(
        &mut self,
        component: &matrix::Component,
        way: &matrix::Way,
        fields: &Fields,
        kubernetes: &Version,
        platform: Platform,
    ) -> Option<Way> {
        let version = fields.get("version").unwrap_or_default();
        let purpose = format!("{} {version}", component.name);
        let members = |builder: &mut Self, member: &Template| -> Option<Vec<String>> {
            let fill =
                |file: &matrix::ComponentFile| builder.fill(member, &fields.clone().with("file", &file.name), &way.at);
            component.files.iter().map(fill).collect()
        };
        Some(match &way.kind {
            WayKind::Release { origin, member } => {
                let purpose = format!("{purpose} {platform}");
                let input = self.input(origin, fields.clone(), &purpose, &way.at);
                Way::Release { members: members(self, member)?, input: input? }
            }
            WayKind::File { path, member, folder } => {
                let path = folder.join(self.fill(path, fields, &way.at)?);
                let matrix = self.matrix.file.at.source.path.parent().unwrap_or(Path::new(""));
                // Seen from the matrix file, because the lock holds wherever both are together.
                let pin = format!("file:{}", path.strip_prefix(matrix).unwrap_or(&path).display());
                Way::File { path, pin, members: members(self, member)? }
            }
            WayKind::Package { from, package, member } => {
                let (base, root) = self.debian(from)?;
                let selection = self.ask(base, root, platform, request::file(root, package));
                Way::Package { selection, members: members(self, member)? }
            }
            WayKind::Go { origin, source } => {
                let input = self.go_source(origin, fields, &format!("{purpose} source"), &way.at);
                let mut stamps = Vec::new();
                for (name, template) in &source.stamps {
                    stamps.push((name.clone(), self.fill(template, fields, &way.at)?));
                }
                Way::Go {
                    input: input?,
                    packages: component.files.iter().filter_map(|file| file.package.clone()).collect(),
                    source: GoSource {
                        import_path: source.import_path.clone(),
                        cgo: source.cgo,
                        tags: source.tags.get(kubernetes).cloned().unwrap_or_default(),
                        stamps,
                        kubernetes_stamp: source.kubernetes_stamp,
                        module_proxy: source.module_proxy.clone(),
                    },
                }
            }
        })
    }

    fn go_source(&mut self, origin: &GoOrigin, fields: &Fields, purpose: &str, at: &At) -> Option<Supply> {
        match origin {
            GoOrigin::Archive(origin) => self.input(origin, fields.clone(), purpose, at).map(Supply::Url),
            GoOrigin::SourcePackage { from, package, version } => {
                let version = self.fill(version, fields, at)?;
                let (base, root) = self.debian(from)?;
                let request = request::source(root, package, &version);
                Some(Supply::Selection(self.ask(base, root, SOURCES, request)))
            }
        }
    }

    fn tools(&mut self, way: &WayKind, kubernetes: &Version, pack: bool) -> Option<Vec<Tool>> {
        let mut names = Vec::new();
        if let WayKind::Go { source, .. } = way {
            names.push(ToolchainName::Go);
            if source.cgo {
                names.push(ToolchainName::Zig);
            }
        }
        if pack {
            names.push(ToolchainName::Upx);
        }
        names.into_iter().map(|name| self.tool(name, kubernetes)).collect()
    }

    fn tool(&mut self, name: ToolchainName, kubernetes: &Version) -> Option<Tool> {
        let Some(declared) = self.matrix.toolchain(name) else { return Some(Tool { name, input: None }) };
        let machine = self.host.alpine_arch();
        let fields =
            Fields::new().kubernetes(kubernetes).with("host-arch", self.host.go_arch()).with("host-machine", machine);
        let (origin, version) = match &declared.origin {
            ToolchainOrigin::Archive { origin, version } => (origin, version),
            ToolchainOrigin::Packages { from, packages } => {
                let (base, root) = self.debian(from)?;
                let names = packages.iter().map(|package| package.value.clone());
                let input = Supply::Selection(self.ask(base, root, self.host, request::install(root, names)));
                let program = self.program(declared, &fields)?;
                return Some(Tool { name, input: Some(ToolInput { version: format!("of {base}"), input, program }) });
            }
        };
        let Some(version) = version.get(kubernetes) else {
            let message = format!("the toolchain `{name}` has no version for Kubernetes {kubernetes}");
            self.report_once("toolchain-without-version", &declared.at, message, "add a case to its `version`");
            return None;
        };
        let version = self.fill(version, &fields, &declared.at)?;
        let fields = fields.with("version", &version);
        let program = self.program(declared, &fields)?;
        let input = self.input(origin, fields, &format!("toolchain {name} {version}"), &declared.at)?;
        Some(Tool { name, input: Some(ToolInput { version, input: Supply::Url(input), program }) })
    }

    /// Where a toolchain's program lies in what is unpacked. A version may have brought in what its file did not show.
    fn program(&mut self, declared: &matrix::Toolchain, fields: &Fields) -> Option<String> {
        let filled = self.fill(&declared.program, fields, &declared.at)?;
        match TreePath::new(&filled) {
            Ok(path) => Some(path.to_string()),
            Err(error) => {
                self.report_once("invalid-value", &declared.at, error.to_string(), "correct `program` or `version`");
                None
            }
        }
    }

    /// Notes an input and returns its URL.
    pub(super) fn input(&mut self, origin: &Origin, fields: Fields, purpose: &str, at: &At) -> Option<String> {
        let url = self.fill(&origin.url, &fields, at)?;
        let fields = fields.with("url", &url);
        let checksum = origin.checksum.as_ref().map(|checksum| self.fill(checksum, &fields, at));
        if self.urls.insert(url.clone()) {
            self.inputs.push(Input {
                url: url.clone(),
                checksum: checksum.map_or(Some(None), |checksum| checksum.map(Some))?,
                purpose: purpose.to_owned(),
                at: at.to_string(),
            });
        }
        Some(url)
    }

    fn fill(&mut self, template: &Template, fields: &Fields, at: &At) -> Option<String> {
        template
            .fill(fields)
            .map_err(|name| {
                let message = format!("`{{{name}}}` in `{template}` has no value here");
                self.report_once("placeholder-without-value", at, message, "use another placeholder");
            })
            .ok()
    }
}

/// Source packages are the same for every platform; a question has one.
const SOURCES: Platform = Platform::Amd64;

fn serves(way: &matrix::Way, kubernetes: &Version, platform: Platform) -> bool {
    way.kubernetes.contains(kubernetes) && way.platforms.contains(&platform)
}

fn way_name(index: usize, way: &matrix::Way) -> String {
    format!("way {} ({})", index + 1, way.kind.name())
}

fn scope(way: &matrix::Way) -> String {
    let platforms: Vec<_> = way.platforms.iter().map(|platform| platform.name()).collect();
    format!("Kubernetes {} on {}", way.kubernetes, platforms.join(", "))
}

/// Why the way at `chosen` was taken, by what kept the earlier ones out.
fn explain(component: &matrix::Component, chosen: usize, kubernetes: &Version, platform: Platform) -> String {
    if component.ways.len() == 1 {
        return "the only way".to_owned();
    }
    if chosen == 0 {
        return "the first way".to_owned();
    }
    let passed = component.ways.iter().take(chosen).enumerate().map(|(i, way)| {
        if way.kubernetes.contains(kubernetes) {
            let platforms: Vec<_> = way.platforms.iter().map(|platform| platform.name()).collect();
            format!("{} is only for {}", way_name(i, way), platforms.join(", "))
        } else if way.platforms.contains(&platform) {
            format!("{} is only for Kubernetes {}", way_name(i, way), way.kubernetes)
        } else {
            format!("{} is only for {}", way_name(i, way), scope(way))
        }
    });
    passed.collect::<Vec<_>>().join("; ")
}
