//! One request and its response, whatever codec carries them: the traits between codecs and request phases.
//!
//! [`Source`] is a message body that arrives, [`Sink`] one that leaves; both sides of an exchange are both. The
//! request phases ([`crate::http::connection_manager`]) are generic over [`Downstream`] (HTTP/1 and HTTP/2 streams)
//! and use the closed enum `crate::upstream::UpstreamStream` on the other side.
//! Invariant: a sink takes no more than it can pass on, and a source reads no more while its data lies untaken;
//! that is all there is to backpressure.

use std::task::{Context, Poll};

use bytes::Bytes;

use crate::{
    error::StreamError,
    http::{
        headers::HeaderList,
        message::{Protocol, RequestHead, ResponseHead},
    },
};

/// What a message and its answer took on their connection, with all that frames them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wire {
    /// Bytes that came.
    pub received: u64,
    /// Bytes that were written.
    pub sent: u64,
    /// As Envoy counts the fields of the head that came.
    pub head_received: u32,
    /// Likewise of the head that was sent.
    pub head_sent: u32,
}

/// What comes next of an arriving body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// [`Source::data`] is not empty. `last`: neither data nor trailers follow it (codecs that cannot know yet say
    /// false and report [`Next::End`] later).
    Data {
        /// Nothing follows.
        last: bool,
    },
    /// All data was taken; [`Source::trailers`] holds the trailers. Nothing follows.
    Trailers,
    /// All data was taken; there were no trailers.
    End,
}

/// The arriving half of an exchange: the body of the request (downstream) or of the response (upstream).
pub trait Source {
    /// What comes next. After an end it keeps answering the same; data stays until it is consumed.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Next, StreamError>>;

    /// Data that has arrived and is not consumed.
    fn data(&self) -> &[u8];

    /// Takes `n` bytes of [`Self::data`] away.
    fn consume(&mut self, n: usize);

    /// Takes up to `n` bytes away as a buffer of their own; codecs that hold `Bytes` give them without a copy.
    fn take(&mut self, n: usize) -> Bytes {
        let n = n.min(self.data().len());
        let bytes = Bytes::copy_from_slice(&self.data()[..n]);
        self.consume(n);
        bytes
    }

    /// The trailers, once [`Next::Trailers`] was reported.
    fn trailers(&mut self) -> &mut HeaderList;
}

/// The leaving half of an exchange: the body of the response (downstream) or of the request (upstream).
/// Everything may be queued until [`Self::poll_flush`], so that head and body leave in one write.
pub trait Sink {
    /// Passes on as much of `source.data()` as it can and consumes that much. `Pending` when it can take nothing.
    /// `last`: nothing follows once all of it is taken, so the end is sent along.
    fn poll_send<S: Source>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
        last: bool,
    ) -> Poll<Result<(), StreamError>>;

    /// Queues a whole small body of our own making, and the end.
    fn send_last(&mut self, body: &[u8]);

    /// Queues trailers and the end.
    fn send_trailers(&mut self, trailers: &HeaderList);

    /// Queues the end.
    fn send_end(&mut self);

    /// Writes what is queued; must be called before waiting for anything else.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>>;
}

/// A request as a codec hands it to the request phases; the head comes separately.
pub trait Downstream: Source + Sink {
    /// The codec.
    fn protocol(&self) -> Protocol;

    /// Queues an interim (1xx) head.
    fn send_interim(&mut self, head: &ResponseHead);

    /// Queues the final head. Framing is the codec's: from `head.body`, and for HTTP/1 what the request's method and
    /// version ask for. Connection-level headers (`connection`, `transfer-encoding`) are the codec's to add.
    /// `end`: nothing follows.
    fn send_head(&mut self, head: &ResponseHead, end: bool);

    /// Ready when the client went away or reset the stream while we wait for the upstream.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<StreamError>;

    /// Ends the stream badly after the response has begun: closes (HTTP/1) or resets (HTTP/2).
    fn abort(&mut self);

    /// The connection should end after this response (draining, limits): `connection: close` or GOAWAY.
    fn close_after_response(&mut self);

    /// True when the request body has arrived completely and was consumed.
    fn request_complete(&self) -> bool;

    /// (bytes received, bytes sent): bodies only, as `%BYTES_RECEIVED%` and `%BYTES_SENT%` count them.
    fn body_bytes(&self) -> (u64, u64);

    /// What the request and its response took on the connection, as far as the codec knows.
    fn wire(&self) -> Wire {
        Wire::default()
    }

    /// HTTP/1 after a 101 or a CONNECT's 200: from here on both directions are raw bytes. For HTTP/2 a no-op, since
    /// DATA frames carry them.
    fn become_tunnel(&mut self);
}

/// The upstream half of an exchange; `crate::upstream::UpstreamStream` implements it by passing on.
pub trait Upstream: Source + Sink {
    /// Queues the request head. `end`: no body follows.
    fn send_request(&mut self, head: &RequestHead, end: bool);

    /// Waits for the next head, interim ones included, and fills `head`.
    fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut ResponseHead,
    ) -> Poll<Result<(), StreamError>>;

    /// As [`Downstream::become_tunnel`].
    fn become_tunnel(&mut self);
}
