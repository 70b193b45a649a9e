//! `Listener` and `FilterChain`: addresses, listener filters, chains with their conditions and terminal filters.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use meltemi_xds::pb::envoy::{
    config::{
        core::v3::{Address as AddressMessage, CidrRange, TrafficDirection, address},
        listener::v3::{
            Filter, FilterChain as ChainMessage, FilterChainMatch, Listener as Message, filter,
            filter_chain_match::ConnectionSourceType, listener::ConnectionBalanceConfig,
        },
    },
    extensions::{
        filters::network::{
            connection_limit::v3::ConnectionLimit as LimitMessage,
            direct_response::v3::Config as DirectResponse, echo::v3::Echo,
            http_connection_manager::v3::HttpConnectionManager, sni_cluster::v3::SniCluster,
            tcp_proxy::v3::TcpProxy,
        },
        transport_sockets::raw_buffer::v3::RawBuffer,
    },
};
use prost::{Message as _, Name};

use super::{
    At, Context, Rejection, access_log, cluster, dynamic, fields, hcm, listener_filters, network_matcher,
    refuse, tcp_proxy,
};
use crate::{
    cluster::Address,
    listener::{
        FilterChain, Listener, ListenerFilter, SniUse, TcpProxy as TcpProxySettings, Terminal,
        address::ListenAddress,
        limit::{ConnectionLimit, Count},
        matcher::{ChainMatch, FilterChains, IpPrefix, SourceType},
    },
};

/// A compiled listener and the bytes of its chains, by which an update recognises chains that stay.
#[derive(Debug)]
pub struct Compiled {
    /// For the workers.
    pub listener: Arc<Listener>,
    /// Encoded chain and what became of it.
    pub chains: Vec<(Vec<u8>, Arc<FilterChain>)>,
}

/// Compiles a listener. Chains whose message did not change keep their `Arc`, so that their connections stay.
pub fn compile(
    message: &Message,
    old: Option<&Compiled>,
    context: &mut Context,
) -> Result<Compiled, Rejection> {
    refuse_unsupported(message)?;
    note_ineffective(message, context);
    let addresses = addresses(message)?;
    let mut known = Vec::with_capacity(message.filter_chains.len() + 1);
    let mut chains = Vec::with_capacity(message.filter_chains.len());
    for (at, chain) in message.filter_chains.iter().enumerate() {
        let condition = match &chain.filter_chain_match {
            Some(condition) => {
                chain_match(condition, context).at("filter_chain_match").at_index("filter_chains", at)?
            }
            None => ChainMatch::default(),
        };
        let compiled = kept_or_new(chain, old, &mut known, context).at_index("filter_chains", at)?;
        chains.push((condition, compiled));
    }
    let default = message.default_filter_chain.as_ref();
    let default = default.map(|chain| kept_or_new(chain, old, &mut known, context)).transpose();
    let default = default.at("default_filter_chain")?;
    if chains.is_empty() && default.is_none() {
        return refuse("no filter chains specified").at("filter_chains");
    }
    let mut filters: Result<Vec<_>, _> = message
        .listener_filters
        .iter()
        .enumerate()
        .map(|(at, filter)| listener_filters::compile(filter, context).at_index("listener_filters", at))
        .collect();
    let use_original_dst = fields::flag(message.use_original_dst.as_ref(), false);
    if let Ok(filters) = &mut filters
        && use_original_dst
        && !filters.iter().any(|installed| installed.filter == ListenerFilter::OriginalDst)
    {
        // As in Envoy: what is handed on by its original destination must have one.
        filters.push(ListenerFilter::OriginalDst.into());
    }
    let matcher = message.filter_chain_matcher.as_ref();
    let chains = match matcher.map(|matcher| network_matcher::compile(matcher, context)).transpose() {
        Ok(None) => FilterChains::build(chains, default),
        Ok(Some(tree)) => {
            FilterChains::by_matcher(tree, chains.into_iter().map(|(_, chain)| chain).collect(), default)
        }
        Err(error) => return Err(error).at("filter_chain_matcher"),
    };
    let chains = chains.map_err(|error| Rejection::new(error.to_string()))?;
    let timeout = fields::optional(message.listener_filters_timeout.as_ref(), "listener_filters_timeout")?;
    let bind = message.bind_to_port.as_ref();
    let older_bind = message.deprecated_v1.as_ref().and_then(|older| older.bind_to_port.as_ref());
    let stat_prefix = match message.stat_prefix.as_str() {
        "" => addresses.first().map(|address| address.to_string().replace(':', "_")).unwrap_or_default(),
        prefix => prefix.to_owned(),
    };
    let listener = Listener {
        name: context.intern(&message.name),
        addresses,
        bind_to_port: fields::flag(bind.or(older_bind), true),
        reuse_port: fields::flag(message.enable_reuse_port.as_ref(), true),
        inbound: message.traffic_direction == TrafficDirection::Inbound as i32,
        direction: u8::try_from(message.traffic_direction).unwrap_or_default(),
        metadata: fields::metadata(message.metadata.as_ref()),
        use_original_dst,
        stat_prefix: context.intern(&stat_prefix),
        buffer_limit: fields::number(message.per_connection_buffer_limit_bytes.as_ref(), 1 << 20) as usize,
        filters: filters?,
        filters_timeout: timeout.unwrap_or(Duration::from_secs(15)),
        continue_on_timeout: message.continue_on_listener_filters_timeout,
        chains,
        access_log: access_log::compile(&message.access_log, context)?,
        freebind: fields::flag(message.freebind.as_ref(), false),
        transparent: fields::flag(message.transparent.as_ref(), false),
        keepalive: message.tcp_keepalive.as_ref().map(cluster::tcp_keepalive),
        ignores_global_limit: message.ignore_global_conn_limit,
        backlog: i32::try_from(fields::number(message.tcp_backlog_size.as_ref(), 4096)).unwrap_or(i32::MAX),
    };
    Ok(Compiled { listener: Arc::new(listener), chains: known })
}

fn refuse_unsupported(message: &Message) -> Result<(), Rejection> {
    fields::unsupported(message.fcds_config.is_some(), "fcds_config")?;
    fields::unsupported(!message.socket_options.is_empty(), "socket_options")?;
    fields::unsupported(message.udp_listener_config.is_some(), "udp_listener_config")?;
    fields::unsupported(message.api_listener.is_some(), "api_listener")?;
    fields::unsupported(message.enable_mptcp, "enable_mptcp")?;
    fields::unsupported(message.listener_specifier.is_some(), "internal_listener")
}

fn note_ineffective(message: &Message, context: &mut Context) {
    if message.tcp_fast_open_queue_length.as_ref().is_some_and(|length| length.value > 0) {
        context.note("tcp_fast_open_queue_length: not in effect");
    }
    if message.connection_balance_config.as_ref().is_some_and(is_exact_balance) {
        context.note("connection_balance_config: the kernel balances connections over workers");
    }
}

fn is_exact_balance(config: &ConnectionBalanceConfig) -> bool {
    config.balance_type.is_some()
}

fn addresses(message: &Message) -> Result<Vec<ListenAddress>, Rejection> {
    let Some(first) = &message.address else { return refuse("value is required").at("address") };
    let mut addresses = vec![listen_address(first).at("address")?];
    for (at, more) in message.additional_addresses.iter().enumerate() {
        let address = more.address.as_ref().map(listen_address);
        let address = address.unwrap_or_else(|| refuse("value is required"));
        addresses.push(address.at("address").at_index("additional_addresses", at)?);
    }
    Ok(addresses)
}

/// Where something listens.
pub fn listen_address(message: &AddressMessage) -> Result<ListenAddress, Rejection> {
    let path: Arc<str> = match fields::address(message)? {
        Address::Socket(address) => return Ok(ListenAddress::Socket(address)),
        Address::Pipe(path) => path.to_string_lossy().into(),
    };
    // As for the kernel's `sun_path`, which has room for the zero at its end.
    const LONGEST: usize = 107;
    let mode = match &message.address {
        Some(address::Address::Pipe(pipe)) => pipe.mode,
        _ => 0,
    };
    match mode {
        0..=0o777 if path.len() > LONGEST => {
            refuse(format!("path \"{path}\" exceeds maximum UNIX domain socket path size of 108")).at("pipe")
        }
        1.. if path.starts_with('@') => {
            refuse("cannot set mode for Abstract AF_UNIX sockets").at("pipe.mode")
        }
        0..=0o777 => Ok(ListenAddress::Pipe { path, mode }),
        _ => refuse("value must be less than or equal to 511").at("pipe.mode"),
    }
}

fn kept_or_new(
    message: &ChainMessage,
    old: Option<&Compiled>,
    known: &mut Vec<(Vec<u8>, Arc<FilterChain>)>,
    context: &mut Context,
) -> Result<Arc<FilterChain>, Rejection> {
    let bytes = message.encode_to_vec();
    let kept = old.and_then(|old| old.chains.iter().find(|(encoded, _)| *encoded == bytes));
    let chain = match kept {
        Some((_, chain)) => {
            // Its routes are still wanted.
            if let Terminal::Http(manager) = &chain.terminal {
                context.keep_route_slot(&manager.routes);
            }
            chain.clone()
        }
        None => Arc::new(filter_chain(message, context)?),
    };
    known.push((bytes, chain.clone()));
    Ok(chain)
}

fn filter_chain(message: &ChainMessage, context: &mut Context) -> Result<FilterChain, Rejection> {
    if let Some(socket) = &message.transport_socket {
        transport_socket(socket).at("transport_socket")?;
    }
    fields::unsupported(fields::flag(message.use_proxy_proto.as_ref(), false), "use_proxy_proto")?;
    let Some((last, before)) = message.filters.split_last() else {
        return refuse("a filter chain needs a terminal filter").at("filters");
    };
    let (mut sni, mut limits) = (SniUse::Nothing, Vec::new());
    for (at, filter) in before.iter().enumerate() {
        if let Some(limit) = connection_limit(filter, context).at_index("filters", at)? {
            limits.extend(limit);
            continue;
        }
        match by_sni(filter, context).at_index("filters", at)? {
            Some(found) => sni = found,
            None => {
                terminal(filter, &SniUse::Nothing, context).at_index("filters", at)?;
                let name = &filter.name;
                return refuse(format!("'{name}' is a terminal filter and must be the last one"))
                    .at_index("filters", at);
            }
        }
    }
    let connect_timeout = fields::optional(
        message.transport_socket_connect_timeout.as_ref(),
        "transport_socket_connect_timeout",
    )?;
    Ok(FilterChain {
        metadata: fields::metadata(message.metadata.as_ref()),
        name: context.intern(&message.name),
        limits,
        terminal: terminal(last, &sni, context).at_index("filters", before.len())?,
        connect_timeout,
    })
}

/// A connection limit (inner `None`: turned off); `None` for other filters.
fn connection_limit(
    filter: &Filter,
    context: &mut Context,
) -> Result<Option<Option<ConnectionLimit>>, Rejection> {
    let Some(filter::ConfigType::TypedConfig(config)) = &filter.config_type else { return Ok(None) };
    if config.type_url != LimitMessage::type_url() {
        return Ok(None);
    }
    let message: LimitMessage = fields::unpack(config)?;
    let most = message.max_connections.as_ref().map(|most| most.value);
    let Some(most) = most.filter(|most| *most > 0) else {
        return refuse("value must be greater than or equal to 1").at("max_connections").at("typed_config");
    };
    let enabled = message.runtime_enabled.and_then(|flag| flag.default_value);
    if !fields::flag(enabled.as_ref(), true) {
        return Ok(Some(None));
    }
    let delay = fields::optional(message.delay.as_ref(), "delay").at("typed_config")?;
    let stat_prefix = context.intern(&message.stat_prefix);
    Ok(Some(Some(ConnectionLimit { stat_prefix, count: Count::new(most), delay })))
}

/// Only plaintext, until TLS comes.
pub fn transport_socket(
    socket: &meltemi_xds::pb::envoy::config::core::v3::TransportSocket,
) -> Result<(), Rejection> {
    use meltemi_xds::pb::envoy::config::core::v3::transport_socket::ConfigType;
    match &socket.config_type {
        Some(ConfigType::TypedConfig(config)) if config.type_url == RawBuffer::type_url() => Ok(()),
        None if socket.name == "envoy.transport_sockets.raw_buffer" => Ok(()),
        Some(ConfigType::TypedConfig(config)) => {
            refuse(format!("unknown transport socket '{}' of type '{}'", socket.name, config.type_url))
        }
        None => refuse(format!("unknown transport socket '{}'", socket.name)),
    }
}

/// Filters before a TCP proxy that have the name in the ClientHello decide where to; `None` for others.
fn by_sni(filter: &Filter, context: &mut Context) -> Result<Option<SniUse>, Rejection> {
    let Some(filter::ConfigType::TypedConfig(config)) = &filter.config_type else { return Ok(None) };
    if config.type_url == SniCluster::type_url() {
        context.clusters.keep_directory();
        return Ok(Some(SniUse::Cluster(context.clusters.clone())));
    }
    let port = dynamic::sni_filter(config, context).at("typed_config")?;
    Ok(port.map(|port| SniUse::Host { port }))
}

fn terminal(filter: &Filter, sni: &SniUse, context: &mut Context) -> Result<Terminal, Rejection> {
    let config = match &filter.config_type {
        Some(filter::ConfigType::TypedConfig(config)) => config,
        Some(filter::ConfigType::ConfigDiscovery(_)) => {
            return refuse(format!("filter '{}': discovery of filter configs is not supported", filter.name))
                .at("config_discovery");
        }
        None => return refuse(format!("filter '{}' needs a typed_config", filter.name)),
    };
    if config.type_url == HttpConnectionManager::type_url() {
        let message = Bytes::copy_from_slice(&config.value);
        return Ok(Terminal::Http(Arc::new(hcm::compile(&message, context).at("typed_config")?)));
    }
    if config.type_url == TcpProxy::type_url() {
        let message = fields::unpack(config)?;
        let proxy = tcp_proxy::compile(&message, context).at("typed_config")?;
        return Ok(Terminal::Tcp(Arc::new(TcpProxySettings { sni: sni.clone(), ..proxy })));
    }
    if config.type_url == Echo::type_url() {
        return Ok(Terminal::Echo);
    }
    if config.type_url == DirectResponse::type_url() {
        let message: DirectResponse = fields::unpack(config)?;
        let response = message.response.as_ref().map(fields::data_source).transpose();
        let response = response.at("response").at("typed_config")?.unwrap_or_default();
        return Ok(Terminal::DirectResponse(response.into()));
    }
    refuse(format!("unknown network filter '{}' of type '{}'", filter.name, config.type_url))
        .at("typed_config")
}

fn chain_match(message: &FilterChainMatch, context: &mut Context) -> Result<ChainMatch, Rejection> {
    fields::unsupported(!message.address_suffix.is_empty(), "address_suffix")?;
    fields::unsupported(message.suffix_len.is_some(), "suffix_len")?;
    let port =
        |value: u32| u16::try_from(value).map_err(|_| Rejection::new(format!("port {value} is above 65535")));
    let mut server_names = Vec::with_capacity(message.server_names.len());
    for name in &message.server_names {
        if name.trim_start_matches("*.").contains('*') {
            return refuse(format!(
                "error: partial wildcards are not supported in \"server_names\": '{name}'"
            ))
            .at("server_names");
        }
        server_names.push(context.intern(&name.to_ascii_lowercase()));
    }
    Ok(ChainMatch {
        destination_port: message
            .destination_port
            .as_ref()
            .map(|p| port(p.value))
            .transpose()
            .at("destination_port")?,
        prefix_ranges: ranges(&message.prefix_ranges).at("prefix_ranges")?,
        server_names,
        transport_protocol: context.intern(&message.transport_protocol),
        application_protocols: message
            .application_protocols
            .iter()
            .map(|text| context.intern(text))
            .collect(),
        direct_source_prefix_ranges: ranges(&message.direct_source_prefix_ranges)
            .at("direct_source_prefix_ranges")?,
        source_type: match ConnectionSourceType::try_from(message.source_type) {
            Ok(ConnectionSourceType::Any) => SourceType::Any,
            Ok(ConnectionSourceType::SameIpOrLoopback) => SourceType::SameIpOrLoopback,
            Ok(ConnectionSourceType::External) => SourceType::External,
            Err(_) => return fields::unknown_enum("source_type", message.source_type),
        },
        source_prefix_ranges: ranges(&message.source_prefix_ranges).at("source_prefix_ranges")?,
        source_ports: message
            .source_ports
            .iter()
            .map(|p| port(*p))
            .collect::<Result<_, _>>()
            .at("source_ports")?,
    })
}

/// Ranges of addresses.
pub fn ranges(messages: &[CidrRange]) -> Result<Vec<IpPrefix>, Rejection> {
    messages
        .iter()
        .map(|range| {
            let address: std::net::IpAddr = range
                .address_prefix
                .parse()
                .map_err(|_| Rejection::new(format!("malformed IP address: '{}'", range.address_prefix)))?;
            let most = if address.is_ipv4() { 32 } else { 128 };
            match fields::number(range.prefix_len.as_ref(), 0) {
                len if len <= most => Ok(IpPrefix { address, len: len as u8 }),
                len => refuse(format!("prefix length {len} is above {most}")),
            }
        })
        .collect()
}
