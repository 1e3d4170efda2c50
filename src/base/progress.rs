//! How a stage tells that work goes on, without knowing whether a terminal, a log or nobody listens.

use std::sync::Arc;

/// Where a stage reports to. The command line implements it with bars, plain lines or JSON lines.
pub trait Progress: Send + Sync {
    /// Begins a piece of work, such as `download kubelet`. `bytes` is its length where that is known.
    /// It ends when the returned task is dropped.
    fn start(&self, what: &str, bytes: Option<u64>) -> Box<dyn Task>;

    /// One line for the user that is neither a result nor an error.
    fn note(&self, line: &str);

    /// One line about something that may not be what the user wants. It is shown also where progress is not.
    fn warn(&self, line: &str) {
        self.note(&format!("warning: {line}"));
    }
}

/// A piece of work in progress.
pub trait Task: Send + Sync {
    /// `bytes` more have been done.
    fn advance(&self, bytes: u64);

    /// The work ended well. `how` is shown after its name, such as `58.65 MiB -> 37.25 MiB`.
    fn done(&self, how: &str);
}

/// Reports to nobody.
pub struct Silent;

impl Progress for Silent {
    fn start(&self, _: &str, _: Option<u64>) -> Box<dyn Task> {
        Box::new(Self)
    }

    fn note(&self, _: &str) {}
}

impl Task for Silent {
    fn advance(&self, _: u64) {}

    fn done(&self, _: &str) {}
}

/// A listener that stages share.
pub type SharedProgress = Arc<dyn Progress>;
