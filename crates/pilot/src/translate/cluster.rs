//! Clusters as Envoy's Cluster.

use std::collections::HashMap;
use std::time::Duration;

use meltemi_xds::any;
use meltemi_xds::pb::envoy::config::cluster::v3 as envoy;
use meltemi_xds::pb::envoy::config::core::v3 as core;
use meltemi_xds::pb::envoy::extensions::clusters::dynamic_forward_proxy::v3 as dfp;
use meltemi_xds::pb::envoy::extensions::upstreams::http::v3 as http;
use meltemi_xds::pb::google::protobuf::{self, Any};

use super::endpoint;
use super::proto::{
    address, ads, dns_cache, duration, fields_of, istio_metadata, number, percent, percentage, structure,
    text, truth, uint32,
};
use crate::model::cluster::{
    Balancer, Cluster, Discovery, Keepalive, Origin, Outlier, Pool, Protocol, Warmup,
};

mod tls;

/// Key of the options of the HTTP codec in a cluster.
const HTTP_PROTOCOL_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// A cluster.
pub fn cluster(model: &Cluster) -> envoy::Cluster {
    let mut cluster = envoy::Cluster {
        name: model.name.clone(),
        alt_stat_name: model.stat_name.clone(),
        connect_timeout: Some(duration(model.connect_timeout)),
        circuit_breakers: Some(circuit_breakers(&model.pool)),
        typed_extension_protocol_options: protocol_options(model),
        outlier_detection: model.outlier.as_ref().map(outlier_detection),
        upstream_bind_config: model.source_address.as_deref().map(bind_config),
        upstream_connection_options: model.pool.keepalive.as_ref().map(connection_options),
        metadata: model.origin.as_ref().map(metadata),
        common_lb_config: common_lb_config(model),
        transport_socket: tls::transport_socket(model),
        ..Default::default()
    };
    set_discovery(&mut cluster, &model.discovery);
    set_balancer(&mut cluster, model.balancer);
    cluster
}

#[allow(deprecated, reason = "Envoy's cluster for DNS of its own is an extension that older clients lack")]
fn set_discovery(cluster: &mut envoy::Cluster, discovery: &Discovery) {
    use envoy::cluster::DiscoveryType as Type;
    let mut dns = |localities, refresh| {
        cluster.load_assignment = Some(endpoint::inline(&cluster.name, localities));
        cluster.dns_lookup_family = envoy::cluster::DnsLookupFamily::V4Only.into();
        cluster.dns_refresh_rate = Some(duration(refresh));
        cluster.respect_dns_ttl = true;
    };
    let kind = match discovery {
        Discovery::Eds => {
            cluster.eds_cluster_config = Some(envoy::cluster::EdsClusterConfig {
                eds_config: Some(ads()),
                service_name: cluster.name.clone(),
            });
            Type::Eds
        }
        Discovery::Static(localities) => {
            if !localities.is_empty() {
                cluster.load_assignment = Some(endpoint::inline(&cluster.name, localities));
            }
            Type::Static
        }
        Discovery::StrictDns(localities, refresh) => {
            dns(localities, *refresh);
            Type::StrictDns
        }
        Discovery::LogicalDns(localities, refresh) => {
            dns(localities, *refresh);
            Type::LogicalDns
        }
        Discovery::OriginalDestination => Type::OriginalDst,
        Discovery::Dynamic(refresh) => {
            cluster.cluster_discovery_type = Some(dynamic(*refresh));
            return;
        }
    };
    cluster.cluster_discovery_type = Some(envoy::cluster::ClusterDiscoveryType::Type(kind.into()));
}

/// Envoy resolves the names that requests ask for; the filters that do so share the cache by its name.
fn dynamic(refresh: Duration) -> envoy::cluster::ClusterDiscoveryType {
    use dfp::cluster_config::ClusterImplementationSpecifier;
    let config = dfp::ClusterConfig {
        cluster_implementation_specifier: Some(ClusterImplementationSpecifier::DnsCacheConfig(dns_cache(
            refresh,
        ))),
        // Names of certificates are checked as the rule says; Envoy would have us check that of the request.
        allow_insecure_cluster_options: true,
        ..Default::default()
    };
    envoy::cluster::ClusterDiscoveryType::ClusterType(envoy::cluster::CustomClusterType {
        name: "envoy.clusters.dynamic_forward_proxy".to_owned(),
        typed_config: Some(any(&config)),
    })
}

fn set_balancer(cluster: &mut envoy::Cluster, balancer: Balancer) {
    use envoy::cluster::{
        LbConfig, LbPolicy, LeastRequestLbConfig, MaglevLbConfig, RingHashLbConfig, RoundRobinLbConfig,
    };
    if matches!(cluster.cluster_discovery_type, Some(envoy::cluster::ClusterDiscoveryType::ClusterType(_))) {
        cluster.lb_policy = LbPolicy::ClusterProvided.into();
        return;
    }
    let policy = match balancer {
        Balancer::LeastRequest(warmup) => {
            cluster.lb_config = warmup.map(|warmup| {
                let slow_start_config = Some(slow_start(warmup));
                LbConfig::LeastRequestLbConfig(LeastRequestLbConfig {
                    slow_start_config,
                    ..Default::default()
                })
            });
            LbPolicy::LeastRequest
        }
        Balancer::RoundRobin(warmup) => {
            cluster.lb_config = warmup.map(|warmup| {
                let slow_start_config = Some(slow_start(warmup));
                LbConfig::RoundRobinLbConfig(RoundRobinLbConfig { slow_start_config })
            });
            LbPolicy::RoundRobin
        }
        Balancer::Random => LbPolicy::Random,
        Balancer::OriginalDestination => LbPolicy::ClusterProvided,
        Balancer::RingHash(size) => {
            let minimum_ring_size = Some(protobuf::UInt64Value { value: size });
            let config = RingHashLbConfig { minimum_ring_size, ..Default::default() };
            cluster.lb_config = Some(LbConfig::RingHashLbConfig(config));
            LbPolicy::RingHash
        }
        Balancer::Maglev(size) => {
            let table_size = Some(protobuf::UInt64Value { value: size });
            cluster.lb_config = Some(LbConfig::MaglevLbConfig(MaglevLbConfig { table_size }));
            LbPolicy::Maglev
        }
    };
    cluster.lb_policy = policy.into();
}

fn slow_start(warmup: Warmup) -> envoy::cluster::SlowStartConfig {
    envoy::cluster::SlowStartConfig {
        slow_start_window: Some(duration(warmup.window)),
        aggression: warmup.curve.map(|(aggression, _)| core::RuntimeDouble {
            default_value: aggression.get(),
            ..Default::default()
        }),
        min_weight_percent: warmup.curve.map(|(_, least)| percentage(least.get())),
    }
}

/// The panic threshold: outlier detection's, else none where endpoints come with their health, so that those that are not
/// ready get no traffic even when none is (SEM-063, SEM-154); elsewhere Envoy's.
fn common_lb_config(model: &Cluster) -> Option<envoy::cluster::CommonLbConfig> {
    use envoy::cluster::common_lb_config::{
        LocalityConfigSpecifier, LocalityWeightedLbConfig, ZoneAwareLbConfig,
    };
    let threshold = match &model.outlier {
        Some(outlier) => Some(outlier.min_health),
        None if model.tells_health => Some(0),
        None => None,
    };
    let zone_aware = model.zone_aware.map(|least| {
        LocalityConfigSpecifier::ZoneAwareLbConfig(ZoneAwareLbConfig {
            routing_enabled: Some(percent(100)),
            min_cluster_size: least.map(|value| protobuf::UInt64Value { value }),
            ..Default::default()
        })
    });
    if threshold.is_none() && !model.locality_weighted && zone_aware.is_none() {
        return None;
    }
    Some(envoy::cluster::CommonLbConfig {
        healthy_panic_threshold: threshold.map(percent),
        locality_config_specifier: zone_aware.or_else(|| {
            let weighted = LocalityConfigSpecifier::LocalityWeightedLbConfig(LocalityWeightedLbConfig {});
            model.locality_weighted.then_some(weighted)
        }),
        ..Default::default()
    })
}

fn circuit_breakers(pool: &Pool) -> envoy::CircuitBreakers {
    let thresholds = envoy::circuit_breakers::Thresholds {
        max_connections: Some(uint32(pool.max_connections)),
        max_pending_requests: Some(uint32(pool.max_pending_requests)),
        max_requests: Some(uint32(pool.max_requests)),
        max_retries: Some(uint32(pool.max_retries)),
        track_remaining: true,
        retry_budget: pool.retry_budget.map(|budget| envoy::circuit_breakers::thresholds::RetryBudget {
            budget_percent: Some(percentage(budget.share.get())),
            min_retry_concurrency: Some(uint32(budget.least)),
            budget_interval: budget.interval.map(duration),
        }),
        ..Default::default()
    };
    envoy::CircuitBreakers { thresholds: vec![thresholds], ..Default::default() }
}

/// Options of the codec, if anything differs from Envoy's own defaults.
fn protocol_options(model: &Cluster) -> HashMap<String, Any> {
    let common = common_options(&model.pool);
    let by_request = tls::names_by_request(model);
    if model.protocol == Protocol::Http1 && common.is_none() && by_request.is_none() && !model.preserve_case {
        return HashMap::new();
    }
    let options = http::HttpProtocolOptions {
        common_http_protocol_options: common,
        upstream_protocol_options: Some(upstream_protocol(model)),
        upstream_http_protocol_options: by_request,
        ..Default::default()
    };
    HashMap::from([(HTTP_PROTOCOL_OPTIONS.to_owned(), any(&options))])
}

fn common_options(pool: &Pool) -> Option<core::HttpProtocolOptions> {
    let unset = pool.max_requests_per_connection == 0
        && pool.idle_timeout.is_none()
        && pool.max_connection_duration.is_none();
    if unset {
        return None;
    }
    let max_requests =
        (pool.max_requests_per_connection > 0).then(|| uint32(pool.max_requests_per_connection));
    Some(core::HttpProtocolOptions {
        idle_timeout: pool.idle_timeout.map(duration),
        max_connection_duration: pool.max_connection_duration.map(duration),
        max_requests_per_connection: max_requests,
        ..Default::default()
    })
}

fn upstream_protocol(model: &Cluster) -> http::http_protocol_options::UpstreamProtocolOptions {
    use http::http_protocol_options::explicit_http_config::ProtocolConfig;
    use http::http_protocol_options::{ExplicitHttpConfig, UpstreamProtocolOptions, UseDownstreamHttpConfig};
    let streams = model.pool.max_concurrent_streams;
    let http2 = core::Http2ProtocolOptions {
        max_concurrent_streams: (streams > 0).then(|| uint32(streams)),
        connection_keepalive: model.pool.http2_keepalive.map(|(interval, timeout)| core::KeepaliveSettings {
            interval: interval.map(duration),
            timeout: timeout.map(duration),
            ..Default::default()
        }),
        ..Default::default()
    };
    let http1 = || super::proto::http1_options(false, model.preserve_case);
    let explicit = |config| {
        UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig { protocol_config: Some(config) })
    };
    match model.protocol {
        Protocol::Http1 => explicit(ProtocolConfig::HttpProtocolOptions(http1())),
        Protocol::Http2 => explicit(ProtocolConfig::Http2ProtocolOptions(http2)),
        Protocol::Downstream => {
            UpstreamProtocolOptions::UseDownstreamProtocolConfig(UseDownstreamHttpConfig {
                http_protocol_options: Some(http1()),
                http2_protocol_options: Some(http2),
                ..Default::default()
            })
        }
    }
}

fn outlier_detection(model: &Outlier) -> envoy::OutlierDetection {
    let mut detection = envoy::OutlierDetection {
        interval: model.interval.map(duration),
        base_ejection_time: model.base_ejection.map(duration),
        max_ejection_percent: model.max_ejection.map(uint32),
        enforcing_success_rate: Some(uint32(0)),
        split_external_local_origin_errors: model.split_local,
        ..Default::default()
    };
    let enforce = |errors: u32| Some(uint32(if errors > 0 { 100 } else { 0 }));
    if let Some(errors) = model.consecutive_5xx {
        detection.consecutive_5xx = Some(uint32(errors));
        detection.enforcing_consecutive_5xx = enforce(errors);
    }
    if let Some(errors) = model.consecutive_gateway {
        detection.consecutive_gateway_failure = Some(uint32(errors));
        detection.enforcing_consecutive_gateway_failure = enforce(errors);
    }
    if let Some(errors) = model.consecutive_local.filter(|_| model.split_local) {
        detection.consecutive_local_origin_failure = Some(uint32(errors));
        detection.enforcing_consecutive_local_origin_failure = enforce(errors);
    }
    detection
}

fn bind_config(source: &str) -> core::BindConfig {
    let source = address(source, 0);
    let source_address = match source.address {
        Some(core::address::Address::SocketAddress(socket)) => Some(socket),
        _ => None,
    };
    core::BindConfig { source_address, ..Default::default() }
}

fn connection_options(keepalive: &Keepalive) -> envoy::UpstreamConnectionOptions {
    envoy::UpstreamConnectionOptions {
        tcp_keepalive: Some(core::TcpKeepalive {
            keepalive_probes: keepalive.probes.map(uint32),
            keepalive_time: keepalive.time.map(uint32),
            keepalive_interval: keepalive.interval.map(uint32),
        }),
        ..Default::default()
    }
}

fn metadata(origin: &Origin) -> core::Metadata {
    let service = structure([
        ("host", text(&origin.host)),
        ("name", text(&origin.name)),
        ("namespace", text(&origin.namespace)),
    ]);
    let services = protobuf::ListValue { values: vec![service] };
    let services = protobuf::Value { kind: Some(protobuf::value::Kind::ListValue(services)) };
    let mut fields = vec![("services", services), ("default_original_port", number(origin.port))];
    if origin.external {
        fields.push(("external", truth(true)));
    }
    if let Some(rule) = &origin.rule {
        fields.push(("config", text(rule)));
    }
    if !origin.subset.is_empty() {
        fields.push(("subset", text(&origin.subset)));
    }
    istio_metadata(fields_of(fields))
}

/// Whether a cluster's endpoints are sent apart.
pub fn is_eds(model: &Cluster) -> bool {
    model.discovery == Discovery::Eds
}
