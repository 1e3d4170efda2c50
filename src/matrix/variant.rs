//! `variants/*.toml`: what a variant's images hold and how they start.

use std::collections::BTreeMap;

use super::{
    Overlay,
    by_version::ByVersion,
    problem::{At, Located},
    read::{Table, Value},
    values,
};
use crate::base::{Version, VersionRange};

/// A variant as its file says it; `extends` has been followed where it comes out of [`super::load`].
#[derive(Clone, Debug)]
pub struct Variant {
    pub name: String,
    /// What `{variant}` stands for in tags. Empty for the variant whose tags have no infix.
    pub infix: String,
    pub image: Option<Located<String>>,
    pub extends: Vec<Located<String>>,
    pub components: Vec<Use>,
    /// The components to pack, when the variant restricts them; `None` leaves it to each component.
    pub pack: Option<Vec<Located<String>>>,
    pub files: Vec<Overlay>,
    /// Units of systemd that start by themselves.
    pub enable: Vec<Located<String>>,
    pub entrypoint: Option<Located<ByVersion<Vec<String>>>>,
    /// For the program that `entrypoint` starts.
    pub options: Vec<StartOption>,
    pub cmd: Option<Located<ByVersion<Vec<String>>>>,
    pub env: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    pub volumes: Vec<String>,
    pub stop_signal: Option<String>,
    pub working_dir: Option<String>,
    pub at: At,
}

/// A component that a variant holds, and the Kubernetes versions it is held for.
#[derive(Clone, Debug)]
pub struct Use {
    pub component: Located<String>,
    pub kubernetes: VersionRange,
}

/// An option of the program that starts, and the Kubernetes versions it is given to.
#[derive(Clone, Debug)]
pub struct StartOption {
    pub option: Located<String>,
    pub kubernetes: VersionRange,
}

/// What ends an entrypoint whose program takes what follows for the user's.
const END_OF_OPTIONS: &str = "--";

impl Variant {
    /// What an image's `Entrypoint` is for a version: the variant's, with the options before its closing `--`, or at its
    /// end where there is none.
    pub fn start(&self, kubernetes: &Version) -> Vec<String> {
        let mut start =
            self.entrypoint.as_ref().and_then(|args| args.value.get(kubernetes)).cloned().unwrap_or_default();
        let end = start.pop_if(|last| last == END_OF_OPTIONS);
        let given = self.options.iter().filter(|option| option.kubernetes.contains(kubernetes));
        start.extend(given.map(|option| option.option.value.clone()));
        start.extend(end);
        start
    }

    pub(super) fn read(name: &str, table: &Table<'_>) -> Self {
        // Asked for its own sake: a sentence for people that no image holds.
        let _ = table.string("description");
        Self {
            name: name.to_owned(),
            infix: table.string("infix").map_or_else(|| name.to_owned(), |infix| infix.value),
            image: table.string("image"),
            extends: table.list("extends").unwrap_or_default(),
            components: table.get("components").map(|value| read_uses(&value)).unwrap_or_default(),
            pack: table.list("pack"),
            files: table.each("files", Overlay::read),
            enable: table.list("enable").unwrap_or_default(),
            entrypoint: table.get("entrypoint").and_then(|value| read_args(&value)),
            options: table.get("options").map(|value| read_options(&value)).unwrap_or_default(),
            cmd: table.get("cmd").and_then(|value| read_args(&value)),
            env: values::read_env(table),
            labels: read_strings(table, "labels"),
            volumes: values::read_folders(table, "volumes"),
            stop_signal: values::read_signal(table),
            working_dir: table.get("working-dir").and_then(|folder| values::read_folder(&folder)),
            at: table.at().clone(),
        }
    }

    /// Takes over from `base` what this variant does not say itself. Lists that add up (components, files, options,
    /// volumes) begin with those of `base`.
    pub(super) fn extend_from(&mut self, base: &Self) {
        let mut components = base.components.clone();
        components.append(&mut self.components);
        self.components = components;
        let mut files = base.files.clone();
        files.append(&mut self.files);
        self.files = files;
        let mut options = base.options.clone();
        // Two bases may have one of their own in common.
        let new = |mine: &StartOption| !base.options.iter().any(|theirs| theirs.option.value == mine.option.value);
        options.extend(self.options.drain(..).filter(new));
        self.options = options;
        let mut enable = base.enable.clone();
        enable.append(&mut self.enable);
        self.enable = enable;
        let mut volumes = base.volumes.clone();
        volumes.retain(|volume| !self.volumes.contains(volume));
        volumes.append(&mut self.volumes);
        self.volumes = volumes;
        for (mine, theirs) in [(&mut self.env, &base.env), (&mut self.labels, &base.labels)] {
            for (name, value) in theirs {
                mine.entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
        self.image = self.image.take().or_else(|| base.image.clone());
        self.pack = self.pack.take().or_else(|| base.pack.clone());
        self.entrypoint = self.entrypoint.take().or_else(|| base.entrypoint.clone());
        self.cmd = self.cmd.take().or_else(|| base.cmd.clone());
        self.stop_signal = self.stop_signal.take().or_else(|| base.stop_signal.clone());
        self.working_dir = self.working_dir.take().or_else(|| base.working_dir.clone());
    }
}

/// A component is named, or named with the versions it is for: `{ name = "crictl", kubernetes = "<1.31" }`.
fn read_uses(value: &Value<'_>) -> Vec<Use> {
    read_for_versions(value, "name", "name = \"crictl\"", |component, kubernetes| Use { component, kubernetes })
}

/// An option is written as it is, or with the versions it is for: `{ option = "--a=b", kubernetes = "<1.24" }`.
fn read_options(value: &Value<'_>) -> Vec<StartOption> {
    read_for_versions(value, "option", "option = \"--v=2\"", |option, kubernetes| StartOption { option, kubernetes })
}

/// A list of texts, each by itself for all versions, or as `key` of a table that says for which.
fn read_for_versions<T>(
    value: &Value<'_>,
    key: &'static str,
    example: &str,
    make: impl Fn(Located<String>, VersionRange) -> T,
) -> Vec<T> {
    let read = |item: &Value<'_>| {
        if item.is_table() {
            return item.table(|table| {
                let text = table.require(key, example).and_then(|text| text.string());
                let kubernetes = table.parsed("kubernetes").unwrap_or_else(VersionRange::any);
                Some(make(text?, kubernetes))
            });
        }
        Some(make(item.string()?, VersionRange::any()))
    };
    value.items().unwrap_or_default().iter().filter_map(read).collect()
}

fn read_args(value: &Value<'_>) -> Option<Located<ByVersion<Vec<String>>>> {
    let args = ByVersion::read(value, |value| Some(values(Some(value.list()))))?;
    Some(Located { value: args, at: value.at.clone() })
}

pub(super) fn read_strings(table: &Table<'_>, key: &'static str) -> BTreeMap<String, String> {
    let Some(value) = table.get(key) else { return BTreeMap::new() };
    value
        .table(|entries| {
            let read = |(name, value): (String, Value<'_>)| value.string().map(|text| (name, text.value));
            Some(entries.values().into_iter().filter_map(read).collect())
        })
        .unwrap_or_default()
}

pub(super) fn values<T>(located: Option<Vec<Located<T>>>) -> Vec<T> {
    located.unwrap_or_default().into_iter().map(|located| located.value).collect()
}
