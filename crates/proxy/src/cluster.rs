//! Clusters as the data path sees them: immutable settings, a swappable endpoint set, and a slot that outlives both.
//!
//! Routes hold an [`Arc<ClusterSlot>`], never a name, so that picking a cluster costs one pointer load and no hash.
//! Invariant: a slot is filled only with a cluster that is warm; an update replaces the whole [`Cluster`].

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption, Guard};

/// The place a cluster name has in this process: created when anything first mentions the name, filled and emptied by
/// the cluster store. `id` is dense, so workers index their pools with it.
#[derive(Debug)]
pub struct ClusterSlot {
    /// Dense index, unique among live slots.
    pub id: u32,
    /// The name as routes and statistics know it.
    pub name: Arc<str>,
    /// What its circuit breakers count, over all workers.
    pub in_use: crate::upstream::limits::InUse,
    current: ArcSwapOption<Cluster>,
}

impl ClusterSlot {
    /// An empty slot; only the cluster store makes them.
    pub(crate) fn new(id: u32, name: Arc<str>) -> Self {
        Self { id, name, in_use: Default::default(), current: ArcSwapOption::empty() }
    }

    /// The warm cluster behind the name, if there is one.
    pub fn load(&self) -> Guard<Option<Arc<Cluster>>> {
        self.current.load()
    }

    /// Publishes (or, with `None`, takes away) the cluster.
    pub(crate) fn publish(&self, cluster: Option<Arc<Cluster>>) {
        self.current.store(cluster);
    }
}

/// One upstream cluster, compiled.
#[derive(Debug)]
pub struct Cluster {
    /// Name in the slot.
    pub name: Arc<str>,
    /// `alt_stat_name`, else the name: what statistics are filed under.
    pub stat_name: Arc<str>,
    /// Everything but the endpoints.
    pub settings: ClusterSettings,
    /// Changes on its own fast lane (EDS, DNS) and never recompiles anything.
    pub endpoints: ArcSwap<EndpointSet>,
}

/// What a cluster's configuration says, resolved with Envoy's defaults.
#[derive(Debug, Clone)]
pub struct ClusterSettings {
    /// `connect_timeout`, Envoy's default 5 s.
    pub connect_timeout: Duration,
    /// What is spoken to the endpoints.
    pub protocol: UpstreamProtocol,
    /// How an endpoint is picked.
    pub balancer: BalancerPolicy,
    /// `per_connection_buffer_limit_bytes`, default 1 MiB.
    pub buffer_limit: usize,
    /// HTTP `common_http_protocol_options.idle_timeout`; default 1 h; `None` when disabled.
    pub idle_timeout: Option<Duration>,
    /// `max_requests_per_connection`; 0 is unlimited.
    pub max_requests_per_connection: u32,
    /// `max_connection_duration`.
    pub max_connection_duration: Option<Duration>,
    /// `circuit_breakers.thresholds` of priority DEFAULT.
    pub limits: Limits,
    /// TCP keepalive: probes, time, interval.
    pub keepalive: Option<Keepalive>,
    /// True for ORIGINAL_DST clusters: the address comes from the connection, not from `endpoints`.
    pub original_dst: bool,
    /// Overrides the port for ORIGINAL_DST.
    pub original_dst_port: Option<u16>,
    /// `upstream_bind_config.source_address`.
    pub source_address: Option<SocketAddr>,
}

/// `TcpKeepalive`.
#[derive(Debug, Clone, Copy)]
pub struct Keepalive {
    /// Unanswered probes before the connection is dead.
    pub probes: Option<u32>,
    /// Idle time before the first probe.
    pub time: Option<Duration>,
    /// Time between probes.
    pub interval: Option<Duration>,
}

/// Circuit breaker thresholds. Envoy's defaults: 1024, 1024, 1024, 3.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// `max_connections`.
    pub connections: u32,
    /// `max_pending_requests`.
    pub pending_requests: u32,
    /// `max_requests`.
    pub requests: u32,
    /// `max_retries`.
    pub retries: u32,
}

/// The HTTP protocol spoken upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamProtocol {
    /// HTTP/1.1, one request at a time per connection.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// `use_downstream_protocol_config`: as the downstream request came.
    Downstream,
}

/// `lb_policy` / `load_balancing_policy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BalancerPolicy {
    /// ROUND_ROBIN, weighted.
    RoundRobin,
    /// RANDOM.
    Random,
    /// LEAST_REQUEST with its number of choices (default 2).
    LeastRequest {
        /// How many endpoints are drawn.
        choices: u32,
    },
    /// CLUSTER_PROVIDED (ORIGINAL_DST).
    ClusterProvided,
}

/// The endpoints of a cluster at one moment.
#[derive(Debug, Default)]
pub struct EndpointSet {
    /// Grows with every change of the set; workers compare it to refresh their balancer state.
    pub version: u64,
    /// By priority; the balancer uses the first that has usable endpoints.
    pub priorities: Vec<Vec<Arc<Endpoint>>>,
}

/// Where an endpoint listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// IP and port.
    Socket(SocketAddr),
    /// A Unix stream socket.
    Pipe(Arc<Path>),
}

/// `core.v3.HealthStatus`, as far as picking needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// HEALTHY or UNKNOWN.
    Healthy,
    /// DEGRADED.
    Degraded,
    /// UNHEALTHY, DRAINING, TIMEOUT.
    Unhealthy,
}

/// One upstream address. Kept (same `Arc`) across updates that do not change it, so its pools and counts survive.
#[derive(Debug)]
pub struct Endpoint {
    /// Where to connect.
    pub address: Address,
    /// `hostname`, for `auto_host_rewrite`.
    pub hostname: Option<Arc<str>>,
    /// Relative weight, at least 1.
    pub weight: u32,
    /// Health as the control plane or DNS says.
    pub health: Health,
    /// Address as text, for logs and statistics; made once.
    pub label: Arc<str>,
    /// Requests in flight from all workers: what LEAST_REQUEST compares.
    active: AtomicU32,
}

impl Endpoint {
    /// A fresh endpoint without requests.
    pub fn new(address: Address, hostname: Option<Arc<str>>, weight: u32, health: Health) -> Self {
        let label = match &address {
            Address::Socket(addr) => addr.to_string().into(),
            Address::Pipe(path) => path.display().to_string().into(),
        };
        Self { address, hostname, weight: weight.max(1), health, label, active: AtomicU32::new(0) }
    }

    /// Requests in flight.
    pub fn active(&self) -> u32 {
        self.active.load(Ordering::Relaxed)
    }

    /// Counts a request in.
    pub fn begin(&self) {
        self.active.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request out.
    pub fn end(&self) {
        self.active.fetch_sub(1, Ordering::Relaxed);
    }
}
