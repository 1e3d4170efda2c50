//! What the environment says, read once. Nothing else of ours reads it; the HTTP library takes the proxy variables from it.

use std::{
    env,
    ffi::OsString,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::SystemTime,
};

use crate::base::{Epoch, epoch::InvalidEpoch};

/// The environment, as far as kletimg heeds it.
#[derive(Clone, Debug)]
pub struct Environment {
    /// What kletimg was called by, for commands that a person can repeat: `kletimg`, or the path of one just built.
    pub program: PathBuf,
    /// `SOURCE_DATE_EPOCH`: the time that images mention, over that of the lock.
    pub epoch: Option<Epoch>,
    /// The clock: only a lock that is made for the first time takes its time from it.
    pub now: Epoch,
    /// `PATH`: where compilers, UPX and emulators are looked for.
    pub search_path: OsString,
    /// `HOME`: only to find tools that a user installed for themselves.
    pub home: Option<PathBuf>,
    /// The user's cache folder: `XDG_CACHE_HOME`, or `.cache` in `HOME`.
    pub cache: Option<PathBuf>,
    /// `HTTPS_PROXY` or `https_proxy`, for compilers that download modules; our own downloads heed the usual variables
    /// by themselves.
    pub https_proxy: Option<String>,
    /// `SSL_CERT_FILE`, for the same.
    pub ca_certificates: Option<PathBuf>,
    /// Where logins are looked for, in this order: the file that `REGISTRY_AUTH_FILE` names, or else those of docker and
    /// of podman. A new login goes to the first.
    pub login_files: Vec<PathBuf>,
    /// `DOCKER_HOST`: where the Docker Engine answers, if not at the usual socket.
    pub docker_host: Option<String>,
    /// Everything, for credential helpers: they are programs of the user's own and look for keyrings, agents and cloud
    /// accounts in it.
    pub variables: Vec<(OsString, OsString)>,
    /// `KLETIMG_APT`, or `/etc/apt`: where the machine's apt has its sources and keys.
    pub apt: PathBuf,
    /// `CI` is set: a log, not a person, reads the progress.
    pub ci: bool,
}

/// An environment variable that cannot be heeded.
#[derive(Debug, thiserror::Error)]
pub enum InvalidEnvironment {
    #[error("reading SOURCE_DATE_EPOCH: {0}")]
    Epoch(#[from] InvalidEpoch),
    #[error(
        "finding a folder for the store: neither --store nor KLETIMG_STORE, XDG_CACHE_HOME or HOME is set; give one of \
         them"
    )]
    NoStore,
}

impl Environment {
    /// Reads the process's environment.
    pub fn read() -> Result<Self, InvalidEnvironment> {
        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        let home = set("HOME").map(PathBuf::from);
        let epoch = set("SOURCE_DATE_EPOCH").map(|text| text.to_string_lossy().parse()).transpose()?;
        Ok(Self {
            program: env::args_os().next().map_or_else(|| PathBuf::from("kletimg"), PathBuf::from),
            login_files: login_files(set, home.as_deref()),
            docker_host: set("DOCKER_HOST").map(|host| host.to_string_lossy().into_owned()),
            variables: env::vars_os().collect(),
            epoch,
            now: now(),
            search_path: set("PATH").unwrap_or_default(),
            // The XDG base directory specification has relative paths ignored.
            cache: set("XDG_CACHE_HOME")
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
                .or_else(|| home.as_ref().map(|home| home.join(".cache"))),
            home,
            https_proxy: set("HTTPS_PROXY")
                .or_else(|| set("https_proxy"))
                .map(|proxy| proxy.to_string_lossy().into_owned()),
            ca_certificates: set("SSL_CERT_FILE").map(PathBuf::from),
            apt: set("KLETIMG_APT").map_or_else(|| PathBuf::from("/etc/apt"), PathBuf::from),
            ci: set("CI").is_some(),
        })
    }

    /// The store's folder: what the user named, or `kletimg` in the user's cache folder.
    pub fn store(&self, named: Option<PathBuf>) -> Result<PathBuf, InvalidEnvironment> {
        named.or_else(|| self.cache.as_ref().map(|cache| cache.join("kletimg"))).ok_or(InvalidEnvironment::NoStore)
    }
}

/// Whether `NO_COLOR` is set and not empty (<https://no-color.org>). Asked for by itself: an environment that cannot be
/// read is an error that is shown as well.
pub fn no_color() -> bool {
    env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// `REGISTRY_AUTH_FILE` alone where it is set (containers-auth.json(5)); otherwise `DOCKER_CONFIG` or `~/.docker`, then
/// the file that podman and skopeo log in to.
fn login_files(set: impl Fn(&str) -> Option<OsString>, home: Option<&Path>) -> Vec<PathBuf> {
    if let Some(file) = set("REGISTRY_AUTH_FILE") {
        return vec![PathBuf::from(file)];
    }
    let docker = set("DOCKER_CONFIG").map(PathBuf::from).or_else(|| home.map(|home| home.join(".docker")));
    let runtime = set("XDG_RUNTIME_DIR").map(PathBuf::from);
    let podman = runtime.map(|folder| folder.join("containers/auth.json"));
    let config = set("XDG_CONFIG_HOME").map(PathBuf::from).or_else(|| home.map(|home| home.join(".config")));
    let lasting = config.map(|folder| folder.join("containers/auth.json"));
    docker.map(|folder| folder.join("config.json")).into_iter().chain(podman).chain(lasting).collect()
}

/// The present second. A clock before 1970 or after the year 9999 counts as 1970.
fn now() -> Epoch {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Epoch::try_from(since.as_secs()).unwrap_or_default()
}

/// As many jobs as the machine has cores.
pub fn default_jobs() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}
