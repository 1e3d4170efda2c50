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

/// Every top module.
const MODULES: [&str; 15] = [
    "base",
    "host",
    "kubernetes",
    "matrix",
    "plan",
    "inputs",
    "binaries",
    "rootfs",
    "layers",
    "images",
    "outputs",
    "report",
    "pipeline",
    "cli",
    "settings",
];

/// Crates and standard modules that have one home.
const HOMES: [(&str, &[&str]); 15] = [
    ("std::fs", &["host"]),
    ("std::process::Command", &["host"]),
    ("std::env::var", &["settings"]),
    ("std::env::var_os", &["settings"]),
    ("tokio::fs", &[]),
    ("tokio::process", &[]),
    ("tempfile", &["host"]),
    ("rustix", &["host"]),
    ("reqwest", &["inputs", "outputs"]),
    ("bollard", &["outputs"]),
    ("pgp", &["inputs"]),
    ("clap", &["cli"]),
    ("miette", &["cli"]),
    ("object", &["binaries"]),
    ("goblin", &["binaries"]),
];

#[test]
fn imports_run_one_way() {
    let mut wrong = Vec::new();
    for (path, module, text) in sources() {
        for (number, named) in paths(&text) {
            let used = named.strip_prefix("crate::").map(|below| below.split("::").next().unwrap_or(below));
            if let Some(used) = used.filter(|used| MODULES.contains(used) && !may_use(&module, used)) {
                wrong.push(format!("{}:{number}: `{module}` uses `{used}`", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "against the direction of ARCHITECTURE.md:\n{}", wrong.join("\n"));
}

#[test]
fn what_has_one_home_is_used_only_there() {
    let mut wrong = Vec::new();
    for (path, module, text) in sources().into_iter().filter(|(path, ..)| !path.ends_with("tests.rs")) {
        for (number, named) in paths(&text) {
            let home = HOMES.iter().find(|(name, _)| named == *name || named.starts_with(&format!("{name}::")));
            if let Some((name, homes)) = home.filter(|(_, homes)| !homes.contains(&&*module)) {
                wrong.push(format!("{}:{number}: `{name}` belongs to {}", path.display(), homes.join(", ")));
            }
        }
    }
    assert!(wrong.is_empty(), "outside their home:\n{}", wrong.join("\n"));
}

/// What is named by its last words, after a `use` of the module above it.
#[test]
fn short_names_hide_nothing() {
    let words: [(&str, &[&str]); 5] = [
        ("env::var", &["settings"]),
        ("env::set_var", &[]),
        ("fs::File::", &["host"]),
        ("fs::read", &["host"]),
        ("Command::new(", &["host"]),
    ];
    let mut wrong = Vec::new();
    for (path, module, text) in sources().into_iter().filter(|(path, ..)| !path.ends_with("tests.rs")) {
        let code = text.lines().zip(1..).take_while(|(line, _)| !line.starts_with("#[cfg(test)]"));
        let lines = code.filter(|(line, _)| !line.trim_start().starts_with("//"));
        for (line, number) in lines {
            for (word, homes) in words.iter().filter(|(word, homes)| line.contains(word) && !homes.contains(&&*module))
            {
                wrong.push(format!("{}:{number}: `{word}` belongs to {}", path.display(), homes.join(", ")));
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

/// Every path of modules that the code names, with its line: those of `use` with their groups resolved, and those
/// that stand in expressions. Comments and the unit tests at a file's end are left out, because a test may set the
/// stage with anything.
fn paths(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut statement: Option<(usize, String)> = None;
    for (i, line) in text.lines().enumerate().take_while(|(_, line)| !line.starts_with("#[cfg(test)]")) {
        let code = line.split("//").next().unwrap_or(line).trim();
        let begins = ["use ", "pub use ", "pub(crate) use ", "pub(super) use "];
        if let Some(tree) = begins.iter().find_map(|begin| code.strip_prefix(begin)) {
            statement = Some((i + 1, tree.to_owned()));
        } else if let Some((_, tree)) = &mut statement {
            tree.push_str(code);
        } else {
            let words = code.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
            found.extend(words.filter(|word| word.contains("::")).map(|word| (i + 1, word.to_owned())));
        }
        if let Some((number, tree)) = statement.take_if(|(_, tree)| tree.ends_with(';')) {
            let mut expanded = Vec::new();
            expand("", tree.trim_end_matches(';'), &mut expanded);
            found.extend(expanded.into_iter().map(|path| (number, path)));
        }
    }
    found
}

/// `a::{b, c::{d, self}}` as `a::b`, `a::c::d`, `a::c`.
fn expand(prefix: &str, tree: &str, found: &mut Vec<String>) {
    let tree = tree.trim();
    let Some((head, group)) = tree.split_once('{') else {
        let name = tree.split(" as ").next().unwrap_or(tree).trim_end_matches("::self");
        if !name.is_empty() {
            let path =
                if name == "self" { prefix.trim_end_matches("::").to_owned() } else { format!("{prefix}{name}") };
            found.push(path);
        }
        return;
    };
    let group = group.strip_suffix('}').unwrap_or(group);
    let (mut depth, mut begin) = (0, 0);
    for (i, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                expand(&format!("{prefix}{head}"), &group[begin..i], found);
                begin = i + 1;
            }
            _ => {}
        }
    }
    expand(&format!("{prefix}{head}"), &group[begin..], found);
}

#[test]
fn groups_of_use_are_resolved() {
    let text = "use std::{\n    fs,\n    io::{self, Read as _},\n};\nuse crate::{base::Tree, host};\nfn f() { crate::cli::run() }";
    let found: Vec<_> = paths(text).into_iter().map(|(_, path)| path).collect();
    assert_eq!(found, ["std::fs", "std::io", "std::io::Read", "crate::base::Tree", "crate::host", "crate::cli::run"]);
}
