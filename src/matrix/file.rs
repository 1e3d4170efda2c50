//! `matrix.toml`: what is to be built.

use std::{collections::BTreeMap, fmt, path::Path, str::FromStr};

use super::{
    Template, Toolchain,
    problem::{At, Located, Problems, Sink},
    read::{self, Table, Value},
    values,
    variant::read_strings,
};
use crate::base::{Epoch, Platform, Version, VersionRange, version::InvalidVersion};

/// The matrix file as it stands; names in it are not yet known to exist.
#[derive(Clone, Debug)]
pub struct MatrixFile {
    pub images: BTreeMap<String, ImageName>,
    pub kubernetes: Vec<Located<Version>>,
    pub platforms: Vec<Located<Platform>>,
    pub variants: Vec<Located<String>>,
    pub bases: Vec<Located<String>>,
    pub exclude: Vec<Rule>,
    pub include: Vec<Rule>,
    pub extra_tags: Vec<ExtraTag>,
    pub squash: bool,
    pub compression: Compression,
    /// The level and method that UPX packs with, as its options say it: `-9 --lzma`.
    pub pack: Option<Located<String>>,
    pub epoch: Option<Epoch>,
    pub labels: BTreeMap<String, String>,
    /// Prefixes of URLs, each with what stands in their place, in order.
    pub mirrors: Vec<(Located<String>, Vec<Located<String>>)>,
    pub toolchains: Vec<Toolchain>,
    pub incomplete_suites: IncompleteSuites,
    pub at: At,
}

/// An image: a repository, and how its tags are named.
#[derive(Clone, Debug)]
pub struct ImageName {
    pub repository: String,
    pub tag: Template,
    pub at: At,
}

/// The cells that `[[exclude]]` takes out or `[[include]]` puts in. What is not said holds for all.
#[derive(Clone, Debug)]
pub struct Rule {
    pub kubernetes: Option<VersionRange>,
    pub versions: Vec<Version>,
    pub variants: Vec<Located<String>>,
    pub platforms: Vec<Platform>,
    pub bases: Vec<Located<String>>,
    pub at: At,
}

/// A further name for the newest of the tags that it comes out alike for (`[[extra-tag]]`).
#[derive(Clone, Debug)]
pub struct ExtraTag {
    pub tag: Template,
    /// Only for these; for all if empty.
    pub variants: Vec<Located<String>>,
    pub bases: Vec<Located<String>>,
    pub at: At,
}

/// What is done about an optional suite of Debian that is used and that the mirrors have only in part: they are being
/// synchronised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IncompleteSuites {
    #[default]
    Fail,
    /// Bases are chosen without it, for all platforms alike.
    LeaveOut,
}

#[derive(Debug, thiserror::Error)]
#[error("`{0}` is nothing to do about incomplete suites: write fail or leave-out")]
pub struct UnknownPolicy(String);

impl FromStr for IncompleteSuites {
    type Err = UnknownPolicy;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "fail" => Ok(Self::Fail),
            "leave-out" => Ok(Self::LeaveOut),
            _ => Err(UnknownPolicy(text.to_owned())),
        }
    }
}

/// How layers are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    Gzip,
    /// Needs Docker 23 or containerd 1.5 to run.
    Zstd,
    None,
}

#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no compression of layers: write gzip, zstd or none")]
pub struct UnknownCompression(String);

impl FromStr for Compression {
    type Err = UnknownCompression;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "gzip" => Ok(Self::Gzip),
            "zstd" => Ok(Self::Zstd),
            "none" => Ok(Self::None),
            _ => Err(UnknownCompression(text.to_owned())),
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::None => "none",
        })
    }
}

/// The image that variants belong to when they name none.
pub(super) const DEFAULT_IMAGE: &str = "kubelet";

const DEFAULT_TAG: &str = "v{kubernetes}{-variant}-{base}";

/// The folders, relative to the matrix file, whose definitions it uses: `definitions = ["."]` by default.
pub fn definitions(path: &Path, text: &str) -> Result<Vec<String>, Problems> {
    let sink = Sink::default();
    let mut folders = vec![".".to_owned()];
    // Everything else is checked by the whole reading, which follows: here, only this key matters.
    read::read(path, text, &Sink::default(), |table| {
        if let Some(value) = table.list::<String>("definitions") {
            folders = value.into_iter().map(|folder| folder.value).collect();
        }
        Some(())
    });
    sink.finish(Some(folders))
}

impl MatrixFile {
    pub(super) fn read(table: &Table<'_>) -> Option<Self> {
        // Read beforehand by `definitions`.
        let _ = table.list::<String>("definitions");
        let kubernetes = read_filled::<Version>(table, "kubernetes", "kubernetes = [\"1.26.0\"]");
        let variants = read_filled(table, "variants", "variants = [\"plain\"]");
        let bases = read_filled(table, "base", "base = \"alpine3.22\"");
        let platforms = match table.get("platforms") {
            Some(_) => read_filled(table, "platforms", "platforms = [\"linux/amd64\"]").unwrap_or_default(),
            None => Platform::ALL.into_iter().map(|value| Located { value, at: table.at().clone() }).collect(),
        };
        let listed = kubernetes.clone().unwrap_or_default();
        Some(Self {
            images: read_images(table),
            kubernetes: kubernetes?,
            platforms,
            variants: variants?,
            bases: bases?,
            exclude: table.each("exclude", |rule| Rule::read(rule, RuleKind::Exclude, &listed)),
            include: table.each("include", |rule| Rule::read(rule, RuleKind::Include, &listed)),
            extra_tags: table.each("extra-tag", ExtraTag::read),
            squash: table.boolean("squash").unwrap_or(false),
            incomplete_suites: table.parsed("incomplete-suites").unwrap_or_default(),
            compression: table.parsed("compression").unwrap_or(Compression::Gzip),
            pack: table.string("pack"),
            epoch: table.get("source-date-epoch").and_then(|value| {
                value.integer(0..=253_402_300_799).and_then(|seconds| Epoch::try_from(seconds.unsigned_abs()).ok())
            }),
            labels: read_strings(table, "labels"),
            mirrors: table
                .get("mirrors")
                .and_then(|value| value.table(|mirrors| Some(read_mirrors(mirrors))))
                .unwrap_or_default(),
            toolchains: table.named("toolchains", Toolchain::read),
            at: table.at().clone(),
        })
    }
}

fn read_filled<T: FromStr<Err: fmt::Display>>(
    table: &Table<'_>,
    key: &'static str,
    example: &str,
) -> Option<Vec<Located<T>>> {
    let value = table.require(key, example)?;
    values::check_filled(&value, example);
    Some(value.list())
}

/// `repository` and `tag` at the top are those of the default image; others stand under `[images.<name>]`.
fn read_images(table: &Table<'_>) -> BTreeMap<String, ImageName> {
    let read = |table: &Table<'_>, repository: Option<Value<'_>>| {
        let tag = table.get("tag").map_or_else(
            || DEFAULT_TAG.parse().ok(),
            |value| value.parsed::<Template>().map(|template| template.value),
        );
        let repository = repository.and_then(|value| value.parsed::<Repository>())?;
        Some(ImageName { repository: repository.value.0, tag: tag?, at: repository.at })
    };
    let example = "repository = \"docker.io/example/kubelet\"";
    let mut images = BTreeMap::new();
    if let Some(image) = read(table, table.require("repository", example)) {
        images.insert(DEFAULT_IMAGE.to_owned(), image);
    }
    let others = table
        .named("images", |name, table| Some((name.to_owned(), read(table, table.require("repository", example))?)));
    images.extend(others);
    images
}

/// A repository name without a tag or digest, in the characters that registries take
/// (<https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests>).
struct Repository(String);

#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no repository name: write host/path without a tag, in lower case, as `docker.io/example/kubelet`")]
struct InvalidRepository(String);

impl FromStr for Repository {
    type Err = InvalidRepository;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let (host, path) = name.split_once('/').unwrap_or(("", name));
        let valid_path = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
                && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c))
        };
        let valid_host = host.chars().all(|c| c.is_ascii_alphanumeric() || ".:-[]".contains(c));
        let valid = !path.is_empty() && path.split('/').all(valid_path) && valid_host;
        if valid { Ok(Self(name.to_owned())) } else { Err(InvalidRepository(name.to_owned())) }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum RuleKind {
    Exclude,
    Include,
}

impl Rule {
    /// Exclusions take a range of versions. Inclusions name versions, which may be new ones, or take ranges of those that
    /// are `listed`.
    fn read(table: &Table<'_>, kind: RuleKind, listed: &[Located<Version>]) -> Option<Self> {
        let (mut kubernetes, mut versions) = (None, Vec::new());
        match (kind, table.get("kubernetes")) {
            (RuleKind::Exclude, Some(value)) => kubernetes = Some(value.parsed::<VersionRange>()?.value),
            (RuleKind::Include, Some(value)) => {
                values::check_filled(&value, "kubernetes = \"1.26.0\"");
                versions = value.list::<Wanted>().iter().flat_map(|wanted| wanted.value.of(listed)).collect();
                if versions.is_empty() && !value.is_empty_list() && !listed.is_empty() {
                    let listed: Vec<_> = listed.iter().map(|version| version.value.to_string()).collect();
                    let help = format!("a range is one of the versions listed above: {}", listed.join(", "));
                    value.report("empty-range", "no version is in this range", Some(help));
                }
            }
            (_, None) => {}
        }
        let variants = table.list("variant").unwrap_or_default();
        let platforms: Vec<_> =
            table.list("platform").unwrap_or_default().into_iter().map(|platform| platform.value).collect();
        let bases = table.list("base").unwrap_or_default();
        if kind == RuleKind::Exclude
            && kubernetes.is_none()
            && variants.is_empty()
            && platforms.is_empty()
            && bases.is_empty()
        {
            let help = "say what it excludes: `kubernetes`, `variant`, `platform`, `base`".to_owned();
            table.report("empty-rule", "this rule excludes everything", Some(help));
            return None;
        }
        Some(Self { kubernetes, versions, variants, platforms, bases, at: table.at().clone() })
    }
}

/// What an inclusion names.
enum Wanted {
    Version(Version),
    Range(VersionRange),
}

impl FromStr for Wanted {
    type Err = InvalidVersion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(version) => Ok(Self::Version(version)),
            Err(_) => text.parse().map(Self::Range),
        }
    }
}

impl Wanted {
    fn of(&self, listed: &[Located<Version>]) -> Vec<Version> {
        match self {
            Self::Version(version) => vec![version.clone()],
            Self::Range(range) => {
                listed.iter().map(|version| &version.value).filter(|version| range.contains(version)).cloned().collect()
            }
        }
    }
}

impl ExtraTag {
    fn read(table: &Table<'_>) -> Option<Self> {
        let (variants, bases) = (table.list("variant").unwrap_or_default(), table.list("base").unwrap_or_default());
        let tag = table.require("tag", "tag = \"v{minor}{-variant}-{base}\"")?.parsed::<Template>()?;
        Some(Self { tag: tag.value, variants, bases, at: tag.at })
    }
}

fn read_mirrors(table: &Table<'_>) -> Vec<(Located<String>, Vec<Located<String>>)> {
    let read = |(prefix, value): (String, Value<'_>)| {
        (Located { value: prefix, at: value.at.clone() }, value.list::<String>())
    };
    table.values().into_iter().map(read).collect()
}
