//! What is known of a downstream connection once its filter chain is chosen.
//!
//! The worker fills it; terminal filters and everything they log read it.
//! Invariant: nothing in it changes while the connection lives.

use std::{net::SocketAddr, sync::Arc};

use crate::{
    drain::Ticket,
    listener::{FilterChain, Listener},
};

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
    /// Process-unique id, for `%CONNECTION_ID%`.
    pub id: u64,
    /// Says when to end.
    pub drain: Ticket,
}
