//! `meltemi control-plane`: pilot in one process, watching files.
//!
//! Invariant: the process ends only on a signal or when an address cannot be used; wrong files are reported and lived with.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use meltemi_config::diagnostic::render;
use meltemi_config::mesh::MeshConfig;
use meltemi_config::{Diagnostic, Severity};
use meltemi_pilot::discovery::{Options, Pilot};
use meltemi_pilot::source::Source;
use meltemi_pilot::source::file::FileSource;
use tokio::net::TcpListener;

use super::settings;
use crate::failure::Failure;

mod monitoring;

/// Where configuration comes from and where it is served. `up` and `demo` start this command with all of these.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Files and folders with mesh resources; watched
    #[arg(long, required = true, value_name = "PATH")]
    config: Vec<PathBuf>,

    #[command(flatten)]
    settings: settings::Flags,

    /// Where xDS is served
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:15010")]
    xds: SocketAddr,

    /// Where metrics and debug pages are served
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:15014")]
    monitoring: SocketAddr,

    /// Where the dashboard is served; unset: nowhere
    #[arg(long, value_name = "ADDR")]
    dashboard: Option<SocketAddr>,

    /// Milliseconds that a change waits for others; lost endpoints do not wait; unset: PILOT_DEBOUNCE_AFTER, else 100
    #[arg(long, value_name = "MS")]
    debounce: Option<u64>,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(args))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(args: Args) -> Result<()> {
    let xds = listen(args.xds, "xDS", "--xds").await?;
    let monitoring = listen(args.monitoring, "metrics and debug pages", "--monitoring").await?;
    let reading = meltemi_config::Options::in_namespace(&args.settings.namespace);
    let given = args.settings.given();
    let mut mesh = MeshConfig::default();
    given.lay_over(&mut mesh);
    let source = FileSource::new(args.config.clone(), reading)
        .with_mesh_config(args.settings.mesh_config.clone())
        .with_mesh_networks(args.settings.mesh_networks.clone())
        .with_given(given);
    let sources: Vec<Box<dyn Source>> = vec![Box::new(source)];
    let debounce = args.debounce.map(Duration::from_millis);
    let defaults = Options::default();
    let options = Options {
        debounce_after: debounce
            .or_else(|| settings::duration("PILOT_DEBOUNCE_AFTER"))
            .unwrap_or(defaults.debounce_after),
        debounce_max: settings::duration("PILOT_DEBOUNCE_MAX").unwrap_or(defaults.debounce_max),
        mesh,
    };
    let pilot = Pilot::start(sources, options);
    tokio::spawn(report(pilot.clone()));
    tracing::info!(xds = %xds.local_addr()?, monitoring = %monitoring.local_addr()?, "serving");
    let dashboard = async {
        match args.dashboard {
            Some(address) => {
                let shown = pilot.clone();
                crate::dashboard::serve(address, Arc::new(move || shown.overview())).await
            }
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        result = pilot.serve(xds, std::future::pending()) => result.context("xDS"),
        () = monitoring::serve(monitoring, pilot.clone()) => Ok(()),
        result = dashboard => result.context("dashboard"),
        result = crate::console::asked_to_end() => result.map_err(Into::into),
    }
}

async fn listen(address: SocketAddr, what: &str, flag: &str) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let hint = format!("give another address with {flag} ADDR");
        Failure::new(format!("cannot serve {what} at {address}: {error}"), hint).into()
    })
}

/// Prints each finding once for as long as it is there, and says when faults are mended.
async fn report(pilot: Pilot) {
    let mut versions = pilot.versions();
    let mut known: BTreeSet<String> = BTreeSet::new();
    loop {
        let findings = pilot.findings();
        let worth = |finding: &&Diagnostic| finding.severity != Severity::Info;
        let colour = crate::console::colour_on_stderr();
        let now: BTreeSet<String> =
            findings.iter().filter(worth).map(|finding| render(finding, colour)).collect();
        for finding in now.difference(&known) {
            eprintln!("{finding}");
        }
        if now.is_empty() && !known.is_empty() {
            eprintln!("all findings are mended");
        }
        known = now;
        if versions.changed().await.is_err() {
            return;
        }
    }
}
