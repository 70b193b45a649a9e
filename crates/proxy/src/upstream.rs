//! Upstream connections: connecting, pooling per worker, HTTP/1 and HTTP/2 streams over them.
//!
//! The router asks [`cluster::ClusterState`] for an endpoint and then for a stream to it; `tcp_proxy` asks for an
//! endpoint and a connection. Invariant: a pooled connection never leaves its worker.

pub mod bytes;
pub mod cluster;
pub mod connect;
pub mod dynamic;
pub mod h1;
pub mod h2;
pub mod limits;
pub mod pool;
pub mod pools;
pub mod proxy_header;
pub mod queue;
mod subsets;
mod zones;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll},
};

use ::bytes::Bytes;

use crate::{
    error::StreamError,
    http::{
        exchange::{Next, Sink, Source, Upstream, Wire},
        headers::HeaderList,
        message::{RequestHead, ResponseHead},
    },
};

/// A request's stream to its endpoint, whatever protocol is spoken there.
#[derive(Debug)]
pub enum UpstreamStream {
    /// An HTTP/1.1 connection of its own; boxed so that it moves cheaply in and out of the pool.
    Http1(Box<h1::Client>),
    /// A stream on a shared HTTP/2 connection.
    Http2(Box<h2::Stream>),
    /// A connection of its own without HTTP: a CONNECT that ends here.
    Bytes(Box<bytes::Bytes>),
}

/// The id of the next connection.
pub(crate) fn next_id() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

/// Passes a call on to whichever stream it is.
macro_rules! either {
    ($self:expr, $stream:ident => $call:expr) => {
        match $self {
            UpstreamStream::Http1($stream) => $call,
            UpstreamStream::Http2($stream) => $call,
            UpstreamStream::Bytes($stream) => $call,
        }
    };
}

impl UpstreamStream {
    /// True when this is not the first request on its connection.
    pub fn is_reused(&self) -> bool {
        match self {
            Self::Http1(client) => client.is_reused(),
            Self::Http2(stream) => stream.is_reused(),
            Self::Bytes(_) => false,
        }
    }

    /// True when it is certain that no byte of the request has left.
    pub fn is_untouched(&self) -> bool {
        match self {
            Self::Http1(client) => client.is_untouched(),
            // What the codec has written of a stream is not known.
            Self::Http2(_) | Self::Bytes(_) => false,
        }
    }

    /// Process-unique id of the connection, for `%UPSTREAM_CONNECTION_ID%`.
    pub fn id(&self) -> u64 {
        match self {
            Self::Http1(client) => client.id(),
            Self::Http2(stream) => stream.id(),
            Self::Bytes(_) => 0,
        }
    }

    /// What the request and its response took so far, as far as the codec knows.
    pub fn wire(&self) -> Wire {
        match self {
            Self::Http1(client) => client.wire(),
            Self::Http2(_) | Self::Bytes(_) => Wire::default(),
        }
    }

    /// Local address of the connection, for `%UPSTREAM_LOCAL_ADDRESS%`.
    pub fn local_addr(&self) -> std::net::SocketAddr {
        either!(self, s => s.local_addr())
    }
}

impl Source for UpstreamStream {
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Next, StreamError>> {
        either!(self, s => s.poll_body(cx))
    }

    fn data(&self) -> &[u8] {
        either!(self, s => s.data())
    }

    fn consume(&mut self, n: usize) {
        either!(self, s => s.consume(n));
    }

    fn take(&mut self, n: usize) -> Bytes {
        either!(self, s => s.take(n))
    }

    fn trailers(&mut self) -> &mut HeaderList {
        either!(self, s => s.trailers())
    }
}

impl Sink for UpstreamStream {
    fn poll_send<S: Source>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
        last: bool,
    ) -> Poll<Result<(), StreamError>> {
        either!(self, s => s.poll_send(cx, source, last))
    }

    fn send_last(&mut self, body: &[u8]) {
        either!(self, s => s.send_last(body));
    }

    fn send_trailers(&mut self, trailers: &HeaderList) {
        either!(self, s => s.send_trailers(trailers));
    }

    fn send_end(&mut self) {
        either!(self, s => s.send_end());
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        either!(self, s => s.poll_flush(cx))
    }
}

impl Upstream for UpstreamStream {
    fn send_request(&mut self, head: &RequestHead, end: bool) {
        either!(self, s => s.send_request(head, end));
    }

    fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut ResponseHead,
    ) -> Poll<Result<(), StreamError>> {
        either!(self, s => s.poll_response(cx, head))
    }

    fn become_tunnel(&mut self) {
        either!(self, s => s.become_tunnel());
    }
}
