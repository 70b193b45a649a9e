//! Static listeners, routes and clusters of a bootstrap, compiled: the part of Envoy's API that needs no discovery.
//!
//! Called once at start by [`super::run`]. Invariant: what is not understood is an error that names it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use arc_swap::{ArcSwap, ArcSwapOption};
use meltemi_xds::pb::{
    envoy::{
        config::{
            bootstrap::v3::Bootstrap, cluster::v3 as cluster, core::v3 as core,
            endpoint::v3::lb_endpoint::HostIdentifier, listener::v3 as listener, route::v3 as route,
        },
        extensions::{
            filters::network::{http_connection_manager::v3 as hcm, tcp_proxy::v3 as tcp},
            upstreams::http::v3 as upstream_http,
        },
    },
    google::protobuf::{self, Any},
};

use crate::{
    cluster::{
        Address, BalancerPolicy, Cluster, ClusterSettings, EndpointSet, UpstreamProtocol, store::ClusterStore,
    },
    http::config::{
        Codec, EscapedSlashes, Http1Options, Http2Options, HttpConnectionManager, RouteSlot, RouterOptions,
        ServerHeader, StripHostPort,
    },
    listener::{
        FilterChain, Listener, ListenerFilter, TcpProxy, Terminal,
        matcher::{ChainMatch, FilterChains, IpPrefix, SourceType},
    },
    route::{
        Action, DirectResponse, Forward, HeaderRules, HostRewrite, RequireTls, Rewrite, Route, RouteTable,
        Target, VirtualHost, WeightedCluster,
        hosts::HostIndex,
        matcher::{
            Conditions, Entry, HeaderMatch, HeaderName, PathMatch, RouteIndex, RouteMatch, ValueMatch,
        },
        strings::{StringMatch, full_match},
    },
};

type Done<T> = Result<T, String>;

/// Publishes the clusters and gives back the listeners.
pub(super) fn compile(bootstrap: &Bootstrap, clusters: &ClusterStore) -> Done<Vec<Listener>> {
    let Some(resources) = &bootstrap.static_resources else { return Ok(Vec::new()) };
    for message in &resources.clusters {
        let compiled = compile_cluster(message).map_err(|e| format!("cluster '{}': {e}", message.name))?;
        clusters.publish(Arc::new(compiled));
    }
    clusters.settle();
    let compiled = resources.listeners.iter().map(|message| {
        compile_listener(message, clusters).map_err(|e| format!("listener '{}': {e}", message.name))
    });
    compiled.collect()
}

fn duration(of: &protobuf::Duration) -> Duration {
    Duration::new(of.seconds.max(0) as u64, of.nanos.max(0) as u32)
}

/// As given, or the default; zero disables.
fn limit(of: Option<&protobuf::Duration>, default: Option<Duration>) -> Option<Duration> {
    of.map_or(default, |of| Some(duration(of)).filter(|limit| !limit.is_zero()))
}

fn socket_address(address: Option<&core::Address>) -> Done<SocketAddr> {
    let Some(core::address::Address::SocketAddress(socket)) = address.and_then(|a| a.address.as_ref()) else {
        return Err("only socket addresses are supported".into());
    };
    let Some(core::socket_address::PortSpecifier::PortValue(port)) = socket.port_specifier else {
        return Err("port_value is missing".into());
    };
    let ip = socket.address.parse().map_err(|_| format!("malformed IP address: {}", socket.address))?;
    let port = u16::try_from(port).map_err(|_| format!("port {port} is out of range"))?;
    Ok(SocketAddr::new(ip, port))
}

fn compile_cluster(message: &cluster::Cluster) -> Done<Cluster> {
    let kind = message.cluster_discovery_type.as_ref();
    let is_static = match kind {
        None => true,
        Some(cluster::cluster::ClusterDiscoveryType::Type(kind)) => {
            *kind == cluster::cluster::DiscoveryType::Static as i32
        }
        Some(_) => false,
    };
    if !is_static {
        return Err("only type STATIC works without discovery".into());
    }
    let mut settings = ClusterSettings::default();
    if let Some(timeout) = &message.connect_timeout {
        settings.connect_timeout = duration(timeout);
    }
    settings.balancer = match cluster::cluster::LbPolicy::try_from(message.lb_policy) {
        Ok(cluster::cluster::LbPolicy::RoundRobin) => BalancerPolicy::RoundRobin,
        Ok(cluster::cluster::LbPolicy::Random) => BalancerPolicy::Random,
        Ok(cluster::cluster::LbPolicy::LeastRequest) => BalancerPolicy::LeastRequest { choices: 2 },
        _ => return Err(format!("lb_policy {} is not supported", message.lb_policy)),
    };
    let thresholds = message.circuit_breakers.iter().flat_map(|breakers| &breakers.thresholds);
    for threshold in thresholds.filter(|threshold| threshold.priority == 0) {
        let limits = &mut settings.limits;
        let places = [
            (&mut limits.connections, &threshold.max_connections),
            (&mut limits.pending_requests, &threshold.max_pending_requests),
            (&mut limits.requests, &threshold.max_requests),
            (&mut limits.retries, &threshold.max_retries),
        ];
        for (place, value) in places {
            *place = value.as_ref().map_or(*place, |value| value.value);
        }
    }
    settings.protocol = upstream_protocol(message)?;
    let mut hosts = Vec::new();
    for endpoint in message.load_assignment.iter().flat_map(|a| &a.endpoints).flat_map(|l| &l.lb_endpoints) {
        let Some(HostIdentifier::Endpoint(host)) = &endpoint.host_identifier else {
            return Err("only endpoints with an address are supported".into());
        };
        let weight = endpoint.load_balancing_weight.as_ref().map_or(1, |weight| weight.value);
        hosts.push((Address::Socket(socket_address(host.address.as_ref())?), weight));
    }
    let stat_name = if message.alt_stat_name.is_empty() { &message.name } else { &message.alt_stat_name };
    Ok(Cluster {
        name: message.name.as_str().into(),
        stat_name: stat_name.as_str().into(),
        settings: Arc::new(settings),
        endpoints: ArcSwap::from_pointee(EndpointSet::of(hosts)),
    })
}

#[allow(deprecated, reason = "the field that many files still use")]
fn upstream_protocol(message: &cluster::Cluster) -> Done<UpstreamProtocol> {
    use upstream_http::http_protocol_options::{
        UpstreamProtocolOptions, explicit_http_config::ProtocolConfig,
    };
    const OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let Some(any) = message.typed_extension_protocol_options.get(OPTIONS) else {
        let http2 = message.http2_protocol_options.is_some();
        return Ok(if http2 { UpstreamProtocol::Http2 } else { UpstreamProtocol::Http1 });
    };
    let options: upstream_http::HttpProtocolOptions = unpack(any)?;
    match options.upstream_protocol_options {
        Some(UpstreamProtocolOptions::ExplicitHttpConfig(explicit)) => match explicit.protocol_config {
            Some(ProtocolConfig::Http2ProtocolOptions(_)) => Ok(UpstreamProtocol::Http2),
            Some(ProtocolConfig::Http3ProtocolOptions(_)) => Err("HTTP/3 is not supported".into()),
            _ => Ok(UpstreamProtocol::Http1),
        },
        Some(UpstreamProtocolOptions::UseDownstreamProtocolConfig(_)) => Ok(UpstreamProtocol::Downstream),
        _ => Err("auto_config is not supported".into()),
    }
}

fn unpack<M: prost::Message + prost::Name + Default>(any: &Any) -> Done<M> {
    meltemi_xds::unpack(any).map_err(|error| error.to_string())
}

fn compile_listener(message: &listener::Listener, clusters: &ClusterStore) -> Done<Listener> {
    let mut addresses = vec![socket_address(message.address.as_ref())?];
    for more in &message.additional_addresses {
        addresses.push(socket_address(more.address.as_ref())?);
    }
    let stat_prefix = match message.stat_prefix.as_str() {
        "" => addresses[0].to_string().replace([':', '.'], "_"),
        prefix => prefix.to_owned(),
    };
    let mut chains = Vec::new();
    for chain in &message.filter_chains {
        let conditions = chain_match(chain.filter_chain_match.as_ref())?;
        chains.push((conditions, Arc::new(filter_chain(chain, clusters)?)));
    }
    let default = message.default_filter_chain.as_ref();
    let default = default.map(|chain| filter_chain(chain, clusters)).transpose()?.map(Arc::new);
    let filters: Done<Vec<_>> = message.listener_filters.iter().map(|f| listener_filter(&f.name)).collect();
    Ok(Listener {
        name: message.name.as_str().into(),
        addresses,
        bind_to_port: message.bind_to_port.as_ref().is_none_or(|bind| bind.value),
        reuse_port: message.enable_reuse_port.as_ref().is_none_or(|reuse| reuse.value),
        inbound: message.traffic_direction == core::TrafficDirection::Inbound as i32,
        use_original_dst: message.use_original_dst.as_ref().is_some_and(|on| on.value),
        stat_prefix: stat_prefix.into(),
        buffer_limit: message
            .per_connection_buffer_limit_bytes
            .as_ref()
            .map_or(1 << 20, |l| l.value as usize),
        filters: filters?,
        filters_timeout: message.listener_filters_timeout.as_ref().map_or(Duration::from_secs(15), duration),
        continue_on_timeout: message.continue_on_listener_filters_timeout,
        chains: FilterChains::build(chains, default).map_err(|error| error.to_string())?,
        access_log: Vec::new(),
        backlog: message.tcp_backlog_size.as_ref().map_or(4096, |size| size.value as i32),
    })
}

fn listener_filter(name: &str) -> Done<ListenerFilter> {
    Ok(match name.rsplit('.').next().unwrap_or(name) {
        "original_dst" => ListenerFilter::OriginalDst,
        "tls_inspector" => ListenerFilter::TlsInspector,
        "http_inspector" => ListenerFilter::HttpInspector,
        "proxy_protocol" => ListenerFilter::ProxyProtocol,
        _ => return Err(format!("unknown listener filter '{name}'")),
    })
}

fn chain_match(message: Option<&listener::FilterChainMatch>) -> Done<ChainMatch> {
    let Some(message) = message else { return Ok(ChainMatch::default()) };
    let ranges = |of: &[core::CidrRange]| -> Done<Vec<IpPrefix>> {
        of.iter()
            .map(|range| {
                let address = range.address_prefix.parse();
                let address =
                    address.map_err(|_| format!("malformed IP address: {}", range.address_prefix))?;
                Ok(IpPrefix {
                    address,
                    len: range.prefix_len.as_ref().map_or(0, |len| len.value.min(128) as u8),
                })
            })
            .collect()
    };
    let texts = |of: &[String]| of.iter().map(|text| Arc::from(text.as_str())).collect();
    use listener::filter_chain_match::ConnectionSourceType as Source;
    Ok(ChainMatch {
        destination_port: message.destination_port.as_ref().map(|port| port.value as u16),
        prefix_ranges: ranges(&message.prefix_ranges)?,
        server_names: texts(&message.server_names),
        transport_protocol: message.transport_protocol.as_str().into(),
        application_protocols: texts(&message.application_protocols),
        direct_source_prefix_ranges: ranges(&message.direct_source_prefix_ranges)?,
        source_type: match Source::try_from(message.source_type) {
            Ok(Source::SameIpOrLoopback) => SourceType::SameIpOrLoopback,
            Ok(Source::External) => SourceType::External,
            _ => SourceType::Any,
        },
        source_prefix_ranges: ranges(&message.source_prefix_ranges)?,
        source_ports: message.source_ports.iter().map(|port| *port as u16).collect(),
    })
}

fn filter_chain(message: &listener::FilterChain, clusters: &ClusterStore) -> Done<FilterChain> {
    if message.transport_socket.as_ref().is_some_and(|socket| !socket.name.ends_with("raw_buffer")) {
        return Err("transport sockets other than raw_buffer are not supported".into());
    }
    let [filter] = message.filters.as_slice() else {
        return Err("a filter chain needs exactly one network filter".into());
    };
    let Some(listener::filter::ConfigType::TypedConfig(any)) = &filter.config_type else {
        return Err(format!("filter '{}' has no typed_config", filter.name));
    };
    let terminal = match any.type_url.rsplit('.').next() {
        Some("HttpConnectionManager") => Terminal::Http(Arc::new(manager(&unpack(any)?, clusters)?)),
        Some("TcpProxy") => Terminal::Tcp(Arc::new(tcp_proxy(&unpack(any)?, clusters)?)),
        _ => return Err(format!("unknown network filter '{}' ({})", filter.name, any.type_url)),
    };
    let connect_timeout = message.transport_socket_connect_timeout.as_ref().map(duration);
    Ok(FilterChain { name: message.name.as_str().into(), terminal, connect_timeout })
}

fn tcp_proxy(message: &tcp::TcpProxy, clusters: &ClusterStore) -> Done<TcpProxy> {
    use tcp::tcp_proxy::ClusterSpecifier;
    let targets = match &message.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => vec![(clusters.slot(name), 1)],
        Some(ClusterSpecifier::WeightedClusters(weighted)) => {
            weighted.clusters.iter().map(|part| (clusters.slot(&part.name), part.weight)).collect()
        }
        None => return Err("tcp_proxy names no cluster".into()),
    };
    Ok(TcpProxy {
        stat_prefix: message.stat_prefix.as_str().into(),
        clusters: targets,
        idle_timeout: limit(message.idle_timeout.as_ref(), Some(Duration::from_secs(3600))),
        max_connect_attempts: message.max_connect_attempts.as_ref().map_or(1, |n| n.value),
        access_log: Vec::new(),
    })
}

fn manager(message: &hcm::HttpConnectionManager, clusters: &ClusterStore) -> Done<HttpConnectionManager> {
    use hcm::http_connection_manager::{CodecType, RouteSpecifier};
    for filter in &message.http_filters {
        if !filter.name.ends_with("router") {
            return Err(format!("unknown HTTP filter '{}'", filter.name));
        }
    }
    let Some(RouteSpecifier::RouteConfig(routes)) = &message.route_specifier else {
        return Err("only an inline route_config works without discovery".into());
    };
    let table = ArcSwapOption::from_pointee(route_table(routes, clusters)?);
    let common = message.common_http_protocol_options.as_ref();
    let http1 = message.http_protocol_options.as_ref();
    let http2 = message.http2_protocol_options.as_ref();
    let hour = Some(Duration::from_secs(3600));
    Ok(HttpConnectionManager {
        stat_prefix: message.stat_prefix.as_str().into(),
        codec: match CodecType::try_from(message.codec_type) {
            Ok(CodecType::Auto) => Codec::Auto,
            Ok(CodecType::Http1) => Codec::Http1,
            Ok(CodecType::Http2) => Codec::Http2,
            _ => return Err("codec_type HTTP3 is not supported".into()),
        },
        routes: Arc::new(RouteSlot { name: routes.name.as_str().into(), table }),
        filters: Vec::new(),
        router: RouterOptions::default(),
        access_log: Vec::new(),
        server_name: if message.server_name.is_empty() { "envoy" } else { &message.server_name }.into(),
        server_header: ServerHeader::Overwrite,
        use_remote_address: message.use_remote_address.as_ref().is_some_and(|on| on.value),
        xff_trusted_hops: message.xff_num_trusted_hops,
        skip_xff_append: message.skip_xff_append,
        via: (!message.via.is_empty()).then(|| message.via.as_str().into()),
        generate_request_id: message.generate_request_id.as_ref().is_none_or(|on| on.value),
        preserve_external_request_id: message.preserve_external_request_id,
        request_id_in_response: message.always_set_request_id_in_response,
        idle_timeout: limit(common.and_then(|c| c.idle_timeout.as_ref()), hour),
        stream_idle_timeout: limit(message.stream_idle_timeout.as_ref(), Some(Duration::from_secs(300))),
        request_timeout: limit(message.request_timeout.as_ref(), None),
        request_headers_timeout: limit(message.request_headers_timeout.as_ref(), None),
        drain_timeout: message.drain_timeout.as_ref().map_or(Duration::from_secs(5), duration),
        delayed_close_timeout: message
            .delayed_close_timeout
            .as_ref()
            .map_or(Duration::from_secs(1), duration),
        max_connection_duration: limit(common.and_then(|c| c.max_connection_duration.as_ref()), None),
        max_requests_per_connection: common
            .and_then(|c| c.max_requests_per_connection.as_ref())
            .map_or(0, |n| n.value),
        max_request_headers: message.max_request_headers_kb.as_ref().map_or(60, |n| n.value as usize) * 1024,
        max_headers_count: common
            .and_then(|c| c.max_headers_count.as_ref())
            .map_or(100, |n| n.value as usize),
        upgrades: message
            .upgrade_configs
            .iter()
            .filter(|upgrade| upgrade.enabled.as_ref().is_none_or(|on| on.value))
            .map(|upgrade| upgrade.upgrade_type.to_ascii_lowercase().into())
            .collect(),
        normalize_path: message.normalize_path.as_ref().is_some_and(|on| on.value),
        merge_slashes: message.merge_slashes,
        escaped_slashes: EscapedSlashes::Keep,
        strip_host_port: if message.strip_matching_host_port {
            StripHostPort::Matching
        } else {
            StripHostPort::No
        },
        strip_trailing_host_dot: message.strip_trailing_host_dot,
        http1: Http1Options {
            accept_http_10: http1.is_some_and(|o| o.accept_http_10),
            enable_trailers: http1.is_some_and(|o| o.enable_trailers),
            allow_absolute_url: true,
            preserve_case: false,
        },
        http2: Http2Options {
            max_concurrent_streams: http2
                .and_then(|o| o.max_concurrent_streams.as_ref())
                .map_or(1024, |n| n.value),
            stream_window: http2
                .and_then(|o| o.initial_stream_window_size.as_ref())
                .map_or(1 << 20, |n| n.value),
            connection_window: http2
                .and_then(|o| o.initial_connection_window_size.as_ref())
                .map_or(4 << 20, |n| n.value),
        },
        proxy_100_continue: message.proxy_100_continue,
        scheme_overwrite: None,
    })
}

fn route_table(message: &route::RouteConfiguration, clusters: &ClusterStore) -> Done<RouteTable> {
    let mut hosts = HostIndex::default();
    let mut virtual_hosts = Vec::new();
    for host in &message.virtual_hosts {
        for domain in &host.domains {
            let added = hosts.add(domain, virtual_hosts.len() as u32);
            added.map_err(|error| format!("virtual host '{}': {error:?}", host.name))?;
        }
        let entries: Done<Vec<_>> = host.routes.iter().map(|route| entry(route, clusters)).collect();
        virtual_hosts.push(Arc::new(VirtualHost {
            name: host.name.as_str().into(),
            require_tls: RequireTls::None,
            headers: HeaderRules::default(),
            request_attempt_count: host.include_request_attempt_count,
            response_attempt_count: host.include_attempt_count_in_response,
            routes: RouteIndex::new(
                entries.map_err(|error| format!("virtual host '{}': {error}", host.name))?,
            ),
        }));
    }
    Ok(RouteTable {
        name: message.name.as_str().into(),
        version: "".into(),
        hosts,
        virtual_hosts,
        headers: HeaderRules::default(),
        most_specific_headers_win: false,
        ignore_port: message.ignore_port_in_host_matching,
        max_direct_response_body: 4096,
    })
}

fn entry(message: &route::Route, clusters: &ClusterStore) -> Done<Entry> {
    use route::{route::Action as Given, route_match::PathSpecifier};
    let Some(given) = &message.r#match else { return Err("a route needs a match".into()) };
    let path = match &given.path_specifier {
        Some(PathSpecifier::Prefix(prefix)) => PathMatch::Prefix(prefix.as_str().into()),
        Some(PathSpecifier::Path(path)) => PathMatch::Exact(path.as_str().into()),
        Some(PathSpecifier::PathSeparatedPrefix(p)) => PathMatch::SeparatedPrefix(p.as_str().into()),
        Some(PathSpecifier::SafeRegex(regex)) => PathMatch::Regex(Arc::new(full_match(&regex.regex)?)),
        Some(PathSpecifier::ConnectMatcher(_)) => PathMatch::Connect,
        _ => return Err("unknown path_specifier".into()),
    };
    let headers: Done<Vec<_>> = given.headers.iter().map(header_match).collect();
    let conditions = Conditions { headers: headers?, ..Conditions::default() };
    let also = (!conditions.is_empty()).then(|| Box::new(conditions));
    let action = match &message.action {
        Some(Given::Route(action)) => Action::Forward(Box::new(forward(action, clusters)?)),
        Some(Given::DirectResponse(response)) => Action::Respond(DirectResponse {
            status: response.status as u16,
            body: match response.body.as_ref().and_then(|body| body.specifier.as_ref()) {
                Some(core::data_source::Specifier::InlineString(text)) => text.clone().into(),
                Some(core::data_source::Specifier::InlineBytes(bytes)) => bytes.clone().into(),
                None => bytes::Bytes::new(),
                Some(_) => return Err("only inline direct responses are supported".into()),
            },
        }),
        _ => return Err("only route and direct_response actions are supported".into()),
    };
    let route = Route {
        name: message.name.as_str().into(),
        action,
        headers: HeaderRules::default(),
        stat_prefix: None,
    };
    Ok(Entry { condition: RouteMatch { path, also }, route: Arc::new(route) })
}

fn header_match(message: &route::HeaderMatcher) -> Done<HeaderMatch> {
    use meltemi_xds::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
    use route::header_matcher::HeaderMatchSpecifier;
    let value = match &message.header_match_specifier {
        None => ValueMatch::Present(true),
        Some(HeaderMatchSpecifier::PresentMatch(present)) => ValueMatch::Present(*present),
        Some(HeaderMatchSpecifier::StringMatch(matcher)) => {
            let matched = match &matcher.match_pattern {
                Some(MatchPattern::Exact(text)) => StringMatch::Exact(text.as_str().into()),
                Some(MatchPattern::Prefix(text)) => StringMatch::Prefix(text.as_str().into()),
                Some(MatchPattern::Suffix(text)) => StringMatch::Suffix(text.as_str().into()),
                Some(MatchPattern::Contains(text)) => StringMatch::Contains(text.as_str().into()),
                Some(MatchPattern::SafeRegex(regex)) => {
                    StringMatch::Regex(Arc::new(full_match(&regex.regex)?))
                }
                _ => return Err("unknown string matcher".into()),
            };
            ValueMatch::String(if matcher.ignore_case { matched.ignoring_case() } else { matched })
        }
        Some(_) => {
            return Err(format!(
                "header '{}': only string_match and present_match are supported",
                message.name
            ));
        }
    };
    Ok(HeaderMatch {
        name: HeaderName::new(&message.name),
        value,
        invert: message.invert_match,
        missing_is_empty: message.treat_missing_header_as_empty,
    })
}

fn forward(message: &route::RouteAction, clusters: &ClusterStore) -> Done<Forward> {
    use route::route_action::ClusterSpecifier;
    let unknown = [
        ("prefix_rewrite", !message.prefix_rewrite.is_empty()),
        ("regex_rewrite", message.regex_rewrite.is_some()),
        ("host_rewrite_specifier", message.host_rewrite_specifier.is_some()),
        ("retry_policy", message.retry_policy.is_some()),
    ];
    if let Some((name, _)) = unknown.iter().find(|(_, is_set)| *is_set) {
        return Err(format!("{name} is not supported in static routes"));
    }
    let target = match &message.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => Target::Cluster(clusters.slot(name)),
        Some(ClusterSpecifier::ClusterHeader(name)) => Target::Header(name.to_ascii_lowercase().into()),
        Some(ClusterSpecifier::WeightedClusters(weighted)) => {
            let parts: Vec<_> = weighted
                .clusters
                .iter()
                .map(|part| WeightedCluster {
                    cluster: clusters.slot(&part.name),
                    weight: part.weight.as_ref().map_or(0, |weight| weight.value),
                    headers: HeaderRules::default(),
                    host_rewrite: None,
                })
                .collect();
            Target::Weighted { total: parts.iter().map(|part| part.weight).sum::<u32>().max(1), parts }
        }
        _ => return Err("unknown cluster_specifier".into()),
    };
    Ok(Forward {
        target,
        not_found_status: 503,
        timeout: limit(message.timeout.as_ref(), Some(Duration::from_secs(15))),
        idle_timeout: message.idle_timeout.as_ref().map(|of| limit(Some(of), None)),
        max_grpc_timeout: None,
        grpc_timeout_offset: None,
        max_stream_duration: None,
        rewrite: Rewrite::None,
        host_rewrite: HostRewrite::None,
        append_x_forwarded_host: false,
        upgrades: Vec::new(),
        high_priority: false,
        retry: None,
    })
}
