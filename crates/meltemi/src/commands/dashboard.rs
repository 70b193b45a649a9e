//! `meltemi dashboard`: see the design.

use std::process::ExitCode;

use anyhow::Result;

/// Nothing yet.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs the command.
pub(crate) fn run(_args: Args) -> Result<ExitCode> {
    Err(crate::failure::Failure::new("`meltemi dashboard` is not built yet", "").into())
}
