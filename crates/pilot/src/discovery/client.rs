//! One connected proxy: its resources by type, and what becomes of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use meltemi_xds::pb::envoy::config::core::v3::Node as EnvoyNode;
use meltemi_xds::server::{self, Event, Interest, Resource};
use meltemi_xds::type_url;

use super::status::Proxy;
use super::{Inner, proxyless};
use crate::node::Node;
use crate::snapshot::Snapshot;
use crate::translate::cache::Cache;
use crate::view::View;

/// Numbers connections, so that a proxy that comes again before its old stream has ended is another one.
static CONNECTIONS: AtomicU64 = AtomicU64::new(1);

/// A connected proxy.
#[derive(Debug)]
pub struct Client {
    inner: Arc<Inner>,
    node: Node,
    connection: u64,
}

impl Client {
    pub(super) fn new(inner: Arc<Inner>, node: Node, envoy: &EnvoyNode, delta: bool) -> Client {
        let connection = CONNECTIONS.fetch_add(1, Ordering::Relaxed);
        inner.proxies().insert(connection, Proxy::new(&node, envoy, delta));
        Client { inner, node, connection }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.inner.proxies().remove(&self.connection);
        tracing::info!(proxy = %self.node.id, "disconnected");
    }
}

impl server::Client for Client {
    fn resources(&mut self, type_url: &str, interest: &Interest) -> Vec<Resource> {
        let snapshot = self.inner.snapshot.load_full();
        resources(&snapshot, &self.node, &self.inner.cache, type_url, interest)
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

/// The resources of a type that a proxy wants, sorted by name.
pub(crate) fn resources(
    snapshot: &Snapshot,
    node: &Node,
    cache: &Cache,
    url: &str,
    interest: &Interest,
) -> Vec<Resource> {
    let view = View::new(snapshot, node);
    let mut resources = if node.is_proxyless() {
        proxyless::resources(&view, cache, url, interest)
    } else {
        of_proxy(&view, cache, url, interest)
    };
    resources.sort_by(|a, b| a.name.cmp(&b.name));
    resources.dedup_by(|a, b| a.name == b.name);
    resources
}

fn of_proxy(view: &View<'_>, cache: &Cache, url: &str, interest: &Interest) -> Vec<Resource> {
    match url {
        type_url::LISTENER => {
            let wanted = view.listeners().into_iter().filter(|listener| interest.wants(&listener.name));
            wanted.map(|listener| cache.listener(listener)).collect()
        }
        type_url::CLUSTER => {
            let wanted = view.clusters().into_iter().filter(|cluster| interest.wants(&cluster.name));
            wanted.map(|cluster| cache.cluster(cluster)).collect()
        }
        type_url::ROUTE => {
            let all = if interest.wildcard { view.route_names() } else { Vec::new() };
            let names = interest.names.iter().chain(&all);
            names.filter_map(|name| view.route_table(name)).map(|table| cache.route(table)).collect()
        }
        // Of a cluster without endpoints there is an empty assignment, so that it does not wait for one.
        type_url::ENDPOINT => {
            interest.names.iter().map(|name| cache.assignment(view.assignment(name))).collect()
        }
        _ => Vec::new(),
    }
}
