//! The upstream HTTP/1 codec: requests out, responses in, one at a time over one [`Transport`].
//!
//! The pool owns idle ones; the router drives them through [`crate::upstream::UpstreamStream`].
//! Invariant: a client goes back to the pool only when both messages are complete and nothing lies unread.

use std::{
    io,
    net::SocketAddr,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Instant,
};

use crate::{
    error::{Side, StreamError},
    http::{
        Worker, clock,
        config::{NameCase, NameFormat},
        exchange::{Upstream, Wire},
        h1::{
            encode::{self, Framing},
            exchange::OverTransport,
            parse::{self, Limits},
            transport::Transport,
        },
        message::{BodyLength, RequestHead, ResponseHead},
    },
    stats::Meter,
    stream::Stream,
};

/// Envoy's `max_response_headers_kb` (60) and `max_headers_count` (100) defaults.
const LIMITS: Limits =
    Limits { bytes: 60 * 1024, fields: 100, names: NameFormat { case: NameCase::Lower, preserve: false } };

/// A connection to an endpoint.
#[derive(Debug)]
pub struct Client {
    transport: Transport,
    to_head: bool,
    keep_alive: bool,
    /// The response began: its head, or an interim one, has arrived.
    answered: bool,
    requests: u32,
    created: Instant,
    /// Asked for once: it is a system call.
    local: SocketAddr,
    id: u64,
    limits: Limits,
}

impl Client {
    /// A connection on which nothing was sent yet.
    pub fn new(stream: Stream, worker: Rc<Worker>, meter: Meter, names: NameFormat) -> Self {
        let local = stream.local_addr();
        let limits = Limits { names, ..LIMITS };
        Self {
            local,
            id: super::next_id(),
            limits,
            transport: Transport::new(stream, worker, Side::Upstream, limits).metered(meter),
            to_head: false,
            keep_alive: true,
            answered: false,
            requests: 0,
            created: clock::now(),
        }
    }

    /// Requests that were sent on it.
    pub fn requests(&self) -> u32 {
        self.requests
    }

    /// True when it has served a request before the current one.
    pub fn is_reused(&self) -> bool {
        self.requests > 1
    }

    /// True when nothing of the request at hand was written.
    pub fn is_untouched(&self) -> bool {
        self.transport.is_untouched()
    }

    /// When it was established.
    pub fn created(&self) -> Instant {
        self.created
    }

    /// Local address.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Process-unique id, for `%UPSTREAM_CONNECTION_ID%`.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// What the request and its response took so far.
    pub fn wire(&self) -> Wire {
        self.transport.wire
    }

    /// True when it may serve another request.
    pub fn can_continue(&self) -> bool {
        self.keep_alive
            && self.answered
            && self.transport.is_read()
            && self.transport.is_written()
            && self.transport.pending().is_empty()
            && !self.transport.is_end_of_stream()
    }

    /// True when the endpoint has ended, or announced the end of, the connection.
    pub fn is_closing(&self) -> bool {
        self.answered && !self.keep_alive || self.transport.is_end_of_stream()
    }

    /// Gives buffers back before it becomes idle.
    pub(crate) fn release(&mut self) {
        self.transport.release();
    }

    /// True when nothing has come on an idle connection; the task of `cx` is then woken once something does, and
    /// whatever that is, the connection is of no more use.
    pub(crate) fn is_quiet(&self, cx: &mut Context<'_>) -> bool {
        let stream = self.transport.stream();
        while stream.poll_read_ready(cx).is_ready() {
            // A last read that filled its buffer exactly leaves the stream marked as readable.
            match stream.try_read(&mut [0]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                _ => return false,
            }
        }
        true
    }
}

impl OverTransport for Client {
    fn transport(&self) -> &Transport {
        &self.transport
    }

    fn transport_mut(&mut self) -> &mut Transport {
        &mut self.transport
    }
}

impl Upstream for Client {
    fn send_request(&mut self, head: &RequestHead, end: bool) {
        self.requests += 1;
        self.answered = false;
        self.to_head = head.is_head();
        self.transport.wire = Wire::default();
        let queue = self.transport.queue();
        let fields = encode::request(head, end, self.limits.names.unremembered(), queue);
        let framing = match head.body {
            _ if end => Framing::None,
            BodyLength::None => Framing::None,
            BodyLength::Exact(length) => Framing::Length(length),
            BodyLength::Unknown => Framing::Chunked,
        };
        self.transport.begin_writing(fields, framing);
    }

    fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut ResponseHead,
    ) -> Poll<Result<(), StreamError>> {
        loop {
            let bytes = self.transport.pending();
            if !bytes.is_empty() {
                let refused =
                    |refused: parse::Rejection| StreamError::protocol(Side::Upstream, refused.details);
                if let Some(parsed) =
                    parse::response(bytes, self.limits, self.to_head, head).map_err(refused)?
                {
                    self.begin_response(parsed, head);
                    return Poll::Ready(Ok(()));
                }
                head.clear();
            }
            match ready!(self.transport.poll_fill(cx, LIMITS.bytes + 1)) {
                Ok(n) if n > 0 => {}
                Ok(_) => return Poll::Ready(Err(StreamError::terminated(Side::Upstream, None))),
                Err(error) => return Poll::Ready(Err(StreamError::terminated(Side::Upstream, Some(&error)))),
            }
        }
    }

    fn become_tunnel(&mut self) {
        self.keep_alive = false;
        self.transport.tunnel();
    }
}

impl Client {
    fn begin_response(&mut self, parsed: parse::Parsed, head: &ResponseHead) {
        self.transport.consume_head(parsed.len, parsed.fields);
        if head.is_interim() {
            return;
        }
        self.answered = true;
        self.keep_alive = self.keep_alive && parsed.keep_alive;
        self.transport.begin_reading(head.body, parse::is_until_close(head));
    }
}
