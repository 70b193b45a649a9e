//! `Cluster`: settings with Envoy's defaults, and where the endpoints come from.

mod balancer;
mod health;
mod outlier;
mod protocol;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use meltemi_xds::pb::{
    envoy::config::{
        cluster::v3::{
            CircuitBreakers, Cluster as Message,
            cluster::{
                ClusterDiscoveryType, CommonLbConfig, DiscoveryType, LbPolicy,
                common_lb_config::LocalityConfigSpecifier,
            },
        },
        core::v3::{
            BindConfig, ProxyProtocolConfig, TcpKeepalive, TransportSocket, proxy_protocol_config,
            socket_address::PortSpecifier, transport_socket::ConfigType,
        },
    },
    envoy::extensions::transport_sockets::proxy_protocol::v3::ProxyProtocolUpstreamTransport,
    envoy::r#type::v3::Percent,
    google::protobuf::UInt32Value,
};

use super::{
    At, Context, Rejection, dynamic,
    endpoint::{self, Assignment, HostTarget, Hosts},
    fields, hcm, listener, refuse,
};
use crate::{
    cluster::{
        Address, ClusterSettings, DynamicForward, Keepalive, Limits, UpstreamProtocol, ZoneAware,
        dns::Family,
        health::{Check, Settings as HealthCheck},
    },
    upstream::proxy_header::Version,
};
use prost::Name;

/// A compiled cluster without its endpoints.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// Name.
    pub name: Arc<str>,
    /// `alt_stat_name`, else the name.
    pub stat_name: Arc<str>,
    /// Settings.
    pub settings: Arc<ClusterSettings>,
    /// `config` of its `istio` metadata: what made it.
    pub origin: Option<Arc<str>>,
    /// `metadata`, for logs.
    pub metadata: Option<Arc<serde_json::Value>>,
    /// Where endpoints come from.
    pub discovery: Discovery,
    /// `health_checks`.
    pub health: Option<Arc<HealthCheck>>,
    /// `ignore_health_on_host_removal` is not set: hosts that discovery forgets stay while they are well.
    pub stays_while_well: bool,
}

/// Where endpoints come from.
#[derive(Debug, Clone)]
pub enum Discovery {
    /// STATIC.
    Static(Assignment),
    /// EDS under this resource name; with `initial_fetch_timeout`, default 15 s, `None` waits for ever.
    Eds {
        /// `service_name`, else the cluster's name.
        resource: Arc<str>,
        /// How long warming may take.
        timeout: Option<Duration>,
    },
    /// STRICT_DNS or LOGICAL_DNS.
    Dns(Arc<Dns>),
    /// ORIGINAL_DST.
    OriginalDst,
    /// A dynamic forward proxy.
    Dynamic(DynamicForward),
}

/// A cluster of names.
#[derive(Debug, Clone, PartialEq)]
pub struct Dns {
    /// Hosts, some of them names.
    pub assignment: Assignment,
    /// LOGICAL_DNS: only the first address of an answer is used.
    pub logical: bool,
    /// `dns_refresh_rate`, default 5 s.
    pub refresh: Duration,
    /// `dns_failure_refresh_rate` base and maximum; default: as `refresh`.
    pub failure_refresh: (Duration, Duration),
    /// `respect_dns_ttl`.
    pub respect_ttl: bool,
    /// `dns_lookup_family`.
    pub family: Family,
}

/// Compiles a cluster.
pub fn compile(message: &Message, context: &mut Context) -> Result<Compiled, Rejection> {
    if message.name.is_empty() {
        return refuse("value is empty").at("name");
    }
    refuse_unsupported(message)?;
    note_ineffective(message, context);
    let discovery = discovery(message, context)?;
    let socket = message.transport_socket.as_ref().map(transport_socket).transpose();
    let mut settings = ClusterSettings {
        proxy_protocol: socket.at("transport_socket")?.flatten(),
        connect_timeout: fields::timeout(message.connect_timeout.as_ref(), "connect_timeout", None)?
            .unwrap_or(Duration::from_secs(5)),
        buffer_limit: fields::number(message.per_connection_buffer_limit_bytes.as_ref(), 1 << 20) as usize,
        original_dst: matches!(discovery, Discovery::OriginalDst),
        dynamic: match &discovery {
            Discovery::Dynamic(forward) => Some(*forward),
            _ => None,
        },
        ..ClusterSettings::default()
    };
    protocol::protocol(message, &mut settings, context)?;
    balancer::balancer(message, &mut settings, context)?;
    if let Some(breakers) = &message.circuit_breakers {
        limits(breakers, &mut settings).at("circuit_breakers")?;
    }
    if let Some(common) = &message.common_lb_config {
        common_lb(common, &mut settings, context).at("common_lb_config")?;
    }
    if let Some(detection) = &message.outlier_detection {
        settings.outlier = Some(Box::new(outlier::compile(detection).at("outlier_detection")?));
    }
    if let Some(bind) = &message.upstream_bind_config {
        bind_config(bind, &mut settings).at("upstream_bind_config")?;
    }
    let keepalive =
        message.upstream_connection_options.as_ref().and_then(|options| options.tcp_keepalive.as_ref());
    settings.keepalive = keepalive.map(tcp_keepalive);
    let health = self::health::compile(&message.health_checks, context)?.map(Arc::new);
    let grpc = health.as_ref().is_some_and(|health| matches!(health.check, Check::Grpc(_)));
    if grpc && settings.protocol != UpstreamProtocol::Http2 {
        let reason = format!("{} cluster must support HTTP/2 for gRPC healthchecking", message.name);
        return refuse(reason).at_index("health_checks", 0);
    }
    let stat_name = if message.alt_stat_name.is_empty() { &message.name } else { &message.alt_stat_name };
    Ok(Compiled {
        name: context.intern(&message.name),
        stat_name: context.intern(stat_name),
        origin: fields::origin(message.metadata.as_ref()).map(|config| context.intern(config)),
        metadata: fields::metadata(message.metadata.as_ref()),
        settings: context.settings(settings),
        discovery,
        health,
        stays_while_well: !message.ignore_health_on_host_removal,
    })
}

/// Plaintext, behind a header of the PROXY protocol where one is asked for.
fn transport_socket(socket: &TransportSocket) -> Result<Option<Version>, Rejection> {
    let Some(ConfigType::TypedConfig(config)) = &socket.config_type else {
        return listener::transport_socket(socket).map(|()| None);
    };
    if config.type_url != ProxyProtocolUpstreamTransport::type_url() {
        return listener::transport_socket(socket).map(|()| None);
    }
    let transport: ProxyProtocolUpstreamTransport = fields::unpack(config)?;
    match &transport.transport_socket {
        Some(inner) => listener::transport_socket(inner).at("transport_socket").at("typed_config")?,
        None => return refuse("value is required").at("transport_socket").at("typed_config"),
    }
    proxy_header(transport.config.unwrap_or_default()).at("config").at("typed_config").map(Some)
}

/// `ProxyProtocolConfig`.
pub fn proxy_header(config: ProxyProtocolConfig) -> Result<Version, Rejection> {
    fields::unsupported(config.pass_through_tlvs.is_some(), "pass_through_tlvs")?;
    fields::unsupported(!config.added_tlvs.is_empty(), "added_tlvs")?;
    match proxy_protocol_config::Version::try_from(config.version) {
        Ok(proxy_protocol_config::Version::V1) => Ok(Version::V1),
        Ok(proxy_protocol_config::Version::V2) => Ok(Version::V2),
        Err(_) => fields::unknown_enum("version", config.version),
    }
}

fn refuse_unsupported(message: &Message) -> Result<(), Rejection> {
    for (at, candidate) in message.transport_socket_matches.iter().enumerate() {
        let socket = candidate.transport_socket.as_ref().map_or(Ok(()), listener::transport_socket);
        socket.at("transport_socket").at_index("transport_socket_matches", at)?;
    }
    fields::unsupported(message.transport_socket_matcher.is_some(), "transport_socket_matcher")?;
    if let Some(filter) = message.filters.first() {
        return refuse(format!("unknown network filter '{}'", filter.name)).at_index("filters", 0);
    }
    if let Some(config) = &message.upstream_config {
        return refuse(format!("unknown upstream '{}'", config.name)).at("upstream_config");
    }
    fields::unsupported(message.queuing_policies.is_some(), "queuing_policies")?;
    fields::unsupported(
        message.connection_pool_per_downstream_connection,
        "connection_pool_per_downstream_connection",
    )
}

/// Not in effect yet, and said so wherever the configuration is shown.
fn note_ineffective(message: &Message, context: &mut Context) {
    let notes = [
        (message.lrs_server.is_some(), "lrs_server: no load reports are sent"),
        (message.preconnect_policy.is_some(), "preconnect_policy: connections are made on demand"),
        (
            !message.dns_resolvers.is_empty() || message.dns_resolution_config.is_some(),
            "dns_resolvers: the system's resolver is used",
        ),
        (
            message.typed_dns_resolver_config.is_some(),
            "typed_dns_resolver_config: the system's resolver is used",
        ),
        (
            message.close_connections_on_host_health_failure,
            "close_connections_on_host_health_failure: connections of unhealthy hosts stay open",
        ),
        (
            message.track_timeout_budgets || message.track_cluster_stats.is_some(),
            "track_cluster_stats: not kept",
        ),
    ];
    notes.into_iter().filter(|(set, _)| *set).for_each(|(_, note)| context.note(note));
}

fn discovery(message: &Message, context: &mut Context) -> Result<Discovery, Rejection> {
    let kind = match &message.cluster_discovery_type {
        None => DiscoveryType::Static,
        Some(ClusterDiscoveryType::Type(kind)) => match DiscoveryType::try_from(*kind) {
            Ok(kind) => kind,
            Err(_) => return fields::unknown_enum("type", *kind),
        },
        Some(ClusterDiscoveryType::ClusterType(custom)) => {
            if let Some(forward) = dynamic::cluster(custom, context).at("cluster_type")? {
                return match message.lb_policy == LbPolicy::ClusterProvided as i32 {
                    true => Ok(Discovery::Dynamic(forward)),
                    false => refuse("must be CLUSTER_PROVIDED for a dynamic forward proxy").at("lb_policy"),
                };
            }
            let url = custom.typed_config.as_ref().map_or("", |config| &config.type_url);
            return refuse(format!("unknown cluster type '{}' of type '{url}'", custom.name))
                .at("cluster_type");
        }
    };
    let assignment = message.load_assignment.as_ref();
    match kind {
        DiscoveryType::Static => {
            let assignment = assignment.map(|a| endpoint::compile(a, Hosts::Addresses, context)).transpose();
            Ok(Discovery::Static(assignment.at("load_assignment")?.unwrap_or_default()))
        }
        DiscoveryType::StrictDns | DiscoveryType::LogicalDns => {
            let Some(assignment) = assignment else {
                return refuse("value is required").at("load_assignment");
            };
            let assignment = endpoint::compile(assignment, Hosts::Names, context).at("load_assignment")?;
            dns(message, assignment, kind == DiscoveryType::LogicalDns)
                .map(|dns| Discovery::Dns(Arc::new(dns)))
        }
        DiscoveryType::Eds => {
            let Some(config) = &message.eds_cluster_config else {
                return refuse("value is required").at("eds_cluster_config");
            };
            let source = config.eds_config.as_ref();
            hcm::ads_only(source).at("eds_cluster_config.eds_config")?;
            let name = if config.service_name.is_empty() { &message.name } else { &config.service_name };
            let timeout = source.and_then(|source| source.initial_fetch_timeout.as_ref());
            let timeout = fields::timeout(timeout, "initial_fetch_timeout", Some(Duration::from_secs(15)));
            Ok(Discovery::Eds {
                resource: context.intern(name),
                timeout: timeout.at("eds_cluster_config.eds_config")?,
            })
        }
        DiscoveryType::OriginalDst => {
            let rings = [LbPolicy::ClusterProvided as i32, LbPolicy::LoadBalancingPolicyConfig as i32];
            if !rings.contains(&message.lb_policy) {
                return refuse("cluster: LB policy must be CLUSTER_PROVIDED for ORIGINAL_DST")
                    .at("lb_policy");
            }
            Ok(Discovery::OriginalDst)
        }
    }
}

fn dns(message: &Message, assignment: Assignment, logical: bool) -> Result<Dns, Rejection> {
    if logical {
        let hosts: usize = assignment.localities.iter().map(|locality| locality.hosts.len()).sum();
        if assignment.localities.len() != 1 || hosts != 1 {
            return refuse(
                "LOGICAL_DNS clusters must have a single locality_lb_endpoint and a single lb_endpoint",
            )
            .at("load_assignment");
        }
    }
    let pipes = assignment.localities.iter().flat_map(|locality| &locality.hosts);
    if pipes.into_iter().any(|host| matches!(host.target, HostTarget::Address(Address::Pipe(_)))) {
        return refuse("DNS clusters cannot have Unix sockets").at("load_assignment");
    }
    let refresh = fields::optional(message.dns_refresh_rate.as_ref(), "dns_refresh_rate")?;
    let refresh = refresh.unwrap_or(Duration::from_secs(5)).max(Duration::from_millis(1));
    let failure = message.dns_failure_refresh_rate.as_ref();
    let base = failure.and_then(|rate| rate.base_interval.as_ref());
    let base = fields::optional(base, "dns_failure_refresh_rate.base_interval")?;
    let max = failure.and_then(|rate| rate.max_interval.as_ref());
    let max = fields::optional(max, "dns_failure_refresh_rate.max_interval")?;
    let family = dynamic::family(message.dns_lookup_family).at("dns_lookup_family")?;
    let base = base.unwrap_or(refresh).max(Duration::from_millis(1));
    // Envoy: the maximum defaults to ten times the base interval.
    let failure_refresh = (base, max.unwrap_or(if failure.is_some() { base * 10 } else { base }).max(base));
    Ok(Dns { assignment, logical, refresh, failure_refresh, respect_ttl: message.respect_dns_ttl, family })
}

fn limits(breakers: &CircuitBreakers, settings: &mut ClusterSettings) -> Result<(), Rejection> {
    for (at, threshold) in breakers.thresholds.iter().enumerate() {
        let limits = limits_at(threshold.priority, settings).at_index("thresholds", at)?;
        limits.connections = fields::number(threshold.max_connections.as_ref(), limits.connections);
        limits.pending_requests =
            fields::number(threshold.max_pending_requests.as_ref(), limits.pending_requests);
        limits.requests = fields::number(threshold.max_requests.as_ref(), limits.requests);
        limits.retries = fields::number(threshold.max_retries.as_ref(), limits.retries);
        limits.tracks_remaining = threshold.track_remaining;
        limits.retry_budget = threshold.retry_budget.as_ref().map(|budget| {
            let percent = budget.budget_percent.map_or(20.0, |percent| percent.value).clamp(0.0, 100.0);
            ((percent * 100.0) as u32, fields::number(budget.min_retry_concurrency.as_ref(), 3))
        });
    }
    for (at, threshold) in breakers.per_host_thresholds.iter().enumerate() {
        let others = threshold.max_pending_requests.is_some()
            || threshold.max_requests.is_some()
            || threshold.max_retries.is_some()
            || threshold.max_connection_pools.is_some()
            || threshold.retry_budget.is_some();
        if others {
            return refuse("Unsupported field in per_host_thresholds: only max_connections is supported")
                .at_index("per_host_thresholds", at);
        }
        let limits = limits_at(threshold.priority, settings).at_index("per_host_thresholds", at)?;
        limits.per_host = fields::number(threshold.max_connections.as_ref(), u32::MAX);
    }
    Ok(())
}

/// The limits of a `RoutingPriority`.
fn limits_at(priority: i32, settings: &mut ClusterSettings) -> Result<&mut Limits, Rejection> {
    match priority {
        0 => Ok(&mut settings.limits),
        1 => Ok(&mut settings.high_limits),
        other => fields::unknown_enum("priority", other),
    }
}

fn common_lb(
    message: &CommonLbConfig,
    settings: &mut ClusterSettings,
    context: &mut Context,
) -> Result<(), Rejection> {
    if let Some(threshold) = &message.healthy_panic_threshold {
        settings.panic_threshold = fields::percent(threshold).at("healthy_panic_threshold")?;
    }
    if matches!(message.locality_config_specifier, Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(_)))
    {
        settings.locality_weighted = true;
    }
    if let Some(LocalityConfigSpecifier::ZoneAwareLbConfig(zones)) = &message.locality_config_specifier {
        settings.zone_aware = Some(ZoneAware {
            enabled: share(zones.routing_enabled.as_ref()).at("zone_aware_lb_config.routing_enabled")?,
            min_cluster_size: zones.min_cluster_size.as_ref().map_or(6, |size| size.value),
            fail_on_panic: zones.fail_traffic_on_panic,
            force_direct: false,
        });
    }
    if message.close_connections_on_host_set_change {
        context.note("close_connections_on_host_set_change: connections stay open");
    }
    Ok(())
}

/// A percentage in hundredths; all unless said otherwise.
pub(super) fn share(percent: Option<&Percent>) -> Result<u32, Rejection> {
    match percent.map_or(100.0, |percent| percent.value) {
        share if (0.0..=100.0).contains(&share) => Ok((share * 100.0) as u32),
        share => refuse(format!("{share} is not between 0 and 100")),
    }
}

fn bind_config(message: &BindConfig, settings: &mut ClusterSettings) -> Result<(), Rejection> {
    fields::unsupported(!message.socket_options.is_empty(), "socket_options")?;
    fields::unsupported(!message.extra_source_addresses.is_empty(), "extra_source_addresses")?;
    fields::unsupported(fields::flag(message.freebind.as_ref(), false), "freebind")?;
    fields::unsupported(message.local_address_selector.is_some(), "local_address_selector")?;
    if let Some(source) = &message.source_address {
        let ip = source
            .address
            .parse()
            .map_err(|_| Rejection::new("malformed IP address"))
            .at("source_address")?;
        let port = match source.port_specifier {
            Some(PortSpecifier::PortValue(port)) => {
                u16::try_from(port).map_err(|_| Rejection::new("port is above 65535")).at("source_address")?
            }
            _ => 0,
        };
        settings.source_address = Some(SocketAddr::new(ip, port));
    }
    Ok(())
}

/// Probes of idle connections.
pub fn tcp_keepalive(message: &TcpKeepalive) -> Keepalive {
    let seconds = |value: &UInt32Value| Duration::from_secs(value.value.into());
    Keepalive {
        probes: message.keepalive_probes.as_ref().map(|probes| probes.value),
        time: message.keepalive_time.as_ref().map(seconds),
        interval: message.keepalive_interval.as_ref().map(seconds),
    }
}
