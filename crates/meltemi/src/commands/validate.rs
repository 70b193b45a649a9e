//! `meltemi validate`: schema findings of mesh resources.

use std::process::ExitCode;

use anyhow::Result;

/// What to check.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Files and folders with mesh resources, YAML or JSON
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<std::path::PathBuf>,
}

/// Runs the command.
pub(crate) fn run(_args: Args) -> Result<ExitCode> {
    Err(crate::failure::Failure::new("`meltemi validate` is not built yet", "").into())
}
