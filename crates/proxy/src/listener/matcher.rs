//! Filter chain matching: the pure function from a new connection to its filter chain.
//!
//! The worker calls [`FilterChains::find`] once per connection; tools that explain a decision may call it too.
//! Order and precedence are Envoy's: destination port, destination address, server name, transport protocol,
//! application protocols, direct source address, source type, source address, source port. Invariant: at each step
//! the most specific entry wins and there is no way back, even when a later step then finds nothing
//! (<https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/listener/v3/listener_components.proto#config-listener-v3-filterchainmatch>).

mod index;
#[cfg(test)]
mod tests;
pub mod tree;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use rustc_hash::FxHashMap;

use crate::listener::FilterChain;

/// A listener's chains, indexed for matching.
#[derive(Debug, Default)]
pub struct FilterChains {
    all: Vec<Arc<FilterChain>>,
    ports: index::Ports,
    /// `filter_chain_matcher`, and the numbers of the chains by their names.
    matcher: Option<Box<ByName>>,
    default: Option<Arc<FilterChain>>,
}

/// A tree that names chains, and their numbers.
type ByName = (tree::Tree, FxHashMap<Arc<str>, u32>);

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
    /// `prefix_len`, at most 32 or 128; more counts as that.
    pub len: u8,
}

impl IpPrefix {
    /// True when `address` lies in the range. IPv4 and IPv6 never meet.
    pub fn contains(&self, address: IpAddr) -> bool {
        mask(address, self.len) == mask(self.address, self.len)
    }
}

/// `ConnectionSourceType`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum SourceType {
    /// Any.
    #[default]
    Any,
    /// From 127.0.0.1, ::1 or the destination address itself.
    SameIpOrLoopback,
    /// From anywhere else.
    External,
}

/// What Envoy takes for the address of a Unix socket when it matches: within no range but all of IPv4, and the same at both
/// ends.
pub const NO_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::BROADCAST), 0);

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

impl ConnectionView<'_> {
    /// Envoy's `isSameIpOrLoopback`: the canonical loopback addresses only, not all of 127.0.0.0/8.
    fn is_same_ip_or_loopback(&self) -> bool {
        let source = self.source.ip();
        match source {
            IpAddr::V4(ip) if ip == Ipv4Addr::LOCALHOST => true,
            IpAddr::V6(ip) if ip.is_loopback() => true,
            _ => source == self.destination.ip(),
        }
    }
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
    /// With a matcher chains are found by name.
    #[error("error adding listener: \"name\" field is required when using a listener matcher")]
    Nameless,
    /// Two chains have one name.
    #[error("error adding listener: \"name\" field must be unique when using a listener matcher: '{0}'")]
    SameName(String),
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
        let mut built = Self { default, ..Self::default() };
        for (conditions, chain) in &chains {
            for name in &conditions.server_names {
                if name.strip_prefix("*.").unwrap_or(name).contains('*') {
                    let (chain, name) = (chain.name.to_string(), name.to_string());
                    return Err(ChainError::PartialWildcard { chain, name });
                }
            }
            built.ports.insert(conditions, built.all.len() as u32).map_err(|first| {
                ChainError::Duplicate {
                    first: chains[first as usize].1.name.to_string(),
                    second: chain.name.to_string(),
                }
            })?;
            built.all.push(chain.clone());
        }
        built.ports.seal();
        Ok(built)
    }

    /// Chains that a matcher finds by their names.
    pub fn by_matcher(
        matcher: tree::Tree,
        chains: Vec<Arc<FilterChain>>,
        default: Option<Arc<FilterChain>>,
    ) -> Result<Self, ChainError> {
        let mut names = FxHashMap::default();
        for (at, chain) in chains.iter().enumerate() {
            if chain.name.is_empty() {
                return Err(ChainError::Nameless);
            }
            if names.insert(chain.name.clone(), at as u32).is_some() {
                return Err(ChainError::SameName(chain.name.to_string()));
            }
        }
        Ok(Self { all: chains, matcher: Some(Box::new((matcher, names))), default, ..Self::default() })
    }

    /// The chain for a connection; the default one when none matches.
    pub fn find(&self, connection: &ConnectionView<'_>) -> Option<&Arc<FilterChain>> {
        if let Some(matcher) = &self.matcher {
            let (tree, names) = &**matcher;
            return match tree.find(connection) {
                // A name that no chain has is no reason to take another chain, as in Envoy.
                Some(name) => names.get(name).and_then(|at| self.all.get(*at as usize)),
                None => self.default.as_ref(),
            };
        }
        match self.ports.find(connection) {
            Some(at) => self.all.get(at as usize),
            None => self.default.as_ref(),
        }
    }

    /// Every chain, the default one last.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<FilterChain>> {
        self.all.iter().chain(self.default.as_ref())
    }

    /// True when this very chain is one of these.
    pub fn contains(&self, chain: &Arc<FilterChain>) -> bool {
        self.iter().any(|other| Arc::ptr_eq(other, chain))
    }
}

/// The address with all bits beyond `len` cleared.
fn mask(address: IpAddr, len: u8) -> IpAddr {
    match address {
        IpAddr::V4(ip) => {
            let bits = u32::MAX.checked_shl(32 - u32::from(len.min(32))).unwrap_or(0);
            IpAddr::V4((u32::from(ip) & bits).into())
        }
        IpAddr::V6(ip) => {
            let bits = u128::MAX.checked_shl(128 - u32::from(len.min(128))).unwrap_or(0);
            IpAddr::V6((u128::from(ip) & bits).into())
        }
    }
}
