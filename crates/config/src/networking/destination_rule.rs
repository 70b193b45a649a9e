//! DestinationRule: what happens to traffic once its destination is known: subsets, balancing, pools, TLS.

use std::collections::BTreeMap;

use super::tls::ClientTlsSettings;
use super::virtual_service::PortSelector;
use crate::Str;
use crate::decode::macros::{message, oneof, proto_enum};
use crate::duration::Duration;
use crate::host::Host;
use crate::labels::{Labels, TypeSelector};

message! {
    /// Policies for traffic to a host.
    pub struct DestinationRule {
        /// The host; short names belong to this object's namespace; wildcards may lead (DR-001).
        host: Host = "host" required;
        /// For all of the host (DR-002).
        traffic_policy: Option<TrafficPolicy> = "trafficPolicy";
        /// Named parts by label (DR-003).
        subsets: Vec<Subset> = "subsets";
        /// Who sees it: `*`, `.` or namespaces; empty means the mesh's default (DR-004).
        export_to: Vec<Str> = "exportTo";
        /// Clients it is for, in its own namespace; unset: all (DR-005).
        workload_selector: Option<TypeSelector> = "workloadSelector";
    }
}

message! {
    /// Policies for connections and requests.
    pub struct TrafficPolicy {
        /// Which endpoint (DR-006).
        load_balancer: Option<LoadBalancerSettings> = "loadBalancer";
        /// How many connections and requests (DR-007).
        connection_pool: Option<ConnectionPoolSettings> = "connectionPool";
        /// When an endpoint is put aside (DR-008).
        outlier_detection: Option<OutlierDetection> = "outlierDetection";
        /// TLS to the destination (DR-009).
        tls: Option<ClientTlsSettings> = "tls";
        /// For single ports; replaces the above wholesale (DR-015).
        port_level_settings: Vec<PortTrafficPolicy> = "portLevelSettings";
        /// Tunnel through a proxy (DR-019).
        tunnel: Option<TunnelSettings> = "tunnel";
        /// PROXY protocol to the destination (DR-023).
        proxy_protocol: Option<ProxyProtocol> = "proxyProtocol";
        /// How many retries at once (DR-027).
        retry_budget: Option<RetryBudget> = "retryBudget";
    }
}

message! {
    /// Policies for one port.
    pub struct PortTrafficPolicy {
        /// Port of the service (DR-010).
        port: Option<PortSelector> = "port";
        /// Which endpoint (DR-011).
        load_balancer: Option<LoadBalancerSettings> = "loadBalancer";
        /// How many connections and requests (DR-012).
        connection_pool: Option<ConnectionPoolSettings> = "connectionPool";
        /// When an endpoint is put aside (DR-013).
        outlier_detection: Option<OutlierDetection> = "outlierDetection";
        /// TLS to the destination (DR-014).
        tls: Option<ClientTlsSettings> = "tls";
    }
}

message! {
    /// Tunnelling of TCP through an HTTP proxy.
    pub struct TunnelSettings {
        /// `CONNECT` (default) or `POST` (DR-016).
        protocol: Option<Str> = "protocol";
        /// Host beyond the tunnel (DR-017).
        target_host: Str = "targetHost" required;
        /// Port beyond the tunnel (DR-018).
        target_port: u32 = "targetPort" required;
    }
}

message! {
    /// PROXY protocol.
    pub struct ProxyProtocol {
        /// Version (DR-022).
        version: ProxyProtocolVersion = "version";
    }
}

proto_enum! {
    /// Versions of the PROXY protocol.
    pub enum ProxyProtocolVersion {
        /// Text (DR-020).
        V1 = "V1";
        /// Binary (DR-021).
        V2 = "V2";
    }
}

message! {
    /// A limit of concurrent retries.
    pub struct RetryBudget {
        /// Of active requests; default 20 (DR-024).
        percent: Option<f64> = "percent";
        /// Always allowed; default 3 (DR-025).
        min_retry_concurrency: Option<u32> = "minRetryConcurrency";
        /// Over this time; default 0, those active now (DR-026).
        budget_interval: Option<Duration> = "budgetInterval";
    }
}

message! {
    /// A named part of a service.
    pub struct Subset {
        /// Name (DR-028).
        name: Str = "name" required;
        /// Labels its endpoints have (DR-029).
        labels: Labels = "labels";
        /// Policies that replace, block by block, those of the rule (DR-030).
        traffic_policy: Option<TrafficPolicy> = "trafficPolicy";
    }
}

message! {
    /// Which endpoint gets the next request.
    pub struct LoadBalancerSettings {
        /// The algorithm; unset: LEAST_REQUEST.
        policy: Option<LoadBalancerPolicy> = oneof;
        /// Preferences by locality (DR-053).
        locality_lb_setting: Option<LocalityLoadBalancerSetting> = "localityLbSetting";
        /// Envoy's zone-aware routing (DR-054).
        zone_aware_lb_setting: Option<ZoneAwareLoadBalancerSetting> = "zoneAwareLbSetting";
        /// Old form of `warmup` (DR-055).
        warmup_duration_secs: Option<Duration> = "warmupDurationSecs";
        /// Slow start of new endpoints (DR-056).
        warmup: Option<WarmupConfiguration> = "warmup";
        /// Balancing by reported use (DR-121).
        backend_utilization: Option<serde_json::Value> = "backendUtilization";
    }
}

oneof! {
    /// The algorithm.
    pub enum LoadBalancerPolicy {
        /// By name (DR-051).
        Simple(SimpleLb) = "simple";
        /// By hash of the request (DR-052).
        ConsistentHash(ConsistentHashLb) = "consistentHash";
    }
}

proto_enum! {
    /// Algorithms without settings.
    pub enum SimpleLb {
        /// As LEAST_REQUEST.
        Unspecified = "UNSPECIFIED";
        /// Old name of LEAST_REQUEST (DR-031).
        LeastConn = "LEAST_CONN";
        /// Any (DR-032).
        Random = "RANDOM";
        /// The address the client asked for (DR-033).
        Passthrough = "PASSTHROUGH";
        /// In turn (DR-034).
        RoundRobin = "ROUND_ROBIN";
        /// The one of two with fewer requests (DR-035).
        LeastRequest = "LEAST_REQUEST";
    }
}

message! {
    /// The same endpoint for the same key.
    pub struct ConsistentHashLb {
        /// The key.
        hash_key: Option<HashKey> = oneof;
        /// The algorithm; unset: ring hash.
        hash_algorithm: Option<HashAlgorithm> = oneof;
        /// Old form of `ringHash` (DR-050).
        minimum_ring_size: Option<u64> = "minimumRingSize";
    }
}

oneof! {
    /// What is hashed.
    pub enum HashKey {
        /// A header (DR-044).
        HttpHeaderName(Str) = "httpHeaderName";
        /// A cookie (DR-045).
        HttpCookie(HttpCookie) = "httpCookie";
        /// The client's address (DR-046).
        UseSourceIp(bool) = "useSourceIp";
        /// A query parameter (DR-047).
        HttpQueryParameterName(Str) = "httpQueryParameterName";
    }
}

oneof! {
    /// How the hash picks.
    pub enum HashAlgorithm {
        /// Ring (DR-048).
        RingHash(RingHash) = "ringHash";
        /// Maglev (DR-049).
        Maglev(MagLev) = "maglev";
    }
}

message! {
    /// Ring hash.
    pub struct RingHash {
        /// Default 1024 (DR-036).
        minimum_ring_size: Option<u64> = "minimumRingSize";
    }
}

message! {
    /// Maglev.
    pub struct MagLev {
        /// Default 65537 (DR-037).
        table_size: Option<u64> = "tableSize";
    }
}

message! {
    /// The cookie that is hashed.
    pub struct HttpCookie {
        /// Name (DR-040).
        name: Str = "name" required;
        /// Path of a generated cookie (DR-041).
        path: Option<Str> = "path";
        /// Life of a generated cookie; 0: the session; unset: none is generated (DR-042).
        ttl: Option<Duration> = "ttl";
        /// Attributes of a generated cookie (DR-043).
        attributes: Vec<CookieAttribute> = "attributes";
    }
}

message! {
    /// An attribute of a cookie.
    pub struct CookieAttribute {
        /// Name (DR-038).
        name: Str = "name" required;
        /// Value (DR-039).
        value: Option<Str> = "value";
    }
}

message! {
    /// Slow start.
    pub struct WarmupConfiguration {
        /// How long (DR-057).
        duration: Duration = "duration" required;
        /// Share at the start; default 10 (DR-058).
        minimum_percent: Option<f64> = "minimumPercent";
        /// Steepness; default 1.0 (DR-059).
        aggression: Option<f64> = "aggression";
    }
}

message! {
    /// Limits of connections and requests.
    pub struct ConnectionPoolSettings {
        /// For all traffic (DR-082).
        tcp: Option<TcpSettings> = "tcp";
        /// For HTTP (DR-083).
        http: Option<HttpSettings> = "http";
    }
}

message! {
    /// Limits of connections.
    pub struct TcpSettings {
        /// Default 2^32-1 (DR-063).
        max_connections: i32 = "maxConnections";
        /// Default: the mesh's, 10s (DR-064).
        connect_timeout: Option<Duration> = "connectTimeout";
        /// Probes of idle connections (DR-065).
        tcp_keepalive: Option<TcpKeepalive> = "tcpKeepalive";
        /// Age at which a connection is closed (DR-066).
        max_connection_duration: Option<Duration> = "maxConnectionDuration";
        /// Default 1h (DR-067).
        idle_timeout: Option<Duration> = "idleTimeout";
    }
}

message! {
    /// Probes of idle connections.
    pub struct TcpKeepalive {
        /// Unanswered ones until closed (DR-060).
        probes: Option<u32> = "probes";
        /// Idle time before the first (DR-061).
        time: Option<Duration> = "time";
        /// Between them (DR-062).
        interval: Option<Duration> = "interval";
    }
}

message! {
    /// Limits of HTTP.
    pub struct HttpSettings {
        /// Requests that wait for a connection; default 2^32-1 (DR-068).
        http1_max_pending_requests: i32 = "http1MaxPendingRequests";
        /// Requests at once, HTTP/1.1 too; default 2^32-1 (DR-069).
        http2_max_requests: i32 = "http2MaxRequests";
        /// Requests per connection; 0: no limit, 1: no keep-alive (DR-070).
        max_requests_per_connection: i32 = "maxRequestsPerConnection";
        /// Retries at once; default 2^32-1 (DR-071).
        max_retries: i32 = "maxRetries";
        /// Default 1h (DR-072).
        idle_timeout: Option<Duration> = "idleTimeout";
        /// Whether to speak HTTP/2 to the destination (DR-076).
        h2_upgrade_policy: H2UpgradePolicy = "h2UpgradePolicy";
        /// Speak what the client speaks; wins over the above (DR-077).
        use_client_protocol: bool = "useClientProtocol";
        /// Streams per HTTP/2 connection (DR-078).
        max_concurrent_streams: i32 = "maxConcurrentStreams";
        /// HTTP/2 pings (DR-081).
        http2_keep_alive: Option<ConnectionKeepalive> = "http2KeepAlive";
    }
}

message! {
    /// HTTP/2 pings.
    pub struct ConnectionKeepalive {
        /// Between pings (DR-079).
        interval: Option<Duration> = "interval";
        /// Wait for the answer (DR-080).
        timeout: Option<Duration> = "timeout";
    }
}

proto_enum! {
    /// Whether HTTP/1.1 becomes HTTP/2.
    pub enum H2UpgradePolicy {
        /// As the mesh says (DR-073).
        Default = "DEFAULT";
        /// No (DR-074).
        DoNotUpgrade = "DO_NOT_UPGRADE";
        /// Yes (DR-075).
        Upgrade = "UPGRADE";
    }
}

message! {
    /// When an endpoint is put aside.
    pub struct OutlierDetection {
        /// Removed from Istio (DR-084).
        consecutive_errors: i32 = "consecutiveErrors";
        /// Whether local failures count apart (DR-085).
        split_external_local_origin_errors: bool = "splitExternalLocalOriginErrors";
        /// Local failures in a row (DR-086).
        consecutive_local_origin_failures: Option<u32> = "consecutiveLocalOriginFailures";
        /// 502, 503, 504 in a row; unset: off (DR-087).
        consecutive_gateway_errors: Option<u32> = "consecutiveGatewayErrors";
        /// 5xx in a row; default 5; 0: off (DR-088).
        consecutive_5xx_errors: Option<u32> = "consecutive5xxErrors";
        /// Between sweeps; default 10s (DR-089).
        interval: Option<Duration> = "interval";
        /// Times the number of ejections; default 30s (DR-090).
        base_ejection_time: Option<Duration> = "baseEjectionTime";
        /// Of all endpoints; default 10 (DR-091).
        max_ejection_percent: i32 = "maxEjectionPercent";
        /// Below this share of healthy ones, detection is off; default 0 (DR-092).
        min_health_percent: i32 = "minHealthPercent";
        /// Status codes that count as errors instead of 5xx (DR-093).
        outlier_detection_http_error_codes: Vec<u32> = "outlierDetectionHttpErrorCodes";
    }
}

message! {
    /// Preferences by locality.
    pub struct LocalityLoadBalancerSetting {
        /// Shares by locality (DR-111).
        distribute: Vec<LocalityDistribute> = "distribute";
        /// Where to go when a region fails (DR-112).
        failover: Vec<LocalityFailover> = "failover";
        /// Labels that order endpoints (DR-113).
        failover_priority: Vec<Str> = "failoverPriority";
        /// Default true (DR-114).
        enabled: Option<bool> = "enabled";
    }
}

message! {
    /// Shares of the traffic from one locality.
    pub struct LocalityDistribute {
        /// `region/zone/subzone` or `region/*` (DR-107).
        from: Str = "from";
        /// Shares, 100 in all (DR-108).
        to: BTreeMap<Str, u32> = "to";
    }
}

message! {
    /// Where traffic goes when a region fails.
    pub struct LocalityFailover {
        /// Region (DR-109).
        from: Str = "from";
        /// Region (DR-110).
        to: Str = "to";
    }
}

message! {
    /// Envoy's zone-aware routing.
    pub struct ZoneAwareLoadBalancerSetting {
        /// On or off (DR-115).
        enabled: Option<bool> = "enabled";
        /// Where to go when a zone fails (DR-118).
        failover: Vec<LocalityFailover> = "failover";
        /// Labels that order endpoints (DR-119).
        failover_priority: Vec<Str> = "failoverPriority";
        /// Endpoints below which it is off (DR-120).
        min_cluster_size: Option<u64> = "minClusterSize";
    }
}
