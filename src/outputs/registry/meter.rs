//! The bytes of a transfer, as the user sees them.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::progress::Task;

/// Counts bytes for the user: those sent again after a failure do not count twice.
pub struct Meter {
    task: Box<dyn Task>,
    furthest: AtomicU64,
}

impl Meter {
    pub fn new(task: Box<dyn Task>) -> Self {
        Self { task, furthest: AtomicU64::new(0) }
    }

    /// The work has come to this offset.
    pub(in crate::outputs) fn reached(&self, offset: u64) {
        let before = self.furthest.fetch_max(offset, Ordering::Relaxed);
        if offset > before {
            self.task.advance(offset - before);
        }
    }

    pub fn done(&self, how: &str) {
        self.task.done(how);
    }
}
