//! Running one program of an image that the Engine has, to see what it says.
//!
//! The container has no network, no capabilities and a bound on its memory, and is removed whatever happens: what runs may
//! be anybody's image.

use std::path::Path;

use bollard::{
    container::LogOutput,
    errors::Error as BollardError,
    models::{ContainerCreateBody, HostConfig},
    query_parameters::{
        CreateContainerOptions, LogsOptionsBuilder, RemoveContainerOptionsBuilder, RemoveImageOptionsBuilder,
        StartContainerOptions, WaitContainerOptions,
    },
};
use futures::StreamExt as _;

use super::{Engine, EngineError, reason};

/// A program that prints its version needs far less.
const MEMORY: i64 = 512 << 20;

/// As much of a program's output as is kept.
const MOST_OUTPUT: usize = 64 << 10;

/// Seconds for a program under emulation to print its version.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);

/// Where the emulator is put into a container.
const EMULATOR: &str = "/.kletimg-emulator";

/// What became of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ran {
    Ended {
        code: i64,
        output: String,
    },
    /// It is for another machine, and nothing here runs that.
    ExecFormat,
}

impl Engine {
    /// Runs a program with its arguments in a new container of an image. `emulator` is a static program of the Engine's
    /// own machine that runs it.
    pub async fn run(&self, image: &str, command: &[&str], emulator: Option<&Path>) -> Result<Ran, EngineError> {
        let wrong = |error: &BollardError| EngineError::Run { image: image.to_owned(), reason: reason(error) };
        let mut command: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
        let mut binds = Vec::new();
        if let Some(emulator) = emulator {
            binds.push(format!("{}:{EMULATOR}:ro", emulator.display()));
            command.insert(0, EMULATOR.to_owned());
        }
        let program = command.remove(0);
        let body = ContainerCreateBody {
            image: Some(image.to_owned()),
            entrypoint: Some(vec![program]),
            cmd: Some(command),
            network_disabled: Some(true),
            host_config: Some(HostConfig {
                binds: Some(binds),
                network_mode: Some("none".to_owned()),
                cap_drop: Some(vec!["ALL".to_owned()]),
                memory: Some(MEMORY),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let made = self.docker.create_container(None::<CreateContainerOptions>, body).await;
        let id = made.map_err(|error| wrong(&error))?.id;
        let ran = tokio::time::timeout(PATIENCE, self.run_created(&id)).await;
        let remove = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        let removed = self.docker.remove_container(&id, Some(remove)).await;
        let ran = match ran {
            Ok(ran) => ran.map_err(|error| wrong(&error))?,
            Err(_) => return Err(EngineError::Slow { image: image.to_owned(), seconds: PATIENCE.as_secs() }),
        };
        removed.map_err(|error| wrong(&error))?;
        Ok(ran)
    }

    async fn run_created(&self, id: &str) -> Result<Ran, BollardError> {
        if let Err(error) = self.docker.start_container(id, None::<StartContainerOptions>).await {
            // Newer Engines see it when they start the program.
            return if reason(&error).contains("exec format error") { Ok(Ran::ExecFormat) } else { Err(error) };
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
        // Older ones tell it as the program's last words.
        if code != 0 && output.contains("exec format error") {
            return Ok(Ran::ExecFormat);
        }
        Ok(Ran::Ended { code, output: output.trim().to_owned() })
    }

    /// Takes a name away from an image, and with its last name the image. One that is not there is no error.
    pub async fn remove(&self, image: &str) -> Result<(), EngineError> {
        let options = RemoveImageOptionsBuilder::new().noprune(false).build();
        match self.docker.remove_image(image, Some(options), None).await {
            Ok(_) | Err(BollardError::DockerResponseServerError { status_code: 404, .. }) => Ok(()),
            Err(error) => Err(EngineError::Run { image: image.to_owned(), reason: reason(&error) }),
        }
    }
}
