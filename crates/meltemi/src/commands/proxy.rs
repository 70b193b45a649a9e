//! `meltemi proxy`: the data plane from an Envoy v3 bootstrap.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Result;
use meltemi_proxy::{
    bootstrap::Overrides,
    run::{self, Options},
};

use crate::failure::Failure;

/// The bootstrap and what may be set beside it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Envoy v3 bootstrap, YAML or JSON
    #[arg(short, long = "config-path", value_name = "FILE")]
    config: PathBuf,

    /// Worker threads; default: one per core
    #[arg(long, visible_alias = "concurrency", value_name = "N")]
    workers: Option<usize>,

    /// How long open connections may go on when the process or a listener ends
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    drain_time_s: u64,

    /// Node id, in place of the bootstrap's
    #[arg(long, value_name = "ID")]
    service_node: Option<String>,

    /// Service cluster, in place of the bootstrap's
    #[arg(long, value_name = "NAME")]
    service_cluster: Option<String>,

    /// `validate` checks the bootstrap and exits
    #[arg(long, value_name = "MODE", default_value = "serve")]
    mode: Mode,
}

/// As Envoy's `--mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Mode {
    /// Serve until told to end
    Serve,
    /// Check the bootstrap and exit
    Validate,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let options = Options {
        config: args.config,
        workers: args.workers,
        drain_time: Duration::from_secs(args.drain_time_s),
        overrides: Overrides { node: args.service_node, cluster: args.service_cluster },
    };
    let done = match args.mode {
        Mode::Serve => run::run(&options),
        Mode::Validate => run::validate(&options).map(|notes| {
            notes.iter().for_each(|note| eprintln!("note: {note}"));
            eprintln!("{}: OK", options.config.display());
        }),
    };
    match done {
        Ok(()) => {}
        Err(error) => return Err(Failure::new(error.to_string(), hint(&error)).into()),
    }
    Ok(ExitCode::SUCCESS)
}

fn hint(error: &run::RunError) -> &'static str {
    match error {
        run::RunError::Read { .. } => "give the bootstrap with -c FILE",
        run::RunError::Bootstrap(_) => "the file is an Envoy v3 bootstrap in YAML or JSON",
        run::RunError::Resource { .. } => "`--mode validate` checks the file without starting",
        run::RunError::Start(_) => "",
    }
}
