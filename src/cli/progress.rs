//! Progress on standard error: bars on a terminal, lines or JSON elsewhere.

use std::{
    collections::BTreeMap,
    io::Write as _,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::json;

use crate::base::{
    progress::{Progress, SharedProgress, Silent, Task},
    text::visible,
};

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
        Kind::Plain => Arc::new(Lines { json: false, open: Arc::default() }),
        Kind::Json => Arc::new(Lines { json: true, open: Arc::default() }),
        Kind::Silent => Arc::new(Warnings),
    }
}

/// Prints a message. What a terminal would obey in it is shown instead.
pub(super) fn line(text: &str) {
    raw_line(&visible(text));
}

/// Prints what we made ourselves for a terminal or a program. Nothing can be done for a standard error that is closed.
pub(super) fn raw_line(text: &str) {
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

fn event(event: &serde_json::Value) {
    // JSON has escapes of its own.
    raw_line(&event.to_string());
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
        bar.set_message(visible(what).into_owned());
        bar.enable_steady_tick(std::time::Duration::from_millis(120));
        Box::new(Bar { all: self.0.clone(), shown: bar, what: what.to_owned() })
    }

    fn note(&self, text: &str) {
        let _ = self.0.println(visible(text));
    }
}

impl Task for Bar {
    fn advance(&self, bytes: u64) {
        self.shown.inc(bytes);
    }

    fn done(&self, how: &str) {
        let seconds = self.shown.elapsed().as_secs_f64();
        let _ = self.all.println(visible(&ended(&self.what, how, seconds)));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.shown.finish_and_clear();
    }
}

struct Lines {
    json: bool,
    open: Arc<Open>,
}

struct Line {
    json: bool,
    what: String,
    began: Instant,
    ended: AtomicBool,
    open: Arc<Open>,
    number: usize,
}

/// The work that goes on, for whoever reads a log: what takes long is told before it ends.
#[derive(Default)]
struct Open {
    state: Mutex<OpenState>,
    changed: Condvar,
}

#[derive(Default)]
struct OpenState {
    tasks: BTreeMap<usize, (String, Instant)>,
    begun: usize,
    watched: bool,
}

/// After this time a line says that something is under way.
const LONG: Duration = Duration::from_secs(10);

impl Open {
    /// Takes note of a piece of work; the first one sets the watch.
    fn begin(self: &Arc<Self>, what: &str, json: bool) -> usize {
        let Ok(mut state) = self.state.lock() else { return 0 };
        state.begun += 1;
        let number = state.begun;
        if !json {
            state.tasks.insert(number, (what.to_owned(), Instant::now()));
            if !std::mem::replace(&mut state.watched, true) {
                let watched = Arc::clone(self);
                std::thread::spawn(move || watched.watch());
            }
            self.changed.notify_one();
        }
        number
    }

    fn end(&self, number: usize) {
        if let Ok(mut state) = self.state.lock() {
            state.tasks.remove(&number);
        }
    }

    /// Tells each piece of work once, when it has taken long.
    fn watch(&self) {
        let Ok(mut state) = self.state.lock() else { return };
        loop {
            // They began in the order of their numbers.
            let Some((number, began)) = state.tasks.iter().next().map(|(number, (_, began))| (*number, *began)) else {
                let Ok(woken) = self.changed.wait(state) else { return };
                state = woken;
                continue;
            };
            let left = LONG.saturating_sub(began.elapsed());
            if !left.is_zero() {
                let Ok((woken, _)) = self.changed.wait_timeout(state, left) else { return };
                state = woken;
            } else if let Some((what, _)) = state.tasks.remove(&number) {
                line(&format!("{what} ..."));
            }
        }
    }
}

impl Progress for Lines {
    fn start(&self, what: &str, bytes: Option<u64>) -> Box<dyn Task> {
        if self.json {
            event(&json!({ "event": "start", "what": what, "bytes": bytes }));
        }
        Box::new(Line {
            json: self.json,
            what: what.to_owned(),
            began: Instant::now(),
            ended: AtomicBool::new(false),
            open: Arc::clone(&self.open),
            number: self.open.begin(what, self.json),
        })
    }

    fn note(&self, text: &str) {
        if self.json {
            event(&json!({ "event": "note", "text": text }));
        } else {
            line(text);
        }
    }

    fn warn(&self, text: &str) {
        if self.json {
            event(&json!({ "event": "warning", "text": text }));
        } else {
            line(&format!("warning: {text}"));
        }
    }
}

impl Task for Line {
    fn advance(&self, _: u64) {}

    fn done(&self, how: &str) {
        self.ended.store(true, Ordering::Relaxed);
        self.open.end(self.number);
        let seconds = self.began.elapsed().as_secs_f64();
        if self.json {
            event(&json!({ "event": "done", "what": self.what, "how": how, "seconds": seconds }));
        } else {
            line(&ended(&self.what, how, seconds));
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.open.end(self.number);
        if self.json && !self.ended.load(Ordering::Relaxed) {
            event(&json!({ "event": "stopped", "what": self.what }));
        }
    }
}

fn ended(what: &str, how: &str, seconds: f64) -> String {
    let how = if how.is_empty() { String::new() } else { format!(": {how}") };
    format!("{what}{how} ({seconds:.1} s)")
}
