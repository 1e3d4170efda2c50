//! The smoke test of a tag: every Kubernetes program in it runs, and says the tag's version.
//!
//! The Engine of the machine runs its own platform; others run where the kernel knows how (`binfmt_misc`) or a static QEMU is
//! there to be put into the container. What cannot be run is said, never passed over.

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    path::Path,
};

use serde::Serialize;

use super::{
    examine::{Examined, inspected},
    publish::{PublishError, blocking},
};
use crate::{
    base::{Platform, Version, progress::SharedProgress, text::says},
    binaries::prove::Emulators,
    images::{PlatformImage, annotation},
    outputs::{
        docker::{Engine, EngineError, Ran},
        inspect::{self, Kind, visible},
        source::Tag,
    },
};

/// The programs that are known, how they are asked for their version, and whether it is that of the tag: crictl is
/// versioned apart.
const PROGRAMS: [(&str, &[&str], bool); 4] = [
    ("kubelet", &["--version"], true),
    ("kubeadm", &["version", "-o", "short"], true),
    ("kube-proxy", &["--version"], true),
    ("crictl", &["--version"], false),
];

/// What became of one program on one platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Smoke {
    pub platform: String,
    /// Its path in the image; empty where the image as a whole is meant.
    pub program: String,
    #[serde(flatten)]
    pub outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// It printed this. `version` is what that was compared with, if anything.
    Passed { printed: String, version: Option<String> },
    /// It ran, and what it did is wrong.
    Failed { reason: String },
    /// It was not run.
    NotRun { reason: String },
}

/// What one smoke test calls its image and its container in the Engine. Nobody else has these names, so that no tag of the
/// user's is touched, and tests of one image at one time do not get into each other's way.
#[derive(Clone, Debug)]
pub struct Names {
    pub image: String,
    pub container: String,
}

impl Names {
    /// New ones.
    pub fn new() -> Self {
        // The seeds of a hasher are the standard library's random numbers.
        let random = format!("{:016x}", RandomState::new().build_hasher().finish());
        Self { image: format!("kletimg.invalid/smoke:{random}"), container: format!("kletimg-smoke-{random}") }
    }

    /// Removes from the Engine what the test has put there, if it is there.
    pub async fn remove(&self, engine: &Engine) -> Result<(), EngineError> {
        let container = engine.remove_container(&self.container).await;
        engine.remove_image(&self.image).await.and(container)
    }
}

impl Default for Names {
    fn default() -> Self {
        Self::new()
    }
}

/// Runs the programs of an image on the wanted platforms, all of them if none is named.
pub async fn smoke(
    engine: &Engine,
    names: &Names,
    examined: &Examined,
    wanted: &[Platform],
    emulators: &Emulators,
    progress: &SharedProgress,
) -> Result<Vec<Smoke>, PublishError> {
    let mut found = Vec::new();
    for image in &examined.images {
        let name = image.platform.to_string();
        let not_run = |reason: &str| Smoke {
            platform: name.clone(),
            program: String::new(),
            outcome: Outcome::NotRun { reason: reason.to_owned() },
        };
        match Platform::ALL.into_iter().find(|platform| image.platform.serves(*platform)) {
            Some(platform) if wanted.is_empty() || wanted.contains(&platform) => {
                let emulator = emulators.for_platform(platform).filter(|_| platform != engine.platform);
                let ran = Smoking { engine, names, examined, image, platform, emulator, progress }.run().await?;
                found.extend(ran);
            }
            None if wanted.is_empty() => found.push(not_run("it is for a platform that kletimg does not know")),
            _ => {}
        }
    }
    for platform in wanted.iter().filter(|wanted| !examined.images.iter().any(|image| image.platform.serves(**wanted)))
    {
        let reason = "the image is not for this platform".to_owned();
        let outcome = Outcome::Failed { reason };
        found.push(Smoke { platform: platform.to_string(), program: String::new(), outcome });
    }
    Ok(found)
}

/// One platform being tried.
struct Smoking<'a> {
    engine: &'a Engine,
    names: &'a Names,
    examined: &'a Examined,
    image: &'a PlatformImage,
    platform: Platform,
    emulator: Option<&'a Path>,
    progress: &'a SharedProgress,
}

impl Smoking<'_> {
    async fn run(&self) -> Result<Vec<Smoke>, PublishError> {
        let (programs, version) = self.programs().await?;
        let smoke = |program: &str, outcome| Smoke {
            platform: self.platform.to_string(),
            program: program.to_owned(),
            outcome,
        };
        if programs.is_empty() {
            let names = PROGRAMS.map(|(name, ..)| name).join(", ");
            let reason = format!("there is none of {names} in it");
            return Ok(vec![smoke("", Outcome::NotRun { reason })]);
        }
        self.load().await?;
        let mut found = Vec::new();
        let mut failed = None;
        for (path, args, of_tag) in programs {
            match self.try_program(&path, args, version.as_ref().filter(|_| of_tag)).await {
                Ok(outcome) => found.push(smoke(&path, outcome)),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        // Whatever happened, the Engine is left as it was.
        let removed = self.names.remove(self.engine).await;
        match failed {
            Some(error) => Err(error),
            None => removed.map(|()| found).map_err(Into::into),
        }
    }

    /// The known programs in the image with their paths, and the version that they must print: that of the tag, or else
    /// what the image says it has.
    async fn programs(&self) -> Result<(Vec<(String, &'static [&'static str], bool)>, Option<Version>), PublishError> {
        let of_tag = self.examined.entry.name.as_deref().and_then(version_of_tag);
        let (source, image) = (self.examined.source.clone(), self.image.clone());
        blocking("reading layers", move || {
            let failed = |error| inspected("the image", error);
            let layers = inspect::files(source.as_ref(), &image).map_err(failed)?;
            let labels = inspect::description(source.as_ref(), &image).map_err(failed)?.labels;
            let seen = visible(&layers);
            let files = seen.values().filter(|(_, file)| file.kind == Kind::File && file.mode & 0o111 != 0);
            let known = |path: &str| {
                let name = path.rsplit('/').next().unwrap_or(path);
                PROGRAMS.iter().find(|(known, ..)| *known == name).copied()
            };
            let programs = files
                .filter_map(|(_, file)| {
                    known(&file.path).map(|(_, args, of_tag)| (format!("/{}", file.path), args, of_tag))
                })
                .collect();
            let of_label = labels.get(annotation::VERSION).and_then(|text| version(text));
            Ok((programs, wanted(of_tag, of_label)))
        })
        .await
    }

    async fn load(&self) -> Result<(), PublishError> {
        // The name is of characters that every reference may have.
        let reference = self.names.image.parse().map_err(crate::outputs::place::InvalidPlace::from)?;
        let tag = Tag::new(reference, self.examined.entry.root.clone());
        let loaded = self.engine.load(self.examined.source.clone(), &[tag], Some(self.platform), self.progress).await;
        loaded.map(drop).map_err(Into::into)
    }

    async fn try_program(&self, path: &str, args: &[&str], version: Option<&Version>) -> Result<Outcome, PublishError> {
        let command: Vec<&str> = std::iter::once(path).chain(args.iter().copied()).collect();
        let Names { image, container } = self.names;
        let mut ran = self.engine.run(image, container, &command, None).await?;
        if ran == Ran::ExecFormat && self.emulator.is_some() {
            ran = self.engine.run(image, container, &command, self.emulator).await?;
        }
        Ok(match ran {
            Ran::NotStarted { reason } => Outcome::Failed { reason: format!("it cannot be started: {reason}") },
            // Whoever runs this platform does not take the program for one of it.
            Ran::ExecFormat if self.platform == self.engine.platform || self.emulator.is_some() => Outcome::Failed {
                reason: format!("it is no program that {} can run: cut short, or for another machine", self.platform),
            },
            Ran::ExecFormat => Outcome::NotRun {
                reason: format!(
                    "the Engine's machine does not run {}: install binfmt_misc support or qemu-{}-static",
                    self.platform,
                    self.platform.qemu_arch()
                ),
            },
            Ran::Ended { code: 0, output } => match version {
                Some(version) if !says(&output, &version.to_string()) => Outcome::Failed {
                    reason: format!("it prints `{}`, but the image is for {version}", first_line(&output)),
                },
                version => Outcome::Passed { printed: first_line(&output), version: version.map(ToString::to_string) },
            },
            Ran::Ended { code, output } => {
                Outcome::Failed { reason: format!("it ended with exit code {code}: {}", last_line(&output)) }
            }
        })
    }
}

fn version(text: &str) -> Option<Version> {
    text.strip_prefix('v').unwrap_or(text).parse().ok()
}

/// The version that a tag such as `v1.26.0-alpine3.22` or `kube-proxy:1.26.0` begins with; `latest` and `v1.26` say none.
fn version_of_tag(name: &str) -> Option<Version> {
    let tag = name.rsplit([':', '/']).next().unwrap_or(name);
    version(tag.split(['-', '_']).next().unwrap_or(tag))
}

/// What the programs of an image must print. A tag counts more than a label, which is copied along when an image is given
/// a wrong name; what a tag leaves open, whether `1.36.0-rc.1` is a candidate or a base called `rc.1`, its label says.
fn wanted(of_tag: Option<Version>, of_label: Option<Version>) -> Option<Version> {
    let release = |version: &Version| (version.minor_line(), version.patch());
    match (of_tag, of_label) {
        (Some(tag), Some(label)) if release(&tag) == release(&label) => Some(label),
        (tag, label) => tag.or(label),
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(200).collect()
}

fn last_line(text: &str) -> String {
    text.lines().next_back().unwrap_or("it said nothing").chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_says_its_version_or_none() {
        for name in ["v1.26.0-alpine3.22", "kube-proxy:v1.26.0", "docker.io/x/kubelet:1.26.0-cni-debian12", "v1.26.0"] {
            assert_eq!(version_of_tag(name), Some(Version::new(1, 26, 0)), "{name}");
        }
        for name in ["latest", "v1.26", "v1.26-cni", "", "alpine3.22"] {
            assert_eq!(version_of_tag(name), None, "{name}");
        }
    }

    #[test]
    fn a_wrong_tag_is_not_made_right_by_its_label() {
        let (one, other) = (version("v1.26.0"), version("1.26.1"));
        let candidate = version("1.26.0-rc.1");
        assert_eq!(wanted(one.clone(), other.clone()), one);
        assert_eq!(wanted(one, candidate.clone()), candidate);
        assert_eq!(wanted(None, other.clone()), other);
    }
}
