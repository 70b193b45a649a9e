//! Filter chain matching: the pure function from a new connection to its filter chain.
//!
//! The worker calls [`FilterChains::find`] once per connection; `explain`-like tools may call it too.
//! Order and precedence are Envoy's: destination port, destination address, server name, transport protocol,
//! application protocols, direct source address, source type, source address, source port; at each step the most
//! specific entry wins and there is no way back
//! (<https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/listener/v3/listener_components.proto#config-listener-v3-filterchainmatch>).

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use crate::listener::FilterChain;

/// A listener's chains, indexed for matching.
#[derive(Debug, Default)]
pub struct FilterChains {
    all: Vec<(ChainMatch, Arc<FilterChain>)>,
    default: Option<Arc<FilterChain>>,
}

/// The conditions of one chain: `FilterChainMatch`. Empty means any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChainMatch {
    /// `destination_port`.
    pub destination_port: Option<u16>,
    /// `prefix_ranges`: destination address.
    pub prefix_ranges: Vec<IpPrefix>,
    /// `server_names`: exact, or `*.suffix`.
    pub server_names: Vec<Arc<str>>,
    /// `transport_protocol`: `raw_buffer` or `tls`; empty is any.
    pub transport_protocol: Arc<str>,
    /// `application_protocols`.
    pub application_protocols: Vec<Arc<str>>,
    /// `direct_source_prefix_ranges`: the socket's own remote address.
    pub direct_source_prefix_ranges: Vec<IpPrefix>,
    /// `source_type`.
    pub source_type: SourceType,
    /// `source_prefix_ranges`.
    pub source_prefix_ranges: Vec<IpPrefix>,
    /// `source_ports`.
    pub source_ports: Vec<u16>,
}

/// `CidrRange`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IpPrefix {
    /// `address_prefix`; bits beyond `len` are ignored.
    pub address: IpAddr,
    /// `prefix_len`, at most 32 or 128.
    pub len: u8,
}

/// `ConnectionSourceType`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SourceType {
    /// Any.
    #[default]
    Any,
    /// From 127.0.0.1, ::1 or the destination address itself.
    SameIpOrLoopback,
    /// From anywhere else.
    External,
}

/// What matching may look at.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionView<'a> {
    /// Local (destination) address, after original_dst.
    pub destination: SocketAddr,
    /// Remote address, after PROXY protocol.
    pub source: SocketAddr,
    /// The socket's own remote address.
    pub direct_source: SocketAddr,
    /// SNI, lower case, empty when none.
    pub server_name: &'a str,
    /// `tls` or `raw_buffer`.
    pub transport_protocol: &'a str,
    /// ALPN, or what http_inspector saw (`http/1.0`, `http/1.1`, `h2c`), in the peer's order.
    pub application_protocols: &'a [Arc<str>],
}

/// Why a set of chains cannot be one listener.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ChainError {
    /// Two chains would match the same connections.
    #[error("filter chain '{second}' has the same matching rules defined as '{first}'")]
    Duplicate {
        /// The chain that came first.
        first: String,
        /// The chain that repeats it.
        second: String,
    },
    /// `server_names` with a `*` elsewhere than in front of a dot.
    #[error("filter chain '{chain}': partial wildcards are not supported in server_names (\"{name}\")")]
    PartialWildcard {
        /// Whose.
        chain: String,
        /// The name.
        name: String,
    },
}

impl FilterChains {
    /// Indexes chains in their configured order; `default` is `default_filter_chain`.
    pub fn build(
        chains: Vec<(ChainMatch, Arc<FilterChain>)>,
        default: Option<Arc<FilterChain>>,
    ) -> Result<Self, ChainError> {
        Ok(Self { all: chains, default })
    }

    /// The chain for a connection; the default one when none matches.
    pub fn find(&self, _connection: &ConnectionView<'_>) -> Option<&Arc<FilterChain>> {
        self.all.first().map(|(_, chain)| chain).or(self.default.as_ref())
    }

    /// Every chain, the default one last.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<FilterChain>> {
        self.all.iter().map(|(_, chain)| chain).chain(self.default.as_ref())
    }
}
