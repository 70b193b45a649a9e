//! Listener filters: what looks at a new connection before its filter chain is chosen.
//!
//! The worker runs them under `listener_filters_timeout`. Bytes they read are handed on in `prefix`, so nothing is
//! peeked twice and nobody spins on a readable socket.
//! Invariant: at most [`MAX_PREFIX`] bytes are ever held for a connection here.

mod client_hello;
mod disabled;
mod http_inspector;
mod proxy_protocol;

use std::{io, net::SocketAddr, sync::Arc};

use socket2::SockRef;

use crate::{
    listener::{
        HeaderVersions, Listener, ListenerFilter,
        connection::Detected,
        matcher::{ConnectionView, NO_ADDRESS},
    },
    stream::{Socket, UNSPECIFIED},
};

pub use self::disabled::{DestinationMatch, InstalledFilter};

/// The most that inspection may read: a ClientHello in several records, or a PROXY v2 header with extensions.
pub const MAX_PREFIX: usize = 64 * 1024;

/// What inspection has found out so far; whole after [`inspect`], as far as it came after a time-out.
#[derive(Debug)]
pub struct Inspected {
    /// The connection.
    pub stream: Socket,
    /// Bytes read from it that belong to whoever serves it.
    pub prefix: Vec<u8>,
    /// Local address, restored where a filter did so.
    pub local: SocketAddr,
    /// True when `local` is a restored original destination.
    pub local_restored: bool,
    /// Remote address, as the PROXY protocol says.
    pub remote: SocketAddr,
    /// SNI in lower case.
    pub server_name: Option<Arc<str>>,
    /// A ClientHello came.
    pub tls_detected: bool,
    /// ALPN of the ClientHello, or what http_inspector saw.
    pub application_protocols: Vec<Arc<str>>,
    /// The socket's own remote address.
    pub direct_remote: SocketAddr,
    /// The filter that is at work: inspection may be broken off and gone on with.
    pub next: usize,
    /// What the filters made of it.
    pub detected: Detected,
}

/// Why a connection ends during inspection.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// The peer left.
    #[error("the peer closed the connection during inspection")]
    RemoteClose,
    /// The bytes are not what a filter insists on.
    #[error("{0}")]
    Malformed(&'static str),
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What a parser of a byte prefix says.
#[derive(Debug, PartialEq, Eq)]
enum Parsed<T> {
    /// Not enough bytes to tell.
    Incomplete,
    /// Certainly something else.
    Other,
    /// Here it is.
    Done(T),
}

impl Inspected {
    /// A connection about which nothing is known but its addresses.
    pub fn new(stream: Socket, local: SocketAddr, remote: SocketAddr) -> Self {
        Self {
            stream,
            prefix: Vec::new(),
            local,
            local_restored: false,
            remote,
            server_name: None,
            tls_detected: false,
            application_protocols: Vec::new(),
            direct_remote: remote,
            next: 0,
            detected: Detected::Unknown,
        }
    }

    /// Where the client wanted to go; `None` for a Unix socket.
    pub fn destination(&self) -> Option<SocketAddr> {
        (self.local != UNSPECIFIED).then_some(self.local)
    }

    /// What matching may look at so far.
    pub fn view(&self) -> ConnectionView<'_> {
        let known = |address| if address == UNSPECIFIED { NO_ADDRESS } else { address };
        ConnectionView {
            destination: known(self.local),
            source: known(self.remote),
            direct_source: known(self.direct_remote),
            server_name: self.server_name.as_deref().unwrap_or(""),
            transport_protocol: if self.tls_detected { "tls" } else { "raw_buffer" },
            application_protocols: &self.application_protocols,
        }
    }

    /// Reads more bytes, at least one.
    async fn read_more(&mut self) -> Result<(), FilterError> {
        if self.prefix.len() >= MAX_PREFIX {
            return Err(FilterError::Malformed("more bytes than inspection may read"));
        }
        loop {
            self.stream.readable().await?;
            let mut chunk = [0; 2048];
            match self.stream.try_read(&mut chunk) {
                Ok(0) => return Err(FilterError::RemoteClose),
                Ok(n) => {
                    self.prefix.extend_from_slice(&chunk[..n]);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn restore_destination(&mut self) {
        let Socket::Tcp(stream) = &self.stream else { return };
        let socket = SockRef::from(stream);
        let original = match self.local {
            SocketAddr::V4(_) => socket.original_dst_v4(),
            SocketAddr::V6(_) => socket.original_dst_v6(),
        };
        // Without a redirect rule there is no original destination: the connection came here on purpose.
        if let Some(original) = original.ok().and_then(|address| address.as_socket()) {
            self.local = original;
            self.local_restored = true;
            return;
        }
        // What TPROXY leads here still says where it went to.
        let transparent = match self.local {
            SocketAddr::V4(_) => socket.ip_transparent_v4(),
            SocketAddr::V6(_) => socket.ip_transparent_v6(),
        };
        self.local_restored |= transparent.unwrap_or(false);
    }

    async fn inspect_tls(&mut self) -> Result<(), FilterError> {
        loop {
            match client_hello::parse(&self.prefix) {
                Parsed::Incomplete => self.read_more().await?,
                Parsed::Other => return Ok(()),
                Parsed::Done(hello) => {
                    self.tls_detected = true;
                    self.server_name = hello.server_name.map(Arc::from);
                    if !hello.application_protocols.is_empty() {
                        self.application_protocols = hello.application_protocols;
                    }
                    return Ok(());
                }
            }
        }
    }

    async fn inspect_http(&mut self) -> Result<(), FilterError> {
        if self.tls_detected {
            return Ok(());
        }
        loop {
            match http_inspector::parse(&self.prefix) {
                Parsed::Incomplete => self.read_more().await?,
                Parsed::Other => return Ok(()),
                Parsed::Done(protocol) => {
                    self.application_protocols = vec![protocol.into()];
                    return Ok(());
                }
            }
        }
    }

    async fn read_proxy_header(&mut self, versions: HeaderVersions) -> Result<(), FilterError> {
        loop {
            match proxy_protocol::parse(&self.prefix, versions) {
                Parsed::Incomplete => self.read_more().await?,
                Parsed::Other if versions.optional => return Ok(()),
                Parsed::Other => return Err(FilterError::Malformed("not a PROXY protocol header")),
                Parsed::Done(header) => {
                    self.prefix.drain(..header.length);
                    if let Some((source, destination)) = header.addresses {
                        self.remote = source;
                        self.local_restored = destination != self.local;
                        self.local = destination;
                    }
                    return Ok(());
                }
            }
        }
    }
}

/// Runs the filters in order, from the one that was at work. Cancel-safe: what was found stays in `connection`.
pub async fn inspect(filters: &[InstalledFilter], connection: &mut Inspected) -> Result<(), FilterError> {
    while let Some(installed) = filters.get(connection.next) {
        match installed.filter {
            _ if !installed.looks_at(connection.destination()) => {}
            ListenerFilter::OriginalDst => connection.restore_destination(),
            ListenerFilter::TlsInspector => connection.inspect_tls().await?,
            ListenerFilter::HttpInspector => connection.inspect_http().await?,
            ListenerFilter::ProxyProtocol(versions) => connection.read_proxy_header(versions).await?,
        }
        connection.next += 1;
    }
    Ok(())
}

impl Listener {
    /// True when a filter of this kind looks at connections to `destination`.
    pub fn looks_with(&self, filter: ListenerFilter, destination: Option<SocketAddr>) -> bool {
        let mut filters = self.filters.iter();
        filters.any(|installed| installed.filter == filter && installed.looks_at(destination))
    }
}
