//! `meltemi translate`: what one proxy would be sent, offline.

use std::process::ExitCode;

use anyhow::Result;

/// What to translate, for whom.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Files and folders with mesh resources
    #[arg(short, long = "filename", required = true, num_args = 1.., value_name = "PATH")]
    filename: Vec<std::path::PathBuf>,
}

/// Runs the command.
pub(crate) fn run(_args: Args) -> Result<ExitCode> {
    Err(crate::failure::Failure::new("`meltemi translate` is not built yet", "").into())
}
