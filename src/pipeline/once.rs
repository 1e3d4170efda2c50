//! Work that many cells wait for and one of them does.

use std::sync::Arc;

use futures::Future;
use tokio::sync::OnceCell;

use super::PipelineError;

/// One result for each of a number of numbered pieces of work. The first who asks does it; the others wait and share
/// what came of it, the error too: a failed compile is not tried again for every cell.
pub(super) struct Once<T> {
    cells: Vec<OnceCell<Result<Arc<T>, Arc<PipelineError>>>>,
}

impl<T> Once<T> {
    pub(super) fn new(count: usize) -> Self {
        Self { cells: std::iter::repeat_with(OnceCell::new).take(count).collect() }
    }

    pub(super) async fn get<F>(&self, index: usize, make: impl FnOnce() -> F) -> Result<Arc<T>, Arc<PipelineError>>
    where
        F: Future<Output = Result<T, PipelineError>>,
    {
        self.cells[index].get_or_init(|| async { make().await.map(Arc::new).map_err(Arc::new) }).await.clone()
    }
}
