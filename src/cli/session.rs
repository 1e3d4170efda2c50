//! What every verb resolves first: the environment, the store, who listens to progress.

use std::{io::IsTerminal as _, path::Path, sync::Arc, time::Duration};

use super::{
    args::{CaCertificates, Filter, Global, Network, ProgressMode, Registries},
    failure::Failure,
    filter,
    progress::{self, Kind},
};
use crate::{
    base::{Platform, progress::SharedProgress},
    host::{files, process},
    images::reference::{api_host, read_registry},
    inputs::{
        deb::machine::Machine,
        fetch::{
            self, Fetcher, Mirrors, Original,
            hosts::{Hosts, Proxy},
        },
        gosource::toolchain::Search,
        store::Store,
    },
    matrix::{Base, DebianMirrors, Matrix},
    outputs::{
        credentials::{Credentials, Helpers},
        registry,
    },
    pipeline::{self, Asking, Options, Work},
    plan::{self, Lock, Plan},
    settings::{Environment, default_jobs},
};

/// Bundles of all public authorities have about 200 KiB.
const LARGEST_AUTHORITY: u64 = 4 << 20;

/// Where a Docker Engine listens unless it was told otherwise.
const DOCKER_SOCKET: &str = "unix:///var/run/docker.sock";

/// The settings of one run of kletimg.
pub(super) struct Session {
    pub(super) environment: Environment,
    pub(super) apt: Machine,
    pub(super) store: Store,
    pub(super) progress: SharedProgress,
}

/// A matrix and the plan that a filter leaves of it.
pub(super) struct Planned {
    pub(super) matrix: Matrix,
    pub(super) plan: Plan,
}

impl Planned {
    /// Reads the matrix and plans it. A filter with a word that the matrix does not have, or that leaves nothing, is a
    /// mistake of whoever wrote it.
    pub(super) fn read(file: &Path, filter: &Filter) -> Result<Self, Failure> {
        let matrix = pipeline::load_matrix(file)?;
        if let Some(unknown) = filter::unknown(&matrix, filter) {
            return Err(Failure::Usage(unknown));
        }
        let plan = plan::plan(&matrix, &filter::as_filter(filter), Platform::host())?;
        if plan.tags.is_empty() {
            return Err(Failure::Usage(filter::nothing_left(&matrix, filter)));
        }
        Ok(Self { matrix, plan })
    }
}

impl Session {
    pub(super) fn new(global: &Global) -> Result<Self, Failure> {
        let environment = Environment::read()?;
        let store = Store::new(environment.store(global.store.clone())?);
        let terminal = std::io::stderr().is_terminal() && !environment.ci;
        let kind = match global.progress {
            _ if global.quiet => Kind::Silent,
            ProgressMode::None => Kind::Silent,
            ProgressMode::Auto if terminal => Kind::Bars,
            ProgressMode::Auto | ProgressMode::Plain => Kind::Plain,
            ProgressMode::Json => Kind::Json,
        };
        let apt = Machine::read(&environment.apt, environment.now);
        Ok(Self { environment, apt, store, progress: progress::progress(kind) })
    }

    pub(super) fn fetcher(&self, matrix: &Matrix, network: &Network) -> Result<Fetcher, Failure> {
        let mut mirrors = Mirrors::default();
        // What the command line says comes before what the matrix file says.
        for argument in &network.mirror {
            mirrors.add_argument(argument).map_err(|error| Failure::Usage(error.to_string()))?;
        }
        for (prefix, targets) in &matrix.file.mirrors {
            let targets = targets.iter().map(|target| target.value.as_str());
            mirrors
                .add(&prefix.value, targets, Original::Last)
                .map_err(|error| Failure::Usage(format!("{}: {error}", prefix.at)))?;
        }
        self.add_archives(matrix, &mut mirrors)?;
        let options = fetch::Options {
            network: if network.offline { fetch::Network::Offline } else { fetch::Network::Online },
            mirrors,
            ca_certificates: network.ca.ca_cert.clone(),
            hosts: self.hosts(matrix),
            ..fetch::Options::default()
        };
        Ok(Fetcher::new(self.store.clone(), options, Arc::clone(&self.progress)))
    }

    /// How registries are spoken to.
    pub(super) fn registries(&self, args: &Registries, ca: &CaCertificates) -> Result<registry::Settings, Failure> {
        let insecure =
            args.insecure_registry.iter().map(|name| read_registry(name).map(|name| api_host(&name).to_owned()));
        let insecure = insecure.collect::<Result<_, _>>().map_err(|error| {
            Failure::Usage(format!("{error}\n  help: --insecure-registry takes a host such as registry.lan:5000"))
        })?;
        let read = |file| files::read_stream(file, LARGEST_AUTHORITY);
        let authorities = ca.ca_cert.iter().map(|file| {
            read(file).map_err(|error| Failure::Usage(format!("{error}\n  help: --ca-cert takes a PEM file")))
        });
        Ok(registry::Settings {
            insecure,
            authorities: authorities.collect::<Result<_, _>>()?,
            credentials: self.credentials(),
            notes: registry::Notes::to(&self.progress),
            ..registry::Settings::default()
        })
    }

    /// Where logins are, and what helpers are run with.
    pub(super) fn credentials(&self) -> Credentials {
        let environment = &self.environment;
        let helpers = Helpers { search_path: environment.search_path.clone(), env: environment.variables.clone() };
        Credentials { files: environment.login_files.clone(), helpers }
    }

    /// Where the Docker Engine answers.
    pub(super) fn docker_host(&self) -> &str {
        self.environment.docker_host.as_deref().unwrap_or(DOCKER_SOCKET)
    }

    /// What is needed to ask repositories.
    pub(super) fn asking<'a>(&'a self, fetcher: &'a Fetcher, matrix: &'a Matrix) -> Asking<'a> {
        Asking { fetcher, store: &self.store, matrix, apt: &self.apt, progress: self.progress.as_ref() }
    }

    /// Where the archives of Debian bases are had from: below what command line and matrix file say, where their
    /// definitions say, be it the machine's own apt sources.
    fn add_archives(&self, matrix: &Matrix, mirrors: &mut Mirrors) -> Result<(), Failure> {
        for repository in matrix.bases.values().flat_map(Base::debian_repositories) {
            let urls = match &repository.mirrors {
                DebianMirrors::Urls(urls) => Ok(urls.clone()),
                DebianMirrors::System => self
                    .apt
                    .mirrors(pipeline::wanted_suite(repository))
                    .map(|mirrors| mirrors.into_iter().map(|mirror| mirror.uri).collect()),
            };
            match urls {
                Ok(urls) => mirrors
                    .add(&repository.prefix(), urls.iter().map(String::as_str), Original::Never)
                    .map_err(|error| Failure::Usage(format!("{}: {error}", repository.at)))?,
                Err(why) => mirrors.lack(&repository.prefix(), why),
            }
        }
        Ok(())
    }

    /// How the machine's apt reaches its mirrors, and who it says it is there.
    fn hosts(&self, matrix: &Matrix) -> Hosts {
        let mut hosts = Hosts::default();
        let settings = &self.apt.settings;
        for repository in matrix.bases.values().flat_map(Base::debian_repositories) {
            for mirror in self.apt.mirrors(pipeline::wanted_suite(repository)).unwrap_or_default() {
                match settings.proxy(&mirror.uri) {
                    Some("DIRECT") => hosts.reach(&mirror.uri, Proxy::Direct),
                    Some(proxy) => hosts.reach(&mirror.uri, Proxy::Through(proxy.to_owned())),
                    None => {}
                }
                if let Some(login) = settings.login(&mirror.uri) {
                    hosts.login(&mirror.uri, &login.user, &login.password);
                }
            }
        }
        hosts
    }

    /// Where tools are looked for.
    pub(super) fn search(&self) -> Search {
        Search::new(&self.environment.search_path, self.environment.home.clone())
    }

    pub(super) fn work(
        &self,
        planned: Planned,
        lock: Lock,
        network: &Network,
        jobs: Option<u16>,
    ) -> Result<Work, Failure> {
        let fetcher = self.fetcher(&planned.matrix, network)?;
        let options = Options {
            jobs: jobs.map_or_else(default_jobs, usize::from),
            search_path: self.environment.search_path.clone(),
            home: self.environment.home.clone(),
            epoch: self.environment.epoch,
            https_proxy: self.environment.https_proxy.clone(),
            ca_certificates: network.ca.ca_cert.first().cloned().or_else(|| self.environment.ca_certificates.clone()),
        };
        let Planned { matrix, plan } = planned;
        Ok(Work::new(matrix, plan, lock, self.store.clone(), fetcher, Arc::clone(&self.progress), options))
    }
}

/// The time for tidying up after the user stopped us.
const TIDYING: Duration = Duration::from_secs(30);

/// The time that work which nobody waits for any more has to remove its temporary files.
const ENDING: Duration = Duration::from_secs(1);

/// Runs a future to its end. When it fails, or the user stops us, the programs that we started are stopped too.
pub(super) fn block_on<T, E>(future: impl Future<Output = Result<T, E>>) -> Result<Result<T, E>, Failure> {
    block_on_or(future, std::future::ready(()))
}

/// Like [`block_on`], for what leaves things behind where nobody else removes them: when the user stops us, `tidy` runs
/// after the future was dropped, until the user stops us again.
pub(super) fn block_on_or<T, E>(
    future: impl Future<Output = Result<T, E>>,
    tidy: impl Future<Output = ()>,
) -> Result<Result<T, E>, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(2).build()?;
    let result = runtime.block_on(async {
        tokio::select! {
            result = future => return Ok(result),
            () = stopped() => process::stop_all(),
        }
        tokio::select! {
            _ = tokio::time::timeout(TIDYING, tidy) => {}
            () = stopped() => {}
        }
        Err(Failure::Stopped)
    });
    if !matches!(result, Ok(Ok(_))) {
        // What still compiles or compresses would only keep the message from the user.
        process::stop_all();
        runtime.shutdown_timeout(ENDING);
    }
    result
}

/// Ends when the user wants us to stop: Ctrl-C, Ctrl-\, `kill`, or a terminal that is closed.
async fn stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup(), SignalKind::quit()];
    let signals = kinds.into_iter().filter_map(|kind| signal(kind).ok()).map(|mut signal| {
        Box::pin(async move {
            signal.recv().await;
        })
    });
    let signals: Vec<_> = signals.collect();
    if signals.is_empty() {
        return std::future::pending().await;
    }
    futures::future::select_all(signals).await;
}
