//! What the plane counts: clusters and listeners that come and go, and updates of discovery.
//!
//! Invariant: the groups of discovery exist only where the bootstrap asks for it, as in Envoy.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::{
    bootstrap::Discovery,
    stats::{
        MAIN, Registry,
        groups::{ClusterManagerStats, ControlPlaneStats, ListenerManagerStats, XdsStats},
    },
    xds::view::Kind,
};

/// The plane's groups.
#[derive(Debug)]
pub(super) struct Counts {
    pub(super) clusters: Arc<ClusterManagerStats>,
    pub(super) listeners: Arc<ListenerManagerStats>,
    cds: Option<Arc<XdsStats>>,
    lds: Option<Arc<XdsStats>>,
    control_plane: Option<Arc<ControlPlaneStats>>,
    registry: Arc<Registry>,
}

impl Counts {
    /// Groups of a process.
    pub(super) fn new(registry: Arc<Registry>) -> Self {
        Self {
            clusters: registry.group("cluster_manager.", MAIN),
            listeners: registry.group("listener_manager.", MAIN),
            cds: None,
            lds: None,
            control_plane: None,
            registry,
        }
    }

    /// A discovery server will be asked.
    pub(super) fn discovers(&mut self, discovery: &Discovery) {
        let registry = &self.registry;
        self.cds = discovery.clusters.then(|| registry.group("cluster_manager.cds.", MAIN));
        self.lds = discovery.listeners.then(|| registry.group("listener_manager.lds.", MAIN));
        self.control_plane = Some(registry.group("control_plane.", MAIN));
    }

    /// The group of a kind of resource, where there is one.
    pub(super) fn of(&self, kind: Kind) -> Option<&XdsStats> {
        match kind {
            Kind::Cluster => self.cds.as_deref(),
            Kind::Listener => self.lds.as_deref(),
            Kind::Endpoint | Kind::Route | Kind::VirtualHost => None,
        }
    }

    /// A response was applied.
    pub(super) fn updated(&self, kind: Kind, version: &str, refused: bool) {
        let Some(stats) = self.of(kind) else { return };
        stats.update_attempt.inc();
        if refused {
            return stats.update_rejected.inc();
        }
        stats.update_success.inc();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        stats.update_time.set(now.as_millis() as i64);
        let mut hash = rustc_hash::FxHasher::default();
        version.hash(&mut hash);
        // Only equality means anything.
        stats.version.set((hash.finish() >> 1) as i64);
    }

    /// The stream to the discovery server came up or was lost.
    pub(super) fn connected(&self, connected: bool) {
        if let Some(stats) = &self.control_plane {
            stats.connected_state.set(i64::from(connected));
        }
        if !connected {
            for stats in self.cds.iter().chain(&self.lds) {
                stats.update_failure.inc();
            }
        }
    }
}
