//! Imports run one way: `cli -> pipeline -> stages -> base`, and among the stages from right to left.
//!
//! The picture in `src/lib.rs` is worth something only while it is true, so this test reads what every module names
//! from `crate::` and from the crates that have one place, and refuses the rest.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// The stages in the order of the pipeline; each may use those before it.
const STAGES: [&str; 9] = ["matrix", "plan", "inputs", "binaries", "rootfs", "layers", "images", "outputs", "report"];

/// Modules that do no input or output: neither the host nor the store.
const PURE: [&str; 8] = ["base", "kubernetes", "matrix", "plan", "rootfs", "layers", "images", "report"];

/// Crates and standard modules that have one home.
const HOMES: [(&str, &[&str]); 9] = [
    ("std::fs", &["host"]),
    ("std::process::Command", &["host"]),
    ("std::env::var", &["settings"]),
    ("env::var", &["settings"]),
    ("clap::", &["cli"]),
    ("miette::", &["cli"]),
    ("object::", &["binaries"]),
    ("goblin::", &["binaries"]),
    ("bollard::", &["outputs"]),
];

#[test]
fn imports_run_one_way() {
    let mut wrong = Vec::new();
    for (path, module, text) in sources() {
        for (number, line) in code_lines(&text) {
            for used in crate_modules(line) {
                if !may_use(&module, used) {
                    wrong.push(format!("{}:{number}: `{module}` uses `{used}`", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "against the direction of ARCHITECTURE.md:\n{}", wrong.join("\n"));
}

#[test]
fn what_has_one_home_is_used_only_there() {
    let mut wrong = Vec::new();
    for (path, module, text) in sources() {
        for (number, line) in code_lines(&text) {
            for (name, homes) in HOMES.iter().filter(|(name, homes)| names(line, name) && !homes.contains(&&*module)) {
                wrong.push(format!("{}:{number}: `{name}` belongs to {}", path.display(), homes.join(", ")));
            }
        }
    }
    assert!(wrong.is_empty(), "outside their home:\n{}", wrong.join("\n"));
}

#[test]
fn the_walk_sees_every_module() {
    let mut files: BTreeMap<String, usize> = BTreeMap::new();
    for (_, module, _) in sources() {
        *files.entry(module).or_default() += 1;
    }
    for module in STAGES.iter().chain(&["base", "host", "kubernetes", "pipeline", "cli", "settings"]) {
        assert!(files.get(*module).is_some_and(|count| *count > 0), "no file of `{module}` was read");
    }
}

#[test]
fn the_rules_refuse_what_they_should() {
    for (module, used, allowed) in [
        ("layers", "rootfs", true),
        ("rootfs", "layers", false),
        ("plan", "host", false),
        ("plan", "matrix", true),
        ("layers", "inputs", false),
        ("inputs", "host", true),
        ("outputs", "inputs", true),
        ("pipeline", "outputs", true),
        ("inputs", "pipeline", false),
        ("base", "host", false),
        ("cli", "settings", true),
        ("host", "inputs", false),
    ] {
        assert_eq!(may_use(module, used), allowed, "{module} -> {used}");
    }
}

fn may_use(module: &str, used: &str) -> bool {
    let stage = |name: &str| STAGES.iter().position(|stage| *stage == name);
    match (module, used) {
        _ if module == used => true,
        ("main" | "lib" | "cli", _) | (_, "base") => true,
        ("pipeline", used) => used != "cli",
        // The settings are made of plain values of any stage.
        ("settings", used) => used == "base",
        ("base" | "host" | "kubernetes", _) => false,
        (_, "kubernetes") => true,
        (module, "host") => !PURE.contains(&module),
        // The store and everything read through it is input and output.
        (module, "inputs") if PURE.contains(&module) => false,
        (module, used) => matches!((stage(module), stage(used)), (Some(mine), Some(theirs)) if theirs < mine),
    }
}

/// Every source file with the top module it belongs to.
fn sources() -> Vec<(PathBuf, String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let below = path.strip_prefix(&root).unwrap();
                let first = below.components().next().unwrap().as_os_str().to_str().unwrap();
                let module = first.trim_end_matches(".rs").to_owned();
                let text = fs::read_to_string(&path).unwrap();
                found.push((below.to_owned(), module, text));
            }
        }
    }
    found.sort();
    found
}

/// Lines of code with their numbers; comments and the unit tests at a file's end are left out, because a test may set
/// the stage with anything.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .map(|(i, line)| (i + 1, line))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// The top modules that a line names after `crate::`, also inside `crate::{a, b::c}` on one line or on lines of its
/// own.
fn crate_modules(line: &str) -> Vec<&str> {
    let mut used = Vec::new();
    let mut rest = line;
    while let Some((_, tail)) = rest.split_once("crate::") {
        used.extend(group_heads(tail));
        rest = tail;
    }
    // A `use crate::{` group that rustfmt broke over lines: each line begins with a module of ours.
    let head = line.trim_start();
    if line.starts_with("    ") && !line.starts_with("     ") {
        let name: String = head.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let follows = &head[name.len()..];
        let known = ["base", "host", "kubernetes", "pipeline", "cli", "settings"].contains(&name.as_str())
            || STAGES.contains(&name.as_str());
        if known && follows.starts_with("::") && line.trim_end().ends_with(',') && !head.contains('(') {
            used.push(&head[..name.len()]);
        }
    }
    used
}

fn group_heads(tail: &str) -> Vec<&str> {
    let head = |text: &'_ str| text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    let Some(group) = tail.strip_prefix('{') else { return vec![&tail[..head(tail)]] };
    let (mut depth, mut heads, mut at_head) = (0, Vec::new(), true);
    for (i, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => at_head = true,
            c if at_head && !c.is_whitespace() => {
                heads.push(&group[i..i + head(&group[i..])]);
                at_head = false;
            }
            _ => {}
        }
    }
    heads
}

fn names(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(i, _)| {
        let before = line[..i].chars().next_back();
        before.is_none_or(|c| !(c.is_alphanumeric() || c == '_' || c == ':'))
    })
}
