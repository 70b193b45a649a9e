//! The process: bootstrap, workers, static resources, signals, drain, exit.
//!
//! `meltemi proxy` calls [`run`]; it returns when the process should end.
//! Invariant: the main thread never serves a request; a worker never reads configuration.

mod static_config;

use std::{path::PathBuf, sync::Arc, time::Duration};

use meltemi_xds::{json, pb::envoy::config::bootstrap::v3::Bootstrap};
use tokio::{
    runtime::{Builder, LocalOptions},
    signal::unix::{SignalKind, signal},
};
use tracing::{info, warn};

use crate::{
    access_log,
    cluster::store::ClusterStore,
    lifecycle::Lifecycle,
    worker::{self, Workers},
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

/// Reads and checks the bootstrap without starting anything: `--mode validate`.
pub fn validate(options: &Options) -> Result<(), RunError> {
    let bootstrap = load(options)?;
    compile(options, &bootstrap, &ClusterStore::new()).map(drop)
}

/// Runs until a signal or admin ends the process.
pub fn run(options: &Options) -> Result<(), RunError> {
    let bootstrap = load(options)?;
    raise_descriptor_limit();
    let mut settings = worker::Options { drain_time: options.drain_time, ..worker::Options::default() };
    settings.count = options.workers.unwrap_or(settings.count);
    let workers = Workers::start(&settings)?;
    let lifecycle = Lifecycle::new(workers.clone(), options.drain_time);
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    let ended = runtime.block_on(async {
        let clusters = ClusterStore::new();
        for listener in compile(options, &bootstrap, &clusters)? {
            let put = workers.put(listener);
            put.map_err(|error| resource(options, error.to_string()))?.wait().await;
        }
        // The messages are as large as what was made of them.
        drop(bootstrap);
        lifecycle.set_initialized();
        info!(workers = workers.count(), clusters = clusters.clusters().len(), "all listeners are in force");
        wait_for_end(&lifecycle).await
    });
    access_log::flush();
    ended
}

fn load(options: &Options) -> Result<Bootstrap, RunError> {
    let path = options.config.display().to_string();
    let text = std::fs::read_to_string(&options.config)
        .map_err(|source| RunError::Read { path: path.clone(), source })?;
    json::from_text(&text).map_err(|error| RunError::Bootstrap(error.in_file(path)))
}

fn compile(
    options: &Options,
    bootstrap: &Bootstrap,
    clusters: &Arc<ClusterStore>,
) -> Result<Vec<Arc<crate::listener::Listener>>, RunError> {
    static_config::compile(bootstrap, clusters).map_err(|problem| resource(options, problem))
}

fn resource(options: &Options, problem: String) -> RunError {
    RunError::Resource { path: options.config.display().to_string(), problem }
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
