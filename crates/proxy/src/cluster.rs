//! Clusters as the data path sees them: immutable settings, a swappable endpoint set, and a slot that outlives both.
//!
//! Routes hold an [`Arc<ClusterSlot>`], never a name, so that picking a cluster costs one pointer load and no hash.
//! Invariant: a slot is filled only with a cluster that is warm; an update replaces the whole [`Cluster`].

pub mod cold;
pub mod dns;
pub mod endpoint;
pub mod endpoints;
pub mod health;
pub mod metadata;
pub mod outlier;
pub mod store;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32},
    },
    time::Duration,
};

pub use self::{
    cold::Endpoints,
    endpoint::{Address, Endpoint, Health, Locality},
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
