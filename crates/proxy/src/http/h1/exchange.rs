//! Connections that leave bodies to their [`Transport`]: a server's, a client's, one of bytes alone. Called by the router.
//!
//! Invariant: what passes here is the transport's; heads are each connection's own.

use std::task::{Context, Poll};

use super::transport::Transport;
use crate::{
    error::StreamError,
    http::{
        exchange::{Next, Sink, Source},
        headers::HeaderList,
    },
};

/// What speaks through a transport and leaves bodies to it: it is source and sink by that.
pub(crate) trait OverTransport {
    /// The transport.
    fn transport(&self) -> &Transport;

    /// The same, to read and write through.
    fn transport_mut(&mut self) -> &mut Transport;
}

impl<T: OverTransport> Source for T {
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Next, StreamError>> {
        self.transport_mut().poll_body(cx)
    }

    fn data(&self) -> &[u8] {
        self.transport().data()
    }

    fn consume(&mut self, n: usize) {
        self.transport_mut().consume(n);
    }

    fn trailers(&mut self) -> &mut HeaderList {
        self.transport_mut().trailers()
    }
}

impl<T: OverTransport> Sink for T {
    fn poll_send<S: Source>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
        last: bool,
    ) -> Poll<Result<(), StreamError>> {
        self.transport_mut().poll_send(cx, source, last)
    }

    fn send_last(&mut self, body: &[u8]) {
        self.transport_mut().send_last(body);
    }

    fn send_trailers(&mut self, trailers: &HeaderList) {
        self.transport_mut().send_trailers(trailers);
    }

    fn send_end(&mut self) {
        self.transport_mut().send_end();
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        self.transport_mut().poll_flush(cx)
    }
}
