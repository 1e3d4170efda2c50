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
    base::{Platform, progress::SharedProgress, text::says},
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
    /// It printed this.
    Passed { printed: String },
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
            match self.try_program(&path, args, version.as_deref().filter(|_| of_tag)).await {
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

    /// The known programs in the image with their paths, and the version that the image says it has.
    async fn programs(&self) -> Result<(Vec<(String, &'static [&'static str], bool)>, Option<String>), PublishError> {
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
            Ok((programs, labels.get(annotation::VERSION).cloned()))
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

    async fn try_program(&self, path: &str, args: &[&str], version: Option<&str>) -> Result<Outcome, PublishError> {
        let command: Vec<&str> = std::iter::once(path).chain(args.iter().copied()).collect();
        let Names { image, container } = self.names;
        let mut ran = self.engine.run(image, container, &command, None).await?;
        if ran == Ran::ExecFormat && self.emulator.is_some() {
            ran = self.engine.run(image, container, &command, self.emulator).await?;
        }
        Ok(match ran {
            Ran::ExecFormat => Outcome::NotRun {
                reason: format!(
                    "the Engine's machine does not run {}: install binfmt_misc support or qemu-{}-static",
                    self.platform,
                    self.platform.qemu_arch()
                ),
            },
            Ran::Ended { code: 0, output } => match version {
                Some(version) if !says(&output, version) => Outcome::Failed {
                    reason: format!("it prints `{}`, but the image is for {version}", first_line(&output)),
                },
                _ => Outcome::Passed { printed: first_line(&output) },
            },
            Ran::Ended { code, output } => {
                Outcome::Failed { reason: format!("it ended with exit code {code}: {}", last_line(&output)) }
            }
        })
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(200).collect()
}

fn last_line(text: &str) -> String {
    text.lines().next_back().unwrap_or("it said nothing").chars().take(300).collect()
}
