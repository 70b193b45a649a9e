//! Clusters as the data path sees them: immutable settings, a swappable endpoint set, and a slot that outlives both.
//!
//! Routes hold an [`Arc<ClusterSlot>`], never a name, so that picking a cluster costs one pointer load and no hash.
//! Invariant: a slot is filled only with a cluster that is warm; an update replaces the whole [`Cluster`].

pub mod cold;
pub mod dns;
pub mod endpoints;
pub mod health;
pub mod metadata;
pub mod outlier;
pub mod store;

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

pub use self::{
    cold::Endpoints,
    endpoints::{EndpointSet, Group, Priority},
};

use arc_swap::{ArcSwapOption, Guard};

use crate::http::config::{Http2Options, NameFormat};
use crate::upstream::{
    limits::{InUse, Resource},
    proxy_header::Version,
};

/// The place a cluster name has in this process: created when anything first mentions the name, filled and emptied by
/// the cluster store. `id` is dense, so workers index their pools with it.
#[derive(Debug)]
pub struct ClusterSlot {
    /// Dense index, unique among live slots.
    pub id: u32,
    /// The name as routes and statistics know it.
    pub name: Arc<str>,
    /// What its circuit breakers count, over all workers.
    pub in_use: InUse,
    /// The same of requests on routes of priority HIGH, which have limits of their own.
    pub in_use_high: InUse,
    /// How often its hosts changed: `membership_change`.
    pub changes: AtomicU32,
    /// How often discovery brought hosts: `update_success`.
    pub updates: AtomicU32,
    /// A connection was made for traffic: health checks come at their full pace from then on.
    pub used: Arc<AtomicBool>,
    current: ArcSwapOption<Cluster>,
}

impl ClusterSlot {
    /// An empty slot; only the cluster store makes them.
    pub(crate) fn new(id: u32, name: Arc<str>) -> Self {
        Self {
            id,
            name,
            in_use: Default::default(),
            in_use_high: Default::default(),
            changes: AtomicU32::new(0),
            updates: AtomicU32::new(0),
            used: Arc::default(),
            current: ArcSwapOption::empty(),
        }
    }

    /// What its circuit breakers count for requests of a priority.
    pub fn in_use_at(&self, high: bool) -> &InUse {
        if high { &self.in_use_high } else { &self.in_use }
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
    /// What made it, as pilot says in its `istio` metadata: `/apis/…/namespaces/NS/destination-rule/NAME`.
    pub origin: Option<Arc<str>>,
    /// `metadata`, for logs; without what is Istio's own.
    pub metadata: Option<Arc<serde_json::Value>>,
    /// Watches for hosts whose answers stand out, if `outlier_detection` is set.
    pub outlier: Option<Box<outlier::Detector>>,
    /// Where this proxy runs, if that matters to the cluster.
    pub local: Option<Arc<Local>>,
    /// Asks hosts whether they are well, if `health_checks` are set.
    pub health: Option<Arc<health::Checker>>,
    /// Everything but the endpoints; clusters that say the same share one.
    pub settings: Arc<ClusterSettings>,
    /// Changes on its own fast lane (EDS, DNS) and never recompiles anything.
    pub endpoints: Endpoints,
}

/// What a cluster's configuration says, resolved with Envoy's defaults.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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
    /// The same of priority HIGH.
    pub high_limits: Limits,
    /// `lb_subset_config`.
    pub subsets: Option<Arc<endpoints::subsets::Settings>>,
    /// `upstream_proxy_protocol` transport: connections begin with this header.
    pub proxy_protocol: Option<Version>,
    /// TCP keepalive: probes, time, interval.
    pub keepalive: Option<Keepalive>,
    /// True for ORIGINAL_DST clusters: the address comes from the connection, not from `endpoints`.
    pub original_dst: bool,
    /// A dynamic forward proxy: requests name their endpoint.
    pub dynamic: Option<DynamicForward>,
    /// Overrides the port for ORIGINAL_DST.
    pub original_dst_port: Option<u16>,
    /// `upstream_bind_config.source_address`.
    pub source_address: Option<SocketAddr>,
    /// `common_lb_config.healthy_panic_threshold` in percent: below it all hosts are used. Default 50; 0 disables.
    pub panic_threshold: u32,
    /// `common_lb_config.locality_weighted_lb_config`: localities get traffic by their weight.
    pub locality_weighted: bool,
    /// `common_lb_config.zone_aware_lb_config`, where there is no local cluster without effect.
    pub zone_aware: Option<ZoneAware>,
    /// `http2_protocol_options`.
    pub http2: Http2Options,
    /// `http_protocol_options.header_key_format`.
    pub names: NameFormat,
    /// `common_http_protocol_options.max_stream_duration`: of each try.
    pub max_stream_duration: Option<Duration>,
    /// `slow_start_config` of ROUND_ROBIN and LEAST_REQUEST.
    pub slow_start: Option<SlowStart>,
    /// `outlier_detection`.
    pub outlier: Option<Box<outlier::Settings>>,
}

/// `DnsCacheConfig` of a dynamic forward proxy, with Envoy's defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DynamicForward {
    /// `dns_lookup_family`.
    pub family: dns::Family,
    /// `dns_refresh_rate`, default 60 s.
    pub refresh: Duration,
    /// `dns_failure_refresh_rate.base_interval`, default 5 s.
    pub failure_refresh: Duration,
    /// `host_ttl`: a name that nobody used for so long may make room; default 5 min.
    pub host_ttl: Duration,
    /// `dns_query_timeout`, default 5 s.
    pub query_timeout: Duration,
    /// `max_hosts`, default 1024.
    pub max_hosts: u32,
}

impl Default for ClusterSettings {
    /// What Envoy assumes when a cluster says nothing.
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            protocol: UpstreamProtocol::Http1,
            balancer: BalancerPolicy::RoundRobin,
            buffer_limit: 1 << 20,
            idle_timeout: Some(Duration::from_secs(3600)),
            max_requests_per_connection: 0,
            max_connection_duration: None,
            limits: Limits::default(),
            high_limits: Limits::default(),
            subsets: None,
            keepalive: None,
            original_dst: false,
            original_dst_port: None,
            dynamic: None,
            source_address: None,
            panic_threshold: 50,
            locality_weighted: false,
            zone_aware: None,
            proxy_protocol: None,
            http2: Http2Options::default(),
            names: NameFormat::default(),
            max_stream_duration: None,
            slow_start: None,
            outlier: None,
        }
    }
}

impl ClusterSettings {
    /// The circuit breakers of a priority.
    pub fn limits_at(&self, high: bool) -> &Limits {
        if high { &self.high_limits } else { &self.limits }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            pending_requests: 1024,
            requests: 1024,
            retries: 3,
            retry_budget: None,
            per_host: u32::MAX,
            tracks_remaining: false,
        }
    }
}

/// `TcpKeepalive`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Keepalive {
    /// Unanswered probes before the connection is dead.
    pub probes: Option<u32>,
    /// Idle time before the first probe.
    pub time: Option<Duration>,
    /// Time between probes.
    pub interval: Option<Duration>,
}

/// Circuit breaker thresholds. Envoy's defaults: 1024, 1024, 1024, 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Limits {
    /// `max_connections`.
    pub connections: u32,
    /// `max_pending_requests`.
    pub pending_requests: u32,
    /// `max_requests`.
    pub requests: u32,
    /// `max_retries`.
    pub retries: u32,
    /// `retry_budget`, in place of `max_retries`: percent of the requests that are active or pending, in hundredths, and the
    /// number that is always allowed.
    pub retry_budget: Option<(u32, u32)>,
    /// `per_host_thresholds.max_connections`: to each endpoint; default none.
    pub per_host: u32,
    /// `track_remaining`: statistics say how much is left.
    pub tracks_remaining: bool,
}

impl Limits {
    /// How many retries may be under way now.
    pub fn retries_now(&self, in_use: &InUse) -> u32 {
        let Some((share, least)) = self.retry_budget else { return self.retries };
        let requests = in_use.get(Resource::Requests).saturating_add(in_use.get(Resource::Pending));
        let budget = u64::from(requests) * u64::from(share) / 10_000;
        u32::try_from(budget).unwrap_or(u32::MAX).max(least)
    }
}

/// The HTTP protocol spoken upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UpstreamProtocol {
    /// HTTP/1.1, one request at a time per connection.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// `use_downstream_protocol_config`: as the downstream request came.
    Downstream,
}

/// `lb_policy` / `load_balancing_policy`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum BalancerPolicy {
    /// ROUND_ROBIN, weighted.
    RoundRobin,
    /// RANDOM.
    Random,
    /// LEAST_REQUEST with its number of choices (default 2).
    LeastRequest {
        /// How many endpoints are drawn; `None` (`FULL_SCAN`): all are looked at.
        choices: Option<u32>,
        /// `active_request_bias` in thousandths, default 1000: how much requests in flight matter where weights differ.
        bias: u32,
    },
    /// CLUSTER_PROVIDED (ORIGINAL_DST).
    ClusterProvided,
    /// RING_HASH and MAGLEV: by the request's hash.
    Consistent(Consistent),
}

/// Tables of consistent hashing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Consistent {
    /// RING_HASH.
    Ring {
        /// `minimum_ring_size`, default 1024.
        min: u32,
        /// `maximum_ring_size`, default 8 Mi.
        max: u32,
        /// MURMUR_HASH_2 in place of XX_HASH.
        murmur: bool,
        /// `use_hostname_for_hashing`.
        hostname: bool,
    },
    /// MAGLEV.
    Maglev {
        /// `table_size`, a prime, default 65537.
        size: u32,
        /// `use_hostname_for_hashing`.
        hostname: bool,
    },
}

/// `SlowStartConfig`: a new host's weight grows with time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SlowStart {
    /// `slow_start_window`.
    pub window: Duration,
    /// `aggression` in thousandths, default 1000.
    pub aggression: u32,
    /// `min_weight_percent` in hundredths of a percent, default 1000.
    pub least: u32,
}

impl SlowStart {
    /// The share of its weight that a host of this age has; 1 beyond the window.
    pub fn factor(&self, age: Duration) -> f64 {
        if age >= self.window {
            return 1.0;
        }
        let part = age.max(Duration::from_millis(1)).as_secs_f64() / self.window.as_secs_f64();
        let grown = part.powf(1000.0 / f64::from(self.aggression.max(1)));
        grown.max(f64::from(self.least) / 10_000.0)
    }
}

/// `ZoneAwareLbConfig`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ZoneAware {
    /// `routing_enabled`, in hundredths of a percent; default all.
    pub enabled: u32,
    /// `min_cluster_size`, default 6.
    pub min_cluster_size: u64,
    /// `fail_traffic_on_panic`
    pub fail_on_panic: bool,
    /// `force_locality_direct_routing`
    pub force_direct: bool,
}

/// Where this proxy runs, for zone-aware routing: `cluster_manager.local_cluster_name` and the node's locality.
#[derive(Debug)]
pub struct Local {
    /// The cluster whose hosts are proxies like this one.
    pub cluster: Arc<ClusterSlot>,
    /// The locality.
    pub locality: Locality,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Health {
    /// HEALTHY or UNKNOWN.
    #[default]
    Healthy,
    /// DEGRADED.
    Degraded,
    /// UNHEALTHY, DRAINING, TIMEOUT.
    Unhealthy,
}

/// `core.v3.Locality`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Locality {
    /// `region`.
    pub region: Arc<str>,
    /// `zone`.
    pub zone: Arc<str>,
    /// `sub_zone`.
    pub sub_zone: Arc<str>,
}

/// One upstream address. Kept (same `Arc`) across updates that leave its address, so its pools and counts survive;
/// weight and health change in place.
#[derive(Debug)]
pub struct Endpoint {
    /// Where to connect.
    pub address: Address,
    /// `hostname`, for `auto_host_rewrite`.
    pub hostname: Option<Arc<str>>,
    /// Where it runs.
    pub locality: Option<Arc<Locality>>,
    /// Its priority, 0 first.
    pub priority: u32,
    /// Address as text, for logs and statistics; made once.
    pub label: Arc<str>,
    /// `hash_key` of its `envoy.lb` metadata.
    pub hash_key: Option<Arc<str>>,
    /// Its `envoy.lb` metadata.
    pub metadata: Option<Arc<metadata::Fields>>,
    /// Where and whether it is asked how it is, if not where it serves.
    pub check: Option<Arc<health::CheckAt>>,
    /// `metadata`, for logs.
    pub logged: Option<Arc<serde_json::Value>>,
    /// When it became known: slow start counts from here.
    pub since: Instant,
    /// What outlier detection knows of it.
    pub monitor: OnceLock<Box<outlier::Monitor>>,
    weight: AtomicU32,
    health: AtomicU8,
    /// Requests in flight from all workers: what LEAST_REQUEST compares.
    active: AtomicU32,
    /// Connections from all workers, those in the making too.
    connections: AtomicU32,
}

/// In an endpoint's health: outlier detection has ejected it.
const EJECTED: u8 = 0x80;
/// Health checks say that it is not well.
const FAILED: u8 = 0x40;
/// Health checks have not asked it yet.
const PENDING: u8 = 0x20;
/// Health checks say that it would rather not.
const DEGRADED: u8 = 0x10;
/// The last failed check had no answer in time.
const TIMED_OUT: u8 = 0x08;
/// Discovery does not know it any more; it stays as long as its checks succeed.
const LEAVING: u8 = 0x04;
/// What the control plane said.
const TOLD: u8 = 0x03;

impl Endpoint {
    /// A fresh endpoint without requests.
    pub fn new(address: Address, hostname: Option<Arc<str>>, weight: u32, health: Health) -> Self {
        Self::placed(address, hostname, None, 0, weight, health)
    }

    /// A fresh endpoint with its place.
    pub fn placed(
        address: Address,
        hostname: Option<Arc<str>>,
        locality: Option<Arc<Locality>>,
        priority: u32,
        weight: u32,
        health: Health,
    ) -> Self {
        let label = match &address {
            Address::Socket(addr) => addr.to_string().into(),
            Address::Pipe(path) => path.display().to_string().into(),
        };
        let (weight, health) = (AtomicU32::new(weight.max(1)), AtomicU8::new(health as u8));
        let (since, active, connections) = (Instant::now(), AtomicU32::new(0), AtomicU32::new(0));
        let (hash_key, metadata, check, logged, monitor) = (None, None, None, None, OnceLock::new());
        Self {
            address,
            hostname,
            locality,
            priority,
            label,
            hash_key,
            metadata,
            check,
            logged,
            since,
            monitor,
            weight,
            health,
            active,
            connections,
        }
    }

    /// Relative weight, at least 1.
    pub fn weight(&self) -> u32 {
        self.weight.load(Ordering::Relaxed)
    }

    /// Health: what the control plane says, unless outlier detection has ejected it or health checks know better.
    pub fn health(&self) -> Health {
        let health = self.health.load(Ordering::Relaxed);
        match health & TOLD {
            _ if health & (EJECTED | FAILED) != 0 => Health::Unhealthy,
            0 if health & DEGRADED == 0 => Health::Healthy,
            0 | 1 => Health::Degraded,
            _ => Health::Unhealthy,
        }
    }

    /// Health as the control plane says.
    pub fn told_health(&self) -> Health {
        match self.health.load(Ordering::Relaxed) & TOLD {
            0 => Health::Healthy,
            1 => Health::Degraded,
            _ => Health::Unhealthy,
        }
    }

    /// Takes weight and health of an update.
    pub(crate) fn update(&self, weight: u32, health: Health) {
        self.weight.store(weight.max(1), Ordering::Relaxed);
        self.set_flags(TOLD | LEAVING, health as u8);
    }

    /// Sets the bits of `mask` to those of `bits`; true when that changed any.
    fn set_flags(&self, mask: u8, bits: u8) -> bool {
        let next = |health: u8| Some(health & !mask | bits & mask);
        let before = self.health.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        before.is_ok_and(|before| before & mask != bits & mask)
    }

    fn has(&self, flag: u8) -> bool {
        self.health.load(Ordering::Relaxed) & flag != 0
    }

    /// It gets no traffic until it was asked how it is.
    pub(crate) fn await_check(&self) {
        self.set_flags(FAILED | PENDING, FAILED | PENDING);
    }

    /// It is asked no more: what checks have found is forgotten.
    pub(crate) fn forget_checks(&self) -> bool {
        self.set_flags(FAILED | PENDING | DEGRADED | TIMED_OUT, 0)
    }

    /// Health checks say that it is not well, or have not asked it yet.
    pub fn has_failed_check(&self) -> bool {
        self.has(FAILED)
    }

    /// Health checks have not asked it yet.
    pub fn awaits_check(&self) -> bool {
        self.has(PENDING)
    }

    /// Health checks say that it would rather not.
    pub fn is_degraded_by_check(&self) -> bool {
        self.has(DEGRADED)
    }

    /// Its last failed check had no answer in time.
    pub fn check_timed_out(&self) -> bool {
        self.has(TIMED_OUT)
    }

    /// Discovery does not know it any more.
    pub fn is_leaving(&self) -> bool {
        self.has(LEAVING)
    }

    /// A check failed (`true`: for want of an answer in time), or checks succeed again.
    pub(crate) fn set_failed_check(&self, failed: Option<bool>) {
        let timed_out = if failed == Some(true) { TIMED_OUT } else { 0 };
        self.set_flags(FAILED | TIMED_OUT, if failed.is_some() { FAILED | timed_out } else { 0 });
    }

    /// True when that changed it.
    pub(crate) fn set_degraded(&self, degraded: bool) -> bool {
        self.set_flags(DEGRADED, if degraded { DEGRADED } else { 0 })
    }

    /// True when that changed it.
    pub(crate) fn set_pending(&self, pending: bool) -> bool {
        self.set_flags(PENDING, if pending { PENDING } else { 0 })
    }

    /// Discovery does not know it any more.
    pub(crate) fn leave(&self) {
        self.set_flags(LEAVING, LEAVING);
    }

    /// True while outlier detection keeps it out.
    pub fn is_ejected(&self) -> bool {
        self.health.load(Ordering::Relaxed) & EJECTED != 0
    }

    /// Keeps it out, or takes it back; its set is then to be laid out again.
    pub(crate) fn set_ejected(&self, ejected: bool) {
        match ejected {
            true => self.health.fetch_or(EJECTED, Ordering::Relaxed),
            false => self.health.fetch_and(!EJECTED, Ordering::Relaxed),
        };
    }

    /// Requests in flight.
    pub fn active(&self) -> u32 {
        self.active.load(Ordering::Relaxed)
    }

    /// Connections, those in the making too.
    pub fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Counts a connection in.
    pub(crate) fn connect(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection out.
    pub(crate) fn disconnect(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
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
