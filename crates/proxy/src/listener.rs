//! Listeners and filter chains, compiled: what a worker needs to accept a connection and hand it on.
//!
//! A connection pins the [`Listener`] and the [`FilterChain`] it was matched to until it ends, whatever updates come.
//! Whoever compiles an updated listener keeps the `Arc<FilterChain>` of every chain that did not change: its
//! connections then stay, those of the other chains are drained.

pub mod address;
pub mod connection;
pub mod filters;
pub mod limit;
pub mod matcher;
pub mod stats;

use std::{sync::Arc, time::Duration};

use self::address::ListenAddress;
use crate::{
    access_log::AccessLog,
    cluster::{ClusterSlot, Keepalive, metadata::Criteria},
    http::config::HttpConnectionManager,
};

/// One `Listener` resource.
#[derive(Debug)]
pub struct Listener {
    /// Resource name.
    pub name: Arc<str>,
    /// Where it listens; several when `additional_addresses` are set.
    pub addresses: Vec<ListenAddress>,
    /// False: only reached through `use_original_dst` hand-off.
    pub bind_to_port: bool,
    /// `SO_REUSEPORT` per worker is the default; false makes worker 0 accept alone.
    pub reuse_port: bool,
    /// `traffic_direction: INBOUND`, for `/drain_listeners?inboundonly`.
    pub inbound: bool,
    /// `traffic_direction`, for logs.
    pub direction: u8,
    /// `metadata`, for logs.
    pub metadata: Option<Arc<serde_json::Value>>,
    /// Hand the connection to the listener that matches its original destination.
    pub use_original_dst: bool,
    /// Prefix of its statistics (`stat_prefix`, else the address with colons as underscores).
    pub stat_prefix: Arc<str>,
    /// `per_connection_buffer_limit_bytes`.
    pub buffer_limit: usize,
    /// What looks at the connection before a chain is chosen.
    pub filters: Vec<filters::InstalledFilter>,
    /// `listener_filters_timeout`; zero is none. Default 15 s.
    pub filters_timeout: Duration,
    /// `continue_on_listener_filters_timeout`.
    pub continue_on_timeout: bool,
    /// Chains with their conditions, indexed for matching.
    pub chains: crate::listener::matcher::FilterChains,
    /// Listener-level access logs: connections that matched no chain.
    pub access_log: Vec<AccessLog>,
    /// `tcp_backlog_size`.
    pub backlog: i32,
    /// `freebind`: the address need not be there yet.
    pub freebind: bool,
    /// `transparent`: connections to other addresses are led here; where they went to is their local address.
    pub transparent: bool,
    /// `tcp_keepalive` of its connections.
    pub keepalive: Option<Keepalive>,
    /// `ignore_global_conn_limit`.
    pub ignores_global_limit: bool,
}

/// A listener filter that we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerFilter {
    /// `envoy.filters.listener.original_dst`: SO_ORIGINAL_DST becomes the local address.
    OriginalDst,
    /// `envoy.filters.listener.tls_inspector`: SNI, ALPN and transport protocol.
    TlsInspector,
    /// `envoy.filters.listener.http_inspector`: HTTP/1.x or HTTP/2 preface.
    HttpInspector,
    /// `envoy.filters.listener.proxy_protocol`.
    ProxyProtocol(HeaderVersions),
}

/// Which headers of the PROXY protocol are taken; by default either version, and one must come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HeaderVersions {
    /// `allow_requests_without_proxy_protocol`: whatever is not a header that is taken is left to who comes next.
    pub optional: bool,
    /// `disallowed_versions` has V1.
    pub no_version_1: bool,
    /// `disallowed_versions` has V2.
    pub no_version_2: bool,
}

/// One filter chain.
#[derive(Debug)]
pub struct FilterChain {
    /// `name`, possibly empty.
    pub name: Arc<str>,
    /// `envoy.filters.network.connection_limit`, in order.
    pub limits: Vec<limit::ConnectionLimit>,
    /// `metadata`, for logs.
    pub metadata: Option<Arc<serde_json::Value>>,
    /// The terminal network filter.
    pub terminal: Terminal,
    /// `transport_socket_connect_timeout`.
    pub connect_timeout: Option<Duration>,
}

/// What a filter chain ends in.
#[derive(Debug)]
pub enum Terminal {
    /// `envoy.filters.network.http_connection_manager`.
    Http(Arc<HttpConnectionManager>),
    /// `envoy.filters.network.tcp_proxy`.
    Tcp(Arc<TcpProxy>),
    /// `envoy.filters.network.direct_response`: what is said.
    DirectResponse(Arc<[u8]>),
    /// `envoy.filters.network.echo`.
    Echo,
}

/// What filters before a TCP proxy do with the name in the ClientHello.
#[derive(Debug, Clone, Default)]
pub enum SniUse {
    /// Nothing.
    #[default]
    Nothing,
    /// `envoy.filters.network.sni_cluster`: it is the cluster's name.
    Cluster(Arc<crate::cluster::store::ClusterStore>),
    /// `envoy.filters.network.sni_dynamic_forward_proxy`: it is resolved, and connected to at this port.
    Host {
        /// `port_value`, default 443.
        port: u16,
    },
}

/// `envoy.filters.network.tcp_proxy`.
#[derive(Debug)]
pub struct TcpProxy {
    /// Prefix of its statistics.
    pub stat_prefix: Arc<str>,
    /// Targets with their weights, and what is asked of their hosts (`metadata_match`); one when `cluster` is set.
    pub clusters: Vec<(Arc<ClusterSlot>, u32, Option<Box<Criteria>>)>,
    /// `idle_timeout`, default 1 h; `None` when zero.
    pub idle_timeout: Option<Duration>,
    /// `max_connect_attempts`, default 1.
    pub max_connect_attempts: u32,
    /// `backoff_options`: pauses between attempts, at first and at most.
    pub backoff: Option<(Duration, Duration)>,
    /// `max_downstream_connection_duration`.
    pub max_duration: Option<Duration>,
    /// `max_downstream_connection_duration_jitter_percentage`, in hundredths: up to so much longer.
    pub duration_jitter: u32,
    /// `tunneling_config`: bytes travel inside an HTTP request.
    pub tunnel: Option<Box<crate::tcp_proxy::tunnel::Tunnel>>,
    /// What the name in the ClientHello decides.
    pub sni: SniUse,
    /// `hash_policy.source_ip`: the client's address chooses the endpoint where the balancer hashes.
    pub hash_source_ip: bool,
    /// Where connections are logged.
    pub access_log: Vec<AccessLog>,
    /// When they are logged besides their end.
    pub log_times: LogTimes,
}

/// `TcpAccessLogOptions`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogTimes {
    /// `flush_access_log_on_start`.
    pub start: bool,
    /// `flush_access_log_on_connected`.
    pub connected: bool,
    /// `access_log_flush_interval`.
    pub interval: Option<Duration>,
}
