//! `meltemi proxy`: the data plane from an Envoy v3 bootstrap.

use std::process::ExitCode;

use anyhow::Result;

/// The bootstrap and what may be set beside it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Envoy v3 bootstrap, YAML or JSON
    #[arg(short, long = "config-path", value_name = "FILE")]
    config: std::path::PathBuf,

    /// Worker threads; default: one per core
    #[arg(long, visible_alias = "concurrency", value_name = "N")]
    workers: Option<usize>,
}

/// Runs the command.
pub(crate) fn run(_args: Args) -> Result<ExitCode> {
    Err(crate::failure::Failure::new("`meltemi proxy` is not built yet", "").into())
}
