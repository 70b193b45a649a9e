//! `meltemi control-plane`: pilot in one process, watching a folder.

use std::process::ExitCode;

use anyhow::Result;

/// Where configuration comes from and where it is served.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Files and folders with mesh resources; watched
    #[arg(long, required = true, value_name = "PATH")]
    config: Vec<std::path::PathBuf>,
}

/// Runs the command.
pub(crate) fn run(_args: Args) -> Result<ExitCode> {
    Err(crate::failure::Failure::new("`meltemi control-plane` is not built yet", "").into())
}
