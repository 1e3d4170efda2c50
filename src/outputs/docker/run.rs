//! Running one program of an image that the Engine has, to see what it says.
//!
//! The container has no network, no capabilities and a bound on its memory, and is removed whatever happens: what runs may
//! be anybody's image.

use std::path::Path;

use bollard::{
    body_full,
    container::LogOutput,
    errors::Error as BollardError,
    models::{ContainerCreateBody, HostConfig},
    query_parameters::{
        CreateContainerOptionsBuilder, LogsOptionsBuilder, RemoveContainerOptionsBuilder, RemoveImageOptionsBuilder,
        StartContainerOptions, UploadToContainerOptionsBuilder, WaitContainerOptions,
    },
};
use futures::StreamExt as _;

use super::{ArchiveError, Engine, EngineError, reason};
use crate::host::files;

/// A program that prints its version needs far less.
const MEMORY: i64 = 512 << 20;

/// As much of a program's output as is kept.
const MOST_OUTPUT: usize = 64 << 10;

/// Seconds for a program under emulation to print its version.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);

/// The emulator's file in the root folder of a container.
const EMULATOR: &str = ".kletimg-emulator";

/// Static builds of QEMU have about 5 MiB for one machine.
const LARGEST_EMULATOR: u64 = 64 << 20;

/// What became of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ran {
    Ended {
        code: i64,
        output: String,
    },
    /// It is for another machine, and nothing here runs that, or is no program at all.
    ExecFormat,
    /// The Engine could not start it, for a reason that lies in the image: no such user, say.
    NotStarted {
        reason: String,
    },
}

impl Engine {
    /// Runs a program with its arguments in a new container of an image. The container has that name while it lasts.
    /// `emulator` is a static program for the Engine's machine that runs it.
    pub async fn run(
        &self,
        image: &str,
        container: &str,
        command: &[&str],
        emulator: Option<&Path>,
    ) -> Result<Ran, EngineError> {
        let wrong = |error: &BollardError| EngineError::Run { image: image.to_owned(), reason: reason(error) };
        let emulator = emulator.map(packed_emulator).transpose()?;
        let mut command: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
        if emulator.is_some() {
            command.insert(0, format!("/{EMULATOR}"));
        }
        let program = command.remove(0);
        let body = ContainerCreateBody {
            image: Some(image.to_owned()),
            entrypoint: Some(vec![program]),
            cmd: Some(command),
            network_disabled: Some(true),
            host_config: Some(HostConfig {
                network_mode: Some("none".to_owned()),
                cap_drop: Some(vec!["ALL".to_owned()]),
                memory: Some(MEMORY),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let options = CreateContainerOptionsBuilder::new().name(container).build();
        self.docker.create_container(Some(options), body).await.map_err(|error| wrong(&error))?;
        let ran = tokio::time::timeout(PATIENCE, self.run_created(container, emulator)).await;
        let removed = self.remove_container(container).await;
        let ran = match ran {
            Ok(ran) => ran.map_err(|error| wrong(&error))?,
            Err(_) => return Err(EngineError::Slow { image: image.to_owned(), seconds: PATIENCE.as_secs() }),
        };
        removed?;
        Ok(ran)
    }

    async fn run_created(&self, id: &str, emulator: Option<Vec<u8>>) -> Result<Ran, BollardError> {
        if let Some(archive) = emulator {
            // Sent and not mounted: the Engine may be on another machine.
            let options = UploadToContainerOptionsBuilder::new().path("/").build();
            self.docker.upload_to_container(id, Some(options), body_full(archive.into())).await?;
        }
        if let Err(error) = self.docker.start_container(id, None::<StartContainerOptions>).await {
            // Newer Engines see it when they start the program.
            return match (&error, reason(&error)) {
                (_, reason) if reason.contains("exec format error") => Ok(Ran::ExecFormat),
                (BollardError::DockerResponseServerError { .. }, reason) => Ok(Ran::NotStarted { reason }),
                _ => Err(error),
            };
        }
        let mut waiting = std::pin::pin!(self.docker.wait_container(id, None::<WaitContainerOptions>));
        let code = match waiting.next().await {
            Some(Ok(ended)) => ended.status_code,
            Some(Err(BollardError::DockerContainerWaitError { code, .. })) => code,
            Some(Err(error)) => return Err(error),
            None => -1,
        };
        let options = LogsOptionsBuilder::new().stdout(true).stderr(true).build();
        let mut logs = std::pin::pin!(self.docker.logs(id, Some(options)));
        let mut output = Vec::new();
        while let Some(piece) = logs.next().await {
            let (LogOutput::StdErr { message }
            | LogOutput::StdOut { message }
            | LogOutput::StdIn { message }
            | LogOutput::Console { message }) = piece?;
            output.extend_from_slice(&message[..message.len().min(MOST_OUTPUT - output.len())]);
        }
        let output: String =
            String::from_utf8_lossy(&output).chars().filter(|c| !c.is_control() || *c == '\n').collect();
        // Older ones tell it as the only words of the program.
        if code != 0 && output.trim().lines().count() == 1 && output.trim_end().ends_with("exec format error") {
            return Ok(Ran::ExecFormat);
        }
        Ok(Ran::Ended { code, output: output.trim().to_owned() })
    }

    /// Stops and removes a container. One that is not there is no error.
    pub async fn remove_container(&self, name: &str) -> Result<(), EngineError> {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        match self.docker.remove_container(name, Some(options)).await {
            Ok(()) | Err(BollardError::DockerResponseServerError { status_code: 404, .. }) => Ok(()),
            Err(error) => Err(EngineError::Run { image: name.to_owned(), reason: reason(&error) }),
        }
    }

    /// Takes a name away from an image, and with its last name the image. One that is not there is no error.
    pub async fn remove_image(&self, image: &str) -> Result<(), EngineError> {
        let options = RemoveImageOptionsBuilder::new().noprune(false).build();
        match self.docker.remove_image(image, Some(options), None).await {
            Ok(_) | Err(BollardError::DockerResponseServerError { status_code: 404, .. }) => Ok(()),
            Err(error) => Err(EngineError::Run { image: image.to_owned(), reason: reason(&error) }),
        }
    }
}

/// The emulator as the archive that an Engine takes files in.
fn packed_emulator(program: &Path) -> Result<Vec<u8>, EngineError> {
    let bytes = files::read(program, LARGEST_EMULATOR)?;
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o755);
    header.set_size(bytes.len() as u64);
    let mut archive = tar::Builder::new(Vec::with_capacity(bytes.len() + 4096));
    let written = archive.append_data(&mut header, EMULATOR, bytes.as_slice()).and_then(|()| archive.into_inner());
    Ok(written.map_err(ArchiveError::Write)?)
}
