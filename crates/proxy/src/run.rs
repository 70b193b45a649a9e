//! The process: bootstrap, workers, static resources, signals, drain, exit.
//!
//! `meltemi proxy` calls [`run`]; it returns when the process should end.
//! Invariant: the main thread never serves a request; a worker never reads configuration.

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use meltemi_xds::json;
use tokio::{
    runtime::{Builder, LocalOptions},
    signal::unix::{SignalKind, signal},
};
use tracing::{info, warn};

use crate::{
    access_log,
    admin::{self, Admin},
    bootstrap::{self, Bootstrap, Overrides},
    lifecycle::Lifecycle,
    listener::limit::Count,
    worker::{self, Workers},
    xds::{
        plane::{self, Plane},
        view::{ConfigView, Readiness},
    },
};

/// What the command line says.
#[derive(Debug, Clone)]
pub struct Options {
    /// Envoy v3 bootstrap, YAML or JSON.
    pub config: PathBuf,
    /// Worker threads; default: the CPUs available.
    pub workers: Option<usize>,
    /// `--drain-time-s`, default 600 s.
    pub drain_time: Duration,
    /// `--service-node` and `--service-cluster`.
    pub overrides: Overrides,
}

/// Why the process cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not a bootstrap.
    #[error("{0}")]
    Bootstrap(String),
    /// A resource in it cannot be put in force.
    #[error("{path}: {problem}")]
    Resource {
        /// Which file.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// The system refuses what every process needs.
    #[error("cannot start: {0}")]
    Start(#[from] std::io::Error),
}

impl RunError {
    /// What the user may do; empty where there is nothing to advise.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Read { .. } => "give the bootstrap with -c FILE",
            Self::Bootstrap(_) => "the file is an Envoy v3 bootstrap in YAML or JSON",
            Self::Resource { .. } => "`--mode validate` checks the file without starting",
            Self::Start(_) => "",
        }
    }
}

/// Reads and checks the bootstrap without starting anything: `--mode validate`. Gives back what is not in effect.
pub fn validate(options: &Options) -> Result<Vec<String>, RunError> {
    plane::validate(compile(options, read(options)?)?)
        .map_err(|rejection| resource(options, rejection.to_string()))
}

/// Reads the bootstrap's text and encodes it. Much memory and much of the program is touched for it that serving never
/// needs again, so `meltemi proxy` does it in a life of its own.
pub fn read(options: &Options) -> Result<Bytes, RunError> {
    let path = options.config.display().to_string();
    let text = std::fs::read_to_string(&options.config)
        .map_err(|source| RunError::Read { path: path.clone(), source })?;
    let name = "envoy.config.bootstrap.v3.Bootstrap";
    let encoded = json::wire_from_text(name, &text);
    encoded.map(Bytes::from).map_err(|error| RunError::Bootstrap(error.in_file(&path)))
}

/// Runs until a signal or admin ends the process. `encoded` is what [`read`] gave.
pub fn run(options: &Options, encoded: Bytes) -> Result<(), RunError> {
    let bootstrap = compile(options, encoded)?;
    for note in &bootstrap.notes {
        warn!("bootstrap: {note}");
    }
    raise_descriptor_limit();
    let mut settings = worker::Options { drain_time: options.drain_time, ..worker::Options::default() };
    settings.connections = bootstrap.most_connections.map(Count::new);
    settings.count = options.workers.unwrap_or(settings.count);
    let workers = Workers::start(&settings)?;
    let lifecycle = Lifecycle::new(workers.clone(), options.drain_time);
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    let ended = runtime.block_on(async {
        let plane = Plane::new(&bootstrap, workers.clone());
        let (lifecycle, workers) = (lifecycle.clone(), workers.clone());
        let (view, node) = (plane.view(), bootstrap.node.clone());
        admin::start(bootstrap.admin.as_ref(), Admin { lifecycle: lifecycle.clone(), workers, view, node })
            .await?;
        plane.start(bootstrap).map_err(|rejection| resource(options, rejection.to_string()))?;
        let view = plane.view();
        let ready = async {
            report_ready(&view, &lifecycle).await;
            std::future::pending().await
        };
        tokio::select! {
            ended = reopen_when_told() => ended,
            ended = wait_for_end(&lifecycle) => ended,
            () = ready => Ok(()),
        }
    });
    access_log::flush();
    ended
}

/// Waits until the first configuration is in force, and says so.
async fn report_ready(view: &ConfigView, lifecycle: &Lifecycle) {
    let mut readiness = view.watch_readiness();
    // The view outlives the wait.
    let _ = readiness.wait_for(|readiness| *readiness == Readiness::Live).await;
    lifecycle.set_initialized();
    info!(clusters = view.clusters().len(), "the first configuration is in force");
}

fn compile(options: &Options, encoded: Bytes) -> Result<Bootstrap, RunError> {
    bootstrap::compile(encoded, &options.overrides)
        .map_err(|rejection| resource(options, rejection.to_string()))
}

fn resource(options: &Options, problem: String) -> RunError {
    RunError::Resource { path: options.config.display().to_string(), problem }
}

/// SIGUSR1 reopens the access logs, SIGHUP is taken and means nothing, both as in Envoy.
async fn reopen_when_told() -> Result<(), RunError> {
    let (mut reopen, mut hangup) = (signal(SignalKind::user_defined1())?, signal(SignalKind::hangup())?);
    loop {
        tokio::select! {
            _ = reopen.recv() => {
                if let Err(problems) = access_log::reopen() {
                    warn!("access logs are not reopened: {}", problems.trim_end());
                }
            }
            _ = hangup.recv() => info!("SIGHUP means nothing here"),
        }
    }
}

/// A first SIGTERM or SIGINT drains; a second one, or `/quitquitquit`, ends at once.
async fn wait_for_end(lifecycle: &Lifecycle) -> Result<(), RunError> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        () = lifecycle.quitting() => return Ok(()),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    info!("draining");
    tokio::select! {
        () = lifecycle.drain() => {}
        () = lifecycle.quitting() => {}
        _ = terminate.recv() => warn!("asked twice: ending without waiting for connections"),
        _ = interrupt.recv() => warn!("asked twice: ending without waiting for connections"),
    }
    Ok(())
}

/// Every connection takes two descriptors; the usual soft limit is far below the hard one.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        warn!(%error, "the limit of open files stays as it is");
    }
}
