//! Single values of variants and of the matrix file that would otherwise be found wrong only by the runtime that starts
//! the image, or in the middle of a build.

use std::collections::BTreeMap;

use super::{
    problem::{Located, suggest},
    read::{Table, Value},
};

/// Signals by name, as Linux and container runtimes know them (`man 7 signal`).
const SIGNALS: [&str; 31] = [
    "SIGHUP",
    "SIGINT",
    "SIGQUIT",
    "SIGILL",
    "SIGTRAP",
    "SIGABRT",
    "SIGBUS",
    "SIGFPE",
    "SIGKILL",
    "SIGUSR1",
    "SIGSEGV",
    "SIGUSR2",
    "SIGPIPE",
    "SIGALRM",
    "SIGTERM",
    "SIGSTKFLT",
    "SIGCHLD",
    "SIGCONT",
    "SIGSTOP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGXCPU",
    "SIGXFSZ",
    "SIGVTALRM",
    "SIGPROF",
    "SIGWINCH",
    "SIGIO",
    "SIGPWR",
    "SIGSYS",
];

/// The signal that stops the program, by name or number.
pub(super) fn read_signal(table: &Table<'_>) -> Option<String> {
    let value = table.get("stop-signal")?;
    let signal = value.string()?.value;
    let named = |name: &str| SIGNALS.iter().any(|known| *known == name || known.strip_prefix("SIG") == Some(name));
    let real_time = |name: &str| {
        let name = name.strip_prefix("SIG").unwrap_or(name);
        let rest = name.strip_prefix("RTMIN").or_else(|| name.strip_prefix("RTMAX"));
        rest.is_some_and(|rest| {
            rest.is_empty() || rest.trim_start_matches(['+', '-']).parse().is_ok_and(|n: u8| n <= 30)
        })
    };
    let numbered = signal.parse::<u8>().is_ok_and(|number| (1..=64).contains(&number));
    if !(named(&signal) || real_time(&signal) || numbered) {
        let help = format!("write it as `SIGTERM` or as a number; {}", suggest(&signal, SIGNALS));
        value.report("invalid-signal", format!("`{signal}` is no signal"), Some(help));
    }
    Some(signal)
}

/// `[env]`: a name with an equals sign would become another name.
pub(super) fn read_env(table: &Table<'_>) -> BTreeMap<String, String> {
    let Some(value) = table.get("env") else { return BTreeMap::new() };
    let read = |(name, value): (String, Value<'_>)| {
        let sound = |c: char| c.is_ascii_graphic() && c != '=';
        if name.is_empty() || !name.chars().all(sound) {
            let help = "write letters, digits and `_`".to_owned();
            value.report("invalid-env", format!("`{name}` is no name of an environment variable"), Some(help));
        }
        let text = value.string()?.value;
        if text.contains('\0') {
            value.report("invalid-env", format!("the value of `{name}` has a NUL, at which it would end"), None);
        }
        Some((name, text))
    };
    value.table(|entries| Some(entries.values().into_iter().filter_map(read).collect())).unwrap_or_default()
}

/// A folder in the image.
pub(super) fn read_folder(value: &Value<'_>) -> Option<String> {
    let folder = value.string()?.value;
    check_folder(&Located { value: folder.clone(), at: value.at.clone() }, value);
    Some(folder)
}

/// Several of them.
pub(super) fn read_folders(table: &Table<'_>, key: &'static str) -> Vec<String> {
    let Some(value) = table.get(key) else { return Vec::new() };
    let folders = value.list::<String>();
    for folder in &folders {
        check_folder(folder, &value);
    }
    folders.into_iter().map(|folder| folder.value).collect()
}

fn check_folder(folder: &Located<String>, value: &Value<'_>) {
    let sound = folder.value.starts_with('/')
        && !folder.value.contains(char::is_control)
        && !folder.value.split('/').any(|part| part == "..");
    if !sound {
        let help = "write it from the image's root on, for example `/var/lib/kubelet`".to_owned();
        value.report_at(&folder.at, "invalid-path", format!("`{}` is no folder of an image", folder.value), Some(help));
    }
}

/// A list that must not be empty: without one of them there is no cell.
pub(super) fn check_filled(value: &Value<'_>, example: &str) {
    if value.is_empty_list() {
        let message = format!("`{}` is empty, so that nothing would be built", value.key);
        value.report("empty-list", message, Some(format!("write `{example}`")));
    }
}
