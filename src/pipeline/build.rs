//! From a plan to an OCI layout that holds all its tags.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use futures::future::try_join_all;
use tokio::sync::Semaphore;

use super::{
    PipelineError, Step,
    components::{self, Built as Component},
    once::Once,
    packages::{self, Assembled},
    rootfs,
    tools::Tools,
    work::Work,
};
use crate::{
    images::{Image, ImageConfig, ImageLayer, Tag as ImageTag, annotation},
    layers::{Codec, GzipLevel, ZstdLevel, split, squash},
    matrix::Compression,
    outputs::{layout, store_layer, store_tag},
    plan::{Base, Cell, Root, Tag},
    rootfs::LayerName,
};

/// What a build made.
#[derive(Clone, Debug)]
pub struct Built {
    pub tags: Vec<ImageTag>,
    /// Packed files that have not been run, with the reason; each once.
    pub unproven: Vec<String>,
    /// What packages would have run on a machine, and nothing was done for; each once.
    pub warnings: Vec<String>,
    pub written: layout::Written,
}

/// Builds every tag of the plan into the layout at `dest`, which then describes exactly these tags.
pub async fn build(work: &Arc<Work>, dest: &Path) -> Result<Built, Arc<PipelineError>> {
    let shared = Arc::new(Shared {
        tools: Arc::new(Tools::get_all(work).await?),
        components: Once::new(work.plan.components.len()),
        bases: Once::new(work.plan.bases.len()),
        encoders: Semaphore::new(ZSTD_ENCODERS),
    });
    let tags = try_join_all(work.plan.tags.iter().map(|tag| build_tag(work, &shared, tag))).await?;
    let mut unproven = Vec::new();
    for (index, component) in work.plan.components.iter().enumerate() {
        let built = shared.component(work, index).await?;
        unproven.extend(built.unproven().into_iter().map(|file| format!("{}: {file}", component.title())));
    }
    let mut warnings = std::collections::BTreeSet::new();
    let mut idle = std::collections::BTreeMap::new();
    for index in 0..work.plan.bases.len() {
        let base = shared.base(work, index).await?;
        warnings.extend(base.warnings.iter().cloned());
        idle.insert(index, base.idle.clone());
    }
    warnings.extend(packages::idle(work, &idle));
    let folder = dest.to_owned();
    let written_tags = tags.clone();
    let written = work
        .on_cpu(&format!("writing {}", dest.display()), move |work| {
            Ok(layout::write(work.store(), &folder, &written_tags)?)
        })
        .await?;
    Ok(Built { tags, unproven, warnings: warnings.into_iter().collect(), written })
}

/// What cells share.
struct Shared {
    tools: Arc<Tools>,
    components: Once<Component>,
    bases: Once<Assembled>,
    encoders: Semaphore,
}

/// How many cells compress with zstd at a time: at its highest level one encoder holds 90 MiB, whatever `--jobs` says.
const ZSTD_ENCODERS: usize = 2;

impl Shared {
    async fn component(&self, work: &Arc<Work>, index: usize) -> Result<Arc<Component>, Arc<PipelineError>> {
        self.components.get(index, || components::build(work, index, Arc::clone(&self.tools))).await
    }

    async fn base(&self, work: &Arc<Work>, index: usize) -> Result<Arc<Assembled>, Arc<PipelineError>> {
        let make = || async {
            let base = work.plan.bases[index].clone();
            let (asked, doing) = (base.clone(), format!("assembling {}", base.title()));
            if let Some(recorded) = work.on_cpu(&doing, move |work| recorded_base(work, &asked)).await? {
                return Ok(recorded);
            }
            match base.root.clone() {
                Root::Archive(url) => {
                    let blob = work.input(&url).await?;
                    let doing = format!("unpacking {}", base.title());
                    work.on_cpu(&doing, move |work| rootfs::base(work, &base, &url, blob)).await
                }
                Root::Packages { .. } => {
                    let files = packages::fetch(work, &base).await?;
                    work.on_cpu(&doing, move |work| packages::assemble(work, &base, &files)).await
                }
            }
        };
        self.bases.get(index, make).await
    }
}

/// A base that was made before. Nothing that it was made of is read.
fn recorded_base(work: &Work, base: &Base) -> Result<Option<Assembled>, Step> {
    match &base.root {
        Root::Archive(url) => rootfs::recorded_base(work, base, url),
        Root::Packages { .. } => packages::recorded(work, base),
    }
}

async fn build_tag(work: &Arc<Work>, shared: &Arc<Shared>, tag: &Tag) -> Result<ImageTag, Arc<PipelineError>> {
    let images = try_join_all(tag.cells.iter().map(|cell| build_cell(work, shared, tag, cell))).await?;
    let tag = tag.clone();
    let doing = format!("indexing {}", tag.reference());
    let indexed = work.on_cpu(&doing, move |work| {
        let name = tag.layout_name.parse()?;
        Ok(store_tag(work.store(), name, Some(tag.reference()), &images, &annotations(&tag, work))?)
    });
    Ok(indexed.await?)
}

async fn build_cell(
    work: &Arc<Work>,
    shared: &Arc<Shared>,
    tag: &Tag,
    cell: &Cell,
) -> Result<Image, Arc<PipelineError>> {
    let base = shared.base(work, cell.base);
    let parts = try_join_all(cell.components.iter().map(|index| shared.component(work, *index)));
    let (base, parts) = futures::try_join!(base, parts)?;
    let (tag, cell) = (tag.clone(), cell.clone());
    let doing = format!("making the layers of {} for {}", tag.reference(), cell.platform);
    let is_zstd = work.plan.compression == Compression::Zstd;
    let _encoder = if is_zstd { shared.encoders.acquire().await.ok() } else { None };
    let made = work.on_cpu(&doing, move |work| {
        let planned = cell.components.iter().map(|index| &work.plan.components[*index]);
        let components: Vec<_> = planned.zip(parts.iter().map(AsRef::as_ref)).collect();
        let rootfs = rootfs::assemble_cell(work, &tag, &base, &components)?;
        let layers = if work.plan.squash { squash(&rootfs, LayerName::new("all")) } else { split(&rootfs) };
        let codec = codec(work.plan.compression);
        let layer = |layer: crate::rootfs::Layer| {
            let task = work.progress().start(&format!("layer {} of {} {}", layer.name, tag.tag, cell.platform), None);
            let info = store_layer(work.store(), &layer.tree, work.epoch(), codec, threads(codec, work.jobs()))?;
            drop(task);
            Ok(ImageLayer { name: layer.name, codec, info })
        };
        Ok(Image {
            platform: cell.platform,
            config: config(&tag, work),
            layers: layers.into_iter().map(layer).collect::<Result<_, Step>>()?,
            created: work.epoch(),
            annotations: annotations(&tag, work),
        })
    });
    Ok(made.await?)
}

/// How many threads compress one layer. Each thread of zstd at its highest level holds 90 MiB.
const fn threads(codec: Codec, jobs: usize) -> usize {
    if matches!(codec, Codec::Zstd(_)) { 1 } else { jobs }
}

const fn codec(compression: Compression) -> Codec {
    match compression {
        Compression::Gzip => Codec::Gzip(GzipLevel::HIGHEST),
        Compression::Zstd => Codec::Zstd(ZstdLevel::HIGHEST),
        Compression::None => Codec::None,
    }
}

/// The pre-defined annotations of the OCI image specification, as far as they are known.
fn annotations(tag: &Tag, work: &Work) -> BTreeMap<String, String> {
    BTreeMap::from([
        (annotation::TITLE.to_owned(), tag.image.clone()),
        (annotation::VERSION.to_owned(), tag.kubernetes.to_string()),
        (annotation::CREATED.to_owned(), work.epoch().rfc3339()),
    ])
}

/// The folders that Alpine and Debian have for every login, in which the image's programs lie.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

fn config(tag: &Tag, work: &Work) -> ImageConfig {
    let mut env = tag.config.env.clone();
    // Runtimes add a default of their own where an image has none, and not all the same one.
    env.entry("PATH".to_owned()).or_insert_with(|| PATH.to_owned());
    let mut labels = annotations(tag, work);
    labels.extend(tag.config.labels.clone());
    ImageConfig {
        entrypoint: tag.config.entrypoint.clone(),
        cmd: tag.config.cmd.clone(),
        env: env.into_iter().map(|(name, value)| format!("{name}={value}")).collect(),
        labels,
        stop_signal: tag.config.stop_signal.clone(),
        volumes: tag.config.volumes.clone(),
        user: None,
        working_dir: tag.config.working_dir.clone(),
    }
}
