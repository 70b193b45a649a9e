//! A finished request or connection as logs and header values see it.
//!
//! Invariant: it only borrows; nothing is formatted until an operator asks.

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::{
    cluster::{Cluster, Endpoint},
    error::Flags,
    http::{
        connection_manager::Info,
        exchange::Wire,
        headers::HeaderList,
        message::{Protocol, RequestHead, ResponseHead},
    },
    listener::connection::Connection,
    stream::UNSPECIFIED,
};

/// What is known when something ended (or, for header values, so far).
#[derive(Debug)]
pub struct Record<'a> {
    /// The request's head; `None` for TCP.
    pub request: Option<&'a RequestHead>,
    /// The response's head.
    pub response: Option<&'a ResponseHead>,
    /// The response's trailers.
    pub trailers: Option<&'a HeaderList>,
    /// Downstream protocol; `None` for TCP.
    pub protocol: Option<Protocol>,
    /// Status that was sent; 0 for none.
    pub status: u16,
    /// Response flags.
    pub flags: Flags,
    /// `%RESPONSE_CODE_DETAILS%`.
    pub details: &'a str,
    /// `%CONNECTION_TERMINATION_DETAILS%`.
    pub termination: &'a str,
    /// `%UPSTREAM_TRANSPORT_FAILURE_REASON%`.
    pub transport_failure: &'a str,
    /// Body bytes received from downstream, and sent to it.
    pub bytes: (u64, u64),
    /// When it began.
    pub start: SystemTime,
    /// How long its parts took.
    pub times: Times,
    /// Route name.
    pub route: &'a str,
    /// Cluster: name, and the name statistics use.
    pub cluster: Option<(&'a str, &'a str)>,
    /// The cluster itself.
    pub upstream: Option<&'a Cluster>,
    /// Endpoint of the last try.
    pub endpoint: Option<&'a Endpoint>,
    /// Our address on the upstream connection.
    pub upstream_local: SocketAddr,
    /// Address the client connected to.
    pub local: SocketAddr,
    /// The client as forwarding headers say.
    pub remote: SocketAddr,
    /// The client as its connection says.
    pub direct_remote: SocketAddr,
    /// SNI.
    pub server_name: &'a str,
    /// Connection id.
    pub connection: u64,
    /// Tries.
    pub attempts: u32,
    /// All that is known of an HTTP exchange, for what is worked out only when asked.
    pub info: Option<&'a Info>,
    /// The same of a TCP connection.
    pub outcome: Option<&'a crate::tcp_proxy::Outcome>,
    /// What protocol detection found; empty when nobody looked.
    pub detected: &'a str,
    /// The Unix socket that the client came by; empty for TCP.
    pub pipe: &'a str,
    /// The downstream connection.
    pub downstream: Option<&'a Connection>,
    /// Bytes to and from the client, with all that frames them.
    pub wire: Wire,
    /// Likewise to and from the endpoint.
    pub upstream_wire: Wire,
    /// When in its life it is logged.
    pub kind: Kind,
}

impl Record<'_> {
    /// Appends what `%STREAM_ID%` is; false when there is no stream.
    pub(super) fn write_stream_id(&self, out: &mut Vec<u8>) -> bool {
        super::operator::stream_id(out, self)
    }
}

/// Durations since the start; `None` when the moment never came.
#[derive(Debug, Clone, Copy, Default)]
pub struct Times {
    /// To the end.
    pub total: Option<Duration>,
    /// To the last byte of the request.
    pub request: Option<Duration>,
    /// To the first byte of the upstream's response.
    pub response: Option<Duration>,
    /// To the last byte of the request written upstream.
    pub request_sent: Option<Duration>,
}

/// `data.accesslog.v3.AccessLogType`: why there is a record now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Kind {
    /// A listener's, or header values.
    #[default]
    NotSet,
    /// A TCP connection has its upstream.
    TcpUpstreamConnected,
    /// A TCP connection goes on.
    TcpPeriodic,
    /// A TCP connection is over.
    TcpConnectionEnd,
    /// A request has come.
    DownstreamStart,
    /// A request goes on.
    DownstreamPeriodic,
    /// A request is over.
    DownstreamEnd,
    /// A tunnel stands.
    DownstreamTunnelSuccessfullyEstablished,
    /// A TCP connection has come.
    TcpConnectionStart,
}

impl Kind {
    /// Envoy's name and number.
    pub const fn named(self) -> (&'static str, i32) {
        match self {
            Self::NotSet => ("NotSet", 0),
            Self::TcpUpstreamConnected => ("TcpUpstreamConnected", 1),
            Self::TcpPeriodic => ("TcpPeriodic", 2),
            Self::TcpConnectionEnd => ("TcpConnectionEnd", 3),
            Self::DownstreamStart => ("DownstreamStart", 4),
            Self::DownstreamPeriodic => ("DownstreamPeriodic", 5),
            Self::DownstreamEnd => ("DownstreamEnd", 6),
            Self::DownstreamTunnelSuccessfullyEstablished => ("DownstreamTunnelSuccessfullyEstablished", 10),
            Self::TcpConnectionStart => ("TcpConnectionStart", 14),
        }
    }
}

impl Default for Record<'_> {
    fn default() -> Self {
        Self {
            request: None,
            response: None,
            trailers: None,
            protocol: None,
            status: 0,
            flags: Flags::default(),
            details: "",
            termination: "",
            transport_failure: "",
            bytes: (0, 0),
            start: UNIX_EPOCH,
            times: Times::default(),
            route: "",
            cluster: None,
            upstream: None,
            endpoint: None,
            upstream_local: UNSPECIFIED,
            local: UNSPECIFIED,
            remote: UNSPECIFIED,
            direct_remote: UNSPECIFIED,
            server_name: "",
            connection: 0,
            attempts: 0,
            info: None,
            outcome: None,
            detected: "",
            pipe: "",
            downstream: None,
            wire: Wire::default(),
            upstream_wire: Wire::default(),
            kind: Kind::NotSet,
        }
    }
}
