//! Listeners as Envoy's Listener.

use meltemi_xds::any;
use meltemi_xds::pb::envoy::config::accesslog::v3 as accesslog;
use meltemi_xds::pb::envoy::config::core::v3 as core;
use meltemi_xds::pb::envoy::config::listener::v3 as envoy;
use meltemi_xds::pb::envoy::extensions::access_loggers::file::v3 as file;
use meltemi_xds::pb::envoy::extensions::filters::listener::{
    http_inspector::v3::HttpInspector, original_dst::v3::OriginalDst, proxy_protocol::v3::ProxyProtocol,
    tls_inspector::v3::TlsInspector,
};
use meltemi_xds::pb::envoy::extensions::filters::network::sni_dynamic_forward_proxy::v3 as sni;
use meltemi_xds::pb::envoy::extensions::filters::network::tcp_proxy::v3 as tcp;
use meltemi_xds::pb::envoy::r#type::v3 as kind;
use meltemi_xds::pb::google::protobuf::Any;

use super::proto::{address, bool_value, dns_cache, duration, fields_of, origin_metadata, text, uint32};
use crate::model::listener::{
    AccessLog, Condition, Direction, FilterChain, Listener, LogFormat, Tcp, Terminal,
};

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
        access_log: model.access_log.iter().map(|log| access_log(log, true)).collect(),
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
    let mut filters = Vec::new();
    if model.proxy_protocol {
        filters.push(filter("envoy.filters.listener.proxy_protocol", any(&ProxyProtocol::default())));
    }
    if model.original_dst_filter {
        filters.push(filter("envoy.filters.listener.original_dst", any(&OriginalDst::default())));
    }
    if model.tls_inspector {
        filters.push(filter("envoy.filters.listener.tls_inspector", any(&TlsInspector::default())));
    }
    if model.http_inspector {
        filters.push(filter("envoy.filters.listener.http_inspector", any(&HttpInspector::default())));
    }
    filters
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
        access_log: model.access_log.iter().map(|log| access_log(log, false)).collect(),
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

/// A log to a file; of listeners only what no filter chain took (flag NR).
fn access_log(model: &AccessLog, unmatched_only: bool) -> accesslog::AccessLog {
    use core::substitution_format_string::Format;
    let format = match &model.format {
        LogFormat::Text(line) => Format::TextFormatSource(core::DataSource {
            specifier: Some(core::data_source::Specifier::InlineString(line.to_string())),
            ..Default::default()
        }),
        LogFormat::Json(fields) => {
            let mut json = fields_of([]);
            json.fields = fields.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
            Format::JsonFormat(json)
        }
    };
    let log = file::FileAccessLog {
        path: model.path.to_string(),
        access_log_format: Some(file::file_access_log::AccessLogFormat::LogFormat(
            core::SubstitutionFormatString { format: Some(format), ..Default::default() },
        )),
    };
    accesslog::AccessLog {
        name: "envoy.access_loggers.file".to_owned(),
        filter: unmatched_only.then(no_route_filter),
        config_type: Some(accesslog::access_log::ConfigType::TypedConfig(any(&log))),
    }
}

fn no_route_filter() -> accesslog::AccessLogFilter {
    use accesslog::access_log_filter::FilterSpecifier;
    let flags = accesslog::ResponseFlagFilter { flags: vec!["NR".to_owned()] };
    accesslog::AccessLogFilter { filter_specifier: Some(FilterSpecifier::ResponseFlagFilter(flags)) }
}
