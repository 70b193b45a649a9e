//! What `up` and `demo` were asked for, as [`super::run`] and [`super::start`] read it.

use std::net::SocketAddr;
use std::path::PathBuf;

/// What to run, and where.
#[derive(Debug)]
pub(crate) struct Options {
    /// Files and folders with processes and mesh resources; watched.
    pub(crate) paths: Vec<PathBuf>,
    /// Where the ingress gateway listens.
    pub(crate) gateway: SocketAddr,
    /// Where the dashboard listens.
    pub(crate) dashboard: SocketAddr,
    /// Where the control plane serves xDS.
    pub(crate) xds: SocketAddr,
    /// Where the control plane serves metrics and debug pages.
    pub(crate) monitoring: SocketAddr,
    /// `meltemi`, `envoy`, or a path to an Envoy.
    pub(crate) proxy_binary: String,
    /// Log level of the proxies.
    pub(crate) proxy_log: String,
    /// File with the mesh's settings, if there is one.
    pub(crate) mesh_config: Option<PathBuf>,
    /// Namespace of documents that name none.
    pub(crate) namespace: String,
    /// Shown after `ready`: what to look at, as a path on the gateway.
    pub(crate) page: &'static str,
}

impl Options {
    /// Where something will listen, with what it is and the flag that moves it.
    pub(super) fn addresses(&self) -> [(SocketAddr, &'static str, &'static str); 4] {
        [
            (self.gateway, "ingress gateway", "--gateway"),
            (self.dashboard, "dashboard", "--dashboard"),
            (self.xds, "control plane's xDS", "--xds"),
            (self.monitoring, "control plane's debug pages", "--monitoring"),
        ]
    }
}
