//! Progress on standard error: bars on a terminal, lines or JSON elsewhere.

use std::{
    io::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::json;

use crate::base::progress::{Progress, SharedProgress, Silent, Task};

/// What shows progress, already decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bars,
    Plain,
    Json,
    Silent,
}

pub(super) fn progress(kind: Kind) -> SharedProgress {
    match kind {
        Kind::Bars => Arc::new(Bars(MultiProgress::new())),
        Kind::Plain => Arc::new(Lines { json: false }),
        Kind::Json => Arc::new(Lines { json: true }),
        Kind::Silent => Arc::new(Warnings),
    }
}

/// Nothing can be done for a standard error that is closed.
pub(super) fn line(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Shows warnings alone.
struct Warnings;

impl Progress for Warnings {
    fn start(&self, what: &str, bytes: Option<u64>) -> Box<dyn Task> {
        Silent.start(what, bytes)
    }

    fn note(&self, _: &str) {}

    fn warn(&self, text: &str) {
        line(&format!("warning: {text}"));
    }
}

struct Bars(MultiProgress);

struct Bar {
    all: MultiProgress,
    shown: ProgressBar,
    what: String,
}

impl Progress for Bars {
    fn start(&self, what: &str, bytes: Option<u64>) -> Box<dyn Task> {
        let bar = self.0.add(bytes.map_or_else(ProgressBar::new_spinner, ProgressBar::new));
        let template = if bytes.is_some() {
            "  {wide_msg} {bytes:>11} / {total_bytes:<11} {bar:24} {binary_bytes_per_sec:>12}"
        } else {
            "  {spinner} {wide_msg} {elapsed:>4}"
        };
        // The templates are constants of ours; a wrong one would show in the first use.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(std::time::Duration::from_millis(120));
        Box::new(Bar { all: self.0.clone(), shown: bar, what: what.to_owned() })
    }

    fn note(&self, text: &str) {
        let _ = self.0.println(text);
    }
}

impl Task for Bar {
    fn advance(&self, bytes: u64) {
        self.shown.inc(bytes);
    }

    fn done(&self, how: &str) {
        let seconds = self.shown.elapsed().as_secs_f64();
        let _ = self.all.println(ended(&self.what, how, seconds));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.shown.finish_and_clear();
    }
}

struct Lines {
    json: bool,
}

struct Line {
    json: bool,
    what: String,
    began: Instant,
    ended: AtomicBool,
}

impl Progress for Lines {
    fn start(&self, what: &str, bytes: Option<u64>) -> Box<dyn Task> {
        if self.json {
            line(&json!({ "event": "start", "what": what, "bytes": bytes }).to_string());
        }
        Box::new(Line { json: self.json, what: what.to_owned(), began: Instant::now(), ended: AtomicBool::new(false) })
    }

    fn note(&self, text: &str) {
        if self.json {
            line(&json!({ "event": "note", "text": text }).to_string());
        } else {
            line(text);
        }
    }

    fn warn(&self, text: &str) {
        if self.json {
            line(&json!({ "event": "warning", "text": text }).to_string());
        } else {
            line(&format!("warning: {text}"));
        }
    }
}

impl Task for Line {
    fn advance(&self, _: u64) {}

    fn done(&self, how: &str) {
        self.ended.store(true, Ordering::Relaxed);
        let seconds = self.began.elapsed().as_secs_f64();
        if self.json {
            line(&json!({ "event": "done", "what": self.what, "how": how, "seconds": seconds }).to_string());
        } else {
            line(&ended(&self.what, how, seconds));
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.json && !self.ended.load(Ordering::Relaxed) {
            line(&json!({ "event": "stopped", "what": self.what }).to_string());
        }
    }
}

fn ended(what: &str, how: &str, seconds: f64) -> String {
    let how = if how.is_empty() { String::new() } else { format!(": {how}") };
    format!("{what}{how} ({seconds:.1} s)")
}
