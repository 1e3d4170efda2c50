//! What all parts of one run share: the plan, the lock, the store, and the bounds of concurrency.

use std::{ffi::OsString, path::PathBuf, sync::Arc};

use tokio::sync::{Mutex, MutexGuard, Semaphore};

use super::{PipelineError, Step};
use crate::{
    base::{
        Blob, Epoch, Platform,
        progress::{Progress, SharedProgress},
    },
    binaries::prove::Emulators,
    inputs::{
        fetch::Fetcher,
        gosource::{build::Modules, toolchain::Search},
        store::Store,
    },
    matrix::Matrix,
    plan::{Lock, Plan, Selection, Supply},
};

/// What a pipeline is given besides the matrix.
#[derive(Clone, Debug)]
pub struct Options {
    /// How much work is done at once.
    pub jobs: usize,
    /// The folders of `PATH`.
    pub search_path: OsString,
    pub home: Option<PathBuf>,
    /// The time that images mention, over that of the lock.
    pub epoch: Option<Epoch>,
    /// For compilers that download modules, as `HTTPS_PROXY` says it.
    pub https_proxy: Option<String>,
    /// A certificate authority for the same.
    pub ca_certificates: Option<PathBuf>,
}

/// One run over one plan.
pub struct Work {
    pub(super) matrix: Matrix,
    pub(super) plan: Plan,
    pub(super) lock: Lock,
    store: Store,
    fetcher: Fetcher,
    progress: SharedProgress,
    options: Options,
    search: Search,
    emulators: Emulators,
    processors: Arc<Semaphore>,
    compiler: Mutex<()>,
}

impl Work {
    pub fn new(
        matrix: Matrix,
        plan: Plan,
        lock: Lock,
        store: Store,
        fetcher: Fetcher,
        progress: SharedProgress,
        options: Options,
    ) -> Self {
        Self {
            search: Search::new(&options.search_path, options.home.clone()),
            emulators: Emulators::find(&options.search_path),
            processors: Arc::new(Semaphore::new(options.jobs.max(1))),
            compiler: Mutex::new(()),
            matrix,
            plan,
            lock,
            store,
            fetcher,
            progress,
            options,
        }
    }

    pub(super) const fn store(&self) -> &Store {
        &self.store
    }

    pub(super) fn progress(&self) -> &dyn Progress {
        self.progress.as_ref()
    }

    pub(super) const fn search(&self) -> &Search {
        &self.search
    }

    pub(super) const fn emulators(&self) -> &Emulators {
        &self.emulators
    }

    pub(super) fn jobs(&self) -> usize {
        self.options.jobs.max(1)
    }

    /// The time of the images.
    pub(super) fn epoch(&self) -> Epoch {
        self.options.epoch.unwrap_or(self.lock.epoch)
    }

    /// Whether this machine can run programs of a platform.
    pub(super) fn can_run(&self, platform: Platform) -> bool {
        Platform::host() == Some(platform) || self.emulators.for_platform(platform).is_some()
    }

    /// A pinned input's bytes, from the store or from where they are published.
    pub(super) async fn input(&self, url: &str) -> Result<Blob, PipelineError> {
        let doing = || format!("fetching {url}");
        let pin = self.lock.inputs.get(url).ok_or_else(|| PipelineError::new(doing(), Step::Unpinned))?;
        let planned = self.plan.inputs.iter().find(|input| input.url == url);
        let purpose = planned.map_or_else(|| super::packages::file_name(url), |input| &input.purpose);
        let fetched = self.fetcher.pinned(purpose, url, pin.sha256, pin.size).await;
        fetched.map_err(|error| match (self.base_of(url), error.nowhere()) {
            (Some(base), Some(places)) => {
                let (base, file) = (base.to_owned(), super::packages::file_name(url).to_owned());
                PipelineError::new(format!("fetching {purpose}"), Step::Superseded { base, file, places })
            }
            _ => error.into(),
        })
    }

    /// The base that a package was chosen for.
    fn base_of(&self, url: &str) -> Option<&str> {
        let chosen = |selection: &&Selection| {
            self.lock.selected(selection).is_some_and(|selected| selected.packages.iter().any(|package| package == url))
        };
        self.plan.selections.iter().find(chosen).map(|selection| selection.base.as_str())
    }

    /// The URLs behind what a plan names, `None` while packages have not been chosen.
    pub(super) fn urls(&self, supply: &Supply) -> Option<Vec<String>> {
        match supply {
            Supply::Url(url) => Some(vec![url.clone()]),
            Supply::Selection(index) => Some(self.lock.selected(&self.plan.selections[*index])?.packages.clone()),
        }
    }

    /// The files behind what a plan names, with their URLs.
    pub(super) async fn supply(&self, supply: &Supply) -> Result<Vec<(String, Blob)>, PipelineError> {
        let unpinned = || PipelineError::new("fetching packages".to_owned(), Step::Unpinned);
        let urls = self.urls(supply).ok_or_else(unpinned)?;
        let blobs = futures::future::try_join_all(urls.iter().map(|url| self.input(url))).await?;
        Ok(urls.into_iter().zip(blobs).collect())
    }

    /// Does one piece of work on a thread of its own, as soon as a processor is free.
    pub(super) async fn on_cpu<T: Send + 'static>(
        self: &Arc<Self>,
        doing: &str,
        job: impl FnOnce(&Self) -> Result<T, Step> + Send + 'static,
    ) -> Result<T, PipelineError> {
        // The semaphore is never closed; without a permit the work would only be done too early.
        let permit = Arc::clone(&self.processors).acquire_owned().await.ok();
        let work = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || {
            let result = job(&work);
            drop(permit);
            result
        });
        match done.await {
            Ok(result) => result.map_err(|step| PipelineError::new(doing.to_owned(), step)),
            Err(_) => Err(PipelineError::new(doing.to_owned(), Step::Stopped)),
        }
    }

    /// The right to run the compiler.
    pub(super) async fn compiler(&self) -> MutexGuard<'_, ()> {
        self.compiler.lock().await
    }

    /// Where modules come from that a source does not carry.
    pub(super) fn modules(&self, proxy: Option<&str>) -> Modules {
        proxy.map_or(Modules::InTree, |proxy| Modules::Download {
            proxy: proxy.to_owned(),
            https_proxy: self.options.https_proxy.clone(),
            ca_certificates: self.options.ca_certificates.clone(),
        })
    }
}
