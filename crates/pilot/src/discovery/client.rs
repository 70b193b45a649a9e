//! One connected proxy: where its resources are, and what becomes of them.

use std::sync::Arc;

use arc_swap::ArcSwap;
use meltemi_xds::server::{self, Collection, Event};
use meltemi_xds::type_url;

use super::Inner;
use super::group::Shared;
use crate::node::Node;

/// A connected proxy.
#[derive(Debug)]
pub struct Client {
    pub(super) inner: Arc<Inner>,
    pub(super) node: Node,
    /// Number of the connection: a proxy that comes again before its old stream has ended is another one.
    pub(super) connection: u64,
    pub(super) sources: Arc<ArcSwap<Sources>>,
}

/// Where the resources of a proxy are.
#[derive(Debug)]
pub(super) struct Sources {
    /// What it has in common with its group.
    pub(super) shared: Arc<Shared>,
    /// Its inbound listeners and clusters.
    pub(super) own: Arc<Own>,
}

/// What is of one proxy alone.
#[derive(Debug, Default)]
pub(super) struct Own {
    pub(super) listeners: Arc<Collection>,
    pub(super) clusters: Arc<Collection>,
    /// The endpoints of its own service, if it asks for them.
    pub(super) endpoints: Option<Arc<Collection>>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.inner.proxies().remove(&self.connection);
        self.inner.world().leave(self.connection);
        tracing::info!(proxy = %self.node.id, "disconnected");
    }
}

impl server::Client for Client {
    fn collections(&mut self, type_url: &str) -> Vec<Arc<Collection>> {
        let sources = self.sources.load();
        let Sources { shared, own } = &**sources;
        match type_url {
            type_url::LISTENER => vec![Arc::clone(&own.listeners), Arc::clone(&shared.listeners)],
            type_url::CLUSTER => vec![Arc::clone(&own.clusters), Arc::clone(&shared.clusters)],
            type_url::ENDPOINT => own.endpoints.iter().chain([&shared.endpoints]).map(Arc::clone).collect(),
            type_url::ROUTE => vec![Arc::clone(&shared.routes)],
            type_url::VIRTUAL_HOST if shared.discovers_hosts => vec![Arc::clone(&shared.virtual_hosts)],
            _ => Vec::new(),
        }
    }

    fn asked(&mut self, type_url: &str, names: &[String]) {
        if self.node.is_proxyless() {
            self.inner.world().asked(self.connection, type_url, names);
        }
    }

    fn event(&mut self, event: Event<'_>) {
        self.inner.counters.count(&event);
        if let Event::Rejected { type_url, message, .. } = event {
            tracing::warn!(proxy = %self.node.id, type_url, message, "rejected");
        }
        if let Some(proxy) = self.inner.proxies().get_mut(&self.connection) {
            proxy.record(event);
        }
    }
}
