//! A connection whose bytes are the body, with no protocol around them: what a CONNECT that ends here is proxied to, and
//! the client's side of a tunnel that begins here.
//!
//! The router drives one through [`crate::upstream::UpstreamStream`], `tcp_proxy` through the traits of
//! [`crate::http::exchange`]. Invariant: the end of one direction leaves the other open.

use std::{
    net::SocketAddr,
    rc::Rc,
    task::{Context, Poll},
};

use crate::{
    error::{Side, StreamError},
    http::{
        Worker,
        config::{NameCase, NameFormat},
        exchange::Upstream,
        h1::{exchange::OverTransport, parse::Limits, transport::Transport},
        message::{BodyLength, RequestHead, ResponseHead},
    },
    stats::Meter,
    stream::Stream,
};

/// No head is ever read.
const LIMITS: Limits =
    Limits { bytes: 64 * 1024, fields: 0, names: NameFormat { case: NameCase::Lower, preserve: false } };

/// A connection of bytes.
#[derive(Debug)]
pub struct Bytes {
    transport: Transport,
    local: SocketAddr,
}

impl Bytes {
    /// A connection to `peer`.
    pub fn new(stream: Stream, worker: Rc<Worker>, peer: Side, meter: Meter) -> Self {
        let local = stream.local_addr();
        let mut transport = Transport::new(stream, worker, peer, LIMITS).metered(meter);
        transport.tunnel();
        Self { transport, local }
    }

    /// Our address.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Bytes that came, and bytes that were sent.
    pub fn totals(&self) -> (u64, u64) {
        (self.transport.received, self.transport.sent)
    }

    /// The connection.
    pub fn stream(&self) -> &Stream {
        self.transport.stream()
    }
}

impl OverTransport for Bytes {
    fn transport(&self) -> &Transport {
        &self.transport
    }

    fn transport_mut(&mut self) -> &mut Transport {
        &mut self.transport
    }
}

impl Upstream for Bytes {
    fn send_request(&mut self, head: &RequestHead, end: bool) {
        // The head is for us alone; the bytes of a CONNECT come after it.
        if end && !head.is_connect() {
            self.transport.send_end();
        }
    }

    fn poll_response(
        &mut self,
        _: &mut Context<'_>,
        head: &mut ResponseHead,
    ) -> Poll<Result<(), StreamError>> {
        // That there is a connection is the answer.
        head.status = 200;
        head.body = BodyLength::Unknown;
        Poll::Ready(Ok(()))
    }

    fn become_tunnel(&mut self) {}
}
