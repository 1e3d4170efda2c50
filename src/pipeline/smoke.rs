//! The smoke test of a tag: every Kubernetes program in it runs, and says the tag's version.
//!
//! The Engine of the machine runs its own platform; others run where the kernel knows how (`binfmt_misc`) or a static QEMU is
//! there to be put into the container. What cannot be run is said, never passed over.

use std::path::Path;

use serde::Serialize;

use super::{
    examine::{Examined, inspected},
    publish::{PublishError, blocking},
};
use crate::{
    base::{Platform, progress::SharedProgress},
    binaries::prove::Emulators,
    images::{PlatformImage, annotation},
    outputs::{
        docker::{Engine, Ran},
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

/// Runs the programs of an image on the wanted platforms, all of them if none is named.
pub async fn smoke(
    engine: &Engine,
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
                let ran = Smoking { engine, examined, image, platform, emulator, progress }.run().await?;
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
        let name = self.load().await?;
        let mut found = Vec::new();
        let mut failed = None;
        for (path, args, of_tag) in programs {
            match self.try_program(&name, &path, args, version.as_deref().filter(|_| of_tag)).await {
                Ok(outcome) => found.push(smoke(&path, outcome)),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        // Whatever happened, the Engine is left as it was.
        let removed = self.engine.remove(&name).await;
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

    /// Loads the image under a name of its own, so that no tag of the user's is touched.
    async fn load(&self) -> Result<String, PublishError> {
        let platform = self.platform.name().replace('/', "-");
        let name = format!("kletimg.invalid/smoke:{platform}-{}", self.image.manifest.digest.short());
        // The name is of characters that every reference may have.
        let reference = name.parse().map_err(crate::outputs::place::InvalidPlace::from)?;
        let tag = Tag::new(reference, self.examined.entry.root.clone());
        self.engine.load(self.examined.source.clone(), &[tag], Some(self.platform), self.progress).await?;
        Ok(name)
    }

    async fn try_program(
        &self,
        name: &str,
        path: &str,
        args: &[&str],
        version: Option<&str>,
    ) -> Result<Outcome, PublishError> {
        let command: Vec<&str> = std::iter::once(path).chain(args.iter().copied()).collect();
        let mut ran = self.engine.run(name, &command, None).await?;
        if ran == Ran::ExecFormat && self.emulator.is_some() {
            ran = self.engine.run(name, &command, self.emulator).await?;
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

/// Whether a word of the text is the version, with or without a `v`: 1.26.0 is not said by v1.26.01.
fn says(text: &str, version: &str) -> bool {
    text.split(|c: char| c.is_whitespace() || c == ',').any(|word| word.strip_prefix('v').unwrap_or(word) == version)
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
    fn a_version_is_a_word_of_its_own() {
        for text in ["Kubernetes v1.26.0", "v1.26.0", "1.26.0\n"] {
            assert!(says(text, "1.26.0"), "{text}");
        }
        for text in ["Kubernetes v1.26.01", "v1.26.0-dirty", ""] {
            assert!(!says(text, "1.26.0"), "{text}");
        }
    }
}
