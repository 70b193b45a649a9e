//! Settings of the whole mesh: MeshConfig with its section `defaultConfig`, and MeshNetworks. A document is laid over the
//! defaults, which are Istio's.

use std::collections::BTreeMap;

use crate::Str;
use crate::decode::macros::{message, oneof, proto_enum};
use crate::duration::Duration;
use crate::labels::LabelSelector;
use crate::networking::destination_rule::{
    ConnectionPoolSettings, LocalityLoadBalancerSetting, OutlierDetection, TcpKeepalive,
    ZoneAwareLoadBalancerSetting,
};
use crate::networking::tls::{ClientTlsSettings, TlsProtocol};
use crate::networking::virtual_service::HttpRetry;

pub mod provider;
pub mod proxy_config;
pub mod switches;

pub use provider::ExtensionProvider;
pub use proxy_config::ProxyConfig;
pub use switches::Switches;

message! {
    /// Settings of the mesh as a document gives them; see the methods for what holds when it gives none.
    pub struct MeshConfig {
        /// Default 15001 (MC-001).
        proxy_listen_port: i32 = "proxyListenPort";
        /// Default 15006 (MC-002).
        proxy_inbound_listen_port: i32 = "proxyInboundListenPort";
        /// An HTTP proxy for applications; 0: none (MC-003).
        proxy_http_port: i32 = "proxyHttpPort";
        /// Default 10s (MC-004).
        connect_timeout: Option<Duration> = "connectTimeout";
        /// Idle HBONE connections (MC-005).
        hbone_idle_timeout: Option<Duration> = "hboneIdleTimeout";
        /// Wait for the client's first bytes; default 0, for ever (MC-006).
        protocol_detection_timeout: Option<Duration> = "protocolDetectionTimeout";
        /// Probes of idle connections (MC-007).
        tcp_keepalive: Option<TcpKeepalive> = "tcpKeepalive";
        /// Default `istio` (MC-008).
        ingress_class: Option<Str> = "ingressClass";
        /// Default `istio-ingressgateway` (MC-009).
        ingress_service: Option<Str> = "ingressService";
        /// Default STRICT (MC-013).
        ingress_controller_mode: IngressControllerMode = "ingressControllerMode";
        /// Value of label `istio` of the ingress gateway (MC-014).
        ingress_selector: Option<Str> = "ingressSelector";
        /// Old; no effect.
        auth_policy: Option<Str> = "authPolicy";
        /// Default true (MC-017).
        enable_tracing: Option<bool> = "enableTracing";
        /// Default empty: no access log (MC-018).
        access_log_file: Option<Str> = "accessLogFile";
        /// Default: Istio's line (MC-019).
        access_log_format: Option<Str> = "accessLogFormat";
        /// TEXT or JSON (MC-022).
        access_log_encoding: AccessLogEncoding = "accessLogEncoding";
        /// Access logs by gRPC (MC-023).
        enable_envoy_access_log_service: bool = "enableEnvoyAccessLogService";
        /// No access log at listeners (MC-024).
        disable_envoy_listener_log: bool = "disableEnvoyListenerLog";
        /// Settings of proxies (MC-025).
        default_config: Option<ProxyConfig> = "defaultConfig";
        /// Unknown destinations (MC-031).
        outbound_traffic_policy: Option<OutboundTrafficPolicy> = "outboundTrafficPolicy";
        /// Towards the workload (MC-035).
        inbound_traffic_policy: Option<InboundTrafficPolicy> = "inboundTrafficPolicy";
        /// Where configuration comes from (MC-036).
        config_sources: Vec<ConfigSource> = "configSources";
        /// Default true (MC-037).
        enable_auto_mtls: Option<bool> = "enableAutoMtls";
        /// Default `cluster.local` (MC-038).
        trust_domain: Option<Str> = "trustDomain";
        /// Older names of it (MC-039).
        trust_domain_aliases: Vec<Str> = "trustDomainAliases";
        /// More trusted certificates (MC-044).
        ca_certificates: Vec<CertificateData> = "caCertificates";
        /// Default `*` (MC-045).
        default_service_export_to: Vec<Str> = "defaultServiceExportTo";
        /// Default `*` (MC-046).
        default_virtual_service_export_to: Vec<Str> = "defaultVirtualServiceExportTo";
        /// Default `*` (MC-047).
        default_destination_rule_export_to: Vec<Str> = "defaultDestinationRuleExportTo";
        /// Default `istio-system` (MC-048).
        root_namespace: Option<Str> = "rootNamespace";
        /// Preferences by locality (MC-049).
        locality_lb_setting: Option<LocalityLoadBalancerSetting> = "localityLbSetting";
        /// Envoy's zone-aware routing (MC-050).
        zone_aware_lb_setting: Option<ZoneAwareLoadBalancerSetting> = "zoneAwareLbSetting";
        /// After failures; default 60s (MC-051).
        dns_refresh_rate: Option<Duration> = "dnsRefreshRate";
        /// Default DO_NOT_UPGRADE (MC-054).
        h2_upgrade_policy: MeshH2UpgradePolicy = "h2UpgradePolicy";
        /// Names of inbound clusters in statistics (MC-055).
        inbound_cluster_stat_name: Option<Str> = "inboundClusterStatName";
        /// Names of outbound clusters in statistics (MC-056).
        outbound_cluster_stat_name: Option<Str> = "outboundClusterStatName";
        /// Old (MC-057).
        certificates: Vec<serde_json::Value> = "certificates";
        /// Settings by host (MC-061).
        service_settings: Vec<ServiceSettings> = "serviceSettings";
        /// Scopes by label (MC-067).
        service_scope_configs: Vec<ServiceScopeConfigs> = "serviceScopeConfigs";
        /// Default true (MC-068).
        enable_prometheus_merge: Option<bool> = "enablePrometheusMerge";
        /// Old (MC-069).
        verify_certificate_at_client: Option<bool> = "verifyCertificateAtClient";
        /// Never implemented (MC-074).
        ca: Option<serde_json::Value> = "ca";
        /// Providers of telemetry and authorization (MC-202).
        extension_providers: Vec<ExtensionProvider> = "extensionProviders";
        /// Which of them hold by default (MC-206).
        default_providers: Option<DefaultProviders> = "defaultProviders";
        /// Namespaces that are looked at; none: all (MC-207).
        discovery_selectors: Vec<LabelSelector> = "discoverySelectors";
        /// How paths are made regular (MC-214).
        path_normalization: Option<ProxyPathNormalization> = "pathNormalization";
        /// When a route says nothing (MC-215).
        default_http_retry_policy: Option<HttpRetry> = "defaultHttpRetryPolicy";
        /// At inbound routes (MC-248).
        default_inbound_http_retry_policy: Option<HttpRetry> = "defaultInboundHttpRetryPolicy";
        /// TLS within the mesh (MC-222).
        mesh_mtls: Option<TlsConfig> = "meshMTLS";
        /// TLS elsewhere (MC-223).
        tls_defaults: Option<TlsConfig> = "tlsDefaults";
        /// Under all DestinationRules (MC-226).
        default_traffic_policy: Option<DefaultTrafficPolicy> = "defaultTrafficPolicy";
        /// Who sees ServiceEntries (MC-227).
        service_entry_visibility: Option<ServiceEntryVisibility> = "serviceEntryVisibility";
        /// Of the names of Kubernetes Services; from the control plane's `--domain`, no document can give it.
        domain: Option<Str> = "-";
        /// How to get from one network to another; a document of its own.
        networks: MeshNetworks = "-";
        /// From the environment of the control plane; no document can give them.
        switches: Switches = "-";
    }
}

impl MeshConfig {
    /// The domain of identities: `spiffe://DOMAIN/ns/NAMESPACE/sa/ACCOUNT`.
    pub fn trust_domain(&self) -> &str {
        self.trust_domain.as_deref().unwrap_or("cluster.local")
    }

    /// The domain of service names, which short names are completed with: `NAME.NAMESPACE.svc.DOMAIN`. It has nothing to do
    /// with [`Self::trust_domain`], although the defaults are the same.
    pub fn domain(&self) -> &str {
        self.domain.as_deref().unwrap_or("cluster.local")
    }

    /// The namespace whose resources hold everywhere.
    pub fn root_namespace(&self) -> &str {
        self.root_namespace.as_deref().unwrap_or("istio-system")
    }

    /// Which Ingresses are served.
    pub fn ingress_controller_mode(&self) -> IngressControllerMode {
        match self.ingress_controller_mode {
            IngressControllerMode::Unspecified => IngressControllerMode::Strict,
            mode => mode,
        }
    }

    /// The class of Ingresses that are served.
    pub fn ingress_class(&self) -> &str {
        self.ingress_class.as_deref().unwrap_or("istio")
    }

    /// Value of the label `istio` of the gateway that serves Ingresses: as said, else the name of its Service.
    pub fn ingress_selector(&self) -> &str {
        let selector = self.ingress_selector.as_deref().filter(|label| !label.is_empty());
        let service = self.ingress_service.as_deref().filter(|name| !name.is_empty());
        // The Service that comes with Istio is called otherwise than its label.
        selector.or(service.filter(|name| *name != "istio-ingressgateway")).unwrap_or("ingressgateway")
    }

    /// How long a connection attempt may take.
    pub fn connect_timeout(&self) -> Duration {
        self.connect_timeout.unwrap_or(Duration::from_millis(10_000))
    }

    /// Port of the virtual outbound listener.
    pub fn proxy_listen_port(&self) -> u16 {
        u16::try_from(self.proxy_listen_port).ok().filter(|port| *port > 0).unwrap_or(15001)
    }

    /// Port of the virtual inbound listener.
    pub fn proxy_inbound_listen_port(&self) -> u16 {
        u16::try_from(self.proxy_inbound_listen_port).ok().filter(|port| *port > 0).unwrap_or(15006)
    }

    /// Whether requests to unknown hosts go to where DNS says (MC-028).
    pub fn looks_up_unknown_hosts(&self) -> bool {
        self.outbound_mode() == OutboundMode::AllowAnyDynamicDns
    }

    /// What happens to unknown destinations.
    pub fn outbound_mode(&self) -> OutboundMode {
        self.outbound_traffic_policy.as_ref().map_or(OutboundMode::AllowAny, |policy| policy.mode)
    }
}

proto_enum! {
    /// Which Ingress objects are read.
    pub enum IngressControllerMode {
        /// As STRICT.
        Unspecified = "UNSPECIFIED";
        /// None (MC-010).
        Off = "OFF";
        /// Those without a class too (MC-011).
        Default = "DEFAULT";
        /// Those of the class (MC-012).
        Strict = "STRICT";
    }
}

proto_enum! {
    /// Forms of access logs.
    pub enum AccessLogEncoding {
        /// Lines (MC-020).
        Text = "TEXT";
        /// JSON objects (MC-021).
        Json = "JSON";
    }
}

message! {
    /// Unknown destinations.
    pub struct OutboundTrafficPolicy {
        /// What happens (MC-029).
        mode: OutboundMode = "mode";
        /// TLS to them (MC-030).
        tls: Option<ClientTlsSettings> = "tls";
    }
}

proto_enum! {
    /// What happens to unknown destinations.
    pub enum OutboundMode {
        /// Let through (MC-027).
        AllowAny = "ALLOW_ANY";
        /// Refused (MC-026).
        RegistryOnly = "REGISTRY_ONLY";
        /// Let through to the name in the request (MC-028).
        AllowAnyDynamicDns = "ALLOW_ANY_DYNAMIC_DNS";
    }
}

message! {
    /// Towards the workload.
    pub struct InboundTrafficPolicy {
        /// Which address (MC-034).
        mode: InboundMode = "mode";
    }
}

proto_enum! {
    /// The address at which a proxy reaches its workload.
    pub enum InboundMode {
        /// The one the client asked for (MC-032).
        Passthrough = "PASSTHROUGH";
        /// 127.0.0.1 (MC-033).
        Localhost = "LOCALHOST";
    }
}

message! {
    /// Where configuration comes from.
    pub struct ConfigSource {
        /// `fs:///path`, `xds://…` or `k8s://` (MC-243).
        address: Option<Str> = "address";
        /// TLS to it (MC-244).
        tls_settings: Option<ClientTlsSettings> = "tlsSettings";
        /// What is taken from it (MC-245).
        subscribed_resources: Vec<Str> = "subscribedResources";
    }
}

proto_enum! {
    /// Whether HTTP/1.1 becomes HTTP/2 between sidecars.
    pub enum MeshH2UpgradePolicy {
        /// No (MC-052).
        DoNotUpgrade = "DO_NOT_UPGRADE";
        /// Yes (MC-053).
        Upgrade = "UPGRADE";
    }
}

message! {
    /// Providers that hold by default.
    pub struct DefaultProviders {
        /// Traces (MC-203).
        tracing: Vec<Str> = "tracing";
        /// Metrics (MC-204).
        metrics: Vec<Str> = "metrics";
        /// Access logs (MC-205).
        access_logging: Vec<Str> = "accessLogging";
    }
}

message! {
    /// How paths are made regular before matching.
    pub struct ProxyPathNormalization {
        /// How (MC-213).
        normalization: NormalizationType = "normalization";
    }
}

proto_enum! {
    /// How paths are made regular.
    pub enum NormalizationType {
        /// As BASE (MC-208).
        Default = "DEFAULT";
        /// Not (MC-209).
        None = "NONE";
        /// RFC 3986 (MC-210).
        Base = "BASE";
        /// And `//` becomes `/` (MC-211).
        MergeSlashes = "MERGE_SLASHES";
        /// And `%2F` first becomes `/` (MC-212).
        DecodeAndMergeSlashes = "DECODE_AND_MERGE_SLASHES";
    }
}

message! {
    /// Settings of TLS.
    pub struct TlsConfig {
        /// Lowest version (MC-219).
        min_protocol_version: TlsProtocol = "minProtocolVersion";
        /// Curves (MC-220).
        ecdh_curves: Vec<Str> = "ecdhCurves";
        /// Cipher suites (MC-221).
        cipher_suites: Vec<Str> = "cipherSuites";
    }
}

message! {
    /// Policies under all DestinationRules.
    pub struct DefaultTrafficPolicy {
        /// Limits (MC-224).
        connection_pool: Option<ConnectionPoolSettings> = "connectionPool";
        /// Ejection (MC-225).
        outlier_detection: Option<OutlierDetection> = "outlierDetection";
    }
}

message! {
    /// Networks and how to get from one to another.
    pub struct MeshNetworks {
        /// By name (MN-009).
        networks: BTreeMap<Str, Network> = "networks" required;
    }
}

message! {
    /// A network.
    pub struct Network {
        /// What belongs to it (MN-003).
        endpoints: Vec<NetworkEndpoints> = "endpoints";
        /// How to get into it (MN-008).
        gateways: Vec<NetworkGateway> = "gateways";
    }
}

message! {
    /// What belongs to a network.
    pub struct NetworkEndpoints {
        /// By address or by registry.
        endpoints: Option<NetworkEndpointsBy> = oneof;
    }
}

oneof! {
    /// What belongs to a network.
    pub enum NetworkEndpointsBy {
        /// Addresses (MN-001).
        FromCidr(Str) = "fromCidr";
        /// All of a registry (MN-002).
        FromRegistry(Str) = "fromRegistry";
    }
}

message! {
    /// How to get into a network.
    pub struct NetworkGateway {
        /// By service or address.
        gateway: Option<NetworkGatewayBy> = oneof;
        /// Port (MN-006).
        port: u32 = "port" required;
        /// Locality (MN-007).
        locality: Option<Str> = "locality";
    }
}

oneof! {
    /// A gateway.
    pub enum NetworkGatewayBy {
        /// A service (MN-004).
        RegistryServiceName(Str) = "registryServiceName";
        /// An address (MN-005).
        Address(Str) = "address";
    }
}

message! {
    /// More trusted certificates.
    pub struct CertificateData {
        /// Where they are.
        data: Option<CertificateDataFrom> = oneof;
        /// Signers of Kubernetes that use them (MC-042).
        cert_signers: Vec<Str> = "certSigners";
        /// Trust domains they are for (MC-043).
        trust_domains: Vec<Str> = "trustDomains";
    }
}

oneof! {
    /// Where certificates are.
    pub enum CertificateDataFrom {
        /// Here (MC-040).
        Pem(Str) = "pem";
        /// At a SPIFFE bundle's URL (MC-041).
        SpiffeBundleUrl(Str) = "spiffeBundleUrl";
    }
}

message! {
    /// Settings by host.
    pub struct ServiceSettings {
        /// The settings (MC-059).
        settings: Option<ServiceSettingsSettings> = "settings";
        /// Hosts (MC-060).
        hosts: Vec<Str> = "hosts";
    }
}

message! {
    /// Settings of hosts.
    pub struct ServiceSettingsSettings {
        /// Whether only endpoints of the own cluster count (MC-058).
        cluster_local: bool = "clusterLocal";
    }
}

message! {
    /// Scopes by label.
    pub struct ServiceScopeConfigs {
        /// Namespaces (MC-064).
        namespace_selector: Option<LabelSelector> = "namespaceSelector";
        /// Services (MC-065).
        services_selector: Option<LabelSelector> = "servicesSelector";
        /// Scope (MC-066).
        scope: ServiceScope = "scope";
    }
}

proto_enum! {
    /// Scope of a service among clusters.
    pub enum ServiceScope {
        /// Its cluster (MC-062).
        Local = "LOCAL";
        /// All (MC-063).
        Global = "GLOBAL";
    }
}

message! {
    /// Who sees ServiceEntries.
    pub struct ServiceEntryVisibility {
        /// If no policy says more (MC-237).
        default_visibility: Visibility = "defaultVisibility";
        /// Whether sidecars follow it (MC-238).
        apply_to_sidecars: bool = "applyToSidecars";
        /// By namespace (MC-239).
        policies: Vec<VisibilityPolicy> = "policies";
    }
}

proto_enum! {
    /// Who sees a ServiceEntry.
    pub enum Visibility {
        /// As PUBLIC.
        Unspecified = "UNSPECIFIED";
        /// Nobody (MC-234).
        None = "NONE";
        /// Its namespace (MC-235).
        Namespace = "NAMESPACE";
        /// Everybody (MC-236).
        Public = "PUBLIC";
    }
}

message! {
    /// Who sees the ServiceEntries of some namespaces.
    pub struct VisibilityPolicy {
        /// Who (MC-240).
        visibility: Visibility = "visibility";
        /// Which (MC-241).
        matching_rules: Vec<VisibilityRule> = "matchingRules";
    }
}

message! {
    /// Some ServiceEntries.
    pub struct VisibilityRule {
        /// Which.
        matcher: Option<VisibilityMatcher> = oneof;
    }
}

oneof! {
    /// Which ServiceEntries.
    pub enum VisibilityMatcher {
        /// By namespace (MC-242).
        NamespaceSelector(LabelSelector) = "namespaceSelector";
    }
}
