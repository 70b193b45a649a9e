//! `meltemi proxy`: the data plane from an Envoy v3 bootstrap.
//!
//! Serving begins with an exec, see [`prepared`].

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Result;
use meltemi_proxy::{
    bootstrap::Overrides,
    prepared::{self, Prepared},
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
pub(crate) fn run(args: Args, log: &str) -> Result<ExitCode> {
    let options = Options {
        config: args.config,
        workers: args.workers,
        drain_time: Duration::from_secs(args.drain_time_s),
        overrides: Overrides { node: args.service_node, cluster: args.service_cluster },
    };
    match args.mode {
        Mode::Serve => {
            let bootstrap = run::read(&options).map_err(failure)?;
            serve(&prepared::hand_over(Prepared { log: log.to_owned(), options, bootstrap }))
        }
        Mode::Validate => {
            let notes = run::validate(&options).map_err(failure)?;
            notes.iter().for_each(|note| eprintln!("note: {note}"));
            eprintln!("{}: OK", options.config.display());
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Serves until asked to end.
pub(crate) fn serve(prepared: &Prepared) -> Result<ExitCode> {
    run::run(&prepared.options, prepared.bootstrap.clone()).map_err(failure)?;
    Ok(ExitCode::SUCCESS)
}

fn failure(error: run::RunError) -> Failure {
    Failure::new(error.to_string(), error.hint())
}
