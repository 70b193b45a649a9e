//! `Cluster`: settings with Envoy's defaults, and where the endpoints come from.

use std::{sync::Arc, time::Duration};

use meltemi_xds::pb::{
    envoy::{
        config::{
            cluster::v3::{
                CircuitBreakers, Cluster as Message, LoadBalancingPolicy, OutlierDetection,
                cluster::{
                    ClusterDiscoveryType, ClusterProtocolSelection, CommonLbConfig, DiscoveryType, LbConfig,
                    LbPolicy, RingHashLbConfig, common_lb_config::LocalityConfigSpecifier,
                    ring_hash_lb_config::HashFunction as RingFunction,
                },
            },
            core::v3::{BindConfig, Http2ProtocolOptions, RuntimeDouble, TcpKeepalive},
        },
        extensions::{
            load_balancing_policies::{
                cluster_provided::v3::ClusterProvided,
                common::v3::{
                    ConsistentHashingLbConfig, LocalityLbConfig, SlowStartConfig,
                    locality_lb_config::LocalityConfigSpecifier as TypedLocality,
                },
                least_request::v3::LeastRequest,
                maglev::v3::Maglev,
                random::v3::Random,
                ring_hash::v3::{RingHash, ring_hash::HashFunction as TypedRingFunction},
                round_robin::v3::RoundRobin,
                wrr_locality::v3::WrrLocality,
            },
            upstreams::http::v3::{
                HttpProtocolOptions,
                http_protocol_options::{UpstreamProtocolOptions, explicit_http_config::ProtocolConfig},
            },
        },
        r#type::v3::Percent,
    },
    google::protobuf::{Duration as DurationMessage, UInt32Value, UInt64Value},
};
use prost::Name;

use super::{
    At, Context, Rejection, dynamic,
    endpoint::{self, Assignment, HostTarget, Hosts},
    fields, hcm, listener, refuse,
};
use crate::cluster::{
    Address, BalancerPolicy, ClusterSettings, Consistent, DynamicForward, Keepalive, SlowStart,
    UpstreamProtocol, dns::Family, outlier,
};

/// The key of HTTP options among the typed ones.
const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

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
    /// Where endpoints come from.
    pub discovery: Discovery,
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
    let mut settings = ClusterSettings {
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
    protocol(message, &mut settings, context)?;
    balancer(message, &mut settings, context)?;
    if let Some(breakers) = &message.circuit_breakers {
        limits(breakers, &mut settings, context);
    }
    if let Some(common) = &message.common_lb_config {
        common_lb(common, &mut settings, context).at("common_lb_config")?;
    }
    if let Some(detection) = &message.outlier_detection {
        settings.outlier = Some(Box::new(outlier(detection).at("outlier_detection")?));
    }
    if let Some(bind) = &message.upstream_bind_config {
        bind_config(bind, &mut settings).at("upstream_bind_config")?;
    }
    let keepalive =
        message.upstream_connection_options.as_ref().and_then(|options| options.tcp_keepalive.as_ref());
    settings.keepalive = keepalive.map(tcp_keepalive);
    let stat_name = if message.alt_stat_name.is_empty() { &message.name } else { &message.alt_stat_name };
    Ok(Compiled {
        name: context.intern(&message.name),
        stat_name: context.intern(stat_name),
        origin: fields::origin(message.metadata.as_ref()).map(|config| context.intern(config)),
        settings: context.settings(settings),
        discovery,
    })
}

fn refuse_unsupported(message: &Message) -> Result<(), Rejection> {
    if let Some(socket) = &message.transport_socket {
        listener::transport_socket(socket).at("transport_socket")?;
    }
    for (at, candidate) in message.transport_socket_matches.iter().enumerate() {
        let socket = candidate.transport_socket.as_ref().map_or(Ok(()), listener::transport_socket);
        socket.at("transport_socket").at_index("transport_socket_matches", at)?;
    }
    let subset = message.lb_subset_config.as_ref().is_some_and(|config| !config.subset_selectors.is_empty());
    fields::unsupported(message.transport_socket_matcher.is_some(), "transport_socket_matcher")?;
    fields::unsupported(subset, "lb_subset_config")?;
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
        (!message.health_checks.is_empty(), "health_checks: no active health checks are made"),
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

fn protocol(
    message: &Message,
    settings: &mut ClusterSettings,
    context: &mut Context,
) -> Result<(), Rejection> {
    let mut common = message.common_http_protocol_options;
    if let Some(options) = &message.http2_protocol_options {
        settings.protocol = UpstreamProtocol::Http2;
        settings.http2 = hcm::http2(Some(options), context).at("http2_protocol_options")?;
    }
    if message.protocol_selection == ClusterProtocolSelection::UseDownstreamProtocol as i32 {
        settings.protocol = UpstreamProtocol::Downstream;
    }
    if message.http_protocol_options.as_ref().is_some_and(|options| options.header_key_format.is_some()) {
        context.note("http_protocol_options.header_key_format: names go out as they came in");
    }
    let mut names: Vec<_> = message.typed_extension_protocol_options.keys().collect();
    names.sort_unstable();
    for name in names {
        let field = format!("typed_extension_protocol_options[\"{name}\"]");
        if name != HTTP_OPTIONS {
            return refuse(format!("unknown protocol options '{name}'")).at(&field);
        }
        let Some(config) = message.typed_extension_protocol_options.get(name) else { continue };
        let options: HttpProtocolOptions = fields::unpack(config).at(&field)?;
        settings.protocol = http_options(&options, context).at(&field)?;
        settings.http2 =
            hcm::http2(http2_options(&options), context).at("http2_protocol_options").at(&field)?;
        common = options.common_http_protocol_options.or(common);
    }
    let common = hcm::common(common.as_ref()).at("common_http_protocol_options")?;
    settings.idle_timeout = common.idle_timeout;
    settings.max_connection_duration = common.max_connection_duration;
    let older = fields::number(message.max_requests_per_connection.as_ref(), 0);
    settings.max_requests_per_connection = match common.max_requests_per_connection {
        0 => older,
        limit => limit,
    };
    Ok(())
}

/// `http2_protocol_options`, wherever the protocol's choice puts them.
fn http2_options(options: &HttpProtocolOptions) -> Option<&Http2ProtocolOptions> {
    match options.upstream_protocol_options.as_ref()? {
        UpstreamProtocolOptions::ExplicitHttpConfig(explicit) => match &explicit.protocol_config {
            Some(ProtocolConfig::Http2ProtocolOptions(options)) => Some(options),
            _ => None,
        },
        UpstreamProtocolOptions::UseDownstreamProtocolConfig(config) => {
            config.http2_protocol_options.as_ref()
        }
        UpstreamProtocolOptions::AutoConfig(config) => config.http2_protocol_options.as_ref(),
    }
}

fn http_options(options: &HttpProtocolOptions, context: &mut Context) -> Result<UpstreamProtocol, Rejection> {
    if let Some(filter) = options.http_filters.iter().find(|filter| !filter.name.ends_with("upstream_codec"))
    {
        return refuse(format!("unknown HTTP filter '{}'", filter.name)).at("http_filters");
    }
    fields::unsupported(options.header_validation_config.is_some(), "header_validation_config")?;
    fields::unsupported(!options.request_mirror_policies.is_empty(), "request_mirror_policies")?;
    fields::unsupported(options.retry_policy.is_some(), "retry_policy")?;
    if options.outlier_detection.is_some() {
        context.note("outlier_detection: hosts are not ejected");
    }
    match &options.upstream_protocol_options {
        Some(UpstreamProtocolOptions::ExplicitHttpConfig(explicit)) => match &explicit.protocol_config {
            Some(ProtocolConfig::Http2ProtocolOptions(_)) => Ok(UpstreamProtocol::Http2),
            Some(ProtocolConfig::Http3ProtocolOptions(_)) => {
                refuse("HTTP/3 is not supported").at("explicit_http_config.http3_protocol_options")
            }
            Some(ProtocolConfig::HttpProtocolOptions(_)) | None => Ok(UpstreamProtocol::Http1),
        },
        Some(UpstreamProtocolOptions::UseDownstreamProtocolConfig(_)) => Ok(UpstreamProtocol::Downstream),
        Some(UpstreamProtocolOptions::AutoConfig(_)) => {
            refuse("needs ALPN, which comes with TLS").at("auto_config")
        }
        None => refuse("an upstream protocol is required").at("upstream_protocol_options"),
    }
}

fn balancer(
    message: &Message,
    settings: &mut ClusterSettings,
    context: &mut Context,
) -> Result<(), Rejection> {
    if let Some(policy) = &message.load_balancing_policy {
        settings.balancer = typed_policy(policy, settings, context).at("load_balancing_policy")?;
    } else {
        settings.balancer = match LbPolicy::try_from(message.lb_policy) {
            Ok(LbPolicy::RoundRobin) => BalancerPolicy::RoundRobin,
            Ok(LbPolicy::Random) => BalancerPolicy::Random,
            Ok(LbPolicy::LeastRequest) => BalancerPolicy::LeastRequest { choices: 2 },
            Ok(LbPolicy::ClusterProvided) => BalancerPolicy::ClusterProvided,
            Ok(LbPolicy::RingHash) => {
                let config = match &message.lb_config {
                    Some(LbConfig::RingHashLbConfig(config)) => *config,
                    _ => RingHashLbConfig::default(),
                };
                let murmur = config.hash_function == RingFunction::MurmurHash2 as i32;
                let sizes = (config.minimum_ring_size.as_ref(), config.maximum_ring_size.as_ref());
                ring(sizes, murmur, hostnames(message)?).at("ring_hash_lb_config")?
            }
            Ok(LbPolicy::Maglev) => {
                let size = match &message.lb_config {
                    Some(LbConfig::MaglevLbConfig(config)) => config.table_size.as_ref(),
                    _ => None,
                };
                maglev(size, hostnames(message)?).at("maglev_lb_config")?
            }
            Ok(policy) => {
                return refuse(format!("{} is not supported", policy.as_str_name())).at("lb_policy");
            }
            Err(_) => return fields::unknown_enum("lb_policy", message.lb_policy),
        };
    }
    let brings_one = settings.original_dst || settings.dynamic.is_some();
    if settings.balancer == BalancerPolicy::ClusterProvided && !brings_one {
        return refuse("CLUSTER_PROVIDED is for clusters that bring their own balancer").at("lb_policy");
    }
    match &message.lb_config {
        Some(LbConfig::LeastRequestLbConfig(config)) => {
            if config.active_request_bias.is_some() {
                context.note("least_request_lb_config: the request bias is not in effect");
            }
            settings.slow_start = config
                .slow_start_config
                .as_ref()
                .map(|slow| {
                    slow_start(
                        slow.slow_start_window.as_ref(),
                        slow.aggression.as_ref(),
                        slow.min_weight_percent.as_ref(),
                    )
                })
                .transpose()
                .at("least_request_lb_config.slow_start_config")?;
            if let BalancerPolicy::LeastRequest { choices } = &mut settings.balancer {
                *choices = fields::number(config.choice_count.as_ref(), 2).max(2);
            }
        }
        Some(LbConfig::RoundRobinLbConfig(config)) => {
            settings.slow_start = config
                .slow_start_config
                .as_ref()
                .map(|slow| {
                    slow_start(
                        slow.slow_start_window.as_ref(),
                        slow.aggression.as_ref(),
                        slow.min_weight_percent.as_ref(),
                    )
                })
                .transpose()
                .at("round_robin_lb_config.slow_start_config")?;
        }
        Some(LbConfig::OriginalDstLbConfig(config)) => {
            fields::unsupported(config.use_http_header, "original_dst_lb_config.use_http_header")?;
            fields::unsupported(config.metadata_key.is_some(), "original_dst_lb_config.metadata_key")?;
            let port =
                config.upstream_port_override.as_ref().map(|port| u16::try_from(port.value)).transpose();
            settings.original_dst_port = port
                .map_err(|_| Rejection::new("port is above 65535"))
                .at("original_dst_lb_config.upstream_port_override")?;
        }
        _ => {}
    }
    Ok(())
}

/// The first policy that is known here, as Envoy picks it.
fn typed_policy(
    message: &LoadBalancingPolicy,
    settings: &mut ClusterSettings,
    context: &mut Context,
) -> Result<BalancerPolicy, Rejection> {
    let mut unknown = Vec::new();
    for policy in &message.policies {
        let Some(extension) = &policy.typed_extension_config else { continue };
        let Some(config) = &extension.typed_config else { continue };
        let url = config.type_url.as_str();
        if url == RoundRobin::type_url() {
            let config: RoundRobin = fields::unpack(config)?;
            locality(config.locality_lb_config.as_ref(), settings, context);
            typed_slow_start(config.slow_start_config.as_ref(), settings)?;
            return Ok(BalancerPolicy::RoundRobin);
        } else if url == RingHash::type_url() {
            let config: RingHash = fields::unpack(config)?;
            return typed_ring(&config, settings);
        } else if url == Maglev::type_url() {
            let config: Maglev = fields::unpack(config)?;
            settings.locality_weighted |= config.locality_weighted_lb_config.is_some();
            let hostname = consistent(config.consistent_hashing_lb_config.as_ref())?;
            return maglev(config.table_size.as_ref(), hostname);
        } else if url == Random::type_url() {
            return Ok(BalancerPolicy::Random);
        } else if url == ClusterProvided::type_url() {
            return Ok(BalancerPolicy::ClusterProvided);
        } else if url == LeastRequest::type_url() {
            let config: LeastRequest = fields::unpack(config)?;
            if config.active_request_bias.is_some() || config.selection_method != 0 {
                context.note("least_request: request bias and full scan are not in effect");
            }
            locality(config.locality_lb_config.as_ref(), settings, context);
            typed_slow_start(config.slow_start_config.as_ref(), settings)?;
            let choices = fields::number(config.choice_count.as_ref(), 2).max(2);
            return Ok(BalancerPolicy::LeastRequest { choices });
        } else if url == WrrLocality::type_url() {
            settings.locality_weighted = true;
            let config: WrrLocality = fields::unpack(config)?;
            return match &config.endpoint_picking_policy {
                // One level: a locality policy inside a locality policy means nothing.
                Some(inner) if inner.policies.iter().all(|p| !is_wrr(p)) => {
                    typed_policy(inner, settings, context)
                }
                _ => refuse("value is required").at("endpoint_picking_policy"),
            };
        }
        unknown.push(extension.name.as_str());
    }
    refuse(format!("no supported policy among: {}", unknown.join(", ")))
}

fn typed_ring(config: &RingHash, settings: &mut ClusterSettings) -> Result<BalancerPolicy, Rejection> {
    settings.locality_weighted |= config.locality_weighted_lb_config.is_some();
    let hostname = match &config.consistent_hashing_lb_config {
        Some(common) => consistent(Some(common))?,
        None => {
            let balanced = config.hash_balance_factor.as_ref();
            fields::unsupported(balanced.is_some_and(|factor| factor.value != 0), "hash_balance_factor")?;
            config.use_hostname_for_hashing
        }
    };
    let murmur = config.hash_function == TypedRingFunction::MurmurHash2 as i32;
    ring((config.minimum_ring_size.as_ref(), config.maximum_ring_size.as_ref()), murmur, hostname)
}

/// `use_hostname_for_hashing` of typed policies.
fn consistent(config: Option<&ConsistentHashingLbConfig>) -> Result<bool, Rejection> {
    let Some(config) = config else { return Ok(false) };
    let balanced = config.hash_balance_factor.as_ref().is_some_and(|factor| factor.value != 0);
    fields::unsupported(balanced, "consistent_hashing_lb_config.hash_balance_factor")?;
    fields::unsupported(!config.hash_policy.is_empty(), "consistent_hashing_lb_config.hash_policy")?;
    Ok(config.use_hostname_for_hashing)
}

/// `use_hostname_for_hashing` of the cluster.
fn hostnames(message: &Message) -> Result<bool, Rejection> {
    let common = message.common_lb_config.as_ref();
    let Some(config) = common.and_then(|common| common.consistent_hashing_lb_config.as_ref()) else {
        return Ok(false);
    };
    let balanced = config.hash_balance_factor.as_ref().is_some_and(|factor| factor.value != 0);
    fields::unsupported(balanced, "common_lb_config.consistent_hashing_lb_config.hash_balance_factor")?;
    Ok(config.use_hostname_for_hashing)
}

/// Envoy's largest ring.
const MAX_RING: u64 = 8 << 20;
/// Envoy's largest Maglev table.
const MAX_MAGLEV: u64 = 5_000_011;

fn ring(
    (min, max): (Option<&UInt64Value>, Option<&UInt64Value>),
    murmur: bool,
    hostname: bool,
) -> Result<BalancerPolicy, Rejection> {
    let size = |value: Option<&UInt64Value>, default, field| match value.map_or(default, |value| value.value)
    {
        size @ 0..=MAX_RING => Ok(size as u32),
        _ => refuse(format!("value must be less than or equal to {MAX_RING}")).at(field),
    };
    let (min, max) = (size(min, 1024, "minimum_ring_size")?, size(max, MAX_RING, "maximum_ring_size")?);
    if min > max {
        return refuse(format!("ring hash: minimum_ring_size ({min}) > maximum_ring_size ({max})"));
    }
    Ok(BalancerPolicy::Consistent(Consistent::Ring { min, max, murmur, hostname }))
}

fn maglev(size: Option<&UInt64Value>, hostname: bool) -> Result<BalancerPolicy, Rejection> {
    let size = size.map_or(65_537, |size| size.value);
    if size > MAX_MAGLEV {
        return refuse(format!("value must be less than or equal to {MAX_MAGLEV}")).at("table_size");
    }
    let is_prime = size >= 2 && (2u64..).take_while(|n| n * n <= size).all(|n| !size.is_multiple_of(n));
    match is_prime {
        true => Ok(BalancerPolicy::Consistent(Consistent::Maglev { size: size as u32, hostname })),
        false => refuse("The table size of maglev must be prime number").at("table_size"),
    }
}

fn slow_start(
    window: Option<&DurationMessage>,
    aggression: Option<&RuntimeDouble>,
    least: Option<&Percent>,
) -> Result<SlowStart, Rejection> {
    let window = fields::optional(window, "slow_start_window")?.unwrap_or_default();
    let aggression = aggression.map_or(1.0, |aggression| aggression.default_value);
    if aggression <= 0.0 || !aggression.is_finite() {
        return refuse("value must be greater than 0").at("aggression.default_value");
    }
    let least = least.map_or(10.0, |least| least.value);
    if !(0.0..=100.0).contains(&least) {
        return refuse(format!("{least} is not between 0 and 100")).at("min_weight_percent");
    }
    let aggression = (aggression * 1000.0).clamp(1.0, 1e9) as u32;
    Ok(SlowStart { window, aggression, least: (least * 100.0) as u32 })
}

fn typed_slow_start(
    config: Option<&SlowStartConfig>,
    settings: &mut ClusterSettings,
) -> Result<(), Rejection> {
    let Some(slow) = config else { return Ok(()) };
    let aggression = slow.aggression.as_ref();
    let slow = slow_start(slow.slow_start_window.as_ref(), aggression, slow.min_weight_percent.as_ref());
    settings.slow_start = Some(slow.at("slow_start_config")?);
    Ok(())
}

/// What a typed policy says of localities.
fn locality(config: Option<&LocalityLbConfig>, settings: &mut ClusterSettings, context: &mut Context) {
    match config.and_then(|config| config.locality_config_specifier.as_ref()) {
        Some(TypedLocality::LocalityWeightedLbConfig(_)) => settings.locality_weighted = true,
        Some(TypedLocality::ZoneAwareLbConfig(_)) => context.note("zone_aware_lb_config: not in effect"),
        None => {}
    }
}

fn is_wrr(policy: &meltemi_xds::pb::envoy::config::cluster::v3::load_balancing_policy::Policy) -> bool {
    let config = policy.typed_extension_config.as_ref().and_then(|extension| extension.typed_config.as_ref());
    config.is_some_and(|config| config.type_url == WrrLocality::type_url())
}

fn limits(breakers: &CircuitBreakers, settings: &mut ClusterSettings, context: &mut Context) {
    for threshold in &breakers.thresholds {
        // DEFAULT is 0.
        if threshold.priority != 0 {
            context.note("circuit_breakers.thresholds of priority HIGH: those of DEFAULT count for all");
            continue;
        }
        let limits = &mut settings.limits;
        limits.connections = fields::number(threshold.max_connections.as_ref(), limits.connections);
        limits.pending_requests =
            fields::number(threshold.max_pending_requests.as_ref(), limits.pending_requests);
        limits.requests = fields::number(threshold.max_requests.as_ref(), limits.requests);
        limits.retries = fields::number(threshold.max_retries.as_ref(), limits.retries);
        limits.retry_budget = threshold.retry_budget.as_ref().map(|budget| {
            let percent = budget.budget_percent.map_or(20.0, |percent| percent.value).clamp(0.0, 100.0);
            ((percent * 100.0) as u32, fields::number(budget.min_retry_concurrency.as_ref(), 3))
        });
    }
    if !breakers.per_host_thresholds.is_empty() {
        context.note("circuit_breakers.per_host_thresholds: not in effect");
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
    if message.close_connections_on_host_set_change {
        context.note("close_connections_on_host_set_change: connections stay open");
    }
    Ok(())
}

fn outlier(message: &OutlierDetection) -> Result<outlier::Settings, Rejection> {
    fields::unsupported(!message.monitors.is_empty(), "monitors")?;
    fields::unsupported(
        fields::flag(message.detect_degraded_hosts.as_ref(), false),
        "detect_degraded_hosts",
    )?;
    let own = outlier::Settings::default();
    let number = |value: Option<&UInt32Value>, default| fields::number(value, default);
    let time = |value, field, default| Ok::<_, Rejection>(fields::optional(value, field)?.unwrap_or(default));
    let base = time(message.base_ejection_time.as_ref(), "base_ejection_time", own.base_ejection_time)?;
    let max = time(message.max_ejection_time.as_ref(), "max_ejection_time", own.max_ejection_time.max(base))?;
    if max < base {
        return refuse("outlier detector's max_ejection_time cannot be smaller than base_ejection_time");
    }
    let pair = |a: Option<&UInt32Value>, b: Option<&UInt32Value>, default: (u32, u32)| {
        (number(a, default.0), number(b, default.1))
    };
    Ok(outlier::Settings {
        interval: time(message.interval.as_ref(), "interval", own.interval)?,
        base_ejection_time: base,
        max_ejection_time: max,
        jitter: time(message.max_ejection_time_jitter.as_ref(), "max_ejection_time_jitter", own.jitter)?,
        consecutive_5xx: pair(
            message.consecutive_5xx.as_ref(),
            message.enforcing_consecutive_5xx.as_ref(),
            own.consecutive_5xx,
        ),
        consecutive_gateway: pair(
            message.consecutive_gateway_failure.as_ref(),
            message.enforcing_consecutive_gateway_failure.as_ref(),
            own.consecutive_gateway,
        ),
        consecutive_local: pair(
            message.consecutive_local_origin_failure.as_ref(),
            message.enforcing_consecutive_local_origin_failure.as_ref(),
            own.consecutive_local,
        ),
        max_ejection_percent: number(message.max_ejection_percent.as_ref(), own.max_ejection_percent),
        always_one: fields::flag(message.always_eject_one_host.as_ref(), false),
        split: message.split_external_local_origin_errors,
        success_rate: pair(
            message.success_rate_minimum_hosts.as_ref(),
            message.success_rate_request_volume.as_ref(),
            own.success_rate,
        ),
        stdev_factor: number(message.success_rate_stdev_factor.as_ref(), own.stdev_factor),
        enforcing_success_rate: pair(
            message.enforcing_success_rate.as_ref(),
            message.enforcing_local_origin_success_rate.as_ref(),
            own.enforcing_success_rate,
        ),
        failure_percentage: pair(
            message.failure_percentage_minimum_hosts.as_ref(),
            message.failure_percentage_request_volume.as_ref(),
            own.failure_percentage,
        ),
        failure_threshold: number(message.failure_percentage_threshold.as_ref(), own.failure_threshold),
        enforcing_failure_percentage: pair(
            message.enforcing_failure_percentage.as_ref(),
            message.enforcing_failure_percentage_local_origin.as_ref(),
            own.enforcing_failure_percentage,
        ),
    })
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
            Some(meltemi_xds::pb::envoy::config::core::v3::socket_address::PortSpecifier::PortValue(
                port,
            )) => {
                u16::try_from(port).map_err(|_| Rejection::new("port is above 65535")).at("source_address")?
            }
            _ => 0,
        };
        settings.source_address = Some(std::net::SocketAddr::new(ip, port));
    }
    Ok(())
}

fn tcp_keepalive(message: &TcpKeepalive) -> Keepalive {
    let seconds =
        |value: &meltemi_xds::pb::google::protobuf::UInt32Value| Duration::from_secs(value.value.into());
    Keepalive {
        probes: message.keepalive_probes.as_ref().map(|probes| probes.value),
        time: message.keepalive_time.as_ref().map(seconds),
        interval: message.keepalive_interval.as_ref().map(seconds),
    }
}
