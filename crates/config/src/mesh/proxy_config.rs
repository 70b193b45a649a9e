//! Settings of proxies: `defaultConfig` of the mesh and the annotation `proxy.istio.io/config`. The old ones keep
//! their settings as they are written.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::Str;
use crate::decode::macros::{message, oneof, proto_enum};
use crate::duration::Duration;
use crate::mesh::provider::Empty;
use crate::networking::destination_rule::TcpKeepalive;
use crate::networking::proxy_config::ProxyImage;
use crate::networking::tls::ClientTlsSettings;
use crate::networking::workload::ReadinessProbe;
use crate::telemetry::CustomTag;

message! {
    /// Settings of a proxy.
    pub struct ProxyConfig {
        /// Folder of generated files (PC-052).
        config_path: Option<Str> = "configPath";
        /// The proxy's binary (PC-053).
        binary_path: Option<Str> = "binaryPath";
        /// Its name in traces.
        cluster_name: Option<ClusterName> = oneof;
        /// Default 45s (PC-059).
        drain_duration: Option<Duration> = "drainDuration";
        /// Default `istiod.istio-system.svc:15012` (PC-060).
        discovery_address: Option<Str> = "discoveryAddress";
        /// Old (PC-061).
        discovery_refresh_delay: Option<Duration> = "discoveryRefreshDelay";
        /// Old (PC-062).
        zipkin_address: Option<Str> = "zipkinAddress";
        /// Statsd (PC-063).
        statsd_udp_address: Option<Str> = "statsdUdpAddress";
        /// Old (PC-064).
        envoy_metrics_service_address: Option<Str> = "envoyMetricsServiceAddress";
        /// Default 15000 (PC-065).
        proxy_admin_port: Option<i32> = "proxyAdminPort";
        /// Old (PC-066).
        availability_zone: Option<Str> = "availabilityZone";
        /// Old (PC-067).
        control_plane_auth_policy: ControlPlaneAuthPolicy = "controlPlaneAuthPolicy";
        /// A bootstrap of one's own (PC-068).
        custom_config_file: Option<Str> = "customConfigFile";
        /// Default 189 (PC-069).
        stat_name_length: Option<i32> = "statNameLength";
        /// Threads; 0: all cores (PC-070).
        concurrency: Option<i32> = "concurrency";
        /// Template of the bootstrap (PC-071).
        proxy_bootstrap_template_path: Option<Str> = "proxyBootstrapTemplatePath";
        /// How traffic is captured (PC-075).
        interception_mode: InterceptionMode = "interceptionMode";
        /// Traces (PC-076).
        tracing: Option<Tracing> = "tracing";
        /// Old (PC-077).
        sds: Option<Value> = "sds";
        /// Access logs by gRPC (PC-078).
        envoy_access_log_service: Option<RemoteService> = "envoyAccessLogService";
        /// Metrics by gRPC (PC-079).
        envoy_metrics_service: Option<RemoteService> = "envoyMetricsService";
        /// More environment, also sent as node metadata (PC-080).
        proxy_metadata: BTreeMap<Str, Str> = "proxyMetadata";
        /// Envoy's runtime (PC-081).
        runtime_values: BTreeMap<Str, Str> = "runtimeValues";
        /// Default 15020 (PC-082).
        status_port: Option<i32> = "statusPort";
        /// More labels of metrics (PC-083).
        extra_stat_tags: Vec<Str> = "extraStatTags";
        /// What stands before a gateway (PC-084).
        gateway_topology: Option<Topology> = "gatewayTopology";
        /// Default 5s (PC-085).
        termination_drain_duration: Option<Duration> = "terminationDrainDuration";
        /// Mesh (PC-086).
        mesh_id: Option<Str> = "meshId";
        /// Health check (PC-087).
        readiness_probe: Option<ReadinessProbe> = "readinessProbe";
        /// Which statistics are kept (PC-091).
        proxy_stats_matcher: Option<ProxyStatsMatcher> = "proxyStatsMatcher";
        /// Default false (PC-092).
        hold_application_until_proxy_starts: Option<bool> = "holdApplicationUntilProxyStarts";
        /// More trusted certificates (PC-093).
        ca_certificates_pem: Vec<Str> = "caCertificatesPem";
        /// Image (PC-094).
        image: Option<ProxyImage> = "image";
        /// Hardware for keys (PC-095).
        private_key_provider: Option<PrivateKeyProvider> = "privateKeyProvider";
        /// Headers that proxies add (PC-096).
        proxy_headers: Option<ProxyHeaders> = "proxyHeaders";
        /// Between writes of logs (PC-121).
        file_flush_interval: Option<Duration> = "fileFlushInterval";
        /// Size at which logs are written (PC-122).
        file_flush_min_size_kb: Option<u32> = "fileFlushMinSizeKb";
        /// Compress statistics (PC-123).
        stats_compression: Option<bool> = "statsCompression";
        /// Limits and timeouts of connections (PC-151).
        connection_settings: Option<ConnectionSettings> = "connectionSettings";
    }
}

oneof! {
    /// Name of a proxy in traces.
    pub enum ClusterName {
        /// This (PC-057).
        ServiceCluster(Str) = "serviceCluster";
        /// By rule (PC-058).
        TracingServiceName(TracingServiceName) = "tracingServiceName";
    }
}

proto_enum! {
    /// How the name in traces is made.
    pub enum TracingServiceName {
        /// Label `app` and namespace (PC-054).
        AppLabelAndNamespace = "APP_LABEL_AND_NAMESPACE";
        /// Canonical name (PC-055).
        CanonicalNameOnly = "CANONICAL_NAME_ONLY";
        /// Canonical name and namespace (PC-056).
        CanonicalNameAndNamespace = "CANONICAL_NAME_AND_NAMESPACE";
    }
}

proto_enum! {
    /// Old.
    pub enum ControlPlaneAuthPolicy {
        /// None (PC-001).
        None = "NONE";
        /// Mutual TLS (PC-002).
        MutualTls = "MUTUAL_TLS";
        /// Inherited (PC-003).
        Inherit = "INHERIT";
    }
}

proto_enum! {
    /// How inbound traffic is captured.
    pub enum InterceptionMode {
        /// REDIRECT (PC-072).
        Redirect = "REDIRECT";
        /// TPROXY (PC-073).
        Tproxy = "TPROXY";
        /// Not (PC-074).
        None = "NONE";
    }
}

message! {
    /// A service elsewhere.
    pub struct RemoteService {
        /// Address (PC-152).
        address: Option<Str> = "address";
        /// TLS (PC-153).
        tls_settings: Option<ClientTlsSettings> = "tlsSettings";
        /// Probes (PC-154).
        tcp_keepalive: Option<TcpKeepalive> = "tcpKeepalive";
    }
}

message! {
    /// What stands before a gateway.
    pub struct Topology {
        /// Proxies whose x-forwarded-for is trusted (PC-038).
        num_trusted_proxies: u32 = "numTrustedProxies";
        /// x-forwarded-client-cert (PC-039).
        forward_client_cert_details: ForwardClientCertDetails = "forwardClientCertDetails";
        /// PROXY protocol (PC-040).
        proxy_protocol: Option<Empty> = "proxyProtocol";
    }
}

proto_enum! {
    /// What happens to x-forwarded-client-cert.
    pub enum ForwardClientCertDetails {
        /// By role.
        Undefined = "UNDEFINED";
        /// Dropped (PC-041).
        Sanitize = "SANITIZE";
        /// Sent on if the peer is known (PC-042).
        ForwardOnly = "FORWARD_ONLY";
        /// And added to (PC-043).
        AppendForward = "APPEND_FORWARD";
        /// Replaced (PC-044).
        SanitizeSet = "SANITIZE_SET";
        /// Sent on always (PC-045).
        AlwaysForwardOnly = "ALWAYS_FORWARD_ONLY";
    }
}

message! {
    /// Which statistics are kept besides the defaults.
    pub struct ProxyStatsMatcher {
        /// Prefixes (PC-088).
        inclusion_prefixes: Vec<Str> = "inclusionPrefixes";
        /// Suffixes (PC-089).
        inclusion_suffixes: Vec<Str> = "inclusionSuffixes";
        /// Patterns (PC-090).
        inclusion_regexps: Vec<Str> = "inclusionRegexps";
    }
}

message! {
    /// Headers that proxies add.
    pub struct ProxyHeaders {
        /// x-forwarded-client-cert (PC-111).
        forwarded_client_cert: ForwardClientCertDetails = "forwardedClientCert";
        /// Its parts (PC-112).
        set_current_client_cert_details: Option<SetCurrentClientCertDetails> = "setCurrentClientCertDetails";
        /// x-request-id (PC-113).
        request_id: Option<Toggle> = "requestId";
        /// server (PC-114).
        server: Option<Toggle> = "server";
        /// x-envoy-attempt-count (PC-115).
        attempt_count: Option<Toggle> = "attemptCount";
        /// x-envoy-* (PC-116).
        envoy_debug_headers: Option<Toggle> = "envoyDebugHeaders";
        /// x-envoy-peer-metadata (PC-117).
        metadata_exchange_headers: Option<MetadataExchangeHeaders> = "metadataExchangeHeaders";
        /// Keep the case of HTTP/1 headers (PC-118).
        preserve_http1_header_case: Option<bool> = "preserveHttp1HeaderCase";
        /// x-forwarded-host (PC-119).
        x_forwarded_host: Option<Toggle> = "xForwardedHost";
        /// x-forwarded-port (PC-120).
        x_forwarded_port: Option<Toggle> = "xForwardedPort";
    }
}

message! {
    /// A header that can be switched.
    pub struct Toggle {
        /// Off (PC-097, PC-099, PC-100, PC-103).
        disabled: Option<bool> = "disabled";
        /// On (PC-101, PC-102).
        enabled: Option<bool> = "enabled";
        /// Value (PC-098).
        value: Option<Str> = "value";
    }
}

message! {
    /// Traces.
    pub struct Tracing {
        /// Where to.
        tracer: Option<Tracer> = oneof;
        /// Tags (PC-023…PC-031).
        custom_tags: BTreeMap<Str, CustomTag> = "customTags";
        /// Longest path in a tag (PC-032).
        max_path_tag_length: u32 = "maxPathTagLength";
        /// Share of requests, 0 to 100 (PC-033).
        sampling: Option<f64> = "sampling";
        /// TLS to the tracer (PC-034).
        tls_settings: Option<ClientTlsSettings> = "tlsSettings";
        /// Whether Istio's tags are added (PC-035).
        enable_istio_tags: Option<bool> = "enableIstioTags";
    }
}

oneof! {
    /// Where traces go.
    pub enum Tracer {
        /// Zipkin (PC-018).
        Zipkin(TracerAddress) = "zipkin";
        /// Old (PC-019).
        Lightstep(Value) = "lightstep";
        /// Datadog (PC-020).
        Datadog(TracerAddress) = "datadog";
        /// Old (PC-021).
        Stackdriver(Value) = "stackdriver";
        /// Old (PC-022).
        OpenCensusAgent(Value) = "openCensusAgent";
    }
}

message! {
    /// Address of a tracer.
    pub struct TracerAddress {
        /// `HOST:PORT` (PC-004, PC-007).
        address: Option<Str> = "address";
    }
}

message! {
    /// Hardware for keys.
    pub struct PrivateKeyProvider {
        /// Which.
        provider: Option<KeyProvider> = oneof;
    }
}

oneof! {
    /// Hardware for keys.
    pub enum KeyProvider {
        /// Vector instructions (PC-050).
        Cryptomb(KeyProviderSettings) = "cryptomb";
        /// QuickAssist (PC-051).
        Qat(KeyProviderSettings) = "qat";
    }
}

message! {
    /// Settings of hardware for keys.
    pub struct KeyProviderSettings {
        /// Between looks (PC-046, PC-048).
        poll_delay: Option<Duration> = "pollDelay";
        /// Do without if there is none (PC-047, PC-049).
        fallback: Option<bool> = "fallback";
    }
}

message! {
    /// Parts of x-forwarded-client-cert.
    pub struct SetCurrentClientCertDetails {
        /// Subject (PC-106).
        subject: Option<bool> = "subject";
        /// Certificate (PC-107).
        cert: Option<bool> = "cert";
        /// Chain (PC-108).
        chain: Option<bool> = "chain";
        /// DNS names (PC-109).
        dns: Option<bool> = "dns";
        /// URIs (PC-110).
        uri: Option<bool> = "uri";
    }
}

message! {
    /// x-envoy-peer-metadata.
    pub struct MetadataExchangeHeaders {
        /// Where it is sent (PC-105).
        mode: MetadataExchangeMode = "mode";
    }
}

proto_enum! {
    /// Where x-envoy-peer-metadata is sent.
    pub enum MetadataExchangeMode {
        /// Everywhere.
        Undefined = "UNDEFINED";
        /// To known services (PC-104).
        InMesh = "IN_MESH";
    }
}

message! {
    /// Limits and timeouts of connections.
    pub struct ConnectionSettings {
        /// Defaults for a role (PC-126).
        profile: ConnectionProfile = "profile";
        /// Bytes (PC-127).
        listener_per_connection_buffer_limit_bytes: Option<i32> = "listenerPerConnectionBufferLimitBytes";
        /// Bytes; not wired in Istio (PC-128).
        cluster_per_connection_buffer_limit_bytes: Option<i32> = "clusterPerConnectionBufferLimitBytes";
        /// Idle connections (PC-129).
        http_idle_timeout: Option<Duration> = "httpIdleTimeout";
        /// Age of connections (PC-130).
        http_max_connection_duration: Option<Duration> = "httpMaxConnectionDuration";
        /// Time to end (PC-131).
        http_drain_timeout: Option<Duration> = "httpDrainTimeout";
        /// For a whole request (PC-132).
        http_request_timeout: Option<Duration> = "httpRequestTimeout";
        /// For its head (PC-133).
        http_request_headers_timeout: Option<Duration> = "httpRequestHeadersTimeout";
        /// Idle streams (PC-134).
        http_stream_idle_timeout: Option<Duration> = "httpStreamIdleTimeout";
        /// Age of streams (PC-135).
        http_max_stream_duration: Option<Duration> = "httpMaxStreamDuration";
        /// Streams of a connection (PC-136).
        http_max_concurrent_streams: Option<i32> = "httpMaxConcurrentStreams";
        /// Bytes (PC-137).
        http2_initial_stream_window_size: Option<i32> = "http2InitialStreamWindowSize";
        /// Bytes (PC-138).
        http2_initial_connection_window_size: Option<i32> = "http2InitialConnectionWindowSize";
        /// `_` in header names (PC-142).
        http_headers_with_underscores_action: HeadersWithUnderscoresAction = "httpHeadersWithUnderscoresAction";
        /// `//` becomes `/` (PC-143).
        http_merge_slashes: Option<bool> = "httpMergeSlashes";
        /// `%2F` in paths (PC-148).
        http_path_with_escaped_slashes_action: PathWithEscapedSlashesAction = "httpPathWithEscapedSlashesAction";
        /// Connections of a listener; not wired in Istio (PC-149).
        listener_connection_limit: Option<i32> = "listenerConnectionLimit";
        /// Connections in all (PC-150).
        global_downstream_connection_limit: Option<i32> = "globalDownstreamConnectionLimit";
    }
}

proto_enum! {
    /// Defaults of connection settings.
    pub enum ConnectionProfile {
        /// By role.
        Unset = "UNSET";
        /// Of a sidecar (PC-124).
        Sidecar = "SIDECAR";
        /// Of an edge (PC-125).
        Edge = "EDGE";
    }
}

proto_enum! {
    /// What happens to headers with `_`.
    pub enum HeadersWithUnderscoresAction {
        /// By profile.
        Unset = "HEADERS_WITH_UNDERSCORES_UNSET";
        /// Let through (PC-139).
        Allow = "HEADERS_WITH_UNDERSCORES_ALLOW";
        /// The request is refused (PC-140).
        RejectRequest = "HEADERS_WITH_UNDERSCORES_REJECT_REQUEST";
        /// Dropped (PC-141).
        DropHeader = "HEADERS_WITH_UNDERSCORES_DROP_HEADER";
    }
}

proto_enum! {
    /// What happens to `%2F` in paths.
    pub enum PathWithEscapedSlashesAction {
        /// By profile.
        Unset = "PATH_WITH_ESCAPED_SLASHES_UNSET";
        /// Kept (PC-144).
        KeepUnchanged = "KEEP_UNCHANGED";
        /// The request is refused (PC-145).
        RejectRequest = "REJECT_REQUEST";
        /// Unescaped, and the client sent there (PC-146).
        UnescapeAndRedirect = "UNESCAPE_AND_REDIRECT";
        /// Unescaped (PC-147).
        UnescapeAndForward = "UNESCAPE_AND_FORWARD";
    }
}
