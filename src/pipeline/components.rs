//! A component from its input to files as they go into an image: obtained, checked, stripped, packed, run.

use std::{io, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    PipelineError, Step, packages,
    tools::{Tool, Tools},
    work::Work,
};
use crate::{
    base::{ActionKey, Blob, Content, Digest, Entry, Node, Tree, size::Bytes},
    binaries::{
        self, PackRequest, Request, Shrunk, Strip,
        pack::Packing,
        prove::{Check, NotRun, Proof},
        upx::{Level, Upx},
    },
    host::files,
    inputs::{
        archive::{self, Format, Limits, select},
        gosource::{
            self,
            build::{GoBuild, Package},
            toolchain::Toolchains,
        },
        store::Store,
    },
    kubernetes,
    matrix::ToolchainName,
    plan::{Component, Supply, Way},
};

/// Raised when the steps below give other files from the same inputs.
const FORMAT: u32 = 1;

/// A component's files, ready for an image.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Built {
    pub(super) files: Vec<BuiltFile>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct BuiltFile {
    pub(super) name: String,
    pub(super) blob: Blob,
    /// The length in bytes before strip and pack.
    pub(super) before: u64,
    /// Why it was not packed, where it should have been.
    pub(super) unpacked: Option<String>,
    /// Why it was packed and not run.
    pub(super) unproven: Option<Unproven>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Unproven {
    reason: String,
    /// Whether only an emulator was missing: then it is run as soon as there is one. Nothing else will change by itself.
    emulator: bool,
}

impl Built {
    /// The tree of a component's files in their folder.
    pub(super) fn tree(&self, component: &Component) -> Result<Tree, Step> {
        let mut tree = Tree::new();
        for file in &self.files {
            let path = component.directory.join(&file.name)?;
            tree.insert(path, Entry::new(0o755, Node::File(Content::whole(file.blob))));
        }
        Ok(tree)
    }

    pub(super) fn size(&self) -> u64 {
        self.files.iter().map(|file| file.blob.size).sum()
    }

    /// The files that are packed and have not been run, with the reason.
    pub(super) fn unproven(&self) -> Vec<String> {
        let reason = |file: &BuiltFile| file.unproven.as_ref().map(|why| format!("{}: {}", file.name, why.reason));
        self.files.iter().filter_map(reason).collect()
    }
}

/// The file that a component is made of. `None` while it is not pinned, or a local one is not there.
fn input(work: &Work, component: &Component) -> Option<Digest> {
    match supply(&component.way) {
        Some(supply) => {
            // Every component is made of one file; a question to a repository that gave several is no component's.
            let urls = work.urls(&supply)?;
            let [url] = urls.as_slice() else { return None };
            Some(work.lock.inputs.get(url)?.sha256)
        }
        None => match &component.way {
            Way::File { path, .. } => Some(files::blob(path).ok()?.digest),
            Way::Release { .. } | Way::Go { .. } | Way::Package { .. } => None,
        },
    }
}

/// What a component that is made of `input` is recorded under: everything that can change its files. `None` while a tool
/// is not there.
fn key(work: &Work, component: &Component, tools: &Tools, input: Digest) -> Option<ActionKey> {
    let mut key = ActionKey::new("component", FORMAT)
        .field("input", input)
        .field("platform", component.platform)
        .field("way", json(&placeless(&component.way)))
        .field("files", json(&component.files))
        .field("strip", component.strip)
        .field("pack", if component.pack { work.plan.pack.as_str() } else { "" });
    for tool in &component.tools {
        key = key.field("tool", tools.get(tool)?.identity());
    }
    if let Way::Go { source, .. } = &component.way {
        if source.kubernetes_stamp {
            key = key.field("kubernetes", &component.kubernetes);
        }
        if source.kubernetes_stamp || source.cgo {
            key = key.field("epoch", work.lock.epoch);
        }
    }
    Some(key)
}

/// What a way obtains from outside. Only a local file comes from nowhere else.
fn supply(way: &Way) -> Option<Supply> {
    match way {
        Way::Release { input, .. } => Some(Supply::Url(input.clone())),
        Way::Go { input, .. } => Some(input.clone()),
        Way::Package { selection, .. } => Some(Supply::Selection(*selection)),
        Way::File { .. } => None,
    }
}

/// The way without the number that a selection has in this plan, and without the folder that a file lies in.
fn placeless(way: &Way) -> Way {
    match way.clone() {
        Way::Package { members, .. } => Way::Package { selection: 0, members },
        Way::Go { input: Supply::Selection(_), packages, source } => {
            Way::Go { input: Supply::Selection(0), packages, source }
        }
        way @ Way::Go { .. } => way,
        // Only the name's ending counts: it says what archive the file is.
        Way::File { path, members, .. } => {
            let path = path.file_name().map(Into::into).unwrap_or_default();
            Way::File { path, pin: String::new(), members }
        }
        way @ Way::Release { .. } => way,
    }
}

/// The component as the store has it, if it has all of it. One that could be run now and has not been is not all.
pub(super) fn recorded(work: &Work, component: &Component, tools: &Tools) -> Option<Built> {
    under(work, component, &key(work, component, tools, input(work, component)?)?)
}

fn under(work: &Work, component: &Component, key: &ActionKey) -> Option<Built> {
    let built: Built = work.store().recorded(key)?;
    let provable = work.can_run(component.platform);
    let due = |file: &BuiltFile| provable && file.unproven.as_ref().is_some_and(|why| why.emulator);
    let complete = |file: &BuiltFile| work.store().has(&file.blob) && !due(file);
    built.files.iter().all(complete).then_some(built)
}

/// Makes a component, or finds it in the store.
pub(super) async fn build(work: &Arc<Work>, index: usize, tools: Arc<Tools>) -> Result<Built, PipelineError> {
    let component = work.plan.components[index].clone();
    let doing = format!("building {}", component.title());
    // A local file may change at any time: what is built and recorded is what was taken into the store.
    let local = match &component.way {
        Way::File { path, pin, .. } => {
            let (path, pin, name) = (path.clone(), pin.clone(), component.name.clone());
            let taken = work.on_cpu(&doing, move |work| {
                let blob = put_local(work.store(), &path)?;
                let path = path.display().to_string();
                match work.lock.inputs.get(&pin) {
                    None => Err(Step::Unpinned),
                    Some(pin) if pin.sha256 != blob.digest => Err(Step::OtherFile { path, name }),
                    Some(_) => Ok((path, blob)),
                }
            });
            Some(taken.await?)
        }
        Way::Release { .. } | Way::Go { .. } | Way::Package { .. } => None,
    };
    let digest = local.as_ref().map(|(_, blob)| blob.digest).or_else(|| input(work, &component));
    let key = digest.and_then(|digest| key(work, &component, &tools, digest));
    if let Some(built) = key.as_ref().and_then(|key| under(work, &component, key)) {
        return Ok(built);
    }
    let input = match supply(&component.way) {
        Some(supply) => work.supply(&supply).await?.pop(),
        None => local,
    };
    let programs = match (&component.way, input) {
        (Way::Go { .. }, Some(source)) => compile(work, &component, source, &tools).await?,
        (way, input) => {
            let way = way.clone();
            let files: Vec<_> = component.files.iter().map(|file| file.name.clone()).collect();
            work.on_cpu(&doing, move |work| take(work.store(), &way, input, &files)).await?
        }
    };
    let shrinking = component.clone();
    let tools_for_files = Arc::clone(&tools);
    let built = work
        .on_cpu(&doing, move |work| {
            let shrink = |(file, program)| shrink(work, &shrinking, file, program, &tools_for_files);
            let files = shrinking.files.iter().zip(programs).map(shrink).collect::<Result<Vec<_>, Step>>()?;
            Ok(Built { files })
        })
        .await?;
    if let Some(key) = key {
        work.store().record(&key, &built).map_err(|error| PipelineError::new(doing, error.into()))?;
    }
    Ok(built)
}

/// The component's programs out of an archive, or the one file that there is.
fn take(store: &Store, way: &Way, input: Option<(String, Blob)>, files: &[String]) -> Result<Vec<Blob>, Step> {
    let (members, name, blob) = match (way, input) {
        (Way::Package { members, .. }, Some(package)) => {
            let tree = packages::debian::tools(store, &[package])?;
            return members.iter().map(|member| extract(store, &select::member(&tree, member)?)).collect();
        }
        (Way::Release { members, .. } | Way::File { members, .. }, Some((name, blob))) => (members, name, blob),
        _ => return Ok(Vec::new()),
    };
    let format = Format::of_name(&name).unwrap_or(Format::Plain);
    let tree = archive::unpack(store, &blob, format, &Limits::default())?;
    if format == Format::Plain && files.len() > 1 {
        return Err(Step::NoArchive { name, files: files.len() });
    }
    let wanted = |member: &String| {
        let member = if format == Format::Plain { archive::PLAIN } else { member };
        extract(store, &select::member(&tree, member)?)
    };
    members.iter().map(wanted).collect()
}

/// A slice of a blob as a blob of its own.
pub(super) fn extract(store: &Store, content: &Content) -> Result<Blob, Step> {
    if let Some(blob) = store.blob(&content.blob).filter(|blob| content.offset == 0 && blob.size == content.size) {
        return Ok(blob);
    }
    let mut writer = store.writer()?;
    let copied = io::copy(&mut store.content(content)?, &mut writer);
    files::at("copying out of", &store.path(&content.blob), copied)?;
    Ok(writer.finish()?)
}

/// A local file in the store. It is read first and copied only when it is new.
fn put_local(store: &Store, path: &std::path::Path) -> Result<Blob, Step> {
    match store.blob(&files::blob(path)?.digest) {
        Some(blob) => Ok(blob),
        None => Ok(store.put_file(path)?),
    }
}

async fn compile(
    work: &Arc<Work>,
    component: &Component,
    (url, source): (String, Blob),
    tools: &Arc<Tools>,
) -> Result<Vec<Blob>, PipelineError> {
    let doing = format!("compiling {}", component.title());
    // One compiler at a time: it uses every core by itself, and two would only fight for memory.
    let _compiling = work.compiler().await;
    let component = component.clone();
    let tools = Arc::clone(tools);
    work.on_cpu(&doing, move |work| {
        let Way::Go { packages, source: go, .. } = &component.way else { return Ok(Vec::new()) };
        let format = Format::of_name(&url).unwrap_or(Format::Plain);
        let tree = archive::unpack(work.store(), &source, format, &Limits::default())?;
        let mut stamps: std::collections::BTreeMap<String, String> = go.stamps.iter().cloned().collect();
        if go.kubernetes_stamp {
            let commit = commit_of(work.store(), &tree);
            stamps.extend(kubernetes::build::stamps(&component.kubernetes, work.lock.epoch, commit.as_deref()));
        }
        let named = component.files.iter().zip(packages);
        let request = GoBuild {
            source: source.digest,
            platform: component.platform,
            packages: named.map(|(file, path)| Package { name: file.name.clone(), path: path.clone() }).collect(),
            import_path: go.import_path.clone(),
            layout: gosource::layout::Layout::Auto,
            cgo: go.cgo,
            tags: go.tags.clone(),
            stamps,
            modules: work.modules(go.module_proxy.as_deref()),
            epoch: work.lock.epoch,
        };
        let toolchains = toolchains(&component, &tools);
        let built = gosource::build::build(work.store(), &toolchains?, &request, &tree, work.progress(), work.jobs())?;
        let program = |file: &crate::plan::File| built.get(&file.name).copied().ok_or(Step::Missing(file.name.clone()));
        component.files.iter().map(program).collect()
    })
    .await
}

/// The commit that the publisher's archive names, for the version stamp.
fn commit_of(store: &Store, tree: &Tree) -> Option<String> {
    const LARGEST: u64 = 1 << 20;
    let below = select::single_top_folder(tree).map(|top| format!("{top}/")).unwrap_or_default();
    let script = select::member(tree, &format!("{below}{}", kubernetes::build::VERSION_SCRIPT)).ok()?;
    let script = (script.size <= LARGEST).then_some(script)?;
    let text = io::read_to_string(store.content(&script).ok()?).ok()?;
    kubernetes::build::archived_commit(&text).map(str::to_owned)
}

fn toolchains(component: &Component, tools: &Tools) -> Result<Toolchains, Step> {
    let mut go = None;
    let mut zig = None;
    for tool in &component.tools {
        match tools.get(tool) {
            Some(Tool::Go(found)) => go = Some(found.clone()),
            Some(Tool::Zig(found)) => zig = Some(found.clone()),
            _ => {}
        }
    }
    Ok(Toolchains { go: go.ok_or(Step::Missing(ToolchainName::Go.to_string()))?, zig })
}

fn upx<'a>(component: &Component, tools: &'a Tools) -> Option<&'a Upx> {
    component.tools.iter().find_map(|tool| match tools.get(tool) {
        Some(Tool::Upx(upx)) => Some(upx),
        _ => None,
    })
}

fn shrink(
    work: &Work,
    component: &Component,
    file: &crate::plan::File,
    program: Blob,
    tools: &Tools,
) -> Result<BuiltFile, Step> {
    let task = work.progress().start(&format!("shrink {} of {}", file.name, component.title()), None);
    let check = file.check.as_ref().map(|check| Check { args: check.args.clone(), prints: Some(check.prints.clone()) });
    let level: Level = work.plan.pack.parse()?;
    let request = Request {
        platform: component.platform,
        strip: if component.strip { Strip::Yes } else { Strip::No },
        pack: upx(component, tools).filter(|_| component.pack).map(|upx| PackRequest { upx, level }),
        check: check.as_ref(),
        host: crate::base::Platform::host(),
        emulators: work.emulators(),
    };
    let shrunk = binaries::shrink(work.store(), &program, &request)
        .map_err(|source| Step::Shrink { file: file.name.clone(), source })?;
    let built = describe(file, program, &shrunk);
    task.done(&format!("{} -> {}", Bytes(built.before), Bytes(built.blob.size)));
    Ok(built)
}

fn describe(file: &crate::plan::File, program: Blob, shrunk: &Shrunk) -> BuiltFile {
    let packed = matches!(shrunk.packing, Some(Packing::Packed { .. }));
    BuiltFile {
        name: file.name.clone(),
        blob: shrunk.blob,
        before: program.size,
        unpacked: match &shrunk.packing {
            Some(Packing::Skipped { reason }) => Some(reason.to_string()),
            _ => None,
        },
        unproven: match &shrunk.proof {
            Proof::Unproven { reason } if packed => {
                Some(Unproven { reason: reason.to_string(), emulator: matches!(reason, NotRun::NoEmulator { .. }) })
            }
            _ => None,
        },
    }
}

/// A part of the plan in one line, for a key. Plans are plain data, which always serialises.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
