//! Pilot as a discovery server: sources make snapshots, snapshots make resources for each proxy that is connected.
//!
//! [`Pilot::start`] is what commands and tests call; the protocol itself is in `meltemi_xds::server`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use meltemi_config::mesh::MeshConfig;
use meltemi_config::{Diagnostic, Object};
use meltemi_xds::pb::envoy::config::core::v3::Node as EnvoyNode;
use meltemi_xds::server::{Ads, AggregatedDiscoveryServiceServer, Backend};
use tokio::sync::watch;
use tonic::Status;

use crate::node::{Node, Role, json};
use crate::snapshot::Snapshot;
use crate::source::{Source, State};
use crate::translate::cache::Cache;

mod client;
mod debounce;
mod overview;
mod proxyless;
mod serve;
pub mod status;

use client::Client;
use status::Proxy;

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
    snapshot: ArcSwap<Snapshot>,
    /// What the snapshot was made of, for debug pages.
    objects: ArcSwap<Vec<Object>>,
    findings: ArcSwap<Vec<Diagnostic>>,
    /// Version of the snapshot.
    changes: watch::Sender<u64>,
    cache: Cache,
    /// Connected proxies by number of connection.
    proxies: Mutex<BTreeMap<u64, Proxy>>,
    counters: status::Counters,
    started: Instant,
}

impl Pilot {
    /// Starts following the sources; the first snapshot is there when this returns.
    pub fn start(mut sources: Vec<Box<dyn Source>>, options: Options) -> Pilot {
        let mut states: Vec<watch::Receiver<Arc<State>>> =
            sources.iter_mut().map(|source| source.watch()).collect();
        let merged = Merged::of(&mut states, &options.mesh);
        let snapshot = Snapshot::build(1, &merged.objects, Arc::clone(&merged.mesh));
        let pilot = Pilot(Arc::new(Inner {
            snapshot: ArcSwap::from_pointee(snapshot),
            objects: ArcSwap::from_pointee(merged.objects),
            findings: ArcSwap::from_pointee(merged.findings),
            changes: watch::Sender::new(1),
            cache: Cache::default(),
            proxies: Mutex::default(),
            counters: status::Counters::default(),
            started: Instant::now(),
        }));
        let weak = Arc::downgrade(&pilot.0);
        tokio::spawn(async move {
            while let Some(waited) = debounce::next(&states, &options).await {
                let Some(inner) = weak.upgrade() else { return };
                inner.publish(Merged::of(&mut states, &options.mesh), waited);
            }
        });
        pilot
    }

    /// The ADS service, to be served with tonic.
    pub fn service(&self) -> AggregatedDiscoveryServiceServer<Ads<Pilot>> {
        AggregatedDiscoveryServiceServer::new(Ads::new(Arc::new(self.clone())))
    }

    /// The mesh as it is now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.0.snapshot.load_full()
    }

    /// What is wrong or worth knowing, sorted.
    pub fn findings(&self) -> Arc<Vec<Diagnostic>> {
        self.0.findings.load_full()
    }

    /// Objects in force.
    pub fn objects(&self) -> Arc<Vec<Object>> {
        self.0.objects.load_full()
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

impl Inner {
    fn proxies(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Proxy>> {
        self.proxies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, merged: Merged, waited: Duration) {
        let began = Instant::now();
        let version = *self.changes.borrow() + 1;
        let snapshot = Snapshot::build(version, &merged.objects, merged.mesh);
        self.cache.advance();
        self.snapshot.store(Arc::new(snapshot));
        self.objects.store(Arc::new(merged.objects));
        self.findings.store(Arc::new(merged.findings));
        self.counters.pushed(waited, began.elapsed());
        self.changes.send_replace(version);
    }
}

/// All sources together.
struct Merged {
    objects: Vec<Object>,
    mesh: Arc<MeshConfig>,
    findings: Vec<Diagnostic>,
}

impl Merged {
    fn of(states: &mut [watch::Receiver<Arc<State>>], default: &MeshConfig) -> Merged {
        let states: Vec<Arc<State>> =
            states.iter_mut().map(|state| Arc::clone(&state.borrow_and_update())).collect();
        let mesh = states.iter().find_map(|state| state.mesh.clone());
        let mut findings: Vec<Diagnostic> =
            states.iter().flat_map(|state| state.findings.iter().cloned()).collect();
        Diagnostic::sort(&mut findings);
        Merged {
            objects: states.iter().flat_map(|state| state.objects.iter().cloned()).collect(),
            mesh: mesh.unwrap_or_else(|| Arc::new(default.clone())),
            findings,
        }
    }
}

impl Backend for Pilot {
    type Client = Client;

    fn connect(&self, envoy: &EnvoyNode, delta: bool) -> Result<Client, Status> {
        let node = node_of(envoy)?;
        tracing::info!(proxy = %node.id, delta, "connected");
        Ok(Client::new(Arc::clone(&self.0), node, envoy, delta))
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }
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
