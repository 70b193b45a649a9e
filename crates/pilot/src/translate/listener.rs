//! Listeners as Envoy's Listener.

use meltemi_xds::any;
use meltemi_xds::pb::envoy::config::core::v3 as core;
use meltemi_xds::pb::envoy::config::listener::v3 as envoy;
use meltemi_xds::pb::envoy::extensions::filters::listener::{
    http_inspector::v3::HttpInspector, original_dst::v3::OriginalDst, proxy_protocol::v3::ProxyProtocol,
    tls_inspector::v3::TlsInspector,
};
use meltemi_xds::pb::envoy::extensions::filters::network::sni_dynamic_forward_proxy::v3 as sni;
use meltemi_xds::pb::envoy::extensions::filters::network::tcp_proxy::v3 as tcp;
use meltemi_xds::pb::envoy::r#type::v3 as kind;
use meltemi_xds::pb::google::protobuf::Any;

use super::proto::{address, bool_value, dns_cache, duration, origin_metadata, uint32};
use crate::model::listener::{Condition, Direction, FilterChain, Listener, Tcp, Terminal};

mod access_log;
mod http;

/// A listener.
pub fn listener(model: &Listener) -> envoy::Listener {
    let direction = match model.direction {
        Direction::Inbound => core::TrafficDirection::Inbound,
        Direction::Outbound => core::TrafficDirection::Outbound,
    };
    envoy::Listener {
        name: model.name.clone(),
        address: Some(address(&model.address, model.port)),
        traffic_direction: direction.into(),
        bind_to_port: (!model.bind_to_port).then(|| bool_value(false)),
        use_original_dst: model.use_original_dst.then(|| bool_value(true)),
        transparent: model.transparent.then(|| bool_value(true)),
        listener_filters: listener_filters(model),
        listener_filters_timeout: model.detection_timeout.map(duration),
        continue_on_listener_filters_timeout: model.continue_on_timeout,
        filter_chains: model.chains.iter().map(filter_chain).collect(),
        default_filter_chain: model.default_chain.as_ref().map(filter_chain),
        access_log: access_log::listener(&model.access_log),
        ..Default::default()
    }
}

/// The listener of a gRPC client's target: nothing listens, it only leads to a table.
pub fn api_listener(name: &str, route: &str) -> envoy::Listener {
    envoy::Listener {
        name: name.to_owned(),
        api_listener: Some(envoy::ApiListener { api_listener: Some(any(&http::api_manager(route))) }),
        ..Default::default()
    }
}

fn listener_filters(model: &Listener) -> Vec<envoy::ListenerFilter> {
    let filter = |name: &str, config: Any| envoy::ListenerFilter {
        name: name.to_owned(),
        config_type: Some(envoy::listener_filter::ConfigType::TypedConfig(config)),
        ..Default::default()
    };
    let inspector = |name: &str, config: Any| envoy::ListenerFilter {
        filter_disabled: to_ports(&model.uninspected),
        ..filter(name, config)
    };
    let mut filters = Vec::new();
    if model.proxy_protocol {
        filters.push(filter("envoy.filters.listener.proxy_protocol", any(&ProxyProtocol::default())));
    }
    if model.original_dst_filter {
        filters.push(filter("envoy.filters.listener.original_dst", any(&OriginalDst::default())));
    }
    if model.tls_inspector {
        filters.push(inspector("envoy.filters.listener.tls_inspector", any(&TlsInspector::default())));
    }
    if model.http_inspector {
        filters.push(inspector("envoy.filters.listener.http_inspector", any(&HttpInspector::default())));
    }
    filters
}

/// Connections to any of these ports.
fn to_ports(ports: &[u32]) -> Option<envoy::ListenerFilterChainMatchPredicate> {
    use envoy::listener_filter_chain_match_predicate::{MatchSet, Rule};
    let predicate = |rule| envoy::ListenerFilterChainMatchPredicate { rule: Some(rule) };
    let to_port = |port: &u32| {
        let (start, end) = (*port, port.saturating_add(1));
        let range = kind::Int32Range { start: start.cast_signed(), end: end.cast_signed() };
        predicate(Rule::DestinationPortRange(range))
    };
    match ports {
        [] => None,
        [one] => Some(to_port(one)),
        many => Some(predicate(Rule::OrMatch(MatchSet { rules: many.iter().map(to_port).collect() }))),
    }
}

fn filter_chain(model: &FilterChain) -> envoy::FilterChain {
    let filters = match &model.terminal {
        Terminal::Http(http) => vec![network_filter(
            "envoy.filters.network.http_connection_manager",
            any(&http::connection_manager(http)),
        )],
        Terminal::Tcp(tcp) => {
            let proxy = network_filter("envoy.filters.network.tcp_proxy", any(&tcp_proxy(tcp)));
            tcp.looks_up.map(sni_lookup).into_iter().chain([proxy]).collect()
        }
    };
    envoy::FilterChain {
        name: model.name.clone(),
        filter_chain_match: condition(&model.condition),
        filters,
        metadata: origin_metadata(model.origin.as_deref(), None),
        ..Default::default()
    }
}

/// Resolves the server name of the hello before a connection to its cluster is made.
fn sni_lookup((port, refresh): (u32, std::time::Duration)) -> envoy::Filter {
    let config = sni::FilterConfig {
        dns_cache_config: Some(dns_cache(refresh)),
        port_specifier: Some(sni::filter_config::PortSpecifier::PortValue(port)),
        ..Default::default()
    };
    network_filter("envoy.filters.network.sni_dynamic_forward_proxy", any(&config))
}

fn network_filter(name: &str, config: Any) -> envoy::Filter {
    envoy::Filter { name: name.to_owned(), config_type: Some(envoy::filter::ConfigType::TypedConfig(config)) }
}

fn condition(model: &Condition) -> Option<envoy::FilterChainMatch> {
    if *model == Condition::default() {
        return None;
    }
    let words = |words: &[meltemi_config::Str]| words.iter().map(|word| word.to_string()).collect();
    Some(envoy::FilterChainMatch {
        destination_port: model.port.map(uint32),
        transport_protocol: model.transport.to_string(),
        application_protocols: words(&model.protocols),
        prefix_ranges: model.prefixes.iter().map(|prefix| cidr(prefix)).collect(),
        server_names: words(&model.server_names),
        ..Default::default()
    })
}

fn cidr(prefix: &str) -> core::CidrRange {
    let (address, length) = prefix.split_once('/').unwrap_or((prefix, ""));
    let all = if address.contains(':') { 128 } else { 32 };
    core::CidrRange {
        address_prefix: address.to_owned(),
        prefix_len: Some(uint32(length.parse().unwrap_or(all))),
    }
}

fn tcp_proxy(model: &Tcp) -> tcp::TcpProxy {
    use tcp::tcp_proxy::{ClusterSpecifier, WeightedCluster, weighted_cluster::ClusterWeight};
    let specifier = match &model.clusters[..] {
        [(cluster, _)] => ClusterSpecifier::Cluster(cluster.clone()),
        many => ClusterSpecifier::WeightedClusters(WeightedCluster {
            clusters: many
                .iter()
                .map(|(name, weight)| ClusterWeight {
                    name: name.clone(),
                    weight: *weight,
                    ..Default::default()
                })
                .collect(),
        }),
    };
    tcp::TcpProxy {
        stat_prefix: model.stat_prefix.clone(),
        cluster_specifier: Some(specifier),
        access_log: access_log::terminal(&model.access_log),
        idle_timeout: model.idle_timeout.map(duration),
        max_downstream_connection_duration: model.max_duration.map(duration),
        hash_policy: if model.hash_source { vec![source_hash()] } else { Vec::new() },
        tunneling_config: model.tunnel.as_ref().map(|tunnel| tcp::tcp_proxy::TunnelingConfig {
            hostname: tunnel.target.clone(),
            use_post: tunnel.post,
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn source_hash() -> kind::HashPolicy {
    use kind::hash_policy::{PolicySpecifier, SourceIp};
    kind::HashPolicy { policy_specifier: Some(PolicySpecifier::SourceIp(SourceIp {})) }
}
