//! What every verb that speaks to registries takes, and logging in.

use std::path::PathBuf;

use clap::Args;

/// How registries are reached.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Registries")]
pub(in crate::cli) struct Registries {
    /// Allow plain HTTP, or a certificate that cannot be verified, for this registry (repeated)
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(in crate::cli) insecure_registry: Vec<String>,
}

/// Certificate authorities for everything that goes over the network.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Network")]
pub(in crate::cli) struct CaCertificates {
    /// Trust this certificate authority too (PEM; repeated)
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) ca_cert: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Login {
    /// The registry, such as registry.example:5000 or docker.io
    pub(in crate::cli) registry: String,
    /// The user's name [default: that of the login that is there]
    #[arg(short, long, value_name = "USER")]
    pub(in crate::cli) username: Option<String>,
    /// Read the password or token from standard input, the only way it can be given
    #[arg(long, required = true)]
    pub(in crate::cli) password_stdin: bool,
    #[command(flatten)]
    pub(in crate::cli) registries: Registries,
    #[command(flatten)]
    pub(in crate::cli) ca: CaCertificates,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Logout {
    /// The registry, as it was given to `kletimg login`
    pub(in crate::cli) registry: String,
}
