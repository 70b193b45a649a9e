//! One proxy with everything around it: its bootstrap, its process, its readiness, its drain. The agent of `meltemi
//! agent`, and of every workload of `meltemi up`.
//!
//! Invariant: a proxy that may still hold connections is drained before it is ended.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::admin;
use crate::binary::Binary;
use crate::bootstrap::Bootstrap;
use crate::node::Node;
use crate::output::Line;
use crate::reaper::Reaper;
use crate::supervise::{Running, State};

/// How often a proxy that is starting is asked whether it is ready.
const POLL: Duration = Duration::from_millis(20);

/// What an agent is told.
#[derive(Debug, Clone)]
pub struct AgentOptions {
    /// Who the proxy is.
    pub node: Node,
    /// The control plane, `host:port`.
    pub discovery: String,
    /// Where the proxy's admin interface listens.
    pub admin: SocketAddr,
    /// The program.
    pub binary: Binary,
    /// Worker threads of the proxy.
    pub concurrency: u32,
    /// Log level of the proxy: trace, debug, info, warn, error.
    pub log_level: String,
    /// Where the bootstrap is written.
    pub folder: PathBuf,
    /// How long connections may take to end when the proxy is told to; Istio's terminationDrainDuration is 5 s.
    pub drain: Duration,
    /// Name shown with the proxy's output.
    pub shown_as: String,
}

/// A proxy under an agent.
#[derive(Debug)]
pub struct Agent {
    admin: SocketAddr,
    drain: Duration,
    drains_itself: bool,
    proxy: Running,
}

impl Agent {
    /// Writes the bootstrap and starts the proxy.
    ///
    /// # Errors
    /// When the bootstrap cannot be written.
    pub fn start(options: AgentOptions, sink: mpsc::Sender<Line>, reaper: Reaper) -> std::io::Result<Self> {
        let AgentOptions { node, discovery, admin, binary, concurrency, log_level, folder, drain, shown_as } =
            options;
        let bootstrap = Bootstrap { node: &node, discovery: &discovery, admin }.render();
        std::fs::create_dir_all(&folder)?;
        let file = folder.join(format!("{}.{}.bootstrap.json", node.name, node.namespace));
        std::fs::write(&file, format!("{bootstrap:#}\n"))?;
        let mut spec = binary.command(&shown_as, &file, concurrency, &log_level, drain);
        spec.grace = drain + Duration::from_secs(2);
        let drains_itself = binary.drains_on_sigterm();
        Ok(Self { admin, drain, drains_itself, proxy: Running::start(spec, sink, reaper) })
    }

    /// Where the proxy's admin interface listens.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The name shown with the proxy's output.
    #[must_use]
    pub fn name(&self) -> &str {
        self.proxy.name()
    }

    /// Waits until the proxy is ready: running, configured by the control plane, listening. Holds nothing of the agent.
    pub fn ready(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        let (mut state, admin) = (self.proxy.state(), self.admin);
        async move {
            loop {
                let running = state.wait_for(|state| matches!(state, State::Running(_))).await.is_ok();
                if !running || admin::ready(admin).await {
                    return;
                }
                tokio::time::sleep(POLL).await;
            }
        }
    }

    /// Drains the proxy and ends it.
    pub async fn end(self) {
        if !self.drains_itself {
            self.drain().await;
        }
        self.proxy.end().await;
    }

    /// What SIGTERM means to our own proxy, said to an Envoy in its admin interface's words.
    async fn drain(&self) {
        let deadline = Instant::now() + self.drain;
        if let Err(error) = admin::drain(self.admin).await {
            tracing::debug!("{}: cannot drain: {error}", self.name());
            return;
        }
        while Instant::now() < deadline {
            match admin::connections(self.admin).await {
                Ok(0) | Err(_) => return,
                Ok(_) => tokio::time::sleep(POLL).await,
            }
        }
    }
}
