//! A cluster: where requests can go, and under which limits.

use std::time::Duration;

use meltemi_config::Str;

use super::endpoint::Locality;

/// An upstream cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cluster {
    /// Name.
    pub name: String,
    /// What statistics call it; empty: its name.
    pub stat_name: String,
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
    /// TLS to the endpoints.
    pub tls: Option<Tls>,
    /// Whether endpoints are told the client's address by the PROXY protocol, in this version.
    pub proxy_protocol: Option<ProxyVersion>,
    /// Whether endpoints that are not ready are among them, marked as such.
    pub tells_health: bool,
    /// Whether the weights of localities count.
    pub locality_weighted: bool,
    /// Whether requests stay in the zone of the client as far as that is fair, and with how many endpoints at least.
    pub zone_aware: Option<Option<u64>>,
    /// Whether names of headers go out in the case they came in.
    pub preserve_case: bool,
    /// What it is for, shown in config dumps.
    pub origin: Option<Origin>,
}

impl Cluster {
    /// A cluster with Istio's defaults.
    pub fn new(name: impl Into<String>, discovery: Discovery, connect_timeout: Duration) -> Cluster {
        Cluster {
            name: name.into(),
            stat_name: String::new(),
            discovery,
            connect_timeout,
            pool: Pool::default(),
            balancer: Balancer::default(),
            protocol: Protocol::Http1,
            outlier: None,
            source_address: None,
            tls: None,
            proxy_protocol: None,
            tells_health: false,
            locality_weighted: false,
            zone_aware: None,
            preserve_case: false,
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
    /// All addresses of the name that the request or the TLS hello asks for.
    Dynamic(Duration),
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
    /// HTTP/2 probes: their pause, and how long their answer may take.
    pub http2_keepalive: Option<(Option<Duration>, Option<Duration>)>,
    /// Retries at once as a share of the requests at once.
    pub retry_budget: Option<RetryBudget>,
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
            http2_keepalive: None,
            retry_budget: None,
        }
    }
}

/// Retries as a share of the requests at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RetryBudget {
    /// In percent.
    pub share: Float,
    /// How many there may always be.
    pub least: u32,
    /// Requests of this time count; unset: those that are active.
    pub interval: Option<Duration>,
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

/// A number with a fraction, as part of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Float(u64);

impl From<f64> for Float {
    fn from(value: f64) -> Float {
        Float(value.to_bits())
    }
}

impl Float {
    /// The number.
    pub fn get(self) -> f64 {
        f64::from_bits(self.0)
    }
}

/// New endpoints get a growing share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Warmup {
    /// How long it takes.
    pub window: Duration,
    /// How fast it grows, and the share at first in percent; unset: Envoy's.
    pub curve: Option<(Float, Float)>,
}

/// TLS to endpoints.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tls {
    /// Server name; empty: that of the request.
    pub sni: Str,
    /// Names of secrets for the own certificate.
    pub certificate: Option<Secret>,
    /// The secret with the authorities; `None`: the peer is not verified.
    pub authorities: Option<Secret>,
    /// Names of which the peer's certificate must carry one; empty: any.
    pub names: Vec<Str>,
    /// Whether the peer's certificate must carry the name of the request.
    pub checks_request_name: bool,
    /// Protocols offered.
    pub protocols: Vec<Str>,
    /// File with revoked certificates.
    pub revoked: Option<Str>,
}

/// A secret and who has it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Secret {
    /// Its name.
    pub name: String,
    /// Whether the control plane sends it; else the agent beside the proxy.
    pub from_control_plane: bool,
}

/// Version of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// Which endpoint gets the next request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Balancer {
    /// The one of two with fewer requests.
    LeastRequest(Option<Warmup>),
    /// In turn.
    RoundRobin(Option<Warmup>),
    /// Any.
    Random,
    /// By hash on a ring of at least this size.
    RingHash(u64),
    /// By hash in a table of this size.
    Maglev(u64),
    /// The address the client asked for.
    OriginalDestination,
}

impl Default for Balancer {
    fn default() -> Self {
        Balancer::LeastRequest(None)
    }
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
    /// Outside the mesh.
    pub external: bool,
}
