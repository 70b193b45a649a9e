//! Pilot as a discovery server: sources make snapshots, snapshots make resources for each proxy that is connected.
//!
//! [`Pilot::start`] is what commands and tests call; the protocol itself is in `meltemi_xds::server`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use meltemi_config::mesh::MeshConfig;
use meltemi_config::{Diagnostic, Object};
use meltemi_xds::pb::envoy::config::core::v3::Node as EnvoyNode;
use meltemi_xds::server::{Ads, Backend};
use tokio::sync::{Notify, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{StreamExt, StreamMap};
use tonic::Status;

use crate::node::{Node, Role, json};
use crate::snapshot::{Change, Snapshot};
use crate::source::{Source, Update};

mod client;
mod debounce;
#[cfg(test)]
mod following;
mod group;
mod overview;
mod proxyless;
mod serve;
pub mod status;
mod world;

use client::Client;
use debounce::Pending;
use status::Proxy;
use world::World;

/// How pilot behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long a change waits for others; 100 ms in Istio. Lost endpoints do not wait.
    pub debounce_after: Duration,
    /// How long changes that keep coming may wait; 10 s in Istio.
    pub debounce_max: Duration,
    /// The mesh's settings where no source has any.
    pub mesh: MeshConfig,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            debounce_after: Duration::from_millis(100),
            debounce_max: Duration::from_secs(10),
            mesh: MeshConfig::default(),
        }
    }
}

/// A running pilot. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Pilot(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    world: Mutex<World>,
    findings: ArcSwap<Vec<Diagnostic>>,
    /// Version of the configuration.
    changes: watch::Sender<u64>,
    /// Connected proxies by number of connection.
    proxies: Mutex<BTreeMap<u64, Proxy>>,
    connections: AtomicU64,
    counters: status::Counters,
    started: Instant,
}

impl Pilot {
    /// Starts following the sources; the first snapshot is there when this returns.
    pub fn start(mut sources: Vec<Box<dyn Source>>, options: Options) -> Pilot {
        let inner = Arc::new(Inner {
            world: Mutex::new(World::new(Arc::new(options.mesh.clone()))),
            findings: ArcSwap::default(),
            changes: watch::Sender::new(0),
            proxies: Mutex::default(),
            connections: AtomicU64::new(0),
            counters: status::Counters::default(),
            started: Instant::now(),
        });
        let (mut first, updates): (Vec<Update>, Vec<_>) =
            sources.iter_mut().map(|source| source.follow()).unzip();
        let mut findings: Vec<Vec<Diagnostic>> = Vec::new();
        let mut objects = Vec::new();
        for update in &mut first {
            findings.push(update.findings.take().unwrap_or_default());
            objects.append(&mut update.objects);
        }
        // Of several settings of the mesh those of the first source hold.
        let mesh = first.into_iter().find_map(|update| update.mesh);
        inner.publish(objects, mesh, Duration::ZERO);
        inner.report(&findings);
        tokio::spawn(follow(Arc::downgrade(&inner), updates, findings, options));
        Pilot(inner)
    }

    /// The ADS service, to be served with tonic.
    pub fn service(&self) -> Ads<Pilot> {
        Ads::new(Arc::new(self.clone()))
    }

    /// The mesh as it is now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.0.world().snapshot)
    }

    /// What is wrong or worth knowing, sorted.
    pub fn findings(&self) -> Arc<Vec<Diagnostic>> {
        self.0.findings.load_full()
    }

    /// Objects in force.
    pub fn objects(&self) -> Vec<Object> {
        self.0.world().objects()
    }

    /// Connected proxies.
    pub fn proxies(&self) -> Vec<Proxy> {
        self.0.proxies().values().cloned().collect()
    }

    /// Version of the configuration, now and after each change.
    pub fn versions(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }
}

/// Acts on what the sources say until pilot or all of them have ended.
async fn follow(
    inner: Weak<Inner>,
    updates: Vec<mpsc::Receiver<Update>>,
    mut findings: Vec<Vec<Diagnostic>>,
    options: Options,
) {
    let mut updates: StreamMap<usize, _> = updates.into_iter().map(ReceiverStream::new).enumerate().collect();
    let mut pending = Pending::default();
    loop {
        let due = pending.due(&options);
        let wait = async {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        let update = tokio::select! {
            update = updates.next() => update,
            () = wait => {
                let Some(inner) = inner.upgrade() else { return };
                let (objects, mesh, waited) = pending.take();
                inner.publish(objects, mesh, waited);
                continue;
            }
        };
        let (Some((source, mut update)), Some(inner)) = (update, inner.upgrade()) else { return };
        if let Some(found) = update.findings.take() {
            findings[source] = found;
            inner.report(&findings);
        }
        let urgent = {
            let world = inner.world();
            pending.add(update, |id| world.object(id))
        };
        if !urgent.is_empty() {
            inner.publish(urgent, None, Duration::ZERO);
        }
    }
}

impl Inner {
    fn proxies(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Proxy>> {
        self.proxies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn world(&self) -> std::sync::MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, objects: Vec<Change>, mesh: Option<Arc<MeshConfig>>, waited: Duration) {
        let began = Instant::now();
        self.world().apply(objects, mesh);
        self.counters.pushed(waited, began.elapsed());
        self.changes.send_modify(|version| *version += 1);
    }

    fn report(&self, findings: &[Vec<Diagnostic>]) {
        let mut findings: Vec<Diagnostic> = findings.iter().flatten().cloned().collect();
        Diagnostic::sort(&mut findings);
        self.findings.store(Arc::new(findings));
    }
}

impl Backend for Pilot {
    type Client = Client;

    fn connect(&self, envoy: &EnvoyNode, delta: bool) -> Result<(Client, Arc<Notify>), Status> {
        let node = node_of(envoy)?;
        tracing::info!(proxy = %node.id, delta, "connected");
        let connection = self.0.connections.fetch_add(1, Ordering::Relaxed);
        let discovers_hosts = delta && knows_vhds(envoy);
        let (sources, wake) = self.0.world().join(connection, &node, discovers_hosts);
        self.0.proxies().insert(connection, Proxy::new(&node, envoy, delta));
        Ok((Client { inner: Arc::clone(&self.0), node, connection, sources }, wake))
    }
}

/// Whether a proxy takes virtual hosts one by one: Envoy and ours do; of others nobody knows.
fn knows_vhds(envoy: &EnvoyNode) -> bool {
    matches!(envoy.user_agent_name.as_str(), "envoy" | "meltemi")
}

/// Proxies have Istio's ids; gRPC's own clients may have any.
fn node_of(envoy: &EnvoyNode) -> Result<Node, Status> {
    let metadata = envoy.metadata.as_ref().map(json).unwrap_or_default();
    let grpc = envoy.user_agent_name.to_ascii_lowercase().starts_with("grpc");
    match Node::parse(&envoy.id, &metadata) {
        Ok(mut node) => {
            if grpc {
                node.metadata.generator = "grpc".into();
            }
            if let Some(place) = envoy.locality.as_ref().filter(|place| !place.region.is_empty()) {
                let parts = [&*place.region, &place.zone, &place.sub_zone];
                node.locality = parts.join("/").trim_end_matches('/').into();
            }
            Ok(node)
        }
        Err(_) if grpc || metadata.get("GENERATOR").is_some_and(|generator| generator == "grpc") => {
            Ok(Node::proxyless(&envoy.id, &metadata))
        }
        Err(error) => Err(Status::invalid_argument(error.to_string())),
    }
}

/// Istio's word for a role, for people.
fn role(node: &Node) -> &'static str {
    match node.role {
        _ if node.is_proxyless() => "grpc",
        Role::Sidecar => "sidecar",
        Role::Router => "router",
    }
}
