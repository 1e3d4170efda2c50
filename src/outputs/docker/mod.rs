//! Loading images into a Docker Engine.
//!
//! The Engine is sent one archive, made while it is sent, that Engines from 20.10 on accept. It takes one platform: its own
//! unless another is asked for. Engines can run elsewhere than here (`DOCKER_HOST`), so it is the Engine that is asked
//! what its platform is.

mod run;

use std::{
    io::{self, Write},
    sync::Arc,
};

use bollard::{
    API_DEFAULT_VERSION, Docker, body_try_stream, errors::Error as BollardError,
    query_parameters::ImportImageOptionsBuilder,
};
use futures::StreamExt as _;
use tokio::sync::mpsc;

use super::{
    archive::{Archive, ArchiveError},
    registry::Meter,
    source::{self, Source, SourceError, Tag},
};
use crate::{
    base::{Digest, Platform, platform::UnknownPlatform, progress::SharedProgress},
    host::files::FileError,
    images::Links,
};

pub use run::Ran;

/// Seconds in which the Engine must begin to answer. It does so only after it has read the archive.
const PATIENCE: u64 = 3600;

/// The first Engine that unpacks zstd layers (moby release notes of 23.0).
const FIRST_WITH_ZSTD: u64 = 23;

/// A Docker Engine that has answered.
pub struct Engine {
    docker: Docker,
    /// As it calls itself, such as `20.10.24`.
    pub version: String,
    /// The platform of its machine.
    pub platform: Platform,
}

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error(
        "no Docker Engine answers at {host}: {reason}: start it, check your right to use its socket, or name another with \
         DOCKER_HOST"
    )]
    Unreachable { host: String, reason: String },
    #[error(
        "the Docker Engine at {host} cannot be reached by kletimg, which speaks to unix:// and tcp:// without TLS: write an \
         archive with `-o type=docker,dest=FILE`, and load it with `docker load -i FILE`"
    )]
    Scheme { host: String },
    #[error("the Docker Engine at {host} runs on a platform that kletimg builds nothing for: {source}")]
    Platform { host: String, source: UnknownPlatform },
    #[error(
        "the Docker Engine {version} cannot hold the zstd layers of {reference}: that takes Engine {FIRST_WITH_ZSTD} or newer: \
         build with gzip layers, or update the Engine"
    )]
    Zstd { version: String, reference: String },
    #[error("loading into the Docker Engine {version}: {reason}")]
    Load { version: String, reason: String },
    #[error("running {image} in the Docker Engine: {reason}")]
    Run { image: String, reason: String },
    #[error("running {image} in the Docker Engine: it did not end within {seconds} s")]
    Slow { image: String, seconds: u64 },
    #[error("the Docker Engine accepted {reference} but has {actual} under that name, not {expected}: check its logs")]
    Differs { reference: String, expected: Digest, actual: String },
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    File(#[from] FileError),
}

impl Engine {
    /// Reaches the Engine at a `DOCKER_HOST` such as `unix:///var/run/docker.sock` or `tcp://127.0.0.1:2375`.
    pub async fn connect(host: &str) -> Result<Self, EngineError> {
        let unreachable =
            |error: &BollardError| EngineError::Unreachable { host: host.to_owned(), reason: reason(error) };
        let docker = if host.starts_with("unix://") {
            Docker::connect_with_unix(host, PATIENCE, API_DEFAULT_VERSION)
        } else if host.starts_with("tcp://") || host.starts_with("http://") {
            Docker::connect_with_http(host, PATIENCE, API_DEFAULT_VERSION)
        } else {
            return Err(EngineError::Scheme { host: host.to_owned() });
        };
        let docker = docker.map_err(|error| unreachable(&error))?;
        let docker = docker.negotiate_version().await.map_err(|error| unreachable(&error))?;
        let version = docker.version().await.map_err(|error| unreachable(&error))?;
        let platform = version.arch.unwrap_or_default().parse();
        let platform = platform.map_err(|source| EngineError::Platform { host: host.to_owned(), source })?;
        Ok(Self { docker, version: version.version.unwrap_or_default(), platform })
    }

    /// Loads the tags, of one platform (the Engine's own by default), and checks that the Engine has what was sent. Gives
    /// the names and the digests that the Engine knows them by.
    pub async fn load(
        &self,
        source: Arc<dyn Source>,
        tags: &[Tag],
        platform: Option<Platform>,
        progress: &SharedProgress,
    ) -> Result<Vec<(String, String)>, EngineError> {
        let platform = platform.unwrap_or(self.platform);
        self.check_layers(source.as_ref(), tags, platform)?;
        let archive = Archive::docker(source.as_ref(), tags, platform)?;
        let expected = archive.images.clone();
        let meter = Meter::new(progress.start("load into the Docker Engine", Some(archive.size())));
        self.send(source, archive, meter).await?;
        let mut loaded = Vec::new();
        for (reference, (config, manifest)) in expected {
            let there = self.docker.inspect_image(&reference).await;
            let actual = there.map_or_else(|error| reason(&error), |image| image.id.unwrap_or_default());
            // Engines name an image by its config; with the containerd store by its manifest.
            if ![config, manifest].iter().any(|digest| digest.to_string() == actual) {
                return Err(EngineError::Differs { reference, expected: config, actual });
            }
            loaded.push((reference, actual));
        }
        Ok(loaded)
    }

    /// Old Engines answer zstd layers with "invalid tar header", which helps nobody.
    fn check_layers(&self, source: &dyn Source, tags: &[Tag], platform: Platform) -> Result<(), EngineError> {
        let major = self.version.split('.').next().and_then(|major| major.parse::<u64>().ok());
        if major.is_none_or(|major| major >= FIRST_WITH_ZSTD) {
            return Ok(());
        }
        for tag in tags {
            let manifest = source::for_platform(source, &tag.root, platform)?;
            if let Links::Image { layers, .. } = manifest.links
                && layers.iter().any(|layer| layer.media_type.ends_with("zstd"))
            {
                return Err(EngineError::Zstd { version: self.version.clone(), reference: tag.reference.to_string() });
            }
        }
        Ok(())
    }

    async fn send(&self, source: Arc<dyn Source>, archive: Archive, meter: Meter) -> Result<(), EngineError> {
        let (sender, receiver) = mpsc::channel(4);
        let writer = tokio::task::spawn_blocking(move || {
            let mut out = io::BufWriter::with_capacity(256 << 10, Pipe { sender, meter, sent: 0 });
            let written = archive.write(source.as_ref(), &mut out);
            if let (Err(error), Ok(pipe)) = (&written, out.into_inner()) {
                // Without this the archive would merely look short.
                let _ = pipe.sender.blocking_send(Err(io::Error::other(error.to_string())));
            }
            written
        });
        let refused = self.answer(receiver).await;
        let written = writer.await.map_err(|error| ArchiveError::Write(io::Error::other(error)))?;
        match (written, refused) {
            // An Engine that stops reading says why in its answer; then the writer's broken pipe explains nothing.
            (Err(ArchiveError::Write(_)) | Ok(()), Some(reason)) => {
                Err(EngineError::Load { version: self.version.clone(), reason })
            }
            (Err(error), _) => Err(error.into()),
            (Ok(()), None) => Ok(()),
        }
    }

    /// Sends the archive; why the Engine refused it, if it did. When this returns nobody reads the body any more, so that
    /// whoever writes it is not left waiting.
    async fn answer(&self, pieces: mpsc::Receiver<io::Result<Vec<u8>>>) -> Option<String> {
        let body = futures::stream::unfold(pieces, |mut pieces| async move {
            pieces.recv().await.map(|piece| (piece.map(Into::into), pieces))
        });
        let options = ImportImageOptionsBuilder::new().quiet(true).build();
        let mut answers = std::pin::pin!(self.docker.import_image(options, body_try_stream(body), None));
        while let Some(answer) = answers.next().await {
            match answer {
                // Newer Engines tell of their progress in forms that bollard does not know.
                Ok(_) | Err(BollardError::JsonDataError { .. }) => {}
                Err(error) => return Some(reason(&error)),
            }
        }
        None
    }
}

/// Writes into a channel, for a body that is sent while it is made.
struct Pipe {
    sender: mpsc::Sender<io::Result<Vec<u8>>>,
    meter: Meter,
    sent: u64,
}

impl Write for Pipe {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.sender.blocking_send(Ok(buf.to_vec())).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        self.sent += buf.len() as u64;
        self.meter.reached(self.sent);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn reason(error: &BollardError) -> String {
    let text = match error {
        BollardError::DockerResponseServerError { message, .. } => message.clone(),
        BollardError::DockerStreamError { error } => error.clone(),
        BollardError::SocketNotFoundError(_) => "there is no such socket".to_owned(),
        error => {
            let mut cause: &dyn std::error::Error = error;
            while let Some(next) = cause.source() {
                cause = next;
            }
            cause.to_string()
        }
    };
    text.chars().filter(|c| !c.is_control()).take(400).collect()
}
