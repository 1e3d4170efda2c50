//! From a checked matrix to what is to be done: tags, cells, and for every component the way it is obtained and why.
//!
//! A plan is a pure value. It knows nothing of the machine: what the store holds and what a download weighs is added by
//! the pipeline when it shows the plan. Equal components of different cells are one entry, so that whoever carries the
//! plan out does each piece of work once.

mod cells;
mod components;
mod extra;
mod lock;
pub mod request;
mod stock;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::{
    base::{Platform, TreePath, Version},
    matrix::{AlpineRepository, Compression, ToolchainName},
};

pub use cells::{Filter, plan};
pub use lock::{InvalidLock, Lock, Pin, Selected, evidence};
pub use request::Request;
pub use stock::{ComponentState, InputState, Omission, SelectionState, Stock};

/// All that is to be built.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    pub tags: Vec<Tag>,
    pub components: Vec<Component>,
    pub bases: Vec<Base>,
    /// What is asked of package repositories, each question once.
    pub selections: Vec<Selection>,
    /// Every URL that is known before anything is locked and that is needed, once, in the order of first use.
    pub inputs: Vec<Input>,
    #[serde(serialize_with = "as_text")]
    pub compression: Compression,
    pub squash: bool,
    /// UPX's options for level and method.
    pub pack: String,
}

/// One tag: an index over the images of its platforms.
#[derive(Clone, Debug, Serialize)]
pub struct Tag {
    pub image: String,
    pub repository: String,
    pub tag: String,
    /// The tag's name in an OCI layout: bare for the default image, `image:tag` for others, which may have equal tags.
    pub layout_name: String,
    /// Further tags of its repository that lead to it while it is the newest; they move.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extra: Vec<String>,
    pub kubernetes: Version,
    pub variant: String,
    pub base: String,
    pub config: Config,
    pub cells: Vec<Cell>,
}

/// How the images of a tag start, and what they say of themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Config {
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    pub volumes: Vec<String>,
    pub stop_signal: Option<String>,
    pub working_dir: Option<String>,
}

/// One image of a tag.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    pub platform: Platform,
    /// Index into [`Plan::bases`].
    pub base: usize,
    /// Indexes into [`Plan::components`].
    pub components: Vec<usize>,
}

/// A component in one version for one platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Component {
    pub name: String,
    pub version: String,
    pub kubernetes: Version,
    pub platform: Platform,
    pub daemon: bool,
    pub strip: bool,
    pub pack: bool,
    pub directory: TreePath,
    pub layer: String,
    pub order: i64,
    pub files: Vec<File>,
    pub way: Way,
    /// Why this way and not an earlier one.
    pub why: String,
    pub tools: Vec<Tool>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct File {
    pub name: String,
    pub check: Option<Check>,
}

/// Arguments under which a file prints a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    pub args: Vec<String>,
    pub prints: String,
}

/// How a component is obtained, with every placeholder filled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Way {
    /// `members` are the paths in the archive, one for each file of the component.
    Release { input: String, members: Vec<String> },
    /// `packages` are Go packages, one for each file of the component.
    Go { input: Supply, packages: Vec<String>, source: GoSource },
    /// `selection` is one package, in which the members lie.
    Package { selection: usize, members: Vec<String> },
    /// `pin` is what the lock calls the file: `file:` and where it lies, seen from the matrix file.
    File { path: PathBuf, pin: String, members: Vec<String> },
}

/// A file of this machine that a component is made of.
#[derive(Clone, Copy, Debug)]
pub struct LocalFile<'a> {
    /// What the lock calls it.
    pub pin: &'a str,
    pub path: &'a Path,
    /// The component.
    pub name: &'a str,
}

/// Bytes that a plan names before it is known which they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Supply {
    /// A URL of [`Plan::inputs`].
    Url(String),
    /// Index into [`Plan::selections`].
    Selection(usize),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GoSource {
    pub import_path: Option<String>,
    pub cgo: bool,
    pub tags: Vec<String>,
    /// Linker variables and their values.
    pub stamps: Vec<(String, String)>,
    pub kubernetes_stamp: bool,
    pub module_proxy: Option<String>,
}

/// A program that the build runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tool {
    #[serde(serialize_with = "as_text")]
    pub name: ToolchainName,
    /// The pinned input it comes from; `None` when it is looked for on the machine.
    pub input: Option<ToolInput>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ToolInput {
    /// Its version, or where packages have it from.
    pub version: String,
    pub input: Supply,
    /// The program's path in the archive, or in what packages make together.
    pub program: String,
}

/// A base for one platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Base {
    pub name: String,
    pub platform: Platform,
    pub root: Root,
}

/// Where the files of a base come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Root {
    /// The URL of an archive.
    Archive(String),
    /// Indexes into [`Plan::selections`]: all packages of the base, and those of them that every cell of it has.
    Packages { all: usize, shared: usize },
}

/// Packages that are asked for, by name. Which files these are is decided when they are locked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Selection {
    /// The base whose repositories are asked.
    pub base: String,
    pub platform: Platform,
    /// Each once: sorted for Alpine, as [`Request`] reads it for Debian.
    pub request: Vec<String>,
    /// What the URLs of the packages begin with, with a slash at the end: `main` is not the beginning of `main-old`.
    pub repositories: Vec<String>,
    /// For Alpine. For Debian the request says it all.
    #[serde(skip)]
    pub terms: Option<Terms>,
}

/// How an Alpine base asks its repositories. What was chosen on other terms is not what the base would get now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// In the order of the definition, which decides between equal packages.
    pub repositories: Vec<AlpineRepository>,
    /// The file names of the keys that are trusted.
    pub keys: Vec<String>,
}

/// Bytes from outside, by URL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Input {
    pub url: String,
    /// The publisher's checksum file, for the first lock.
    pub checksum: Option<String>,
    /// What needs it, in words.
    pub purpose: String,
    /// Where its URL stands, for messages.
    #[serde(skip)]
    pub at: String,
}

impl Component {
    /// `kubelet 1.26.0 linux/amd64`, as messages name it.
    pub fn title(&self) -> String {
        format!("{} {} {}", self.name, self.version, self.platform)
    }
}

impl Base {
    /// `base alpine3.22 linux/amd64`, as messages name it.
    pub fn title(&self) -> String {
        format!("base {} {}", self.name, self.platform)
    }
}

impl Selection {
    /// `packages of alpine3.22 linux/amd64`, as messages name it.
    pub fn title(&self) -> String {
        format!("packages of {} {}", self.base, self.platform)
    }
}

impl Tag {
    /// The reference to pull it by.
    pub fn reference(&self) -> String {
        format!("{}:{}", self.repository, self.tag)
    }
}

impl Plan {
    pub fn cells(&self) -> usize {
        self.tags.iter().map(|tag| tag.cells.len()).sum()
    }

    /// Every local file that some component is made of, each once.
    pub fn local_files(&self) -> Vec<LocalFile<'_>> {
        let mut files: Vec<LocalFile<'_>> = Vec::new();
        for component in &self.components {
            if let Way::File { path, pin, .. } = &component.way
                && !files.iter().any(|known| known.pin == pin)
            {
                files.push(LocalFile { pin, path, name: &component.name });
            }
        }
        files
    }

    /// Every program that some component needs, each once.
    pub fn tools(&self) -> Vec<&Tool> {
        let mut tools: Vec<&Tool> = Vec::new();
        for tool in self.components.iter().flat_map(|component| &component.tools) {
            if !tools.contains(&tool) {
                tools.push(tool);
            }
        }
        tools
    }
}

fn as_text<T: std::fmt::Display, S: serde::Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

#[cfg(test)]
mod tests;
