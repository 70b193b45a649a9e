//! What is known of a downstream connection once its filter chain is chosen.
//!
//! The worker fills it; terminal filters and everything they log read it.
//! Invariant: nothing in it changes while the connection lives.

use std::{net::SocketAddr, sync::Arc};

use crate::{
    drain::Ticket,
    listener::{FilterChain, Listener},
    stream::UNSPECIFIED,
};

/// What a connection turned out to speak, and how that became known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Detected {
    /// Nobody looked.
    #[default]
    Unknown,
    /// The client opened with a TLS ClientHello.
    Tls,
    /// The client opened with an HTTP/1.0 request.
    Http10,
    /// The client opened with an HTTP/1.1 request.
    Http11,
    /// The client opened with the HTTP/2 preface.
    Http2,
    /// The client opened with something else.
    Tcp,
    /// The server spoke first.
    ServerFirst,
    /// Nobody spoke within `listener_filters_timeout`.
    Silent,
}

impl Detected {
    /// As logs say it; empty when nobody looked.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "",
            Self::Tls => "tls",
            Self::Http10 => "http/1.0",
            Self::Http11 => "http/1.1",
            Self::Http2 => "h2c",
            Self::Tcp => "tcp",
            Self::ServerFirst => "server-first",
            Self::Silent => "silent",
        }
    }
}

/// A downstream connection with its pinned configuration.
#[derive(Debug)]
pub struct Connection {
    /// The listener that took it (after a hand-off by original destination: the one it was handed to).
    pub listener: Arc<Listener>,
    /// The chosen filter chain; stays the same whatever updates come.
    pub chain: Arc<FilterChain>,
    /// Local address, restored to the original destination where a listener filter did so.
    pub local: SocketAddr,
    /// True when `local` is a restored original destination.
    pub local_restored: bool,
    /// Remote address, as the PROXY protocol says where it was used.
    pub remote: SocketAddr,
    /// The socket's own remote address.
    pub direct_remote: SocketAddr,
    /// SNI, lower case, when a ClientHello carried one.
    pub server_name: Option<Arc<str>>,
    /// True when the peer opened with a TLS ClientHello.
    pub tls_detected: bool,
    /// What listener filters made of its first bytes.
    pub detected: Detected,
    /// Process-unique id, for `%CONNECTION_ID%`.
    pub id: u64,
    /// Says when to end.
    pub drain: Ticket,
}

impl Connection {
    /// The Unix socket that it came in by, for logs; empty for TCP. Clients of Unix sockets have no name of their own, so
    /// that Envoy prints this one for both ends.
    pub fn pipe(&self) -> &str {
        let came_by_tcp = self.direct_remote != UNSPECIFIED;
        let mut paths = self.listener.addresses.iter().filter_map(|address| address.path());
        paths.next().filter(|_| !came_by_tcp).map_or("", |path| path)
    }
}
