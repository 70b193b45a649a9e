//! A cluster: where requests can go, and under which limits.

use std::time::Duration;

use meltemi_config::Str;

use super::endpoint::Locality;

/// An upstream cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cluster {
    /// Name.
    pub name: String,
    /// Where its endpoints come from.
    pub discovery: Discovery,
    /// How long a connection attempt may take.
    pub connect_timeout: Duration,
    /// Limits.
    pub pool: Pool,
    /// Which endpoint gets the next request.
    pub balancer: Balancer,
    /// What is spoken to it.
    pub protocol: Protocol,
    /// When endpoints are put aside.
    pub outlier: Option<Outlier>,
    /// Source address of connections.
    pub source_address: Option<Str>,
    /// What it is for, shown in config dumps.
    pub origin: Option<Origin>,
}

impl Cluster {
    /// A cluster with Istio's defaults.
    pub fn new(name: impl Into<String>, discovery: Discovery, connect_timeout: Duration) -> Cluster {
        Cluster {
            name: name.into(),
            discovery,
            connect_timeout,
            pool: Pool::default(),
            balancer: Balancer::default(),
            protocol: Protocol::Http1,
            outlier: None,
            source_address: None,
            origin: None,
        }
    }
}

/// Where endpoints come from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Discovery {
    /// Sent apart, under the cluster's name.
    Eds,
    /// Listed here.
    Static(Vec<Locality>),
    /// All addresses of these names.
    StrictDns(Vec<Locality>, Duration),
    /// One address at a time of this name.
    LogicalDns(Vec<Locality>, Duration),
    /// The address the client asked for.
    OriginalDestination,
}

/// Limits and settings of connections. Unset numbers are without limit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pool {
    /// Connections.
    pub max_connections: u32,
    /// Requests that wait for a connection.
    pub max_pending_requests: u32,
    /// Requests at once.
    pub max_requests: u32,
    /// Retries at once.
    pub max_retries: u32,
    /// Requests per connection; 0: no limit.
    pub max_requests_per_connection: u32,
    /// Streams per HTTP/2 connection; 0: no limit.
    pub max_concurrent_streams: u32,
    /// Idle time after which connections are closed; unset: Envoy's hour.
    pub idle_timeout: Option<Duration>,
    /// Age at which connections are closed.
    pub max_connection_duration: Option<Duration>,
    /// TCP probes.
    pub keepalive: Option<Keepalive>,
}

impl Default for Pool {
    fn default() -> Self {
        Pool {
            max_connections: u32::MAX,
            max_pending_requests: u32::MAX,
            max_requests: u32::MAX,
            max_retries: u32::MAX,
            max_requests_per_connection: 0,
            max_concurrent_streams: 0,
            idle_timeout: None,
            max_connection_duration: None,
            keepalive: None,
        }
    }
}

/// TCP probes of idle connections; what is unset is the kernel's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Keepalive {
    /// Unanswered ones until closed.
    pub probes: Option<u32>,
    /// Idle seconds before the first.
    pub time: Option<u32>,
    /// Seconds between them.
    pub interval: Option<u32>,
}

/// Which endpoint gets the next request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Balancer {
    /// The one of two with fewer requests.
    #[default]
    LeastRequest,
    /// In turn.
    RoundRobin,
    /// Any.
    Random,
    /// By hash on a ring of at least this size.
    RingHash(u64),
    /// By hash in a table of this size.
    Maglev(u64),
    /// The address the client asked for.
    OriginalDestination,
}

/// What is spoken to a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1, or bytes.
    Http1,
    /// HTTP/2.
    Http2,
    /// What the client speaks.
    Downstream,
}

/// When endpoints are put aside.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Outlier {
    /// 5xx in a row; 0: off.
    pub consecutive_5xx: Option<u32>,
    /// 502, 503, 504 in a row.
    pub consecutive_gateway: Option<u32>,
    /// Local failures in a row.
    pub consecutive_local: Option<u32>,
    /// Whether local failures count apart.
    pub split_local: bool,
    /// Between sweeps.
    pub interval: Option<Duration>,
    /// Times the number of ejections.
    pub base_ejection: Option<Duration>,
    /// Of all endpoints, in percent.
    pub max_ejection: Option<u32>,
    /// Below this share of healthy ones all are used, in percent.
    pub min_health: u32,
}

/// What a cluster is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Service.
    pub host: Str,
    /// Its short name.
    pub name: Str,
    /// Its namespace.
    pub namespace: Str,
    /// Subset.
    pub subset: Str,
    /// Port by default for clients of the original destination.
    pub port: u32,
    /// The rule whose policies hold (Istio's path of it).
    pub rule: Option<String>,
}
