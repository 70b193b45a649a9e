//! `meltemi control-plane`: pilot in one process, watching files.

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Result;

/// Where configuration comes from and where it is served. `up` and `demo` start this command with all of these.
#[derive(Debug, clap::Args)]
#[allow(dead_code, reason = "read once the command is built")]
pub(crate) struct Args {
    /// Files and folders with mesh resources; watched
    #[arg(long, required = true, value_name = "PATH")]
    config: Vec<std::path::PathBuf>,

    /// Where xDS is served
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:15010")]
    xds: SocketAddr,

    /// Where metrics and debug pages are served
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:15014")]
    monitoring: SocketAddr,

    /// Where the dashboard is served; unset: nowhere
    #[arg(long, value_name = "ADDR")]
    dashboard: Option<SocketAddr>,

    /// Namespace of documents that name none
    #[arg(long, value_name = "NS", default_value = "default")]
    namespace: String,
}

/// Runs the command.
pub(crate) fn run(_args: Args) -> Result<ExitCode> {
    Err(crate::failure::Failure::new("`meltemi control-plane` is not built yet", "").into())
}
